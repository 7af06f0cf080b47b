"""Rotation vectors to matrices and back, with right gradients at zero and right values at 180 degrees."""

import torch

Three = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
# Radians below which a turn is as good as its first order.
LEAST = 1e-6


def matrices(vectors: torch.Tensor) -> torch.Tensor:
    """(..., 3) axis times angle, radians -> (..., 3, 3). Rodrigues' formula."""
    angle = vectors.norm(dim=-1)
    axis = vectors / angle.clamp_min(LEAST)[..., None]
    sine, versine = angle.sin(), 1 - angle.cos()
    x, y, z = axis.unbind(-1)
    squares = x * x * versine, y * y * versine, z * z * versine
    turned = rodrigues((x * sine, y * sine, z * sine), squares, (x * y * versine, x * z * versine, y * z * versine))
    x, y, z = vectors.unbind(-1)
    one = torch.ones_like(x)
    hardly = [one, -z, y, z, one, -x, -y, x, one]
    small = (angle < LEAST)[..., None, None]
    return torch.where(small, torch.stack(hardly, -1).unflatten(-1, (3, 3)), turned)


def rodrigues(sines: Three, squares: Three, products: Three) -> torch.Tensor:
    """(..., 3, 3) of the parts of Rodrigues' formula, (...) each: the axis (x, y, z) times the sine, and its squares and its products
    (xy, xz, yz) times 1 - cosine."""
    (xs, ys, zs), (xx, yy, zz), (xy, xz, yz) = sines, squares, products
    entries = [1 - yy - zz, xy - zs, xz + ys, xy + zs, 1 - xx - zz, yz - xs, xz - ys, yz + xs, 1 - xx - yy]
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def vectors(matrices: torch.Tensor) -> torch.Tensor:
    """(..., 3, 3) -> (..., 3), of at most 180 degrees.

    By way of the unit quaternion q = (x, y, z, w): every row of 4 q q^T is linear in the matrix and a multiple of q, and that with the
    largest entry on the diagonal gives it best (Markley 2008, Unit quaternion from rotation matrix).
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in matrices.unbind(-2))
    rows = [1 + a - e - i, d + b, g + c, h - f]
    rows += [b + d, 1 + e - i - a, h + f, c - g]
    rows += [c + g, f + h, 1 + i - a - e, d - b]
    rows += [h - f, c - g, d - b, 1 + a + e + i]
    multiples = torch.stack(rows, -1).unflatten(-1, (4, 4))
    best = multiples.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = multiples.gather(-2, best[..., None, None].expand(*best.shape, 1, 4))[..., 0, :]
    q = q / q.norm(dim=-1, keepdim=True)
    q = torch.where(q[..., 3:] > 0, q, -q)  # the shorter way round
    half = torch.atan2(q[..., :3].norm(dim=-1), q[..., 3])
    return (2 * _over_sine(half))[..., None] * q[..., :3]


def _over_sine(x: torch.Tensor) -> torch.Tensor:
    """x / sin(x), by its series near zero: where the derivatives of both are equally wrong, of x^4 and of rounding."""
    small = x.abs() < 2 * torch.finfo(x.dtype).eps ** (1 / 6)
    sine = torch.where(small, torch.ones_like(x), x.sin())
    return torch.where(small, 1 + x**2 / 6 + 7 * x**4 / 360, x / sine)
