"""The contact sheet of `nvf-cli check-data`: joints and boxes drawn on a few images."""

from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.outputs import encode_picture, write_marked
from pipeline.records import Instant, View
from pipeline.skeletons import JOINT_SETS, SIDE_COLOURS, side_of
from pipeline.spread import spread_evenly

PICTURES, TILE = 12, 320
# What lies further from a tile is drawn here: OpenCV's lines take 16-bit numbers.
FURTHEST_PX = 30_000


def write_contact_sheet(path: Path, root: Path, instants: list[Instant], odd: list[Instant]) -> None:
    """A picture of some views with their box and joints drawn on. odd: those that were left out, framed in red; they fill up to
    half of the sheet, or all of it where nothing else is left."""
    share = PICTURES // 2 if instants else PICTURES
    chosen = [(odd[i], True) for i in spread_evenly(len(odd), share)]
    chosen += [(instants[i], False) for i in spread_evenly(len(instants), PICTURES - len(chosen))]
    tiles = []
    for k, (instant, wrong) in enumerate(chosen):
        view = instant.views[k % len(instant.views)]
        try:
            tile = _tile(read_image(root, view.image_path), instant, view)
        except InputError:
            continue  # the check tells of it
        tiles.append(cv2.rectangle(tile, (0, 0), (TILE - 1, TILE - 1), (220, 30, 30), 7) if wrong else tile)
    tiles = tiles or [np.full((TILE, TILE, 3), 255, np.uint8)]
    columns = min(4, len(tiles))
    tiles += [np.full((TILE, TILE, 3), 255, np.uint8)] * (-len(tiles) % columns)
    sheet = np.concatenate([np.concatenate(tiles[k : k + columns], 1) for k in range(0, len(tiles), columns)], 0)
    write_marked(path, encode_picture(sheet, path.suffix))


def _tile(image: np.ndarray, instant: Instant, view: View) -> np.ndarray:
    """(TILE, TILE, 3): the surroundings of the person's box, with the person's left blue and right orange, and the
    box green."""
    x, y, w, h = view.box
    side = 1.4 * max(w, h)
    scale = TILE / side
    shift = np.array([x + w / 2 - side / 2, y + h / 2 - side / 2])
    matrix = np.array([[scale, 0, (0.5 - shift[0]) * scale - 0.5], [0, scale, (0.5 - shift[1]) * scale - 0.5]])
    tile = cv2.warpAffine(np.ascontiguousarray(image), matrix, (TILE, TILE), flags=cv2.INTER_AREA)

    def to_tile(pixels: np.ndarray | list[float]) -> tuple[int, int]:
        placed = np.nan_to_num((np.asarray(pixels) + 0.5 - shift) * scale - 0.5)
        x, y = np.round(placed).clip(-FURTHEST_PX, FURTHEST_PX)
        return int(x), int(y)

    joint_set = JOINT_SETS[instant.joint_set]
    seen = view.confidence > 0
    cv2.rectangle(tile, to_tile([x, y]), to_tile([x + w, y + h]), (40, 200, 40), 1)
    for parent, child in joint_set.bones:
        if seen[parent] and seen[child]:
            colour = SIDE_COLOURS[side_of(joint_set.names[child])]
            cv2.line(tile, to_tile(view.joints_2d[parent]), to_tile(view.joints_2d[child]), colour, 2, cv2.LINE_AA)
    for joint in np.flatnonzero(seen):
        cv2.circle(tile, to_tile(view.joints_2d[joint]), 3, (255, 255, 255), -1, cv2.LINE_AA)
    # white on black, both of one thickness: by another, OpenCV 5's letters have other widths
    for dx, dy, shade in ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, 255)):
        at = (4 + dx, TILE - 6 + dy)
        cv2.putText(tile, view.id[-44:], at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (shade,) * 3, 1, cv2.LINE_AA)
    return tile
