"""Priors on the body's pose: what a joint angle is likely to be before anything was seen.

Every prior speaks of the 21 body joints' rotations relative to their parents, `R` (B, 21, 3, 3), and of small turns d (B, 21, 3)
on their left, `R <- exp(d) R`. `cost` is a sum of squares; `linearise` adds its half gradient and its Gauss-Newton matrix in d.
"""

from dataclasses import dataclass

import torch

from pipeline.fit import rotations
from pipeline.fit.settings import FitSettings
from pipeline.skeletons import SMPLX_22, mirror_name

N_POSED = 21


@dataclass(frozen=True)
class PriorTerms:
    """A prior about a pose. cost: (B,). gradient: (B, 21, 3), half of the cost's. blocks: (B, 21, 3, 3), Gauss-Newton matrix
    of each joint. couplings: pairs of joints (i, j) -> (B, 3, 3), or dense: (B, 21, 3, 21, 3) in place of both."""

    cost: torch.Tensor
    gradient: torch.Tensor
    blocks: torch.Tensor | None
    couplings: dict[tuple[int, int], torch.Tensor]
    dense: torch.Tensor | None = None


# Mean turn and standard deviation (radians) of each joint about its parent's axes in the T-pose: x left, y up, z forward, for
# the left side. A hip flexes about -x, a knee about +x, a left elbow about -y, a left arm hangs at -z. Guessed from
# tables of the normal range of motion (Norkin and White, Measurement of Joint Motion; Roaas and Andersson 1982) with everyday
# poses taken to lie within two deviations, and from no generator of poses.
_ANATOMY = {
    "spine1": ((0.08, 0, 0), (0.20, 0.14, 0.14)),
    "spine2": ((0.06, 0, 0), (0.16, 0.14, 0.12)),
    "spine3": ((0.06, 0, 0), (0.14, 0.14, 0.10)),
    "neck": ((0.05, 0, 0), (0.22, 0.28, 0.18)),
    "head": ((0.0, 0, 0), (0.20, 0.25, 0.15)),
    "left_hip": ((-0.40, 0.0, 0.10), (0.60, 0.25, 0.25)),
    "left_knee": ((0.60, 0, 0), (0.60, 0.08, 0.08)),
    "left_ankle": ((0.0, 0, 0), (0.25, 0.15, 0.15)),
    "left_foot": ((0.0, 0, 0), (0.15, 0.05, 0.05)),
    "left_collar": ((0.0, 0, 0), (0.08, 0.15, 0.15)),
    "left_shoulder": ((0.0, -0.30, -0.95), (0.50, 0.60, 0.60)),
    "left_elbow": ((0.0, -0.80, 0), (0.30, 0.65, 0.12)),
    "left_wrist": ((0.0, 0, 0), (0.25, 0.25, 0.35)),
}
# Correlations: a bent hip goes with a bent knee; the spine bends as one.
_CORRELATIONS = [
    ("left_hip", 0, "left_knee", 0, -0.6),
    ("right_hip", 0, "right_knee", 0, -0.6),
    ("spine1", 0, "spine2", 0, 0.5), ("spine2", 0, "spine3", 0, 0.5), ("spine1", 0, "spine3", 0, 0.4),
    ("spine1", 1, "spine2", 1, 0.5), ("spine2", 1, "spine3", 1, 0.5), ("spine1", 1, "spine3", 1, 0.4),
    ("spine1", 2, "spine2", 2, 0.5), ("spine2", 2, "spine3", 2, 0.5), ("spine1", 2, "spine3", 2, 0.4),
    ("neck", 0, "head", 0, 0.3), ("neck", 1, "head", 1, 0.3),
]
# Where bones meet: joint, axis, lowest and highest turn (radians); beyond them the cost grows with LIMIT_SIGMA.
_LIMITS = [
    ("left_knee", 0, 0.0, 2.6),
    ("left_elbow", 1, -2.6, 0.0),
    ("left_hip", 0, -2.2, 0.5),
    ("left_hip", 2, -0.5, 1.0),
]
LIMIT_SIGMA = 0.1


def _row(name: str) -> int:
    return SMPLX_22.index(name) - 1


class GaussianPrior:
    """`|W log(R Rmu^T)|^2`, joints coupled where told, plus one-sided walls at joint limits.

    mean: (21, 3) axis-angle. covariance: (63, 63). walls: (row, axis, lowest, highest) of the turn from the mean.
    """

    def __init__(self, mean: torch.Tensor, covariance: torch.Tensor, walls: list[tuple[int, int, float, float]]):
        self.back = rotations.exp(mean).transpose(-1, -2).contiguous()
        precision = torch.linalg.inv(covariance).reshape(N_POSED, 3, N_POSED, 3)
        self.blocks = torch.stack([precision[i, :, i] for i in range(N_POSED)])
        self.couplings = {
            (i, j): precision[i, :, j].contiguous()
            for i in range(N_POSED) for j in range(N_POSED) if i != j and precision[i, :, j].abs().max() > 1e-9
        }
        # the couplings once more as one matrix for the products with vectors
        self.precision = precision.reshape(3 * N_POSED, 3 * N_POSED)
        infinity = torch.full((N_POSED, 3), torch.inf, dtype=mean.dtype)
        self.lowest, self.highest = -infinity, infinity.clone()
        for row, axis, low, high in walls:
            self.lowest[row, axis], self.highest[row, axis] = low, high

    def to(self, device: torch.device) -> "GaussianPrior":
        for name in ("back", "blocks", "precision", "lowest", "highest"):
            setattr(self, name, getattr(self, name).to(device))
        self.couplings = {pair: block.to(device) for pair, block in self.couplings.items()}
        return self

    def _beyond(self, y: torch.Tensor) -> torch.Tensor:
        """How far (B, 21, 3) a turn lies beyond its walls, signed; zero between them."""
        return (y - self.highest).clamp_min(0) + (y - self.lowest).clamp_max(0)

    def cost(self, R: torch.Tensor) -> torch.Tensor:
        y = rotations.log(R @ self.back)
        flat = y.flatten(1)
        return ((flat @ self.precision) * flat).sum(1) + self._beyond(y).square().sum((1, 2)) / LIMIT_SIGMA**2

    def linearise(self, R: torch.Tensor) -> PriorTerms:
        y = rotations.log(R @ self.back)
        T = rotations.left_jacobian_inverse(y)
        beyond = self._beyond(y)
        pull = (y.flatten(1) @ self.precision).view_as(y)
        cost = (pull * y).sum((1, 2)) + beyond.square().sum((1, 2)) / LIMIT_SIGMA**2
        pull = pull + beyond / LIMIT_SIGMA**2
        gradient = (T.transpose(2, 3) @ pull[..., None])[..., 0]
        walls = torch.diag_embed((beyond != 0).to(y.dtype) / LIMIT_SIGMA**2)
        blocks = T.transpose(2, 3) @ (self.blocks + walls) @ T
        couplings = {
            (i, j): T[:, i].transpose(1, 2) @ block @ T[:, j] for (i, j), block in self.couplings.items()
        }
        return PriorTerms(cost, gradient, blocks, couplings)


def anatomical_prior(dtype: torch.dtype) -> GaussianPrior:
    """The default: per-joint Gaussians and limits from anatomy, no download."""
    mean = torch.zeros(N_POSED, 3, dtype=dtype)
    sigma = torch.zeros(N_POSED, 3, dtype=dtype)
    for name, (mu, deviation) in _ANATOMY.items():
        # a mirror across x = 0 keeps turns about x and flips those about y and z; joints in the middle have only turns about x
        for joint, sign in ((mirror_name(name), -1.0), (name, 1.0)):
            mean[_row(joint)] = torch.tensor([mu[0], sign * mu[1], sign * mu[2]], dtype=dtype)
            sigma[_row(joint)] = torch.tensor(deviation, dtype=dtype)
    correlation = torch.eye(3 * N_POSED, dtype=dtype)
    for a, axis_a, b, axis_b, value in _CORRELATIONS:
        i, j = 3 * _row(a) + axis_a, 3 * _row(b) + axis_b
        correlation[i, j] = correlation[j, i] = value
    deviations = sigma.flatten()
    walls = []
    for name, axis, low, high in _LIMITS:
        shift = float(mean[_row(name), axis])
        walls.append((_row(name), axis, low - shift, high - shift))
        other = mirror_name(name)
        if axis == 0:
            walls.append((_row(other), axis, low - shift, high - shift))
        else:
            walls.append((_row(other), axis, -high + shift, -low + shift))
    return GaussianPrior(mean, deviations[:, None] * correlation * deviations, walls)


def l2_prior(dtype: torch.dtype, sigma: float = 0.3) -> GaussianPrior:
    """SMPLify-X's plain prior: squared axis-angle. sigma: radians, one standard deviation of every angle."""
    mean = torch.zeros(N_POSED, 3, dtype=dtype)
    return GaussianPrior(mean, sigma**2 * torch.eye(3 * N_POSED, dtype=dtype), [])


def make_prior(settings: FitSettings, dtype: torch.dtype):
    """The prior that the settings name."""
    if settings.prior == "l2":
        return l2_prior(dtype)
    return anatomical_prior(dtype)
