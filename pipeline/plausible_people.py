"""Whether 2D keypoints can be of their pictures, judged from all people together: part of what `pipeline.plausible` judges."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.boxes import inside, overlap, tight

# A body is fitted to this many joints at least; one of less confidence is no evidence.
LEAST_JOINTS, LEAST_CONFIDENCE = 6, 0.05
# Of a person's joints, the share that must lie in the image.
JOINTS_INSIDE = 0.5
# Annotators and detectors may place a joint that the border cuts this share of the image beyond it.
BEYOND = 0.03
# Of all joints in a picture, the share that may lie outside; of all pictures, the share that may be such.
PICTURE_OUTSIDE, PICTURES_OUTSIDE = 0.1, 0.2
# One box may fit the few joints that are seen better by chance.
FEWEST_BOXES = 3
# A face looks straight at the camera when the nose is this near the middle of the eyes (of their distance); shoulders and hips are
# seen broadly when they are so wide (of the trunk's length).
MOST_TURNED, BROAD = 0.35, (0.4, 0.15)
# The eyes of a face that can be told to look at the camera are so far apart, pixels and parts of the trunk (of most it is 0.13).
FACE_PX, FACE_OF_TRUNK = 3.0, 0.08
# Sides of an image of which it can be told that it was turned.
NOT_SQUARE = 1.1
_FACTORS = (1.25, 1.33, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def odd_people(
    points: np.ndarray, seen: np.ndarray, picture: np.ndarray, sizes: np.ndarray, alone: bool = False
) -> list[str | None]:
    """For each of P people whether its keypoints can be of its picture, judged with those of the others.

    points: (P, J, 2) pixels. seen: (P, J) bool. picture: (P,) index into sizes: (M, 2) width, height. alone: nobody is judged by
    others: where cameras agree, one that cuts people off is no sign of another resolution.
    Where a fifth of all pictures have keypoints outside, all people are of another resolution, those too who happen to lie
    inside.
    """
    if not len(points):
        return []
    size = sizes[picture].astype(float)
    corner = in_the_corner(points, seen)
    normalised = _normalised(points, seen, size)
    outside = seen & ~inside(points, size[:, None, 0], size[:, None, 1], BEYOND)
    counts = np.stack([np.bincount(picture, values.sum(1), len(sizes)) for values in (outside, seen)])
    shares = counts[0] / np.maximum(counts[1], 1)
    odd = (shares > PICTURE_OUTSIDE) & (counts[1] > 0)
    everywhere = not alone and odd.sum() > 1 and odd.sum() > PICTURES_OUTSIDE * (counts[1] > 0).sum()
    reaching = np.bincount(picture, outside.any(1), len(sizes))
    own = outside.sum(1) > (1 - JOINTS_INSIDE) * seen.sum(1)
    guesses = _picture_guesses(points, seen, picture, sizes, np.flatnonzero(odd), everywhere)
    reasons: list[str | None] = []
    for p, m in enumerate(picture):
        if corner[p]:
            reasons.append("joints at 0, 0 or at -1, -1 count as seen; give those that were not seen the confidence 0")
        elif normalised[p]:
            reasons.append(f"the keypoints are not in pixels, as if they were normalised to {normalised[p]}")
        elif own[p]:
            reasons.append(f"most joints lie outside the image, as if {guesses[m]}")
        elif everywhere:
            reasons.append(f"other people's joints lie outside their images, as if {guesses[m]}")
        elif not alone and odd[m] and reaching[m] > outside[p].any():
            reasons.append(f"the picture's other people lie outside it, as if {guesses[m]}")
        else:
            reasons.append(None)
    return reasons


def in_the_corner(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(P,) whether several of a person's joints lie where programs put those that they do not see: exactly at 0, 0, or at -1, -1."""
    placeholder = (points[..., 0] == points[..., 1]) & np.isin(points[..., 0], (0, -1))
    return np.asarray((seen & placeholder).sum(1) > 1)


def _picture_guesses(
    points: np.ndarray,
    seen: np.ndarray,
    picture: np.ndarray,
    sizes: Any,
    odd: np.ndarray,
    everywhere: bool,
) -> dict[int, str]:
    """Picture -> what its keypoints look like; the same for all where all are odd."""
    of = {m: [points[p][seen[p]] for p in np.flatnonzero(picture == m)] for m in odd[:200]}
    if everywhere:
        together = image_guess([np.concatenate(found) for found in of.values()], [tuple(sizes[m]) for m in of])
        return dict.fromkeys(range(len(sizes)), together)
    usual = "they were of another image"
    return dict.fromkeys(odd, usual) | {
        m: image_guess([np.concatenate(found)], [tuple(sizes[m])]) for m, found in of.items()
    }


def image_guess(points: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> str:
    """What image keypoints seem to be of. points: (N, 2) of each picture, sizes: its width and height."""
    high = np.array([found.max(0) / size for found, size in zip(points, sizes, strict=True)])
    low = np.array([found.min(0) / size for found, size in zip(points, sizes, strict=True)])
    reach = float(np.quantile(high.max(1), 0.9))
    if low.min() < -2 * BEYOND:
        return "they were shifted, or of another image"
    if (np.median(low, 0) >= 1 - BEYOND).any() and (high - low).max() < 1:
        away = ((high + low) / 2 - 0.5).mean(0) * np.mean(sizes, 0)
        axis = int(np.abs(away).argmax())
        shift = float(f"{away[axis]:.2g}")
        moved = f"they were shifted by {shift:.0f} pixels in {'xy'[axis]}"
        return f"the image were {_factor(reach)} times as large, or {moved}"
    if _turned(points, sizes):
        return f"the image were turned by 90 degrees, or {_factor(reach)} times as large"
    return f"the image were {_factor(reach)} times as large"


def _turned(points: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether keypoints that lie outside of images that are not square lie in those images turned by 90 degrees."""
    sides = np.array(sizes, float)
    square = (sides.max(1) < NOT_SQUARE * sides.min(1)).all()
    fits = [inside(found, height, width, BEYOND).all() for found, (width, height) in zip(points, sides, strict=True)]
    return bool(not square and all(fits))


def _factor(reach: float) -> str:
    """The usual ratio of two resolutions that makes room for `reach` times an image."""
    factor = next((usual for usual in _FACTORS if usual >= 0.99 * reach), reach) if reach < 3 else reach
    if factor >= 1000:
        return f"{factor:.0e}"
    return f"{factor:.1f}" if factor * 10 % 1 < 0.01 or factor >= 3 else f"{factor:.2f}"


def _normalised(points: np.ndarray, seen: np.ndarray, size: np.ndarray) -> list[str | None]:
    """For each person the range that its keypoints fill when they are no pixels."""
    masked = np.where(seen[..., None], points, np.nan)
    with np.errstate(invalid="ignore"):
        tiny = np.nanmax(np.abs(masked), axis=(1, 2), initial=0) <= 2
        negative = np.nanmin(masked, axis=(1, 2), initial=0) < -0.02
    tiny &= (seen.sum(1) >= 3) & (size.min(1) > 16)
    return [("-1 .. 1" if below else "0 .. 1") if small else None for small, below in zip(tiny, negative, strict=True)]


def swapped_sides(points: np.ndarray, seen: np.ndarray, names: Sequence[str]) -> tuple[int, int]:
    """Of people whose nose and both eyes are seen (so that their left lies to the image's right): how many have both eyes and
    shoulders the other way round, and of how many. points: (P, J, 2) pixels. seen: (P, J) bool."""
    wanted = ("nose", "left_eye", "right_eye", "left_shoulder", "right_shoulder")
    if not all(name in names for name in wanted):
        return 0, 0
    index = [names.index(name) for name in wanted]
    nose, *pairs = np.moveaxis(points[:, index], 1, 0)
    whole = seen[:, index].all(1) & ((pairs[2] + pairs[3])[:, 1] / 2 > nose[:, 1])
    wrong = (pairs[0][:, 0] < pairs[1][:, 0]) & (pairs[2][:, 0] < pairs[3][:, 0])
    return int((whole & wrong).sum()), int(whole.sum())


def twisted(points: np.ndarray, seen: np.ndarray, names: Sequence[str]) -> tuple[int, int]:
    """Of people whose shoulders and hips are seen broadly: how many have the ones to the left where the others have them to the right,
    and of how many. points: (P, J, 2) pixels. seen: (P, J) bool."""
    wanted = [f"{side}_{part}" for part in ("shoulder", "hip") for side in ("left", "right")]
    if not set(wanted) <= set(names):
        return 0, 0
    index = [names.index(name) for name in wanted]
    a, b, c, d = np.moveaxis(points[:, index], 1, 0)
    trunk = np.linalg.norm(a + b - c - d, axis=-1) / 2
    widths = [np.linalg.norm(line, axis=-1) for line in (a - b, c - d)]
    broad = seen[:, index].all(1) & (widths[0] > BROAD[0] * trunk) & (widths[1] > BROAD[1] * trunk)
    against = ((a - b) * (c - d)).sum(-1) < -0.5 * widths[0] * widths[1]
    return int((broad & against).sum()), int(broad.sum())


def limbs_against_face(points: np.ndarray, seen: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(P,) whether a face looks straight at the camera while shoulders and hips are those of a back: a head does not turn so far. Who
    bends until the head hangs may look so. points: (P, J, 2) pixels. seen: (P, J) bool."""
    wanted = ("nose", *(f"{side}_{part}" for part in ("eye", "shoulder", "hip") for side in ("left", "right")))
    if not set(wanted) <= set(names):
        return np.zeros(len(points), bool)
    index = [names.index(name) for name in wanted]
    nose, *joints = np.moveaxis(points[:, index], 1, 0)
    left, right = np.array(joints[::2]), np.array(joints[1::2])
    eyes, shoulders, hips = left - right
    middle = (left + right) / 2
    trunk = np.linalg.norm(middle[1] - middle[2], axis=-1)
    frontal = np.abs(eyes[:, 0]) > 2 * np.abs(eyes[:, 1])
    frontal &= np.abs(eyes[:, 0]) > np.maximum(FACE_PX, FACE_OF_TRUNK * trunk)
    frontal &= np.abs(nose - middle[0])[:, 0] < MOST_TURNED * np.abs(eyes[:, 0])
    back = (eyes[:, 0] * shoulders[:, 0] < 0) & (eyes[:, 0] * hips[:, 0] < 0)
    broad = (np.abs(shoulders[:, 0]) > BROAD[0] * trunk) & (np.abs(hips[:, 0]) > BROAD[1] * trunk)
    upright = (nose[:, 1] < middle[1, :, 1]) & (middle[1, :, 1] < middle[2, :, 1])
    return np.asarray(seen[:, index].all(1) & frontal & back & broad & upright)


def odd_boxes(points: np.ndarray, seen: np.ndarray, boxes: np.ndarray) -> str | None:
    """What boxes (P, 4) are in place of x, y, width, height where most people's then fit their keypoints much better. points:
    (P, J, 2) pixels. seen: (P, J) bool."""
    better: Counter[str] = Counter()
    clearly: set[str] = set()
    chosen = np.flatnonzero(seen.sum(1) >= LEAST_JOINTS)[:2000]
    for p in chosen:
        person = tight(points[p][seen[p]])
        given = overlap(person, boxes[p])
        shares = {name: overlap(person, box) for name, box in _box_readings(boxes[p])}
        better.update(name for name, share in shares.items() if share > max(0.4, given + 0.1))
        clearly |= {name for name, share in shares.items() if share > max(0.6, given + 0.4)}
    name, count = better.most_common(1)[0] if better else ("", 0)
    sure = count >= FEWEST_BOXES or name.startswith("corners") or name in clearly
    return f"the boxes are {name}" if sure and count > 0.6 * len(chosen) else None


def _box_readings(box: np.ndarray) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Boxes that four numbers may mean, by what they are then. What fits alike is told by the first."""
    x, y, w, h = map(float, box)
    usual = "in place of x, y, width, height"
    if w > x and h > y:
        yield f"corners x1, y1, x2, y2 {usual}", (x, y, w - x, h - y)
        yield f"corners y1, x1, y2, x2 {usual}", (y, x, h - y, w - x)
    yield f"centres and sizes {usual}", (x - w / 2, y - h / 2, w, h)
    yield f"y, x, height, width {usual}", (y, x, h, w)
    for k in (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 4 / 3, 1.5, 2.0, 3.0, 4.0):
        yield f"of an image {k:.3g} times as large as that of the keypoints", (x / k, y / k, w / k, h / k)
