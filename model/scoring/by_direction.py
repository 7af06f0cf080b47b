"""Errors across the image and along the ray, for joints that are seen and for those that are hidden."""

import numpy as np

from model.data.views import Views
from model.scoring.evaluation import Predictions, ground_truth
from pipeline.lattice import LATTICE_M

# A joint is hidden where the stored points know of skin this near to its ray (metres) and so much nearer to the camera than itself:
# a limb's or the trunk's own skin lies no further before its joint.
NEAR_RAY, BEFORE = 0.04, 0.16
# A stored point this near to the surface (metres) is skin.
SKIN = 0.015


def hidden_joints(views: Views, index: np.ndarray) -> np.ndarray:
    """(N, J) bool: joints that no picture shows: without any evidence in the dataset, outside of the crop, or behind the body's own
    skin as far as the stored points know it. What else is in front of people is not known.
    """
    root = np.asarray(views["root"][index], float)
    joints = np.asarray(views["joints"][index], float) + root[:, None]
    hidden = np.asarray(views["joints_unseen"][index], bool).copy()
    pixels = project(joints, views["K"][index])
    middle = np.asarray(views["K"][index])[:, None, :2, 2]
    half = np.array(views.crop_px)[views["folder"][index]] / 2
    hidden |= (np.abs(pixels - middle) > half[:, None, None]).any(-1) | (joints[..., 2] <= 0)
    for row, view in enumerate(index):
        if views["fit_valid"][view]:
            hidden[row] |= behind_skin(joints[row], skin_of(views, int(view)))
    return hidden


def skin_of(views: Views, view: int) -> np.ndarray:
    """(n, 3) m, crop axes: the stored points of a view that lie at the surface."""
    reader = views.folders[views["folder"][view]].readers[views["shard"][view]]
    samples = reader.read_samples(int(views["row"][view]))
    at_surface = np.abs(samples.sdf) * LATTICE_M < SKIN
    return samples.points[at_surface] * LATTICE_M - views["origin"][view] + views["root"][view]


def behind_skin(joints: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """(J,) bool: skin (n, 3) lies before the joint (J, 3), both m in camera axes."""
    rays = joints / np.linalg.norm(joints, axis=1, keepdims=True)
    along = skin @ rays.T
    across = np.linalg.norm(skin[:, None] - along[..., None] * rays, axis=-1)
    far = np.linalg.norm(joints, axis=1)
    return ((across < NEAR_RAY) & (along < far - BEFORE)).any(0)


def project(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(N, J, 2) px of points (N, J, 3) m in the axes of cameras K (N, 3, 3)."""
    image = np.einsum("nab,njb->nja", np.asarray(K, float), points)
    return image[..., :2] / np.maximum(image[..., 2:], 1e-3)


def by_direction(predicted: Predictions, views: Views, crop_px: int, hidden: np.ndarray) -> dict:
    """For all, seen and hidden joints but the root: how many there are, and the mean errors of the root-relative joints across
    their true ray and along it, mm, and of the absolute ones in the image, px of a network's crop (crop_px a side). JSON-able.
    hidden: (N, J) bool, as `hidden_joints` gives them.
    """
    index, root = predicted.view, views.joint_set.root_index
    truth, known = ground_truth(views, index)
    known = known & known[:, root, None] & (np.arange(len(views.joint_set)) != root)
    true_root = np.asarray(views["root"][index], float)
    rays = truth + true_root[:, None]
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    error = (predicted.joints - predicted.joints[:, root, None]) - (truth - truth[:, root, None])
    along = (error * rays).sum(-1)
    across = np.linalg.norm(error - along[..., None] * rays, axis=-1)
    scale = crop_px / np.array(views.crop_px)[views["folder"][index]]
    placed = predicted.joints + predicted.root[:, None], truth + true_root[:, None]
    pixels = [project(points, views["K"][index]) for points in placed]
    off = np.linalg.norm(pixels[0] - pixels[1], axis=-1) * scale[:, None]
    parts = {"all": known, "seen": known & ~hidden, "hidden": known & hidden}
    return {name: row_of(across, along, off, part) for name, part in parts.items()}


def row_of(across: np.ndarray, along: np.ndarray, off: np.ndarray, part: np.ndarray) -> dict:
    """Means over the joints of `part` (N, J) bool; None of no joints."""
    mean = lambda values: round(float(np.abs(values[part]).mean()), 3) if part.any() else None  # noqa: E731
    return {
        "joints": int(part.sum()),
        "across_mm": mean(1000 * across),
        "along_mm": mean(1000 * along),
        "image_px": mean(off),
    }
