"""`nvf-cli evaluate`, `report`, `predict`: parse, one call, and what is printed."""

import json
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import nvf
from model import evaluate
from model.scoring.protocols import PROTOCOLS
from model.scoring.published import published
from model.scoring.report import comparability, facts
from pipeline.errors import InputError

ROW = {"mpjpe_mm": 80.0, "pa_mpjpe_mm": 60.0, "mrpe_mm": 300.0, "pck_150mm": 0.9, "auc": 0.5, "median_error": 0.05}
GROUP = {"n": 8, "mpjpe_mm": 80.0, "pa_mpjpe_mm": 60.0}
TRAINED = {"source": "capsules", "subjects": ["S1", "S<5"], "train_views": 24, "weight": 1.0, "content_hash": "ab" * 32}
REPORT = {
    "model": "nvf",
    "run": "runs/x",
    "source": "human36m",
    "recorded": True,
    "trained_on": {"ground_truth": "dataset", "data": [TRAINED]},
    "n_views": 8,
    "n_skipped": 1,
    "skipped": {"the truth has no spine": 1},
    "left_out": {"another camera": 24},
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
    "protocol": replace(PROTOCOLS["h36m-i2l-14j"], describes="All <views>.").as_json(),
    "step": 5,
    "parameters": 1000,
    "training_seconds": 60.0,
    "seed": 0,
    "commit": "abc",
    "decode": "body",
    "decodes": {"votes": {"mpjpe_mm": 85.0, "pa_mpjpe_mm": 66.0}, "body": {"mpjpe_mm": 80.0, "pa_mpjpe_mm": 60.0}},
    "chosen_by": {"views": 64, "votes": {"mpjpe_mm": 84.0}, "body, learnt prior": {"mpjpe_mm": 79.0}},
    "body": {"prior": "learnt", "poses": 1140},
    "by_direction": {
        "all": {"joints": 128, "across_mm": 50.0, "along_mm": 61.5, "image_px": 4.25},
        "hidden": {"joints": 0, "across_mm": None, "along_mm": None, "image_px": None},
    },
    "hypotheses": {
        "asked": 3,
        "views": 8,
        "mean_count": 2.0,
        "fitted_mpjpe_mm": 80.0,
        "fitted_pa_mpjpe_mm": 60.0,
        "min_of_k_mpjpe_mm": 77.5,
        "min_of_k_pa_mpjpe_mm": 58.0,
    },
    "quoted": published("h36m-i2l-14j"),
}


# What the page and the terminal say of this report.
SAID = (
    "h36m-i2l-14j",
    "8 scored of the split 'test' (human36m)",
    "1 skipped (the truth has no spine: 1)",
    "24 not of the protocol (another camera: 24)",
    "14 of human36m_17, without pelvis, spine, nose",
    "scale of the prediction: predicted",
    "similarity (rotation, translation and scale)",
    "joints that the dataset measured",
    "papers quote MPJPE and PA-MPJPE",
    "24 views, weight 1, content abababababab",
    "Published (quoted, not measured here)",
    "pose prior: learnt from 1,140 poses of the run's own training fits",
    "votes: 85.0 / 66.0 mm",
    "the run chose on 64 validation views: votes 84.0 mm, body, learnt prior 79.0 mm",
    "of up to 3 bodies a view (2.0 different ones) the best has 77.5 / 58.0 mm, the fitted one 80.0 / 60.0",
    "along the ray mm",
    "61.5",
)


def plain(text: str) -> str:
    """Without a page's escapes and a terminal's line breaks."""
    return " ".join(unescape(text).split())


@pytest.fixture
def called(monkeypatch):
    calls = []
    monkeypatch.setattr(evaluate, "evaluate_run", lambda *a, **k: calls.append((*a, *k.values())) or REPORT)
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
        "--decode",
        "body",
        "--hypotheses",
        "3",
        "--tta",
    ]
    result = CliRunner().invoke(nvf, arguments, catch_exceptions=False)
    assert called == [
        (Path("runs/x"), Path("shards"), "validation", "all-17j", "gt", "fit", True, None, "body", 3, True)
    ]
    assert [text for text in SAID if text not in plain(result.output)] == []
    for text in (
        "All <views>.",
        "mean training pose",
        "90.0   0.500",  # PCK and AUC
        "  left_<b>wrist        80.0     60.0",
        "I2L-MeshNet, lixel                55.7     41.1  I2L-MeshNet (ECCV 2020), tables 5 and 6",
        "S9",
        "Walking",
        "facing flips 1.0 %",
    ):
        assert text in result.output, text
    assert "PARTIAL" not in result.output and "not comparable" not in result.output


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
    assert [text for text in SAID if text not in plain(page)] == []
    for text in ("90.0 %", "0.500", "left_&lt;b&gt;wrist", "S9", "Walking", "tables 5 and 6", "S&lt;5"):
        assert text in page, text
    for title in ("action", "subject", "joint"):
        assert f"<table><tr><th>{title}</th>" in page
    assert "PARTIAL" not in page and "<b>wrist" not in page
    assert page.count("<img") == 1 and "data:image/png;base64,cG5n" in page and "http" not in page
    with pytest.raises(InputError, match="Evaluate first"):
        CliRunner().invoke(nvf, ["report", str(tmp_path / "none")], catch_exceptions=False)
    newer = ("decode", "decodes", "chosen_by", "body", "by_direction", "hypotheses")
    (tmp_path / "evaluation.json").write_text(json.dumps({k: v for k, v in REPORT.items() if k not in newer}))
    CliRunner().invoke(nvf, ["report", str(tmp_path)], catch_exceptions=False)
    assert "the joints that the model gives" in plain((tmp_path / "report.html").read_text())
    (tmp_path / "evaluation.json").write_text(json.dumps({k: v for k, v in REPORT.items() if k != "trained_on"}))
    with pytest.raises(InputError, match="evaluation.json: it has no 'trained_on'.*Evaluate again"):
        CliRunner().invoke(nvf, ["report", str(tmp_path)], catch_exceptions=False)


def test_what_is_missing_or_not_comparable_is_said_on_both(called, tmp_path, monkeypatch):
    partial = "PARTIAL: 8 of 2181 views; not comparable with published numbers."
    report = REPORT | {"partial": partial, "recorded": False, "ground_truth": "fit", "root": "ground truth"}
    monkeypatch.setattr(evaluate, "evaluate_run", lambda *a, **k: report)
    terminal = CliRunner().invoke(nvf, ["evaluate", "runs/x", "shards"], catch_exceptions=False).output
    (tmp_path / "evaluation.json").write_text(json.dumps(report))
    CliRunner().invoke(nvf, ["report", str(tmp_path)], catch_exceptions=False)
    for output in (terminal, (tmp_path / "report.html").read_text()):
        for text in (
            partial,
            "a synthetic capture",
            "joints of the fitted bodies",
            "scale of the prediction: ground truth",
        ):
            assert text in plain(output), text
        assert "This result is not comparable with them: these views are a synthetic capture" in plain(output)
    assert comparability(REPORT).startswith("Their authors' numbers")


@pytest.mark.parametrize(
    ("sources", "said"),
    [(["human36m"], "not used in training"), (["human36m", "threedpw"], "used in training"), ([None], "not recorded")],
)
def test_a_3dpw_result_says_whether_its_training_split_was_used(sources, said):
    data = [TRAINED | {"source": source, "subjects": source and [f"T{k}" for k in range(34)]} for source in sources]
    report = REPORT | {"protocol": PROTOCOLS["3dpw-14j"].as_json(), "trained_on": {"ground_truth": "fit", "data": data}}
    lines = dict(facts(report))
    assert lines["3DPW's training split"] == said and lines["trained on"].endswith("labels: fit")
    assert ("T7 and 26 more" in lines["trained on"]) == (sources != [None])
    assert "3DPW's training split" not in dict(facts(REPORT))


def test_a_3dpw_result_of_a_run_that_started_from_weights_says_what_these_had_learnt_from():
    trained = {"ground_truth": "fit", "data": [TRAINED], "before": [TRAINED | {"source": "threedpw", "subjects": None}]}
    lines = dict(facts(REPORT | {"protocol": PROTOCOLS["3dpw-14j"].as_json(), "trained_on": trained}))
    assert lines["3DPW's training split"] == "used in the training of the weights that it started from"
    assert "labels: fit; it started from weights that had learnt from threedpw (24 views" in lines["trained on"]
