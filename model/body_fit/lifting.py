"""What the lifter makes of the points that a network says of people in the image: how their bodies lie in depth."""

import numpy as np

from model.body_fit.records import BodyFitSettings, Keypoints
from pipeline.lift.network import Lifted, Lifter, lift
from pipeline.skeletons import COCO


def lifted_joints(
    lifter: Lifter,
    rays: np.ndarray,
    deviation: np.ndarray,
    keypoints: Keypoints | None,
    weights: np.ndarray,
    root: np.ndarray,
    settings: BodyFitSettings,
) -> Lifted:
    """The joints of N people about the root, from the image alone.

    rays: (N, J, 2) X/Z and Y/Z of the joints as the network says them; deviation: (N, J), of each, infinite for those that are not to
    be believed. weights: (N, 17) of the keypoints, 0 of those that are not. root: (N, 3) m.
    """
    marks, off = np.zeros((len(rays), len(COCO), 2)), np.full((len(rays), len(COCO)), np.inf)
    if keypoints is not None:
        marks = np.where(weights[..., None] > 0, keypoints.rays, 0.0)
        with np.errstate(divide="ignore"):
            off = settings.keypoints_lifted / np.sqrt(weights) / root[:, 2:]
    return lift(lifter, np.concatenate([marks, rays], 1), np.concatenate([off, deviation], 1))
