"""What is told of the keypoints of a source as a whole, and of what people do mark nothing."""

import json
import shutil

import numpy as np
import pytest

from pipeline.skeletons import COCO
from pipeline.sources import open_source
from pipeline.sources.base import Annotated, Doubt, ReadReport
from pipeline.sources.doubts import doubt_border, doubt_order, doubt_percent, doubt_sides, doubt_twice
from tests.pipeline.people import standing

NAMES = COCO.names
SIZE = (640, 480)


def people(count: int = 12, seed: int = 0) -> np.ndarray:
    """(P, 17, 3) x, y, visibility of people who stand in pictures of SIZE."""
    rng = np.random.default_rng(seed)
    shape = standing(NAMES)[:, :2] * [1, -1]
    points = [(100 + 30 * rng.random()) * shape + rng.uniform([120, 150], [500, 320]) for _ in range(count)]
    return np.concatenate([np.array(points), np.full((count, 17, 1), 2.0)], -1)


def sizes(count: int) -> np.ndarray:
    return np.tile(SIZE, (count, 1))


def reasons(doubts) -> str:
    return "; ".join(doubt.reason for doubt in doubts)


def test_who_was_annotated_twice_by_two_people_is_told():
    once = people(30)
    others = once.copy()
    others[..., :2] += np.random.default_rng(1).normal(0, 1.5, others[..., :2].shape)
    assert not reasons(doubt_twice(enumerate(once)))
    assert "30 of 60 people lie within 3%" in reasons(doubt_twice([*enumerate(once), *enumerate(others)]))
    assert not reasons(doubt_twice([*enumerate(once), *enumerate(others[:4])])), "a few do happen"
    beside = once + [8, 0, 0]  # a crowd
    assert not reasons(doubt_twice([*enumerate(once), *enumerate(beside)]))
    few = others.copy()
    few[:, 5:] = 0
    assert not reasons(doubt_twice([*enumerate(once), *enumerate(few)])), "a face alone may be another's"


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("end", [0, 1])
def test_joints_that_were_moved_onto_the_border_are_told(axis, end):
    right = people(30)
    assert not reasons(doubt_border(right, sizes(30)))
    cut = right.copy()
    value = end * (SIZE[axis] - 1)
    chosen = np.argsort(cut[..., axis] * (1 - 2 * end), axis=1)[:, :4]
    np.put_along_axis(cut[..., axis], chosen, float(value), 1)
    assert "30 of 30 people have 3 joints or more exactly on the border" in reasons(doubt_border(cut, sizes(30)))
    np.put_along_axis(cut[..., 2], chosen, 0.0, 1)
    assert not reasons(doubt_border(cut, sizes(30))), "they do not count as seen"
    assert not reasons(doubt_border(right[:0], sizes(0)))


def test_percent_are_told():
    right, whole = people(30), np.array([*SIZE, 1])
    assert not reasons(doubt_percent(right, sizes(30)))
    percent = right / whole * [100, 100, 1]
    assert "all joints lie within 0 .. 100, in pictures of up to 640 pixels" in reasons(
        doubt_percent(percent, sizes(30))
    )
    assert not reasons(doubt_percent(percent, sizes(30) / 6)), "pictures of a hundred pixels have such joints"
    corner = right * [0.1, 0.1, 1]
    assert not reasons(doubt_percent(corner, sizes(30))), "somebody small in a corner"
    assert not reasons(doubt_percent(right[:0], sizes(0)))


def test_names_that_are_exchanged_are_told():
    right = people()
    assert not reasons(doubt_order(right, NAMES))
    order = np.arange(17)
    order[[13, 15]] = 15, 13
    assert "left_knee and left_ankle carry each other's names" in reasons(doubt_order(right[:, order], NAMES))


def test_a_doubt_that_pictures_may_refute_is_kept_apart():
    seen_from_behind = people() * [-1, 1, 1] + [SIZE[0], 0, 0]
    (doubt,) = doubt_sides(seen_from_behind, NAMES)
    assert doubt.refutable
    report = ReadReport()
    for item in (doubt, Doubt("other"), Annotated("", 1, 1)):
        report.add(item)
    assert report.refutable == [doubt.reason] and report.doubts == ["other"]


def test_a_human36m_capture_of_exchanged_names_is_left_out(annotated_root, tmp_path):
    order = np.arange(17)
    order[[7, 8]] = 8, 7  # spine and neck
    shutil.copytree(annotated_root, tmp_path / "d")
    for path in (tmp_path / "d" / "annotations").glob("*_joint_3d.json"):
        tree = json.loads(path.read_text())
        for action in tree.values():
            for sequence in action.values():
                for number in range(12):  # so that there are enough of them
                    frame, joints = next(iter(sequence.items()))
                    sequence.setdefault(str(int(frame) + 1000 + number), joints)
                for frame, joints in sequence.items():
                    sequence[frame] = np.array(joints)[order].tolist()
        path.write_text(json.dumps(tree))
    instants, report = open_source("human36m", tmp_path / "d", subjects=("S1",)).read()
    assert not instants and any("spine and neck carry each other's names" in r.reason for r in report.rejects)
