"""From anny's rest pose, arms lowered, to SMPL-X's: arms stretched sideways.

The arms are straightened by *inverting* linear blend skinning: the T-posed vertex is the one that
skinning carries back to the artist's.
So lowering the arms by the same angle, which most poses nearly do, gives back the shape as it was modelled, and the errors of
skinning fall on raised arms.
"""

import numpy as np

from pipeline.body.build.source import People
from pipeline.skeletons import SMPLX_55

# The joints that are turned, the joint each then points at, and along which axis.
STRAIGHTENED = {
    f"{side}_{joint}": (f"{side}_{child}", np.array([sign, 0.0, 0.0]))
    for side, sign in (("left", 1.0), ("right", -1.0))
    for joint, child in (("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "middle1"))
}


def stretch_arms(people: People, weights: np.ndarray) -> People:
    """The same people in SMPL-X's zero pose, the pelvis joint of each at the origin."""
    posed = [stretch_one(v, j, weights) for v, j in zip(people.vertices, people.joints, strict=True)]
    joints = np.stack([j for _, j in posed])
    origin = joints[:, :1].copy()
    return People(np.stack([v for v, _ in posed]) - origin, joints - origin)


def stretch_one(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3), (55, 3) of one body, arms straightened."""
    rotations, stretched = np.zeros((len(SMPLX_55), 3, 3)), np.zeros_like(joints)
    for j, name in enumerate(SMPLX_55.names):
        parent = SMPLX_55.parents[j]
        rotations[j] = np.eye(3) if parent < 0 else rotations[parent]
        stretched[j] = joints[j] if parent < 0 else stretched[parent] + rotations[parent] @ (joints[j] - joints[parent])
        if name in STRAIGHTENED:
            child, axis = STRAIGHTENED[name]
            rotations[j] = rotation_between(joints[SMPLX_55.index(child)] - joints[j], axis)
    # Skinning back, vertex by vertex: v = A x + b with A = sum_j w_j R_j^T, b = sum_j w_j (joint_j - R_j^T stretched_j).
    back = rotations.transpose(0, 2, 1)
    offsets = joints - np.einsum("jab,jb->ja", back, stretched)
    A = np.einsum("vj,jab->vab", weights, back)
    return np.linalg.solve(A, (vertices - weights @ offsets)[..., None])[..., 0], stretched


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(3, 3) smallest rotation that turns direction a into direction b (not opposite to it)."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    x, y, z = np.cross(a, b)
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + K + K @ K / (1 + a @ b)
