"""What the lifter makes of the points that a network says of people in the image: how their bodies lie in depth."""

import numpy as np

from model.body_fit.records import BodyFitSettings, Keypoints
from pipeline.fit.objective import NEAREST_Z
from pipeline.lift.network import POINTS, Lifted, Lifter, lift
from pipeline.skeletons import COCO


def lifted_joints(
    lifter: Lifter,
    joints: np.ndarray,
    root: np.ndarray,
    told: np.ndarray,
    factor: np.ndarray,
    keypoints: Keypoints | None,
    seen: np.ndarray,
    settings: BodyFitSettings,
) -> Lifted:
    """The joints of N people about the root, from the image alone.

    joints: (N, J, 3) m about the root (N, 3). told: (N, J) bool, the joints whose places in the image are to be believed, each to
    `across` times its factor (N, J). seen: (N, 17) weights of the keypoints, 0 of those that are not.
    """
    N, J = told.shape
    depth = np.maximum(root[:, 2:], NEAREST_Z)
    rays, deviation = np.zeros((N, POINTS, 2)), np.full((N, POINTS), np.inf)
    if keypoints is not None:
        rays[:, : len(COCO)] = np.where(seen[..., None] > 0, keypoints.rays, 0.0)
        with np.errstate(divide="ignore"):
            deviation[:, : len(COCO)] = settings.keypoints_lifted / np.sqrt(seen) / depth
    placed = joints + root[:, None]
    rays[:, len(COCO) :] = placed[..., :2] / np.maximum(placed[..., 2:], NEAREST_Z)
    deviation[:, len(COCO) :] = np.where(told, settings.across_lifted * factor / depth, np.inf)
    return lift(lifter, rays, deviation)
