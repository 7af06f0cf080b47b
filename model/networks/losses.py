"""Losses that heads share. Each is a mean over what is valid: nothing valid gives zero with a gradient of zero, never NaN."""

import functools
import operator
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from model.device import over_processes
from model.networks.frame import HALF
from model.networks.targets import Targets


class Term(NamedTuple):
    """One named part of a loss: its value, and the weight with which it counts in the total."""

    value: Tensor
    weight: float


def added(parts: Iterable[Tensor]) -> Tensor:
    """The sum of at least one tensor, from the first on."""
    return functools.reduce(operator.add, parts)


def require_weights(settings: object) -> None:
    """ValueError when a loss weight of a settings record is negative."""
    for name, value in vars(settings).items():
        if not value >= 0:
            raise ValueError(f"loss weight {name} is {value}; it must not be below 0")


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values where mask (broadcast to it) holds; 0 where nothing does. Non-finite values outside do not matter.

    In a run of several processes the mean over them is the mean over the whole batch.
    """
    mask = mask.expand_as(values)
    return torch.where(mask, values, 0.0).sum() / over_processes(mask.sum(), 1)


def joint_loss(joints: Tensor, targets: Targets) -> Tensor:
    """L1 in metres on decoded joints (B, J, 3) in crop coordinates: depth where 3D is known, image coordinates wherever a
    joint is known in 3D or was marked in 2D.
    """
    flat = torch.where(targets.joints_valid[..., None], targets.joints[..., :2], targets.joints_2d)
    known = targets.joints_valid | targets.joints_2d_valid
    xy = (joints[..., :2] - flat).abs().sum(-1)
    z = (joints[..., 2] - targets.joints[..., 2]).abs()
    return HALF * (masked_mean(xy, known) + masked_mean(z, targets.joints_valid))


def heatmap_loss(logits: Tensor, targets: Targets, sigma: float = 1.0) -> Tensor:
    """Cross entropy between the spatial softmax of (B, J, h, w) and a Gaussian of `sigma` cells about each 2D joint."""
    h, w = logits.shape[-2:]
    xy = torch.where(targets.joints_valid[..., None], targets.joints[..., :2], targets.joints_2d)
    inside = (xy.abs() < 1).all(-1) & (targets.joints_valid | targets.joints_2d_valid)
    size = torch.tensor([w, h], dtype=xy.dtype, device=xy.device)
    centre = (xy + 1) * size / 2 - 0.5
    across = torch.arange(w, device=xy.device) - centre[..., :1]
    down = torch.arange(h, device=xy.device) - centre[..., 1:]
    gaussian = torch.exp(-(across.square()[:, :, None] + down.square()[..., None]) / (2 * sigma**2)).flatten(2)
    gaussian = gaussian / gaussian.sum(-1, keepdim=True).clamp(min=1e-6)
    entropy = -(gaussian * torch.log_softmax(logits.float().flatten(2), -1)).sum(-1)
    return masked_mean(entropy, inside)


def scale_loss(log_scale: Tensor, targets: Targets) -> Tensor:
    """|log s_hat - log s|, over views whose scale is known. log_scale: (B,)."""
    return masked_mean((log_scale - targets.scale.log()).abs(), targets.scale_valid)
