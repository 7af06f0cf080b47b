"""MoveNet as it was made: it finds MSCOCO's keypoints of the person in a box of a picture."""

from pathlib import Path

import cv2
import numpy as np
import torch

from model.networks.encoders.body import weights_file
from model.networks.encoders.movenet import WIDTHS, MoveNet, decode_keypoints
from model.networks.encoders.movenet_weights import read_weights
from pipeline.camera import BOX_MARGIN, halved


class KeypointNetwork:
    """MoveNet on the square about a box."""

    def __init__(self, weights: str | Path = "thunder"):
        """weights: "thunder" or "lightning", which come with this program, or a file. Raises InputError for one that does not hold
        MoveNet's."""
        kind, state = read_weights(weights_file(str(weights)))
        self.side = WIDTHS[kind].side
        with torch.device("meta"):  # without values: all are read
            self.network = MoveNet(kind)
        self.network.load_state_dict(state, assign=True)
        self.network.eval().requires_grad_(False)

    def __call__(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(17, 2) pixels of the image (H, W, 3) uint8 and (17,) scores of the person in `box` (4,) x, y, width, height."""
        scale = self.side / (BOX_MARGIN * max(box[2:]))
        centre = box[:2] + box[2:] / 2
        shift = self.side / 2 - scale * centre
        pixels = scaled_square(image, scale, shift, self.side)
        given = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() * (2 / 255) - 1
        found, scores = decode_keypoints(self.network(given))
        return (found[0].double().numpy() - shift) / scale, scores[0].double().numpy()


def scaled_square(image: np.ndarray, scale: float, shift: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3): the pixel (x, y) of an image (H, W, 3) comes to `scale * (x, y) + shift`.

    The image is first halved as for a crop of the field: between two pixels alone, all that lies beside them would be lost.
    """
    image, halvings = halved(image, 1 / scale)
    cells = 2**halvings  # pixels that became one
    move = shift + scale * (cells - 1) / 2
    matrix = np.array([[cells * scale, 0, move[0]], [0, cells * scale, move[1]]])
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
