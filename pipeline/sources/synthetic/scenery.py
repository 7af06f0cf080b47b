"""Where people are filmed: real places or rooms with textured floors and walls, things in front of the person, and light.

Rooms come from a pool of seeds; training and test subjects have pools of their own, so that no texture is in both.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.records import Camera
from pipeline.sources.synthetic.light import Light, sky_and_ground
from pipeline.sources.synthetic.places import Place, draw_surroundings, names_of, open_place, surroundings_map
from pipeline.sources.synthetic.sensor import Sensor, draw_sensor
from pipeline.sources.synthetic.settings import Looks

POOL_SIZE = {"train": 80, "validation": 16, "test": 32}
_POOL_KEY = {"train": 101, "validation": 102, "test": 103}
# How far shadows on the floor reach from the middle of the capture space that is worth tracing (metres).
FLOOR_REACH = 3.5
# A texture covers a square of this side (metres).
TILE_M = 4.0
# OpenCV looks up a picture of places, not a list: so wide is ours.
REMAP_WIDTH = 1024


@dataclass(frozen=True)
class Backdrop:
    """What one camera sees without people. image: (H, W, 3) float32, linear light.

    depth: (H, W) float32 metres along the optical axis to what is seen. floor_pixels: (M,) flat indices of pixels that see the floor
    near the middle; floor_points: (M, 3) world metres there. occluder: (H, W) float32 0..1 cover of what stands before the people, or
    None; occluder_image: (H, W, 3), linear. sensor: how the camera turns light into a picture.
    """

    image: np.ndarray
    depth: np.ndarray
    floor_pixels: np.ndarray
    floor_points: np.ndarray
    occluder: np.ndarray | None
    occluder_image: np.ndarray | None
    sensor: Sensor


@dataclass(frozen=True)
class Setting:
    """Where people are filmed, and in what light: a built room, or a real place turned by `yaw`, its dome `reach` metres away.

    floor: a texture laid over the real place's floor, or None; floor_detail: how strongly it only darkens and lightens that floor.
    """

    room: "Room | None"
    place: Place | None
    light: Light
    yaw: float = 0.0
    reach: float = 0.0
    floor: np.ndarray | None = None
    floor_detail: float = 0.0


def draw_setting(rng: np.random.Generator, looks: Looks, seed: int, split: str) -> Setting:
    """A place of the split's own, or a room of its pool."""
    if rng.random() >= looks.places:
        room = pool_room(seed, split, int(rng.integers(POOL_SIZE[split])))
        return Setting(room, None, draw_light(rng))
    names = names_of(split)
    place, yaw = open_place(names[rng.integers(len(names))]), rng.uniform(0, 2 * np.pi)
    floor = pool_floor(seed, split, int(rng.integers(POOL_SIZE[split])))
    laid, detail = rng.random() < 0.4, rng.uniform(0.2, 0.8)
    return Setting(None, place, place.light.turned(yaw), yaw, rng.uniform(8, 18), floor, 0.0 if laid else detail)


def draw_light(rng: np.random.Generator) -> Light:
    """A sun and a sky, for rooms."""
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.35)
    direction = np.array([[np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)]])
    warm = 1 + np.array([1, 0, -1]) * rng.normal(0, 0.1)
    sun, sky = rng.uniform(0.2, 1.4), rng.uniform(0.3, 0.8)
    ambient = sky_and_ground(sky * (2 - warm), sky * rng.uniform(0.3, 0.7) * warm)
    return Light(ambient, direction.astype(np.float32), (sun * warm)[None].astype(np.float32))


def pool_generator(seed: int, split: str, index: int) -> np.random.Generator:
    """The generator of one room of a split's pool."""
    return np.random.default_rng([seed, _POOL_KEY[split], index % POOL_SIZE[split]])


# A process makes each room and floor once; all of them are some 100 MB.
@functools.lru_cache(maxsize=sum(POOL_SIZE.values()))
def pool_room(seed: int, split: str, index: int) -> "Room":
    return make_room(pool_generator(seed, split, index))


@functools.lru_cache(maxsize=sum(POOL_SIZE.values()))
def pool_floor(seed: int, split: str, index: int) -> np.ndarray:
    return make_texture(pool_generator(seed, split, index))


def _noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """(size, size) smooth noise 0..1 of two octaves."""
    octaves = [
        cv2.resize(rng.random((n, n)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        for n in (cells, 4 * cells)
    ]
    return np.clip(0.7 * octaves[0] + 0.3 * octaves[1], 0, 1)


def make_texture(rng: np.random.Generator, size: int = 256) -> np.ndarray:
    """(size, size, 3) uint8 sRGB: a wall or a floor, a square of TILE_M metres."""
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
    return (np.clip(texture, 0, 1) * 255 + 0.5).astype(np.uint8)


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
    """A box room. textures: floor, four walls, ceiling, as `make_texture` makes them. half: (2,) metres from the middle to the walls.
    height: metres."""

    textures: tuple[np.ndarray, ...]
    half: np.ndarray
    height: float


def make_room(rng: np.random.Generator) -> Room:
    wall = make_texture(rng)
    walls = [wall if rng.random() < 0.4 else make_texture(rng) for _ in range(4)]
    ceiling = np.full((4, 4, 3), round(255 * rng.uniform(0.5, 0.95)), np.uint8)
    return Room((make_texture(rng), *walls, ceiling), rng.uniform(6.0, 9.0, 2), rng.uniform(3.0, 4.5))


def draw_backdrop(
    setting: Setting,
    camera: Camera,
    rng: np.random.Generator,
    occlude_at: np.ndarray | None,
    looks: Looks,
) -> Backdrop:
    """The setting as one camera sees it. occlude_at: (4,) box in pixels that something stands before, or None."""
    h, w = camera.height, camera.width
    jj, ii = np.meshgrid(np.arange(w), np.arange(h))
    plane = (jj - camera.K[0, 2]) / camera.K[0, 0], (ii - camera.K[1, 2]) / camera.K[1, 1], np.ones((h, w))
    rays = (np.stack(plane, -1) @ camera.R).astype(np.float32)
    centre = (-camera.R.T @ camera.t).astype(np.float32)
    see = _see_room if setting.room is not None else _see_place
    image, depth = see(setting, rays, centre)
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.3)) * w / 256)
    points = centre + depth[..., None] * rays
    close = (points[..., 2] < 1e-3) & (np.hypot(points[..., 0], points[..., 1]) < FLOOR_REACH)
    cover, cover_image = (None, None) if occlude_at is None else _occluder(rng, h, w, occlude_at)
    if cover_image is not None:
        cover_image = np.square(cover_image) * setting.light.on_floor().astype(np.float32)
    return Backdrop(
        image,
        depth,
        np.flatnonzero(close),
        points[close],
        cover,
        cover_image,
        draw_sensor(rng, image, setting.light, looks),
    )


def _see_room(setting: Setting, rays: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) linear light and (H, W) depth of the planes of a room."""
    room, light = setting.room, setting.light
    assert room is not None
    image = np.zeros(rays.shape, np.float32)
    nearest, shown = np.full(rays.shape[:2], np.inf, np.float32), np.full(rays.shape[:2], -1)
    across, along = room.half.tolist()
    planes = [(2, 0.0), (0, across), (0, -across), (1, along), (1, -along), (2, room.height)]
    for k, (axis, level) in enumerate(planes):
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = (level - centre[axis]) / rays[..., axis]
        seen = (depth > 0) & (depth < nearest)
        nearest[seen], shown[seen] = depth[seen], k
    for k, (axis, level) in enumerate(planes):
        mine = shown == k
        if not mine.any():
            continue
        inwards = np.zeros((1, 3))
        inwards[0, axis] = -1 if level > 0 else 1
        lamps = (np.maximum(light.directions @ inwards[0], 0)[:, None] * light.colours).sum(0)
        lit = light.on(inwards)[0] + (lamps if axis == 2 else 0.5 * lamps)
        points = centre + nearest[mine][:, None] * rays[mine]
        image[mine] = _tiled(room.textures[k], points, axis) * lit.astype(np.float32)
    return image, nearest


def _see_place(setting: Setting, rays: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) linear light and (H, W) depth of a real place wrapped around the middle."""
    place = setting.place
    assert place is not None
    reach = max(setting.reach, 1.3 * float(np.linalg.norm(centre)))
    depth, columns, rows = surroundings_map(rays, centre, reach, setting.yaw, len(place.surroundings))
    image = draw_surroundings(place, columns, rows)
    if setting.floor is not None:
        points = centre + depth[..., None] * rays
        near = np.clip((0.8 * reach - np.hypot(points[..., 0], points[..., 1])) / (0.3 * reach), 0, 1)
        on = (near > 0) & (points[..., 2] < 1e-3)
        if on.any():
            share, laid = near[on].astype(np.float32)[:, None], _tiled(setting.floor, points[on], 2)
            if setting.floor_detail:
                usual = max(float(np.square(setting.floor / 255).mean()), 1e-3)
                light = laid.mean(1, keepdims=True)  # alone: coloured spots grow on no meadow
                image[on] *= 1 + share * np.float32(setting.floor_detail) * (light / usual - 1).clip(-1, 1.5)
            else:
                image[on] += (laid * setting.light.on_floor().astype(np.float32) - image[on]) * share
    return image, depth


def _tiled(texture: np.ndarray, points: np.ndarray, axis: int) -> np.ndarray:
    """(M, 3) points on a plane across an axis -> (M, 3) linear reflectance of a texture that covers it tile by tile."""
    across = np.delete(points, axis, 1) * (len(texture) / TILE_M) % len(texture)
    return np.square(look_up(texture, across, cv2.BORDER_WRAP) * np.float32(1 / 255))


def look_up(picture: np.ndarray, places: np.ndarray, border: int) -> np.ndarray:
    """(M, 2) columns and rows, at least one -> (M, ...) of a picture (H, W, ...) there, between its pixels."""
    at = np.zeros((-(-len(places) // REMAP_WIDTH) * REMAP_WIDTH, 2), np.float32)
    at[: len(places)] = places
    columns, rows = at.reshape(-1, REMAP_WIDTH, 2).transpose(2, 0, 1)
    found = cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=border, borderValue=0)
    return found.reshape(len(at), *picture.shape[2:])[: len(places)]


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
    return cv2.GaussianBlur(cover, (0, 0), 0.6), texture * np.float32(1 / 255)
