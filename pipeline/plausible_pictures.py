"""Whether a picture shows anything where somebody is said to be: part of what `pipeline.plausible` judges."""

import numpy as np

from pipeline.boxes import inside
from pipeline.records import View

# Levels (of 255) by which pixels of one colour differ, and of a person's box the share that must differ by more from most of it.
ALIKE, LEAST_SHOWN = 6, 0.02
# Rows that a file lost are of one colour from border to border, up to so many levels; of the joints, the share that may lie in such.
LOST, MOST_LOST = 2, 1 / 3
# So many places along each side of a box are looked at.
PLACES = 64


def odd_picture(image: np.ndarray, view: View) -> str | None:
    """Whether the person's box in an image (H, W, 3) uint8 is of a single colour, or the rows of the joints are: a black frame, or one
    that was lost or cut. None where something is to be seen, else a sentence without its end."""
    if _is_plain(_box_pixels(image, view.box)):
        return "the image is of a single colour where the person is, as of a frame that was lost"
    height, width = image.shape[:2]
    points = view.joints_2d[view.confidence > 0]
    rows = np.rint(points[inside(points, width, height), 1]).astype(int).clip(0, height - 1)
    lost = sum(int(np.ptp(image[row], axis=0).max()) <= LOST for row in rows)
    if lost > 1 and lost > MOST_LOST * len(rows):
        return "a part of the image is missing where the person is: its rows are of a single colour"
    return None


def _box_pixels(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(N, 3) pixels of a box, as far as it lies in the image, evenly."""
    height, width = image.shape[:2]
    low = np.clip(np.floor(box[:2]), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(box[:2] + box[2:]), low + 1, [width, height]).astype(int)
    step = np.maximum(1, (high - low) // PLACES)
    return image[low[1] : high[1] : step[1], low[0] : high[0] : step[0]].reshape(-1, 3)


def _is_plain(pixels: np.ndarray) -> bool:
    usual = np.median(pixels, axis=0)
    return bool((np.abs(pixels - usual).max(1) > ALIKE).mean() < LEAST_SHOWN)
