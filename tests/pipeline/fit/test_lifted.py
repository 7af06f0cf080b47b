"""What the lifter says of one image, as evidence of the fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.fit import pose_fits
from benchmarks.fit_persons import make_persons
from model.scoring.metrics import pa_mpjpe
from pipeline.body.keypoints import keypoint_map
from pipeline.fit import FitSettings, Fitter
from pipeline.fit.evidence import build_evidence
from pipeline.fit.lifted import NO_SHIFT, SHIFT, told, with_lifted
from pipeline.fit.settings import TODAY
from pipeline.skeletons import FIELD_JOINTS, JOINT_SETS

BODY_25 = JOINT_SETS["openpose_25"]
ALL = np.ones(len(FIELD_JOINTS), bool)


def evidence_of(fitter, instants):
    kind = fitter.kind_of(instants[0], {})
    _, template, defined = fitter.chain(kind)
    n = len(BODY_25)
    return build_evidence(instants, (), template[:n], defined[:n], fitter.settings)


def test_lifted_joints_stand_where_their_keypoints_are_seen(free_body, fitter, monocular):
    evidence = with_lifted(evidence_of(fitter, monocular.instants), BODY_25, ALL)
    n = len(BODY_25)
    assert evidence.points.shape == (8, n + 17, 3) and evidence.pixels_weight[..., n:].sum() == 0
    camera = evidence.points[:, n:] @ evidence.R[:, 0].transpose(1, 2) + evidence.t
    knees = FIELD_JOINTS.indices(("left_knee", "right_knee"))
    rays = camera[:, knees, :2] / camera[:, knees, 2:]
    seen = evidence.pixels[:, 0, BODY_25.indices(("left_knee", "right_knee"))]
    # within a few centimetres at some metres
    assert ((rays - seen).norm(dim=-1) * camera[:, :1, 2] < 0.15).all()
    assert evidence.shift.tolist() == [SHIFT] * 8
    truth = keypoint_map(free_body, FIELD_JOINTS)(monocular.joints, monocular.vertices)
    lifted = evidence.points[:, n:].numpy()
    assert 1000 * pa_mpjpe(lifted, truth).mean() < 90  # a standing mean pose would be twice as far off


def test_joints_that_are_measured_are_not_lifted(free_body, fitter, monocular):
    """Neither is a view of which fewer keypoints are seen than the lifter can read."""
    few = np.where(np.arange(len(BODY_25)) < 4, 1.0, 0.0)
    one, two = monocular.instants[:2]
    measured = replace(one, joints_3d=monocular.points[0], joints_3d_valid=np.arange(len(BODY_25)) < 3)
    cut = replace(two, views=(replace(two.views[0], confidence=few),))
    evidence = with_lifted(evidence_of(fitter, [measured, cut]), BODY_25, ALL)
    assert evidence.points_weight[:, len(BODY_25) :].sum() == 0
    assert evidence.shift.tolist() == [NO_SHIFT, SHIFT]


def test_a_body_is_nearer_to_the_truth_for_it(free_body, monkeypatch):
    """Keypoints as detectors find them: 6 px off a person of some 500."""
    persons = make_persons(free_body, 32, 7, "openpose_25", "capture", noise_px=4.0)
    errors = {}
    for lifted in (False, True):
        monkeypatch.setattr(FitSettings, "manner", property(lambda _, lifted=lifted: replace(TODAY, lifted=lifted)))
        fits = Fitter(free_body, FitSettings()).fit(persons.instants)
        vertices, joints = pose_fits(free_body, fits)
        errors[lifted] = pa_mpjpe(keypoint_map(free_body, BODY_25)(joints, vertices), persons.points).mean()
    assert errors[True] < 0.9 * errors[False]


def test_the_field_s_own_joints_are_lifted_too(free_body, monkeypatch):
    """Human3.6M's joints, marked in an image."""
    persons = make_persons(free_body, 24, 7, FIELD_JOINTS.name, "capture", noise_px=4.0)
    errors = {}
    for lifted in (False, True):
        monkeypatch.setattr(FitSettings, "manner", property(lambda _, lifted=lifted: replace(TODAY, lifted=lifted)))
        vertices, joints = pose_fits(free_body, Fitter(free_body, FitSettings()).fit(persons.instants))
        errors[lifted] = pa_mpjpe(keypoint_map(free_body, FIELD_JOINTS)(joints, vertices), persons.points).mean()
    assert errors[True] < 0.9 * errors[False]


def test_what_was_lifted_counts_as_nothing_that_was_seen(free_body, fitter, monocular):
    """An arm that no keypoint shows stays unseen, and its joints do not supervise."""
    arm = ("left_elbow", "left_wrist")
    confidence = np.where(np.isin(BODY_25.names, arm), 0.0, 1.0)
    instant = monocular.instants[0]
    hidden = replace(instant, views=(replace(instant.views[0], confidence=confidence),))
    (fit,) = fitter.fit([hidden])
    assert set(arm) <= set(fit.quality.joints_unseen)
    assert {"left_elbow_twist", "left_wrist"} <= set(fit.quality.unseen)
    objective, _ = fitter.search(fitter.kind_of(hidden, {}), [hidden], {})
    assert (objective.evidence.points_weight[:, len(BODY_25) :] > 0).any()
    assert not told(objective.evidence, len(BODY_25)).points_weight.any()


@pytest.mark.parametrize(
    ("prior", "joint_set", "views"), [("anatomical", "openpose_25", 1), ("motion", "openpose_25", 2)]
)
def test_other_fits_have_no_lifted_joints(free_body, prior, joint_set, views):
    persons = make_persons(free_body, 1, 3, joint_set, views=views)
    fitter = Fitter(free_body, FitSettings(prior=prior))
    objective, _ = fitter.search(fitter.kind_of(persons.instants[0], {}), persons.instants, {})
    assert objective.evidence.points.shape[1] == len(JOINT_SETS[joint_set]) and objective.evidence.shift is None


def test_a_common_shift_costs_what_its_size_says(fitter, monocular):
    """Bodies a metre further away than the lifter guessed are as good, but for the shift itself."""
    kind = fitter.kind_of(monocular.instants[0], {})
    objective, found = fitter.search(kind, monocular.instants[:1], {})
    n = len(BODY_25)
    offset = torch.zeros(1, n + 17, 3, dtype=torch.float64)
    offset[:, n:, 2] = 1.0
    quiet = replace(objective.evidence, pixels_weight=torch.zeros_like(objective.evidence.pixels_weight))
    cost = objective.over(quiet).data_cost(objective.evidence.points + offset)
    assert cost.item() == pytest.approx((1.0 / SHIFT) ** 2, rel=0.01)
