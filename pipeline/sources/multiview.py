"""Several calibrated cameras of one's own: people filmed by all of them in step.

    videos/CAM.mp4  or  images/CAM/NAME.jpg            one video, or one folder of pictures, for each camera
    keypoints/CAM/NAME_keypoints.json                  OpenPose's files; the last number of NAME is the frame
    NAME.toml, NAME.qca.txt, intri.yml + extri.yml or NAME.json, here or in calibration/

One `Instant` is one person in one frame, seen by two cameras at least: who is who in the other cameras is told by where rays meet.
Where nobody is ever together with others the id is the frame's number, and all are one subject; else it is FRAME/k for the k-th
person from the left, whom nothing follows from frame to frame.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.agreement import Sight, apart, odd_aim, odd_rig, odd_stature, same_people, sides_exchanged, sight_of
from pipeline.camera import tight_box
from pipeline.errors import InputError
from pipeline.images import image_size
from pipeline.in_step import doubt_step
from pipeline.plausible_people import LEAST_JOINTS, odd_people
from pipeline.records import Instant, Reject, View
from pipeline.sources.base import Annotated, Doubt, Implausible, Item, Skipped, Source
from pipeline.sources.calibrations import find_calibration, read_calibration
from pipeline.sources.doubts import (
    doubt_confidence,
    doubt_frozen,
    doubt_hands,
    doubt_order,
    doubt_sides,
    doubt_twice,
)
from pipeline.sources.joint_names import LAYOUTS, Layout, odd_order, place
from pipeline.sources.keypoint_files import FoundPerson, read_people
from pipeline.sources.rig import Rig, open_rig
from pipeline.spread import spread_evenly

# Of so many instants the calibration is judged; of so many choices of people in one instant, the best is taken.
JUDGED, CHOICES = 40, 256
SIDES = "left and right are exchanged in it, by the word of the other cameras"
IN_GROUPS = (
    "each camera sees one person, but they fall into groups that do not agree where: the calibration is not of these pictures, or the "
    "groups are not in step (-o cameras= takes those of one group)"
)


@dataclass(frozen=True)
class Options:
    """confidence, layout, split: as of the source openpose. calibration: its file, where there are several. unit: of the
    calibration's lengths. cameras: those to use. offsets: CAM:N each, where frame n of CAM shows what frame n - N of the others
    shows. every: keep frames whose number is a multiple."""

    confidence: float = 0.1
    layout: Layout = "body25"
    split: Literal["train", "validation", "test"] = "test"
    calibration: str | None = None
    unit: Literal["m", "cm", "mm"] | None = None
    cameras: tuple[str, ...] | None = None
    offsets: tuple[str, ...] | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.confidence < 1 or self.every < 1:
            raise InputError("confidence is from 0 up to, not including, 1, and every is 1 or more.")
        self.shifts()

    def shifts(self) -> dict[str, int]:
        parts = [text.rpartition(":") for text in self.offsets or ()]
        if bad := [text for text, part in zip(self.offsets or (), parts, strict=True) if not _whole(part[2])]:
            raise InputError(f"offsets has {bad[0]!r}; write CAM:FRAMES, for example cam03:5.")
        return {name: int(count) for name, _, count in parts}


def _whole(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d{1,9}", text) is not None


@dataclass(frozen=True)
class Seen:
    """One of the people whom a camera sees at a moment."""

    view: View
    sight: Sight


# Of each camera that sees somebody at one moment, the people whom it sees.
Moment = list[list[Seen]]


class Multiview(Source):
    """See the module."""

    name = "multiview"

    def __init__(self, root: Path, options: Options):
        super().__init__(root)
        self.options = options
        folder = self.root / "keypoints"
        if not folder.is_dir():
            raise InputError(
                f"{self.root} has no folder keypoints/. Give a folder with keypoints/CAM/NAME_keypoints.json, "
                "videos/CAM.mp4 or images/CAM/, and a calibration (docs/datasets.md)."
            )
        self.calibration = find_calibration(self.root, options.calibration)
        known = read_calibration(self.calibration, options.unit)
        recorded = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        names = sorted(options.cameras or recorded)
        if missing := [name for name in names if name not in known or name not in recorded]:
            raise InputError(
                f"{self.calibration[0]} has the cameras {', '.join(known)}, and keypoints/ has {', '.join(recorded)}: "
                f"{', '.join(missing)} is not in both. Rename it, or leave it out with -o cameras=A,B."
            )
        if len(names) < 2:
            raise InputError(
                f"{folder} has {len(names)} cameras; two at least are needed (the source openpose reads one)."
            )
        shifts = options.shifts()
        if strangers := [name for name in shifts if name not in names]:
            raise InputError(f"offsets names {strangers[0]}; the cameras are {', '.join(names)}.")
        self.unused = sorted(set(known) - set(names))
        self.rigs = [open_rig(self.root, known[name], shifts.get(name, 0), self.calibration[0]) for name in names]
        self.placing = place(LAYOUTS[options.layout], options.layout)
        # so many digits have the frames in ids, which sort as texts
        self.digits = max(9, *(len(str(frame)) for rig in self.rigs for frame in rig.files))

    def annotation_files(self) -> list[Path]:
        return sorted([*self.calibration, *(path for rig in self.rigs for path in rig.files.values())])

    def group(self, instant: Instant) -> str:
        return "person"

    def notices(self) -> list[str]:
        counts = {rig.name: len(rig.files) for rig in self.rigs}
        told = [f"calibrated, but not used: {', '.join(self.unused)}"] if self.unused else []
        if len(set(counts.values())) > 1:
            told.append("frames with keypoints: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
        return told

    def parts(self) -> dict[str, Iterator[Item]]:
        return {self.name: self._items()}

    def _items(self) -> Iterator[Item]:
        """Everything is read before the first instant: only all together tell of a wrong calibration or resolution."""
        frames = sorted({frame for rig in self.rigs for frame in rig.files})
        yield Annotated("person", len(frames), sum(len(rig.files) for rig in self.rigs))
        kept = [frame for frame in frames if frame >= 0 and frame % self.options.every == 0]
        if early := sum(frame < 0 for frame in frames):
            yield Skipped("before frame 0 of the common clock", early)
        lacking = Counter(rig.name for frame in kept for rig in self.rigs if frame not in rig.files)
        yield from (Skipped(f"{name} has no keypoints of the frame", count) for name, count in sorted(lacking.items()))
        found = self._people(kept)
        empty = Counter(name for (name, _), people in found.items() if not people)
        yield from (Skipped(f"{name} sees nobody in the frame", count) for name, count in sorted(empty.items()))
        yield from doubt_frozen({key: [person.body for person in people] for key, people in found.items()})
        moments: dict[int, Moment] = {}
        odd = self._odd_people(found)
        bodies = [person.body for people in found.values() for person in people]
        everyone = np.array(bodies) if bodies else np.zeros((0, 1, 3))
        yield from (*doubt_confidence(everyone), *doubt_sides(everyone, LAYOUTS[self.options.layout], detected=True))
        yield from doubt_order(everyone, LAYOUTS[self.options.layout])
        yield from doubt_hands([person for people in found.values() for person in people], LAYOUTS[self.options.layout])
        yield from doubt_twice((key, person.body) for key, people in found.items() for person in people)
        for frame in kept:
            moment: Moment = []
            yield from self._extras_left_out(frame, found)
            for rig in (rig for rig in self.rigs if frame in rig.files):
                item = self._views(frame, rig, found[rig.name, frame], odd)
                if isinstance(item, Reject):
                    yield item
                elif item:
                    moment.append([Seen(view, sight_of(view)) for view in item])
            if len(moment) < 2:
                yield Skipped("seen by fewer than two cameras")
            else:
                moments[frame] = moment
        lone = {f: {c[0].view.camera_id: c[0].sight for c in moment if len(c) == 1} for f, moment in moments.items()}
        if late := doubt_step(lone, self.options.shifts()):
            yield Doubt(late)
        judged = [list(moments)[k] for k in spread_evenly(len(moments), JUDGED)]
        chosen = [self._instant(frame, _choose(moments[frame])) for frame in judged]
        reason = odd_rig(chosen)
        if reason is not None:
            for frame, moment in moments.items():
                yield Implausible(Reject(self._key(frame), "read", reason), self._instant(frame, _choose(moment)))
            return
        # a late camera sees the person beside where the others do, while the person walks
        for doubt in (odd_stature(chosen), None if late else odd_aim(chosen)):
            if doubt:
                yield Doubt(doubt)
        yield from self._told_apart(moments)

    def _told_apart(self, moments: dict[int, Moment]) -> Iterator[Item]:
        """The people of each frame, and those whom no two cameras agree about."""
        people = {frame: _people_of(moment) for frame, moment in moments.items()}
        several = max(map(len, people.values()), default=0) > 1
        apart = [frame for frame, moment in moments.items() if len(people[frame]) > 1 and max(map(len, moment)) == 1]
        for frame, moment in moments.items():
            if 2 * len(apart) > len(moments):
                yield Implausible(Reject(self._key(frame), "read", IN_GROUPS), self._instant(frame, _choose(moment)))
                continue
            yield from self._left_out(frame, moment, people[frame])
            for k, person in enumerate(people[frame]):
                exchanged = sides_exchanged([sight_of(view) for view in person], self.placing.joint_set.name)
                for view in (view for view, odd in zip(person, exchanged, strict=True) if odd):
                    yield Implausible(
                        Reject(view.id, "read", f"{view.image_path}: {SIDES}"), self._instant(frame, [view])
                    )
                kept = [view for view, odd in zip(person, exchanged, strict=True) if not odd]
                yield self._instant(frame, kept, k if several else None)

    def _left_out(self, frame: int, moment: Moment, people: list[list[View]]) -> Iterator[Item]:
        """Views of nobody who is kept: a reject where a camera has nobody else, else a further person, who is counted."""
        if not people:
            instant = self._instant(frame, _choose(moment))
            yield Implausible(Reject(instant.id, "read", "the cameras do not agree where the person is"), instant)
            return
        taken = {id(view) for person in people for view in person}
        reason = "does not agree with the other cameras where the person is: another moment, person or calibration"
        for candidates in moment:
            left = [seen.view for seen in candidates if id(seen.view) not in taken]
            if len(left) == len(candidates):
                reject = Reject(left[0].id, "read", f"{left[0].image_path}: {reason}")
                yield Implausible(reject, self._instant(frame, left[:1]))
            elif left:
                yield Skipped(f"further people of {left[0].camera_id} whom no other camera agrees about", len(left))

    def _extras_left_out(self, frame: int, found: dict[tuple[str, int], list[FoundPerson]]) -> Iterator[Reject]:
        """Hands and faces that cannot be read; their people are kept."""
        for rig in self.rigs:
            for text in (text for person in found.get((rig.name, frame), ()) for text in person.left_out):
                yield Reject(f"{self._key(frame)}/{rig.name}", "read", f"{text} The person is kept without it")

    def _people(self, frames: list[int]) -> dict[tuple[str, int], list[FoundPerson]]:
        layout, confidence = self.options.layout, self.options.confidence
        return {
            (rig.name, frame): read_people(rig.files[frame], layout, confidence)
            for rig in self.rigs
            for frame in frames
            if frame in rig.files
        }

    def _odd_people(self, found: dict[tuple[str, int], list[FoundPerson]]) -> dict[int, str]:
        """By identity of a person: what is wrong with it, seen among all."""
        everyone = [(name, person) for (name, _), people in found.items() for person in people]
        if not everyone:
            return {}
        points = np.array([person.body for _, person in everyone])
        order = odd_order(points, self.options.layout)
        if order is not None:
            return {id(person): order for _, person in everyone}
        index = {rig.name: k for k, rig in enumerate(self.rigs)}
        sizes = np.array([(rig.camera.width, rig.camera.height) for rig in self.rigs])
        picture = np.array([index[name] for name, _ in everyone])
        reasons = odd_people(points[..., :2], points[..., 2] > 0, picture, sizes, alone=True)
        return {id(p): reason for (_, p), reason in zip(everyone, reasons, strict=True) if reason is not None}

    def _views(self, frame: int, rig: Rig, people: list[FoundPerson], odd: dict[int, str]) -> list[View] | Reject:
        """The people of one camera's frame who can be used, or why none of them can."""
        key = f"{self._key(frame)}/{rig.name}"
        try:
            path = rig.image_path(frame)
            if rig.pictures is not None:
                header = image_size(self.root / path)
                if (header.width, header.height, header.orientation) != (rig.camera.width, rig.camera.height, 1):
                    size = f"{header.width} x {header.height} pixels, orientation {header.orientation}"
                    return Reject(
                        key, "read", f"{path}: {size}; the camera has {rig.camera.width} x {rig.camera.height}"
                    )
        except InputError as error:
            return Reject(key, "read", str(error))
        views, problems = [], []
        for person in people:
            joints = self.placing(person.body)
            seen = joints[:, 2] > 0
            problem = person.problem or odd.get(id(person))
            if problem is None and seen.sum() < LEAST_JOINTS:
                problem = f"{seen.sum()} joints above confidence {self.options.confidence}, at least {LEAST_JOINTS} are needed"
            if problem is not None:
                problems.append(problem)
                continue
            box = tight_box(joints[seen, :2], subtract=0)
            confidence = joints[:, 2].clip(0, 1)
            views.append(View(key, rig.name, rig.camera, path, box, joints[:, :2], confidence, person.extras))
        return Reject(key, "read", problems[0]) if problems and not views else views

    def _key(self, frame: int) -> str:
        return f"{frame:0{self.digits}d}"

    def _instant(self, frame: int, views: list[View], number: int | None = None) -> Instant:
        """number: of the person, where several are told apart."""
        key = self._key(frame) if number is None else f"{self._key(frame)}/{number:02d}"
        subject = "person" if number is None else None
        named = tuple(replace(view, id=f"{key}/{view.camera_id}") for view in views)
        joint_set = self.placing.joint_set.name
        return Instant(key, subject, "", frame, joint_set, named, has_world=True, split=self.options.split)


def _people_of(moment: Moment) -> list[list[View]]:
    """The people whom two cameras at least agree about, from left to right in the first camera that sees each."""
    groups = same_people([[seen.sight for seen in candidates] for candidates in moment])
    people = [[moment[c][k].view for c, k in group.items()] for group in groups]
    return sorted(people, key=lambda person: (person[0].camera_id, float(person[0].box[0])))


def _choose(moment: Moment) -> list[View]:
    """Of each camera's people the one who agrees best with the others."""
    best, least = [candidates[0] for candidates in moment], np.inf
    several = any(len(candidates) > 1 for candidates in moment)
    for choice in itertools.islice(itertools.product(*moment), CHOICES if several else 0):
        pairs = [apart(one.sight, other.sight) for one, other in itertools.combinations(choice, 2)]
        cost = float(np.nanmean(pairs)) if np.isfinite(pairs).any() else np.inf
        if cost < least:
            best, least = list(choice), cost
    return [seen.view for seen in best]


def open_root(root: Path, options: Options) -> Multiview:
    return Multiview(root, options)
