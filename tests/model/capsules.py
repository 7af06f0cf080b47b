"""Shards of stick figures: skeletons whose bones are capsules, so that distances are exact and pictures are cheap.

They go through the real shard writer. A small network can learn them in seconds: every limb has a colour of its own.
"""

from pathlib import Path

import cv2
import numpy as np

from pipeline.lattice import to_lattice
from pipeline.records import DATASET_JOINT, PARAMETER_SIZES, BodyParameters, FieldSamples
from pipeline.shards.format import J, ShardHeader, ShardView
from pipeline.shards.run_json import write_run
from pipeline.shards.store import write_shard
from pipeline.skeletons import FIELD_JOINTS
from tests.pipeline.shard_fakes import make_record

RADIUS = 0.06  # metres
POOL, VOTERS, CROP, SIZE = 1024, 32, 64, 80
BONE = {
    "hip": 0.12,
    "knee": 0.42,
    "ankle": 0.42,
    "spine": 0.25,
    "neck": 0.25,
    "nose": 0.12,
    "head_top": 0.12,
    "shoulder": 0.16,
    "elbow": 0.27,
    "wrist": 0.25,
}
REST = {
    "hip": (1, 0.2),
    "knee": (0.1, 1),
    "ankle": (0, 1),
    "spine": (0, -1),
    "neck": (0, -1),
    "nose": (0, -1),
    "head_top": (0, -1),
    "shoulder": (1, 0),
    "elbow": (0.6, 0.8),
    "wrist": (0.3, 0.9),
}
COLOURS = np.random.default_rng(3).integers(40, 255, (J, 3))


def pose(rng: np.random.Generator) -> np.ndarray:
    """(J, 3) metres, root-relative: a skeleton with turned limbs, turned about the vertical by up to 60 degrees."""
    joints = np.zeros((J, 3))
    for parent, child in FIELD_JOINTS.bones:
        name = FIELD_JOINTS.names[child]
        kind = name.split("_", 1)[1] if name.startswith(("left_", "right_")) else name
        side = -1 if name.startswith("right_") else 1
        x, y = REST[kind]
        direction = np.array([side * x, y, 0.0]) + rng.normal(0, 0.35, 3) * (
            kind in ("knee", "ankle", "elbow", "wrist")
        )
        joints[child] = joints[parent] + BONE[kind] * direction / np.linalg.norm(direction)
    yaw = rng.uniform(-np.pi / 3, np.pi / 3)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    return (joints @ turn.T).astype(np.float32)


def distance(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(N,) signed distance, metres, of (N, 3) points to the union of the capsules (exact outside)."""
    best = np.full(len(points), np.inf)
    for parent, child in FIELD_JOINTS.bones:
        a, b = joints[parent], joints[child]
        along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - a - along[:, None] * (b - a), axis=1))
    return best - RADIUS


def draw(joints: np.ndarray, root: np.ndarray, K: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: the capsules, far ones first, on a plain ground of random colour."""
    image = np.full((SIZE, SIZE, 3), rng.integers(0, 90, 3), np.uint8)
    seen = joints + root
    pixels = seen[:, :2] / seen[:, 2:] * K[0, 0] + K[0, 2]
    for parent, child in sorted(FIELD_JOINTS.bones, key=lambda bone: -seen[list(bone), 2].mean()):
        ends = [tuple(np.round(p * 16).astype(int).tolist()) for p in pixels[[parent, child]]]
        width = max(1, round(2 * RADIUS * K[0, 0] / seen[child, 2]))
        cv2.line(image, *ends, COLOURS[child].tolist(), width, cv2.LINE_AA, 4)
    return image


def make_view(number: int, split: str, subject: str, action: str = "Walking", **changes) -> ShardView:
    rng = np.random.default_rng([11, number])
    joints = to_lattice(pose(rng)) * 1e-4
    root = np.array([*rng.uniform(-0.1, 0.1, 2), rng.uniform(3.5, 5)])
    f = CROP * root[2] / 2.0
    K = np.array([[f, 0, (SIZE - 1) / 2], [0, f, (SIZE - 1) / 2], [0, 0, 1.0]])
    bone = np.array(FIELD_JOINTS.bones)[rng.integers(0, J - 1, POOL // 2)]
    near = joints[bone[:, 0]] + rng.random((POOL // 2, 1)) * (joints[bone[:, 1]] - joints[bone[:, 0]])
    near = near + rng.normal(0, RADIUS, near.shape)
    cube = rng.uniform(-1, 1, (POOL - POOL // 2, 3))
    points = to_lattice(rng.permutation(np.concatenate([near, cube])))
    metres = points * 1e-4
    sdf = distance(metres, joints)
    far = np.where(np.abs(sdf) < 0.08, 0, 10)[:, None]
    voters = np.argsort(np.linalg.norm(metres[:, None] - joints, axis=-1) + far, 0)[:VOTERS].T.astype(np.uint16)
    view_id = f"{subject}/{action}/{number:06d}/1"
    samples = FieldSamples(view_id, points, to_lattice(sdf), voters)
    seen = joints + root
    values = dict(
        id=view_id,
        instant_id=view_id[:-2],
        split=split,
        subject=subject,
        action=action,
        camera="1",
        frame=number,
        image_path=f"{number}.jpg",
        K=K,
        R_crop=np.eye(3),
        K_source=K,
        distortion=np.zeros(5),
        box=np.array([0.0, 0, SIZE, SIZE]),
        root=root,
        joints=joints.astype(np.float32),
        joints_valid=np.ones(J, bool),
        joints_source=np.full(J, DATASET_JOINT, np.uint8),
        joints_2d=(seen[:, :2] / seen[:, 2:] * f + K[0, 2]).astype(np.float32),
        joints_2d_valid=np.ones(J, bool),
        is_3d=True,
        has_world=True,
        camera_assumed=False,
        image=cv2.imencode(".jpg", draw(joints, root, K, rng)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes(),
        fit=BodyParameters(**{n: np.zeros(k) for n, k in PARAMETER_SIZES.items()}),
        fit_joints=(joints + 0.01).astype(np.float32),
        fit_error_mm=5.0,
        reprojection_px=1.0,
        fit_valid=True,
        samples=samples,
    )
    return ShardView(**(values | changes))


def write_folder(path: Path, views: list[ShardView], per_shard: int = 12, **changes) -> Path:
    """A folder as preprocess leaves it."""
    path.mkdir(parents=True, exist_ok=True)
    header = dict(
        run_id="run-a",
        config={},
        code_commit="0",
        source="capsules",
        body_model="none",
        body_sha256="0" * 64,
        sdf_backend="exact",
        sdf_sign_rule="exact",
        offsets="voters",
        crop_px=CROP,
        size=SIZE,
        pool=POOL,
        voters=VOTERS,
    )
    records = [
        write_shard(
            path / f"shard-{k // per_shard:05d}.h5", ShardHeader(**(header | changes)), views[k : k + per_shard]
        )
        for k in range(0, len(views), per_shard)
    ]
    write_run(path, make_record(records, source="capsules"))
    return path


def make_folder(path: Path, train: int = 32, validation: int = 6, test: int = 8) -> Path:
    """A small capture of three subjects."""
    views = [make_view(n, "train", "S1") for n in range(train)]
    views += [make_view(1000 + n, "validation", "S8") for n in range(validation)]
    views += [make_view(2000 + n, "test", "S9", "Sitting" if n % 2 else "Walking") for n in range(test)]
    return write_folder(path, views)


def tiny_config(model: str = "nvf", **train):
    """A network of a few thousand weights that takes these crops."""
    from model.training.config import config_from_dict, load_config, merge

    settings = {
        "steps": 12,
        "batch_size": 4,
        "evaluations": 2,
        "evaluate_views": 3,
        "log_every": 2,
        "save_every": 4,
        "warmup": 2,
        "workers": 0,
        "average": 0.9,
    }
    of_fields = {
        "mlp": {"hidden": (32, 32)},
        "truncation": 0.3,
        "search": {"cells": 8, "most": 64, "nearest": 16},
    }
    head = {"nvf": of_fields, "nosdf": of_fields, "nvf-published": of_fields, "volumetric": {"slices": 8}}
    changes = {
        "network": {
            "crop_px": CROP,
            "encoder": {"channels": 8, "context": 16},
            "head": head.get(model, {}),
        },
        "train": settings | train,
        "draw": {"points": 96},
    }
    return config_from_dict(merge(load_config("scratch", model).to_dict(), changes))
