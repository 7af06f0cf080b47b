"""Whether calibrated cameras that see one person at one moment agree: their rays to each joint must meet.

Part of what `pipeline.plausible` judges, for instants without 3D joints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from pipeline.camera import pixel_rays
from pipeline.plausible import odd_bones, odd_sides_of_all, stature
from pipeline.plausible_people import LEAST_JOINTS
from pipeline.records import Camera, Instant, View
from pipeline.skeletons import JOINT_SETS
from pipeline.spread import spread_evenly

# Median distance between a joint and where another camera says it is, over the longer side of the person in that image. Right
# cameras and detectors reach 0.01.
MOST_APART = 0.06
# Another reading of the calibration is told when it is this good and this much better.
CLEARLY_BETTER = 0.5
# Below that nothing is to be mended; right cameras with a usual detector are above it.
EXACT = 0.003
# Of so many instants it is judged whether a camera's left and right are exchanged.
SIDES_JUDGED, CLEARLY_WRONG = 8, 0.015
# In one picture they are exchanged when it is off by so much and, with them put right, by less than this part of it.
SIDES_OFF, SIDES_RIGHT = 0.03, 0.5
# People are from so tall to so tall, over an adult of 1.75 m; small children are asked about.
LEAST_TALL, MOST_TALL, ADULT_M = 0.6, 1.25, 1.75
# A camera that was moved sees the person so far aside of where the others do, over the person's size; right ones 0.036 at most, one
# that was turned by a degree 0.07. Of so many moments it is told, against so many others.
ASIDE, LEAST_MOMENTS, OTHERS = 0.055, 5, 4
# Rays that are nearly parallel do not say where they meet.
LEAST_ANGLE = 0.05


@dataclass(frozen=True)
class Sight:
    """A person in one camera. rays: (J, 2) X/Z, Y/Z without distortion. seen: (J,) bool. size: the longer side of what is seen of
    the person, in units of rays. f, c: (2,) of the camera, pixels. R, t: of the camera."""

    rays: np.ndarray
    seen: np.ndarray
    size: float
    f: np.ndarray
    c: np.ndarray
    R: np.ndarray
    t: np.ndarray


def sight_of(view: View) -> Sight:
    camera = view.camera
    rays = pixel_rays(camera, view.joints_2d)
    seen = (view.confidence > 0) & np.isfinite(rays).all(1)  # a lens may show nothing there
    rays = np.where(seen[:, None], rays, 0.0)
    extent = float(np.ptp(rays[seen], 0).max()) if seen.any() else 0.0
    return Sight(rays, seen, max(extent, 1e-6), camera.K[[0, 1], [0, 1]], camera.K[:2, 2], camera.R, camera.t)


def meet(a: Sight, b: Sight) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints (J, 3) half way between two cameras' rays, metres, world; which can be told (J,); and how far (J,) they lie from
    where the cameras see them, over the person's size, at most 1."""
    da, db = (np.c_[s.rays, np.ones(len(s.rays))] @ s.R for s in (a, b))
    da, db = (d / np.linalg.norm(d, axis=1, keepdims=True) for d in (da, db))
    ea, eb = -a.R.T @ a.t, -b.R.T @ b.t
    o, cosine = eb - ea, (da * db).sum(1)
    told = a.seen & b.seen & (1 - cosine**2 > LEAST_ANGLE**2)
    sine = np.where(told, 1 - cosine**2, 1.0)
    along_a = (da @ o - cosine * (db @ o)) / sine
    along_b = (cosine * (da @ o) - db @ o) / sine
    points = (ea + along_a[:, None] * da + eb + along_b[:, None] * db) / 2
    apart = np.zeros(len(points))
    for s in (a, b):
        local = points @ s.R.T + s.t
        depth = np.where(local[:, 2] > 0.01, local[:, 2], 1.0)
        off = np.linalg.norm(local[:, :2] / depth[:, None] - s.rays, axis=1) / s.size
        apart += np.where(local[:, 2] > 0.01, np.minimum(off, 1.0), 1.0) / 2
    return points, told, apart


def apart(a: Sight, b: Sight) -> float:
    """Median over the joints that both see; NaN where those are too few to tell."""
    _, told, off = meet(a, b)
    return float(np.median(off[told])) if told.sum() >= LEAST_JOINTS else float("nan")


def apart_of_views(sights: Sequence[Sight]) -> np.ndarray:
    """(V,) how far each view is from the others: the median over its pairs. NaN where it shares too little with them."""
    found = np.full((len(sights), len(sights)), np.nan)
    for i, j in combinations(range(len(sights)), 2):
        found[i, j] = found[j, i] = apart(sights[i], sights[j])
    return np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in found])


def same_people(sights: Sequence[Sequence[Sight]]) -> list[dict[int, int]]:
    """Who of one camera is who of another: for each person that two cameras at least agree about {camera: which of its sights}.

    sights: those of each camera at one moment. Those that agree best are joined first, and a camera has a person once. Where every
    camera sees one person, those who share too little with the others to be told from them are taken for the same.
    """
    everyone = [(c, k) for c, found in enumerate(sights) for k in range(len(found))]
    lone = all(len(found) <= 1 for found in sights)
    off = {(a, b): apart(sights[a[0]][a[1]], sights[b[0]][b[1]]) for a, b in combinations(everyone, 2) if a[0] != b[0]}
    people = [{c: k} for c, k in everyone]
    while len(people) > 1:
        costs = {(i, j): _cost(people[i], people[j], off, lone) for i, j in combinations(range(len(people)), 2)}
        i, j = min(costs, key=lambda pair: costs[pair])
        if costs[i, j] > MOST_APART:
            break
        people[i] |= people.pop(j)
    return [dict(sorted(person.items())) for person in people if len(person) > 1]


def _cost(one: dict[int, int], other: dict[int, int], off: dict, lone: bool) -> float:
    """How far two groups of sights are from being one person; infinite where a camera would have it twice."""
    if one.keys() & other.keys():
        return np.inf
    pairs = [off[min(a, b), max(a, b)] for a in one.items() for b in other.items()]
    finite = [value for value in pairs if np.isfinite(value)]
    unknown = MOST_APART if lone else np.inf
    return float(np.median(finite)) if finite else unknown


def odd_rig(instants: Sequence[Instant]) -> str | None:
    """Whether the calibration as a whole cannot be that of these instants, each seen by several cameras, and the likely mistake."""
    seen = [[sight_of(view) for view in instant.views] for instant in instants]
    given = _score(seen)
    if not np.isfinite(given):
        return None
    mistake = _likely(instants, seen, given) if given > EXACT else None
    mistake = mistake or _odd_camera(instants, seen)
    reason = f"the cameras do not agree where the person is (joints are {100 * given:.1f} % of the person's size apart)"
    if mistake is not None:
        return f"{reason}, as if {mistake}"
    if given > MOST_APART:
        return f"{reason}: the calibration is not of these pictures, or the cameras are not in step"
    bones = [_odd_size(instant.joint_set, sights) for instant, sights in zip(instants, seen, strict=True)]
    odd = [reason for reason in bones if reason is not None]
    if 2 * len(odd) > len(bones):
        return f"{max(set(odd), key=odd.count)}; -o unit= says in what the calibration's lengths are"
    poses = [_in_space(sights) for sights in seen]
    return odd_sides_of_all(instants[0].joint_set, np.array([np.where(told[:, None], p, np.nan) for p, told in poses]))


def odd_stature(instants: Sequence[Instant]) -> str | None:
    """Whether people would be smaller than a child who stands, or larger than anybody: a calibration of another unit, focal lengths of
    other lenses."""
    found = [stature(i.joint_set, *_in_space([sight_of(view) for view in i.views])) for i in instants]
    usual = _median([value for value in found if value is not None])
    if not np.isfinite(usual) or LEAST_TALL <= usual <= MOST_TALL:
        return None
    return (
        f"people would be about {ADULT_M * usual:.1f} m tall: is the calibration in another unit (-o unit=), or of squares of another "
        "size, or are its focal lengths wrong?"
    )


def odd_aim(instants: Sequence[Instant]) -> str | None:
    """Whether one camera of three or more always sees the person beside where each two others do: it was moved since its calibration.
    With three nobody can say which."""
    usual = _aims(instants)
    name = max(usual, key=lambda camera: usual[camera], default=None)
    if name is None or usual[name] <= ASIDE:
        return None
    rest = _aims([replace(i, views=tuple(view for view in i.views if view.camera_id != name)) for i in instants])
    alone = rest and max(rest.values()) < CLEARLY_BETTER * usual[name]
    return (
        f"{name if alone else 'one of the cameras'} sees the person {100 * usual[name]:.0f} % of its size beside where the others do, "
        "always to the same side: was it turned, moved or zoomed since its calibration?"
    )


def _aims(instants: Sequence[Instant]) -> dict[str, float]:
    """Camera -> how far beside, over the person's size, it always sees the joints that each two others tell; 0 where it is now here,
    now there. Cameras of too few moments are left out."""
    aside: dict[str, list[np.ndarray]] = {}
    for instant in instants:
        sights = [sight_of(view) for view in instant.views]
        for k, view in enumerate(instant.views):
            others = [sight for j, sight in enumerate(sights) if j != k]
            pairs = combinations([others[j] for j in spread_evenly(len(others), OTHERS)], 2)
            offs = [_aside_of(*meet(a, b)[:2], sights[k]) for a, b in pairs]
            if (found := np.concatenate([np.zeros((0, 2)), *offs])).size:
                aside.setdefault(view.camera_id, []).append(np.median(found, 0))
    usual = {}
    for name, moments in aside.items():
        if len(moments) >= LEAST_MOMENTS:
            middle = np.median(moments, 0)
            off, spread = np.linalg.norm(middle), np.median(np.linalg.norm(np.array(moments) - middle, axis=1))
            usual[name] = float(off) if spread < off else 0.0
    return usual


def sides_exchanged(sights: Sequence[Sight], joint_set: str) -> list[bool]:
    """Which views of one person agree with the others, two at least, only with left and right exchanged: one after the other, since
    what is seen of the others is wrong as long as one is."""
    flip, left = JOINT_SETS[joint_set].flip, list(range(len(sights)))
    while len(left) > 2:
        better = {}
        for k in left:
            one, others = sights[k], [sights[j] for j in left if j != k]
            given = _off(one, others)
            if given > SIDES_OFF:
                better[k] = _off(replace(one, rays=one.rays[flip], seen=one.seen[flip]), others) / given
        worst = min(better, key=lambda k: better[k], default=None)
        if worst is None or not better[worst] < SIDES_RIGHT:
            break
        left.remove(worst)
    return [k not in left for k in range(len(sights))]


def _off(one: Sight, others: Sequence[Sight]) -> float:
    """How far, over the person's size, joints lie in a view from where each two others see them: root mean squares, their median."""
    found = []
    for a, b in combinations(others, 2):
        off = _off_in_third(*meet(a, b)[:2], one)
        found.append(float(np.sqrt(np.mean(off**2))) if len(off) >= LEAST_JOINTS else np.nan)
    return _median([value for value in found if np.isfinite(value)])


def _off_in_third(points: np.ndarray, told: np.ndarray, third: Sight) -> np.ndarray:
    """Of the joints (J, 3) that are told and that another view sees before it, how far they lie from there, over the person's size."""
    return np.asarray(np.linalg.norm(_aside_of(points, told, third), axis=1))


def _aside_of(points: np.ndarray, told: np.ndarray, third: Sight) -> np.ndarray:
    """(N, 2) as `_off_in_third`, in which direction."""
    local = points @ third.R.T + third.t
    both = told & third.seen & (local[:, 2] > 0.01)
    return np.asarray((local[both, :2] / local[both, 2:] - third.rays[both]) / third.size)


def _score(seen: Sequence[Sequence[Sight]]) -> float:
    pairs = [apart(a, b) for sights in seen for a, b in combinations(sights, 2)]
    return _median([value for value in pairs if np.isfinite(value)])


def _odd_size(joint_set: str, sights: Sequence[Sight]) -> str | None:
    """What is odd about the bones of the joints that the best pair of views gives."""
    return odd_bones(joint_set, *_in_space(sights))


def _in_space(sights: Sequence[Sight]) -> tuple[np.ndarray, np.ndarray]:
    """Joints (J, 3), metres, of the two views that tell the most of them, and which (J,) they are."""
    points, told, _ = min((meet(a, b) for a, b in combinations(sights, 2)), key=lambda found: -int(found[1].sum()))
    return points, told


def _likely(instants: Sequence[Instant], seen: Sequence[Sequence[Sight]], given: float) -> str | None:
    """The other reading of the calibration by which the cameras agree clearly better."""
    flip = np.diag([1.0, -1.0, -1.0])

    def read(change: Callable[[Sight], Sight]) -> float:
        return _score([[change(sight) for sight in sights] for sights in seen])

    def moved(R: Callable, t: Callable) -> Callable[[Sight], Sight]:
        return lambda s: Sight(s.rays, s.seen, s.size, s.f, s.c, R(s), t(s))

    def scaled(k: float) -> Callable[[Sight], Sight]:
        def change(s: Sight) -> Sight:
            return Sight((s.rays + s.c * (1 - k) / s.f) / k, s.seen, s.size / k, s.f, s.c, s.R, s.t)

        return change

    def longer(k: float) -> Callable[[Sight], Sight]:
        return lambda s: Sight(s.rays * k, s.seen, s.size * k, s.f / k, s.c, s.R, s.t)

    candidates = {
        "R were transposed": moved(lambda s: s.R.T, lambda s: s.t),
        "the cameras were inverted (camera to world)": moved(lambda s: s.R.T, lambda s: -s.R.T @ s.t),
        "t were the camera's centre": moved(lambda s: s.R, lambda s: -s.R @ s.t),
        "the cameras' axes were y up and z backward": moved(lambda s: flip @ s.R, lambda s: flip @ s.t),
    }
    candidates |= {
        f"the keypoints were of images {k:g} times as large as those of the calibration": scaled(k)
        for k in (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 4 / 3, 1.5, 2.0, 3.0, 4.0)
    }
    candidates |= {
        f"the focal lengths were {k:g} times too long": longer(k) for k in (0.5, 2 / 3, 0.75, 4 / 3, 1.5, 2.0)
    }
    scores = {name: read(change) for name, change in candidates.items()} | _exchanged(instants)
    best = min(scores, key=lambda name: scores[name] if np.isfinite(scores[name]) else np.inf)
    return best if scores[best] < CLEARLY_BETTER * given and scores[best] < MOST_APART else None


def _exchanged(instants: Sequence[Instant]) -> dict[str, float]:
    """How well the cameras agree with two of them exchanged."""
    cameras = {view.camera_id: view.camera for instant in instants for view in instant.views}
    scores = {}
    for one, other in combinations(sorted(cameras), 2):
        swap = {one: cameras[other], other: cameras[one]}
        seen = []
        for instant in instants:
            sights = [(view, sight_of(view)) for view in instant.views]
            seen.append([_as_of(s, swap[v.camera_id]) if v.camera_id in swap else s for v, s in sights])
        scores[f"the calibrations of {one} and {other} were exchanged"] = _score(seen)
    return scores


def _odd_camera(instants: Sequence[Instant], seen: Sequence[Sequence[Sight]]) -> str | None:
    """The camera whose left and right are exchanged, or that is mirrored, told where the other reading brings the others to agree. Two
    cameras cannot tell: side by side they see both sides at one height, and the rays meet elsewhere."""
    chosen = spread_evenly(len(seen), SIDES_JUDGED)
    instants, seen = [instants[k] for k in chosen], [seen[k] for k in chosen]
    given = _median([off for sights in seen for off in _seen_by_a_third(sights)])
    if not given > CLEARLY_WRONG:
        return None
    flip = JOINT_SETS[instants[0].joint_set].flip
    readings: dict[str, Callable[[Sight], Sight]] = {
        "left and right were exchanged in": lambda s: replace(s, rays=s.rays[flip], seen=s.seen[flip]),
        "the keypoints were mirrored in": lambda s: replace(s, rays=s.rays * [-1, 1]),
        "the pictures were mirrored in": lambda s: replace(s, rays=s.rays[flip] * [-1, 1], seen=s.seen[flip]),
    }
    found = {}
    for one in sorted({view.camera_id for instant in instants for view in instant.views}):
        for mistake, read in readings.items():
            offs = []
            for instant, sights in zip(instants, seen, strict=True):
                pairs = zip(instant.views, sights, strict=True)
                offs += _seen_by_a_third([read(s) if view.camera_id == one else s for view, s in pairs])
            found[f"{mistake} {one}"] = _median(offs)
    best = min(found, key=lambda mistake: found[mistake])
    return best if found[best] < CLEARLY_BETTER * given else None


def _seen_by_a_third(sights: Sequence[Sight]) -> list[float]:
    """How far, over the person's size, the joints of each two cameras lie from where each other camera sees them: medians."""
    offs = []
    for a, b in combinations(range(len(sights)), 2):
        points, told, _ = meet(sights[a], sights[b])
        for third in (s for k, s in enumerate(sights) if k not in (a, b)):
            off = _off_in_third(points, told, third)
            if len(off) >= LEAST_JOINTS:
                offs.append(float(np.median(off)))
    return offs


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


def _as_of(s: Sight, camera: Camera) -> Sight:
    """What the pixels of a sight mean to another camera; the lens hardly differs."""
    f, c = camera.K[[0, 1], [0, 1]], camera.K[:2, 2]
    return Sight((s.rays * s.f + s.c - c) / f, s.seen, s.size * float((s.f / f).mean()), f, c, camera.R, camera.t)
