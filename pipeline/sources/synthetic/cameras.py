"""Four cameras around the capture space, with Human3.6M's intrinsics scaled to the image and varied focal lengths and places."""

import numpy as np

from pipeline.records import Camera
from pipeline.sources.human36m.common import INTRINSICS

# Side of Human3.6M's images, which INTRINSICS belong to. Its lens distortion is not drawn: the annotation layout has no place for it.
SOURCE_PX = 1000
HEIGHT = {"train": (0.7, 2.1), "held_out": (2.4, 2.9)}


def draw_cameras(rng: np.random.Generator, image_px: int, held_out: bool) -> tuple[Camera, ...]:
    """The four cameras of a subject. World metres, z up.

    Distance and focal length vary together so that a standing person is roughly 0.5 to 0.7 of the image high.
    held_out: camera 4 stands higher than any camera of the other subjects.
    """
    start = rng.uniform(0, 2 * np.pi)
    cameras = []
    for k, intrinsics in enumerate(INTRINSICS.values()):
        angle = start + k * np.pi / 2 + rng.uniform(-0.45, 0.45)
        height = rng.uniform(*HEIGHT["held_out" if held_out and k == 3 else "train"])
        distance = rng.uniform(3.6, 5.8)
        zoom = distance / rng.uniform(2.9, 3.7)
        centre = np.array([distance * np.cos(angle), distance * np.sin(angle), height])
        aim = np.array([*rng.normal(0, 0.3, 2), rng.uniform(0.65, 1.05)])
        R = look_from(centre, aim, rng.normal(0, 0.03))
        scale = image_px / SOURCE_PX
        fx, fy, cx, cy = intrinsics[:4]
        K = np.array(
            [
                [fx * scale * zoom, 0, (cx + 0.5) * scale - 0.5],
                [0, fy * scale * zoom, (cy + 0.5) * scale - 0.5],
                [0, 0, 1],
            ]
        )
        cameras.append(Camera(K, R, -R @ centre, image_px, image_px))
    return tuple(cameras)


def look_from(centre: np.ndarray, aim: np.ndarray, roll: float) -> np.ndarray:
    """(3, 3) world -> camera axes (x right, y down, z forward) at `centre` looking at `aim`, both (3,) metres, z up."""
    z = (aim - centre) / np.linalg.norm(aim - centre)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    c, s = np.cos(roll), np.sin(roll)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ R
