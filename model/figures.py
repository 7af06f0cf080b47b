"""Pictures of predictions: skeletons on crops, in three dimensions, curves and bars. Arrays or PNG files; no window is
opened.
"""

from pathlib import Path

import cv2
import matplotlib
import numpy as np

from pipeline.skeletons import JointSet

matplotlib.use("Agg")

TRUE = (255, 255, 255)
# Left, right and middle of a predicted body, RGB.
SIDES = {"left": (66, 150, 255), "right": (255, 120, 60), "": (120, 220, 120)}


def side_of(name: str) -> str:
    return name.split("_")[0] if name.startswith(("left_", "right_")) else ""


def draw_skeleton(
    image: np.ndarray, pixels: np.ndarray, joint_set: JointSet, colour: tuple | None, width: int = 2
) -> None:
    """Draw bones on (H, W, 3) uint8. pixels: (J, 2). colour: None takes SIDES' colours, left and right told apart."""
    for parent, child in joint_set.bones:
        if not np.isfinite(pixels[[parent, child]]).all():
            continue
        ends = [tuple(int(v) for v in np.round(pixels[k] * 8).clip(-30000, 30000)) for k in (parent, child)]
        paint = colour or SIDES[side_of(joint_set.names[child])]
        cv2.line(image, *ends, paint, width, cv2.LINE_AA, 3)


def overlay(
    image: np.ndarray,
    K: np.ndarray,
    predicted: np.ndarray,
    root: np.ndarray,
    joint_set: JointSet,
    truth: np.ndarray | None = None,
    true_root: np.ndarray | None = None,
    side: int = 256,
) -> np.ndarray:
    """A crop enlarged to `side` px with the predicted skeleton in colour, over the true one in white.

    image: (S, S, 3) uint8. K: (3, 3) px. predicted, truth: (J, 3) m, root-relative crop axes; root, true_root: (3,) m.
    """
    scale = side / image.shape[0]
    canvas = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)

    def pixels(joints, root):
        seen = joints + root
        flat = seen[:, :2] / np.maximum(seen[:, 2:], 1e-3) @ K[:2, :2].T + K[:2, 2]
        return (flat + 0.5) * scale - 0.5

    if truth is not None:
        draw_skeleton(canvas, pixels(truth, true_root), joint_set, (20, 20, 20), max(4, side // 48))
        draw_skeleton(canvas, pixels(truth, true_root), joint_set, TRUE, max(2, side // 96))
    draw_skeleton(canvas, pixels(predicted, root), joint_set, None, max(2, side // 96))
    return canvas


def grid(images: list[np.ndarray], columns: int) -> np.ndarray:
    """Images of one size, row by row, on white."""
    h, w = images[0].shape[:2]
    rows = -(-len(images) // columns)
    canvas = np.full((rows * h, columns * w, 3), 255, np.uint8)
    for k, image in enumerate(images):
        r, c = divmod(k, columns)
        canvas[r * h : (r + 1) * h, c * w : (c + 1) * w] = image
    return canvas


def save_png(path: Path, image: np.ndarray) -> None:
    """image: (H, W, 3) uint8 RGB."""
    cv2.imwrite(str(path), image[..., ::-1])


def prediction_grid(predicted, views, size: int, count: int, columns: int = 4, side: int = 256) -> np.ndarray:
    """`count` crops, evenly spread, with the predicted skeleton in colour over the true one in white: (H, W, 3) uint8."""
    from model.dataset import ViewDataset

    dataset = ViewDataset(views, size, draw=None, augment=None)
    rows = np.unique(np.linspace(0, len(predicted.view) - 1, min(count, len(predicted.view))).round().astype(int))
    pictures = []
    for k in rows:
        stored = dataset.view(0, int(predicted.view[k]))
        pictures.append(
            overlay(
                stored["image"].transpose(1, 2, 0),
                stored["K"],
                predicted.joints[k],
                predicted.root[k],
                views.joint_set,
                stored["joints"],
                stored["root"],
                side,
            )
        )
    return grid(pictures, columns)
