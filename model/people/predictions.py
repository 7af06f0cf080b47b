"""predictions.json: everybody who was found, written as pictures come and read again. docs/predictions.md describes every key.

The first line holds what is true of the whole file, so that it is read without the rest.
"""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from model.people.records import Person, PicturePeople
from pipeline.errors import InputError
from pipeline.outputs import MARK, is_ours, make_folder
from pipeline.records import PARAMETER_SIZES, BodyParameters, Camera
from pipeline.skeletons import JOINT_SETS, JointSet
from pipeline.sources.parsing import array, image_shape, load_json, member, typed

FILE, FORMAT, VERSION = "predictions.json", "nvf people", 1
UNITS = "metres, the picture's camera: x right, y down, z forward; joints relative to the root; pixels from the middle of the first"


def results_folder(out: Path, asked: dict) -> Path:
    """The folder for the answer to a question: `out`, or the first of out-2, out-3, ... that holds no answer to another one.

    asked: what tells one question from another. Raises InputError where somebody else's predictions.json lies there.
    """
    named = out if out.name not in ("", "..") else out.resolve()  # "." and ".." have no name to count up
    for number in count(1):
        folder = out if number == 1 else named.parent / f"{named.name}-{number}"
        file = folder / FILE
        if not file.exists():
            make_folder(folder)
            return folder
        if not is_ours(file):
            raise InputError(f"{file} exists, and this program did not write it. Name another folder with --out.")
        if read_head(file).get("asked") == json.loads(json.dumps(asked)):
            return folder
    raise AssertionError


def read_head(path: Path) -> dict:
    """What is true of the whole file; {} where it is of another layout."""
    try:
        with open(path, encoding="utf-8") as file:
            head = json.loads(file.readline(1 << 24).rstrip().rstrip(",") + "}")
    except (OSError, ValueError, RecursionError):
        return {}
    return head if isinstance(head, dict) else {}


class PredictionsFile:
    """Writes predictions.json: people go into the file as they come, and it gets its name when it is whole."""

    def __init__(self, folder: Path, joint_set: JointSet, about: dict):
        """about: what else is true of the whole file, the run among it."""
        self.path, self.joint_set = folder / FILE, joint_set
        self.temporary = self.path.with_name(FILE + ".tmp")
        head = {"written_by": MARK, "format": FORMAT, "version": VERSION, **about, "units": UNITS}
        head |= {"joint_set": joint_set.name, "joint_names": list(joint_set.names), "root_joint": joint_set.root}
        self.separator = "\n"
        try:
            self.file = open(self.temporary, "w", encoding="utf-8")  # noqa: SIM115
            self.pictures = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
            self.file.write(_text(head)[:-1] + ',\n"people": [')
        except OSError as error:
            raise self._failed(error) from error

    def add(self, found: PicturePeople) -> None:
        """Writes a picture's people. Raises InputError where that fails; nothing is left then."""
        try:
            for person in found.people:
                self.file.write(self.separator + _text(person_entry(found, person, self.joint_set)))
                self.separator = ",\n"
            self.pictures.write(("," if self.pictures.tell() else "") + "\n" + _text(picture_entry(found)))
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> Path:
        """The whole file gets its name; where that is. Raises InputError where it cannot be written."""
        try:
            self.file.write('\n],\n"pictures": [')
            self.pictures.seek(0)
            while part := self.pictures.read(1 << 20):
                self.file.write(part)
            self.file.write("\n]}\n")
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            os.replace(self.temporary, self.path)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            self.pictures.close()
        return self.path

    def drop(self) -> None:
        """Leaves nothing; for work that was broken off."""
        for part in (self.file, self.pictures):
            with contextlib.suppress(OSError):  # a full disk is told already
                part.close()
        self.temporary.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> InputError:
        self.temporary.unlink(missing_ok=True)
        return InputError(
            f"{self.path}: cannot be written ({error.strerror}). Free some space, or name another folder with --out."
        )


def _text(value: dict) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _numbers(values: np.ndarray, digits: int) -> list:
    return np.round(np.asarray(values, float), digits).tolist()


def person_entry(found: PicturePeople, person: Person, joint_set: JointSet) -> dict:
    """One entry of `people`."""

    def by_joint(values: list) -> dict:
        return dict(zip(joint_set.names, values, strict=True))

    entry: dict[str, Any] = {
        "image": found.name.split("#frame=")[0] if found.frame is not None else found.name,
        "frame": found.frame,
        "time_s": None if found.time_s is None else round(found.time_s, 4),
        "track": person.track,
        "box": _numbers(person.box, 2),
        "score": None if person.score is None else round(person.score, 4),
        "box_source": person.box_source,
        "presence": round(person.presence, 4),
        "root": _numbers(person.root, 5),
        "joints": by_joint(_numbers(person.joints, 5)),
        "joints_2d": by_joint(_numbers(person.joints_2d, 2)),
        "confidence": by_joint(_numbers(person.confidence, 4)),
        "visible": by_joint(person.visible.tolist()),
        "doubts": person.doubts,
    }
    if person.spread is not None:
        entry["spread"] = by_joint(_numbers(person.spread, 5))
    if person.body is not None:
        entry["smplx"] = {name: _numbers(getattr(person.body, name), 5) for name in PARAMETER_SIZES}
    return entry


def picture_entry(found: PicturePeople) -> dict:
    """One entry of `pictures`."""
    camera = found.camera
    entry: dict[str, Any] = {
        "image": found.name.split("#frame=")[0] if found.frame is not None else found.name,
        "frame": found.frame,
        "people": len(found.people),
    }
    if camera is not None:
        focal = {"focal_px": _numbers(camera.K[[0, 1], [0, 1]], 3), "centre_px": _numbers(camera.K[:2, 2], 3)}
        entry |= {"width": found.width, "height": found.height, **focal, "camera_assumed": camera.assumed}
    if found.refusal:
        entry["refusal"] = found.refusal
    if found.left_out:
        entry["left_out"] = list(found.left_out)
    return entry


@dataclass(frozen=True)
class Predictions:
    """A predictions.json that was read. about: its first line. pictures: with their people, in order."""

    path: Path
    about: dict
    joint_set: JointSet
    pictures: tuple[PicturePeople, ...]


def read_predictions(path: Path) -> Predictions:
    """Raises InputError for a file of another format or version, and for values that are missing."""
    content = load_json(path)
    if content.get("format") != FORMAT:
        raise InputError(f"{path} is no file of predictions. Give the {FILE} that `nvf-cli predict` wrote.")
    if content.get("version") != VERSION:
        raise InputError(
            f"{path} is of version {content.get('version')!r}, and {VERSION} is read. Predict again with this version."
        )
    joint_set = JOINT_SETS.get(str(content.get("joint_set")))
    if joint_set is None:
        raise InputError(f"{path} has the joint set {content.get('joint_set')!r}, which is not known here.")
    people: dict[tuple[str, int | None], list[Person]] = {}
    for k, entry in enumerate(typed(member(content, "people", path), list, path, "people")):
        key = _picture_key(entry, path, f"people/{k}")
        people.setdefault(key, []).append(_person(entry, joint_set, path, f"people/{k}"))
    pictures = [
        _picture(entry, people, path, f"pictures/{k}")
        for k, entry in enumerate(typed(member(content, "pictures", path), list, path, "pictures"))
    ]
    about = {key: value for key, value in content.items() if key not in ("people", "pictures")}
    return Predictions(path, about, joint_set, tuple(pictures))


def _picture_key(entry: Any, path: Path, where: str) -> tuple[str, int | None]:
    entry = typed(entry, dict, path, where)
    frame = entry.get("frame")
    name = typed(member(entry, "image", path, where), str, path, f"{where}/image")
    return name, None if frame is None else typed(frame, int, path, f"{where}/frame")


def _person(entry: dict, joint_set: JointSet, path: Path, where: str) -> Person:
    def of_joints(key: str, shape: tuple[int, ...]) -> np.ndarray:
        values = typed(member(entry, key, path, where), dict, path, f"{where}/{key}")
        rows = [member(values, name, path, f"{where}/{key}") for name in joint_set.names]
        return array(rows, (len(joint_set), *shape), path, f"{where}/{key}")

    body = None
    if "smplx" in entry:
        body = BodyParameters(
            **{
                name: array(
                    member(entry["smplx"], name, path, f"{where}/smplx"), (size,), path, f"{where}/smplx/{name}"
                )
                for name, size in PARAMETER_SIZES.items()
            }
        )
    return Person(
        box=array(member(entry, "box", path, where), (4,), path, f"{where}/box"),
        score=entry.get("score"),
        box_source=str(entry.get("box_source", "")),
        joints=of_joints("joints", (3,)),
        root=array(member(entry, "root", path, where), (3,), path, f"{where}/root"),
        joints_2d=of_joints("joints_2d", (2,)),
        confidence=of_joints("confidence", ()),
        visible=of_joints("visible", ()) > 0,
        presence=float(array(entry.get("presence", 1.0), (), path, f"{where}/presence")),
        track=entry.get("track"),
        body=body,
        spread=of_joints("spread", ()) if "spread" in entry else None,
        doubts=typed(entry.get("doubts", ""), str, path, f"{where}/doubts"),
    )


def _picture(entry: dict, people: dict, path: Path, where: str) -> PicturePeople:
    name, frame = _picture_key(entry, path, where)
    camera, width, height = None, 0, 0
    if "focal_px" in entry:
        width, height = image_shape(entry, path, where)
        fx, fy = array(entry["focal_px"], (2,), path, f"{where}/focal_px")
        cx, cy = array(member(entry, "centre_px", path, where), (2,), path, f"{where}/centre_px")
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        camera = Camera(K, np.eye(3), np.zeros(3), width, height, assumed=bool(entry.get("camera_assumed")))
    shown = name if frame is None else f"{name}#frame={frame}"
    return PicturePeople(
        shown,
        width,
        height,
        camera,
        tuple(people.get((name, frame), ())),
        frame,
        refusal=str(entry.get("refusal", "")),
        left_out=tuple(map(str, typed(entry.get("left_out", []), list, path, f"{where}/left_out"))),
    )
