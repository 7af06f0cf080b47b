"""What people and their pictures can be: the one place that judges whether annotations make sense.

Readers, `preprocess`, `fit` and `check-data` all see a dataset through these judgements, so that a mistake (keypoints of
another resolution, a transposed rotation, metres for millimetres) is a counted reject with the likely cause everywhere.
A judgement is None where nothing is wrong, else a sentence without its end.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from pipeline.boxes import (
    LEAST_OVERLAP,
    SURE_OVERLAP,
    box_overlap,
    in_box,
    inside,
    overlap,
    overlaps,
    share_inside,
    square,
    tight,
)
from pipeline.camera import BOX_SCALE, distort, pixel_rays, project, tight_box, world_to_camera
from pipeline.plausible_people import JOINTS_INSIDE, LEAST_CONFIDENCE, LEAST_JOINTS, image_guess
from pipeline.records import Camera, Instant, View
from pipeline.skeletons import JOINT_SETS
from pipeline.spread import spread_evenly

# Of a person's box and of the crop about it: the share that must lie in the image.
BOX_INSIDE, CROP_INSIDE = 0.25, 0.1
# An adult's limbs, metres: from joint, to joint, length. A newborn has a third of it, the tallest people 1.4 times.
LIMBS = (("shoulder", "elbow", 0.27), ("elbow", "wrist", 0.24), ("hip", "knee", 0.41), ("knee", "ankle", 0.43))
SHORTEST, LONGEST = 0.25, 1.6
# A single bone may be further off: motion capture loses a marker now and then.
SHORTEST_BONE, LONGEST_BONE = 0.1, 2.5
# What shows the front of a body must lie beside its line by this part of the line, and so clearly ahead or behind (a cosine).
LEAST_BESIDE, SURE_AHEAD = 0.1, 0.35
# Focal lengths over the image's longer side, and the one over the other: anamorphic lenses squeeze by 2.
LEAST_FOCAL, MOST_FOCAL, MOST_SQUEEZED = 0.05, 100.0, 2.5
# Cut out of a picture by the longest lens, somebody has a focal length of up to so many sides.
MUCH_FOCAL = 60.0
# Of the image's side, how far from its middle a principal point may lie.
OFF_CENTRE = 0.2
# Parts of the side by which real principal points are off at most, and by which K is clearly of images of another size.
CENTRED, RESCALED = 0.04, 0.15
# A person of fewer pixels is none, nor one who is so many metres away.
LEAST_PX, FURTHEST = 4.0, 300.0
# How far a lens may move what it shows: the place in the image over that without distortion. Wide action cameras have 0.5.
# Of the image, the share that may be folded over itself.
LEAST_BENT, MOST_BENT, MOST_FOLDED = 0.4, 1.25, 0.25
# So many poses of one person are looked at to tell left from right.
SIDES_JUDGED = 100
_MIRRORED = "face, knees or feet point to the back of shoulders and hips, as if left and right were exchanged or the joints mirrored"
# Shoulders against hips: nobody turns so far about the own axis (a cosine).
MOST_TWISTED = -0.7
_TWISTED = "shoulders and hips face opposite ways, as if left and right of one of them were exchanged"
_UNITS = {
    0.001: "metres where millimetres are expected",
    0.01: "metres where centimetres are expected",
    0.1: "centimetres where millimetres are expected",
    10.0: "millimetres where centimetres are expected",
    100.0: "centimetres where metres are expected",
    1000.0: "millimetres where metres are expected",
}


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
    lengths, ratio, both = _limb_ratios(joint_set, joints, valid)
    if both.sum() < 3:
        return None
    usual = float(np.sort(ratio)[len(ratio) // 2])  # the median, without numpy's overhead
    if not SHORTEST <= usual <= LONGEST:
        scale = next((scale for scale in _UNITS if 0.55 < usual / scale < 1.8), None)
        if scale is None:
            return f"the bones are {usual:.2g} times as long as a person's, as if the joints were in another unit of length"
        return f"the bones are {scale:g} times as long as a person's, as if the joints were in {_UNITS[scale]}"
    worst = int(np.abs(np.log(np.maximum(ratio, 1e-9))).argmax())
    if not SHORTEST_BONE <= ratio[worst] <= LONGEST_BONE:
        k = np.flatnonzero(both)[worst]
        names = _limbs(joint_set)[3]
        return f"the bone from {names[k][0]} to {names[k][1]} is {lengths[k]:.1f} m long, which nobody's is"
    return None


def stature(joint_set: str, joints: np.ndarray, valid: np.ndarray) -> float | None:
    """How long the limbs of 3D joints (J, 3), metres, are over an adult's; None where fewer than three tell. valid: (J,) bool."""
    _, ratio, both = _limb_ratios(joint_set, joints, valid)
    return float(np.median(ratio)) if both.sum() >= 3 else None


def _limb_ratios(
    joint_set: str, joints: np.ndarray, valid: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths of all limb bones, those known over an adult's, and which are known."""
    upper, lower, metres, _ = _limbs(joint_set)
    known = np.ones(len(joints), bool) if valid is None else np.asarray(valid, bool)
    both = known[upper] & known[lower]
    lengths = np.sqrt(((joints[upper] - joints[lower]) ** 2).sum(1))
    return lengths, lengths[both] / metres[both], both


def odd_sides(joint_set: str, joints: np.ndarray | None, valid: np.ndarray | None = None) -> str | None:
    """Whether left and right are exchanged in 3D joints (J, 3), or the joints are mirrored: then face, knees and feet all point to
    where shoulders and hips have the back. valid: (J,) bool, None for all. Nothing is said where fewer than two of them tell."""
    if joints is None:
        return None
    known = np.ones(len(joints), bool) if valid is None else np.asarray(valid, bool)
    ahead = _all_ahead(joint_set, joints, known)
    if len(ahead) > 1 and max(ahead) < 0:
        return _MIRRORED
    return _TWISTED if _twisted(joint_set, joints, known) else None


def _twisted(joint_set: str, joints: np.ndarray, known: np.ndarray) -> bool:
    """Whether the line across the shoulders runs against that across the hips, both seen along the trunk."""
    names, wanted = JOINT_SETS[joint_set].names, ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    if not set(wanted) <= set(names):
        return False
    index = [names.index(name) for name in wanted]
    if not (known[index].all() and np.isfinite(joints[index]).all()):
        return False
    a, b, c, d = joints[index]
    trunk = (a + b - c - d) / max(float(np.linalg.norm(a + b - c - d)), 1e-6)
    shoulders, hips = (line - (line @ trunk) * trunk for line in (a - b, c - d))
    size = float(np.linalg.norm(shoulders) * np.linalg.norm(hips))
    return size > 1e-6 and float(shoulders @ hips) < MOST_TWISTED * size


def odd_sides_of_all(joint_set: str, joints: np.ndarray) -> str | None:
    """Whether nearly all of one person's poses (F, J, 3) that tell are so, from at most SIDES_JUDGED of them: then the others, whose
    legs are straight and whose face is turned, are so too."""
    chosen = [
        _all_ahead(joint_set, pose, np.ones(len(pose), bool))
        for pose in joints[spread_evenly(len(joints), SIDES_JUDGED)]
    ]
    wrong = sum(len(ahead) > 1 and max(ahead) < 0 for ahead in chosen)
    right = sum(len(ahead) > 1 and min(ahead) > 0 for ahead in chosen)
    return _MIRRORED if wrong >= 3 and wrong > 4 * right else None


def _all_ahead(joint_set: str, joints: np.ndarray, known: np.ndarray) -> list[float]:
    """`_ahead` of every cue that tells clearly."""
    known = known & np.isfinite(joints).all(1)
    found = [_ahead(*joints[list(cue)]) for cue in _cues(joint_set) if all(known[list(cue)])]
    return [share for share in found if share is not None and abs(share) > SURE_AHEAD]


def _ahead(left: np.ndarray, right: np.ndarray, lower: np.ndarray, upper: np.ndarray, tip: np.ndarray) -> float | None:
    """How far (the cosine, -1 .. 1) `tip` lies ahead of the line from lower to upper, seen across the line from right to left. None
    where it hardly lies beside that line, or the two lines are nearly parallel."""
    along, across = upper - lower, left - right
    length, width = float(np.sqrt(along @ along)), float(np.sqrt(across @ across))
    if length < 1e-6 or width < 1e-6:
        return None
    forward = np.array(
        [
            across[1] * along[2] - across[2] * along[1],
            across[2] * along[0] - across[0] * along[2],
            across[0] * along[1] - across[1] * along[0],
        ]
    )
    size = float(np.sqrt(forward @ forward))
    beside = tip - lower - along * ((tip - lower) @ along / length**2)
    away = float(np.sqrt(beside @ beside))
    if size < 0.5 * length * width or away < LEAST_BESIDE * length:
        return None
    return float(beside @ forward / (away * size))


@functools.cache
def _cues(joint_set: str) -> list[tuple[int, int, int, int, int]]:
    """What tells the front of a body, as far as a joint set has it: joints left and right, the lower and upper end of a line, and what
    lies ahead of that line."""
    names = JOINT_SETS[joint_set].names
    hips, shoulders = ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")
    cues = [(*shoulders, "neck", "head_top", "nose")]
    for side in ("left", "right"):
        cues += [(*hips, f"{side}_ankle", f"{side}_hip", f"{side}_knee")]
        cues += [(*hips, f"{side}_ankle", f"{side}_knee", f"{side}_{tip}") for tip in ("big_toe", "foot")]
    known = [cue for cue in cues if all(name in names for name in cue)]
    return [tuple(names.index(name) for name in cue) for cue in known]  # type: ignore[misc]


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
    if focal := odd_focal(camera):
        return focal
    joints, reason = instant.joints_3d, None
    if joints is not None and _behind(camera, joints):
        reason = "the joints lie behind the camera"
    elif joints is not None and (away := _distance(camera, joints)) > FURTHEST:
        return f"the person is {away:.0f} m away from the camera, as if t were in millimetres where metres are expected"
    elif max(view.box[2:]) < LEAST_PX:
        normalised = ", as if it were normalised to 0 .. 1" if view.box.max() <= 1 else ""
        return f"the person's box is {max(view.box[2:]):.1f} pixels large{normalised}"
    elif inside(points, camera.width, camera.height).mean() < JOINTS_INSIDE:
        reason = "most joints lie outside the image"
    elif share_inside(view.box, camera) < BOX_INSIDE or share_inside(square(view.box), camera) < CROP_INSIDE:
        reason = "the person's box lies outside the image"
    elif joints is not None and len(points) >= LEAST_JOINTS and box_overlap(points, view.box) < LEAST_OVERLAP:
        everything = project(camera, world_to_camera(camera, joints))
        if box_overlap(everything, view.box) < LEAST_OVERLAP:
            reason = "the person's box and its projected joints do not overlap"
    elif joints is None and in_box(points, view.box).mean() < JOINTS_INSIDE:
        reason = "most joints lie outside the person's box"
    if reason is None:
        return None
    size = (camera.width, camera.height)
    if joints is None:
        mistake = None if inside(points, *size).all() else image_guess([points], [size])
    else:
        mistake = likely_mistake(camera, joints, view.box)
    return f"{reason}, as if {mistake}" if mistake else reason


def calibration_of_another(
    cameras: Mapping[int, Camera], number: int, joints: np.ndarray, boxes: np.ndarray
) -> int | None:
    """The camera whose calibration is that of the views of camera `number`. joints and boxes: as of `odd_calibration`."""
    others = (other for other in cameras if other != number)
    return next((other for other in others if odd_calibration(cameras[other], joints, boxes) is None), None)


def _behind(camera: Camera, joints: np.ndarray) -> bool:
    return bool((joints @ camera.R[2] + camera.t[2] < 0.1).mean() > 0.5)


def _distance(camera: Camera, joints: np.ndarray) -> float:
    """Metres along the camera's axis, the median over the joints."""
    return float(np.median(joints @ camera.R[2] + camera.t[2]))


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
    shared = np.maximum(*(overlaps(tight_box(pixels, 0, scale), boxes) for scale in (1.0, BOX_SCALE)))
    missed = (local[..., 2] < 0.1).any(1) | (shared < SURE_OVERLAP)
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
        "t were in centimetres where millimetres are expected": (R, 10 * t),
        "t were in centimetres where metres are expected": (R, t / 100),
        "the camera's axes were y up and z backward": (turned @ R, turned @ t),
    }
    best, name = SURE_OVERLAP, None
    for text, (rotation, translation) in candidates.items():
        local = joints @ rotation.T + translation
        if (local[:, 2] > 0.1).all():
            shared = box_overlap(project(camera, local), box)
            if shared > best:
                best, name = shared, text
    if name is None and not _behind(camera, joints):
        found = tight(project(camera, world_to_camera(camera, joints)))
        factor = float(np.sqrt(np.prod(box[2:]) / max(np.prod(found[2:]), 1e-9)) / BOX_SCALE)
        if not 0.8 < factor < 1.25 and overlap(found * factor, box) > SURE_OVERLAP:
            name = f"the boxes were of an image {factor:.1f} times as large"
    return name


def odd_focal(camera: Camera) -> str | None:
    """Whether a camera's focal lengths are of one lens, in pixels of its images."""
    (fx, fy), side = camera.K[[0, 1], [0, 1]].tolist(), max(camera.width, camera.height)
    least, most = min(fx, fy), max(fx, fy)
    if most <= MOST_SQUEEZED * least and LEAST_FOCAL * side < least and most < MOST_FOCAL * side:
        return None
    return f"fx, fy = {fx:.6g}, {fy:.6g} are no focal lengths in pixels of images {camera.width} x {camera.height}"


def odd_lens(camera: Camera) -> str | None:
    """Whether a camera's focal lengths are of one lens, and whether it bends the image as no lens does: much too far, or over itself
    in more than a part of it (in the corners many calibrations of wide lenses do)."""
    focal = odd_focal(camera)
    if focal is not None or not camera.distortion.any():
        return focal
    pixels = np.stack(
        np.meshgrid(*(np.linspace(0, side - 1, 15) for side in (camera.width, camera.height))), -1
    ).reshape(-1, 2)
    with np.errstate(all="ignore"):
        rays = pixel_rays(camera, pixels)
        straight = (pixels - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]]
        steps = distort(np.linspace(0, 1, 33)[:, None, None] * rays, camera.distortion)
        outward = (np.diff(steps, axis=0) * rays).sum(-1) > 0
        bent = np.linalg.norm(straight, axis=-1) / np.linalg.norm(rays, axis=-1)
    middle = np.linalg.norm(straight, axis=-1) < 1e-3
    good = middle | (np.isfinite(rays).all(-1) & (np.abs(steps[-1] - straight).max(-1) < 1e-3) & outward.all(0))
    given = f"the lens coefficients k1 k2 k3 p1 p2 = {', '.join(f'{value:.3g}' for value in camera.distortion)}"
    if good.mean() < 1 - MOST_FOLDED:
        return f"{given} fold the image over itself, as no lens does"
    bent = bent[good & ~middle]
    worst = float(bent[np.abs(np.log(bent)).argmax()])
    if not LEAST_BENT < worst < MOST_BENT:
        return (
            f"{given} move the border of the image to {worst:.2g} times its distance from the centre, as no lens does"
        )
    return None


def odd_camera(view: View) -> list[str]:
    """Signs that a camera is not of this image; not enough to leave the view out."""
    camera, signs = view.camera, []
    f = camera.K[[0, 1], [0, 1]]
    side = max(camera.width, camera.height)
    if not (0.2 * side < f.min() and f.max() < MUCH_FOCAL * side):
        signs.append("focal length far from the image size: is it in pixels of this image?")
    if (centre := _odd_centre(camera)) is not None:
        signs.append(centre)
    if np.abs(camera.R @ camera.R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(camera.R) < 0:
        signs.append("the camera's R is not a rotation")
    if lens := odd_lens(camera):
        signs.append(lens)
    return signs


def _odd_centre(camera: Camera) -> str | None:
    """What is odd about a camera's principal point. Of a part of a picture it may lie anywhere."""
    c, size = camera.K[:2, 2], np.array([camera.width, camera.height], float)
    if not ((c > 0) & (c < size)).all():
        return "principal point outside the image"
    off, turned = c / size - 0.5, c / size[::-1] - 0.5
    if np.abs(turned).max() < CENTRED < np.abs(off).max() / 2:
        return "principal point in the middle of images that are turned by 90 degrees: is K that of pictures that stand upright?"
    scale = 2 * float((c / size).mean())
    if abs(off[0] - off[1]) < CENTRED / 2 and abs(scale - 1) > RESCALED:
        return f"principal point in the middle of images {scale:.2g} times as large: is K that of images of this size?"
    if (np.abs(off) > OFF_CENTRE).any():
        return "principal point far from the middle of the image: is K that of images of this size?"
    return None


def doubtful_cameras(instants: Iterable[Instant]) -> list[str]:
    """`odd_camera` of all their views, each sign told once."""
    found: dict[str, list[str]] = {}
    for instant in instants:
        for view in instant.views:
            for sign in odd_camera(view):
                found.setdefault(sign, []).append(view.id)
    return [f"{sign} ({len(views)} of the views looked at; first: {views[0]})" for sign, views in found.items()]
