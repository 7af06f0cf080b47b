"""MoveNet as it was made: it finds MSCOCO's keypoints of the person in a box of a picture."""

from pathlib import Path

import cv2
import numpy as np
import torch

from model.networks.encoders.body import weights_file
from model.networks.encoders.movenet import WIDTHS, MoveNet, decode_keypoints
from model.networks.encoders.movenet_weights import read_weights
from pipeline.camera import BOX_MARGIN, halved
from pipeline.skeletons import COCO

# How much each of several looks enlarges what is in the square about a box (docs/log.md).
ENLARGED = (1.0, 1.21)
# Looks agree about where a keypoint is within the first part of the box's longer side, and about which place it is within the second:
# with this one, keypoints of a score are as often wrong as those of one look (docs/log.md).
AGREE, ELSEWHERE = 0.02, 0.1


class KeypointNetwork:
    """MoveNet on the square about a box."""

    def __init__(self, weights: str | Path = "thunder", augmented: bool = False):
        """weights: "thunder" or "lightning", which come with this program, or a file. augmented: whether it is asked about four looks
        at every box, which takes four times as long. Raises InputError for weights that are not MoveNet's."""
        kind, state = read_weights(weights_file(str(weights)))
        self.side = WIDTHS[kind].side
        self.augmented = augmented
        with torch.device("meta"):  # without values: all are read
            self.network = MoveNet(kind)
        self.network.load_state_dict(state, assign=True)
        self.network.eval().requires_grad_(False)

    def __call__(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(17, 2) pixels of the image (H, W, 3) uint8 and (17,) scores of the person in `box` (4,) x, y, width, height."""
        if not self.augmented:
            points, scores = self._look(image, box)
            return points[0], scores[0]
        looks = [self._look(image, box, factor) for factor in ENLARGED]
        points, scores = (np.concatenate(said) for said in zip(*looks, strict=True))
        return agreed(points, scores, max(box[2:]))

    def _look(self, image: np.ndarray, box: np.ndarray, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """(L, 17, 2) pixels of the image and (L, 17) scores: of the square about the box, enlarged, then of its mirror image."""
        scale = factor * self.side / (BOX_MARGIN * max(box[2:]))
        shift = self.side / 2 - scale * (box[:2] + box[2:] / 2)
        pixels = torch.from_numpy(scaled_square(image, scale, shift, self.side)).permute(2, 0, 1)
        looks = torch.stack([pixels, pixels.flip(-1)] if self.augmented else [pixels]).float() * (2 / 255) - 1
        points, scores = (found.double().numpy() for found in decode_keypoints(self.network(looks)))
        for k in range(1, len(points)):
            points[k, :, 0] = self.side - 1 - points[k, :, 0]
            points[k], scores[k] = points[k, COCO.flip], scores[k, COCO.flip]
        return (points - shift) / scale, scores


def agreed(points: np.ndarray, scores: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """What L looks at a person say together: (J, 2) pixels and (J,) scores.

    Of a joint, the look from which the others, by their scores, are least far counts as its place, and every look by how near it is
    to that: of a left hand that half of the looks take for the right one, no mean lies between the two. The score is the mean of the
    looks' own, each by how far it agrees, so that a joint about which they differ is hardly sure. points: (L, J, 2) pixels; scores:
    (L, J); size: of the box, pixels.
    """
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1) / size  # (L, L, J)
    best = (np.minimum(apart, ELSEWHERE) * scores).sum(1).argmin(0)
    off = np.take_along_axis(apart, best[None, None], 0)[0]  # (L, J)
    weights = np.maximum(scores, 1e-12)[..., None] / (1 + (off / AGREE) ** 2)[..., None]
    return (points * weights).sum(0) / weights.sum(0), (scores / (1 + (off / ELSEWHERE) ** 2)).mean(0)


def scaled_square(image: np.ndarray, scale: float, shift: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3): the pixel (x, y) of an image (H, W, 3) comes to `scale * (x, y) + shift`.

    The image is first halved as for a crop of the field: between two pixels alone, all that lies beside them would be lost.
    """
    image, halvings = halved(image, 1 / scale)
    cells = 2**halvings  # pixels that became one
    move = shift + scale * (cells - 1) / 2
    matrix = np.array([[cells * scale, 0, move[0]], [0, cells * scale, move[1]]])
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
