"""Finds people: NanoDet, a small detector trained on COCO, run by OpenCV.

Where its weights are from and what may be done with them: assets/nanodet.provenance.json and nanodet_LICENSE.txt.
"""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from model.people.records import Box
from pipeline.errors import InputError

ASSETS = Path(__file__).parent / "assets"
MODEL_FILE = ASSETS / "nanodet.onnx"
# Cells of its maps, px of what it sees. A side of a box is a distribution over BINS distances from the middle of the cell, in cells.
STRIDES, BINS, CLASSES = (8, 16, 32), 11, 80
# What its pixels were shifted and scaled by in training, blue, green, red.
MEAN, DEVIATION = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
# The longer sides of the picture that it looks at, px: it was trained at 416, and is surer of whoever fills the picture at 320.
SIDES = (320, 416)
# Small people, and those of a picture in which nobody was seen, are looked for at these sides, too: boxes up to FINE_PART of the
# picture's longer side, by a limit that is higher by FINE_MORE, since small things are taken for people more often.
FINE_SIDES, FINE_PART, SMALL_PART, FINE_MORE = (640, 832), 0.5, 0.25, 0.05
# Least score, the overlap at which two boxes are one person, and how many people one picture may have.
SCORE, OVERLAP, MOST_PEOPLE = 0.45, 0.5, 100
# A box is at least so many px wide and high.
LEAST_PX = 8.0
# What is seen of one picture with its longer side at so many px: boxes (N, 4) and their scores (N,).
Look = Callable[[int], tuple[np.ndarray, np.ndarray]]


class Detector:
    """Boxes of people, from the surest on. score: the least that counts, 0..1."""

    def __init__(self, score: float = SCORE):
        if not 0 < score < 1:
            raise InputError(
                f"The detector's least score is {score:g}. Give one between 0 and 1; the default is {SCORE}."
            )
        self.score = score
        self.net = cv2.dnn.readNetFromONNX(np.frombuffer(checked(MODEL_FILE), np.uint8))
        self.outputs = [f"stride{stride}" for stride in STRIDES]

    def __call__(self, pixels: np.ndarray, look: Look | None = None) -> list[Box]:
        """pixels: (H, W, 3) uint8 RGB. look: at these pixels (`looks`), where quick looks have begun."""
        look = look or self.looks(pixels)
        longest = max(pixels.shape[:2])
        found = self._merged([look(side) for side in SIDES], self.score)
        if not len(found[0]) or found[0][:, 2:].max(1).min() < SMALL_PART * longest:
            small = self._merged([look(side) for side in FINE_SIDES], self.score + FINE_MORE)
            counts = small[0][:, 2:].max(1) <= FINE_PART * longest
            found = self._merged([found, (small[0][counts], small[1][counts])], self.score)
        boxes, scores = found
        return [Box(box, float(score), "detector") for box, score in zip(boxes, scores, strict=True)]

    def looks(self, pixels: np.ndarray) -> Look:
        """At these pixels, not twice at one size."""
        return cache(lambda side: self.look(pixels, side))

    def quick(self, look: Look, side: int) -> list[Box]:
        """Boxes of one look: for the frames of a video between thorough looks."""
        boxes, scores = self._merged([look(side)], self.score)
        return [Box(box, float(score), "detector") for box, score in zip(boxes, scores, strict=True)]

    def _merged(self, looks: list[tuple[np.ndarray, np.ndarray]], least: float) -> tuple[np.ndarray, np.ndarray]:
        """One box a person, of those of several looks."""
        boxes, scores = (np.concatenate(part) for part in zip(*looks, strict=True))
        counts = (scores >= least) & (boxes[:, 2:].min(1) >= LEAST_PX)
        boxes, scores = boxes[counts], scores[counts]
        kept = suppress(boxes, scores)[:MOST_PEOPLE]
        return boxes[kept], scores[kept]

    def look(self, pixels: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, 4) x, y, width, height px and (N,) scores 0..1 of every cell of a picture whose longer side is seen at `side` px."""
        seen, scale = fitted(pixels, side)
        self.net.setInput(seen)
        maps = self.net.forward(self.outputs)
        found = [decode(values[0], stride) for values, stride in zip(maps, STRIDES, strict=True)]
        corners, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        return onto_picture(corners, scale, pixels.shape[1], pixels.shape[0]), scores


def checked(path: Path) -> bytes:
    """A file that was shipped. Raises InputError when its checksum is not the one beside it."""
    try:
        data = path.read_bytes()
        said = json.loads(path.with_suffix(".provenance.json").read_text())["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is missing or damaged ({error}). Install this program again.") from error
    if hashlib.sha256(data).hexdigest() != said:
        raise InputError(f"{path} is damaged: its checksum is another. Install this program again.")
    return data


def fitted(pixels: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(1, 3, h, w) float32, the picture with its longer side at `side` px, grey below and to the right up to whole cells; and (2,)
    how many px of it a pixel of the picture has, across and down.
    """
    height, width = pixels.shape[:2]
    size = np.maximum(np.round(np.array([width, height]) * side / max(width, height)), 1).astype(int)
    small = cv2.resize(
        pixels,
        (int(size[0]), int(size[1])),
        interpolation=cv2.INTER_AREA if side < max(width, height) else cv2.INTER_LINEAR,
    )
    cells = STRIDES[-1]
    seen = np.zeros((1, 3, -(-size[1] // cells) * cells, -(-size[0] // cells) * cells), np.float32)
    seen[0, :, : size[1], : size[0]] = ((small[..., ::-1].astype(np.float32) - MEAN) / DEVIATION).transpose(2, 0, 1)
    return seen, size / (width, height)


def decode(values: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """A map (1 + 4 BINS, h, w) -> (h w, 4) left, top, right, low and (h w,) scores."""
    _, h, w = values.shape
    score = 1 / (1 + np.exp(-values[0].ravel()))
    distribution = np.exp(values[1:] - values[1:].max()).reshape(4, BINS, h * w)
    distance = np.einsum("b,sbn->ns", np.arange(BINS), distribution) / distribution.sum(1).T * stride
    y, x = np.divmod(np.arange(h * w), w)
    middle = (np.stack([x, y], 1) + 0.5) * stride
    return np.concatenate([middle - distance[:, :2], middle + distance[:, 2:]], 1), score


def onto_picture(corners: np.ndarray, scale: np.ndarray, width: int, height: int) -> np.ndarray:
    """(N, 4) left, top, right, low of what was seen -> x, y, width, height in the picture, cut at its border."""
    edges = np.clip(corners / np.tile(scale, 2), 0, np.tile([width, height], 2))
    return np.concatenate([edges[:, :2], edges[:, 2:] - edges[:, :2]], 1)


def suppress(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Indices of the boxes that stay, from the surest on: one that overlaps a surer one by more than OVERLAP says the same again."""
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        kept.append(order[0])
        order = order[1:][overlaps(boxes[order[0]], boxes[order[1:]]) <= OVERLAP]
    return np.array(kept, int)


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) with each of (N, 4) x, y, width, height."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = np.maximum(high - low, 0).prod(1)
    return shared / np.maximum(box[2:].prod() + others[:, 2:].prod(1) - shared, 1e-9)
