"""The labels of a batch in the canonical frame (`frame.py`)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.data.batch import Batch
from model.device import draw_rows
from model.networks.frame import pixels_to_crop, reference_depth, to_crop


@dataclass(frozen=True)
class Targets:
    """Labels of a batch in the canonical frame.

    depth: (B,) D0. scale: (B,) s, 1 where unknown. scale_valid: (B,). points: (B, N, 3) crop coordinates.
    point_valid: (B, N) bool, the point carries labels. distance: (B, N) m, canonical, not truncated.
    joints: (B, J, 3) crop coordinates. joints_valid: (B, J) bool, 3D is known. joints_2d: (B, J, 2) crop coordinates.
    joints_2d_valid: (B, J) bool.
    """

    depth: Tensor
    scale: Tensor
    scale_valid: Tensor
    points: Tensor
    point_valid: Tensor
    distance: Tensor
    joints: Tensor
    joints_valid: Tensor
    joints_2d: Tensor
    joints_2d_valid: Tensor


def make_targets(batch: Batch, side: int, generator: torch.Generator | None = None) -> Targets:
    """A batch's labels at canonical scale, each view by its own s.

    A view without a usable mesh gets points drawn uniformly in the volume: they carry no distance, but the joints decoded
    from them can be supervised. Without measured joints and without a mesh the scale is unknown too.
    """
    depth = reference_depth(batch.K, side)
    known = batch.is_3d | batch.mesh_valid
    scale = torch.where(known, depth / torch.where(known, batch.root[:, 2], depth), 1.0)
    canonical = scale[:, None, None] * (batch.points + batch.root[:, None])
    meshed = batch.mesh_valid[:, None]
    anywhere = draw_rows(torch.rand, batch.points.shape, generator, batch.points.device) * 2 - 1
    points = torch.where(meshed[..., None], to_crop(canonical, depth), anywhere)
    inside = (points.abs() <= 1).all(-1)
    joints = to_crop(scale[:, None, None] * (batch.joints + batch.root[:, None]), depth)
    return Targets(
        depth=depth,
        scale=scale,
        scale_valid=known,
        points=points,
        point_valid=batch.point_valid & meshed & inside,
        distance=scale[:, None] * batch.sdf,
        joints=torch.where(known[:, None, None], joints, 0.0),
        joints_valid=batch.joints_valid & known[:, None],
        joints_2d=pixels_to_crop(batch.joints_2d, side),
        joints_2d_valid=batch.joints_2d_valid,
    )
