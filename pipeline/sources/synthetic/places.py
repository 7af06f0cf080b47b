"""Real places around the people: pictures of the surroundings and the light that they cast, shipped with the program.

The surroundings are wrapped around the capture space as a floor and a dome over it, so that every camera sees them in the right
perspective. Training, validation and test have places of their own.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.sources.synthetic.light import Light
from pipeline.sources.synthetic.listed import read_listed

ASSETS = Path(__file__).parent / "assets" / "places"
LIST_FILE = "places.json"
# A stored picture holds square roots of light up to this many times white.
BRIGHTEST = 4.0
# Places that only validation and only test subjects are filmed in; all others are for training.
HELD_OUT = {
    "validation": ("pmndrs_bridge", "blender_courtyard"),
    "test": ("pmndrs_venice", "pmndrs_warehouse", "pmndrs_lab", "blender_interior", "blender_forest"),
}
# The panoramas were taken about this high above the ground (metres).
TAKEN_AT = 1.5


@dataclass(frozen=True)
class Place:
    """surroundings: (H, 2 H, 3) uint8, as `place_picture` describes. light: what it casts on people in its middle."""

    name: str
    surroundings: np.ndarray
    light: Light


def names_of(split: str) -> tuple[str, ...]:
    """The places of a split."""
    if split in HELD_OUT:
        return HELD_OUT[split]
    held = {name for names in HELD_OUT.values() for name in names}
    return tuple(name for name in read_list() if name not in held)


@cache
def read_list() -> dict[str, dict]:
    """Name -> licence, origin, checksum and light of every place."""
    try:
        return json.loads((ASSETS / LIST_FILE).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{ASSETS / LIST_FILE} cannot be read ({error}): this installation is damaged. Install it again, or set "
            "`places` to 0."
        ) from error


@cache
def open_place(name: str) -> Place:
    """A place by name. Raises InputError when its file is not the one that places.json lists, or has no licence beside it."""
    record = read_list()[name]
    path, licence = ASSETS / f"{name}.jpg", ASSETS / f"{name.split('_')[0]}_LICENSE.txt"
    if not licence.is_file() or not licence.stat().st_size:
        raise InputError(f"{licence}, the licence of {path.name}, is missing. Install this program again.")
    image = read_listed(path, record["sha256"], LIST_FILE)
    light = Light(*(np.array(record[part], np.float32).reshape(-1, 3) for part in ("ambient", "directions", "colours")))
    return Place(name, image, light)


def direction_grid(height: int) -> np.ndarray:
    """(height, 2 height, 3) unit vectors that the pixels of a panorama look along: z up, the middle column along +y."""
    row, column = (np.arange(height) + 0.5) / height * np.pi, (np.arange(2 * height) + 0.5) / height * np.pi
    return np.stack(
        [
            np.sin(row)[:, None] * -np.sin(column),
            np.sin(row)[:, None] * -np.cos(column),
            np.repeat(np.cos(row)[:, None], 2 * height, 1),
        ],
        -1,
    )


def surroundings_map(
    rays: np.ndarray, centre: np.ndarray, reach: float, yaw: float, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a camera's rays meet the floor or the dome over it.

    rays: (H, W, 3) directions in the world from centre: (3,) metres. reach: metres from the middle to where the floor meets the dome.
    yaw: how the panorama is turned. height: of the panorama in pixels. -> (H, W) depth in multiples of the rays, and (H, W) float32
    columns and rows of the panorama.
    """
    a, b = (rays * rays).sum(-1), rays @ centre
    depth = (-b + np.sqrt(np.maximum(b * b - a * (centre @ centre - reach * reach), 0))) / a
    with np.errstate(divide="ignore"):
        floor = np.where(rays[..., 2] < 0, -centre[2] / np.minimum(rays[..., 2], -1e-9), np.inf)
    depth = np.minimum(depth, floor)
    seen = centre + depth[..., None] * rays - np.array([0.0, 0.0, TAKEN_AT], rays.dtype)
    azimuth = np.arctan2(-seen[..., 0], -seen[..., 1]) + yaw
    polar = np.arctan2(np.hypot(seen[..., 0], seen[..., 1]), seen[..., 2])
    columns = (azimuth / np.pi * height - 0.5) % (2 * height)
    return depth, columns.astype(np.float32), (polar / np.pi * height - 0.5).astype(np.float32)


def draw_surroundings(place: Place, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 linear light of the surroundings at the given columns and rows, as wide a picture as the camera's."""
    sampled = cv2.remap(place.surroundings, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    return np.square(sampled.astype(np.float32) * np.float32(1 / 255)) * np.float32(BRIGHTEST)
