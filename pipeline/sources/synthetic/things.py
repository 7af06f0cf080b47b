"""Things that are no people, put together of cuboids."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.records import Camera
from pipeline.sources.synthetic.render import Mesh

# Corners of a cuboid.
_CORNERS = 24


@dataclass(frozen=True)
class Cuboid:
    """A part of a thing, in the thing's own axes, metres. size, middle: (3,)."""

    size: np.ndarray
    middle: np.ndarray


@dataclass(frozen=True)
class Thing:
    """Furniture, or something in a hand: B cuboids of 24 corners, four a side.

    places: (24 B, 4) the corners in the thing's own axes, metres, and 1 where the side is level, else 0; world: (24 B, 3) the same
    corners in the world. faces: (12 B, 3). R: (3, 3) from its axes to the world's, middle: (3,) where their origin is.
    """

    cuboids: tuple[Cuboid, ...]
    places: np.ndarray
    world: np.ndarray
    faces: np.ndarray
    R: np.ndarray
    middle: np.ndarray


def cuboid(size: Sequence[float] | np.ndarray, middle: Sequence[float] = (0, 0, 0)) -> Cuboid:
    return Cuboid(np.array(size, float), np.array(middle, float))


def put(cuboids: Sequence[Cuboid], middle: np.ndarray, R: np.ndarray) -> Thing:
    """A thing whose own axes have their origin at `middle` (3,) of the world. R: (3, 3) from its axes to the world's."""
    squares, faces = _unit_box()
    places = np.concatenate([squares[:, :3] * part.size / 2 + part.middle for part in cuboids])
    level = np.tile(squares[:, 3:], (len(cuboids), 1))
    every = np.concatenate([faces + k * _CORNERS for k in range(len(cuboids))])
    return Thing(tuple(cuboids), np.concatenate([places, level], 1), places @ R.T + middle, every, R, middle)


def about_vertical(turn: float) -> np.ndarray:
    """(3, 3)."""
    return Rotation.from_euler("z", turn).as_matrix()


def _unit_box() -> tuple[np.ndarray, np.ndarray]:
    """(24, 4) corners at -1 and 1, four a side, and whether the side is level; (12, 3) faces, outwards."""
    corners: list[np.ndarray] = []
    faces: list[list[int]] = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            side = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
            square = np.insert(side, axis, sign, axis=1)
            n = 4 * len(corners)
            order = (0, 1, 2, 3) if (sign > 0) == (axis != 1) else (0, 3, 2, 1)  # outwards
            faces += [[n + order[0], n + order[1], n + order[2]], [n + order[0], n + order[2], n + order[3]]]
            corners.append(np.concatenate([square, np.full((4, 1), float(axis == 2))], 1))
    return np.concatenate(corners), np.array(faces)


def outline(thing: Thing, camera: Camera, apart_px: float = 6.0) -> np.ndarray:
    """(N, 3) points on its sides, world, that the camera, which it stands before, sees no further than `apart_px` pixels apart."""
    step = apart_px * (thing.world @ camera.R[2] + camera.t[2]).min() / camera.K[0, 0]
    points = []
    for k in range(0, len(thing.world), 4):
        a, b, _, d = thing.world[k : k + 4]
        n, m = (int(np.ceil(np.linalg.norm(edge) / step)) + 1 for edge in (b - a, d - a))
        u, v = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, m))
        points.append(a + u.reshape(-1, 1) * (b - a) + v.reshape(-1, 1) * (d - a))
    return np.concatenate(points)


def holds_none_of(thing: Thing, points: np.ndarray, margin: float = 0.01) -> bool:
    """Whether none of some points (N, 3), world metres, lies in one of its cuboids or within `margin` metres of it."""
    own = (points - thing.middle) @ thing.R
    return not any((np.abs(own - part.middle) < part.size / 2 + margin).all(1).any() for part in thing.cuboids)


def apart(thing: Thing, other: Thing, camera: Camera) -> bool:
    """Whether neither of two things has a part of its sides in the other."""
    return holds_none_of(thing, outline(other, camera), 0.0) and holds_none_of(other, outline(thing, camera), 0.0)


def painted(thing: Thing, texture: np.ndarray) -> Mesh:
    """A thing as it is drawn. texture: (H, H, 3) uint8 sRGB."""
    return Mesh(thing.world, thing.faces, thing.places.astype(np.float32), functools.partial(paint, texture))


def paint(texture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(M, 4 or more) places of a thing -> (M, 3) colours: the texture covers a square metre, also around corners."""
    size, flat = len(texture), places[:, 3] > 0.5
    u = np.where(flat, places[:, 0], places[:, 0] + places[:, 1])
    v = np.where(flat, places[:, 1], places[:, 2])
    return texture[(v * size).astype(int) % size, (u * size).astype(int) % size] * np.float32(1 / 255)
