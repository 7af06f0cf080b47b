"""Hands and face: which joints they add to a fit, and what is likely of fingers and jaws."""

import torch

from pipeline.body.model import BodyModel
from pipeline.fit.kinematics import BODY_JOINTS, JAW, LEFT_HAND, RIGHT_HAND
from pipeline.fit.priors import GaussianPrior
from pipeline.fit.settings import FitSettings
from pipeline.records import Instant
from pipeline.skeletons import OPENPOSE_FACE, OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND, SMPLX_55

LEFT_WRIST, RIGHT_WRIST = (SMPLX_55.index(name) for name in ("left_wrist", "right_wrist"))
HAND_SETS = {OPENPOSE_LEFT_HAND.name: LEFT_HAND, OPENPOSE_RIGHT_HAND.name: RIGHT_HAND}
# Likely turns of a left finger joint (mean, deviation; radians) about x along the finger, y up and z: fingers curl about -z.
_FIRST_JOINT = ((0.0, 0.0, -0.3), (0.10, 0.15, 0.45))
_NEXT_JOINTS = ((0.0, 0.0, -0.3), (0.05, 0.05, 0.45))
_THUMB = ((0.0, 0.0, 0.0), (0.40, 0.40, 0.40))
_CURL = (-1.9, 0.3)
# A jaw opens about +x.
_JAW = ((0.08, 0.0, 0.0), (0.20, 0.03, 0.03))
_JAW_RANGE = (-0.02, 0.6)


def extra_sets(instant: Instant, settings: FitSettings) -> tuple[str, ...]:
    """Names of the hand and face keypoint sets that some view of an instant holds and the settings ask for."""
    wanted = (*(HAND_SETS if settings.hands else ()), *((OPENPOSE_FACE.name,) if settings.face else ()))
    return tuple(
        name
        for name in wanted
        if any(
            name in view.keypoints_2d and (view.keypoints_2d[name][:, 2] > settings.min_confidence).any()
            for view in instant.views
        )
    )


def extra_joints(sets: tuple[str, ...]) -> tuple[int, ...]:
    """Joints of SMPL-X that the sets add to the body's."""
    face = (JAW,) if OPENPOSE_FACE.name in sets else ()
    return face + tuple(joint for name, joints in HAND_SETS.items() if name in sets for joint in joints)


def fitted_joints(sets: tuple[str, ...]) -> tuple[int, ...]:
    return BODY_JOINTS + extra_joints(sets)


def has_hands(body: BodyModel) -> bool:
    """Whether finger joints move any skin."""
    return bool((body.weights[:, list(LEFT_HAND + RIGHT_HAND)].amax(0) > 0.1).all())


def extra_prior(joints: tuple[int, ...], dtype: torch.dtype) -> GaussianPrior | None:
    """What is likely of the extra joints, each on its own; None without any."""
    if not joints:
        return None
    mean, sigma = torch.zeros(len(joints), 3, dtype=dtype), torch.zeros(len(joints), 3, dtype=dtype)
    lowest, highest = torch.full_like(mean, -torch.inf), torch.full_like(mean, torch.inf)
    for row, joint in enumerate(joints):
        name = SMPLX_55.names[joint]
        likely = (
            _JAW
            if joint == JAW
            else _THUMB
            if "thumb" in name
            else _FIRST_JOINT
            if name.endswith("1")
            else _NEXT_JOINTS
        )
        side = -1.0 if name.startswith("right_") else 1.0
        mean[row] = torch.tensor(likely[0], dtype=dtype) * torch.tensor([1.0, side, side], dtype=dtype)
        sigma[row] = torch.tensor(likely[1], dtype=dtype)
        if joint == JAW:
            lowest[row, 0], highest[row, 0] = _JAW_RANGE
        elif "thumb" not in name:
            lowest[row, 2], highest[row, 2] = _CURL if side > 0 else (-_CURL[1], -_CURL[0])
    return GaussianPrior(mean, torch.diag(sigma.flatten() ** -2), lowest - mean, highest - mean)
