"""Lenses that cannot be, and bodies whose left and right are exchanged."""

import json

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.plausible import odd_lens, odd_sides, odd_sides_of_all
from pipeline.records import Camera
from pipeline.skeletons import HUMAN36M, JOINT_SETS, OPENPOSE_25, SMPL_24
from pipeline.sources import open_source
from pipeline.sources.calibrations import read_calibration
from pipeline.sources.parsing import load_json
from tests.pipeline.people import standing, striped


def camera(distortion=(0, 0, 0, 0, 0), f=1000.0, fy=None, size=(1000, 1000)) -> Camera:
    width, height = size
    K = np.array([[f, 0, width / 2], [0, fy or f, height / 2], [0, 0, 1.0]])
    return Camera(K, np.eye(3), np.zeros(3), width, height, np.array(distortion, float))


@pytest.mark.parametrize(
    "right",
    [
        camera(),
        camera((-0.2071, 0.2478, -0.0031, -0.001, -0.0014), 1145.0),  # Human3.6M's
        camera((-0.27, 0.1, -0.02, 0, 0), 900.0, size=(1920, 1080)),  # an action camera, which folds its corners
        camera((0.2, -0.6, 0.5, 0, 0), 1500.0, size=(1920, 1080)),
        camera((0, 0, 0, 0.01, 0.01)),
        camera((2.0, 0, 0, 0, 0), 20000.0),  # far telephoto: rays are so steep that hardly anything bends
        camera(f=1000.0, fy=2000.0),  # anamorphic
    ],
)
def test_lenses_that_are_sold_are_right(right):
    assert odd_lens(right) is None


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("value", [50.0, -50.0, 1e6, -1e300])
def test_a_coefficient_that_no_lens_has_is_told(place, value):
    distortion = np.zeros(5)
    distortion[place] = value
    reason = odd_lens(camera(distortion))
    assert reason is not None and reason.endswith("as no lens does") and f"{value:.3g}" in reason


@pytest.mark.parametrize("wrong", [camera(f=1e6), camera(f=1.0), camera(f=1000.0, fy=3000.0)])
def test_focal_lengths_that_are_no_pixels_are_told(wrong):
    assert "are no focal lengths in pixels of images 1000 x 1000" in odd_lens(wrong)


@pytest.mark.parametrize("lens", [{"k1": 50}, {"k2": -400.0}, {"k3": 1e9}, {"p1": 7.0}, {"fy": 1e6}])
def test_the_lens_of_camera_json_must_be_one(tmp_path, lens):
    import cv2

    (tmp_path / "images").mkdir()
    (tmp_path / "keypoints").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), striped(200, 300))
    joints = np.c_[standing(OPENPOSE_25.names)[:, :2] * [90, -90] + [150, 100], np.ones(25)]
    (tmp_path / "keypoints" / "a_keypoints.json").write_text(
        json.dumps({"people": [{"pose_keypoints_2d": joints.ravel().tolist()}]})
    )
    given = {"fx": 300, "fy": 300, "cx": 150, "cy": 100}
    (tmp_path / "camera.json").write_text(json.dumps(given))
    assert len(open_source("openpose", tmp_path).read()[0]) == 1
    (tmp_path / "camera.json").write_text(json.dumps(given | lens))
    instants, report = open_source("openpose", tmp_path).read()
    assert not instants and "camera.json" in report.rejects[0].reason


def test_confidences_in_percent_are_a_doubt_and_those_a_little_above_one_are_not():
    from pipeline.sources.doubts import doubt_confidence

    people = np.ones((4, 25, 3))
    for right in (people * [1, 1, 1.2], people * [1, 1, 2], people[:0]):  # 2 is MSCOCO's visibility
        assert not list(doubt_confidence(right))
    assert (
        "confidences reach 87, where they are from 0 to 1" in next(iter(doubt_confidence(people * [1, 1, 87]))).reason
    )


BODIES = [HUMAN36M.name, SMPL_24.name, OPENPOSE_25.name]


def bent(names) -> np.ndarray:
    """A person who walks: the left leg swings, the knee is bent by a right angle."""
    joints = standing(names)
    place = {name: k for k, name in enumerate(names)}
    for name, shift in (
        ("left_knee", (0, 0.1, 0.28)),
        ("left_ankle", (0, 0.3, -0.1)),
        ("left_foot", (0, 0.25, -0.05)),
        ("left_big_toe", (0, 0.25, -0.05)),
    ):
        if name in place:
            joints[place[name]] += shift
    return joints


def exchanged(names) -> list[int]:
    """Of each joint that of the other side."""
    return [names.index(n.replace("left", "R").replace("right", "left").replace("R", "right")) for n in names]


def turned(joints: np.ndarray, seed: int) -> np.ndarray:
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return joints @ (Q * np.sign(np.linalg.det(Q))).T + [1, 2, 5]


@pytest.mark.parametrize("joint_set", BODIES)
@pytest.mark.parametrize("seed", range(3))
def test_mirrored_bodies_and_exchanged_sides_are_told_and_right_ones_are_not(joint_set, seed):
    names = JOINT_SETS[joint_set].names
    joints = bent(names)
    other = exchanged(names)
    assert odd_sides(joint_set, turned(joints, seed)) is None
    for wrong in (joints * [-1, 1, 1], joints[other]):
        assert "left and right were exchanged or the joints mirrored" in odd_sides(joint_set, turned(wrong, seed))
    unknown = np.array(["nose" in n or "knee" in n or "foot" in n or "toe" in n for n in names])
    assert odd_sides(joint_set, turned(joints * [-1, 1, 1], seed), ~unknown) is None, "what is not seen is no evidence"


@pytest.mark.parametrize("joint_set", BODIES)
@pytest.mark.parametrize("half", [("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")])
def test_sides_exchanged_in_one_half_of_the_body_are_told(joint_set, half):
    names = JOINT_SETS[joint_set].names
    joints, other = standing(names), exchanged(names)
    upside = [other[k] if name.endswith(half) else k for k, name in enumerate(names)]
    assert "exchanged" in odd_sides(joint_set, turned(joints[upside], 1))
    assert odd_sides(joint_set, turned(joints, 1)) is None


def test_where_most_poses_are_mirrored_those_that_do_not_tell_are_so_too():
    names = HUMAN36M.names
    walking, straight = bent(names), standing(names)
    straight[names.index("nose")] = straight[names.index("neck")]
    poses = np.array([turned(walking, seed) for seed in range(3)] + [turned(straight, 3)])
    assert odd_sides(HUMAN36M.name, poses[3] * [-1, 1, 1]) is None and odd_sides_of_all(HUMAN36M.name, poses) is None
    assert "mirrored" in odd_sides_of_all(HUMAN36M.name, poses * [-1, 1, 1])
    assert odd_sides_of_all(HUMAN36M.name, np.concatenate([poses, poses * [-1, 1, 1]])) is None
    assert odd_sides_of_all(HUMAN36M.name, poses[:0]) is None


@pytest.mark.parametrize("wrong", ["exchanged", "mirrored"])
def test_a_human36m_capture_of_exchanged_sides_is_left_out_as_a_whole(annotated_root, tmp_path, wrong):
    import shutil

    shutil.copytree(annotated_root, tmp_path / "d")
    swap = np.array(
        [
            HUMAN36M.names.index(n.replace("left", "R").replace("right", "left").replace("R", "right"))
            for n in HUMAN36M.names
        ]
    )
    for path in (tmp_path / "d" / "annotations").glob("*_joint_3d.json"):
        tree = json.loads(path.read_text())
        for action in tree.values():
            for sequence in action.values():
                for frame, joints in sequence.items():
                    points = np.array(bent_rows(joints))
                    sequence[frame] = (points[swap] if wrong == "exchanged" else points * [-1, 1, 1]).tolist()
        path.write_text(json.dumps(tree))
    instants, report = open_source("human36m", tmp_path / "d", subjects=("S1",)).read()
    assert not instants
    if wrong == "exchanged":  # the cameras of mirrored joints miss the boxes besides
        assert sum("exchanged or the joints mirrored" in r.reason for r in report.rejects) >= 3, report.rejects


def bent_rows(joints) -> np.ndarray:
    """The joints of the fixture, who hardly bend their knees, with knees that tell."""
    points = np.array(joints)
    for side in ("left", "right"):
        points[HUMAN36M.names.index(f"{side}_knee")] += [0, -150, 0]
    return points


def test_xml_and_json_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "rig.qca.txt"
    for text in (
        '<?xml version="1.0" encoding="klingon"?><a/>',
        '<?xml version="1.0" encoding="shift_jis"?><a/>',
        "",
        "<a>",
        "<a>" * 20,
    ):
        path.write_text(text)
        with pytest.raises(InputError, match="rig.qca.txt is not readable XML"):
            read_calibration([path], None)
    path = tmp_path / "rig.json"
    for value in (1, "x", None, 1.5):
        path.write_text(json.dumps({"cameras": value}))
        with pytest.raises(InputError, match="rig.json: cameras is"):
            read_calibration([path], None)
    path.write_text(
        json.dumps(
            {"cameras": {"a": {"K": np.eye(3).tolist(), "R": np.eye(3).tolist(), "t": [0, 0, 0], "size": [0, 5]}}}
        )
    )
    with pytest.raises(InputError, match="size of a is 0 x 5"):
        read_calibration([path], None)
    path.write_text(r'{"name": "\ud800"}')
    with pytest.raises(InputError, match="rig.json is not complete JSON"):
        load_json(path)
    path.write_text(r'{"name": "\ud83d\ude00"}')
    assert load_json(path) == {"name": "\U0001f600"}
