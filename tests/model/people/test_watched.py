"""Keypoints of the user's that are not where people are in the pictures are told."""

import json

import numpy as np
import pytest

from model.people.given import read_keypoints
from model.people.job import Question, finder
from model.people.pictures import Given
from model.people.records import Picture
from model.people.watched import Watched
from pipeline.camera import assumed_camera, project
from pipeline.skeletons import COCO
from tests.pipeline.people import TO_CAMERA, standing

WIDTH, HEIGHT = 400, 300
TRUE = project(assumed_camera(WIDTH, HEIGHT), standing(COCO.names) @ TO_CAMERA + [0.3, 0.1, 3.0])


class Sees:
    """A network that sees the person, and counts how often it is asked."""

    def __init__(self, _weights: str = ""):
        self.asked = 0

    def __call__(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.asked += 1
        return TRUE + 1.0, np.full(17, 0.9)


@pytest.fixture
def folder(tmp_path):
    def write(points, pictures=40):
        values = np.c_[points, np.full(17, 0.9)].ravel().tolist()
        for k in range(pictures):
            file = tmp_path / f"{k:04d}_keypoints.json"
            file.write_text(json.dumps({"people": [{"pose_keypoints_2d": values}]}))
        return tmp_path

    return write


def looked_at(find, pictures=40):
    camera, pixels = assumed_camera(WIDTH, HEIGHT), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for k in range(pictures):
        assert len(find(Picture(f"{k:04d}.jpg", pixels, camera))) == 1
    return list(find.remarks())


def test_left_and_right_exchanged_are_told(folder):
    right = Watched(read_keypoints(folder(TRUE)), Sees())
    assert looked_at(right) == [] and right.witness.asked == 7
    (remark,) = looked_at(Watched(read_keypoints(folder(TRUE[COCO.flip])), Sees()))
    assert "in 7 of 7 pictures" in remark and "as if left and right were exchanged (first: 0000.jpg)" in remark


def test_keypoints_of_another_size_are_told(folder):
    (remark,) = looked_at(Watched(read_keypoints(folder(TRUE / 2)), Sees()))
    assert "the keypoints were of an image" in remark


def test_predict_looks_whenever_keypoints_are_given(folder, monkeypatch):
    monkeypatch.setattr("model.people.job.KeypointNetwork", Sees)
    find = finder(Question(["a.jpg"], keypoints=folder(TRUE[COCO.flip])), [Given("a.jpg", "picture", 1)])
    assert "left and right were exchanged" in looked_at(find)[0]
