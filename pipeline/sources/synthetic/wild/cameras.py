"""Cameras as people hold them: mostly at eye height and level, from a phone's wide angle to a tele, some high, low or tilted."""

from dataclasses import dataclass

import numpy as np

from pipeline.records import Camera
from pipeline.sources.synthetic.cameras import look_from

# Width over height of pictures, and how often.
SHAPES = ((4 / 3, 0.42), (3 / 4, 0.22), (3 / 2, 0.14), (2 / 3, 0.07), (16 / 9, 0.08), (1.0, 0.07))
DISTANCE_M, PITCH, ROLL = (1.5, 12.0), np.radians((-40.0, 60.0)), np.radians(30.0)
# Focal length over the longest side: a phone's ultra-wide has 0.45, its usual lens 0.75, a portrait lens 2.4, a tele 4 and more.
FOCAL = (0.6, 4.5)
# Size of a person over the square root of the picture's area: median and spread of its logarithm, and its limits.
SIZE, SIZE_SPREAD, SIZE_LIMITS = 0.62, 0.5, (0.22, 2.4)
# Share of cameras that are held at eye height, low, high, and their heights in metres: mean, spread.
_HEIGHTS = ((0.66, 1.45, 0.22), (0.14, 0.5, 0.3), (0.20, 2.5, 0.5))
HEIGHT_M = (0.08, 4.2)


@dataclass(frozen=True)
class Subject:
    """Whom the picture is of. centre: (3,) metres, middle of the body's box. size: its longest side."""

    centre: np.ndarray
    size: float


def draw_camera(
    rng: np.random.Generator, subject: Subject, azimuth: float, longest_px: int, level: bool = False
) -> Camera:
    """A camera that stands in the direction `azimuth` (radians) of the subject and sees it. World metres, z up. level: without
    roll."""
    width, height = _draw_shape(rng, longest_px)
    while True:
        distance = float(np.clip(np.exp(rng.normal(np.log(3.2), 0.55)), *DISTANCE_M))
        size = float(np.clip(np.exp(rng.normal(np.log(SIZE), SIZE_SPREAD)), *SIZE_LIMITS))
        area = np.sqrt(width * height)
        focal = float(np.clip(size * area * distance / subject.size, FOCAL[0] * longest_px, FOCAL[1] * longest_px))
        above = _draw_height(rng) - subject.centre[2]
        if abs(above) > 0.95 * distance:
            continue
        away = np.sqrt(distance**2 - above**2)
        centre = subject.centre + [away * np.cos(azimuth), away * np.sin(azimuth), above]
        fills = focal * subject.size / distance / area
        aim = _draw_aim(rng, subject, centre, distance / focal * np.array([width, height]), fills)
        R = look_from(centre, aim, _draw_roll(rng) * (not level))
        if PITCH[0] <= pitch_of(R) <= PITCH[1]:
            break
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera(K, R, -R @ centre, width, height)


def _draw_shape(rng: np.random.Generator, longest_px: int) -> tuple[int, int]:
    aspects, shares = zip(*SHAPES, strict=True)
    aspect = aspects[rng.choice(len(aspects), p=shares)]
    short = int(round(longest_px / max(aspect, 1 / aspect)))
    return (longest_px, short) if aspect >= 1 else (short, longest_px)


def _draw_height(rng: np.random.Generator) -> float:
    shares, means, spreads = zip(*_HEIGHTS, strict=True)
    k = rng.choice(len(shares), p=shares)
    return float(np.clip(rng.normal(means[k], spreads[k]), *HEIGHT_M))


def _draw_roll(rng: np.random.Generator) -> float:
    """Most pictures are level to some degrees; a seventh is not."""
    return float(
        rng.uniform(-ROLL, ROLL) if rng.random() < 0.15 else np.clip(rng.normal(0, np.radians(3.5)), -ROLL, ROLL)
    )


def _draw_aim(
    rng: np.random.Generator, subject: Subject, centre: np.ndarray, span: np.ndarray, fills: float
) -> np.ndarray:
    """(3,) the point in the middle of the picture. span: (2,) metres that the picture shows at the subject. fills: the subject's size
    over the picture's: of whom it is too large for, the upper part is shown."""
    across = np.cross(subject.centre - centre, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    shift = rng.normal(0, 0.13, 2) * span
    up = rng.uniform(-0.1, 0.4) * subject.size * np.clip(1.6 * fills - 1.2, 0, 1)
    return subject.centre + shift[0] * across + [0, 0, shift[1] + up]


def pitch_of(R: np.ndarray) -> float:
    """Radians by which a camera looks down. R: (3, 3) world (z up) -> camera axes."""
    return float(np.arcsin(np.clip(-R[2, 2], -1, 1)))


def roll_of(R: np.ndarray) -> float:
    """Radians by which a camera is turned about its own axis. R as in `pitch_of`."""
    return float(np.arctan2(R[0, 2], -R[1, 2]))
