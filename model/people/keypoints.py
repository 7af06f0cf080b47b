"""2D keypoints of everybody in pictures, in the files that OpenPose writes: the way from pictures to fits and shards."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.networks.keypoint_network import KeypointNetwork
from model.people.detector import Detector
from model.people.marking import of_others, those_seen
from model.people.pictures import Given, find_given, read_given
from model.people.records import Picture, Refusal
from pipeline.errors import InputError
from pipeline.images import split_frame
from pipeline.outputs import check_output, run_lock, write_marked
from pipeline.skeletons import COCO
from pipeline.sources.joint_names import LAYOUTS

# Joints of other layouts that lie in the middle of two.
MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "pelvis": ("left_hip", "right_hip")}
WRITTEN = ("body25", "coco17")


@dataclass(frozen=True)
class Marked:
    """A picture's keypoints, written or refused. file: where they are. people: how many. left_out: how many were found of whom the
    network sees only whoever stands before or behind them."""

    name: str
    people: int = 0
    left_out: int = 0
    file: Path | None = None
    refusal: str = ""


def write_keypoints(
    images: Sequence[str], out: Path, layout: str = "body25", every: int = 1, augmented: bool = False
) -> Iterator[Marked]:
    """One file NAME_keypoints.json a picture, also where nobody is in it; of a video NAME_FRAME_keypoints.json, FRAME of 12 digits.

    layout: the joints and their order, one of WRITTEN. every: of a video's frames. augmented: whether everybody is looked at four
    times. What cannot be read or written is refused, and the others go on.
    """
    given = find_given(images, every)
    with run_lock(out):
        yield from _write_each(given, out, layout, every, KeypointNetwork(augmented=augmented))


def _write_each(
    given: Sequence[Given], out: Path, layout: str, every: int, network: KeypointNetwork
) -> Iterator[Marked]:
    find = Detector()
    written: dict[Path, str] = {}
    for picture in read_given(given, None, every):
        if isinstance(picture, Refusal):
            yield Marked(picture.name, refusal=picture.reason)
            continue
        file = out / f"{file_stem(picture)}_keypoints.json"
        try:
            if file in written:
                raise InputError(
                    f"{picture.name}: {file} holds the keypoints of {written[file]}. Give one of them another name."
                )
            check_output(file, (".json",))
            boxes = find(picture.pixels)
            marks = [network(picture.pixels, box.box) for box in boxes]
            others = of_others(boxes, [those_seen(*mark) for mark in marks])
            people = [in_layout(*mark, layout) for mark, other in zip(marks, others, strict=True) if not other]
            write_marked(file, as_openpose(people))
        except InputError as error:
            yield Marked(picture.name, refusal=str(error))
            continue
        written[file] = picture.name
        yield Marked(picture.name, len(people), len(boxes) - len(people), file)


def file_stem(picture: Picture) -> str:
    stem = Path(split_frame(picture.name)[0]).stem
    return stem if picture.frame is None else f"{stem}_{picture.frame:012d}"


def in_layout(points: np.ndarray, scores: np.ndarray, layout: str) -> np.ndarray:
    """MSCOCO's (17, 2) pixels and (17,) scores -> (N, 3) x, y, confidence of a layout's joints, zeros for others."""
    found = {name: np.r_[point, score] for name, point, score in zip(COCO.names, points, scores, strict=True)}
    for name, (first, second) in MIDDLES.items():
        pair = found[first], found[second]
        found[name] = np.r_[(pair[0][:2] + pair[1][:2]) / 2, min(pair[0][2], pair[1][2])]
    return np.array([found.get(name, np.zeros(3)) for name in LAYOUTS[layout]])


def as_openpose(people: Sequence[np.ndarray]) -> bytes:
    entries = [{"person_id": [-1], "pose_keypoints_2d": np.round(points, 3).ravel().tolist()} for points in people]
    return json.dumps({"version": 1.3, "people": entries}).encode()


def mark_all(
    images: Sequence[str], out: Path, layout: str, every: int, augmented: bool, tell: Callable[[Marked], None]
) -> tuple[int, list[str]]:
    """How many people were marked, and why pictures were refused. Raises InputError when nobody was found at all."""
    people, refused = 0, []
    for marked in write_keypoints(images, out, layout, every, augmented):
        people += marked.people
        refused += [marked.refusal] if marked.refusal else []
        tell(marked)
    if not people:
        raise InputError(
            f"nobody was found: {refused[0] if refused else 'the detector sees no person in any picture.'}"
        )
    return people, refused
