"""The whole chain in small: capture -> shards -> training -> evaluation -> report, and what it says to bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.shards.store import ShardFolder

# Whole runs are made here, which takes seconds.
# The demo at its smallest is made once, for all of them.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Far too small to be good; large enough that every part of the chain runs.
TINY = """
extends = "scratch"
[network.encoder]
channels = 8
context = 16
[network.head.mlp]
hidden = [32, 16]
[network.head.search]
cells = 24
levels = 1
[draw]
points = 64
[train]
batch_size = 4
workers = 0
evaluations = 1
evaluate_views = 4
warmup = 2
"""


def nvf(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def demo(out: Path, config: Path) -> subprocess.CompletedProcess:
    return nvf("demo", out, "--instants", 28, "--minutes", 0.1, "--config", config, "--workers", 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    config = folder / "tiny.toml"
    config.write_text(TINY)
    result = demo(folder / "demo", config)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "demo"


def test_demo_leaves_what_scripts_read(finished):
    report = json.loads((finished / "report.json").read_text())
    assert list(report["seconds"]) == ["synthesize", "preprocess", "train", "evaluate", "report"]
    assert report["root"] == "predicted"
    assert 0 < report["pa_mpjpe_mm"] < report["mpjpe_mm"]
    assert 0 < report["mean_pose"]["pa_mpjpe_mm"] < report["mean_pose"]["mpjpe_mm"]
    assert report["n_views"] == len(ShardFolder(finished / "shards").view_table("test")["id"])
    assert report["fit"]["vertex_error_mm"] < 40
    assert report["fit"]["fit_error_mm"] < 15
    assert "<img" in (finished / "report.html").read_text()


def test_finished_demo_does_nothing_again(finished):
    before = {name: (finished / name).stat().st_mtime_ns for name in ("capture", "last.safetensors", "seconds.json")}
    result = demo(finished, finished.parent / "tiny.toml")
    assert result.returncode == 0
    assert before == {name: (finished / name).stat().st_mtime_ns for name in before}


def test_no_test_subject_was_trained_on(finished):
    folder = ShardFolder(finished / "shards")
    assert set(folder.view_table("test")["subject"]) == {"S9", "S11"}
    assert set(folder.view_table("validation")["subject"]) == {"S8"}
    assert set(folder.view_table("train")["subject"]) <= {"S1", "S5", "S6", "S7"}


def test_stored_joints_are_the_true_ones(finished):
    """A crop's joints, put back through its camera, land on the annotation's 2D joints."""
    table = ShardFolder(finished / "shards").view_table()
    points = table["joints"] + table["root"][:, None]
    pixels = points[..., :2] / points[..., 2:] @ np.swapaxes(table["K"][:, :2, :2], 1, 2) + table["K"][:, None, :2, 2]
    error = np.linalg.norm(pixels - table["joints_2d"], axis=-1)[table["joints_2d_valid"]]
    assert error.max() < 0.5


def test_inspect_says_what_scripts_need(finished):
    result = nvf("inspect", finished / "shards", "--verify", "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads(result.stdout)
    folder = ShardFolder(finished / "shards")
    assert summary["views"] == len(folder.view_table()["id"])
    assert summary["shards"] == len(folder.shards)
    assert len(summary["content_hash"]) == 64
    assert isinstance(summary["rejects"], dict)


def test_inspect_tells_a_training_run(finished, tmp_path):
    for name in ("last.json", "best.json"):
        shutil.copy(finished / name, tmp_path)
    result = nvf("inspect", tmp_path)
    assert result.returncode == 0, result.stderr
    record = json.loads((finished / "last.json").read_text())
    assert (
        f"step {record['step']} in " in result.stdout and record["config"]["network"]["head"]["kind"] in result.stdout
    )
    told = json.loads(nvf("inspect", tmp_path, "--json").stdout)
    assert told == record | {"curves": {"train": None, "validation": None}, "evaluation": None}


def test_a_frame_without_image_is_rejected_and_the_run_goes_on(finished, tmp_path):
    capture = tmp_path / "capture"
    shutil.copytree(finished / "capture", capture)
    table = ShardFolder(finished / "shards").view_table()
    (capture / "images" / str(table["image_path"][0]).removeprefix("images/")).unlink()
    result = nvf(
        "preprocess", "human36m", capture, tmp_path / "shards", "--crop-px", 128, "--workers", 0, "--pool", 1024
    )
    assert result.returncode in (0, 1), result.stderr
    summary = json.loads(nvf("inspect", tmp_path / "shards", "--json").stdout)
    assert summary["views"] == len(table["id"]) - 1
    assert sum(summary["rejects"].values()) == 1


def spoil_version(shards: Path) -> None:
    for path in shards.glob("*.h5"):
        with h5py.File(path, "r+") as file:
            file.attrs["version"] = 99


def drop_test_views(shards: Path) -> None:
    for path in shards.glob("*.h5"):
        with h5py.File(path, "r+") as file:
            splits = file["views/split"]
            splits[...] = np.full(splits.shape, b"train", splits.dtype)


@pytest.mark.parametrize(
    ("spoil", "words"), [(spoil_version, ["version 99", "version 1"]), (drop_test_views, ["test"])]
)
def test_evaluate_refuses_shards_that_do_not_serve(finished, tmp_path, spoil, words):
    shutil.copytree(finished / "shards", tmp_path / "shards")
    spoil(tmp_path / "shards")
    refused(nvf("evaluate", finished, tmp_path / "shards"), words)


def test_train_refuses_a_checkpoint_of_another_configuration(finished):
    refused(nvf("train", finished / "shards", finished, "--config", "scratch", "--resume"), ["configuration"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["preprocess", "human36m", "/nowhere", "{out}"], ["/nowhere"]),
        (["preprocess", "human36m", "{here}", "{out}"], ["Human36M_subject"]),
        (["preprocess", "human36m", "{capture}", "{out}", "--subjects", "S3"], ["S3"]),
        (["preprocess", "human36m", "{capture}", "{out}", "--body", "{here}/tiny.toml"], ["tiny.toml"]),
        (["preprocess", "human36m", "{capture}", "{here}/tiny.toml/shards"], ["tiny.toml"]),
        (["preprocess", "human36m", "{capture}", "/proc/shards"], ["/proc/shards"]),
        (["train", "{here}", "{out}"], ["run.json"]),
        (["evaluate", "{out}", "{shards}"], ["{out}"]),
        (["synthesize", "{capture}"], ["{capture}"]),
        (["inspect", "{here}/tiny.toml"], ["tiny.toml"]),
    ],
)
def test_bad_input_gets_one_paragraph_and_code_2(finished, tmp_path, arguments, words):
    names = {
        "here": finished.parent,
        "capture": finished / "capture",
        "shards": finished / "shards",
        "out": tmp_path / "out",
    }
    refused(nvf(*[argument.format(**names) for argument in arguments]), [word.format(**names) for word in words])


def refused(result: subprocess.CompletedProcess, words: list[str]) -> None:
    message = result.stderr.strip()
    assert result.returncode == 2, result.stdout + message
    assert "Traceback" not in message
    assert message.startswith(("Error:", "Usage:")) and "\n\n" not in message, message
    assert all(word in message for word in words), message
