"""Joints that carry each other's names: told of people together, and not of people who fold their limbs."""

import numpy as np
import pytest

from pipeline.plausible_names import changing_bone, exchanged_names, odd_names_of_all
from pipeline.skeletons import COCO, HUMAN36M, IMAGE_JOINTS, OPENPOSE_25, SMPL_24
from tests.pipeline.people import standing


def swapped(joints: np.ndarray, names, one: str, other: str) -> np.ndarray:
    """Joints (..., J, n) of which two have each other's places."""
    order = np.arange(len(names))
    order[[names.index(one), names.index(other)]] = names.index(other), names.index(one)
    return joints[..., order, :]


def around(names, count: int = 12) -> np.ndarray:
    """(count, J, 3) somebody who stands, turned about the vertical axis."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    turns = np.array([[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]] for a in angles])
    return np.einsum("fij,kj->fki", turns, standing(names))


def everything(people: np.ndarray) -> np.ndarray:
    return np.ones(people.shape[:2], bool)


PAIRS = [
    *(
        (names, f"{side}_{a}", f"{side}_{b}")
        for names in (COCO.names, OPENPOSE_25.names)
        for side in ("left", "right")
        for a, b in (("knee", "ankle"), ("elbow", "wrist"), ("eye", "ear"))
    ),
    (HUMAN36M.names, "nose", "head_top"),
    (HUMAN36M.names, "spine", "neck"),
    (HUMAN36M.names, "neck", "nose"),
    (IMAGE_JOINTS.names, "nose", "head_top"),
]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("names", "one", "other"), PAIRS)
def test_two_joints_of_each_other_s_names_are_told(names, one, other, flat):
    right = around(names)[..., : 2 if flat else 3]
    assert exchanged_names(right, everything(right), names) is None
    told = exchanged_names(swapped(right, names, one, other), everything(right), names)
    assert told is not None and one in told and other in told
    few = right[:4]
    assert exchanged_names(swapped(few, names, one, other), everything(few), names) is None, "four tell nothing"
    unseen = everything(right)
    unseen[:, names.index(one)] = False
    assert exchanged_names(swapped(right, names, one, other), unseen, names) is None, "what is not seen is no evidence"


def test_who_crouches_and_folds_the_arms_has_the_right_names():
    names, right = COCO.names, around(COCO.names)
    for side in ("left", "right"):
        for parts, nearly in (
            (("hip", "knee", "ankle"), [0.0, 0.0, -0.08]),
            (("shoulder", "elbow", "wrist"), [0.05, 0.0, 0.02]),
        ):
            first, middle, last = (names.index(f"{side}_{part}") for part in parts)
            length = np.linalg.norm(right[:, last] - right[:, middle], axis=-1, keepdims=True)
            back = right[:, first] + nearly - right[:, middle]
            right[:, last] = right[:, middle] + length * back / np.linalg.norm(back, axis=-1, keepdims=True)
    assert exchanged_names(right, everything(right), names) is None


def in_motion(names, count: int = 30) -> np.ndarray:
    """(count, J, 3) somebody whose knees bend, more and more."""
    poses = np.repeat(standing(names)[None], count, 0)
    for side in ("left", "right"):
        knee, *below = (
            names.index(f"{side}_{part}") for part in ("knee", "ankle", "foot") if f"{side}_{part}" in names
        )
        for f, angle in enumerate(np.linspace(0, 2.2, count)):
            turn = np.array([[1, 0, 0], [0, np.cos(angle), np.sin(angle)], [0, -np.sin(angle), np.cos(angle)]])
            poses[f, below] = poses[f, knee] + (poses[f, below] - poses[f, knee]) @ turn.T
    return poses


@pytest.mark.parametrize("joint_set", [HUMAN36M, SMPL_24])
def test_a_bone_that_changes_its_length_is_told(joint_set):
    names, right = joint_set.names, in_motion(joint_set.names)
    sizes = np.linspace(0.6, 1.2, len(right))[:, None, None]
    for poses in (right, right * sizes):  # a name may stand for a child and an adult
        assert changing_bone(joint_set.name, poses) is None and odd_names_of_all(joint_set.name, poses) is None
        wrong = swapped(poses, names, "left_ankle", "right_wrist")
        assert "where a bone keeps its length" in odd_names_of_all(joint_set.name, wrong)
    assert changing_bone(joint_set.name, swapped(right, names, "left_ankle", "right_wrist")[:11]) is None
    right[3, 5] = np.nan
    assert odd_names_of_all(joint_set.name, right) is None and odd_names_of_all(joint_set.name, right[:0]) is None
