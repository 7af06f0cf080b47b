"""Files that are damaged somewhere: each is read, or refused by an InputError that names it, never by another exception.

What is damaged is drawn from seeds by the changes that `benchmarks.fuzz` makes, so a failure names its seed.
"""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks._good_inputs import metadata, write_release
from benchmarks._mutations import CANARY, mutate
from model.people.predictions import read_head
from model.training.logbook import HISTORY, read_history
from model.training.overview import evaluation_of
from pipeline.body.model import FREE_BODY, load_body
from pipeline.body.smpl import open_smpl
from pipeline.errors import InputError
from pipeline.fit.fits_file import FitsWriter, read_fits
from pipeline.look.viewer import PREDICTIONS, read_predictions
from pipeline.records import FitQuality, Instant, Reject
from pipeline.skeletons import FIELD_JOINTS, HUMAN36M
from pipeline.sources.human36m.release import read_metadata, read_poses
from tests.pipeline.people import standing


def damaged(path: Path, read, seeds: int, tmp_path: Path, monkeypatch) -> list[str]:
    """What each damaged copy was refused with, "" where it was read."""
    monkeypatch.setenv(CANARY, str(tmp_path / "canary"))
    said = []
    for seed in range(seeds):
        copy = tmp_path / str(seed) / path.name
        copy.parent.mkdir()
        shutil.copy(path, copy)
        what = mutate(copy, random.Random(seed))
        try:
            read(copy)
        except InputError as error:
            said.append(str(error))
            assert path.name in str(error) or path.stem in str(error), f"seed {seed}, {what}: {error}"
        except Exception as error:
            raise AssertionError(f"seed {seed}, {what}: {type(error).__name__} {error}") from error
        else:
            said.append("")
        assert not (tmp_path / "canary").exists(), f"seed {seed}, {what}: it was run"
        shutil.rmtree(copy.parent)
    assert any(said), "nothing was damaged enough to be refused"
    return said


def person() -> Instant:
    joints = standing(HUMAN36M.names)
    return Instant("S9/x/0", "S9", "x", 0, HUMAN36M.name, (), joints, np.ones(len(joints), bool))


@pytest.mark.slow
def test_metadata_xml(tmp_path, monkeypatch):
    (tmp_path / "metadata.xml").write_text(metadata(4))
    damaged(tmp_path / "metadata.xml", read_metadata, 60, tmp_path, monkeypatch)


def test_cdf(tmp_path, monkeypatch):
    write_release(tmp_path / "release", person())
    (path,) = (tmp_path / "release").rglob("*.cdf")
    damaged(path, read_poses, 120, tmp_path, monkeypatch)


@pytest.mark.slow
def test_npz_of_a_body(tmp_path, monkeypatch):
    shutil.copy(FREE_BODY, tmp_path / "SMPLX_NEUTRAL.npz")
    damaged(tmp_path / "SMPLX_NEUTRAL.npz", load_body, 8, tmp_path, monkeypatch)


def test_fits(tmp_path, monkeypatch, free_body, make_fit):
    path = tmp_path / "fits.h5"
    writer = FitsWriter(path, free_body, {"source": "test", "joint_set": "openpose_25", "frame": "camera"})
    quality = FitQuality(1.0, np.array([0.5]), np.array([0.1]), 3, True, "a", 2.0, True, ("x",))
    writer.append([replace(make_fit(name), quality=quality) for name in ("a/1", "a/2")])
    writer.reject([Reject("x/1", "fit", "no visible joints")])
    writer.close()
    damaged(path, lambda copy: read_fits(copy, free_body), 120, tmp_path, monkeypatch)


def test_predictions(tmp_path, monkeypatch):
    names = np.array(FIELD_JOINTS.names)
    joints = np.zeros((2, len(names), 3), np.float32)
    np.savez(tmp_path / PREDICTIONS, id=np.array(["a/1", "b/1"]), joints=joints, joint_names=names)
    damaged(tmp_path / PREDICTIONS, lambda copy: read_predictions(copy.parent), 120, tmp_path, monkeypatch)


@pytest.mark.slow
def test_smpl_files(tmp_path, monkeypatch, egg_smpl):
    turn = np.zeros((1, 72)), np.zeros(10), np.zeros((1, 3))

    def read_model(copy: Path) -> None:
        open_smpl(copy.parent, egg_smpl.folder / "regressor.npy").joints("neutral", *turn)

    damaged(egg_smpl.folder / "SMPL_NEUTRAL.pkl", read_model, 8, tmp_path, monkeypatch)

    def read_regressor(copy: Path) -> None:
        open_smpl(egg_smpl.folder, copy)

    damaged(egg_smpl.folder / "regressor.npy", read_regressor, 30, tmp_path, monkeypatch)


def test_history(tmp_path):
    """A history is a log: what can be read of it is, and nothing is raised."""
    rows = [{"kind": "train", "step": k, "loss": 1.5} for k in range(5)]
    for seed in range(120):
        run = tmp_path / str(seed)
        run.mkdir()
        (run / HISTORY).write_text("".join(json.dumps(row) + "\n" for row in rows))
        mutate(run / HISTORY, random.Random(seed))
        found = read_history(run)
        assert all(isinstance(row, dict) and "kind" in row for row in found) and len(found) <= 6


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "3", b"\xff"])
def test_json_that_is_none_or_endless_brackets_is_as_if_it_were_not_there(tmp_path, text):
    """In what a run and a prediction leave beside them; of a history the lines before it are kept."""
    row = json.dumps({"kind": "train", "step": 1})
    for name in ("evaluation.json", "predictions.json"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / HISTORY).write_bytes(row.encode() + b"\n" + (tmp_path / "evaluation.json").read_bytes())
    assert evaluation_of(tmp_path) is None and read_head(tmp_path / "predictions.json") == {}
    assert len(read_history(tmp_path)) == 1


def test_a_message_that_names_a_whole_file_is_cut_in_its_middle():
    said = str(InputError("a.json: its name is " + 100_000 * "x" + ". Fetch it again."))
    assert len(said) < 4000 and said.startswith("a.json: its name is x") and said.endswith("x. Fetch it again.")
    assert str(InputError("short")) == "short"
