"""Draws a skeleton on a picture; apart from `figures`, so that who draws only these need not wait for the libraries of plots."""

import cv2
import numpy as np

from pipeline.skeletons import SIDE_COLOURS, JointSet, side_of


def draw_skeleton(image: np.ndarray, pixels: np.ndarray, joint_set: JointSet, colour: tuple | None, width: int) -> None:
    """Draw bones on (H, W, 3) uint8. pixels: (J, 2). colour: None tells left, right and middle apart."""
    for parent, child in joint_set.bones:
        first, second = ((int(x), int(y)) for x, y in np.round(pixels[[parent, child]] * 8).clip(-30000, 30000))
        paint = colour or SIDE_COLOURS[side_of(joint_set.names[child])]
        cv2.line(image, first, second, paint, width, cv2.LINE_AA, 3)
