"""What a mesh tells a field: the signed distance of labelled points, and which limb they belong to."""

import torch
import torch.nn.functional as F
from torch import Tensor

from model.device import over_processes
from model.networks.frame import to_canonical
from model.networks.losses import masked_mean
from model.networks.targets import Targets


def truncate(distance: Tensor, truncation: float) -> Tensor:
    """(...) m -> [-1, 1], the scale of the field's tanh. Only labels are clamped: clamping a prediction would kill its
    gradient where its sign is wrong.
    """
    return (distance / truncation).clamp(-1, 1)


def distance_loss(predicted: Tensor, targets: Targets, truncation: float, surface: float) -> Tensor:
    """L1 between the tanh output (B, N) and the truncated label, weighted from `surface` on the surface to 1 at the truncation."""
    label = truncate(targets.distance, truncation)
    weight = torch.where(targets.point_valid, surface + (1 - surface) * label.abs(), 0.0)
    error = torch.where(targets.point_valid, (predicted - label).abs(), 0.0)
    return (weight * error).sum() / over_processes(weight.sum(), surface)


def nearest_bone(
    points: Tensor, joints: Tensor, valid: Tensor, bones: tuple[tuple[int, int], ...]
) -> tuple[Tensor, Tensor]:
    """(B, N) index of the bone nearest to each canonical point (B, N, 3), as a segment between canonical joints (B, J, 3), metres; and
    (B, N) bool, whether one is known. valid: (B, J).
    """
    parents, children = (list(side) for side in zip(*bones, strict=True))
    start, along = joints[:, None, parents], (joints[:, children] - joints[:, parents])[:, None]
    offset = points[:, :, None] - start
    part = ((offset * along).sum(-1) / along.square().sum(-1).clamp(min=1e-8)).clamp(0, 1)
    known = (valid[:, parents] & valid[:, children])[:, None]
    distance = (offset - part[..., None] * along).norm(dim=-1).masked_fill(~known, torch.inf)
    return distance.argmin(-1), known.any(-1).expand(distance.shape[:2])


def limb_loss(logits: Tensor, targets: Targets, bones: tuple[tuple[int, int], ...], reach: float = 0.03) -> Tensor:
    """Cross entropy of the nearest bone, at labelled points inside the body or within `reach` metres of it. logits: (B, N, J - 1)."""
    points, joints = to_canonical(targets.points, targets.depth), to_canonical(targets.joints, targets.depth)
    limb, known = nearest_bone(points, joints, targets.joints_valid, bones)
    entropy = F.cross_entropy(logits.transpose(1, 2), limb, reduction="none")
    return masked_mean(entropy, known & targets.point_valid & (targets.distance < reach))
