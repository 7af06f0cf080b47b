"""Keypoints that are another person's: they are not heard."""

import numpy as np

from model.body_fit.evidence import are_marked
from model.body_fit.records import BodyFitSettings, Keypoints, Told
from pipeline.fit.objective import NEAREST_Z
from pipeline.skeletons import COCO, JointSet


def elsewhere(
    told: Told, keypoints: Keypoints, weights: np.ndarray, joint_set: JointSet, settings: BodyFitSettings
) -> np.ndarray:
    """(N,) bool: people most of whose keypoints, by their confidence, lie far from where the network sees the joints of the same name.
    weights: (N, 17) of the keypoints, 0 of those that were not seen."""
    same = [(k, joint_set.index(name)) for k, name in enumerate(COCO.names) if name in joint_set.names]
    marks, joints = [k for k, _ in same], [j for _, j in same]
    apart = distances(keypoints.rays[:, marks], told.joints[:, joints] + told.root[:, None])
    known = (weights[:, marks] > 0) & told.has[:, joints] & told.placed[:, None]
    sure = np.where(known, keypoints.confidence[:, marks], 0.0)
    far = np.where(apart > settings.elsewhere, sure, 0.0)
    return are_marked(weights) & (2 * far.sum(1) > sure.sum(1))


def distances(rays: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, K) m across the image, at the points' depth, between rays (N, K, 2) and points (N, K, 3) m; 0 for no number."""
    depth = np.maximum(points[..., 2], NEAREST_Z)
    there = np.isfinite(rays).all(-1)
    apart = np.where(there[..., None], rays, 0.0) - points[..., :2] / depth[..., None]
    return np.where(there, np.linalg.norm(apart, axis=-1) * depth, 0.0)
