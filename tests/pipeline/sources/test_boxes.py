"""Boxes that are something else, people annotated twice, and calibrations of another camera or image."""

import json
import pickle
import shutil
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks._good_inputs import write_threedpw
from pipeline.camera import project, tight_box
from pipeline.errors import InputError
from pipeline.plausible import odd_camera, odd_view
from pipeline.plausible_people import odd_boxes
from pipeline.records import Camera, Instant, View
from pipeline.skeletons import COCO, HUMAN36M
from pipeline.sources import open_source
from pipeline.sources.coco_people import Person
from pipeline.sources.doubts import doubt_twice
from tests.pipeline.people import standing
from tests.pipeline.test_damaged_files import person


def people(count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (P, 17, 2), and boxes (P, 4) as people draw them: not tight."""
    rng = np.random.default_rng(0)
    shape = standing(COCO.names)[:, :2] * [1, -1]
    points = np.stack([(120 + 30 * rng.random()) * shape + rng.uniform([150, 180], [500, 300]) for _ in range(count)])
    low, size = points.min(1), np.ptp(points, 1)
    return points, np.c_[low - 0.1 * size, 1.2 * size] + rng.normal(0, 3, (count, 4))


READINGS = {
    "corners x1, y1, x2, y2": lambda b: np.c_[b[:, :2], b[:, :2] + b[:, 2:]],
    "corners y1, x1, y2, x2": lambda b: np.c_[b[:, [1, 0]], b[:, [1, 0]] + b[:, [3, 2]]],
    "centres and sizes": lambda b: np.c_[b[:, :2] + b[:, 2:] / 2, b[:, 2:]],
    "y, x, height, width": lambda b: b[:, [1, 0, 3, 2]],
    "of an image 0.5 times as large": lambda b: b / 2,
    "of an image 1.33 times as large": lambda b: b * 4 / 3,
    "of an image 3 times as large": lambda b: b * 3,
}


@pytest.mark.parametrize("reading", READINGS)
def test_boxes_that_are_something_else_are_told(reading):
    points, boxes = people()
    seen = np.ones(points.shape[:2], bool)
    assert odd_boxes(points, seen, boxes) is None
    assert reading in odd_boxes(points, seen, READINGS[reading](boxes))
    one = READINGS[reading](boxes)[:1]
    if not reading.startswith("of an image 1.33"):  # which one box may be by chance
        assert reading in odd_boxes(points[:1], seen[:1], one)
    upper = seen & (np.arange(17) < 11)  # the legs are not annotated, the boxes are of whole people
    assert odd_boxes(points, upper, boxes) is None and odd_boxes(points[:0], seen[:0], boxes[:0]) is None


def test_a_principal_point_far_from_the_middle_is_told():
    K = np.array([[1000.0, 0, 500], [0, 1000, 400], [0, 0, 1]])

    def signs(K):
        camera = Camera(K, np.eye(3), np.zeros(3), 1000, 800)
        return odd_camera(View("a/0", "0", camera, "", np.ones(4), np.zeros((17, 2)), np.ones(17)))

    assert signs(K) == [] and signs(K + [[0, 0, 60], [0, 0, -50], [0, 0, 0]]) == []
    assert "principal point far from the middle" in signs(np.diag([0.5, 0.75, 1]) @ K)[0]
    for factor in (0.5, 0.75, 1.3, 1.9):
        scaled = np.diag([factor, factor, 1]) @ K
        assert f"in the middle of images {factor:.2g} times as large" in signs(scaled)[0]
        assert signs(np.diag([1.03, 0.97, 1]) @ K) == []
    turned = K[[1, 0, 2]][:, [1, 0, 2]]
    assert "in the middle of images that are turned by 90 degrees" in signs(turned)[0]


def test_exchanged_calibrations_are_named(annotated_root, tmp_path):
    shutil.copytree(annotated_root, tmp_path / "d")
    path = tmp_path / "d" / "annotations" / "Human36M_subject1_camera.json"
    cameras = json.loads(path.read_text())
    cameras["1"], cameras["2"] = cameras["2"], cameras["1"]
    path.write_text(json.dumps(cameras))
    instants, report = open_source("human36m", tmp_path / "d", subjects=("S1",)).read()
    told = Counter((r.key[-1], r.reason.rsplit(", ", 1)[-1]) for r in report.rejects)
    assert told["1", "as if its calibration were camera 2's"] == told["2", "as if its calibration were camera 1's"] == 5


def small_threedpw(tmp_path):
    """The sequence file of a person who stands 5 m in front of a camera, with all that belongs to it."""
    camera = Camera(np.array([[200.0, 0, 48], [0, 200, 48], [0, 0, 1]]), np.eye(3), np.array([0, 0, 5.0]), 96, 96)
    (tmp_path / "root").mkdir()
    cv2.imwrite(str(tmp_path / "root" / "a.jpg"), np.zeros((96, 96, 3), np.uint8))
    view = View("a/0", "0", camera, "a.jpg", np.ones(4), np.zeros((17, 2)), np.ones(17))
    write_threedpw(tmp_path / "3dpw", tmp_path / "root", replace(person(), views=(view,)))
    (path,) = (tmp_path / "3dpw").rglob("*.pkl")
    return path


def change(path, key, value):
    track = pickle.loads(path.read_bytes())
    track[key] = value(np.array(track[key]))
    path.write_bytes(pickle.dumps(track, 2))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("cam_intrinsics", lambda K: K.T, "is no camera matrix; is it transposed"),
        ("cam_poses", lambda T: T * [[[2], [2], [2], [1]]], "holds something that is no rotation"),
        ("cam_poses", lambda T: T * [[[-1], [1], [1], [1]]], "holds something that is no rotation"),
    ],
)
def test_cameras_of_3dpw_that_are_none_are_refused(tmp_path, key, value, reason):
    path = small_threedpw(tmp_path)
    list(open_source("threedpw", tmp_path / "3dpw").items())
    change(path, key, value)
    with pytest.raises(InputError, match=reason):
        list(open_source("threedpw", tmp_path / "3dpw").items())


def test_cameras_in_other_units_leave_people_out_whose_box_is_made_of_their_joints():
    """As 3DPW's are: nothing but the camera says where such people are in the image."""
    joints = standing(HUMAN36M.names) @ np.diag([1.0, -1, -1])
    K = np.array([[200.0, 0, 48], [0, 200, 48], [0, 0, 1]])

    def reason(K, z):
        camera = Camera(K, np.eye(3), np.array([0, 0, z]), 96, 96)
        pixels = project(camera, joints + [0, 0, z])
        view = View("a/0", "0", camera, "a.jpg", tight_box(pixels, 0), pixels, np.ones(len(joints)))
        return odd_view(Instant("a", "a", "", 0, HUMAN36M.name, (view,), joints, np.ones(len(joints), bool)), view)

    assert reason(K, 5.0) is None
    assert "5000 m away from the camera, as if t were in millimetres" in reason(K, 5000.0)
    assert "are no focal lengths in pixels of images 96 x 96" in reason(np.diag([0.005, 0.005, 1]) @ K, 5.0)
    assert "pixels large" in reason(K, 290.0)


def test_people_annotated_twice_are_a_doubt(tmp_path):
    points = np.c_[people(1)[0][0], np.full(17, 2.0)]
    one = Person("a", {}, "a.jpg", 1, (640, 480), points, np.ones(4))
    other = Person("b", {}, "b.jpg", 2, (640, 480), points, np.ones(4))
    known = [(person.image, person.keypoints) for person in (one, other)]
    assert not list(doubt_twice(known))
    assert next(iter(doubt_twice([*known, known[0]]))).reason.startswith("1 of 3 people have the keypoints of another")
