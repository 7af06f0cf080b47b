"""Rotations as matrices: exponential, logarithm, the left Jacobian's inverse, smallest rotations.

A rotation is a (..., 3, 3) matrix acting on column vectors. It is updated on the left, `R <- exp(d) R`; Jacobians and priors use
the same side. Logarithms go through quaternions: the usual trace formula returns about zero at 180 degrees, which is
where an upright body in y-down camera axes always is.
"""

import torch

from pipeline.body import turns

# Below this angle (radians) series take over; in float64 both branches agree to 1e-12 here.
SMALL_ANGLE = 1e-3


def skew(v: torch.Tensor) -> torch.Tensor:
    """(..., 3) -> (..., 3, 3) with skew(v) @ x = v x x."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def exp(v: torch.Tensor) -> torch.Tensor:
    """(..., 3) axis-angle, radians -> (..., 3, 3). As `turns.matrices`, but smooth to rounding at every angle, which the fit's steps
    need: near zero by series."""
    square = (v * v).sum(-1)
    small = square < SMALL_ANGLE**2
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    sine = torch.where(small, 1 - square / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / (angle * angle))
    x, y, z = v.unbind(-1)
    cx, cy, cz = cosine * x, cosine * y, cosine * z
    return turns.rodrigues((sine * x, sine * y, sine * z), (cx * x, cy * y, cz * z), (cx * y, cx * z, cy * z))


def log(R: torch.Tensor) -> torch.Tensor:
    """(..., 3, 3) -> (..., 3) axis-angle of at most 180 degrees, right for every rotation."""
    return turns.vectors(R)


def left_jacobian_inverse(v: torch.Tensor) -> torch.Tensor:
    """(..., 3) -> (..., 3, 3): log(exp(d) exp(v)) = v + J d + O(d^2).

    `J = I - [v]x / 2 + (1/t^2 - (1 + cos t) / (2 t sin t)) [v]x^2`, t = |v| (Sola et al., A micro Lie theory, eq. 146).
    `(1 + cos t) / sin t` is written as 1 / tan(t/2), which stays finite at 180 degrees.
    """
    square = (v * v).sum(-1)
    small = square < SMALL_ANGLE**2
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    factor = torch.where(small, 1 / 12 + square / 720, (1 - 0.5 * angle / (0.5 * angle).tan()) / (angle * angle))
    K = skew(v)
    KK = v[..., :, None] * v[..., None, :] - square[..., None, None] * torch.eye(3, dtype=v.dtype, device=v.device)
    return torch.eye(3, dtype=v.dtype, device=v.device) - 0.5 * K + factor[..., None, None] * KK


def smallest(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(..., 3) unit vectors -> (..., 3, 3): the smallest rotation that takes source to target.

    Opposite vectors turn about an axis across the source.
    """
    axis = torch.linalg.cross(source, target)
    cosine = (source * target).sum(-1)
    sine = axis.norm(dim=-1)
    # any axis across the source will do when the turn is by 180 degrees
    other = torch.eye(3, dtype=source.dtype, device=source.device)[source.abs().argmin(-1)]
    across = torch.linalg.cross(source, other)
    axis = torch.where((sine < 1e-9)[..., None], across, axis)
    axis = axis / axis.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return exp(axis * torch.atan2(sine, cosine)[..., None])


def rigid_motion(
    source: torch.Tensor, target: torch.Tensor, w: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rotation R (B, 3, 3) and the weighted centres (B, 3) of target and source of the best rigid motion (Kabsch 1976).

    `target ~ R (source - centre of source) + centre of target` in least squares. source, target: (B, N, 3); w: (B, N) weights.
    """
    w = (w / w.sum(1, keepdim=True))[..., None]
    a, b = (w * source).sum(1), (w * target).sum(1)
    H = (w * (target - b[:, None])).transpose(1, 2) @ (source - a[:, None])
    U, _, Vt = torch.linalg.svd(H)
    sign = torch.ones(len(H), 3, dtype=H.dtype, device=H.device)
    sign[:, 2] = torch.linalg.det(U @ Vt).sign()
    return (U * sign[:, None]) @ Vt, b, a
