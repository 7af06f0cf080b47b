"""Smooths tracks of a video without lag: each frame's joints are read off a curve through the frames about it, later ones included.

The curve is a parabola fitted by least squares, in which near frames and sure joints count most: a steady movement, and one that
speeds up steadily, stays where it is, and noise shrinks (benchmarks/smoothing.py measures both). Frames wait until those after them
have come, a fraction of a second.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from model.people.records import Answered, Person, PicturePeople
from model.people.tracks import frame_time
from pipeline.camera import project
from pipeline.images import split_frame
from pipeline.records import Camera

# How far a curve reaches to either side, seconds, and the most frames that wait for it.
REACH_S, MOST_WAITING = 0.2, 8
# Joints of confidence 0 still count this much.
LEAST_WEIGHT = 0.05

# Seconds from now, and somebody then.
Seen = tuple[float, Person]
# What becomes of somebody, by himself in the frames about: (person, others, camera, reach_s).
Smoothing = Callable[[Person, Sequence[Seen], Camera, float], Person]


def smooth_tracks(
    pairs: Iterable[Answered], reach_s: float = REACH_S, smoothing: Smoothing | None = None
) -> Iterator[Answered]:
    """The same pictures and people in the same order, of tracks smoothed. reach_s: 0 changes nothing. smoothing: of the joints and
    the root (`smoothed`) where it is left out.
    """
    smoothing = smoothing or smoothed
    past: deque[tuple[float, PicturePeople]] = deque(maxlen=MOST_WAITING)
    waiting: deque[tuple[float, Answered]] = deque()

    def out() -> Answered:
        time_s, (picture, found) = waiting.popleft()
        about = [*past, *((t, pair[1]) for t, pair in waiting)]
        near = [(t - time_s, other) for t, other in about if abs(t - time_s) <= reach_s]
        past.append((time_s, found))
        people = tuple(_followed(person, found, near, reach_s, smoothing) for person in found.people)
        return picture, replace(found, people=people)

    source = ""
    for picture, found in pairs:
        if picture is None or picture.frame is None or split_frame(found.name)[0] != source:
            while waiting:
                yield out()
            past.clear()
            source = split_frame(found.name)[0]
        if picture is None or picture.frame is None:
            yield picture, found
            continue
        time_s = frame_time(picture)
        while waiting and (time_s - waiting[0][0] > reach_s or len(waiting) > MOST_WAITING):
            yield out()
        waiting.append((time_s, (picture, found)))
    while waiting:
        yield out()


def _followed(
    person: Person,
    found: PicturePeople,
    near: list[tuple[float, PicturePeople]],
    reach_s: float,
    smoothing: Smoothing,
) -> Person:
    """The person smoothed by those of the same track. near: seconds from now, and the people of another frame."""
    others = [
        (seconds, other)
        for seconds, frame in near
        for other in frame.people
        if person.track is not None and other.track == person.track
    ]
    return person if not others or found.camera is None else smoothing(person, others, found.camera, reach_s)


def smoothed(person: Person, others: Sequence[Seen], camera: Camera, reach_s: float) -> Person:
    """The person with joints and root off curves of their own: a root whose distance wavers moves no joint about it."""
    times = np.array([0.0, *(seconds for seconds, _ in others)])
    everyone = [person, *(other for _, other in others)]
    sure = np.stack([one.confidence for one in everyone])
    joints = on_curve(times / reach_s, np.stack([one.joints for one in everyone]), np.maximum(sure, LEAST_WEIGHT))
    roots = np.stack([one.root for one in everyone])[:, None]
    root = on_curve(times / reach_s, roots, np.ones((len(times), 1)))[0]
    return replace(person, joints=joints, root=root, joints_2d=project(camera, joints + root))


def steadied(person: Person, others: Sequence[Seen], camera: Camera, reach_s: float) -> Person:
    """The person with the body moved onto the curve, and the root with it: a body of one shape is nearer or further by what its size
    in the picture wavers. Joints stay as they are about the root."""
    bodies = [(seconds, other.body) for seconds, other in ((0.0, person), *others) if other.body is not None]
    if person.body is None or len(bodies) < 2:
        return person
    times = np.array([seconds for seconds, _ in bodies])
    places = np.stack([body.transl.astype(float) for _, body in bodies])[:, None]
    place = on_curve(times / reach_s, places, np.ones((len(times), 1)))[0]
    root = person.root + place - person.body.transl
    body = replace(person.body, transl=place.astype(np.float32))
    return replace(person, body=body, root=root, joints_2d=project(camera, person.joints + root))


def on_curve(times: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(J, D) at time 0 of curves through (N, J, D) values at (N,) times, -1 to 1. weights: (N, J)."""
    sides = min((times < 0).sum(), (times > 0).sum())
    degree = 2 if sides >= 2 else 1 if len(times) >= 3 else 0
    powers = times[:, None] ** np.arange(degree + 1)  # (N, degree + 1)
    near = (1 - np.minimum(np.abs(times), 1) ** 3) ** 3 + 1e-3
    weights = weights * near[:, None]
    normal = np.einsum("nj,np,nq->jpq", weights, powers, powers) + 1e-9 * np.eye(degree + 1)
    right = np.einsum("nj,np,njd->jpd", weights, powers, values)
    return np.linalg.solve(normal, right)[:, 0]
