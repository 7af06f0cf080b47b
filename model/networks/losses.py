"""Losses, each a mean over what is valid, of distances a weighted one: nothing valid gives zero with a gradient of zero, never NaN."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.networks.targets import HALF, TargetConfig, Targets, nearest_bone, published_votes, to_canonical, truncate


@dataclass(frozen=True)
class LossConfig:
    """Weights of the parts, and beta, where the Huber loss of published votes turns from squared to absolute.

    surface: weight of a distance label on the surface; it rises with |distance| to 1 at the truncation. Labelled points crowd about
    the surface, so that with 1 the field calls everything near that the body covers in the image, however far before or behind it.
    """

    distance: float = 0.5
    limb: float = 0.3
    vote: float = 0.1
    joint: float = 5.0
    heatmap: float = 0.5
    scale: float = 1.0
    beta: float = 0.1
    surface: float = 0.07

    def __post_init__(self):
        for name, value in vars(self).items():
            if not value >= 0:
                raise ValueError(f"loss weight {name} is {value}; it must not be below 0")
        if not 0 < self.surface <= 1:
            raise ValueError(
                f"surface is {self.surface}; it is the weight of a label on the surface, above 0 and up to 1"
            )
        if self.beta == 0:
            raise ValueError("beta of the Huber loss must be above 0")


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values where mask (broadcast to it) holds; 0 where nothing does. Non-finite values outside do not matter."""
    mask = mask.expand_as(values)
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def distance_loss(predicted: Tensor, targets: Targets, config: TargetConfig, surface: float) -> Tensor:
    """L1 between the tanh output (B, N) and the truncated label, weighted from `surface` on the surface to 1 at the truncation."""
    label = truncate(targets.distance, config.truncation)
    weight = torch.where(targets.point_valid, surface + (1 - surface) * label.abs(), 0.0)
    error = torch.where(targets.point_valid, (predicted - label).abs(), 0.0)
    return (weight * error).sum() / weight.sum().clamp(min=surface)


def limb_loss(logits: Tensor, targets: Targets, bones: tuple[tuple[int, int], ...], reach: float = 0.03) -> Tensor:
    """Cross entropy of the nearest bone, at labelled points inside the body or within `reach` metres of it. logits: (B, N, J - 1)."""
    points, joints = to_canonical(targets.points, targets.depth), to_canonical(targets.joints, targets.depth)
    limb, known = nearest_bone(points, joints, targets.joints_valid, bones)
    entropy = F.cross_entropy(logits.transpose(1, 2), limb, reduction="none")
    return masked_mean(entropy, known & targets.point_valid & (targets.distance < reach))


def voting_points(targets: Targets, config: TargetConfig) -> Tensor:
    """(B, N) bool: labelled points within the band about the surface."""
    return targets.point_valid & (targets.distance.abs() < config.band)


def decoding_points(targets: Targets, config: TargetConfig) -> Tensor:
    """(B, N) bool: those points, and all where a view has none of them because it has no mesh."""
    near = voting_points(targets, config)
    return near | ~near.any(1, keepdim=True)


def direct_vote_loss(positions: Tensor, score: Tensor, targets: Targets, voters: Tensor) -> Tensor:
    """Negative log-likelihood of offsets with a predicted Laplace width: |error|_1 / b + 3 log b, where score = -2 log b.

    The softmax of the scores then weighs votes by 1 / b^2. positions: (B, N, J, 3), score: (B, N, J), voters: (B, N, J) bool.
    """
    error = (positions - targets.joints[:, None]).abs().sum(-1) * (HALF / 0.1)  # in tenths of a metre
    return masked_mean(error * (score / 2).exp() - 1.5 * score, voters & targets.joints_valid[:, None])


def published_vote_loss(q: Tensor, raw: Tensor, targets: Targets, config: TargetConfig, beta: float) -> Tensor:
    """Huber on weight and unit vector. Weights are supervised at every point of the band, zeros too; vectors where a vote is
    defined. q: (B, N, 3) crop coordinates, raw: (B, N, J, 4).
    """
    points, joints = to_canonical(q, targets.depth), to_canonical(targets.joints, targets.depth)
    near = voting_points(targets, config)
    weight, direction, votes = published_votes(points, joints, near, config)
    known = targets.joints_valid[:, None]
    of_weight = F.smooth_l1_loss(raw[..., 3], weight, reduction="none", beta=beta)
    of_vector = F.smooth_l1_loss(raw[..., :3], direction, reduction="none", beta=beta).sum(-1)
    return masked_mean(of_weight, near[..., None] & known) + masked_mean(of_vector, votes & known)


def joint_loss(joints: Tensor, targets: Targets) -> Tensor:
    """L1 in metres on decoded joints (B, J, 3) in crop coordinates: depth where 3D is known, image coordinates wherever a
    joint is known in 3D or was marked in 2D.
    """
    flat = torch.where(targets.joints_valid[..., None], targets.joints[..., :2], targets.joints_2d)
    seen = targets.joints_valid | targets.joints_2d_valid
    xy = (joints[..., :2] - flat).abs().sum(-1)
    z = (joints[..., 2] - targets.joints[..., 2]).abs()
    return HALF * (masked_mean(xy, seen) + masked_mean(z, targets.joints_valid))


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
