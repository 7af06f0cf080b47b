"""How a camera turns light into a picture: exposure, colour cast, a lens that is not quite sharp, shake, noise, compression."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.sources.synthetic.light import Light
from pipeline.sources.synthetic.settings import Looks

# Exposure brings the picture's mean to the first, and people of middling colour to the second (linear, 1 is white).
PICTURE_LEVEL, PERSON_LEVEL = 0.24, 0.17
MIDDLING = 0.2
# No camera lets the picture become more than this many times too bright for the sake of people in the shade.
MOST_BURNT = 2.0


@dataclass(frozen=True)
class Sensor:
    """gain: (3,) from light to 0..1, exposure and white balance. vignette: share of light lost in the corners.

    blur: standard deviation of the lens' blur, pixels. shake: (k, k) float32 kernel of a camera that moved, or None. noise: standard
    deviation in a grey that is neither dark nor bright, 1 is white. coarse: by how much the picture's JPEG is of lower quality.
    """

    gain: np.ndarray
    vignette: float
    blur: float
    shake: np.ndarray | None
    noise: float
    coarse: int


def draw_sensor(rng: np.random.Generator, image: np.ndarray, light: Light, looks: Looks) -> Sensor:
    """A camera exposed for what it sees. image: (H, W, 3) linear light without people, who stand in `light`."""
    around = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1.0]])
    facing = np.maximum(around @ light.directions.T, 0) @ light.colours
    person = MIDDLING * float((light.on(around) + facing).mean())
    # The brightest parts may burn out; they must not make the rest black.
    scene = float(np.minimum(image, 4 * np.median(image) + 1e-3).mean())
    share = rng.uniform(0.35, 0.9)
    for_picture, for_person = PICTURE_LEVEL / max(scene, 1e-3), PERSON_LEVEL / max(person, 1e-3)
    gain = min(for_picture ** (1 - share) * for_person**share, MOST_BURNT * for_picture)
    drawn = rng.normal(0, 1, 3), rng.normal(0, 1), rng.random(7)
    if not looks.camera_effects:
        return Sensor(np.full(3, gain, np.float32), 0.0, 0.0, None, 0.012, 0)
    cast, exposure, chance = drawn
    scale = image.shape[1] / 256
    gains = gain * 2 ** (0.35 * np.clip(exposure, -2, 2)) * (1 + 0.07 * np.clip(cast, -2, 2))
    return Sensor(
        gains.astype(np.float32),
        0.35 * chance[0] ** 2,
        scale * (0.9 * chance[1] if chance[1] > 0.5 else 0.0),
        shake_kernel(scale * (2 + 5 * chance[2]), np.pi * chance[3]) if chance[4] < 0.12 else None,
        0.004 + 0.03 * chance[5] ** 3,
        int(45 * chance[6] ** 2),
    )


def shake_kernel(length: float, angle: float) -> np.ndarray:
    """(k, k) float32 weights of a straight movement of `length` pixels."""
    reach = int(np.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for step in np.linspace(-length / 2, length / 2, 4 * reach + 1):
        column, row = reach + step * np.cos(angle), reach + step * np.sin(angle)
        kernel[round(row), round(column)] += 1
    blurred = np.asarray(cv2.GaussianBlur(kernel, (0, 0), 0.5))
    return blurred / blurred.sum()


def develop(light: np.ndarray, sensor: Sensor, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32 linear light -> (H, W, 3) uint8 RGB picture."""
    h, w = light.shape[:2]
    image = light * sensor.gain
    if sensor.vignette:
        across, down = np.linspace(-1, 1, w, dtype=np.float32), np.linspace(-1, 1, h, dtype=np.float32)
        image *= (1 - np.float32(sensor.vignette / 2) * (across[None] ** 2 + down[:, None] ** 2))[..., None]
    if sensor.shake is not None:
        image = cv2.filter2D(image, -1, sensor.shake, borderType=cv2.BORDER_REPLICATE)
    if sensor.blur:
        image = cv2.GaussianBlur(image, (0, 0), sensor.blur)
    # Highlights roll off as film does; then about the curve that displays undo.
    image = np.sqrt(np.clip(image, 0, 4))
    bright = image > 0.8
    image[bright] = 0.8 + 0.2 * np.tanh((image[bright] - 0.8) / 0.4)
    image += rng.standard_normal(image.shape, np.float32) * np.float32(sensor.noise)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
