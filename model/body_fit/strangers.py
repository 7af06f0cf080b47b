"""Keypoints that are another person's, or nobody's: they are not heard."""

import numpy as np

from model.body_fit.evidence import are_marked
from model.body_fit.records import BodyFitSettings, Keypoints, Told
from pipeline.fit.objective import NEAREST_Z
from pipeline.skeletons import COCO, JointSet


def elsewhere(
    told: Told, keypoints: Keypoints, weights: np.ndarray, joint_set: JointSet, settings: BodyFitSettings
) -> np.ndarray:
    """(N,) bool: people most of whose keypoints lie far from where the network sees the joints of the same name. weights:
    (N, 17) of the keypoints, 0 of those that were not seen."""
    same = [(k, joint_set.index(name)) for k, name in enumerate(COCO.names) if name in joint_set.names]
    marks, joints = [k for k, _ in same], [j for _, j in same]
    apart = distances(keypoints.rays[:, marks], told.joints[:, joints] + told.root[:, None])
    known = (weights[:, marks] > 0) & told.has[:, joints] & told.placed[:, None]
    far = (known & (apart > settings.elsewhere)).sum(1)
    return are_marked(weights) & (2 * far > known.sum(1))


def unexplained(keypoints: Keypoints, weights: np.ndarray, points: np.ndarray, settings: BodyFitSettings) -> np.ndarray:
    """(N,) bool: people to whose keypoints no body could be fitted. points: (N, 17, 3) m, those of the fitted body; weights: as of
    `elsewhere`."""
    seen = weights > 0
    apart = np.where(seen, distances(keypoints.rays, points), 0.0)
    return are_marked(weights) & (apart.sum(1) > settings.unexplained * seen.sum(1))


def distances(rays: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, K) m across the image, at the points' depth, between rays (N, K, 2) and points (N, K, 3) m; 0 for no number."""
    depth = np.maximum(points[..., 2], NEAREST_Z)
    there = np.isfinite(rays).all(-1)
    apart = np.where(there[..., None], rays, 0.0) - points[..., :2] / depth[..., None]
    return np.where(there, np.linalg.norm(apart, axis=-1) * depth, 0.0)
