"""Joints of images by the names that files give them, and the orders that detectors write.

Files name joints in many ways and detectors write many orders; here both become a joint set of `pipeline.skeletons`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.errors import InputError
from pipeline.plausible_people import in_the_corner
from pipeline.skeletons import COCO, HUMAN36M, IMAGE_JOINTS, OPENPOSE_25, JointSet

# Other names of joints of IMAGE_JOINTS; those with a side stand once.
_ALIASES = {
    "hips": "pelvis",
    "hip": "pelvis",
    "mid_hip": "pelvis",
    "midhip": "pelvis",
    "root": "pelvis",
    "torso": "spine",
    "thorax": "neck",
    "head_bottom": "upper_neck",
    "bottom_head": "upper_neck",
    "head": "head_top",
    "top_head": "head_top",
    "top_of_head": "head_top",
}
_SIDED = {
    "sho": "shoulder",
    "elb": "elbow",
    "wri": "wrist",
    "hand": "wrist",
    "kne": "knee",
    "ank": "ankle",
    "bigtoe": "big_toe",
    "smalltoe": "small_toe",
}
# Further names that Human3.6M's converters give its joints. A file that names all 17 of them holds its set, whose hips, shoulders and
# head lie elsewhere than annotators of images put them.
_OF_HUMAN36M = {
    "root_(pelvis)": "pelvis",
    "neck_base": "nose",
    "neck/nose": "nose",
    "neck_nose": "nose",
    **{
        f"{front}foot": f"{side}_ankle"
        for side in ("left", "right")
        for front in (f"{side}_", side, f"{side[0]}_", side[0])
    },
}
_BODY_25B = (
    *COCO.names,
    "upper_neck",
    "head_top",
    *(f"{side}_{point}" for side in ("left", "right") for point in ("big_toe", "small_toe", "heel")),
)
_COCO_18 = tuple(name for name in OPENPOSE_25.names if name != "pelvis" and not name.endswith(("toe", "heel")))
_HALPE_26 = (
    *COCO.names,
    "head_top",
    "neck",
    "pelvis",
    *(f"{side}_{point}" for point in ("big_toe", "small_toe", "heel") for side in ("left", "right")),
)
# What `-o layout=` takes.
Layout = Literal["body25", "body25b", "coco18", "coco17", "halpe26"]
# The joints in the order of the numbers.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "body25": OPENPOSE_25.names,
    "body25b": _BODY_25B,
    "coco18": _COCO_18,
    "coco17": COCO.names,
    "halpe26": _HALPE_26,
}
# Bones that tell orders apart: a wrong order makes most of them long.
_BONES = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
        ("hip", "knee"),
        ("knee", "ankle"),
        ("eye", "ear"),
        ("ankle", "heel"),
        ("ankle", "big_toe"),
    )
]
_BONES += [("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"), ("nose", "left_eye"), ("nose", "right_eye")]
# Another order is told when its bones are this much shorter.
CLEARLY_SHORTER = 0.7
# Bones of people in all poses have up to 0.19 of their extent in the mean, those of joints in a wrong order 0.3 and more. It can
# be told of so many bones.
LONGEST_BONES, MANY_BONES = 0.25, 8


@dataclass(frozen=True)
class Placing:
    """Where the joints of a file go. joint_set: what they become; theirs, ours: indices of the joints that both have."""

    joint_set: JointSet
    theirs: np.ndarray
    ours: np.ndarray

    def __call__(self, keypoints: np.ndarray) -> np.ndarray:
        """(N, 3) x, y, confidence of a file -> (J, 3) of the joint set, zeros where the file has no such joint."""
        placed = np.zeros((len(self.joint_set), 3))
        placed[self.ours] = keypoints[self.theirs]
        return placed


def place(names: Sequence[str], where: str) -> Placing:
    """Human3.6M's joint set where the names are those of its 17 joints, else the smallest that has all names. Raises InputError for
    names that are not known, or come twice."""
    field = [_OF_HUMAN36M.get(_plain(name), canonical(name)) for name in names]
    if sorted(field) == sorted(HUMAN36M.names):
        return Placing(HUMAN36M, np.arange(len(field)), HUMAN36M.indices(tuple(field)))
    known = [canonical(name) for name in names]
    unknown = [str(name) for name, found in zip(names, known, strict=True) if found not in IMAGE_JOINTS.names]
    if unknown:
        raise InputError(
            f"{where} has the keypoints {', '.join(unknown[:6])}, which are not known here. Rename or remove them: known are "
            f"{', '.join(IMAGE_JOINTS.names)}; or all of Human3.6M's: {', '.join(HUMAN36M.names)}."
        )
    if len(set(known)) < len(known):
        twice = next(name for name in known if known.count(name) > 1)
        raise InputError(f"{where} has the keypoint {twice} twice, under the names {', '.join(map(str, names))}.")
    joint_set = next(s for s in (COCO, OPENPOSE_25, IMAGE_JOINTS) if set(known) <= set(s.names))
    return Placing(joint_set, np.arange(len(known)), joint_set.indices(tuple(known)))


def canonical(name: str) -> str:
    """'L_Shoulder', 'left shoulder', 'lsho' -> 'left_shoulder'; a name that is not known stays as it is, in lower case."""
    text = _plain(name)
    if text in IMAGE_JOINTS.names:
        return text
    if text in _ALIASES:
        return _ALIASES[text]
    for front, side in (
        ("left_", "left"),
        ("right_", "right"),
        ("l_", "left"),
        ("r_", "right"),
        ("left", "left"),
        ("right", "right"),
        ("l", "left"),
        ("r", "right"),
    ):
        rest = text.removeprefix(front)
        found = f"{side}_{_SIDED.get(rest, rest)}"
        if rest != text and found in IMAGE_JOINTS.names:
            return found
    return text


def _plain(name: str) -> str:
    return str(name).strip().lower().replace(" ", "_").replace("-", "_")


def odd_order(people: np.ndarray, layout: str) -> str | None:
    """Whether people seem to be written in another order of joints than `layout`, and which. people: as of `likely_layout`; those with
    joints in the corner, where nobody has them, do not count."""
    likely = likely_layout(people[~in_the_corner(people[..., :2], people[..., 2] > 0)], layout)
    if likely != layout:
        return f"the joints look like {likely} and not {layout}; -o layout={likely} reads those"
    return None


def likely_layout(people: np.ndarray, layout: str) -> str:
    """The order of joints that people seem to be written in: `layout`, unless another makes their bones clearly shorter.

    people: (P, N, 3) x, y, confidence as they lie in the files, zeros where a joint is not seen.
    """
    shares = {name: bone_share(people, names) for name, names in LAYOUTS.items()}
    upside_down = _head_below(people, LAYOUTS[layout])
    if not np.isfinite(shares[layout]) and not (upside_down and np.isfinite(min(shares.values()))):
        return layout  # too little is seen of them to tell
    seen = people[..., 2] > 0
    alike = [name for name in LAYOUTS if shares[name] <= 1.02 * min(shares.values())]
    whole = [name for name in alike if seen[:, len(LAYOUTS[name]) :].any(1).mean() <= 0.1]  # no joint behind its last
    # padded with zeros, a short order is the start of a longer one
    best = min(whole or alike, key=lambda name: len(LAYOUTS[name]))
    return best if shares[best] < CLEARLY_SHORTER * shares[layout] else layout


def _head_below(people: np.ndarray, names: Sequence[str]) -> bool:
    """Whether the joint that would be the top of the head lies as far from the nose as the hips do, in most people."""
    if not {"nose", "head_top"} <= set(names) or len(names) > people.shape[1]:
        return False
    index = [names.index(name) for name in ("nose", "head_top", "left_hip", "right_hip")]
    nose, top, left, right = people[:, index].swapaxes(0, 1)
    known = (people[:, index, 2] > 0).all(1)
    away = np.linalg.norm(top[:, :2] - nose[:, :2], axis=-1)
    hips = np.linalg.norm((left + right)[:, :2] / 2 - nose[:, :2], axis=-1)
    return bool(known.any() and (away > 0.7 * hips)[known].mean() > 0.5)


def bone_share(people: np.ndarray, names: Sequence[str], least: int = 6) -> float:
    """Mean length of the bones over the extent of each person of whom `least` bones are seen, the median over people; infinite where
    nobody can have this order: too few bones, or a head below the hips."""
    seen = people[..., 2] > 0
    if len(names) > people.shape[1] or _head_below(people, names):
        return np.inf
    index = [(names.index(a), names.index(b)) for a, b in _BONES if a in names and b in names]
    i, j = np.array(index).T
    both = seen[:, i] & seen[:, j]
    lengths = np.linalg.norm(people[:, i, :2] - people[:, j, :2], axis=-1)
    xy = np.where(seen[..., None], people[..., :2], np.nan)
    enough = both.sum(1) >= least
    if not enough.any():
        return np.inf
    extent = np.linalg.norm(np.nanmax(xy[enough], 1) - np.nanmin(xy[enough], 1), axis=-1)
    share = (lengths * both).sum(1)[enough] / both.sum(1)[enough] / np.maximum(extent, 1e-9)
    return float(np.median(share))
