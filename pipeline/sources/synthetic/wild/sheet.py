"""The contact sheet of a wild capture: rows of pictures in their own shapes, the last third of them with their joints drawn on."""

from pathlib import Path

import cv2
import h5py
import numpy as np

from pipeline.images import read_image
from pipeline.outputs import encode_picture, write_file
from pipeline.skeletons import FIELD_JOINTS, SIDE_COLOURS, side_of
from pipeline.sources.synthetic.wild.columns import BEHIND_ITSELF, HIDDEN, TRUTH_FILE, image_path
from pipeline.spread import spread_evenly

SHEET_FILE = "contact_sheet.jpg"
WIDTH, ROW, GAP = 1680, 230, 4
ROWS = 6

# A picture, and of each of its people the places of the joints in it, and how each is seen.
Picture = tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]


def write_sheet(folder: Path) -> None:
    """Writes the sheet of a joined capture, of pictures spread evenly over it."""
    with h5py.File(folder / TRUTH_FILE) as file:
        numbers, K = file["picture/number"][:], file["picture/K"][:]
        owner, joints, seen = (file[f"person/{name}"][:] for name in ("picture", "joints_mm", "seen"))
    chosen = spread_evenly(len(numbers), 8 * ROWS)
    pictures = []
    for k in chosen:
        image = read_image(folder, image_path(int(numbers[k])))
        mine = np.flatnonzero(owner == numbers[k])
        pixels = [joints[i, :, :2] / joints[i, :, 2:] @ K[k, :2, :2].T + K[k, :2, 2] for i in mine]
        pictures.append((image, [(places, seen[i]) for places, i in zip(pixels, mine, strict=True)]))
    write_file(folder / SHEET_FILE, encode_picture(_lay_out(pictures), ".jpg"))


def _lay_out(pictures: list[Picture]) -> np.ndarray:
    """Rows of one height, filled from left to right and cut at the sheet's width."""
    rows: list[list[Picture]] = []
    waiting = list(pictures)
    while waiting and len(rows) < ROWS:
        row: list[Picture] = []
        while waiting and sum(tile.shape[1] + GAP for tile, _ in row) < WIDTH:
            row.append(_to_height(waiting.pop(0)))
        rows.append(row)
    for row in rows[len(rows) - max(1, len(rows) // 3) :]:
        for tile, people in row:
            for places, seen in people:
                _draw(tile, places, seen)
    return np.concatenate([_side_by_side([tile for tile, _ in row]) for row in rows])


def _to_height(picture: Picture) -> Picture:
    """The picture as high as a row, and where the joints are in it."""
    image, people = picture
    scale = ROW / image.shape[0]
    tile = cv2.resize(image, (round(image.shape[1] * scale), ROW), interpolation=cv2.INTER_AREA)
    return tile, [((places + 0.5) * scale - 0.5, seen) for places, seen in people]


def _side_by_side(tiles: list[np.ndarray]) -> np.ndarray:
    """(ROW + GAP, WIDTH, 3), white where nothing is."""
    line = np.concatenate([np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for tile in tiles], 1)[
        :, :WIDTH
    ]
    return np.pad(line, ((0, 0), (0, WIDTH - line.shape[1]), (0, 0)), constant_values=255)


def _draw(tile: np.ndarray, places: np.ndarray, seen: np.ndarray) -> None:
    """Bones in the colours of the person's sides, those with an end that something else hides or that lies outside left thin."""
    for parent, child in FIELD_JOINTS.bones:
        whole = seen[parent] >= BEHIND_ITSELF and seen[child] >= BEHIND_ITSELF
        if seen[parent] >= HIDDEN and seen[child] >= HIDDEN:
            colour = SIDE_COLOURS[side_of(FIELD_JOINTS.names[child])]
            ends = [tuple(int(v) for v in places[joint].round()) for joint in (parent, child)]
            cv2.line(tile, ends[0], ends[1], colour, 2 if whole else 1, cv2.LINE_AA)
