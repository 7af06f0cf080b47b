"""The canonical frame: where a network thinks, whatever the person's size and distance.

Scaling a scene leaves its image unchanged, so the scale is fixed by the crop: side S px, focal length f px, `D0 = f L0 / S`. The
scene times `s = D0 / z_root` has its root at depth D0 exactly, and the crop spans L0 there. Nothing about the root is needed to
place a query.

Two coordinates of one point: *canonical* X (m, crop-camera axes), and *crop* q = (x, y, t): x and y in [-1, 1] across the crop,
t = (Z - D0) / (L0 / 2). Times L0 / 2 both are metres near the root, so q is the canonical frame without its perspective.
"""

import torch
from torch import Tensor

# Side of the canonical volume at the root's depth, metres. A person whose box fills 1 / 1.25 of the crop keeps about its size.
CANONICAL_SIDE = 2.2
HALF = CANONICAL_SIDE / 2


def reference_depth(K: Tensor, side: int) -> Tensor:
    """(B,) D0 in metres for intrinsics (B, 3, 3) px of crops of `side` px whose principal point is their centre."""
    return K[:, 0, 0] * (CANONICAL_SIDE / side)


def to_crop(X: Tensor, depth: Tensor) -> Tensor:
    """Canonical (B, ..., 3) m -> crop coordinates (B, ..., 3). depth: (B,) D0. Points behind the camera have no image."""
    d = depth.view(-1, *[1] * (X.ndim - 2))
    z = X[..., 2]
    xy = X[..., :2] * (d / (HALF * z.clamp(min=0.05)))[..., None]
    return torch.cat([xy, ((z - d) / HALF)[..., None]], -1)


def to_canonical(q: Tensor, depth: Tensor) -> Tensor:
    """Inverse of `to_crop`."""
    d = depth.view(-1, *[1] * (q.ndim - 2))
    z = d + HALF * q[..., 2]
    return torch.cat([q[..., :2] * (HALF * z / d)[..., None], z[..., None]], -1)


def pixels_to_crop(pixels: Tensor, side: int) -> Tensor:
    """(..., 2) crop pixels (centres are integers) -> the first two crop coordinates; also what `grid_sample` takes."""
    return (2 * pixels + 1) / side - 1


def bone_scale(joints: Tensor, bones: tuple[tuple[int, int], ...], mean_lengths: Tensor) -> Tensor:
    """(B,) least-squares scale of the canonical joints (B, J, 3) against mean bone lengths (bones,) in metres."""
    parents, children = (list(side) for side in zip(*bones, strict=True))
    lengths = (joints[:, children] - joints[:, parents]).norm(dim=-1)
    return (lengths * mean_lengths).sum(1) / mean_lengths.square().sum()


def absolute_root(rays: Tensor, joints: Tensor, weights: Tensor) -> Tensor:
    """(B, 3) translation t that puts root-relative joints (B, J, 3) on their rays (B, J, 2) = (X/Z, Y/Z), weights (B, J).

    Least squares of `[I, -x_j] t = x_j Z_j - XY_j`, as MeTRAbs does (Sarandi et al. 2020). The normal equations of its three
    unknowns share a diagonal, so they are solved by hand: ONNX knows no solver.
    """
    rays, joints, weights = rays.double(), joints.double(), weights.double()[..., None]
    right = rays * joints[..., 2:] - joints[..., :2]
    total = weights.sum(1)
    ray, wanted = (weights * rays).sum(1) / total, (weights * right).sum(1) / total
    along = ((weights * rays.square()).sum((1, 2)) / total[:, 0]) - ray.square().sum(1)
    across = (ray * wanted).sum(1) - (weights * rays * right).sum((1, 2)) / total[:, 0]
    z = (across / along)[:, None]
    return torch.cat([wanted + ray * z, z], 1).float()


def axis_mean(probability: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and variance along one axis of (B, J, ...) probabilities whose cells share [-1, 1] evenly: (B, J) each."""
    others = [d for d in range(2, probability.ndim) if d != dim]
    marginal = probability.sum(others)
    n = marginal.shape[-1]
    centres = (torch.arange(n, device=probability.device) + 0.5) * (2 / n) - 1
    mean = (marginal * centres).sum(-1)
    return mean, (marginal * centres.square()).sum(-1) - mean.square()


def spatial_softmax(logits: Tensor) -> Tensor:
    """(B, J, ...) logits -> probabilities in float32 that sum to 1 over the cells of each joint."""
    return logits.float().flatten(2).softmax(-1).view(logits.shape)
