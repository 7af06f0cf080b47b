"""COCO's keypoints in space: a public 2D pose network in every view of an instant, and the points that fit all views best."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.networks.keypoint_network import KeypointNetwork
from model.people.marking import SEEN
from pipeline.camera import pixel_rays, tight_box
from pipeline.images import read_image
from pipeline.records import Camera, Instant
from pipeline.skeletons import COCO

# Reprojection error at which a view counts half, px.
HALF_WEIGHT_PX = 12.0
ROUNDS = 8


@dataclass(frozen=True)
class Seen:
    """Keypoints of F instants in C views. pixels: (F, C, 17, 2). scores: (F, C, 17) 0..1. boxes: (F, C, 4) x, y, width, height of the
    tight box about the keypoints that are seen, pixels.
    """

    pixels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class Triangulated:
    """points: (F, 17, 3) m, in the instants' frame. errors: (F, C, 17) px, of their images from the keypoints."""

    points: np.ndarray
    errors: np.ndarray


def detect(instants: Sequence[Instant], root: Path, detector: KeypointNetwork) -> Seen:
    """The person of every view. A view whose box is not finite is searched where the instant before saw the person."""
    rows: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = []
    for instant in instants:
        row = []
        for number, view in enumerate(instant.views):
            given = np.isfinite(view.box).all()
            image, box = read_image(root, view.image_path), view.box if given else rows[-1][number][2]
            for _ in range(2 if given else 1):  # a given box may lie roughly
                pixels, scores = detector(image, box)
                seen = scores > SEEN
                if seen.sum() > 1:
                    box = tight_box(pixels[seen], 0.0, 1.0)
            row.append((pixels, scores, box))
        rows.append(row)
    return Seen(*(np.stack([[view[k] for view in row] for row in rows]) for k in range(3)))


def triangulate(cameras: Sequence[Sequence[Camera]], seen: Seen) -> Triangulated:
    """The points whose images fit best, views weighed by score, and less the farther they lie off (Cauchy). cameras: of every
    instant's views.
    """
    F, C = seen.scores.shape[:2]
    rays = np.stack([[pixel_rays(camera, seen.pixels[f, c]) for c, camera in enumerate(cameras[f])] for f in range(F)])
    P = np.array([[np.column_stack([camera.R, camera.t]) for camera in row] for row in cameras])  # (F, C, 3, 4)
    focal = np.array([[camera.K[0, 0] for camera in row] for row in cameras])
    # Two equations of a view and joint: x P_3 - P_1 = 0 and y P_3 - P_2 = 0, times the homogeneous point.
    equations = rays[..., None] * P[:, :, None, None, 2] - P[:, :, None, :2]  # (F, C, J, 2, 4)
    weights = seen.scores
    for _ in range(ROUNDS):
        rows = (weights[..., None, None] * equations).transpose(0, 2, 1, 3, 4).reshape(F, -1, 2 * C, 4)
        solved = np.linalg.svd(rows)[2][..., -1, :]
        points = solved[..., :3] / solved[..., 3:]
        inside = np.einsum("fcij,fkj->fcki", P[..., :3], points) + P[:, :, None, :, 3]
        errors = np.linalg.norm(inside[..., :2] / inside[..., 2:] - rays, axis=-1) * focal[..., None]
        weights = seen.scores / (1 + (errors / HALF_WEIGHT_PX) ** 2)
    return Triangulated(points, errors)


def limb_lengths(points: np.ndarray) -> dict[str, tuple[float, float]]:
    """Limb -> median length and its standard deviation over the instants, m: real ones do not change."""
    found = {}
    for side in ("left", "right"):
        for first, second in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")):
            a, b = (COCO.index(f"{side}_{name}") for name in (first, second))
            length = np.linalg.norm(points[:, a] - points[:, b], axis=-1)
            found[f"{side}_{first}_{second}"] = (float(np.median(length)), float(length.std()))
    return found
