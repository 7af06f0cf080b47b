"""`nvf-cli evaluate`, `report`, `predict`: parse, one call, and what is printed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import nvf
from cli.predict import parse_box
from model import evaluate, predict
from pipeline.errors import InputError

ROW = {"mpjpe_mm": 80.0, "pa_mpjpe_mm": 60.0, "mrpe_mm": 300.0, "pck_150mm": 0.9, "auc": 0.5, "median_error": 0.05}
GROUP = {"n": 8, "mpjpe_mm": 80.0, "pa_mpjpe_mm": 60.0}
REPORT = {
    "model": "nvf",
    "n_views": 8,
    "n_skipped": 1,
    "split": "test",
    "root": "predicted",
    "box": "the dataset's",
    "ground_truth": "dataset",
    "mpjpe_mm": 80.0,
    "pa_mpjpe_mm": 60.0,
    "scale": {"head": ROW, "bones": ROW, "gt": ROW | {"mrpe_mm": None}},
    "mean_pose": {"mpjpe_mm": 200.0, "pa_mpjpe_mm": 100.0},
    "per_joint": {"left_<b>wrist": GROUP},
    "per_subject": {"S9": GROUP},
    "per_action": {"Walking": GROUP},
    "facing_flips": 0.01,
    "distal_ratio": 1.9,
    "queries": 5000.0,
    "fallback": {"joints": 0, "views": 0, "share": 0.0},
    "partial": None,
    "protocol": {"name": "all-17j", "describes": "All <views>."},
    "step": 5,
    "parameters": 1000,
    "training_seconds": 60.0,
    "seed": 0,
    "commit": "abc",
    "quoted": [],
}


@pytest.fixture
def called(monkeypatch):
    calls = []
    monkeypatch.setattr(evaluate, "evaluate_run", lambda *a: calls.append(a) or REPORT)
    return calls


def test_options_reach_the_evaluation_and_the_table_says_what_was_used(called):
    arguments = [
        "evaluate",
        "runs/x",
        "shards",
        "--split",
        "validation",
        "--root",
        "gt",
        "--ground-truth",
        "fit",
        "--allow-partial",
    ]
    result = CliRunner().invoke(nvf, arguments, catch_exceptions=False)
    assert called == [(Path("runs/x"), Path("shards"), "validation", "all-17j", "gt", "fit", True, None)]
    for text in (
        "8 views",
        "1 skipped",
        "root: predicted",
        "mean training pose",
        "S9",
        "Walking",
        "facing flips 1.0 %",
    ):
        assert text in result.output


def test_json_is_all_that_is_printed(called):
    result = CliRunner().invoke(nvf, ["evaluate", "runs/x", "shards", "--json"], catch_exceptions=False)
    assert json.loads(result.stdout) == REPORT


def test_the_page_holds_its_pictures_and_escapes_names(tmp_path):
    (tmp_path / "evaluation.json").write_text(json.dumps(REPORT))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "joints.png").write_bytes(b"png")
    CliRunner().invoke(nvf, ["report", str(tmp_path)], catch_exceptions=False)
    page = (tmp_path / "report.html").read_text()
    assert "80.0 mm" in page and "0.40 of the mean pose" in page and "All &lt;views&gt;." in page
    assert page.count("<img") == 1 and "data:image/png;base64,cG5n" in page and "http" not in page
    with pytest.raises(InputError, match="Evaluate first"):
        CliRunner().invoke(nvf, ["report", str(tmp_path / "none")], catch_exceptions=False)


def test_predict_passes_the_box(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(
        predict, "predict_images", lambda *a: calls.append(a) or [{"image": "a.jpg", "root": [0, 0, 4.2]}]
    )
    arguments = [
        "predict",
        "runs/x",
        "a.jpg",
        "--box",
        "1,2,3,4",
        "--focal",
        "900",
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(nvf, arguments, catch_exceptions=False)
    run, images, out, box, focal, _ = calls[0]
    assert (run, images, out, box, focal) == (Path("runs/x"), (Path("a.jpg"),), tmp_path, [1, 2, 3, 4], 900)
    assert "root at 4.20 m" in result.output


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "1,2,0,4", "1,2,3,-4", "1,2,3,nan"])
def test_a_box_has_four_numbers_and_an_area(text):
    with pytest.raises(InputError, match="--box"):
        parse_box(text)
