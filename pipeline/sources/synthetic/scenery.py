"""Where people are filmed: rooms with textured floors and walls, things in front of the person, and light.

Rooms come from a pool of seeds; training and test subjects have pools of their own, so that no texture is in both.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.records import Camera

POOL_SIZE = {"train": 80, "validation": 16, "test": 32}
_POOL_KEY = {"train": 101, "validation": 102, "test": 103}
# How far shadows on the floor reach from the middle of the capture space that is worth tracing (metres).
FLOOR_REACH = 3.5
# A texture covers a square of this side (metres).
TILE_M = 4.0


@dataclass(frozen=True)
class Light:
    """A sun and a sky. direction: (3,) unit vector towards the sun, world axes. Strengths multiply albedo, (3,) RGB."""

    direction: np.ndarray
    sun: np.ndarray
    sky: np.ndarray
    ground: np.ndarray


@dataclass(frozen=True)
class Backdrop:
    """What one camera sees without the person. image: (H, W, 3) float32 0..1.

    floor_pixels: (M,) flat indices of pixels that see the floor near the middle; floor_points: (M, 3) world metres there.
    occluder: (H, W) float32 0..1 cover of what stands before the person, or None; occluder_image: (H, W, 3).
    gain: (3,) exposure and white balance of the camera.
    """

    image: np.ndarray
    floor_pixels: np.ndarray
    floor_points: np.ndarray
    occluder: np.ndarray | None
    occluder_image: np.ndarray | None
    gain: np.ndarray


def draw_light(rng: np.random.Generator) -> Light:
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.35)
    direction = np.array([np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)])
    warm = 1 + np.array([1, 0, -1]) * rng.normal(0, 0.07)
    sun, sky = rng.uniform(0.25, 0.85), rng.uniform(0.35, 0.7)
    colours = sun * warm, sky * (2 - warm), sky * rng.uniform(0.3, 0.7) * warm
    return Light(direction, *(colour.astype(np.float32) for colour in colours))


def pool_generator(seed: int, split: str, index: int) -> np.random.Generator:
    """The generator of one room of a split's pool."""
    return np.random.default_rng([seed, _POOL_KEY[split], index % POOL_SIZE[split]])


def _noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """(size, size) smooth noise 0..1 of two octaves."""
    octaves = [
        cv2.resize(rng.random((n, n)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        for n in (cells, 4 * cells)
    ]
    return np.clip(0.7 * octaves[0] + 0.3 * octaves[1], 0, 1)


def make_texture(rng: np.random.Generator, size: int = 256) -> np.ndarray:
    """(size, size, 3) float32 0..1: a wall or a floor, a square of TILE_M metres."""
    jj, ii = np.meshgrid(np.arange(size), np.arange(size))
    base, second = rng.uniform(0.1, 0.95, 3), rng.uniform(0.1, 0.95, 3)
    colourful = 0.15 if rng.random() < 0.75 else 0.6  # most rooms are muted
    base = base.mean() + colourful * (base - base.mean())
    second = base * rng.uniform(0.5, 1.4) + 0.5 * colourful * (second - second.mean())
    kind, period = rng.integers(7), int(rng.integers(12, 80))
    if kind == 0:
        cover = _noise(rng, size, int(rng.integers(2, 8)))
    elif kind == 1:
        cover = (((jj // period) + (ii // period)) % 2).astype(np.float32)
    elif kind == 2:
        cover = ((jj + (ii if rng.random() < 0.4 else 0)) // (period // 2 + 3) % 2).astype(np.float32)
    elif kind == 3:
        row = ii // (period // 2 + 4)
        cover = ((ii % (period // 2 + 4) < 2) | ((jj + row % 2 * period // 2) % period < 2)).astype(np.float32)
    elif kind == 4:
        plank = ii // (period // 3 + 5)
        cover = np.random.default_rng(int(rng.integers(2**31))).random(size)[plank].astype(np.float32)
    elif kind == 5:
        cover = np.zeros((size, size), np.float32)
        for _ in range(int(rng.integers(3, 14))):
            x, y = rng.integers(0, size, 2)
            w, h = rng.integers(12, 110, 2)
            cv2.rectangle(cover, (int(x), int(y)), (int(x + w), int(y + h)), float(rng.random()), -1)
    else:
        cover = (_noise(rng, size, int(rng.integers(4, 16))) > 0.5).astype(np.float32)
    texture = base + (second - base) * cover[..., None]
    texture += 0.12 * (_noise(rng, size, 6)[..., None] - 0.5) + rng.normal(0, 0.02, (size, size, 3))
    if rng.random() < 0.5:
        _posters(rng, texture)
    return np.clip(texture, 0, 1).astype(np.float32)


def _posters(rng: np.random.Generator, texture: np.ndarray) -> None:
    """Coloured shapes on the wall or the floor: clutter with edges of limb size."""
    size = len(texture)
    canvas = texture.astype(np.float32)
    for _ in range(int(rng.integers(2, 9))):
        grey = rng.random()
        colour = tuple(float(c) for c in grey + rng.uniform(0.1, 0.8) * (rng.random(3) - grey))
        centre = tuple(int(c) for c in rng.integers(0, size, 2))
        axes = tuple(int(a) for a in rng.integers(4, 36, 2))
        if rng.random() < 0.5:
            cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        else:
            corner = (centre[0] + axes[0], centre[1] + 2 * axes[1])
            cv2.rectangle(canvas, centre, corner, colour, -1)
    texture[:] = canvas


@dataclass(frozen=True)
class Room:
    """A box room. textures: floor, four walls, ceiling. half: (2,) metres from the middle to the walls. height: metres."""

    textures: tuple[np.ndarray, ...]
    half: np.ndarray
    height: float


def make_room(rng: np.random.Generator) -> Room:
    wall = make_texture(rng)
    walls = [wall if rng.random() < 0.4 else make_texture(rng) for _ in range(4)]
    ceiling = np.full((4, 4, 3), rng.uniform(0.5, 0.95), np.float32)
    return Room((make_texture(rng), *walls, ceiling), rng.uniform(6.0, 9.0, 2), rng.uniform(3.0, 4.5))


def draw_backdrop(
    room: Room, camera: Camera, light: Light, rng: np.random.Generator, occlude_at: np.ndarray | None
) -> Backdrop:
    """The room as one camera sees it. occlude_at: (4,) box in pixels that something stands before, or None."""
    h, w = camera.height, camera.width
    jj, ii = np.meshgrid(np.arange(w), np.arange(h))
    rays = (
        np.stack([(jj - camera.K[0, 2]) / camera.K[0, 0], (ii - camera.K[1, 2]) / camera.K[1, 1], np.ones((h, w))], -1)
        @ camera.R
    )
    centre = -camera.R.T @ camera.t
    image = np.zeros((h, w, 3), np.float32)
    nearest = np.full((h, w), np.inf)
    planes = [(2, 0.0), (0, room.half[0]), (0, -room.half[0]), (1, room.half[1]), (1, -room.half[1]), (2, room.height)]
    shades = (1.0, *(0.75 + 0.25 * light.direction[[0, 0, 1, 1]] * [-1, 1, -1, 1]), 1.0)
    for texture, shade, (axis, level) in zip(room.textures, shades, planes, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = (level - centre[axis]) / rays[..., axis]
        seen = (depth > 0) & (depth < nearest)
        nearest[seen] = depth[seen]
        places = centre + np.where(seen, depth, 0)[..., None] * rays
        tiled = (np.delete(places, axis, 2) * (len(texture) / TILE_M) % len(texture)).astype(np.float32)
        bent = cv2.remap(texture, tiled[..., 0], tiled[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        image[seen] = bent[seen] * np.float32(shade)
    level = light.sun.mean() * max(light.direction[2], 0.2) + light.sky.mean()
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.3))) * np.float32(level)
    points = centre + nearest[..., None] * rays
    close = (points[..., 2] < 1e-6) & (np.hypot(points[..., 0], points[..., 1]) < FLOOR_REACH)
    cover, cover_image = (None, None) if occlude_at is None else _occluder(rng, h, w, occlude_at)
    gain = rng.uniform(0.85, 1.15) * (1 + rng.normal(0, 0.03, 3))
    return Backdrop(
        image, np.flatnonzero(close), points[close].astype(np.float32), cover, cover_image, gain.astype(np.float32)
    )


def _occluder(rng: np.random.Generator, h: int, w: int, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Something that stands before a part of the box: a pillar, a desk, or a plant-like ellipse."""
    x, y, bw, bh = box
    cover = np.zeros((h, w), np.float32)
    kind = rng.integers(3)
    if kind == 0:
        left = x + rng.uniform(-0.1, 0.9) * bw
        corners = (left, -1), (left + rng.uniform(0.12, 0.3) * bw, h)
    elif kind == 1:
        top = y + rng.uniform(0.55, 0.85) * bh
        left = x + rng.uniform(-0.4, 0.5) * bw
        corners = (left, top), (left + rng.uniform(0.4, 1.0) * bw, top + rng.uniform(0.3, 0.6) * bh)
    if kind < 2:
        first, second = ((int(across), int(down)) for across, down in corners)
        cv2.rectangle(cover, first, second, 1.0, -1)
    else:
        centre = (int(x + rng.uniform(0, 1) * bw), int(y + rng.uniform(0.1, 1.0) * bh))
        axes = (int(rng.uniform(0.08, 0.22) * bh), int(rng.uniform(0.08, 0.22) * bh))
        cv2.ellipse(cover, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    texture = cv2.resize(make_texture(rng), (w, h), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(cover, (0, 0), 0.6), texture
