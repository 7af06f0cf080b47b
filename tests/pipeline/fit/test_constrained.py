"""Which joints were left to the prior, by the rule and through a fit."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.fit import FitSettings
from pipeline.fit.constrained import joints_unseen
from pipeline.skeletons import COCO, JOINT_SETS


@pytest.fixture
def person(monocular):
    return monocular.instants[0]


def hide(instant, *names):
    """The instant without the joints that are called so."""
    hidden = np.isin(JOINT_SETS[instant.joint_set].names, names)
    view = instant.views[0]
    seen = replace(view, confidence=np.where(hidden, 0, view.confidence))
    valid = None if instant.joints_3d_valid is None else instant.joints_3d_valid & ~hidden
    return replace(instant, views=(seen, *instant.views[1:]), joints_3d_valid=valid)


@pytest.mark.parametrize(
    "hidden, unseen",
    [
        ((), ()),
        (("left_elbow", "left_wrist"), ("left_elbow", "left_wrist")),
        (("left_elbow",), ()),  # between the shoulder and the wrist
        (("left_wrist",), ("left_wrist",)),
        (("right_ankle",), ()),  # its toes and heel are seen
        (("right_ankle", "right_heel", "right_big_toe", "right_small_toe"), ("right_ankle",)),
        (
            ("right_knee", "right_ankle", "right_heel", "right_big_toe", "right_small_toe"),
            ("right_knee", "right_ankle"),
        ),
        (("nose", "left_eye", "right_eye", "left_ear", "right_ear"), ("nose", "head_top")),
        (("pelvis", "left_hip"), ()),
        (("pelvis", "left_hip", "left_knee"), ("left_hip", "left_knee")),
    ],
)
def test_a_joint_is_unseen_where_neither_it_nor_both_its_neighbours_are_seen(person, hidden, unseen):
    assert set(joints_unseen(hide(person, *hidden), FitSettings())) == set(unseen)


def test_a_bust_has_no_pelvis(person):
    below = [
        name
        for name in JOINT_SETS["openpose_25"].names
        if name.split("_")[-1] in ("hip", "knee", "ankle", "toe", "heel")
    ]
    unseen = joints_unseen(hide(person, "pelvis", *below), FitSettings())
    assert {"pelvis", "spine", "left_hip", "right_knee"} <= set(unseen) and "neck" not in unseen


def test_coco_names_no_pelvis_and_no_neck_and_yet_tells_of_both(person):
    view = person.views[0]
    ours = [JOINT_SETS["openpose_25"].index(name) for name in COCO.names]
    coco = replace(view, joints_2d=view.joints_2d[ours], confidence=view.confidence[ours])
    assert joints_unseen(replace(person, joint_set=COCO.name, views=(coco,)), FitSettings()) == ()


def test_another_view_or_a_joint_in_3d_is_evidence(in_space):
    instant = in_space.instants[0]
    hidden = hide(instant, "left_wrist")
    assert joints_unseen(hidden, FitSettings()) == ("left_wrist",)
    assert joints_unseen(replace(hidden, views=(*hidden.views, instant.views[0])), FitSettings()) == ()
    assert joints_unseen(replace(hidden, joints_3d_valid=instant.joints_3d_valid), FitSettings()) == ()


def test_a_seen_hand_tells_of_its_wrist_where_hands_are_fitted(person):
    view = hide(person, "left_wrist").views[0]
    hand = {"openpose_left_hand_21": np.ones((21, 3))}
    instant = replace(person, views=(replace(view, keypoints_2d=hand),))
    assert joints_unseen(instant, FitSettings()) == ("left_wrist",)
    assert joints_unseen(instant, FitSettings(hands=True)) == ()


def test_a_fit_says_what_it_was_not_told(fitter, person):
    fit, whole = fitter.fit([hide(person, "right_elbow", "right_wrist"), person])
    assert fit.quality.joints_unseen == ("right_elbow", "right_wrist") and whole.quality.joints_unseen == ()
