"""Synthetic persons for tests and benchmarks of the fit.

Their poses come from samplers that did not shape the fit's prior ("wide" draws every joint uniformly over an everyday range,
"capture" is the synthetic capture's own generator), and their bodies from people that ten betas describe only roughly.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from pipeline.body.capture import capture_shapes
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel
from pipeline.records import Camera, Instant, View
from pipeline.skeletons import SMPLX_22

FOCAL, IMAGE = 1000.0, 1000


@dataclass(frozen=True)
class Persons:
    """instants: what was seen. points: (n, J, 3) metres, the joint set's joints without noise. joints: (n, 55, 3), vertices: (n, V, 3)
    metres. pose: the true parameters by name, (n, k), without betas."""

    instants: list[Instant]
    points: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray
    pose: dict[str, np.ndarray]


def wide_poses(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, 63) axis-angle: every joint uniform over an everyday range."""
    pose = np.zeros((n, 21, 3))

    def row(name):
        return SMPLX_22.index(name) - 1

    def uniform(*ranges):
        return np.stack([rng.uniform(low, high, n) for low, high in ranges], 1)

    for name in ("spine1", "spine2", "spine3"):
        pose[:, row(name)] = uniform((-0.1, 0.35), (-0.2, 0.2), (-0.15, 0.15))
    for name in ("neck", "head"):
        pose[:, row(name)] = uniform((-0.3, 0.3), (-0.4, 0.4), (-0.2, 0.2))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        mirror = np.array([1.0, sign, sign])
        pose[:, row(f"{side}_hip")] = mirror * uniform((-1.6, 0.3), (-0.3, 0.3), (-0.1, 0.5))
        pose[:, row(f"{side}_knee")] = uniform((0, 1.9), (-0.05, 0.05), (-0.05, 0.05))
        pose[:, row(f"{side}_ankle")] = uniform((-0.4, 0.4), (-0.2, 0.2), (-0.2, 0.2))
        pose[:, row(f"{side}_collar")] = mirror * uniform((-0.05, 0.05), (-0.15, 0.15), (-0.1, 0.2))
        angles = uniform((-1.6, 0.3), (-1.4, 1.0), (-0.5, 0.5)) * np.array([sign, sign, 1.0])
        pose[:, row(f"{side}_shoulder")] = Rotation.from_euler("YZX", angles).as_rotvec()
        pose[:, row(f"{side}_elbow")] = mirror * uniform((-0.4, 0.4), (-2.2, 0), (-0.05, 0.05))
        pose[:, row(f"{side}_wrist")] = uniform((-0.3, 0.3), (-0.3, 0.3), (-0.4, 0.4))
    return pose.reshape(n, 63)


def capture_poses(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, 63) axis-angle: what the synthetic capture's people do."""
    from pipeline.sources.synthetic import poses, repertoire

    bank = repertoire.make_arm_bank(rng, 4000)
    actions = list(repertoire.REPERTOIRES)
    drawn = [
        repertoire.sample_pose(rng, bank, actions[rng.integers(len(actions))], bool(rng.random() < 0.5))
        for _ in range(n)
    ]
    rotations = poses.pose_rotations(np.stack(drawn))
    return Rotation.from_matrix(rotations[:, 1:22].reshape(-1, 3, 3)).as_rotvec().reshape(n, 63)


POSES = {"wide": wide_poses, "capture": capture_poses}


def make_persons(
    body: BodyModel,
    n: int,
    seed: int,
    joint_set: str,
    poses: str = "wide",
    subjects: int = 0,
    views: int = 1,
    noise_px: float = 1.0,
    noise_3d: float | None = None,
    as_annotated: bool = True,
) -> Persons:
    """n persons 3.5 to 6 m away, facing all ways, seen by `views` cameras around them.

    subjects: so many people take turns (0: everyone is another, and nobody is named). noise_3d: metres an axis; also gives 3D joints.
    as_annotated: where the joints lie, see `keypoint_map`.
    """
    rng = np.random.default_rng(seed)
    shapes = capture_shapes()
    people = rng.permutation(len(shapes))[: subjects or n]
    who = np.arange(n) % len(people)
    upright = Rotation.from_matrix(np.diag([1.0, -1.0, -1.0]))
    orient = [
        (
            Rotation.from_euler("x", rng.normal(0, 0.15))
            * upright
            * Rotation.from_euler("y", rng.uniform(-np.pi, np.pi))
        ).as_rotvec()
        for _ in range(n)
    ]
    pose = {
        "global_orient": np.stack(orient),
        "body_pose": POSES[poses](rng, n),
        "transl": np.stack([rng.normal(0, 0.4, n), rng.normal(0, 0.2, n), rng.uniform(3.5, 6, n)], 1),
    }
    vertices, joints = np.zeros((n, body.n_vertices, 3)), np.zeros((n, 55, 3))
    for k, person in enumerate(people):
        mine = who == k
        tensors = {name: torch.as_tensor(value[mine], dtype=torch.float32) for name, value in pose.items()}
        v, j = shapes.body(body, int(person)).pose(tensors)
        vertices[mine], joints[mine] = v.numpy(), j.numpy()
    points = keypoint_map(body, joint_set, as_annotated)(joints, vertices)
    instants = []
    for i in range(n):
        subject = f"P{who[i]}" if subjects else None
        seen = tuple(_view(rng, f"{i:06d}", v, views, points[i], noise_px) for v in range(views))
        joints_3d = None if noise_3d is None else points[i] + rng.normal(0, noise_3d, points[i].shape)
        valid = None if noise_3d is None else np.ones(len(points[i]), bool)
        instants.append(Instant(f"{i:06d}", subject, "", i, joint_set, seen, joints_3d, valid, has_world=views > 1))
    return Persons(instants, points, joints, vertices, pose)


def _view(rng: np.random.Generator, name: str, k: int, count: int, points: np.ndarray, noise_px: float) -> View:
    """The one camera of a monocular person, or the k-th of `count` around it."""
    R, t = np.eye(3), np.zeros(3)
    if count > 1:
        R = Rotation.from_euler("y", 2 * np.pi * k / count + 0.35).as_matrix()
        t = np.array([0, 0, 4.5]) - R @ points.mean(0)
    K = np.array([[FOCAL, 0, IMAGE / 2], [0, FOCAL, IMAGE / 2], [0, 0, 1.0]])
    seen = points @ R.T + t
    pixels = seen[:, :2] / seen[:, 2:] * FOCAL + IMAGE / 2 + rng.normal(0, noise_px, (len(points), 2))
    low, high = pixels.min(0), pixels.max(0)
    return View(
        f"{name}/{k}", str(k), Camera(K, R, t, IMAGE, IMAGE), "", np.r_[low, high - low], pixels, np.ones(len(points))
    )
