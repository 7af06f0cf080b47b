"""What people and their pictures can be: the one place that judges whether annotations make sense.

Readers, `preprocess`, `fit` and `check-data` all see a dataset through these judgements, so that a mistake (keypoints of
another resolution, a transposed rotation, metres for millimetres) is a counted reject with the likely cause everywhere.
A judgement is None where nothing is wrong, else a sentence without its end.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipeline.camera import BOX_SCALE, project, tight_box, world_to_camera
from pipeline.records import Camera, Instant, View
from pipeline.skeletons import JOINT_SETS

# A body is fitted to this many joints at least; one of less confidence is no evidence.
LEAST_JOINTS, LEAST_CONFIDENCE = 6, 0.05
# Of a view's joints, of a person's box and of the crop about it: the share that must lie in the image.
JOINTS_INSIDE, BOX_INSIDE, CROP_INSIDE = 0.5, 0.25, 0.1
# Annotators and detectors may place a joint that the border cuts this share of the image beyond it.
BEYOND = 0.03
# Of all joints in a picture, the share that may lie outside; of all pictures, the share that may be such.
PICTURE_OUTSIDE, PICTURES_OUTSIDE = 0.1, 0.2
# Intersection over union of a person's box and the box of its projected joints, tight or as datasets draw it. Of right
# cameras it is 0.56 and more, boxes of detectors included; a camera most of whose views have less than SURE is wrong.
LEAST_OVERLAP, SURE_OVERLAP = 0.4, 0.5
# An adult's limbs, metres: from joint, to joint, length. A newborn has a third of it, the tallest people 1.4 times.
LIMBS = (("shoulder", "elbow", 0.27), ("elbow", "wrist", 0.24), ("hip", "knee", 0.41), ("knee", "ankle", 0.43))
SHORTEST, LONGEST = 0.25, 1.6
# A single bone may be further off: motion capture loses a marker now and then.
SHORTEST_BONE, LONGEST_BONE = 0.1, 2.5
_UNITS = {
    0.001: "metres where millimetres are expected",
    0.01: "metres where centimetres are expected",
    0.1: "centimetres where millimetres are expected",
    10.0: "millimetres where centimetres are expected",
    100.0: "centimetres where metres are expected",
    1000.0: "millimetres where metres are expected",
}
_FACTORS = (1.25, 1.33, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


# --- an instant and its views ----------------------------------------------------------------------------------------


def few_joints(instant: Instant, least: int = LEAST_JOINTS, confidence: float = LEAST_CONFIDENCE) -> str | None:
    """Whether too few joints are known, in 3D or in any view, for a body to be fitted."""
    seen = np.zeros(len(JOINT_SETS[instant.joint_set]), bool)
    if instant.joints_3d is not None:
        seen |= True if instant.joints_3d_valid is None else np.asarray(instant.joints_3d_valid, bool)
    for view in instant.views:
        seen |= view.confidence > confidence
    if not seen.any():
        return "no visible joints"
    return f"{seen.sum()} visible joints, a fit needs {least}" if seen.sum() < least else None


def odd_bones(joint_set: str, joints: np.ndarray | None, valid: np.ndarray | None = None) -> str | None:
    """Whether 3D joints (J, 3), metres, have limbs that nobody has. valid: (J,) bool, None for all."""
    if joints is None:
        return None
    upper, lower, metres, names = _limbs(joint_set)
    known = np.ones(len(joints), bool) if valid is None else np.asarray(valid, bool)
    both = known[upper] & known[lower]
    if both.sum() < 3:
        return None
    lengths = np.sqrt(((joints[upper] - joints[lower]) ** 2).sum(1))
    ratio = lengths[both] / metres[both]
    usual = float(np.sort(ratio)[len(ratio) // 2])  # the median, without numpy's overhead
    if not SHORTEST <= usual <= LONGEST:
        scale = next((scale for scale in _UNITS if 0.55 < usual / scale < 1.8), None)
        if scale is None:
            return f"the bones are {usual:.2g} times as long as a person's, as if the joints were in another unit of length"
        return f"the bones are {scale:g} times as long as a person's, as if the joints were in {_UNITS[scale]}"
    worst = int(np.abs(np.log(np.maximum(ratio, 1e-9))).argmax())
    if not SHORTEST_BONE <= ratio[worst] <= LONGEST_BONE:
        k = np.flatnonzero(both)[worst]
        return f"the bone from {names[k][0]} to {names[k][1]} is {lengths[k]:.1f} m long, which nobody's is"
    return None


@functools.cache
def _limbs(joint_set: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[str, str]]]:
    """Indices of both ends, adult length and names of the limb bones that a joint set has."""
    names = JOINT_SETS[joint_set].names
    bones = [(f"{side}_{a}", f"{side}_{b}", length) for side in ("left", "right") for a, b, length in LIMBS]
    bones = [bone for bone in bones if bone[0] in names and bone[1] in names]
    upper, lower = (np.array([names.index(bone[end]) for bone in bones], int) for end in (0, 1))
    return upper, lower, np.array([bone[2] for bone in bones]), [bone[:2] for bone in bones]


def odd_view(instant: Instant, view: View) -> str | None:
    """Whether joints, box, camera and image of a view do not belong together. With 3D joints the likely mistake is told."""
    points = view.joints_2d[view.confidence > 0]
    camera = view.camera
    if not len(points):
        return None
    if not np.isfinite(points).all():
        return "a joint does not project to a pixel"
    joints, reason = instant.joints_3d, None
    if joints is not None and _behind(camera, joints):
        reason = "the joints lie behind the camera"
    elif _inside(points, camera.width, camera.height).mean() < JOINTS_INSIDE:
        reason = "most joints lie outside the image"
    elif _share_inside(view.box, camera) < BOX_INSIDE or _share_inside(_square(view.box), camera) < CROP_INSIDE:
        reason = "the person's box lies outside the image"
    elif joints is not None and len(points) >= LEAST_JOINTS and box_overlap(points, view.box) < LEAST_OVERLAP:
        everything = project(camera, world_to_camera(camera, joints))
        if box_overlap(everything, view.box) < LEAST_OVERLAP:
            reason = "the person's box and its projected joints do not overlap"
    elif joints is None and _in_box(points, view.box).mean() < JOINTS_INSIDE:
        reason = "most joints lie outside the person's box"
    if reason is None:
        return None
    size = (camera.width, camera.height)
    if joints is None:
        mistake = None if _inside(points, *size).all() else _image_guess([points], [size])
    else:
        mistake = likely_mistake(camera, joints, view.box)
    return f"{reason}, as if {mistake}" if mistake else reason


def _behind(camera: Camera, joints: np.ndarray) -> bool:
    return bool((joints @ camera.R[2] + camera.t[2] < 0.1).mean() > 0.5)


def odd_calibration(camera: Camera, joints: np.ndarray, boxes: np.ndarray) -> str | None:
    """Whether a camera misses the people of its views. joints: (K, J, 3) metres in the world. boxes: (K, 4) of the same people,
    annotated in its images."""
    good = np.isfinite(joints).all((1, 2)) & np.isfinite(boxes).all(1) & (boxes[:, 2:] > 0).all(1)
    joints, boxes = joints[good], boxes[good]
    if not len(joints):
        return None
    local = world_to_camera(camera, joints)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        pixels = np.nan_to_num(project(camera, local), posinf=1e9, neginf=-1e9)
    overlap = np.maximum(*(_overlaps(tight_box(pixels, 0, scale), boxes) for scale in (1.0, BOX_SCALE)))
    missed = (local[..., 2] < 0.1).any(1) | (overlap < SURE_OVERLAP)
    if missed.mean() <= 0.5:
        return None
    told = [likely_mistake(camera, joints[k], boxes[k]) for k in np.flatnonzero(missed)[:: max(1, missed.sum() // 16)]]
    named = Counter(name for name in told if name is not None).most_common(1)
    reason = "this camera's projected joints miss most of the annotated boxes"
    return f"{reason}, as if {named[0][0]}" if named else reason


def likely_mistake(camera: Camera, joints: np.ndarray, box: np.ndarray) -> str | None:
    """What is probably wrong with a calibration whose joints (J, 3) miss the annotated box: the one change that mends it."""
    R, t = camera.R, camera.t
    turned = np.diag([1.0, -1.0, -1.0])
    candidates = {
        "R were transposed": (R.T, t),
        "the camera were inverted (camera to world)": (R.T, -R.T @ t),
        "t were the camera's centre": (R, -R @ t),
        "R were transposed and t the camera's centre": (R.T, -R @ t),
        "t were in metres where millimetres are expected": (R, 1000 * t),
        "t were in millimetres where metres are expected": (R, t / 1000),
        "the camera's axes were y up and z backward": (turned @ R, turned @ t),
    }
    best, name = SURE_OVERLAP, None
    for text, (rotation, translation) in candidates.items():
        local = joints @ rotation.T + translation
        if (local[:, 2] > 0.1).all():
            overlap = box_overlap(project(camera, local), box)
            if overlap > best:
                best, name = overlap, text
    if name is None and not _behind(camera, joints):
        found = _tight(project(camera, world_to_camera(camera, joints)))
        factor = float(np.sqrt(np.prod(box[2:]) / max(np.prod(found[2:]), 1e-9)) / BOX_SCALE)
        if not 0.8 < factor < 1.25 and _overlap(found * factor, box) > SURE_OVERLAP:
            name = f"the boxes were of an image {factor:.1f} times as large"
    return name


def odd_camera(view: View) -> list[str]:
    """Signs that a camera is not of this image; not enough to leave the view out."""
    camera, signs = view.camera, []
    f, c = camera.K[[0, 1], [0, 1]], camera.K[:2, 2]
    side = max(camera.width, camera.height)
    if not (0.2 * side < f.min() and f.max() < 20 * side):
        signs.append("focal length far from the image size: is it in pixels of this image?")
    if not (0 < c[0] < camera.width and 0 < c[1] < camera.height):
        signs.append("principal point outside the image")
    if np.abs(camera.R @ camera.R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(camera.R) < 0:
        signs.append("the camera's R is not a rotation")
    return signs


# --- 2D keypoints of many people -------------------------------------------------------------------------------------


def odd_people(points: np.ndarray, seen: np.ndarray, picture: np.ndarray, sizes: np.ndarray) -> list[str | None]:
    """For each of P people whether its keypoints can be of its picture, judged with those of the others.

    points: (P, J, 2) pixels. seen: (P, J) bool. picture: (P,) index into sizes: (M, 2) width, height.
    Where a fifth of all pictures have keypoints outside, all people are of another resolution, those too who happen to lie
    inside.
    """
    if not len(points):
        return []
    size = sizes[picture].astype(float)
    normalised = _normalised(points, seen, size)
    outside = seen & ~_inside(points, size[:, None, 0], size[:, None, 1], BEYOND)
    counts = np.stack([np.bincount(picture, values.sum(1), len(sizes)) for values in (outside, seen)])
    shares = counts[0] / np.maximum(counts[1], 1)
    odd = (shares > PICTURE_OUTSIDE) & (counts[1] > 0)
    everywhere = odd.sum() > 1 and odd.sum() > PICTURES_OUTSIDE * (counts[1] > 0).sum()
    reaching = np.bincount(picture, outside.any(1), len(sizes))
    own = outside.sum(1) > (1 - JOINTS_INSIDE) * seen.sum(1)
    guesses = _picture_guesses(points, seen, picture, sizes, np.flatnonzero(odd), everywhere)
    reasons: list[str | None] = []
    for p, m in enumerate(picture):
        if normalised[p]:
            reasons.append(f"the keypoints are not in pixels, as if they were normalised to {normalised[p]}")
        elif own[p]:
            reasons.append(f"most joints lie outside the image, as if {guesses[m]}")
        elif everywhere:
            reasons.append(f"other people's joints lie outside their images, as if {guesses[m]}")
        elif odd[m] and reaching[m] > outside[p].any():
            reasons.append(f"the picture's other people lie outside it, as if {guesses[m]}")
        else:
            reasons.append(None)
    return reasons


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
        together = _image_guess([np.concatenate(found) for found in of.values()], [tuple(sizes[m]) for m in of])
        return dict.fromkeys(range(len(sizes)), together)
    usual = "they were of another image"
    return dict.fromkeys(odd, usual) | {
        m: _image_guess([np.concatenate(found)], [tuple(sizes[m])]) for m, found in of.items()
    }


def _image_guess(points: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> str:
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
    return f"the image were {_factor(reach)} times as large"


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


def corner_boxes(points: np.ndarray, seen: np.ndarray, boxes: np.ndarray) -> bool:
    """Whether boxes (P, 4) are corners x1, y1, x2, y2 in place of x, y, width, height: for most people they then fit the
    keypoints much better. points: (P, J, 2) pixels. seen: (P, J) bool."""
    better = []
    for p in np.flatnonzero(seen.sum(1) >= LEAST_JOINTS)[:2000]:
        x, y, u, v = boxes[p]
        tight = _tight(points[p][seen[p]])
        as_corners = _overlap(tight, np.array([x, y, u - x, v - y])) if u > x and v > y else 0.0
        better.append(as_corners > max(0.4, _overlap(tight, boxes[p]) + 0.1))
    return bool(better) and float(np.mean(better)) > 0.6


# --- boxes -----------------------------------------------------------------------------------------------------------


def _inside(points: np.ndarray, width: Any, height: Any, beyond: float = 0.0) -> np.ndarray:
    """(..., 2) pixels -> whether each lies in the image, or no further than a share of it outside."""
    x, y = points[..., 0], points[..., 1]
    dx, dy = 0.5 + beyond * width, 0.5 + beyond * height
    return (x >= -dx) & (x <= width - 1 + dx) & (y >= -dy) & (y <= height - 1 + dy)


def _in_box(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Whether points lie in a box that is half as large again."""
    x, y, w, h = box
    low, high = np.array([x - w / 4, y - h / 4]), np.array([x + 1.25 * w, y + 1.25 * h])
    return np.asarray(((points >= low) & (points <= high)).all(-1))


def _tight(points: np.ndarray) -> np.ndarray:
    """x, y, width, height about points."""
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, high - low])


def box_overlap(points: np.ndarray, box: np.ndarray) -> float:
    """Intersection over union of a box and that of points (N, 2), tight or BOX_SCALE as wide, whichever is more."""
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    w, h = x1 - x0, y1 - y0
    tight = _overlap((x0, y0, w, h), box)
    if tight > SURE_OVERLAP:
        return tight
    grow = (BOX_SCALE - 1) / 2
    return max(tight, _overlap((x0 - grow * w, y0 - grow * h, BOX_SCALE * w, BOX_SCALE * h), box))


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(K,) intersection over union of boxes (K, 4)."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = (high - low).clip(0).prod(1)
    return shared / np.maximum(a[:, 2:].prod(1) + b[:, 2:].prod(1) - shared, 1e-9)


def _square(box: Iterable[float]) -> tuple[float, float, float, float]:
    x, y, w, h = map(float, box)
    side = max(w, h)
    return x + (w - side) / 2, y + (h - side) / 2, side, side


def _overlap(a: Iterable[float], b: Iterable[float]) -> float:
    """Intersection over union of two boxes."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = map(float, a), map(float, b)
    shared = max(min(ax + aw, bx + bw) - max(ax, bx), 0.0) * max(min(ay + ah, by + bh) - max(ay, by), 0.0)
    union = aw * ah + bw * bh - shared
    return shared / union if union > 0 else 0.0


def _share_inside(box: Iterable[float], camera: Camera) -> float:
    """How much of a box lies in the image."""
    x, y, w, h = map(float, box)
    shared = max(min(x + w, camera.width) - max(x, 0.0), 0.0) * max(min(y + h, camera.height) - max(y, 0.0), 0.0)
    return float(shared / (w * h)) if w * h > 0 else 0.0
