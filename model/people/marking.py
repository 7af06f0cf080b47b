"""Keypoints of the people in boxes, by the 2D network: evidence for the fit of bodies.

The network marks one person in a box. Of two who stand before one another it may mark the same one twice; whose box these keypoints
fit worse has none of his own then.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.networks.keypoint_network import KeypointNetwork
from model.people.detector import overlaps
from model.people.given import check_box
from model.people.predict import Finder
from model.people.records import Box, Keypoints, Picture
from pipeline.camera import tight_box
from pipeline.errors import InputError
from pipeline.skeletons import COCO

# A keypoint of a higher score was seen.
SEEN = 0.2
# Two people's keypoints are one person's where such a part of all that are seen lie alike, within such a part of the smaller box's
# longer side.
SHARED, ALIKE = 0.5, 0.1


def marking(find: Finder, network: KeypointNetwork) -> Finder:
    """The same boxes with the 2D network's keypoints, where they have none of COCO's and the network marks nobody else in them. Boxes
    that are refused stay as they are.
    """

    def look(picture: Picture) -> list[Box]:
        boxes = list(find(picture))
        asked = [k for k, box in enumerate(boxes) if not _known(box) and _usable(box, picture)]
        found = [mark(network, picture, boxes[k]) for k in asked]
        others = of_others([boxes[k] for k in asked], found)
        for k, keypoints, other in zip(asked, found, others, strict=True):
            boxes[k] = boxes[k] if other else replace(boxes[k], keypoints=keypoints)
        return boxes

    return look


def mark(network: KeypointNetwork, picture: Picture, box: Box) -> Keypoints:
    return those_seen(*network(picture.pixels, box.box))


def those_seen(points: np.ndarray, scores: np.ndarray) -> Keypoints:
    """COCO's keypoints (17, 2) px of scores (17,), as evidence."""
    return Keypoints(COCO.name, points, np.where(scores > SEEN, scores, 0))


def of_others(boxes: Sequence[Box], found: Sequence[Keypoints]) -> np.ndarray:
    """(N,) bool: whose keypoints are those of another, whose box they fit better."""
    fits, others = [_fit(box.box, one) for box, one in zip(boxes, found, strict=True)], np.zeros(len(found), bool)
    for k, one in enumerate(found):
        for j, other in enumerate(found[:k]):
            near = ALIKE * min(max(boxes[k].box[2:]), max(boxes[j].box[2:]))
            seen = np.stack([one.confidence > 0, other.confidence > 0])
            alike = seen.all(0) & (np.linalg.norm(one.points - other.points, axis=1) < near)
            if alike.sum() >= SHARED * max(1, seen.any(0).sum()):
                others[k if fits[k] <= fits[j] else j] = True
    return others


def _fit(box: np.ndarray, found: Keypoints) -> float:
    """What the box has in common with the tight box of the keypoints that are seen."""
    seen = found.confidence > 0
    return float(overlaps(box, tight_box(found.points[seen], 0.0, 1.0)[None])[0]) if seen.any() else 0.0


def _known(box: Box) -> bool:
    return box.keypoints is not None and box.keypoints.of(COCO) is not None


def _usable(box: Box, picture: Picture) -> bool:
    try:
        check_box(box.box, picture.pixels.shape[1], picture.pixels.shape[0])
    except InputError:
        return False
    return True
