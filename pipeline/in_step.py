"""Whether the cameras of a rig are in step: whether another moment of one camera fits the others clearly better than its own."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.agreement import Sight, meet
from pipeline.plausible_people import LEAST_JOINTS
from pipeline.spread import spread_evenly

# So many moments earlier and later are tried at most, with so many moments of a camera, against so many other cameras.
MOST_STEPS, MOMENTS, OTHERS = 30, 24, 3
# Another moment is told when the cameras are so much nearer then, in so many of so many moments at least. Right cameras that film a
# walk at 15 pictures a second are 1.1 times as far apart one picture later; one picture late, they are 0.74 times as far where it is
# put right.
NEARER, USUALLY, FEWEST = 0.8, 0.75, 10
# A camera whose two halves are late by numbers that differ by more than this part of the lag has another frame rate.
ANOTHER_RATE = 0.3
# Below that nothing is to be mended.
EXACT = 0.001
# How far a joint may be off, over the person's size: one that is off further is lost, whatever the moment.
LOST = 0.3


def out_of_step(sights: Mapping[str, Mapping[int, Sight]]) -> tuple[str, int] | None:
    """The camera that is out of step, and by how many frames it is late: its frame n shows what the others' frame n - late shows.

    sights: of each camera by frame, of one person, who is the same in all. None where nothing is told: the person stands still, or
    frames are few.
    """
    frames = sorted({frame for seen in sights.values() for frame in seen})
    if len(frames) < FEWEST:
        return None
    step = int(np.median(np.diff(frames)))
    found = {}
    for name in sights:
        best = _best_step(sights[name], _some_others(sights, name), step, sorted(sights[name]))
        if best is not None:
            found[name] = best
    if not found:
        return None
    name = min(found, key=lambda camera: (found[camera][0], camera))
    return name, found[name][1] * step


def lags_of_halves(sights: Mapping[str, Mapping[int, Sight]], name: str) -> tuple[int, int] | None:
    """By how many frames a camera is late in the first half of its frames and in the second; None where one of them does not tell. Of
    another frame rate they differ."""
    frames = sorted(sights[name])
    if len(frames) < 2 * FEWEST:
        return None
    step = int(np.median(np.diff(frames)))
    found = [
        _best_step(sights[name], _some_others(sights, name), step, half)
        for half in (frames[: len(frames) // 2], frames[len(frames) // 2 :])
    ]
    if any(best is None for best in found):
        return None
    early, later = (best[1] * step for best in found if best is not None)
    return early, later


def _some_others(sights: Mapping[str, Mapping[int, Sight]], name: str) -> list[Mapping[int, Sight]]:
    """What a camera is compared with: a few of the others, spread over all."""
    others = [other for other in sights if other != name]
    return [sights[others[k]] for k in spread_evenly(len(others), OTHERS)]


def doubt_step(moments: Mapping[int, Mapping[str, Sight]], shifts: Mapping[str, int]) -> str | None:
    """`out_of_step` in words. moments: by frame, the sights of the cameras. shifts: frames by which cameras were moved already."""
    sights: dict[str, dict[int, Sight]] = {}
    for frame, seen in moments.items():
        for name, sight in seen.items():
            sights.setdefault(name, {})[frame] = sight
    found = out_of_step(sights)
    if found is None:
        return None
    name, late = found
    halves, step = lags_of_halves(sights, name), int(np.median(np.diff(sorted(sights[name]))))
    if halves is not None and abs(halves[0] - halves[1]) > max(2 * step, ANOTHER_RATE * max(map(abs, halves))):
        first, second = (f"{abs(lag)} frames {'late' if lag > 0 else 'early'}" for lag in halves)
        return f"{name} seems {first} in the first half of its frames and {second} in the second: has it another frame rate?"
    return (
        f"{name} seems about {abs(late)} frames {'late' if late > 0 else 'early'}: its person would agree better with the other "
        f"cameras; -o offsets={name}:{late + shifts.get(name, 0)} puts it in step"
    )


def _best_step(
    own: Mapping[int, Sight], others: list[Mapping[int, Sight]], step: int, frames: Sequence[int]
) -> tuple[float, int] | None:
    """How near the others the camera is, over how near it is now, when it is moved by the number of steps to which it comes nearer
    step by step; None where that is not clearly nearer. frames: of which some are looked at."""
    chosen = [frames[k] for k in spread_evenly(len(frames), MOMENTS)]
    given = {frame: _distance(own[frame], others, frame) for frame in chosen}
    best: tuple[float, int] | None = None
    for way in (1, -1):
        least = 1.0
        for late in range(way, way * (MOST_STEPS + 1), way):
            now = {frame: given[frame] for frame in chosen if frame + late * step in own}
            then = np.array([_distance(own[frame + late * step], others, frame) for frame in now])
            ratio = _nearer(np.array(list(now.values())), then)
            if not ratio < least:
                break
            least = ratio
            sure = np.mean(then < list(now.values())) >= USUALLY
            if ratio <= NEARER and sure and (best is None or ratio < best[0]):
                best = ratio, late
    return best


def _nearer(given: np.ndarray, then: np.ndarray) -> float:
    """The one median distance over the other; infinite where too few moments tell, or nothing is to be mended."""
    told = np.isfinite(given) & np.isfinite(then)
    if told.sum() < FEWEST or np.median(given[told]) < EXACT:
        return np.inf
    return float(np.median(then[told]) / np.median(given[told]))


def _distance(one: Sight, others: list[Mapping[int, Sight]], frame: int) -> float:
    """How far joints lie from where the others' frame has them, over the person's size: root mean square, in which those
    that move fast tell most. NaN where too few can be told."""
    found = []
    for other in (other[frame] for other in others if frame in other):
        _, told, off = meet(one, other)
        if told.sum() >= LEAST_JOINTS:
            found.append(float(np.sqrt(np.mean(np.minimum(off[told], LOST) ** 2))))
    return float(np.mean(found)) if found else float("nan")
