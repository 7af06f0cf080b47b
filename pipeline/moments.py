"""Whether pictures show the moments of their joints, by the word of a witness who looks at some of them (`pipeline.witness`).

Joints of other frames, or at another rate, may be those of the person, and near to where somebody who stands is all the while.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.boxes import tight
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.plausible_people import LEAST_JOINTS
from pipeline.records import Instant, View
from pipeline.skeletons import COCO, JOINT_SETS
from pipeline.spread import spread_evenly
from pipeline.witness import SEEN, Witness

# So many films (sequences in one camera) are looked at, and of each so many pictures. So many must tell.
FILMS, PICTURES, FEWEST = 4, 20, 8
# So many films are held at most while a source is read, and of each so many frames.
HELD, LONGEST = 16, 3000
# Joints of so many steps earlier and later are tried, and those at so many times the pictures' rate.
STEPS = 15
RATES = (0.4, 0.5, 0.6, 0.8, 5 / 6, 1.2, 1.25, 5 / 3, 2.0, 2.5)
# Other moments are told when the joints lie so much nearer to where the witness sees them, and by this part of the person's size.
NEARER, BY = 0.6, 0.01


@dataclass
class Film:
    """What is annotated of a sequence in one camera. By frame: the picture, its size, and (J, 2) pixels, NaN where a joint is not
    seen, in single precision: a dataset has a million. names: of the joints."""

    names: tuple[str, ...]
    pictures: dict[int, tuple[str, tuple[int, int]]] = field(default_factory=dict)
    joints: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, frame: int, view: View) -> None:
        """Of a film that goes on, its beginning tells."""
        if len(self.joints) >= LONGEST:
            return
        self.pictures[frame] = view.image_path, (view.camera.width, view.camera.height)
        seen = view.confidence[:, None] > 0
        self.joints[frame] = np.where(seen, view.joints_2d, np.nan).astype(np.float32)


@dataclass
class Films:
    """Some films of a source, evenly: every 2^k-th, so that at most HELD are held. found: by name. numbers: of all that came, in their
    order."""

    found: dict[str, Film] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    stride: int = 1

    def add(self, instant: Instant, film: tuple[str, int] | None) -> None:
        """Takes in the views of an instant of a film (`Source.film_of`), and lets go of every second film when there are too many."""
        if film is None:
            return
        for view in instant.views:
            name = f"{film[0]}, camera {view.camera_id}"
            if self.numbers.setdefault(name, len(self.numbers)) % self.stride == 0:
                self.found.setdefault(name, Film(JOINT_SETS[instant.joint_set].names)).add(film[1], view)
        while len(self.found) > HELD:
            self.stride *= 2
            self.found = {name: held for name, held in self.found.items() if self.numbers[name] % self.stride == 0}


def other_moments(root: Path, films: Films, witness: Witness) -> list[str]:
    """What is told of the films that are looked at whose pictures are of other moments than their joints."""
    long = [name for name, film in films.found.items() if len(film.joints) >= FEWEST]
    told: dict[str, list[str]] = {}
    chosen = [long[k] for k in spread_evenly(len(long), FILMS)]
    for name in chosen:
        if (said := other_moment(root, films.found[name], witness)) is not None:
            told.setdefault(said, []).append(name)
    return [
        f"in {len(names)} of {len(chosen)} films that were looked at, {said} (first: {names[0]})"
        for said, names in told.items()
    ]


def other_moment(root: Path, film: Film, witness: Witness) -> str | None:
    """Of which moments the pictures of a film seem to be, None where they are of their own or nothing tells."""
    frames = np.array(sorted(film.joints))
    looks = list(_looks(root, film, frames, witness))
    if len(looks) < FEWEST:
        return None
    own = {frame: _away(film, frame, seen) for frame, seen in looks}
    best, said = NEARER, None
    for text, other in _hypotheses(frames, np.array(list(own))):
        then = {frame: _away(film, other[frame], seen) for frame, seen in looks if frame in other}
        both = [(then[frame], own[frame]) for frame in then if np.isfinite(then[frame]) and np.isfinite(own[frame])]
        if len(both) < FEWEST:
            continue
        there, here = np.median(np.array(both), axis=0)
        if there < best * here and here - there > BY:
            best, said = float(there / here), text
    return said


def _hypotheses(frames: np.ndarray, asked: np.ndarray) -> Iterator[tuple[str, dict[int, int]]]:
    """What may be wrong with a film, and of which frame the joints of a picture then are. frames: of the film, ascending. asked: of
    the pictures."""
    step = int(np.median(np.diff(frames)))
    for steps in (k for k in range(-STEPS, STEPS + 1) if k):
        way = "later" if steps > 0 else "earlier"
        text = f"pictures show what the joints have {abs(steps) * step} frames {way}: is one of the two late?"
        yield text, _at(frames, asked, asked + steps * step, 0.0)
    for rate in RATES:
        text = f"pictures seem to run {rate:.3g} times as fast as the joints: are the two of different frame rates?"
        yield text, _at(frames, asked, rate * asked, max(step / 2, 0.5))


def _at(frames: np.ndarray, asked: np.ndarray, wanted: np.ndarray, beside: float) -> dict[int, int]:
    """Asked frame -> the frame of the film that is wanted in its place, where one is no further from there than `beside`."""
    after = np.searchsorted(frames, wanted).clip(1, len(frames) - 1)
    nearest = np.where(wanted - frames[after - 1] < frames[after] - wanted, frames[after - 1], frames[after])
    near = np.abs(nearest - wanted) <= beside
    return {int(frame): int(other) for frame, other, there in zip(asked, nearest, near, strict=True) if there}


def _looks(root: Path, film: Film, frames: np.ndarray, witness: Witness) -> Iterator[tuple[int, np.ndarray]]:
    """Of some pictures, evenly, the frame and where the witness sees the film's joints: (J, 2), NaN where it does not."""
    index = [COCO.names.index(name) if name in COCO.names else -1 for name in film.names]
    for frame in (int(frames[k]) for k in spread_evenly(len(frames), PICTURES)):
        joints = film.joints[frame]
        given = joints[np.isfinite(joints).all(1)]
        if len(given) < LEAST_JOINTS:
            continue
        try:
            image = read_image(root, *film.pictures[frame])
        except InputError:  # which is told where pictures are looked at one by one
            continue
        points, scores = witness(image, tight(given.astype(float)))
        points = np.append(np.where(scores[:, None] > SEEN, points, np.nan), [[np.nan, np.nan]], 0)
        yield frame, points[index]


def _away(film: Film, frame: int, seen: np.ndarray) -> float:
    """How far a frame's joints lie from where they were seen, over the person's size: the mean; NaN where few are seen."""
    joints = film.joints[frame]
    off = np.linalg.norm(joints - seen, axis=-1)
    told = np.isfinite(off)
    if told.sum() < LEAST_JOINTS:
        return float("nan")
    given = joints[np.isfinite(joints).all(1)]
    return float(off[told].mean() / max(np.ptp(given, 0).max(), 1.0))
