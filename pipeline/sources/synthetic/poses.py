"""Poses: a vector of joint angles with limits, and the way from it to SMPL-X.

A pose is a vector of the angles in LIMITS. Motion interpolates that vector, and the limits are a box, so every moment between
two allowed poses is allowed. Angles are given for the left side's sense of turning and mirrored for the right.

The upper arm's direction is (spread, swing): `spread` is the angle from the T-pose's sideways direction and `swing` turns around
it, -pi/2 down, 0 forward, pi/2 up. Thighs are a swing (flexion, abduction) and a twist; elbows and knees are hinges.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.skeletons import SMPLX_55

CENTRE = {
    "tilt": (-0.9, 0.9),
    "roll": (-0.35, 0.35),
    "bend": (-0.45, 1.3),
    "side": (-0.55, 0.55),
    "turn": (-0.8, 0.8),
    "neck_bend": (-0.45, 0.55),
    "neck_side": (-0.35, 0.35),
    "neck_turn": (-0.9, 0.9),
    "jaw": (0.0, 0.3),
}
SIDED = {
    "shrug": (-0.12, 0.35),
    "collar": (-0.2, 0.3),
    "spread": (0.15, 2.0),
    "swing": (-2.3, 2.0),
    "arm_twist": (-1.5, 1.3),
    "elbow": (0.0, 2.45),
    "pronation": (-0.9, 0.9),
    "wrist": (-0.7, 0.7),
    "wrist_side": (-0.3, 0.3),
    "grip": (0.0, 1.3),
    "flexion": (-0.45, 1.9),
    "abduction": (-0.2, 0.95),
    "leg_twist": (-0.5, 0.85),
    "knee": (0.0, 2.35),
    "ankle": (-0.4, 0.75),
    "ankle_side": (-0.25, 0.25),
}
# Name -> (least, greatest) angle in radians.
LIMITS = dict(CENTRE) | {f"{side}_{name}": limits for side in ("left", "right") for name, limits in SIDED.items()}
NAMES = tuple(LIMITS)
LOW, HIGH = (np.array([LIMITS[name][k] for name in NAMES]) for k in (0, 1))
INDEX = {name: k for k, name in enumerate(NAMES)}
_JOINT = {name: k for k, name in enumerate(SMPLX_55.names)}


def neutral_pose() -> np.ndarray:
    """Standing with the arms a little away from the body: no part touches another."""
    pose = {name: 0.0 for name in NAMES}
    for side in ("left", "right"):
        pose |= {f"{side}_spread": 1.15, f"{side}_swing": -1.5, f"{side}_elbow": 0.25, f"{side}_abduction": 0.12}
    return np.array([pose[name] for name in NAMES])


def pose_rotations(poses: np.ndarray) -> np.ndarray:
    """(N, P) poses -> (N, 55, 3, 3) rotations of SMPL-X's joints; the pelvis holds the tilt and roll but no heading."""
    n = len(poses)
    get = {name: poses[:, k] for name, k in INDEX.items()}
    zero = np.zeros(n)
    vectors = np.zeros((n, 55, 3))
    spine = np.stack([get["bend"], get["turn"], get["side"]], -1)
    for joint, share in (("spine1", 0.4), ("spine2", 0.3), ("spine3", 0.3)):
        vectors[:, _JOINT[joint]] = share * spine
    neck = np.stack([get["neck_bend"], get["neck_turn"], get["neck_side"]], -1)
    vectors[:, _JOINT["neck"]], vectors[:, _JOINT["head"]] = 0.5 * neck, 0.5 * neck
    vectors[:, _JOINT["jaw"], 0] = get["jaw"]
    vectors[:, 0] = np.stack([get["tilt"], zero, get["roll"]], -1)
    twists = {}
    for side in ("left", "right"):
        mirror = np.array([1, 1, 1] if side == "left" else [1, -1, -1])
        g = {name: get[f"{side}_{name}"] for name in SIDED}
        swings = {
            "collar": (zero, -g["collar"], g["shrug"]),
            "shoulder": (zero, -g["spread"] * np.cos(g["swing"]), g["spread"] * np.sin(g["swing"])),
            "elbow": (zero, -g["elbow"], zero),
            "wrist": (zero, g["wrist_side"], -g["wrist"]),
            "hip": (-g["flexion"], zero, g["abduction"]),
            "knee": (g["knee"], zero, zero),
            "ankle": (g["ankle"], zero, g["ankle_side"]),
        }
        for joint, swing in swings.items():
            vectors[:, _JOINT[f"{side}_{joint}"]] = np.stack(swing, -1) * mirror
        for finger in ("index", "middle", "pinky", "ring"):
            for k in (1, 2, 3):
                vectors[:, _JOINT[f"{side}_{finger}{k}"], 2] = -g["grip"] * mirror[2]
        twists[f"{side}_shoulder"] = np.stack([g["arm_twist"], zero, zero], -1) * mirror
        twists[f"{side}_elbow"] = np.stack([g["pronation"], zero, zero], -1) * mirror
        twists[f"{side}_hip"] = np.stack([zero, g["leg_twist"], zero], -1) * mirror
    rotations = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(n, 55, 3, 3)
    for joint, twist in twists.items():
        rotations[:, _JOINT[joint]] = rotations[:, _JOINT[joint]] @ Rotation.from_rotvec(twist).as_matrix()
    return rotations
