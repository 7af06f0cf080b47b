"""Keypoints of a real person go where OpenPose's would, and the source openpose reads them."""

import json
import shutil
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import nvf
from model.people.detector import Detector
from model.people.keypoints import in_layout
from model.people.records import Box
from pipeline.errors import InputError
from pipeline.outputs import run_lock
from pipeline.records import Instant
from pipeline.skeletons import COCO, JOINT_SETS
from pipeline.sources import open_source
from pipeline.sources.joint_names import LAYOUTS

HOPPER = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture
def data(tmp_path):
    (tmp_path / "images").mkdir()
    shutil.copy(HOPPER, tmp_path / "images" / "0001.jpg")
    cv2.imwrite(str(tmp_path / "images" / "0002.png"), np.full((60, 80, 3), 120, np.uint8))
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(nvf, ["keypoints", *map(str, arguments)], catch_exceptions=False)


def test_two_do_not_write_into_one_folder_at_once(data):
    with run_lock(data / "keypoints"), pytest.raises(InputError, match="another run is writing"):
        invoke(data / "images", data / "keypoints")
    assert not (data / "keypoints").exists()


@pytest.mark.parametrize("layout", ["body25", "coco17"])
@pytest.mark.parametrize("looks", [(), ("--tta",)])
def test_the_source_openpose_reads_what_was_found(data, layout, looks):
    result = invoke(data / "images", data / "keypoints", "--layout", layout, *looks)
    assert result.exit_code == 0 and "0002.png: nobody" in result.output and "of 1 person into" in result.output
    source = open_source("openpose", data, layout=layout)
    (instant,) = [item for part in source.parts().values() for item in part if isinstance(item, Instant)]
    (view,) = instant.views
    names = JOINT_SETS[instant.joint_set].names
    at = {name: view.joints_2d[k] for k, name in enumerate(names) if view.confidence[k] > 0}
    # where her face and shoulders are in the photograph, by eye
    for name, place in (
        ("nose", (265, 230)),
        ("left_eye", (312, 188)),
        ("right_eye", (222, 188)),
        ("right_shoulder", (85, 405)),
        ("left_shoulder", (455, 420)),
    ):
        assert np.linalg.norm(at[name] - place) < 25, (name, at[name])
    assert json.loads((data / "keypoints" / "0002_keypoints.json").read_text())["people"] == []


def test_what_cannot_be_read_is_refused_and_no_file_of_somebodys_is_replaced(data):
    (data / "images" / "0003.jpg").write_bytes(b"no picture")
    (data / "out").mkdir()
    (data / "out" / "0002_keypoints.json").write_text("mine")
    result = invoke(data / "images", data / "out")
    assert result.exit_code == 1 and "Refused: " in result.output and "0003.jpg: not an image" in result.output
    assert "did not write it" in result.output and (data / "out" / "0002_keypoints.json").read_text() == "mine"
    shutil.copy(data / "images" / "0001.jpg", data / "0001.jpg")
    result = invoke(data / "images" / "0001.jpg", data / "0001.jpg", data / "again")
    assert result.exit_code == 1 and "holds the keypoints of" in result.output
    with pytest.raises(InputError, match="nobody was found"):
        invoke(data / "images" / "0002.png", data / "none")


def test_a_layout_has_its_own_joints_at_their_places():
    points, scores = np.arange(34.0).reshape(17, 2), np.linspace(0.1, 0.9, 17)
    body = in_layout(points, scores, "body25")
    names = LAYOUTS["body25"]
    for k, name in enumerate(COCO.names):
        np.testing.assert_array_equal(body[names.index(name)], [*points[k], scores[k]])
    neck = body[names.index("neck")]
    np.testing.assert_allclose(neck[:2], points[[5, 6]].mean(0))
    assert neck[2] == scores[[5, 6]].min() and not body[names.index("left_heel")].any()


def test_somebody_who_has_another_s_keypoints_is_left_out_and_counted(data, monkeypatch):
    """Two boxes, one person."""
    (data / "images" / "0002.png").unlink()
    boxes = [np.array([60.0, 20, 400, 580]), np.array([20.0, 120, 330, 470])]
    monkeypatch.setattr(Detector, "__call__", lambda self, pixels: [Box(box, 0.9, "detector") for box in boxes])
    result = invoke(data / "images", data / "keypoints")
    assert result.exit_code == 0 and "0001.jpg: 1, 1 left out: their box shows another's keypoints" in result.output
    assert len(json.loads((data / "keypoints" / "0001_keypoints.json").read_text())["people"]) == 1
