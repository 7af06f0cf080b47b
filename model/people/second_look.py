"""A box that somebody gave may be empty: where hardly a joint is sure, the detector looks whether anybody is there."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from model.people.detector import SIDES, Detector, overlaps
from model.people.records import Answered, Person, Picture

# Of rendered people whose presence is enough 1 in 50 is below both, their joints being wrong; of empty boxes 9 in 10 are.
UNSURE, SEEN = 0.2, 0.25
# How much of the box and of what the detector sees is shared by both, and the room about the box that it looks at, part of its side.
SAME, ROOM = 0.3, 0.25
# Boxes that nobody has looked into yet.
UNSEEN = ("given", "whole picture")
EMPTY = "the box may be empty: hardly a joint is sure, and the detector sees nobody there"


def with_second_look(answers: Iterable[Answered]) -> Iterator[Answered]:
    """The same pictures and people, those in boxes that may be empty with a doubt."""
    for picture, found in answers:
        if picture is not None and any(map(_unsure, found.people)):
            found = replace(found, people=tuple(_judged(picture, person) for person in found.people))
        yield picture, found


def _unsure(person: Person) -> bool:
    return person.box_source in UNSEEN and float(person.confidence.mean()) < UNSURE


def _judged(picture: Picture, person: Person) -> Person:
    if not _unsure(person) or best_score(picture.pixels, person.box) >= SEEN:
        return person
    return replace(person, doubts=EMPTY)


def best_score(pixels: np.ndarray, box: np.ndarray) -> float:
    """The score 0..1 of the surest person whom the detector sees in a box (4,) x, y, width, height px of a picture (H, W, 3)."""
    height, width = pixels.shape[:2]
    room = ROOM * max(box[2:])
    low = np.clip(box[:2] - room, 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(box[:2] + box[2:] + room), low + 1, [width, height]).astype(int)
    boxes, scores = _detector().look(pixels[low[1] : high[1], low[0] : high[0]], SIDES[0])
    return float(scores[overlaps(box - [*low, 0, 0], boxes) > SAME].max(initial=0.0))


@cache
def _detector() -> Detector:
    """One of its own: that of the pictures to come is at work meanwhile, in another thread (`ahead`)."""
    return Detector()
