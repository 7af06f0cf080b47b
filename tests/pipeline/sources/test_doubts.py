"""What is told of the keypoints of a source as a whole, and of what people do mark nothing."""

import json
import shutil

import numpy as np
import pytest

from pipeline.plausible import stature
from pipeline.plausible_people import image_guess
from pipeline.skeletons import COCO, HUMAN36M, OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND
from pipeline.sources import open_source
from pipeline.sources.base import Annotated, Doubt, ReadReport
from pipeline.sources.doubts import (
    doubt_border,
    doubt_hands,
    doubt_order,
    doubt_percent,
    doubt_sides,
    doubt_stature,
    doubt_twice,
)
from pipeline.sources.keypoint_files import FoundPerson
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


def test_people_who_are_the_same_to_the_digit_do_not_hide_those_who_are_nearly():
    once = people(30)
    others = once.copy()
    others[..., :2] += np.random.default_rng(1).normal(0, 1.5, others[..., :2].shape)
    heads = people(40, seed=3)
    heads[:, 5:] = 0
    pictures = [(f"a{k}", person) for k, person in (*enumerate(once), *enumerate(others))]
    told = reasons(
        doubt_twice([*pictures, *[(f"b{k}", person) for k, person in (*enumerate(heads), *enumerate(heads))]])
    )
    assert "40 of 140 people have the keypoints of another" in told and "30 of 140 people lie within 3%" in told
    infinite = once.copy()
    infinite[0, 0, 0] = np.inf
    assert not reasons(doubt_twice([("a", person) for person in infinite]))


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


def test_legs_whose_sides_are_exchanged_are_told():
    """As in a public file of Human3.6M's frames: its categories call the right leg the left one, and the arms by their names."""
    right = people()
    assert not reasons(doubt_sides(right, NAMES, detected=False))
    order = np.arange(17)
    for first in (11, 13, 15):
        order[[first, first + 1]] = first + 1, first
    said = reasons(doubt_sides(right[:, order], NAMES, detected=False))
    assert f"shoulders and hips of {len(right)} of {len(right)} people face opposite ways" in said
    assert not reasons(doubt_sides(right[:2, order], NAMES, detected=False)), "two people may be an annotator's mistake"
    few = np.concatenate([right[:3, order], np.repeat(right, 20, 0)])
    assert not reasons(doubt_sides(few, NAMES, detected=False)), "as some of many may be"
    assert all(doubt.refutable for doubt in doubt_sides(right[:, order], NAMES, detected=True))


def test_a_doubt_that_pictures_may_refute_is_kept_apart():
    seen_from_behind = people() * [-1, 1, 1] + [SIZE[0], 0, 0]
    (marked,) = doubt_sides(seen_from_behind, NAMES, detected=False)
    assert not marked.refutable, "nobody marks a face that is not there"
    (doubt,) = doubt_sides(seen_from_behind, NAMES, detected=True)
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


def with_hands(count: int, exchanged: bool = False, moved: float = 0.0) -> list[FoundPerson]:
    """People whose hands begin at their wrists."""
    found = []
    for body in people(count):
        body[:, 2] = 0.9
        ends = body[[NAMES.index("left_wrist"), NAMES.index("right_wrist")]] + [moved + 1.0, 0.5, 0]
        hands = np.repeat(ends[:, None], 21, 1)
        names = (OPENPOSE_LEFT_HAND.name, OPENPOSE_RIGHT_HAND.name)
        found.append(FoundPerson(body, dict(zip(names, hands[::-1] if exchanged else hands, strict=True))))
    return found


def test_hands_of_the_other_side_and_of_elsewhere_are_told():
    assert not reasons(doubt_hands(with_hands(12), NAMES))
    assert "24 of 24 hands begin at the other side's wrist" in reasons(
        doubt_hands(with_hands(12, exchanged=True), NAMES)
    )
    assert "24 of 24 hands begin far from both wrists" in reasons(doubt_hands(with_hands(12, moved=150.0), NAMES))
    assert not reasons(doubt_hands(with_hands(2, exchanged=True), NAMES)), "four hands tell nothing"
    without = [FoundPerson(person.body, {}) for person in with_hands(12)]
    assert not reasons(doubt_hands(without, NAMES))
    together = with_hands(12, exchanged=True)
    for person in together:  # hands that are folded begin at either wrist
        person.body[NAMES.index("right_wrist")] = person.body[NAMES.index("left_wrist")]
        for hand in person.extras.values():
            hand[:, :2] = person.body[NAMES.index("left_wrist"), :2]
    assert not reasons(doubt_hands(together, NAMES))


@pytest.mark.parametrize(("size", "tall"), [(1.0, None), (0.65, None), (1.2, None), (1.5, "2.6"), (0.45, "0.8")])
def test_somebody_of_a_size_that_nobody_has_is_told(size, tall):
    poses = np.repeat(standing(HUMAN36M.names)[None], 3, 0)
    adult = stature(HUMAN36M.name, poses[0], np.ones(17, bool))
    told = reasons(doubt_stature(HUMAN36M.name, poses * size / adult, "S1"))
    assert told == "" if tall is None else f"S1 would be about {tall} m tall" in told
    assert not reasons(doubt_stature(HUMAN36M.name, poses[:0], "S1"))
    assert not reasons(doubt_stature(HUMAN36M.name, poses * np.nan, "S1"))


def test_pictures_that_were_turned_are_guessed():
    """Keypoints of pictures that lie, in pictures that stand."""
    lying = [person[:, :2] for person in people(20)]
    assert image_guess(lying, [SIZE[::-1]] * 20).startswith(
        "the image were turned by 90 degrees, or 1.25 times as large"
    )
    for factor in (1.5, 2.0):
        guess = image_guess([factor * points for points in lying], [SIZE] * 20)
        assert "turned" not in guess and "times as large" in guess
    assert "turned" not in image_guess(lying, [(480, 480)] * 20)
