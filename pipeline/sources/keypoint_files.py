"""Keypoint files as OpenPose writes them: {"people": [{"pose_keypoints_2d": [x, y, confidence, ...], ...}]}."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.skeletons import OPENPOSE_FACE, OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND
from pipeline.sources.joint_names import LAYOUTS
from pipeline.sources.parsing import array, load_json, member, typed

# Further keypoints by OpenPose's key: how many it writes, the set they become and which of them the set holds.
EXTRAS = {
    "hand_left_keypoints_2d": (21, OPENPOSE_LEFT_HAND, slice(0, 21)),
    "hand_right_keypoints_2d": (21, OPENPOSE_RIGHT_HAND, slice(0, 21)),
    "face_keypoints_2d": (70, OPENPOSE_FACE, slice(17, 68)),
}
PADDED = len(LAYOUTS["body25"])


@dataclass(frozen=True)
class FoundPerson:
    """One entry of `people`. body: (N, 3) x, y, confidence in the layout's order, zeros where the confidence is too low.
    extras: hands and face that are there, (M, 3) by joint-set name. left_out: why hands or a face are not among them.
    problem: why the body cannot be used."""

    body: np.ndarray
    extras: dict[str, np.ndarray]
    left_out: tuple[str, ...] = ()
    problem: str | None = None


def read_people(path: Path, layout: str, confidence: float) -> list[FoundPerson]:
    """The people of a file. Raises InputError naming the file for another layout of the file, or another count of joints."""
    people = typed(member(load_json(path), "people", path), list, path, "people")
    return [
        _person(typed(entry, dict, path, f"people/{k}"), path, k, layout, confidence) for k, entry in enumerate(people)
    ]


def _person(entry: dict, path: Path, k: int, layout: str, confidence: float) -> FoundPerson:
    where = f"people/{k}"
    body = _body(member(entry, "pose_keypoints_2d", path, where), path, f"{where}/pose_keypoints_2d", layout)
    if not np.isfinite(body).all():
        return FoundPerson(np.zeros_like(body), {}, problem="a keypoint is not finite")
    extras, left_out = {}, []
    for key, (count, joint_set, part) in EXTRAS.items():
        if not entry.get(key):
            continue
        try:
            points = array(entry[key], (3 * count,), path, f"{where}/{key}").reshape(count, 3)[part]
        except InputError as error:  # a run that does not fit hands and faces has no use for them
            left_out.append(str(error))
            continue
        points = _seen(points, confidence)
        if points.any():
            extras[joint_set.name] = points
    return FoundPerson(_seen(body, confidence), extras, tuple(left_out))


def _body(values: object, path: Path, where: str, layout: str) -> np.ndarray:
    """(N, 3) of the layout's joints. A file with OpenPose's 25 joints may begin with a shorter layout: what follows is zeros, or
    joints that nobody asks for, which are kept here because they tell orders apart."""
    count = len(LAYOUTS[layout])
    given = len(values) // 3 if isinstance(values, list) else 0
    if given == PADDED > count:
        everything = array(values, (3 * PADDED,), path, where).reshape(PADDED, 3)
        return everything if everything[count:].any() else everything[:count]
    fitting = [name for name, names in LAYOUTS.items() if len(names) == given and name != layout]
    try:
        return array(values, (3 * count,), path, where).reshape(count, 3)
    except InputError as error:
        if given == count or not fitting:
            raise
        raise InputError(f"{error} -o layout={' or '.join(fitting)} reads {given} joints.") from None


def _seen(points: np.ndarray, confidence: float) -> np.ndarray:
    """The points, zeros where their confidence is not above the limit or they are not finite."""
    seen = np.isfinite(points).all(1) & (points[:, 2] > confidence)
    return np.where(seen[:, None], points, 0.0)
