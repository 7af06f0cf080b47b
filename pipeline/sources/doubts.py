"""What looks wrong with the keypoints of a source as a whole, though nobody is left out for it."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from pipeline.agreement import ADULT_M, LEAST_TALL, MOST_TALL
from pipeline.plausible import LONGEST, SHORTEST, stature
from pipeline.plausible_names import exchanged_names
from pipeline.plausible_people import LEAST_JOINTS, limbs_against_face, swapped_sides, twisted
from pipeline.skeletons import OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND
from pipeline.sources.base import Doubt
from pipeline.sources.joint_names import LONGEST_BONES, MANY_BONES, bone_share
from pipeline.sources.keypoint_files import FoundPerson
from pipeline.spread import spread_evenly

# Of so many people it can be told whether left and right are exchanged.
SURE_PEOPLE = 5
# Nobody's trunk is twisted by half a turn: so many people, and such a part of all, are no errors of annotators.
FEW_TWISTED, OFTEN_TWISTED = 3, 0.1
# Of all people, the share that annotators get wrong.
FEW_WRONG = 0.002
# So many frames that are the same as those before are no chance.
FROZEN = 5
# Some networks' scores lie a little above 1, and MSCOCO's visibility of seen joints is 2.
MOST_CONFIDENCE = 2.0
# Two people of a picture whose joints lie so near, in parts of their size, are one, where they share so many of their joints. Of so
# many people it is told.
ALIKE, MOST_SHARED, OFTEN_ALIKE = 0.03, 0.8, 0.02
# Somebody so many of whose joints lie exactly on one border of the picture was cut there, and so many people are no chance.
ON_BORDER, OFTEN_CUT = 3, 0.01
# Percent are told of pictures whose shorter side is at least this, and where joints reach so far in both directions.
LARGE_PX, REACHING = 200, 60
# A hand begins within this part of a person's size of its wrist. Of hands, the share that must be wrong.
HAND_AWAY, MOSTLY = 0.15, 0.8
# So many poses of a person are measured.
STATURES = 100


def doubt_upright(people: np.ndarray, names: Sequence[str]) -> Iterator[Doubt]:
    """Told where most people stand on their heads or lie. people: (P, J, 3) x, y, confidence."""
    parts = [f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "hip")]
    if not len(people) or not set(parts) <= set(names):
        return
    corners = people[:, [names.index(part) for part in parts]]
    known = (corners[..., 2] > 0).all(1)
    up = (corners[:, [0, 2], :2] - corners[:, [1, 3], :2]).mean(1)[known]  # from the hips to the shoulders
    if len(up) < SURE_PEOPLE:
        return
    for odd, said in (
        ((up[:, 1] > np.abs(up[:, 0])).mean(), "stand on their heads: y counted from below, or pictures stored turned"),
        ((np.abs(up[:, 0]) > np.abs(up[:, 1])).mean(), "lie: x and y exchanged, or pictures stored turned"),
    ):
        if odd > 0.8:
            yield Doubt(f"{odd:.0%} of {len(up)} people {said}?")


def doubt_confidence(people: np.ndarray) -> Iterator[Doubt]:
    """Told where scores are no shares. people: (P, J, 3) x, y, confidence."""
    highest = people[..., 2].max(-1) if people.size else np.zeros(0)
    if len(highest) and (highest > MOST_CONFIDENCE).mean() > 0.5:
        yield Doubt(
            f"confidences reach {highest.max():.4g}, where they are from 0 to 1: all above 1 count as sure. Are they in "
            "percent, or other numbers?"
        )


def doubt_twice(people: Iterable[tuple[Hashable, np.ndarray]]) -> Iterator[Doubt]:
    """Told where somebody stands twice in a picture, with the same keypoints, or often with nearly the same. people: of each the
    picture, and (J, 3) x, y, confidence, J the same for all."""
    pictures: dict[Hashable, list[np.ndarray]] = defaultdict(list)
    for picture, keypoints in people:
        if (keypoints[:, 2] > 0).any() and np.isfinite(keypoints).all():
            pictures[picture].append(keypoints)
    total = sum(map(len, pictures.values()))
    several = [np.array(found) for found in pictures.values() if len(found) > 1]
    different = [np.unique(found, axis=0) for found in several]
    twice = sum(map(len, several)) - sum(map(len, different))
    if twice:
        yield Doubt(f"{twice} of {total} people have the keypoints of another in the same image: annotated twice?")
    alike = sum(int((apart(found) < ALIKE).any(1).sum()) for found in different)
    if alike >= SURE_PEOPLE and alike > OFTEN_ALIKE * total:
        yield Doubt(
            f"{alike} of {total} people lie within {ALIKE:.0%} of their size of another's keypoints in the same image: annotated, or "
            "found, twice?"
        )


def apart(people: np.ndarray) -> np.ndarray:
    """(P, P) how far each person of a picture is from those before it: the mean distance of joints that both have, over the person's
    size. Infinite from itself and those after it, and where they share too few joints."""
    points, seen = people[..., :2], people[..., 2] > 0
    both = seen[:, None] & seen[None]
    shared = both.sum(-1)
    off = (np.linalg.norm(points[:, None] - points[None], axis=-1) * both).sum(-1) / np.maximum(shared, 1)
    masked = np.where(seen[..., None], points, np.nan)
    size = np.maximum(np.linalg.norm(np.nanmax(masked, 1) - np.nanmin(masked, 1), axis=-1), 1e-9)
    enough = (shared >= LEAST_JOINTS) & (shared >= MOST_SHARED * np.maximum.outer(seen.sum(1), seen.sum(1)))
    return np.where(enough & np.tri(len(people), k=-1, dtype=bool), off / size[:, None], np.inf)


def doubt_frozen(found: Mapping[tuple[str, int], Sequence[np.ndarray]]) -> Iterator[Doubt]:
    """Told of cameras in which people stay where they are to the last digit, frame after frame, as no detector marks even a picture of
    who stands still. found: by camera and frame, the keypoints of each person."""
    for camera in sorted({name for name, _ in found}):
        frames = sorted(frame for name, frame in found if name == camera)
        same = 0
        for before, frame in pairwise(frames):
            one, other = found[camera, before], found[camera, frame]
            same += bool(one) and len(one) == len(other) and all(map(np.array_equal, one, other))
        if same >= FROZEN:
            yield Doubt(
                f"the keypoints of {camera} are those of the frame before in {same} of {len(frames)} frames: did the camera, or the "
                "copying of files, stand still?"
            )


def doubt_sides(people: np.ndarray, names: Sequence[str], detected: bool) -> Iterator[Doubt]:
    """Told where left and right are exchanged in most people whose face is seen, below the face of anybody, or of the legs alone.
    detected: whether a network marked them, which guesses the faces of backs: then pictures may refute it. people: (P, J, 3) x, y,
    confidence. Of a few people the whole tells nothing."""
    if not len(people):
        return
    points, seen = people[..., :2], people[..., 2] > 0
    sure = people[..., 2] > 0.6 * people[..., 2].max(
        1, keepdims=True, initial=0
    )  # where MSCOCO's visibility is 2, not 1
    half = limbs_against_face(points, sure & seen, names).sum()
    if half > FEW_WRONG * len(people):
        yield Doubt(
            f"{half} of {len(people)} people look at the camera with shoulders and hips seen from behind, as if left and right were "
            "exchanged from the shoulders down"
        )
    crossed, broad = twisted(points, seen, names)
    if crossed >= max(FEW_TWISTED, 0.5 * broad, OFTEN_TWISTED * len(people)):
        yield Doubt(
            f"shoulders and hips of {crossed} of {broad} people face opposite ways, as if left and right of the legs or of the arms "
            "were exchanged in the joints' names",
            refutable=detected,
        )
    wrong, count = swapped_sides(points, seen, names)
    if count >= SURE_PEOPLE and wrong > 0.8 * count:
        yield Doubt(
            f"left and right are exchanged in {wrong} of {count} people whose face is seen: another order of joints, or "
            "mirrored pictures",
            refutable=detected,
        )


def doubt_order(people: np.ndarray, names: Sequence[str]) -> Iterator[Doubt]:
    """Told where the bones of joints with these names would be too long for people, or joints carry each other's names. people:
    (P, J, 3) x, y, confidence."""
    if not len(people):
        return
    if LONGEST_BONES < bone_share(people, names, MANY_BONES) < np.inf:
        yield Doubt("bones would be too long for people: are the joints in another order than their names?")
    if (told := exchanged_names(people[..., :2], people[..., 2] > 0, names)) is not None:
        yield Doubt(told)


def doubt_border(people: np.ndarray, sizes: np.ndarray) -> Iterator[Doubt]:
    """Told where joints beyond a picture seem to be moved onto its border and count as seen. people: (P, J, 3) x, y, confidence.
    sizes: (P, 2) width and height of their pictures."""
    if not len(people):
        return
    seen, last = people[..., 2] > 0, sizes[:, None] - 1
    low, high = people[..., :2] == 0, (people[..., :2] == last) | (people[..., :2] == last + 1)
    edges = np.concatenate([low, high], -1) & seen[..., None]
    cut = int((edges.sum(1) >= ON_BORDER).any(1).sum())
    if cut >= SURE_PEOPLE and cut > OFTEN_CUT * len(people):
        yield Doubt(
            f"{cut} of {len(people)} people have {ON_BORDER} joints or more exactly on the border of their picture that count as "
            "seen: were joints outside moved there? Give those the confidence 0"
        )


def doubt_percent(people: np.ndarray, sizes: np.ndarray) -> Iterator[Doubt]:
    """Told where no joint is beyond 100 in pictures that are far larger. As of `doubt_border`."""
    seen = people[..., 2] > 0
    points = people[..., :2][seen]
    if seen.any(1).sum() < SURE_PEOPLE or sizes.min() < LARGE_PX:
        return
    if points.max() <= 100 and points.min() >= 0 and (points.max(0) > REACHING).all():
        yield Doubt(
            f"all joints lie within 0 .. 100, in pictures of up to {sizes.max():.0f} pixels: are the keypoints in percent of the "
            "picture?"
        )


def doubt_hands(people: Sequence[FoundPerson], names: Sequence[str]) -> Iterator[Doubt]:
    """Told where hands begin at the wrists of the other side, or far from both. names: of the bodies' joints."""
    ends = [names.index(f"{side}_wrist") for side in ("left", "right")]
    own, other = [], []
    for person in people:
        wrists = person.body[ends]
        size = (
            np.linalg.norm(np.ptp(person.body[person.body[:, 2] > 0, :2], axis=0)) if (wrists[:, 2] > 0).all() else 0.0
        )
        for k, hand in enumerate((OPENPOSE_LEFT_HAND.name, OPENPOSE_RIGHT_HAND.name)):
            start = person.extras.get(hand, np.zeros((1, 3)))[0]
            if size > 0 and start[2] > 0:
                off = np.linalg.norm(wrists[:, :2] - start[:2], axis=-1) / size
                own.append(off[k])
                other.append(off[1 - k])
    if len(own) < SURE_PEOPLE:
        return
    crossed = np.array(own) > np.array(other) + ALIKE
    away = np.minimum(own, other) > HAND_AWAY
    if crossed.mean() > MOSTLY:
        yield Doubt(
            f"{crossed.sum()} of {len(own)} hands begin at the other side's wrist: are left and right hands exchanged?"
        )
    elif away.mean() > MOSTLY:
        yield Doubt(
            f"{away.sum()} of {len(own)} hands begin far from both wrists: are they of another picture, or of a crop of it?"
        )


def doubt_stature(joint_set: str, joints: np.ndarray, who: str) -> Iterator[Doubt]:
    """Told of somebody who would be smaller than a child who stands, or larger than anybody, though of bones that `odd_bones` lets
    pass. joints: (F, J, 3) metres, NaN where unknown."""
    chosen = joints[spread_evenly(len(joints), STATURES)]
    found = [stature(joint_set, pose, np.isfinite(pose).all(1)) for pose in chosen]
    known = [value for value in found if value is not None]
    usual = float(np.median(known)) if known else 1.0
    if SHORTEST <= usual <= LONGEST and not LEAST_TALL <= usual <= MOST_TALL:
        yield Doubt(
            f"{who} would be about {ADULT_M * usual:.1f} m tall: are the joints in another unit, or of a wrong calibration?"
        )
