"""Boxes and keypoints of the user's, in the files of any detector (docs/predictions.md has the formats)."""

import codecs
import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.people.pictures import MOVING, STILL
from model.people.records import Box, Keypoints, Picture, clipped
from model.people.tracks import Tracker
from pipeline.camera import tight_box
from pipeline.errors import InputError
from pipeline.images import split_frame
from pipeline.sources.coco_people import placing_of
from pipeline.sources.joint_names import LAYOUTS, Placing, likely_layout, place
from pipeline.sources.keypoint_files import FoundPerson, read_people
from pipeline.sources.parsing import array, load_json, member, typed

FORMATS = "docs/predictions.md#boxes-and-keypoints-of-yours"
COLUMNS = ("image", "x", "y", "width", "height")
LEAST_BOX_PX = 2.0
# A box may reach so far beyond the image, px and part of its side: detectors round.
SLACK_PX, SLACK = 1.0, 0.01
# Keypoints below this count as not seen, and so many are needed for a box.
SEEN, LEAST_SEEN = 0.1, 4
# Keypoints of which this part lies in the picture are of it.
LEAST_INSIDE = 0.75


class GivenBoxes:
    """The boxes of a file, found by the name of a picture: its path, or its file name where that is unique in the file.

    boxes: of each picture, by its name in the file and its frame. crowds: entries that are no one person's and were left out. twice:
    how many say again what another says, which are left out, too; few: people of too few marked joints. Where no box says who is who
    from frame to frame, the people of a video are followed.
    """

    def __init__(self, path: Path, boxes: dict["Key", list[Box]], crowds: int = 0, twice: int = 0, few: int = 0):
        self.path, self.boxes, self.crowds, self.twice, self.few = path, boxes, crowds, twice, few
        self.taken: set[Key] = set()
        self.tracker = None if any(box.track is not None for here in boxes.values() for box in here) else Tracker()
        self.by_name: dict[Key, set[Key]] = {}
        for key in boxes:
            for short in _short_keys(*key):
                self.by_name.setdefault(short, set()).add(key)

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
                boxes = [within(box, picture) for box in self.boxes[key]]
                return boxes if self.tracker is None else self.tracker.numbered(picture, boxes)
        if picture.frame is None:
            raise InputError(f"{picture.name}: {self.path} has no box of it. Add it, or leave the picture out.")
        return []

    def require_frames(self, videos: Iterable[str]) -> None:
        """Raises InputError where boxes of a video do not say of which frame they are. videos: their paths."""
        for name in videos:
            if any(frame is None and Path(key).name == Path(name).name for key, frame in self.boxes):
                raise InputError(
                    f"{self.path} has boxes of the video {name} that do not say of which frame they are. Give each its frame, "
                    f"counted from 0. {FORMATS} says what is read."
                )

    def left(self) -> list[str]:
        """Names of the pictures of the file that were not among those that were read."""
        return [
            name if frame is None else f"{name}, frame {frame}"
            for name, frame in self.boxes
            if (name, frame) not in self.taken
        ]

    def remarks(self) -> Iterator[str]:
        """What of the file was not used."""
        left = self.left()
        if left:
            yield f"{self.path}: {len(left)} of its pictures were not given to predict, {left[0]} for one."
        if self.crowds:
            yield f"{self.path}: {_crowds_text(self.crowds)} left out; a crowd is not one person."
        if self.twice:
            yield f"{self.path}: {self.twice} boxes stand in it twice in the same picture, and are one person each."
        if self.few:
            yield f"{self.path}: of people of fewer than {LEAST_SEEN} joints above {SEEN}, {self.few} in all, nothing was predicted."


# A picture's name and frame.
Key = tuple[str, int | None]


def _short_keys(name: str, frame: int | None) -> Iterator[Key]:
    """What a picture of a file may be asked by: its file name, that without the ending of a picture or video, and the frame whose
    number stands at the end, as OpenPose numbers the frames of a video. What follows another dot is no ending but part of the name."""
    file_name = Path(name)
    yield file_name.name, frame
    if file_name.suffix.lower() in (*STILL, *MOVING):
        yield file_name.stem, frame
    stem, _, number = file_name.name.rpartition("_")
    if frame is None and stem and number.isdecimal() and len(number) == 12:
        yield stem, int(number)


def _crowds_text(count: int) -> str:
    return "1 crowd was" if count == 1 else f"{count} crowds were"


def read_boxes(path: Path) -> GivenBoxes:
    """--boxes. Raises InputError naming what is wrong in the file."""
    found: dict[Key, list[Box]] = {}
    crowds = twice = 0
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path)
    for row in rows:
        boxes = found.setdefault(row.key, [])
        if row.crowd:
            crowds += 1
            continue
        box = array(row.values, (4,), path, row.where)
        _check_number(box, path, row.where)
        _check_track(row, boxes, path)
        if any(np.array_equal(box, other.box) for other in boxes):
            twice += 1
            continue
        boxes.append(Box(box, row.score, "given", track=row.track))
    if not any(found.values()):
        said = f" ({_crowds_text(crowds)} left out)" if crowds else ""
        raise InputError(f"{path} has no box{said}. {FORMATS} says what is read.")
    return GivenBoxes(path, found, crowds, twice)


def _check_number(box: np.ndarray, path: Path, where: str) -> None:
    if not np.isfinite(box).all() or min(box[2:]) <= 0:
        raise InputError(
            f"{path}: {where} is {box.tolist()}. Give x, y, width, height in pixels, width and height above 0."
        )


def _check_track(row: "Row", boxes: list[Box], path: Path) -> None:
    """boxes: of the same picture, so far."""
    if row.track is not None and any(box.track == row.track for box in boxes):
        name, frame = row.key
        of = name if frame is None else f"{name}, frame {frame}"
        raise InputError(
            f"{path}: {row.where} is of track {row.track}, and {of} has that already. A track is one person."
        )


class Row(NamedTuple):
    """An entry of a file. where: it stands. name, frame: of its picture. values: numbers that nobody looked at. crowd: it is several
    people's, or nobody knows how many."""

    where: str
    name: str
    frame: int | None
    values: Any
    score: float | None = None
    track: int | None = None
    crowd: bool = False

    @property
    def key(self) -> Key:
        """A frame may also stand in the name of its picture, as this program writes it: "walk.mp4#frame=3"."""
        name, frame = split_frame(self.name)
        return name, frame if self.frame is None else self.frame


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
                "are known, score, frame, track; commas stand between the columns."
            )
        if None in row:  # where DictReader puts what is left of a line
            raise InputError(
                f"{path}: {where} has more values than the first line has names. Write points in numbers, and commas between them."
            )
        frame, track = (_whole(row.get(name), path, f"{where}, {name}") for name in ("frame", "track"))
        score = _score({"score": array(row["score"], (), path, where).item()} if row.get("score") else {}, path, where)
        yield Row(where, str(row["image"]), frame, [row[name] for name in COLUMNS[1:]], score, track)


def _json_rows(path: Path) -> Iterator[Row]:
    """A list of entries, {"people": [entries]} (predictions.json), {image: [boxes]}, or MSCOCO's {"images", "annotations"}."""
    content = _json(path)
    if isinstance(content, dict) and "annotations" in content:
        yield from _coco_rows(path, content, "bbox")
        return
    if isinstance(content, dict) and "people" not in content:
        for name, boxes in content.items():
            for k, values in enumerate(typed(boxes, list, path, name)):
                yield Row(f"{name}/{k}", name, None, values)
        return
    entries = content["people"] if isinstance(content, dict) else content
    for k, entry in enumerate(typed(entries, list, path, "people")):
        where = f"entry {k}"
        entry = typed(entry, dict, path, where)
        named = next((entry[key] for key in ("image", "file_name", "image_path") if key in entry), None)
        if not isinstance(named, str):
            raise InputError(f'{path}: {where} has no "image", the name of its picture. {FORMATS} says what is read.')
        frame = _whole(entry.get("frame"), path, f"{where}/frame")
        values = entry["box"] if "box" in entry else member(entry, "bbox", path, where)
        track = _whole(entry.get("track"), path, f"{where}/track")
        yield Row(f"{where}/box", named, frame, values, _score(entry, path, where), track, _crowd(entry, path, where))


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
        values, score, crowd = member(entry, key, path, where), _score(entry, path, where), _crowd(entry, path, where)
        yield Row(f"{where}/{key}", name, None, values, score, crowd=crowd)


def _crowd(entry: dict, path: Path, where: str) -> bool:
    """MSCOCO's mark of what is no single person."""
    said = entry.get("iscrowd", 0)
    if not isinstance(said, int) or said not in (0, 1):
        raise InputError(f"{path}: {where} has iscrowd {str(said)[:40]!r}, expected 0 or 1.")
    return bool(said)


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
    """As `load_json`, for a file whose top may be a list, behind the mark that Windows' editors put before it."""
    try:
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8).lstrip()
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
    found: dict[Key, list[Box | None]] = {}
    crowds = 0
    if path.is_dir():
        files = sorted(path.glob("*_keypoints.json"))
        if not files:
            raise InputError(f"{path} has no file NAME_keypoints.json. {FORMATS} says what is read.")
        found = _openpose_people(files)
    elif path.name.endswith("_keypoints.json") and "people" in load_json(path):
        found = _openpose_people([path])
    else:
        content = _json(path)
        if not isinstance(content, dict) or "annotations" not in content:
            raise InputError(
                f"{path} is neither MSCOCO's JSON with images and annotations nor OpenPose's. {FORMATS} says what is read."
            )
        placing = placing_of(typed(content.get("categories") or [], list, path, "categories"), path)
        for row in _coco_rows(path, content, "keypoints"):
            boxes = found.setdefault(row.key, [])
            if row.crowd:
                crowds += 1
                continue
            points = array(row.values, (3 * len(placing.theirs),), path, row.where).reshape(-1, 3)
            if not np.isfinite(points).all():
                raise InputError(f"{path}: {row.where} is not finite.")
            points[:, 2] = np.minimum(points[:, 2], 1)  # marked visibilities are 0, 1 and 2
            boxes.append(_box_about(points, placing, row.score))
    kept = {key: [box for box in boxes if box is not None] for key, boxes in found.items()}
    return GivenBoxes(path, kept, crowds, few=sum(box is None for boxes in found.values() for box in boxes))


def _openpose_people(files: Sequence[Path]) -> dict[Key, list[Box | None]]:
    """The people of each file, as `_box_about` gives them. The order of the joints is told by their number, and by the bones that it
    gives."""
    people: dict[Path, list[FoundPerson]] = {}
    by_layout: dict[str, list[Path]] = {}
    for file in files:
        by_layout.setdefault(_usual_layout(file), []).append(file)
    placings: dict[Path, Placing] = {}
    for usual, chosen in by_layout.items():
        read = {file: read_people(file, usual, SEEN) for file in chosen}
        bodies = [person.body for found in read.values() for person in found]
        likely = likely_layout(np.array(bodies), usual) if bodies else usual
        people |= read if likely == usual else {file: read_people(file, likely, SEEN) for file in chosen}
        placings |= dict.fromkeys(chosen, place(LAYOUTS[likely], likely))
    return {
        (file.name.removesuffix("_keypoints.json"), None): [
            _box_about(person.body, placings[file], None) for person in people[file]
        ]
        for file in files
    }


def _usual_layout(path: Path) -> str:
    """The layout of as many joints as a file has."""
    people = typed(member(load_json(path), "people", path), list, path, "people")
    given = [entry.get("pose_keypoints_2d") for entry in people if isinstance(entry, dict)]
    counts = {len(values) // 3 for values in given if isinstance(values, list)}
    return next((name for name, names in LAYOUTS.items() if counts == {len(names)}), "body25")


def _box_about(points: np.ndarray, placing: Placing, score: float | None) -> Box | None:
    """The box about somebody's keypoints (N, 3) x, y, confidence; None where too few were seen."""
    placed = placing(points)
    seen = placed[:, 2] > SEEN
    if seen.sum() < LEAST_SEEN:
        return None
    keypoints = Keypoints(placing.joint_set.name, placed[:, :2], np.where(seen, placed[:, 2].clip(0, 1), 0))
    return Box(tight_box(placed[seen, :2], subtract=0), score, "keypoints", keypoints)


def within(box: Box, picture: Picture) -> Box:
    """The room about keypoints ends at the picture's border; a box that was given stays as it is. Keypoints of which many lie outside
    are another picture's: their box stays, too, to be refused."""
    if box.source != "keypoints" or box.keypoints is None:
        return box
    seen = box.keypoints.points[box.keypoints.confidence > 0]
    height, width = picture.pixels.shape[:2]
    inside = ((seen >= 0) & (seen <= [width - 1, height - 1])).all(1)
    return replace(box, box=clipped(box.box, picture)) if inside.mean() >= LEAST_INSIDE else box


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
