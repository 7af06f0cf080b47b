"""Small scenes whose field is known in closed form: a body of balls and capsules about 17 joints, in Batch form."""

import torch

from model.data.batch import Batch
from model.networks.build import HEADS
from model.networks.encoders.unet import UNetSettings
from model.networks.frame import CANONICAL_SIDE
from model.networks.network import NetworkConfig
from model.networks.records import Statistics
from pipeline.skeletons import FIELD_JOINTS

RADIUS = 0.06
# Root-relative metres, crop axes: a standing person, arms out.
STANDING = torch.tensor(
    [
        [0, 0, 0],
        [-0.13, 0, 0],
        [-0.14, 0.45, 0],
        [-0.15, 0.88, 0],
        [0.13, 0, 0],
        [0.14, 0.45, 0],
        [0.15, 0.88, 0],
        [0, -0.25, 0],
        [0, -0.5, 0],
        [0, -0.6, -0.06],
        [0, -0.75, 0],
        [0.18, -0.48, 0],
        [0.42, -0.45, 0.05],
        [0.62, -0.5, -0.1],
        [-0.18, -0.48, 0],
        [-0.42, -0.45, 0.05],
        [-0.62, -0.5, -0.1],
    ],
    dtype=torch.float32,
)


def body_distance(points: torch.Tensor, joints: torch.Tensor) -> torch.Tensor:
    """(B, N) signed distance in metres of (B, N, 3) to capsules of RADIUS along the bones of joints (B, J, 3)."""
    parents, children = (list(side) for side in zip(*FIELD_JOINTS.bones, strict=True))
    a, b = joints[:, None, parents], joints[:, None, children]
    along = ((points[:, :, None] - a) * (b - a)).sum(-1) / (b - a).square().sum(-1)
    nearest = a + along.clamp(0, 1)[..., None] * (b - a)
    return (points[:, :, None] - nearest).norm(dim=-1).min(-1).values - RADIUS


def make_batch(views: int, points: int, side: int = 64, seed: int = 0) -> Batch:
    """Random poses near STANDING, random cameras, a spot of its own colour on every joint. Half the points are near the
    surface, half in the volume."""
    g = torch.Generator().manual_seed(seed)
    joints = STANDING + 0.08 * torch.randn(views, 17, 3, generator=g)
    joints = joints - joints[:, :1]
    root = torch.stack(
        [
            0.1 * torch.randn(views, generator=g),
            0.1 * torch.randn(views, generator=g),
            4 + torch.rand(views, generator=g),
        ],
        -1,
    )
    focal = side * root[:, 2] / (2.0 + 0.4 * torch.rand(views, generator=g))
    K = torch.zeros(views, 3, 3)
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, :2, 2] = (side - 1) / 2
    K[:, 2, 2] = 1
    bones = torch.tensor(FIELD_JOINTS.bones)
    pick = bones[torch.randint(len(bones), (views, points // 2), generator=g)]
    rows = torch.arange(views)[:, None]
    t = torch.rand(views, points // 2, 1, generator=g)
    middle = joints[rows, pick[..., 0]] * (1 - t) + joints[rows, pick[..., 1]] * t
    near = middle + RADIUS * torch.randn(middle.shape, generator=g)
    anywhere = (torch.rand(views, points - points // 2, 3, generator=g) * 2 - 1) * 0.9
    drawn = torch.cat([near, anywhere], 1)
    seen = drawn + root[:, None]
    pixels = seen[..., :2] / seen[..., 2:] * focal[:, None, None] + (side - 1) / 2
    image_joints = joints + root[:, None]
    joints_2d = image_joints[..., :2] / image_joints[..., 2:] * focal[:, None, None] + (side - 1) / 2
    yes = torch.ones(views, dtype=torch.bool)
    return Batch(
        image=spots(joints_2d, side),
        K=K,
        points=drawn,
        sdf=body_distance(drawn, joints),
        point_valid=((pixels > -0.5) & (pixels < side - 0.5)).all(-1),
        joints=joints,
        joints_valid=yes[:, None].expand(-1, 17),
        root=root,
        joints_2d=joints_2d,
        joints_2d_valid=yes[:, None].expand(-1, 17),
        is_3d=yes,
        mesh_valid=yes,
        view=torch.arange(views),
    )


def spots(joints_2d: torch.Tensor, side: int) -> torch.Tensor:
    """(B, 3, side, side) in [-1, 1]: a blurred spot at each of (B, J, 2) pixels."""
    colours = torch.rand(joints_2d.shape[1], 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    pixels = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="xy"), -1).float()
    far = (pixels - joints_2d[:, :, None, None]).square().sum(-1)
    return torch.einsum("bjhw,jc->bchw", torch.exp(-far / (2 * (side / 32) ** 2)), colours).clamp(-1, 1)


def statistics(batch: Batch, side: int = 64) -> Statistics:
    parents, children = (list(part) for part in zip(*FIELD_JOINTS.bones, strict=True))
    lengths = (batch.joints[:, children] - batch.joints[:, parents]).norm(dim=-1).mean(0)
    log_scale = (batch.K[:, 0, 0] * CANONICAL_SIDE / side / batch.root[:, 2]).log()
    return Statistics(
        batch.joints.mean(0), lengths, log_scale.mean().item(), log_scale.std().item() if len(batch) > 1 else 0.1
    )


def small_config(kind: str = "nvf", encoder=None, **head) -> NetworkConfig:
    """A network of any head; `head` are settings of it."""
    return NetworkConfig(
        encoder=encoder or UNetSettings(channels=16, context=32), head=HEADS[kind].Settings(**head), crop_px=64
    )
