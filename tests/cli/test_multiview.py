"""Several cameras through the commands: wrong calibrations are told, and two workers make what one makes."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.check_data import command as check_data
from cli.preprocess import command as preprocess
from pipeline.errors import InputError
from pipeline.shards.run_json import read_run
from tests.pipeline.people import unsure_witness
from tests.pipeline.sources.test_multiview import CAMERAS, HEIGHT, WIDTH, write_json, write_keypoints, write_people

FLIP = np.diag([1.0, -1.0, -1.0])


@pytest.fixture(autouse=True)
def _unsure_witness(monkeypatch):
    monkeypatch.setattr("model.networks.keypoint_network.KeypointNetwork", unsure_witness)


def changed(change) -> dict:
    return {name: replace(c, R=change(c)[0], t=change(c)[1]) for name, c in CAMERAS.items()}


CALIBRATIONS = {
    "as if R were transposed": changed(lambda c: (c.R.T, c.t)),
    "as if the cameras were inverted (camera to world)": changed(lambda c: (c.R.T, -c.R.T @ c.t)),
    "as if t were the camera's centre": changed(lambda c: (c.R, -c.R.T @ c.t)),
    "as if the cameras' axes were y up and z backward": changed(lambda c: (FLIP @ c.R, FLIP @ c.t)),
    "as if the calibrations of cam1 and cam2 were exchanged": CAMERAS
    | {"cam1": CAMERAS["cam2"], "cam2": CAMERAS["cam1"]},
    "as if the joints were in millimetres where metres are expected; -o unit=": changed(lambda c: (c.R, 1000 * c.t)),
    "of another picture size": {n: replace(c, width=2 * WIDTH, height=2 * HEIGHT) for n, c in CAMERAS.items()},
}


def check(root) -> tuple[int, str]:
    result = CliRunner().invoke(check_data, ["multiview", str(root), "--json"])
    if isinstance(result.exception, InputError):
        return 2, str(result.exception)
    return result.exit_code, " ".join(json.loads(result.stdout)["problems"])


def test_the_right_calibration_has_no_problem(tmp_path):
    write_keypoints(tmp_path)
    write_json(tmp_path)
    assert check(tmp_path) == (0, "")


@pytest.mark.parametrize("mistake", CALIBRATIONS)
def test_check_data_names_what_is_wrong_with_a_calibration(tmp_path, mistake):
    write_keypoints(tmp_path)
    write_json(tmp_path, CALIBRATIONS[mistake])
    code, said = check(tmp_path)
    if mistake == "of another picture size":
        assert code == 2 and "as if they were 0.50 times as large" in said
    else:
        assert code == 1 and "nothing is left to use" in said and mistake in said, said


@pytest.mark.parametrize("scale", [0.5, 2.0, 0.75])
def test_check_data_names_keypoints_of_another_resolution(tmp_path, scale):
    write_keypoints(tmp_path, scale=scale)
    write_json(tmp_path)
    code, said = check(tmp_path)
    assert code == 1 and "nothing is left to use" in said and f"{scale:g}" in said, said


@pytest.mark.parametrize("wrong", ["exchanged", "mirrored"])
def test_check_data_names_exchanged_sides(tmp_path, wrong):
    """In all cameras alike: then their rays meet, and only the body tells."""
    from pipeline.skeletons import OPENPOSE_25

    names = OPENPOSE_25.names
    order = [names.index(n.replace("left", "R").replace("right", "left").replace("R", "right")) for n in names]
    write_keypoints(tmp_path)
    write_json(tmp_path)
    for file in (tmp_path / "keypoints").rglob("*.json"):
        people = json.loads(file.read_text())["people"]
        points = np.array(people[0]["pose_keypoints_2d"]).reshape(-1, 3)[order]
        if wrong == "mirrored":
            points = np.c_[WIDTH - 1 - points[:, 0], points[:, 1:]]
        file.write_text(json.dumps({"people": [{"pose_keypoints_2d": points.ravel().tolist()}]}))
    code, said = check(tmp_path)
    assert code == 1 and "nothing is left to use" in said, said
    if wrong == "exchanged":
        assert "left and right were exchanged" in said


@pytest.mark.slow
def test_two_workers_make_what_one_makes(tmp_path):
    root = tmp_path / "rig"
    root.mkdir()
    write_people(root, 3, [-0.5, 0, 0], [0.4, 0, 0.1])
    for file in (root / "images").rglob("*.jpg"):
        cv2.imwrite(str(file), np.random.default_rng(len(file.name)).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    made = []
    for workers in ("1", "2"):
        out = tmp_path / workers
        arguments = [
            "multiview",
            str(root),
            str(out),
            "--workers",
            workers,
            "--crop-px",
            "32",
            "--pool",
            "256",
            "--shard-instants",
            "2",
        ]
        result = CliRunner().invoke(preprocess, arguments)
        assert result.exit_code == 0, (result.output, result.exception)
        made.append(read_run(out))
    assert made[0].content_hash == made[1].content_hash
    assert sum(shard.views for shard in made[0].shards) == 24 and len(made[0].shards) == 3 and made[0].subjects is None
