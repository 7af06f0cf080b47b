"""What people sit on, and what stands between them and the camera.

A piece of furniture has axes of its own: x to its side, y to its back, z up from the floor; who sits on it sits at x = y = 0.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.camera import in_image, project, world_to_camera
from pipeline.records import Camera
from pipeline.skeletons import SMPLX_55
from pipeline.sources.synthetic.things import Cuboid, Thing, about_vertical, apart, cuboid, holds_none_of, put

# A thing covers no more of the first person than this, roughly: the box about its picture is counted, and every so many-th vertex.
_MOST_COVERED, _EVERY = 0.7, 23
# Joints that tell whether somebody sits.
_SITTING = ("pelvis", "spine3", "left_hip", "right_hip", "left_knee", "right_knee")
# How often people sit on what, if it goes through nobody; and what stands before somebody.
SEATS = {"chair": 0.4, "stool": 0.15, "bench": 0.1, "sofa": 0.15, "box": 0.2}
BEFORE = {"pillar": 0.25, "box": 0.25, "table": 0.25, "chair": 0.15, "shelf": 0.1}
# A back is as far behind the skin as clothes need; nobody leans on one that is further from the seat's middle than this, metres.
_CLOTHES_M, _FURTHEST_BACK_M = 0.04, 0.5
# What is tried where the first choice does not fit. Skin sinks so deep into a seat. No thing is nearer to the camera. Metres.
_WITHOUT_BACK, _SUNK_M, _NEAREST_M = ("stool", "box"), 0.05, 0.6
# From the seat's middle to its front edge, metres; the same to the back of what nobody sits on.
_FRONT_M = 0.19


def draw_seat(
    rng: np.random.Generator,
    places: np.ndarray,
    naked: np.ndarray,
    others: Sequence[np.ndarray],
    around: Sequence[Thing],
    cameras: Sequence[Camera],
) -> Thing | None:
    """Something under who sits at the height of a seat; None for others, and where all that is tried would go through somebody or one
    of the things around, or stand in a camera's way. Only its upper side may touch who sits on it.

    places: (55, 3) joints, naked: (V, 3) skin of who sits, others: skins of other people, world metres.
    """
    found = where_seated(places, naked)
    if found is None:
        return None
    spot, ahead, top = found
    R = about_vertical(float(np.arctan2(ahead[1], ahead[0]) + np.pi / 2))
    middle = np.array([*spot, 0.0])
    own = (naked - middle) @ R
    trunk = own[(own[:, 2] > top) & (own[:, 2] < top + 0.5) & (np.abs(own[:, 0]) < 0.25)]
    back = float(trunk[:, 1].max()) + _CLOTHES_M
    for kind in dict.fromkeys((_draw(rng, SEATS), *_WITHOUT_BACK)):
        if kind in _WITHOUT_BACK or back < _FURTHEST_BACK_M:
            seat = put(SEAT_PARTS[kind](rng, top, back), middle, R)
            if _carries(seat, naked, top) and free_of(seat, others, around, cameras):
                return seat
    return None


def _carries(seat: Thing, naked: np.ndarray, top: float) -> bool:
    """Whether a seat is free of who sits on it, but for its upper side."""
    above = [part for part in seat.cuboids if part.middle[2] + part.size[2] / 2 > top + 1e-6]
    if above and not holds_none_of(put(above, seat.middle, seat.R), naked):
        return False
    return holds_none_of(seat, naked[naked[:, 2] < top - _SUNK_M], 0.0)


def sits(places: np.ndarray) -> bool:
    """Whether somebody's trunk is upright and both thighs are level. places: (55, 3) joints."""
    at = {name: places[SMPLX_55.index(name)] for name in _SITTING}
    trunk = at["spine3"] - at["pelvis"]
    thighs = (at[f"{side}_knee"] - at[f"{side}_hip"] for side in ("left", "right"))
    level = all(abs(thigh[2]) <= 0.55 * np.linalg.norm(thigh) for thigh in thighs)
    return bool(level and trunk[2] >= 0.5 * np.linalg.norm(trunk))


def where_seated(places: np.ndarray, naked: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """(2,) where the seat's middle is, (3,) the way the thighs go, and the seat's height; None for who does not sit."""
    if not sits(places):
        return None
    at = {name: places[SMPLX_55.index(name)] for name in _SITTING}
    middle = (at["left_hip"] + at["right_hip"]) / 2
    ahead = (at["left_knee"] + at["right_knee"]) / 2 - middle
    near = np.linalg.norm(naked[:, :2] - middle[:2], axis=1) < 0.16
    top = float(naked[near, 2].min()) - 0.005
    if not 0.22 < top < 0.85 or at["pelvis"][2] < top:
        return None
    return (middle + 0.05 * ahead)[:2], ahead, top


def draw_occluder(rng: np.random.Generator, centre: np.ndarray, camera: Camera) -> Thing:
    """A table, a shelf, a chair, a crate or a pillar between the camera and somebody about `centre` (3,)."""
    eye = -camera.R.T @ camera.t
    way = centre - eye
    far = max(float(np.linalg.norm(way[:2])), 0.1)
    share = rng.uniform(max(0.45, min(1.2 / far, 0.8)), 0.85)
    across = np.array([-way[1], way[0]]) / far
    spot = eye[:2] + share * way[:2] + across * rng.normal(0, 0.35)
    cuboids = PARTS_BEFORE[_draw(rng, BEFORE)](rng)
    return put(cuboids, np.array([*spot, 0.0]), about_vertical(rng.uniform(0, 2 * np.pi)))


def leaves_in_sight(thing: Thing, naked: np.ndarray, camera: Camera) -> bool:
    """Whether enough of a person (V, 3) is to be seen beside a thing that stands before it."""
    corners, points = (project(camera, world_to_camera(camera, a)) for a in (thing.world, naked[::_EVERY]))
    covered = ((points > corners.min(0)) & (points < corners.max(0))).all(1)
    inside = in_image(points, camera.width, camera.height)
    return bool((covered & inside).sum() <= _MOST_COVERED * inside.sum())


def free_of(thing: Thing, people: Sequence[np.ndarray], around: Sequence[Thing], cameras: Sequence[Camera]) -> bool:
    """Whether a thing stands in nobody (V, 3), in no other thing and not in a camera's way."""
    if any((thing.world @ camera.R[2] + camera.t[2] < _NEAREST_M).any() for camera in cameras):
        return False
    if not all(holds_none_of(thing, naked) for naked in people):
        return False
    return all(apart(thing, other, cameras[0]) for other in around)


def _draw(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))


# --- what it is put together of: a seat's height and how far behind its middle its back is, metres -> boxes -----------


def _box(rng: np.random.Generator, top: float, _back: float) -> list[Cuboid]:
    return [cuboid((rng.uniform(0.34, 0.75), rng.uniform(0.32, 0.42), top), (0, 0, top / 2))]


def _stool(rng: np.random.Generator, top: float, _back: float) -> list[Cuboid]:
    wide, thick = rng.uniform(0.3, 0.42), rng.uniform(0.02, 0.08)
    seat = _board((wide, wide, thick), 0, 0, top)
    if rng.random() < 0.5:
        return [seat, *_legs(wide, -wide / 2, wide / 2, top - thick, 0.03)]
    foot = _board((0.8 * wide, 0.8 * wide, 0.03), 0, 0, 0.03)
    return [seat, _board((0.06, 0.06, top - thick), 0, 0, top - thick), foot]


def _bench(rng: np.random.Generator, top: float, _back: float) -> list[Cuboid]:
    wide, thick, deep = rng.uniform(0.9, 1.9), rng.uniform(0.03, 0.07), 2 * _FRONT_M
    side, aside = rng.uniform(-0.3, 0.3) * (wide - 0.5), (wide - 0.06) / 2
    sides = [_board((0.06, 0.9 * deep, top - thick), side + x, 0, top - thick) for x in (-aside, aside)]
    return [_board((wide, deep, thick), side, 0, top), *sides]


def _chair(rng: np.random.Generator, top: float, back: float) -> list[Cuboid]:
    wide, thick, high = rng.uniform(0.38, 0.52), rng.uniform(0.02, 0.09), rng.uniform(0.3, 0.6)
    leg = rng.uniform(0.025, 0.05)
    cuboids = [_board((wide, back + _FRONT_M, thick), 0, (back - _FRONT_M) / 2, top)]
    cuboids += _legs(wide, -_FRONT_M, back, top - thick, leg)
    if rng.random() < 0.5:
        return [*cuboids, _board((wide, 0.03, high + thick), 0, back + 0.015, top + high)]
    sides = (leg - wide) / 2, (wide - leg) / 2
    posts = [_board((leg, 0.03, high + thick), x, back + 0.015, top + high) for x in sides]
    bar = rng.uniform(0.04, 0.12)
    levels = np.linspace(top + high, top + 0.45 * high, int(rng.integers(2, 4)))
    return [*cuboids, *posts, *(_board((wide, 0.02, bar), 0, back + 0.015, level) for level in levels)]


def _sofa(rng: np.random.Generator, top: float, back: float) -> list[Cuboid]:
    wide, thick, high, arm = (
        rng.uniform(0.8, 2.0),
        rng.uniform(0.12, 0.25),
        rng.uniform(0.3, 0.5),
        rng.uniform(0.1, 0.2),
    )
    side, deep = rng.uniform(-0.3, 0.3) * (wide - 0.8), back + _FRONT_M
    rest = top + rng.uniform(0.1, 0.25)
    cuboids = [
        _board((wide, deep, top), side, (back - _FRONT_M) / 2, top),
        _board((wide, thick, top + high), side, back + thick / 2, top + high),
    ]
    if rng.random() < 0.7:
        aside = (wide + arm) / 2
        cuboids += [_board((arm, deep, rest), side + x, (back - _FRONT_M) / 2, rest) for x in (-aside, aside)]
    return cuboids


def _pillar(rng: np.random.Generator) -> list[Cuboid]:
    return [cuboid((rng.uniform(0.08, 0.25), rng.uniform(0.08, 0.25), 3.0), (0, 0, 1.5))]


def _crate(rng: np.random.Generator) -> list[Cuboid]:
    high = rng.uniform(0.25, 1.1)
    return [cuboid((rng.uniform(0.3, 1.3), rng.uniform(0.25, 0.6), high), (0, 0, high / 2))]


def _table(rng: np.random.Generator) -> list[Cuboid]:
    wide, deep, top, thick = (
        rng.uniform(0.6, 1.7),
        rng.uniform(0.5, 0.9),
        rng.uniform(0.45, 0.8),
        rng.uniform(0.02, 0.06),
    )
    plate = _board((wide, deep, thick), 0, 0, top)
    if rng.random() < 0.7:
        return [plate, *_legs(wide, -deep / 2, deep / 2, top - thick, rng.uniform(0.03, 0.08))]
    return [plate, *(_board((0.04, 0.9 * deep, top - thick), x, 0, top - thick) for x in (-0.45 * wide, 0.45 * wide))]


def _empty_chair(rng: np.random.Generator) -> list[Cuboid]:
    return _chair(rng, rng.uniform(0.42, 0.5), _FRONT_M)


def _shelf(rng: np.random.Generator) -> list[Cuboid]:
    wide, deep, high = rng.uniform(0.5, 1.3), rng.uniform(0.25, 0.4), rng.uniform(0.8, 2.0)
    sides = [_board((0.025, deep, high), x, 0, high) for x in (-wide / 2, wide / 2)]
    levels = np.linspace(0.1, high, int(rng.integers(3, 6)))
    return [*sides, *(_board((wide, deep, 0.025), 0, 0, level) for level in levels)]


def _board(size: Sequence[float], x: float, y: float, top: float) -> Cuboid:
    """A box whose upper side is at the height `top`."""
    return cuboid(size, (x, y, top - size[2] / 2))


def _legs(wide: float, front: float, back: float, high: float, leg: float) -> list[Cuboid]:
    """Four, flush with the corners of what stands on them."""
    across, along = (wide - leg) / 2, (front + leg / 2, back - leg / 2)
    return [_board((leg, leg, high), x, y, high) for x in (-across, across) for y in along]


SEAT_PARTS = {"chair": _chair, "stool": _stool, "bench": _bench, "sofa": _sofa, "box": _box}
PARTS_BEFORE = {"pillar": _pillar, "box": _crate, "table": _table, "chair": _empty_chair, "shelf": _shelf}
