"""Whether somebody is where an annotation says, by the word of a network that sees people in pictures.

Numbers alone do not tell keypoints of half the size from a person in the upper left quarter of the image, nor mirrored pictures from
others: somebody must look. A witness is any function that finds MSCOCO's 17 joints of the person in a box.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.boxes import inside, tight
from pipeline.plausible_people import LEAST_JOINTS
from pipeline.records import View
from pipeline.skeletons import COCO

# Image (H, W, 3) RGB and box (4,) x, y, width, height in pixels -> (17, 2) pixels and (17,) scores 0..1.
Witness = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
# A joint of this score is seen; it is where it should be when it is no further off than this share of the person's longer side.
SEEN, NEAR = 0.3, 0.12
# Where nobody is, no joint has a score above this; of somebody who is hard to see some joint has.
UNSEEN = 0.2
# Nobody is told where a person would be of fewer pixels.
LARGE = 64
# Of the joints seen by both: a person is where so many are near. Somewhere else is told only where hardly any is.
THERE, NOT_THERE = 0.65, 0.35
# Of the joints, the share that must lie in the image for a place to be looked at.
LOOKED_AT = 0.6
# A person of fewer pixels is not looked at.
LEAST_SIDE = 24
# Joints that were moved all alike lie so near to where the witness sees them when they are moved back, and so many of them do.
EXACTLY, EXACT = 0.06, 0.8
# How far the witness is off in the mean; what fits better than that says nothing.
NOISE = 0.02
# Joints and those of the other side tell left from right when they lie this share of the person's longer side apart.
APART, PAIRS = 0.08, 3
FACTORS = (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 4 / 3, 1.5, 2.0, 3.0, 4.0)
_OTHER_SIDE = [COCO.index(n.replace("left", "R").replace("right", "left").replace("R", "right")) for n in COCO.names]


def _of(*parts: str) -> np.ndarray:
    """(17,) bool: which joints are these parts of a side."""
    return np.array([name.endswith(parts) for name in COCO.names])


@dataclass(frozen=True)
class Mistake:
    """What the joints of a view look like. kind: the same for pictures with the same mistake; what `numbers` are stands in braces."""

    kind: str
    numbers: tuple[float, ...] = ()

    def __str__(self) -> str:
        return self.kind.format(*self.numbers)


THERE_ALREADY = Mistake("")
# Told where nothing that is known brings the joints to the person.
ELSEWHERE = Mistake("they were of another camera, picture or moment")
# What may be exchanged: of which joints, and how many pairs of them must tell.
EXCHANGED = {
    Mistake("left and right were exchanged"): (np.ones(len(COCO), bool), PAIRS),
    Mistake("left and right of the arms were exchanged"): (_of("shoulder", "elbow", "wrist"), PAIRS - 1),
    Mistake("left and right of the legs were exchanged"): (_of("hip", "knee", "ankle"), PAIRS - 1),
}
# Of a view in which the network sees nobody at all.
NOBODY = Mistake("nobody were there")
SHIFTED = "the keypoints were shifted by {:.0f} and {:.0f} pixels"
RESIZED = "the keypoints were of an image of {:.0f} x {:.0f} pixels"
CUT_OUT = "the keypoints were of a part of the image that begins at {:.0f}, {:.0f}, {:.2g} times as large"


def judge_view(image: np.ndarray, view: View, names: Sequence[str], witness: Witness) -> Mistake | None:
    """What the annotation of a view looks like: THERE_ALREADY, a mistake where the person is clearly elsewhere, None where the
    picture does not tell. names: of the view's joints."""
    points, seen = _coco_of(view, names)
    if seen.sum() < LEAST_JOINTS:
        return None
    height, width = image.shape[:2]
    found, scores = _look(image, points, seen, witness)
    exchanged = _exchanged(points, found, seen & (scores > UNSEEN))  # a place that is hardly seen still has a side
    if exchanged is not None:
        return exchanged
    given = _share_near(points, found, scores, seen)
    if given >= THERE:
        return THERE_ALREADY
    best, most = None, THERE
    for text, there in _places(points, width, height) if given <= NOT_THERE else ():
        share = _share_near(there, *_look(image, there, seen, witness), seen)
        if share > most:
            best, most = Mistake(text), share
    if best is None:
        best = _moved(points, found, seen & (scores > SEEN), width, height)
    if best is None and given <= NOT_THERE:  # the whole picture may show somebody in this very pose
        everywhere, sure = witness(image, np.array([0, 0, width, height], float))
        best = _moved(points, everywhere, seen & (sure > SEEN), width, height)
        best = best or (ELSEWHERE if _enough(scores, seen) else None)
    large = np.ptp(points[seen], 0).max() >= LARGE
    if best is None and large and _can_look(points, seen, width, height) and scores[seen].max() < UNSEEN:
        best = NOBODY
    return best


def is_there(image: np.ndarray, view: View, names: Sequence[str], witness: Witness) -> bool:
    """Whether the witness sees somebody where the joints of a view, maybe of another picture, lie."""
    points, seen = _coco_of(view, names)
    return seen.sum() >= LEAST_JOINTS and _share_near(points, *_look(image, points, seen, witness), seen) >= THERE


def _coco_of(view: View, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """MSCOCO's joints (17, 2) of a view, and which of them are seen. names: of the view's joints."""
    known = [k for k, name in enumerate(COCO.names) if name in names]
    index = [names.index(COCO.names[k]) for k in known]
    points, seen = np.zeros((len(COCO), 2)), np.zeros(len(COCO), bool)
    points[known], seen[known] = view.joints_2d[index], view.confidence[index] > 0
    return points, seen


def _look(image: np.ndarray, points: np.ndarray, seen: np.ndarray, witness: Witness) -> tuple[np.ndarray, np.ndarray]:
    """What the witness sees about these joints; nothing where most of them lie outside the image."""
    height, width = image.shape[:2]
    if not _can_look(points, seen, width, height):
        return points, np.zeros(len(points))
    return witness(image, tight(points[seen]))


def _can_look(points: np.ndarray, seen: np.ndarray, width: int, height: int) -> bool:
    """Whether most joints lie in the image, and not in a few of its pixels."""
    return bool(inside(points[seen], width, height).mean() >= LOOKED_AT and np.ptp(points[seen], 0).max() >= LEAST_SIDE)


def _enough(scores: np.ndarray, seen: np.ndarray) -> bool:
    """Whether the witness sees enough of the joints to say where somebody is."""
    return bool((seen & (scores > SEEN)).sum() >= max(LEAST_JOINTS, seen.sum() / 2))


def _share_near(points: np.ndarray, found: np.ndarray, scores: np.ndarray, seen: np.ndarray) -> float:
    """Of the joints that both see, the share that lie near one another; 0 where those are few."""
    if not _enough(scores, seen):
        return 0.0
    both = seen & (scores > SEEN)
    off = np.linalg.norm(points - found, axis=1) / np.ptp(points[seen], 0).max()
    return float((off[both] < NEAR).mean())


def _exchanged(points: np.ndarray, found: np.ndarray, both: np.ndarray) -> Mistake | None:
    """Whether nearly all joints of a side, or of its arm or leg, lie where the witness sees those of the other, as far as the two are
    apart."""
    other = np.array(_OTHER_SIDE)
    sided = both & both[other] & (np.arange(len(other)) < other)
    size = max(float(np.ptp(points[both], 0).max()), 1.0) if both.any() else 1.0
    sided &= np.linalg.norm(points - points[other], axis=1) > APART * size
    as_named = np.linalg.norm(points - found, axis=1) + np.linalg.norm(points[other] - found[other], axis=1)
    swapped = np.linalg.norm(points - found[other], axis=1) + np.linalg.norm(points[other] - found, axis=1)
    clearly = (swapped < 0.5 * as_named) & (swapped < 2 * NEAR * size)
    for mistake, (joints, least) in EXCHANGED.items():
        pairs = sided & joints
        if pairs.sum() >= least and clearly[pairs].mean() > 0.8:
            return mistake
    return None


def _moved(points: np.ndarray, found: np.ndarray, both: np.ndarray, width: int, height: int) -> Mistake | None:
    """How the joints that both see were moved, stretched or both along the image's sides, where that explains nearly all of them."""
    if both.sum() < LEAST_JOINTS:
        return None
    p, f = points[both], found[both]
    middle = f.mean(0) - p.mean(0)
    about = ((p - p.mean(0)) * (f - f.mean(0))).sum(0) / np.maximum(((p - p.mean(0)) ** 2).sum(0), 1e-9)
    from_zero = (p * f).sum(0) / np.maximum((p * p).sum(0), 1e-9)
    start = f.mean(0) - about * p.mean(0)
    image = np.array([width, height])
    best, least = None, np.inf
    for there, mistake, freedom in (
        (p + middle, Mistake(SHIFTED, tuple(-middle)), 1.0),
        (p * from_zero, Mistake(RESIZED, tuple(image / np.maximum(from_zero, 1e-9))), 1.0),
        (p * about + start, Mistake(CUT_OUT, (*start, 1 / max(abs(about).mean(), 1e-9))), 2.0),
    ):
        off = np.linalg.norm(there - f, axis=1) / np.ptp(f, 0).max()
        cost = freedom * (off.mean() + NOISE)
        if (off < EXACTLY).mean() >= EXACT and np.ptp(there, 0).max() > LEAST_SIDE and cost < least:
            best, least = mistake, cost
    return best


def _places(points: np.ndarray, width: int, height: int) -> Iterator[tuple[str, np.ndarray]]:
    """Where the joints would lie if the annotation were of another picture, by what that would be."""
    for factor in FACTORS:
        yield f"the keypoints were of an image {factor:.3g} times as large", points / factor
    mirrored = np.array([width - 1, 0]) + points * [-1, 1]
    yield "the pictures were mirrored", mirrored[_OTHER_SIDE]
    yield "the pictures were mirrored, and left and right exchanged", mirrored
    yield "y counted from below", np.array([0, height - 1]) + points * [1, -1]
    yield "the pictures were upside down", np.array([width - 1, height - 1]) - points
    yield "x and y were exchanged", points[:, ::-1]
