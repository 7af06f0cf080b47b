"""Who is who from frame to frame of a video: by where the boxes are and how they look, enough for a few people."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from model.people.detector import SIDES, Detector, Look, overlaps
from model.people.records import Box, Picture, clipped
from pipeline.images import split_frame

# Who is not seen any more is waited for so long, seconds, and stands where he was so long, for the network to say whether he is there.
WAITED_S, FILLED_S = 1.0, 0.25
# What a pair of boxes costs: the share of looks, where somebody is before or behind the person and where not; the rest is of
# place (1 - overlap). A pair that costs more are two people.
CROWD_LOOKS, LOOKS, MOST_COST = 0.5, 0.3, 0.75
# Of the smaller of two boxes, the share that lies in the other: from here on they show parts of each other, and of themselves.
CROWDED = 0.1
# Frames between two thorough looks; between them the detector looks once, unless it misses somebody.
THOROUGH = 10
USUAL_FPS = 25.0


@dataclass
class Track:
    """Somebody who is followed. time_s: when he was seen last. looks, speed: as he was seen with nobody before or behind him, (96,),
    and (2,) px a second of the middle of the box."""

    number: int
    box: Box
    looks: np.ndarray
    time_s: float
    speed: np.ndarray

    def expected(self, time_s: float) -> np.ndarray:
        """(4,) where the box is expected."""
        moved = self.speed * min(time_s - self.time_s, FILLED_S)
        return self.box.box + np.r_[moved, 0, 0]


class Tracker:
    """Numbers the boxes of a video's frames, which come in order; another video begins anew. Photographs are left as they are."""

    def __init__(self) -> None:
        self.source = ""
        self.tracks: list[Track] = []
        self.begun = 0

    def __call__(self, picture: Picture, boxes: Sequence[Box]) -> list[Box]:
        """The boxes with their tracks; and, for those whom the detector has just missed, a box where they are expected."""
        numbered = self.numbered(picture, boxes)
        if picture.frame is None:
            return numbered
        time_s, seen = frame_time(picture), {box.track for box in numbered}
        return numbered + [
            Box(clipped(track.expected(time_s), picture), None, "track", track=track.number)
            for track in self.tracks
            if track.number not in seen and time_s - track.time_s <= FILLED_S
        ]

    def numbered(self, picture: Picture, boxes: Sequence[Box]) -> list[Box]:
        """The boxes with their tracks."""
        if picture.frame is None:
            return list(boxes)
        self.look_at(picture)
        time_s = frame_time(picture)
        self.tracks = [track for track in self.tracks if time_s - track.time_s <= WAITED_S]
        looks = [appearance(picture.pixels, box.box) for box in boxes]
        known = self._matched(boxes, looks, time_s)
        numbered = []
        for k, box in enumerate(boxes):
            track = known.get(k) or self._begin(box, looks[k], time_s)
            if k in known and not self._crowded(track, time_s):
                speed = (middle(box) - middle(track.box)) / max(time_s - track.time_s, 1e-3)
                track.speed = 0.5 * track.speed + 0.5 * speed
                track.looks = 0.9 * track.looks + 0.1 * looks[k]
            track.box, track.time_s = box, time_s
            numbered.append(replace(box, track=track.number))
        return numbered

    def look_at(self, picture: Picture) -> None:
        """Begins anew with another video."""
        source = split_frame(picture.name)[0]
        if source != self.source:
            self.source, self.tracks, self.begun = source, [], 0

    def expecting(self, time_s: float) -> int:
        """How many people were just seen."""
        return sum(time_s - track.time_s <= FILLED_S for track in self.tracks)

    def crossing(self) -> bool:
        """Whether one is before another, where a quick look's boxes waver between the two."""
        where = np.array([track.box.box for track in self.tracks])
        return any((overlaps(where[k], where[:k]) > 0).any() for k in range(1, len(where)))

    def _begin(self, box: Box, looks: np.ndarray, time_s: float) -> Track:
        self.begun += 1
        self.tracks.append(Track(self.begun, box, looks, time_s, np.zeros(2)))
        return self.tracks[-1]

    def _crowded(self, track: Track, time_s: float) -> bool:
        """Whether somebody else is before or behind him: his box is of what is seen of him, and the colours in it are of both."""
        others = [other.expected(time_s) for other in self.tracks if other is not track]
        return bool(others) and bool((shared(track.expected(time_s), np.stack(others)) > CROWDED).any())

    def _matched(self, boxes: Sequence[Box], looks: Sequence[np.ndarray], time_s: float) -> dict[int, Track]:
        """Number of a box -> its track, the cheapest of all ways to pair them."""
        if not boxes or not self.tracks:
            return {}
        where = np.stack([box.box for box in boxes])
        cost = np.zeros((len(self.tracks), len(boxes)))
        for row, track in zip(cost, self.tracks, strict=True):
            of_looks = CROWD_LOOKS if self._crowded(track, time_s) else LOOKS
            row += (1 - of_looks) * (1 - overlaps(track.expected(time_s), where))
            row += of_looks * np.array([unlike(track.looks, look) for look in looks])
        from scipy.optimize import linear_sum_assignment  # here, since photographs need not wait for it

        pairs = zip(*linear_sum_assignment(cost), strict=True)
        return {int(k): self.tracks[t] for t, k in pairs if cost[t, k] <= MOST_COST}


class VideoFinder:
    """The detector, looking less at the frames of a video than at photographs, and the tracker behind it."""

    def __init__(self, detector: Detector):
        # The size at which it saw all of them last comes first: who fills the picture may be seen at one size only, frame after frame.
        self.sides: tuple[int, ...] = SIDES[::-1]
        self.detector, self.tracker, self.since = detector, Tracker(), 0

    def __call__(self, picture: Picture) -> list[Box]:
        if picture.frame is None:
            return self.detector(picture.pixels)
        self.tracker.look_at(picture)
        expected = self.tracker.expecting(frame_time(picture))
        self.since += 1
        look = self.detector.looks(picture.pixels)
        easy = expected and self.since < THOROUGH and not self.tracker.crossing()
        boxes = self._quick(look, expected) if easy else []
        if not boxes:
            boxes, self.since = self.detector(picture.pixels, look), 0
        return self.tracker(picture, boxes)

    def _quick(self, look: Look, expected: int) -> list[Box]:
        """Of one look that shows as many people as are expected; of none where none does."""
        for side in self.sides:
            boxes = self.detector.quick(look, side)
            if len(boxes) >= expected:
                self.sides = (side, *(other for other in self.sides if other != side))
                return boxes
        return []


def middle(box: Box) -> np.ndarray:
    """(2,) px."""
    return box.box[:2] + box.box[2:] / 2


def shared(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) of the smaller of a box and each of (n, 4) others the share that lies in the other."""
    alike, own, theirs = overlaps(box, others), box[2:].prod(), others[:, 2:].prod(1)
    return alike / (1 + alike) * (own + theirs) / np.maximum(np.minimum(own, theirs), 1e-9)


def frame_time(picture: Picture) -> float:
    """Seconds; by the number of the frame where a video does not say."""
    if picture.time_s is not None:
        return picture.time_s
    return (picture.frame or 0) / USUAL_FPS


def appearance(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(96,) shares of colours in the middle of a box, of its upper, middle and lower third: mostly clothes."""
    x, y, w, h = box
    left, right = int(max(x + 0.25 * w, 0)), int(x + 0.75 * w) + 1
    thirds = []
    for k in range(3):
        part = pixels[int(max(y + k * h / 3, 0)) : int(y + (k + 1) * h / 3) + 1, left:right]
        step = max(1, int(np.sqrt(part.shape[0] * part.shape[1] / 2000)))
        part = np.ascontiguousarray(part[::step, ::step])
        counts = cv2.calcHist([part], [0, 1, 2], None, [4, 2, 4], [0, 256] * 3).ravel() if part.size else np.zeros(32)
        thirds.append(counts / max(counts.sum(), 1))
    return np.concatenate(thirds)


def unlike(first: np.ndarray, second: np.ndarray) -> float:
    """0 for the same colours, 1 for colours that have nothing in common (Hellinger's distance, over the thirds)."""
    alike = np.sqrt(first * second).sum() / 3
    return float(np.sqrt(max(0.0, 1 - alike)))
