"""Boxes and points in images: what lies inside what, and how far boxes overlap. Boxes are x, y, width, height in pixels."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.camera import BOX_SCALE
from pipeline.records import Camera

# Intersection over union of a person's box and the box of its projected joints, tight or as datasets draw it. Of right
# cameras it is 0.56 and more, boxes of detectors included; a camera most of whose views have less than SURE is wrong.
LEAST_OVERLAP, SURE_OVERLAP = 0.4, 0.5


def inside(points: np.ndarray, width: Any, height: Any, beyond: float = 0.0) -> np.ndarray:
    """(..., 2) pixels -> whether each lies in the image, or no further than a share of it outside."""
    x, y = points[..., 0], points[..., 1]
    dx, dy = 0.5 + beyond * width, 0.5 + beyond * height
    return (x >= -dx) & (x <= width - 1 + dx) & (y >= -dy) & (y <= height - 1 + dy)


def in_box(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Whether points lie in a box that is half as large again."""
    x, y, w, h = box
    low, high = np.array([x - w / 4, y - h / 4]), np.array([x + 1.25 * w, y + 1.25 * h])
    return np.asarray(((points >= low) & (points <= high)).all(-1))


def tight(points: np.ndarray) -> np.ndarray:
    """x, y, width, height about points."""
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, high - low])


def box_overlap(points: np.ndarray, box: np.ndarray) -> float:
    """Intersection over union of a box and that of points (N, 2), tight or BOX_SCALE as wide, whichever is more."""
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    w, h = x1 - x0, y1 - y0
    shared = overlap((x0, y0, w, h), box)
    if shared > SURE_OVERLAP:
        return shared
    grow = (BOX_SCALE - 1) / 2
    return max(shared, overlap((x0 - grow * w, y0 - grow * h, BOX_SCALE * w, BOX_SCALE * h), box))


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(K,) intersection over union of boxes (K, 4)."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = (high - low).clip(0).prod(1)
    return shared / np.maximum(a[:, 2:].prod(1) + b[:, 2:].prod(1) - shared, 1e-9)


def square(box: Iterable[float]) -> tuple[float, float, float, float]:
    x, y, w, h = map(float, box)
    side = max(w, h)
    return x + (w - side) / 2, y + (h - side) / 2, side, side


def overlap(a: Iterable[float], b: Iterable[float]) -> float:
    """Intersection over union of two boxes."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = map(float, a), map(float, b)
    shared = max(min(ax + aw, bx + bw) - max(ax, bx), 0.0) * max(min(ay + ah, by + bh) - max(ay, by), 0.0)
    union = aw * ah + bw * bh - shared
    return shared / union if union > 0 else 0.0


def share_inside(box: Iterable[float], camera: Camera) -> float:
    """How much of a box lies in the image."""
    x, y, w, h = map(float, box)
    shared = max(min(x + w, camera.width) - max(x, 0.0), 0.0) * max(min(y + h, camera.height) - max(y, 0.0), 0.0)
    return float(shared / (w * h)) if w * h > 0 else 0.0
