"""Small shards and their run.json without a body model: random but consistent rows, for tests of what writes and reads them."""

import cv2
import numpy as np

from pipeline.lattice import to_lattice
from pipeline.records import DATASET_JOINT, PARAMETER_SIZES, BodyParameters, FieldSamples
from pipeline.shards.format import J, ShardHeader, ShardView
from pipeline.shards.run_json import RunRecord, ShardRecord, joined_hash

POOL, VOTERS, SIZE = 64, 4, 40


def make_header(**changes) -> ShardHeader:
    values = dict(
        run_id="run-a",
        config={"seed": 0},
        code_commit="0.1.0",
        source="fake",
        body_model="none",
        body_sha256="0" * 64,
        sdf_backend="fake",
        sdf_sign_rule="none",
        offsets="voters",
        crop_px=32,
        size=SIZE,
        pool=POOL,
        voters=VOTERS,
    )
    return ShardHeader(**(values | changes))


def make_view(name: str, seed: int = 0, with_mesh: bool = True, **changes) -> ShardView:
    rng = np.random.default_rng(seed)
    joints = rng.uniform(-0.8, 0.8, (J, 3)).astype(np.float32)
    joints[0] = 0
    root = np.array([0.0, 0.0, 4.0])
    points = to_lattice(rng.uniform(-1, 1, (POOL, 3)))
    voters = rng.integers(0, POOL, (J, VOTERS)).astype(np.uint16)
    samples = FieldSamples(name, points, rng.integers(-900, 9000, POOL).astype(np.int16), voters)
    image = cv2.imencode(".jpg", rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8))[1].tobytes()
    instant = name.rsplit("/", 1)[0]
    c = (SIZE - 1) / 2
    values = dict(
        id=name,
        instant_id=instant,
        split="train",
        subject="S1",
        action="Wälking",
        camera=name.rsplit("/", 1)[1],
        frame=seed,
        image_path=f"images/{name}.jpg",
        K=np.array([[60.0, 0, c], [0, 60.0, c], [0, 0, 1]]),
        R_crop=np.eye(3),
        K_source=np.eye(3),
        distortion=np.zeros(5),
        box=np.array([1.0, 2, 30, 40]),
        root=root,
        joints=joints,
        joints_valid=np.ones(J, bool),
        joints_source=np.full(J, DATASET_JOINT, np.uint8),
        joints_2d=rng.uniform(0, SIZE, (J, 2)).astype(np.float32),
        joints_2d_valid=np.ones(J, bool),
        is_3d=True,
        has_world=True,
        camera_assumed=False,
        image=image,
        fit=BodyParameters(**{n: rng.normal(size=k) for n, k in PARAMETER_SIZES.items()}) if with_mesh else None,
        fit_joints=joints,
        fit_error_mm=5.0,
        reprojection_px=float("nan"),
        fit_valid=with_mesh,
        samples=samples if with_mesh else None,
    )
    return ShardView(**(values | changes))


def make_views(n: int, first: int = 0) -> list[ShardView]:
    return [make_view(f"S1/walk/{i // 2:06d}/{i % 2 + 1}", seed=i) for i in range(first, first + n)]


def make_record(shards: list[ShardRecord], **changes) -> RunRecord:
    """The record of a finished run of these shards."""
    values = dict(
        run_id="run-a",
        state="complete",
        source="fake",
        root="/data",
        recorded=False,
        code_commit="0.1.0",
        joint_set="human36m_17",
        body_path=None,
        joint_regressor_path=None,
        config={"seed": 0},
        inputs={},
        subjects=None,
        betas={},
        layout=(),
        shards=tuple(shards),
        failed=(),
        supplied=0,
        rejects=(),
        views=sum(shard.views for shard in shards),
        content_hash=joined_hash(shards),
    )
    return RunRecord(**(values | changes))
