"""The contact sheet of a wild capture: rows of pictures in their own shapes, the last rows with their joints drawn on."""

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
ROWS, DRAWN_ROWS = 6, 2


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


def _lay_out(pictures: list[tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]]) -> np.ndarray:
    """Rows of one height, filled from left to right and stretched to the sheet's width."""
    rows: list[np.ndarray] = []
    waiting = list(pictures)
    while waiting and len(rows) < ROWS:
        row, width = [], 0.0
        while waiting and width < WIDTH:
            image, people = waiting.pop(0)
            scale = ROW / image.shape[0]
            tile = cv2.resize(image, (round(image.shape[1] * scale), ROW), interpolation=cv2.INTER_AREA)
            if len(rows) >= ROWS - DRAWN_ROWS:
                for places, seen in people:
                    _draw(tile, (places + 0.5) * scale - 0.5, seen)
            row.append(np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=255))
            width += row[-1].shape[1]
        line = np.concatenate(row, 1)[:, :WIDTH]
        rows.append(np.pad(line, ((0, 0), (0, WIDTH - line.shape[1]), (0, 0)), constant_values=255))
    return np.concatenate(rows) if rows else np.full((ROW, WIDTH, 3), 255, np.uint8)


def _draw(tile: np.ndarray, places: np.ndarray, seen: np.ndarray) -> None:
    """Bones in the colours of the person's sides, those with an end that something else hides or that lies outside left thin."""
    for parent, child in FIELD_JOINTS.bones:
        whole = seen[parent] >= BEHIND_ITSELF and seen[child] >= BEHIND_ITSELF
        if seen[parent] >= HIDDEN and seen[child] >= HIDDEN:
            colour = SIDE_COLOURS[side_of(FIELD_JOINTS.names[child])]
            ends = [tuple(int(v) for v in places[joint].round()) for joint in (parent, child)]
            cv2.line(tile, ends[0], ends[1], colour, 2 if whole else 1, cv2.LINE_AA)
