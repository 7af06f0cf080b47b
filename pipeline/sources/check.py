"""What a dataset on disk holds, before hours are spent on it: counts, gaps, and whether joints, boxes and cameras fit
together."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from pipeline.camera import in_image, project, world_to_camera
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.outputs import check_output, encode_picture, write_marked
from pipeline.records import Instant, View
from pipeline.skeletons import JOINT_SETS
from pipeline.sources.base import MISSING_IMAGE, SPLITS, Source
from pipeline.spread import spread_evenly

# Views whose image is decoded and whose joints, box and camera are compared.
LOOKED_AT = 64
PICTURES, TILE = 12, 320
# Human3.6M as everyone samples it: views of subjects 1, 5, 6, 7, 8 (every 5th frame), and of 9 and 11.
HUMAN36M_TRAIN = {5: 312188}
HUMAN36M_TEST = {64: 8695, 1: 548819}
HUMAN36M_TEST_CAMERA_4 = {64: 2181, 5: 27558}
THREEDPW_SEQUENCES = {"train": 24, "validation": 12, "test": 24}


@dataclass
class Counts:
    """Of one subject: annotated instants and views, and how many views are left after sampling."""

    instants: int = 0
    views: int = 0
    sampled: int = 0


@dataclass
class Survey:
    """What was found. subjects: by name, "" where the source knows none. sampled_instants: after sampling. by_split:
    sampled views. cameras: sampled views by (split, camera). spread: sampled instants, evenly over the source, for a
    closer look. unreadable: parts of the source that could not be read to their end, and why."""

    subjects: dict[str, Counts] = field(default_factory=dict)
    sampled_instants: int = 0
    by_split: Counter = field(default_factory=Counter)
    cameras: Counter = field(default_factory=Counter)
    spread: list[Instant] = field(default_factory=list)
    unreadable: dict[str, InputError] = field(default_factory=dict)


def check_source(source: Source, picture: Path | None = None) -> dict:
    """The report of `nvf-cli check-data`, JSON-able. picture: where a contact sheet is written. Raises InputError
    where no part of the source can be read."""
    check_output(picture, (".png", ".jpg", ".jpeg"))
    started = time.perf_counter()
    survey = take_survey(source)
    problems = _part_problems(survey) + _reject_problems(source) + _count_problems(source, survey)
    problems += look_closer(source, survey.spread)
    _note_sequences(source)
    if not survey.sampled_instants:
        problems.insert(0, "nothing is left to use")
    if picture is not None and survey.spread:
        write_contact_sheet(picture, source.root, survey.spread)
    views = sum(c.views for c in survey.subjects.values())
    return {
        "source": source.name,
        "root": str(source.root),
        "recorded": source.real,
        "joint_set": source.joint_set,
        "instants": sum(c.instants for c in survey.subjects.values()),
        "views": views,
        "sampled": sum(survey.by_split.values()),
        "missing_images": _missing_images(source),
        "by_subject": {name: counts.views for name, counts in survey.subjects.items()},
        "by_split": {split: survey.by_split[split] for split in SPLITS if survey.by_split[split]},
        "subjects": {name: vars(counts) for name, counts in survey.subjects.items()},
        "rejects": dict(_reasons(source).most_common()),
        "skipped": dict(source.skipped),
        "notices": list(source.notices),
        "problems": problems,
        "picture": str(picture) if picture is not None and survey.spread else None,
        "seconds": round(time.perf_counter() - started, 3),
    }


def empty_report(source: str, root: Path, problem: str) -> dict:
    """The report on what cannot be read at all."""
    return {
        "source": source,
        "root": str(root),
        "instants": 0,
        "views": 0,
        "sampled": 0,
        "missing_images": 0,
        "by_subject": {},
        "by_split": {},
        "subjects": {},
        "rejects": {},
        "skipped": {},
        "notices": [],
        "problems": [problem],
    }


def take_survey(source: Source) -> Survey:
    """Runs through the source once, keeping every 2^k-th instant so that at most LOOKED_AT are held."""
    survey, stride, parts = Survey(), 1, source.parts()
    for k, instant in enumerate(_readable(parts, survey.unreadable)):
        survey.sampled_instants += 1
        survey.by_split[instant.split] += len(instant.views)
        survey.subjects.setdefault(source.group(instant), Counts()).sampled += len(instant.views)
        for view in instant.views:
            survey.cameras[instant.split, view.camera_id] += 1
        if k % stride == 0:
            survey.spread.append(instant)
            if len(survey.spread) > LOOKED_AT:
                survey.spread, stride = survey.spread[::2], 2 * stride
    if parts and len(survey.unreadable) == len(parts) and not survey.sampled_instants:
        raise next(iter(survey.unreadable.values()))
    for name, (instants, views) in source.annotated.items():
        counts = survey.subjects.setdefault(name, Counts())
        counts.instants, counts.views = instants, views
    survey.subjects = dict(sorted(survey.subjects.items()))
    return survey


def _readable(parts: dict[str, Iterator[Instant]], unreadable: dict[str, InputError]) -> Iterator[Instant]:
    """The instants of all parts; a part that ends in an error goes to `unreadable`, and the next one follows."""
    for name, part in parts.items():
        try:
            yield from part
        except InputError as error:
            unreadable[name] = error


def _part_problems(survey: Survey) -> list[str]:
    """A file that several parts share is told once."""
    names: dict[str, list[str]] = {}
    for name, error in survey.unreadable.items():
        names.setdefault(str(error), []).append(name)
    return [f"{', '.join(parts)} cannot be read: {error}" for error, parts in names.items()]


def _note_sequences(source: Source) -> None:
    """A folder with other numbers of sequences than 3DPW has is no fault: it may be a part of it on purpose."""
    if source.name != "threedpw":
        return
    found = Counter(split for split, _ in source.files.values())
    if any(found[split] != known for split, known in THREEDPW_SEQUENCES.items()):
        counts = ", ".join(f"{found[split]} of {known} {split}" for split, known in THREEDPW_SEQUENCES.items())
        source.notices.append(f"Not all of 3DPW: {counts} sequences are there.")


def _reasons(source: Source) -> Counter:
    """Rejects by reason, without the name of the file in front."""
    return Counter(reject.reason.rsplit(": ", 1)[-1] for reject in source.rejects)


def _missing_images(source: Source) -> int:
    return sum(reject.reason.endswith(MISSING_IMAGE) for reject in source.rejects)


def _reject_problems(source: Source) -> list[str]:
    problems = []
    for reason, count in _reasons(source).most_common():
        first = next(r for r in source.rejects if r.reason.endswith(reason))
        problems.append(f"{count} left out: {reason} (first: {first.key}, {first.reason})")
    return problems


def _count_problems(source: Source, survey: Survey) -> list[str]:
    """Where a recorded Human3.6M with all its subjects has other numbers of views than everyone's."""
    if source.name != "human36m" or not source.real:
        return []
    options, found = source.options, set(survey.subjects) - set(survey.unreadable)
    test = {"test, 4 cameras": (HUMAN36M_TEST, survey.by_split["test"])}
    test["test, camera 4"] = (HUMAN36M_TEST_CAMERA_4, survey.cameras["test", "4"])
    expected = []
    if {"S1", "S5", "S6", "S7", "S8"} <= found and options.every_train in HUMAN36M_TRAIN:
        expected.append(
            ("training and validation", HUMAN36M_TRAIN[5], survey.by_split["train"] + survey.by_split["validation"])
        )
    if {"S9", "S11"} <= found and not options.drop_shifted:
        expected += [
            (name, known[options.every_test], count)
            for name, (known, count) in test.items()
            if options.every_test in known
        ]
    missing = [s for s in ("S1", "S5", "S6", "S7", "S8", "S9", "S11") if s not in found]
    if missing and options.subjects is None:
        source.notices.append(
            f"{', '.join(missing)} are not there, or not readable: counts of their splits are not compared with the known ones."
        )
    return [
        f"{name}: {count} views, Human3.6M has {known}; protocols will refuse the set without --allow-partial"
        for name, known, count in expected
        if known != count
    ]


def look_closer(source: Source, instants: list[Instant]) -> list[str]:
    """Decodes one image of each instant and compares joints, box and camera in all its views; problems, each told
    once."""
    found: dict[str, list[str]] = {}
    for k, instant in enumerate(instants):
        for view in instant.views:
            for problem in view_problems(instant, view):
                found.setdefault(problem, []).append(view.id)
        view = instant.views[k % len(instant.views)]
        try:
            read_image(source.root, view.image_path, (view.camera.width, view.camera.height))
        except InputError as error:
            found.setdefault(f"an image that was tried cannot be used: {error}", []).append(view.id)
    return [f"{problem} ({len(views)} of the views looked at; first: {views[0]})" for problem, views in found.items()]


def view_problems(instant: Instant, view: View) -> list[str]:
    """What does not fit together in a view: signs of wrong units, a transposed rotation, boxes of another image
    size."""
    camera, problems = view.camera, []
    f, c = camera.K[[0, 1], [0, 1]], camera.K[:2, 2]
    side = max(camera.width, camera.height)
    if not (0.2 * side < f.min() and f.max() < 20 * side):
        problems.append("focal length far from the image size: is it in pixels of this image?")
    if not (0 < c[0] < camera.width and 0 < c[1] < camera.height):
        problems.append("principal point outside the image")
    if np.abs(camera.R @ camera.R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(camera.R) < 0:
        problems.append("the camera's R is not a rotation")
    seen = view.confidence > 0
    grown = np.array([*(view.box[:2] - view.box[2:] / 2), *(view.box[:2] + 1.5 * view.box[2:])])
    inside = (view.joints_2d >= grown[:2]).all(1) & (view.joints_2d <= grown[2:]).all(1)
    if seen.any() and (inside & seen).sum() < 0.5 * seen.sum():
        problems.append("most joints lie outside the person's box: cameras, boxes and joints do not belong together")
    if instant.joints_3d is None:
        return problems
    joints = instant.joints_3d[instant.joints_3d_valid]
    span = np.ptp(joints, axis=0).max()
    if not 0.3 < span < 3:
        problems.append(f"a body spans {'less than 0.3' if span <= 0.3 else 'more than 3'} m: are the units right?")
    local = world_to_camera(camera, joints)
    if (local[:, 2] <= 0.1).any():
        problems.append("joints behind the camera: are R and t world -> camera?")
    elif not in_image(project(camera, local), camera.width, camera.height).any():
        problems.append("no joint projects into the image: are R and t world -> camera?")
    return problems


def write_contact_sheet(path: Path, root: Path, instants: list[Instant]) -> None:
    """A PNG of some views with their box and joints drawn on."""
    chosen = spread_evenly(len(instants), PICTURES)
    tiles = []
    for k, instant in enumerate(instants[i] for i in chosen):
        view = instant.views[k % len(instant.views)]
        try:
            tiles.append(_tile(read_image(root, view.image_path), instant, view))
        except InputError:
            continue  # told by look_closer
    tiles = tiles or [np.full((TILE, TILE, 3), 255, np.uint8)]
    columns = min(4, len(tiles))
    tiles += [np.full((TILE, TILE, 3), 255, np.uint8)] * (-len(tiles) % columns)
    sheet = np.concatenate([np.concatenate(tiles[k : k + columns], 1) for k in range(0, len(tiles), columns)], 0)
    write_marked(path, encode_picture(sheet, path.suffix))


def _tile(image: np.ndarray, instant: Instant, view: View) -> np.ndarray:
    """(TILE, TILE, 3): the surroundings of the person's box, with left limbs red, right limbs blue and the box
    green."""
    x, y, w, h = view.box
    side = 1.4 * max(w, h)
    scale = TILE / side
    shift = np.array([x + w / 2 - side / 2, y + h / 2 - side / 2])
    matrix = np.array([[scale, 0, (0.5 - shift[0]) * scale - 0.5], [0, scale, (0.5 - shift[1]) * scale - 0.5]])
    tile = cv2.warpAffine(np.ascontiguousarray(image), matrix, (TILE, TILE), flags=cv2.INTER_AREA)
    to_tile = lambda pixels: tuple(int(v) for v in np.round((np.asarray(pixels) + 0.5 - shift) * scale - 0.5))  # noqa: E731
    joint_set = JOINT_SETS[instant.joint_set]
    seen = view.confidence > 0
    cv2.rectangle(tile, to_tile([x, y]), to_tile([x + w, y + h]), (40, 200, 40), 1)
    for parent, child in joint_set.bones:
        if seen[parent] and seen[child]:
            name = joint_set.names[child]
            colour = (
                (230, 60, 60)
                if name.startswith("left")
                else (70, 110, 250)
                if name.startswith("right")
                else (250, 210, 40)
            )
            cv2.line(tile, to_tile(view.joints_2d[parent]), to_tile(view.joints_2d[child]), colour, 2, cv2.LINE_AA)
    for joint in np.flatnonzero(seen):
        cv2.circle(tile, to_tile(view.joints_2d[joint]), 3, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.putText(tile, view.id[-44:], (4, TILE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(tile, view.id[-44:], (4, TILE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
    return tile
