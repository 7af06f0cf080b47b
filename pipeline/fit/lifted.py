"""What the lifter says of bodies that one image alone shows, as evidence beside the keypoints: how they lie in depth.

The image pins down where every joint is across it, and leaves each limb two ways to lie in depth. Priors of poses know little of
which; the lifter has seen how people hold themselves before all kinds of cameras.
"""

from dataclasses import replace

import numpy as np
import torch

from pipeline.body.keypoints import ANNOTATED
from pipeline.fit.objective import Evidence
from pipeline.lift.network import POINTS, lift, load_lifter
from pipeline.skeletons import COCO, FIELD_JOINTS, JointSet

# The lifter is told that keypoints are so many times as far off as the fit expects, and its own word is believed to so many times the
# deviation that it states. It has no robust function, and nobody's poses are quite those that it learnt from.
TOLD, TRUST = 2.0, 2.0
# Deviation (metres an axis) of where the lifted body stands: its distance follows from a size that it guesses.
SHIFT = 1.0
# Sets of 2D joints that the lifter knows: MSCOCO's keypoints are among those of the first, and the last is the field's.
LIFTED = (*ANNOTATED, FIELD_JOINTS.name)
# Of a row that is not lifted: points that are measured have no shift in common.
NO_SHIFT = 1e-6


def with_lifted(evidence: Evidence, joint_set: JointSet, defined: np.ndarray) -> Evidence:
    """The evidence of bodies in one view, with the field's joints as further points in space.

    joint_set: of the first points, one of LIFTED. defined: (17,) bool, which of the field's joints the body has. Rows with joints that
    are known in space are left as they are.
    """
    device, J = evidence.points.device, len(joint_set)
    pixels, weight = (a[:, 0, :J].cpu().numpy() for a in (evidence.pixels, evidence.pixels_weight))
    sigma = (1 / torch.linalg.det(evidence.scale[:, 0]).sqrt()).cpu().numpy()
    deviation = np.where(weight > 0, TOLD * sigma[:, None] / np.sqrt(np.maximum(weight, 1e-12)), np.inf)
    measured = (evidence.points_weight > 0).any(1).cpu().numpy()
    rays, off = np.zeros((len(pixels), POINTS, 2)), np.full((len(pixels), POINTS), np.inf)
    slots = told_points(joint_set)
    own = list(slots.values())
    rays[:, list(slots)], off[:, list(slots)] = pixels[:, own], np.where(measured[:, None], np.inf, deviation[:, own])
    lifted = lift(load_lifter(), rays, off)
    placed = lifted.joints + _roots(lifted.joints, pixels, weight, joint_set)[:, None]
    R, t = (a[:, 0].cpu().numpy() for a in (evidence.R, evidence.t))
    points = (placed - t[:, None]) @ R
    shift = np.where(measured, NO_SHIFT, SHIFT)
    more, weights, common = (
        torch.as_tensor(a, dtype=evidence.points.dtype, device=device)
        for a in (points, lifted.weights(defined, TRUST), shift)
    )
    return replace(evidence.with_points(more, weights), shift=common)


def told_points(joint_set: JointSet) -> dict[int, int]:
    """Which of the lifter's points are joints of a set of LIFTED, by their places in both."""
    if joint_set is FIELD_JOINTS:
        return {len(COCO) + j: j for j in range(len(FIELD_JOINTS))}
    return {k: joint_set.index(name) for k, name in enumerate(COCO.names)}


def _roots(joints: np.ndarray, pixels: np.ndarray, weight: np.ndarray, joint_set: JointSet) -> np.ndarray:
    """(B, 3) m: where joints (B, 17, 3) about the root stand so that those of the same names are seen at pixels (B, J, 2), by least
    squares of `x - u z`."""
    names = tuple(name for name in FIELD_JOINTS.names if name in joint_set.names)
    theirs, own = list(FIELD_JOINTS.indices(names)), list(joint_set.indices(names))
    X, u, w = joints[:, theirs], pixels[:, own], np.sqrt(weight[:, own])
    A = np.zeros((*u.shape, 3))
    A[..., 0, 0] = A[..., 1, 1] = 1.0
    A[..., 2] = -u
    b = u * X[..., 2:] - X[..., :2]
    A, b = (A * w[..., None, None]).reshape(len(X), -1, 3), (b * w[..., None]).reshape(len(X), -1, 1)
    # a millionth, so that a view of nothing has a solution
    root = np.linalg.solve(A.transpose(0, 2, 1) @ A + 1e-6 * np.eye(3), A.transpose(0, 2, 1) @ b)
    return root[..., 0]


def told(evidence: Evidence, n: int) -> Evidence:
    """Without what was lifted: the first n points are seen, and the others were made of them."""
    weight = evidence.points_weight.clone()
    weight[:, n:] = 0
    return replace(evidence, points_weight=weight)
