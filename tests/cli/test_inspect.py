"""inspect and view on shards of a real little run: what is printed, exit codes, pictures that are there."""

import json
import os
import re
import shutil
import urllib.request
from dataclasses import replace
from html import escape
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.inspect import command
from cli.main import nvf
from model.train import train
from pipeline.errors import InputError
from pipeline.look.shard_page import warnings
from pipeline.preprocess import plan as planning
from pipeline.preprocess import shard as stages
from pipeline.preprocess.progress import RunProgress
from pipeline.preprocess.settings import Request
from pipeline.records import Reject
from pipeline.run import Workers, preprocess
from pipeline.shards.run_json import write_run
from pipeline.shards.store import write_shard
from pipeline.skeletons import FIELD_JOINTS
from tests.model.capsules import make_folder, tiny_config
from tests.pipeline.run_fakes import SETTINGS, body_once, open_fake, write_source
from tests.pipeline.shard_fakes import make_header, make_record


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs of one source: the second with other points."""
    from rich.console import Console

    home = tmp_path_factory.mktemp("inspect")
    root = write_source(home / "data", {"S1": 2, "S9": 1})
    with pytest.MonkeyPatch.context() as patch, RunProgress(Console(quiet=True)) as progress:
        patch.setattr(planning, "open_source", open_fake)
        patch.setattr(planning, "load_body", lambda _: body_once())
        patch.setattr(stages, "load_body", lambda _: body_once())
        for name, seed in (("a", 0), ("b", 1)):
            preprocess(Request("fake", root, home / name, settings=replace(SETTINGS, seed=seed)), Workers(0), progress)
    return home / "a", home / "b"


def run(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.parametrize(("state", "said"), [("failed", "failed"), ("running", "has not ended")])
def test_a_run_that_lacks_shards_says_so(folders, tmp_path, state, said):
    shutil.copytree(folders[0], tmp_path / "a")
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    lost = record["shards"].pop()
    failed = [[lost["name"], "failed 3 times"]] if state == "failed" else []
    (tmp_path / "a" / "run.json").write_text(json.dumps(record | {"state": state, "failed": failed}))
    result = run(tmp_path / "a", "--json")
    line = f"its preprocess run {said} (state '{state}'): 1 of 2 shards is missing. Run preprocess again to finish it"
    assert result.stderr == f"{tmp_path / 'a'}: {line}.\n" and json.loads(result.stdout)["unfinished"] == line
    assert escape(line) in "".join(warnings(json.loads(result.stdout), None))
    assert run(folders[0]).stderr == "" and json.loads(run(folders[0], "--json").stdout)["unfinished"] == ""


def test_json_of_a_folder_and_nothing_else(folders):
    result = run(folders[0], "--json", "--verify")
    summary = json.loads(result.stdout)
    assert result.exit_code == 0
    assert summary["views"] == 6 and summary["shards"] == 2 and summary["rejects"] == {}
    assert summary["content_hash"] == json.loads((folders[0] / "run.json").read_text())["content_hash"]
    assert summary["splits"] == {"train": 4, "validation": 0, "test": 2} and summary["verify"]["problems"] == []
    assert sum(summary["distance_mm"]["share"]) == pytest.approx(1, abs=1e-3)


def test_text_of_a_shard(folders):
    text = run(folders[0] / "shard-00000.h5").stdout
    assert "4 views of 2 instants in 1 shard," in text and "train: 4" in text and "seed" not in text


def test_verify_fails_with_exit_code_1(folders, tmp_path):
    data = bytearray((folders[0] / "shard-00000.h5").read_bytes())
    data[data.index(b"\xff\xd8\xff") + 200] ^= 4
    (tmp_path / "shard.h5").write_bytes(data)
    result = run(tmp_path / "shard.h5", "--verify", "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["verify"]["problems"]


def test_two_runs_compared(folders):
    result = run(*folders, "--json")
    difference = json.loads(result.stdout)
    assert result.exit_code == 1 and difference["shared"] == 6
    assert difference["settings"] == {"config.seed": [0, 1]}
    assert set(difference["views_that_differ_by_dataset"]) == {
        "samples/points",
        "samples/sdf",
        "samples/voters",
        "samples/joint_offsets",
    }
    assert run(folders[0], folders[0]).exit_code == 0


@pytest.mark.slow
def test_a_shard_without_views_is_shown_as_one(tmp_path):
    """Everything was left out: the summary, the picture and the page say why."""
    rejects = [Reject(f"S1/{k}", "fit", "4 visible joints, a fit needs 6") for k in range(3)]
    write_run(tmp_path, make_record([write_shard(tmp_path / "shard-00000.h5", make_header(), [], rejects)]))
    for path in (tmp_path, tmp_path / "shard-00000.h5"):
        result = run(path, "--verify", "--picture", tmp_path / "a.png", "--html", tmp_path / "a.html")
        assert result.exit_code == 0, result.output
        assert "0 views" in result.stdout and "3 x fit: 4 visible joints, a fit needs 6" in result.stdout
        assert cv2.imread(str(tmp_path / "a.png")) is not None
        page = (tmp_path / "a.html").read_text()
        assert "There is no view to show" in page and "a fit needs 6" in page


@pytest.mark.slow
def test_a_run_is_shown_as_one(tmp_path):
    """Its configuration, the last values of its curves, the best error, and what it was trained on."""
    shards, folder = make_folder(tmp_path / "shards", 6, 3, 1), tmp_path / "run"
    train(shards, folder, tiny_config(steps=4, evaluations=2), device="cpu")
    shown = run(folder).stdout
    for line in (
        r"a training run$",
        r"^model +nvf on unet, [\d,]+ parameters, crops of 64 px$",
        r"^trained +step 4 in \d:\d\d, of 4 steps, finished$",
        r"^best +validation MPJPE [\d.]+ mm at step [24], [\d.]+ of the mean pose's$",
        r"^last look +step 4: MPJPE [\d.]+ mm",
        r"^losses +step 4: total [\d.]+, .*steps/s",
        r"^evaluation +none: `nvf-cli evaluate",
        r"^data +capsules S1: 6 views, weight 1, content [0-9a-f]{12}, .*shards$",
        r"^network +.*encoder\.channels 8",
        r"^train +.*steps 4",
    ):
        assert re.search(line, shown, flags=re.M), (line, shown)
    told = json.loads(run(folder, "--json").stdout)
    assert told["curves"]["validation"]["step"] == 4 and told["evaluation"] is None


def test_a_run_beside_its_shards_is_shown_with_them(tmp_path):
    """As `nvf-cli demo` leaves them."""
    shards = make_folder(tmp_path / "demo" / "shards", 6, 3, 1)
    train(shards, tmp_path / "demo", tiny_config(steps=2, evaluations=1), device="cpu")
    shown = run(tmp_path / "demo").stdout
    assert "demo: a training run" in shown and "shards (complete): 10 views" in shown
    assert json.loads(run(tmp_path / "demo", "--json").stdout)["training"]["step"] == 2


def test_a_damaged_record_of_a_run_is_named(tmp_path):
    for text, message in (("{", "cannot be read"), ('{"step": 3}', "has no 'config'")):
        (tmp_path / "last.json").write_text(text)
        with pytest.raises(InputError, match=f"last.json {message}"):
            run(tmp_path)


@pytest.mark.parametrize("command_name", ["inspect", "view"])
def test_a_picture_is_called_a_picture(tmp_path, command_name):
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="photo.jpg is a JPEG picture, not a shard.*nvf-cli predict") as told:
        CliRunner().invoke(nvf, [command_name, str(tmp_path / "photo.jpg")], catch_exceptions=False)
    assert "preprocess again" not in str(told.value) and "delete" not in str(told.value)


@pytest.mark.slow
def test_picture_and_page(folders, tmp_path):
    run(folders[0], "--picture", tmp_path / "a.png", "--html", tmp_path / "a.html", "--views", 1)
    image = cv2.imread(str(tmp_path / "a.png"))
    assert image.shape[1] > 1000 and image.std() > 30
    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/png;base64,") == 3 + 6 * 3 and not re.search(r'(src|href)="(?!data:)', page)
    assert page.index("views<b>6</b>") < page.index("What is in it") < page.index("<details>"), (
        "the rest is folded away"
    )
    assert "{" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S), "no raw JSON"


@pytest.mark.parametrize("content, message", [(b"not HDF5", "not a readable HDF5 file"), (None, "does not exist")])
def test_foreign_files_are_refused(tmp_path, content, message):
    path = tmp_path / "x.h5"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        run(path)
    with pytest.raises(InputError, match="holds no run.json"):
        run(tmp_path)


def open_shards() -> list[str]:
    """Shards that this process has open."""
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    paths = [os.readlink(link) for link in links if link.is_symlink()]  # the listing's own is gone by now
    return [path for path in paths if re.search(r"shard-\d+\.h5", path)]


def test_the_3d_view_is_served_and_keeps_no_shard_open(folders):
    pytest.importorskip("viser")
    from pipeline.look.viewer import serve

    before = open_shards()
    predicted = {"S9/walk/000000/2": np.zeros((17, 3), np.float32)}
    server = serve(folders[0], body_once(), "127.0.0.1", 0, predicted)
    try:
        page = urllib.request.urlopen(f"http://127.0.0.1:{server.get_port()}", timeout=10).read()
        assert b"<html" in page.lower() and open_shards() == before
    finally:
        server.stop()
    with pytest.raises(InputError, match="none of the 6 views has a prediction"):
        serve(folders[0], body_once(), "127.0.0.1", 0, {"S2/walk/0/1": np.zeros((17, 3))})


def test_predictions_of_a_run_are_read_or_named(tmp_path):
    from pipeline.look.viewer import read_predictions

    with pytest.raises(InputError, match="predictions.npz is not there; evaluate the run first"):
        read_predictions(tmp_path)
    joints = np.random.default_rng(0).normal(size=(2, 17, 3)).astype(np.float32)
    np.savez(
        tmp_path / "predictions.npz",
        id=np.array(["a/1", "b/1"]),
        joints=joints,
        joint_names=np.array(FIELD_JOINTS.names),
    )
    np.testing.assert_array_equal(read_predictions(tmp_path)["b/1"], joints[1])
    np.savez(tmp_path / "predictions.npz", id=np.array(["a/1"]), joints=joints, joint_names=np.array(["x"] * 17))
    with pytest.raises(InputError, match="other joints than human36m_17"):
        read_predictions(tmp_path)
    (tmp_path / "predictions.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match="predictions.npz cannot be read"):
        read_predictions(tmp_path)
