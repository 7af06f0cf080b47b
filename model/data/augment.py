"""Augmentation as a change of camera: one 3 x 3 matrix moves image, camera, points, offsets and joints alike.

A jittered box is a camera that looks a little to the side, is rolled and has another focal length. Its crop is again a
centred pinhole, so the stored image (which has margin for this) is warped once, and everything in metres is multiplied
by the same matrix. A mirror image is the same thing with determinant -1. Colour and occlusion touch the image only.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.camera import look_at


@dataclass(frozen=True)
class AugmentConfig:
    """How far a training view is changed. Zeros everywhere leave the view as it is stored.

    scale: the box's side is multiplied by 1/(1+scale) to 1+scale. shift: the box's centre moves by up to this part of
    the crop's side, each way. roll_degrees: the camera turns about its axis by up to this. flip: probability of a
    mirror image. colour: contrast, brightness, saturation and each channel's gain vary by up to this part. occlusion:
    probability that a rectangle is painted over; its sides are up to occlusion_size of the crop's.
    """

    scale: float = 0.10
    shift: float = 0.05
    roll_degrees: float = 15.0
    flip: float = 0.5
    colour: float = 0.25
    occlusion: float = 0.3
    occlusion_size: float = 0.35

    def __post_init__(self) -> None:
        for name in ("scale", "shift", "colour", "roll_degrees"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"augment.{name} is {getattr(self, name)}; it must not be negative")
        for name in ("flip", "occlusion", "occlusion_size"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name} is {getattr(self, name)}; it must be between 0 and 1")


NO_AUGMENTATION = AugmentConfig(scale=0, shift=0, roll_degrees=0, flip=0, colour=0, occlusion=0)


@dataclass(frozen=True)
class Reframe:
    """The camera of a training crop, given the stored one.

    matrix: (3, 3) orthogonal, stored crop axes -> training crop axes; determinant -1 mirrors. K: (3, 3) pixels of the
    training crop, principal point at its centre. size: side of the training crop, pixels.
    """

    matrix: np.ndarray
    K: np.ndarray
    size: int

    @property
    def mirrored(self) -> bool:
        return bool(np.linalg.det(self.matrix) < 0)

    def homography(self, K_stored: np.ndarray) -> np.ndarray:
        """(3, 3) stored-image pixels -> training-crop pixels."""
        return self.K @ self.matrix @ np.linalg.inv(K_stored)


def centred_camera(f: float, size: int) -> np.ndarray:
    """(3, 3) pinhole with the principal point at the centre of a size x size image."""
    c = (size - 1) / 2
    return np.array([[f, 0, c], [0, f, c], [0, 0, 1.0]])


def plain_reframe(K_stored: np.ndarray, crop_px: int, size: int) -> Reframe:
    """The nominal crop: the central crop_px square of the stored image, scaled to size."""
    return Reframe(np.eye(3), centred_camera(K_stored[0, 0] * size / crop_px, size), size)


def draw_reframe(
    rng: np.random.Generator, config: AugmentConfig, K_stored: np.ndarray, crop_px: int, size: int
) -> Reframe:
    """A jittered box: shift, scale, roll and mirror drawn from `rng` (always five numbers)."""
    dx, dy, ds, dr = rng.uniform(-1, 1, 4)
    mirror = rng.random() < config.flip
    f = K_stored[0, 0]
    shift = np.array([dx, dy]) * config.shift * crop_px / f
    roll = np.deg2rad(config.roll_degrees * dr)
    turn = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    matrix = turn @ look_at(np.array([shift[0], shift[1], 1.0]))
    if mirror:
        matrix = np.diag([-1.0, 1.0, 1.0]) @ matrix
    return Reframe(matrix, centred_camera(f * size / crop_px / (1 + config.scale) ** ds, size), size)


def warp_image(image: np.ndarray, K_stored: np.ndarray, reframe: Reframe) -> np.ndarray:
    """One warp of the stored image (H, W, 3) uint8 to the training crop (size, size, 3); black outside.

    Halved first while a training pixel covers two or more stored ones, which avoids aliasing.
    """
    H = reframe.homography(K_stored)
    ratio = K_stored[0, 0] / reframe.K[0, 0]
    while ratio >= 2:
        if image.shape[0] % 2:  # halve exactly, so that pixel centres stay where H puts them
            image = cv2.copyMakeBorder(image, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
        H = H @ np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
        ratio /= 2
    return cv2.warpPerspective(image, H, (reframe.size, reframe.size), flags=cv2.INTER_LINEAR)


def transform_pixels(H: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(..., 2) pixels through the homography H (3, 3)."""
    moved = pixels @ H[:, :2].T + H[:, 2]
    return moved[..., :2] / moved[..., 2:]


def jitter_colour(rng: np.random.Generator, config: AugmentConfig, image: np.ndarray) -> np.ndarray:
    """Contrast, brightness, saturation and channel gains of a uint8 image as one affine map of colour."""
    if config.colour == 0:
        return image
    contrast, saturation, *gains, brightness = rng.uniform(-config.colour, config.colour, 6)
    grey = np.full((3, 3), 1 / 3)
    matrix = np.diag(1 + np.array(gains) / 2) @ ((1 + saturation) * np.eye(3) - saturation * grey) * (1 + contrast)
    offset = 127.5 * (np.ones(3) - matrix.sum(1)) + 127.5 * brightness  # contrast and gains pivot about mid-grey
    return cv2.transform(image, np.column_stack([matrix, offset]))


def occlude(rng: np.random.Generator, config: AugmentConfig, image: np.ndarray) -> np.ndarray:
    """Paint one rectangle of blurred noise over the image, with the configured probability. Changes `image`."""
    if config.occlusion == 0 or rng.random() >= config.occlusion:
        return image
    size = image.shape[0]
    h, w = (max(2, int(side)) for side in rng.uniform(0.1, max(config.occlusion_size, 0.1), 2) * size)
    y, x = int(rng.integers(0, size - h + 1)), int(rng.integers(0, size - w + 1))
    noise = (rng.uniform(0, 255, 3) + rng.uniform(-60, 60, (3, 3, 3))).clip(0, 255).astype(np.uint8)
    image[y : y + h, x : x + w] = cv2.resize(noise, (w, h), interpolation=cv2.INTER_LINEAR)
    return image
