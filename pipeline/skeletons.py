"""Joint sets: names, parents, mirror pairs, roots and the subsets that protocols score.

The only source of joint counts and orders. A joint set says what the joints are called; where they lie on a body model is
`pipeline.body.keypoints`. Joints of different sets are matched by name.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class JointSet:
    """Named joints in a fixed order.

    names: J joint names. parents: J indices of parents, -1 for the top of a tree. root: name of the joint that root-relative
    coordinates are relative to (None where the set has no 3D root). elsewhere: those of a body model's joints that lie some
    centimetres from where markers and annotators have the joint of the same name. noise: how far annotators disagree about
    each joint in an image, relative to the surest; empty where all count alike.

    A new set needs no more than its entry here: a joint lies on the body where `pipeline.body.keypoints` has its name.
    """

    name: str
    names: tuple[str, ...]
    parents: tuple[int, ...]
    root: str | None = None
    elsewhere: tuple[str, ...] = ()
    noise: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.noise) in (0, len(self.names)), self.name
        assert len(self.names) == len(self.parents) == len(set(self.names)), self.name
        assert self.root is None or self.root in self.names, self.name
        assert set(self.elsewhere) <= set(self.names), self.name

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        return self.names.index(name)

    @cached_property
    def root_index(self) -> int:
        assert self.root is not None, f"{self.name} has no root"
        return self.index(self.root)

    @cached_property
    def flip(self) -> np.ndarray:
        """(J,) index of the joint that each joint becomes in a mirrored image."""
        return np.array([self.index(mirror_name(name)) for name in self.names])

    @cached_property
    def relative_noise(self) -> np.ndarray:
        """(J,) how far annotators disagree about each joint, relative to their mean; ones where all count alike."""
        return np.array(self.noise) / np.mean(self.noise) if self.noise else np.ones(len(self))

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) pairs, for drawing and bone lengths."""
        return tuple((p, j) for j, p in enumerate(self.parents) if p >= 0)

    def indices(self, names: tuple[str, ...]) -> np.ndarray:
        return np.array([self.index(name) for name in names], int)


# What every picture draws a person's own left, right and middle in, RGB.
SIDE_COLOURS = {"left": (59, 142, 255), "right": (255, 122, 51), "middle": (76, 209, 107)}


def mirror_name(name: str) -> str:
    """'left_knee' -> 'right_knee'; names without a side are their own mirror image."""
    if name.startswith("left_"):
        return "right_" + name[len("left_") :]
    if name.startswith("right_"):
        return "left_" + name[len("right_") :]
    return name


def side_of(name: str) -> str:
    """ "left", "right" or "middle", the keys of SIDE_COLOURS."""
    return name.split("_")[0] if name.startswith(("left_", "right_")) else "middle"


def match_joints(source: JointSet, target: JointSet) -> tuple[np.ndarray, np.ndarray]:
    """Joints that both sets name and have at the same place: (indices into source, indices into target), in target order."""
    apart = set(source.elsewhere) ^ set(target.elsewhere)
    shared = [name for name in target.names if name in source.names and name not in apart]
    return source.indices(tuple(shared)), target.indices(tuple(shared))


def _joint_set(
    name: str,
    tree: list[tuple[str, str | None]],
    root: str | None = None,
    elsewhere: tuple[str, ...] = (),
    noise: tuple[float, ...] = (),
) -> JointSet:
    names = tuple(joint for joint, _ in tree)
    parents = tuple(-1 if parent is None else names.index(parent) for _, parent in tree)
    return JointSet(name, names, parents, root, elsewhere, noise)


# Human3.6M's 17 joints in the order of 3DMPPE / I2L-MeshNet; the root is the pelvis. "spine" is their Torso (H36M Spine1),
# "neck" H36M's Neck, "nose" its Head and "head_top" its end site.
HUMAN36M = _joint_set(
    "human36m_17",
    [
        ("pelvis", None),
        ("right_hip", "pelvis"),
        ("right_knee", "right_hip"),
        ("right_ankle", "right_knee"),
        ("left_hip", "pelvis"),
        ("left_knee", "left_hip"),
        ("left_ankle", "left_knee"),
        ("spine", "pelvis"),
        ("neck", "spine"),
        ("nose", "neck"),
        ("head_top", "nose"),
        ("left_shoulder", "neck"),
        ("left_elbow", "left_shoulder"),
        ("left_wrist", "left_elbow"),
        ("right_shoulder", "neck"),
        ("right_elbow", "right_shoulder"),
        ("right_wrist", "right_elbow"),
    ],
    root="pelvis",
)

# Its joints that lie 7 cm and more from where annotators of images have those of the same name.
HUMAN36M_ELSEWHERE = ("nose", "left_hip", "right_hip")

# MSCOCO's 17 keypoints, in the dataset's order. How far annotators disagree about them, relative to the eyes: the deviations
# of the dataset's own score (OKS, cocoeval.py) over 0.025. Detectors that were trained on them inherit it.
_COCO_TREE: list[tuple[str, str | None]] = [
    ("nose", None),
    ("left_eye", "nose"),
    ("right_eye", "nose"),
    ("left_ear", "left_eye"),
    ("right_ear", "right_eye"),
    ("left_shoulder", "nose"),
    ("right_shoulder", "nose"),
    ("left_elbow", "left_shoulder"),
    ("right_elbow", "right_shoulder"),
    ("left_wrist", "left_elbow"),
    ("right_wrist", "right_elbow"),
    ("left_hip", "left_shoulder"),
    ("right_hip", "right_shoulder"),
    ("left_knee", "left_hip"),
    ("right_knee", "right_hip"),
    ("left_ankle", "left_knee"),
    ("right_ankle", "right_knee"),
]
_COCO_NOISE = (1.0, 1.0, 1.0, 1.4, 1.4, 3.2, 3.2, 2.9, 2.9, 2.5, 2.5, 4.3, 4.3, 3.5, 3.5, 3.6, 3.6)
COCO = _joint_set("coco_17", _COCO_TREE, noise=_COCO_NOISE)

# Whatever else people label in images: MSCOCO's, and the joints that other annotators and detectors name. A dataset without
# some of them leaves those unseen. "neck" lies between the shoulders, "upper_neck" (PoseTrack's head_bottom) below the chin.
IMAGE_JOINTS = _joint_set(
    "image_joints",
    [
        *_COCO_TREE,
        ("pelvis", None),
        ("spine", None),
        ("neck", None),
        ("upper_neck", "nose"),
        ("head_top", "nose"),
        *(
            (f"{side}_{point}", f"{side}_ankle")
            for side in ("left", "right")
            for point in ("big_toe", "small_toe", "heel")
        ),
    ],
)


# OpenPose BODY_25.
OPENPOSE_25 = _joint_set(
    "openpose_25",
    [
        ("nose", "neck"),
        ("neck", "pelvis"),
        ("right_shoulder", "neck"),
        ("right_elbow", "right_shoulder"),
        ("right_wrist", "right_elbow"),
        ("left_shoulder", "neck"),
        ("left_elbow", "left_shoulder"),
        ("left_wrist", "left_elbow"),
        ("pelvis", None),
        ("right_hip", "pelvis"),
        ("right_knee", "right_hip"),
        ("right_ankle", "right_knee"),
        ("left_hip", "pelvis"),
        ("left_knee", "left_hip"),
        ("left_ankle", "left_knee"),
        ("right_eye", "nose"),
        ("left_eye", "nose"),
        ("right_ear", "right_eye"),
        ("left_ear", "left_eye"),
        ("left_big_toe", "left_ankle"),
        ("left_small_toe", "left_big_toe"),
        ("left_heel", "left_ankle"),
        ("right_big_toe", "right_ankle"),
        ("right_small_toe", "right_big_toe"),
        ("right_heel", "right_ankle"),
    ],
    root="pelvis",
)

_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
_SMPLX_BODY = [
    ("pelvis", None),
    ("left_hip", "pelvis"),
    ("right_hip", "pelvis"),
    ("spine1", "pelvis"),
    ("left_knee", "left_hip"),
    ("right_knee", "right_hip"),
    ("spine2", "spine1"),
    ("left_ankle", "left_knee"),
    ("right_ankle", "right_knee"),
    ("spine3", "spine2"),
    ("left_foot", "left_ankle"),
    ("right_foot", "right_ankle"),
    ("neck", "spine3"),
    ("left_collar", "spine3"),
    ("right_collar", "spine3"),
    ("head", "neck"),
    ("left_shoulder", "left_collar"),
    ("right_shoulder", "right_collar"),
    ("left_elbow", "left_shoulder"),
    ("right_elbow", "right_shoulder"),
    ("left_wrist", "left_elbow"),
    ("right_wrist", "right_elbow"),
]
_SMPLX_HANDS = [
    (f"{side}_{finger}{k}", f"{side}_wrist" if k == 1 else f"{side}_{finger}{k - 1}")
    for side in ("left", "right")
    for finger in _FINGERS
    for k in (1, 2, 3)
]

# Its hips are the thigh bones' heads, its shoulders the arm's (`pipeline.body.keypoints` has Human3.6M's on the same body).
_SMPLX_ELSEWHERE = ("pelvis", "left_hip", "right_hip", "neck", "left_shoulder", "right_shoulder")

# The 22 body joints of SMPL-X, and all 55 of its kinematic tree.
SMPLX_22 = _joint_set("smplx_22", _SMPLX_BODY, "pelvis", _SMPLX_ELSEWHERE)
SMPLX_55 = _joint_set(
    "smplx_55",
    [*_SMPLX_BODY, ("jaw", "head"), ("left_eye", "head"), ("right_eye", "head"), *_SMPLX_HANDS],
    "pelvis",
    _SMPLX_ELSEWHERE,
)
# SMPL's 24 joints (3DPW's `jointPositions`).
SMPL_24 = _joint_set(
    "smpl_24", _SMPLX_BODY + [("left_hand", "left_wrist"), ("right_hand", "right_wrist")], "pelvis", _SMPLX_ELSEWHERE
)

_OPENPOSE_FINGERS = ("thumb", "index", "middle", "ring", "pinky")


def _openpose_hand(side: str) -> JointSet:
    wrist = f"{side}_wrist"
    tree: list[tuple[str, str | None]] = [(wrist, None)]
    for finger in _OPENPOSE_FINGERS:
        chain = [wrist, *(f"{side}_{finger}{k}" for k in (1, 2, 3)), f"{side}_{finger}_tip"]
        tree += [(joint, parent) for parent, joint in zip(chain, chain[1:], strict=False)]
    return _joint_set(f"openpose_{side}_hand_21", tree)


def _landmark_face() -> JointSet:
    """OpenPose's face keypoints 17..67: without the jaw line before them and the pupils after them. A side is the person's own."""
    names = [f"right_brow{k}" for k in (1, 2, 3, 4, 5)] + [f"left_brow{k}" for k in (5, 4, 3, 2, 1)]
    names += [f"nose_ridge{k}" for k in (1, 2, 3, 4)]
    names += ["right_nostril1", "right_nostril2", "nose_base", "left_nostril2", "left_nostril1"]
    names += [
        f"right_eye_{place}" for place in ("outer", "top_outer", "top_inner", "inner", "bottom_inner", "bottom_outer")
    ]
    names += [
        f"left_eye_{place}" for place in ("inner", "top_inner", "top_outer", "outer", "bottom_outer", "bottom_inner")
    ]
    names += [
        "right_mouth_corner",
        "right_lip_top2",
        "right_lip_top1",
        "lip_top",
        "left_lip_top1",
        "left_lip_top2",
        "left_mouth_corner",
        "left_lip_bottom2",
        "left_lip_bottom1",
        "lip_bottom",
        "right_lip_bottom1",
        "right_lip_bottom2",
        "right_mouth_inner",
        "right_inner_lip_top",
        "inner_lip_top",
        "left_inner_lip_top",
        "left_mouth_inner",
        "left_inner_lip_bottom",
        "inner_lip_bottom",
        "right_inner_lip_bottom",
    ]
    return _joint_set("openpose_face_51", [(name, None) for name in names])


# OpenPose's hands (wrist, then thumb to pinky with four points each) and the 51 inner points of its face, in OpenPose's order.
# A hand's mirror image is the other hand's set, so `flip` is defined on the face only.
OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND = _openpose_hand("left"), _openpose_hand("right")
OPENPOSE_FACE = _landmark_face()

JOINT_SETS = {
    s.name: s
    for s in (
        HUMAN36M,
        COCO,
        IMAGE_JOINTS,
        OPENPOSE_25,
        SMPLX_22,
        SMPLX_55,
        SMPL_24,
        OPENPOSE_LEFT_HAND,
        OPENPOSE_RIGHT_HAND,
        OPENPOSE_FACE,
    )
}

# The joint set of every shard: what the field votes for, in this order.
FIELD_JOINTS = HUMAN36M

# The 14 joints that I2L-MeshNet, SPIN and their successors score: without pelvis, spine and nose.
HUMAN36M_14 = tuple(name for name in HUMAN36M.names if name not in ("pelvis", "spine", "nose"))
