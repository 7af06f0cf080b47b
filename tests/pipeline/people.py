"""A standing person for made-up datasets: what is read must be somebody."""

import numpy as np

# Metres: x to the person's left, y up from the middle of the body, z forward.
_SIDED = {
    "eye": (0.03, 0.73, 0.08),
    "ear": (0.07, 0.71, 0.0),
    "collar": (0.07, 0.5, 0.0),
    "shoulder": (0.18, 0.52, 0.0),
    "elbow": (0.24, 0.26, -0.03),
    "wrist": (0.27, 0.03, 0.03),
    "hand": (0.28, -0.05, 0.05),
    "hip": (0.11, 0.02, 0.0),
    "knee": (0.12, -0.4, 0.03),
    "ankle": (0.12, -0.82, -0.02),
    "foot": (0.13, -0.86, 0.1),
    "big_toe": (0.12, -0.87, 0.16),
    "small_toe": (0.17, -0.87, 0.13),
    "heel": (0.12, -0.87, -0.06),
}
_MIDDLE = {
    "pelvis": (0.0, 0.03, 0.0),
    "spine": (0.0, 0.27, 0.0),
    "spine1": (0.0, 0.14, 0.0),
    "spine2": (0.0, 0.27, 0.0),
    "spine3": (0.0, 0.33, 0.0),
    "neck": (0.0, 0.54, 0.0),
    "upper_neck": (0.0, 0.6, 0.0),
    "head": (0.0, 0.64, 0.02),
    "nose": (0.0, 0.7, 0.1),
    "head_top": (0.0, 0.83, 0.0),
}
TO_CAMERA = np.diag([1.0, -1.0, -1.0])  # a camera's y points down, and the person faces it


def standing(names) -> np.ndarray:
    """(J, 3) metres of these joints."""
    places = _MIDDLE | {
        f"{side}_{name}": (sign * x, y, z)
        for name, (x, y, z) in _SIDED.items()
        for side, sign in (("left", 1), ("right", -1))
    }
    return np.array([places[name] for name in names])


def affine_rows(vertices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(J, V) weights, each row summing to one, that give points (J, 3) from vertices (V, 3)."""
    chosen = [int(f(vertices[:, k])) for k in range(3) for f in (np.argmax, np.argmin)]
    chosen = list(dict.fromkeys(chosen))
    corners = np.c_[vertices[chosen], np.ones(len(chosen))]
    rows = np.zeros((len(points), len(vertices)))
    rows[:, chosen] = np.linalg.lstsq(corners.T, np.c_[points, np.ones(len(points))].T, rcond=None)[0].T
    return rows


def striped(height: int, width: int, level: int = 90) -> np.ndarray:
    """(height, width, 3) uint8 of this mean level that shows something wherever one looks, since a view of a plain wall is none."""
    shades = level + np.where(np.arange(width) % 12 < 6, -10, 10)
    return np.repeat(np.tile(shades, (height, 1))[..., None], 3, 2).clip(0, 255).astype(np.uint8)


def unsure_witness(_weights: str):
    """In place of the network that looks at pictures: these show nobody, and it says nothing of them."""
    return lambda image, box: (np.zeros((17, 2)), np.full(17, 0.25))
