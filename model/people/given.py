"""Boxes and keypoints of the user's, in the files of any detector (docs/predictions.md has the formats)."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from model.people.records import Box, Keypoints, Picture
from pipeline.camera import tight_box
from pipeline.errors import InputError
from pipeline.images import split_frame
from pipeline.skeletons import COCO
from pipeline.sources.joint_names import LAYOUTS, place
from pipeline.sources.keypoint_files import read_people
from pipeline.sources.parsing import array, load_json, member, typed

FORMATS = "docs/predictions.md#boxes-and-keypoints-of-yours"
COLUMNS = ("image", "x", "y", "width", "height")
LEAST_BOX_PX = 2.0
# A box may reach so far beyond the image, px and part of its side: detectors round.
SLACK_PX, SLACK = 1.0, 0.01
# Keypoints below this count as not seen, and so many are needed for a box.
SEEN, LEAST_SEEN = 0.1, 4


class GivenBoxes:
    """The boxes of a file, found by the name of a picture: its path, or its file name where that is unique in the file."""

    def __init__(self, path: Path, boxes: dict[tuple[str, int | None], list[Box]]):
        self.path, self.boxes = path, boxes
        self.taken: set[tuple[str, int | None]] = set()
        self.by_name: dict[tuple[str, int | None], set[tuple[str, int | None]]] = {}
        for name, frame in boxes:
            for short in (Path(name).name, Path(name).stem):
                self.by_name.setdefault((short, frame), set()).add((name, frame))

    def __call__(self, picture: Picture) -> list[Box]:
        """Raises InputError where the file has no box of a photograph; frames without one hold nobody."""
        name = split_frame(picture.name)[0]
        for asked in (name, Path(name).name, Path(name).stem):
            keys = (
                {(asked, picture.frame)}
                if (asked, picture.frame) in self.boxes
                else self.by_name.get((asked, picture.frame), set())
            )
            if len(keys) > 1:
                raise InputError(
                    f"{picture.name}: {self.path} has several pictures of that name. Write their paths into it."
                )
            if keys:
                (key,) = keys
                self.taken.add(key)
                return self.boxes[key]
        if picture.frame is None:
            raise InputError(f"{picture.name}: {self.path} has no box of it. Add it, or leave the picture out.")
        return []

    def left(self) -> list[str]:
        """Names of the pictures of the file that were not among those that were read."""
        return [
            name if frame is None else f"{name}, frame {frame}"
            for name, frame in self.boxes
            if (name, frame) not in self.taken
        ]


def read_boxes(path: Path) -> GivenBoxes:
    """--boxes. Raises InputError naming what is wrong in the file."""
    found: dict[tuple[str, int | None], list[Box]] = {}
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path)
    for where, name, frame, values, score, track in rows:
        box = array(values, (4,), path, where)
        _check_number(box, path, where)
        found.setdefault((name, frame), []).append(Box(box, score, "given", track=track))
    if not found:
        raise InputError(f"{path} has no box. {FORMATS} says what is read.")
    return GivenBoxes(path, found)


def _check_number(box: np.ndarray, path: Path, where: str) -> None:
    if not np.isfinite(box).all() or min(box[2:]) <= 0:
        raise InputError(
            f"{path}: {where} is {box.tolist()}. Give x, y, width, height in pixels, width and height above 0."
        )


Row = tuple[str, str, int | None, Any, float | None, int | None]


def _csv_rows(path: Path) -> Iterator[Row]:
    """image,x,y,width,height and, where they are known, score, frame, track; the first line has these names."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file ({error}).") from error
    for number, row in enumerate(rows, 2):
        where = f"line {number}"
        missing = [name for name in COLUMNS if not row.get(name)]
        if missing:
            raise InputError(
                f"{path}: {where} has no {missing[0]}. The first line names the columns: {','.join(COLUMNS)} and, where they "
                "are known, score, frame, track."
            )
        frame, track = (_whole(row.get(name), path, f"{where}, {name}") for name in ("frame", "track"))
        score = _score({"score": array(row["score"], (), path, where).item()} if row.get("score") else {}, path, where)
        yield where, str(row["image"]), frame, [row[name] for name in COLUMNS[1:]], score, track


def _json_rows(path: Path) -> Iterator[Row]:
    """A list of entries, {"people": [entries]} (predictions.json), {image: [boxes]}, or MSCOCO's {"images", "annotations"}."""
    content = _json(path)
    if isinstance(content, dict) and "annotations" in content:
        yield from _coco_rows(path, content, "bbox")
        return
    if isinstance(content, dict) and "people" not in content:
        for name, boxes in content.items():
            for k, values in enumerate(typed(boxes, list, path, name)):
                yield f"{name}/{k}", name, None, values, None, None
        return
    entries = content["people"] if isinstance(content, dict) else content
    for k, entry in enumerate(typed(entries, list, path, "people")):
        where = f"entry {k}"
        entry = typed(entry, dict, path, where)
        named = next((entry[key] for key in ("image", "file_name", "image_path") if key in entry), None)
        if not isinstance(named, str):
            raise InputError(f'{path}: {where} has no "image", the name of its picture. {FORMATS} says what is read.')
        name, frame = split_frame(named)
        frame = _whole(entry.get("frame"), path, f"{where}/frame") if entry.get("frame") is not None else frame
        values = entry["box"] if "box" in entry else member(entry, "bbox", path, where)
        yield (
            f"{where}/box",
            name,
            frame,
            values,
            _score(entry, path, where),
            _whole(entry.get("track"), path, f"{where}/track"),
        )


def _coco_rows(path: Path, content: dict, key: str) -> Iterator[Row]:
    def by_id(key: str) -> dict[str, dict]:
        entries = [typed(entry, dict, path, key) for entry in typed(content.get(key, []), list, path, key)]
        return {str(member(entry, "id", path, key)): entry for entry in entries}

    member(content, "images", path)
    images, kinds = by_id("images"), by_id("categories")
    people = {number for number, kind in kinds.items() if str(kind.get("name", "")).lower() == "person"} or {"1"}
    for k, entry in enumerate(typed(content["annotations"], list, path, "annotations")):
        where = f"annotations/{k}"
        if str(typed(entry, dict, path, where).get("category_id", min(people))) not in people:
            continue
        image = member(images, str(member(entry, "image_id", path, where)), path, "images")
        name = typed(member(image, "file_name", path, "images"), str, path, "images/file_name")
        yield f"{where}/{key}", name, None, member(entry, key, path, where), _score(entry, path, where), None


def _score(entry: dict, path: Path, where: str) -> float | None:
    score = entry.get("score")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise InputError(f"{path}: {where} has the score {str(score)[:40]!r}. Give a number, or leave it out.")
    return float(score)


def _whole(value: Any, path: Path, where: str) -> int | None:
    if value in (None, ""):
        return None
    try:
        return int(str(value))
    except ValueError:
        raise InputError(f"{path}: {where} is {str(value)[:40]!r}, expected a whole number.") from None


def _json(path: Path) -> Any:
    """As `load_json`, for a file whose top may be a list."""
    try:
        text = path.read_bytes().lstrip()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    if not text.startswith(b"["):
        return load_json(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not complete JSON ({error}).") from None


def read_keypoints(path: Path) -> GivenBoxes:
    """--keypoints: a folder of OpenPose's NAME_keypoints.json, one such file, or MSCOCO's JSON. People become boxes with keypoints."""
    found: dict[tuple[str, int | None], list[Box]] = {}
    if path.is_dir():
        files = sorted(path.glob("*_keypoints.json"))
        if not files:
            raise InputError(f"{path} has no file NAME_keypoints.json. {FORMATS} says what is read.")
        for file in files:
            name = file.name.removesuffix("_keypoints.json")
            found[name, None] = _openpose_people(file)
    elif path.name.endswith("_keypoints.json") and "people" in load_json(path):
        found[path.name.removesuffix("_keypoints.json"), None] = _openpose_people(path)
    else:
        content = _json(path)
        if not isinstance(content, dict) or "annotations" not in content:
            raise InputError(
                f"{path} is neither MSCOCO's JSON with images and annotations nor OpenPose's. {FORMATS} says what is read."
            )
        for where, name, _, values, score, _ in _coco_rows(path, content, "keypoints"):
            points = array(values, (3 * len(COCO),), path, where).reshape(-1, 3)
            if not np.isfinite(points).all():
                raise InputError(f"{path}: {where} is not finite.")
            points[:, 2] = np.minimum(points[:, 2], 1)  # marked visibilities are 0, 1 and 2
            found.setdefault((name, None), []).extend(_boxes(points, "coco17", path, score))
    return GivenBoxes(path, _framed(found))


def _framed(found: dict[tuple[str, int | None], list[Box]]) -> dict[tuple[str, int | None], list[Box]]:
    """Besides, by the number at the end of a name, as OpenPose numbers the frames of a video."""
    numbered = {}
    for (name, _), boxes in found.items():
        stem, _, number = name.rpartition("_")
        if stem and number.isdigit() and len(number) == 12:
            numbered[stem, int(number)] = boxes
    return found | numbered


def _openpose_people(path: Path) -> list[Box]:
    people = typed(member(load_json(path), "people", path), list, path, "people")
    given = [entry.get("pose_keypoints_2d") for entry in people if isinstance(entry, dict)]
    counts = {len(values) // 3 for values in given if isinstance(values, list)}
    layout = next((name for name, names in LAYOUTS.items() if counts == {len(names)}), "body25")
    return [box for person in read_people(path, layout, SEEN) for box in _boxes(person.body, layout, path, None)]


def _boxes(points: np.ndarray, layout: str, path: Path, score: float | None) -> list[Box]:
    """The box about somebody's keypoints (N, 3) x, y, confidence; none where too few were seen."""
    placing = place(LAYOUTS[layout], str(path))
    placed = placing(points)
    seen = placed[:, 2] > SEEN
    if seen.sum() < LEAST_SEEN:
        return []
    keypoints = Keypoints(placing.joint_set.name, placed[:, :2], np.where(seen, placed[:, 2].clip(0, 1), 0))
    return [Box(tight_box(placed[seen, :2], subtract=0), score, "keypoints", keypoints)]


def whole_picture(picture: Picture) -> list[Box]:
    """One box, for who has none."""
    height, width = picture.pixels.shape[:2]
    return [Box(np.array([0.0, 0, width, height]), None, "whole picture")]


def check_box(box: np.ndarray, width: int, height: int) -> None:
    """Raises InputError for a box (4,) x, y, width, height px that is no part of an image of width x height px."""
    x, y, w, h = (float(value) for value in box)
    said = f"the box {x:g},{y:g},{w:g},{h:g} (x, y, width, height)"
    if min(w, h) < LEAST_BOX_PX:
        raise InputError(f"{said} is less than {LEAST_BOX_PX:g} px wide or high. Give the person's box in pixels.")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise InputError(
            f"{said} lies outside the image of {width} x {height} px. Give the person's box in pixels of it."
        )
    beyond = max(-x, -y, x + w - width, y + h - height)
    if beyond <= SLACK_PX + SLACK * max(w, h):
        return
    left, top, right, low = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    remedy = f"Give its part inside the image: {left:g},{top:g},{right - left:g},{low - top:g}"
    if x < w <= width and y < h <= height:
        remedy += f"; or, where {w:g} and {h:g} are the right and lower edge: {x:g},{y:g},{w - x:g},{h - y:g}"
    raise InputError(f"{said} reaches {beyond:.0f} px beyond the image of {width} x {height} px. {remedy}.")
