"""Gaussian priors on the body's pose: from real people's motion, from anatomy, and SMPLify-X's plain ones."""

from pathlib import Path

import numpy as np
import torch

from pipeline.fit import rotations
from pipeline.fit.prior_terms import LIMIT_SIGMA, N_POSED, PriorTerms, row_of
from pipeline.skeletons import mirror_name

ASSETS, MOTION_FILE = Path(__file__).parent / "assets", "motion_prior.npz"

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
    ("spine1", 0, "spine2", 0, 0.5),
    ("spine2", 0, "spine3", 0, 0.5),
    ("spine1", 0, "spine3", 0, 0.4),
    ("spine1", 1, "spine2", 1, 0.5),
    ("spine2", 1, "spine3", 1, 0.5),
    ("spine1", 1, "spine3", 1, 0.4),
    ("spine1", 2, "spine2", 2, 0.5),
    ("spine2", 2, "spine3", 2, 0.5),
    ("spine1", 2, "spine3", 2, 0.4),
    ("neck", 0, "head", 0, 0.3),
    ("neck", 1, "head", 1, 0.3),
]
# Where bones meet: joint, axis, lowest and highest turn (radians); beyond them the cost grows with LIMIT_SIGMA.
_LIMITS = [
    ("left_knee", 0, 0.0, 2.6),
    ("left_elbow", 1, -2.6, 0.0),
    ("left_hip", 0, -2.2, 0.5),
    ("left_hip", 2, -0.5, 1.0),
]

# From so many couplings a joint on, all of them at once are faster than one by one.
MANY_PAIRS = 4


class GaussianPrior:
    """`|W log(R Rmu^T)|^2`, joints coupled where told, plus one-sided walls at joint limits.

    mean: (n, 3) axis-angle. precision: (3 n, 3 n). lowest, highest: (n, 3) walls, as turns from the mean; infinite where none.
    """

    def __init__(self, mean: torch.Tensor, precision: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor):
        n = len(mean)
        self.mean, self.precision, self.lowest, self.highest = mean, precision, lowest, highest
        self.back = rotations.exp(mean).transpose(-1, -2).contiguous()
        four = precision.reshape(n, 3, n, 3).permute(0, 2, 1, 3)
        coupled = (four.abs().amax((2, 3)) > 1e-9) & ~torch.eye(n, dtype=torch.bool, device=mean.device)
        first, second = coupled.nonzero(as_tuple=True)
        self.pairs = first, second
        self.blocks = torch.stack([four[i, i] for i in range(n)])
        self.couplings = four[self.pairs]
        self.all_coupled = len(first) > MANY_PAIRS * n

    @property
    def n_joints(self) -> int:
        return len(self.mean)

    def to(self, device: torch.device) -> "GaussianPrior":
        return GaussianPrior(*(a.to(device) for a in (self.mean, self.precision, self.lowest, self.highest)))

    def given_rest(self, rows: list[int]) -> "GaussianPrior":
        """The prior about some joints when the others are at their mean."""
        n = self.n_joints
        precision = self.precision.reshape(n, 3, n, 3)[rows][:, :, rows].reshape(3 * len(rows), -1)
        return GaussianPrior(self.mean[rows], precision, self.lowest[rows], self.highest[rows])

    def _beyond(self, y: torch.Tensor) -> torch.Tensor:
        """How far (B, n, 3) a turn lies beyond its walls, signed; zero between them."""
        return (y - self.highest).clamp_min(0) + (y - self.lowest).clamp_max(0)

    def cost(self, R: torch.Tensor) -> torch.Tensor:
        y = rotations.log(R @ self.back)
        flat = y.flatten(1)
        return ((flat @ self.precision) * flat).sum(1) + self._beyond(y).square().sum((1, 2)) / LIMIT_SIGMA**2

    def linearise(self, R: torch.Tensor, parents: torch.Tensor) -> PriorTerms:
        """See `prior_terms.Prior`."""
        y = rotations.log(R @ self.back)
        # y moves by T w when a joint is turned by w about the instant's axes, which its parent sees as Gp^T w
        T = rotations.left_jacobian_inverse(y) @ parents.transpose(2, 3)
        beyond = self._beyond(y)
        pull = (y.flatten(1) @ self.precision).view_as(y)
        cost = (pull * y).sum((1, 2)) + beyond.square().sum((1, 2)) / LIMIT_SIGMA**2
        pull = pull + beyond / LIMIT_SIGMA**2
        Tt = T.transpose(2, 3)
        walls = torch.diag_embed((beyond != 0).to(y.dtype) / LIMIT_SIGMA**2)
        gradient = (Tt @ pull[..., None])[..., 0]
        if self.all_coupled:
            dense = self._turned_precision(T)
            dense.diagonal(dim1=1, dim2=3).add_((Tt @ (walls @ T)).permute(0, 2, 3, 1))
            return PriorTerms(cost, gradient, dense=dense)
        coupled = Tt[:, self.pairs[0]] @ (self.couplings @ T[:, self.pairs[1]])
        return PriorTerms(cost, gradient, Tt @ ((self.blocks + walls) @ T), coupled, self.pairs)

    def _turned_precision(self, T: torch.Tensor) -> torch.Tensor:
        """(B, n, 3, n, 3) the precision between turns that T (B, n, 3, 3) takes to the prior's own."""
        n = self.n_joints
        right = self.precision.view(3 * n, n, 3).transpose(0, 1) @ T  # (B, n, 3 n, 3): of each joint on the right side
        rows = right.view(-1, n, n, 3, 3).permute(0, 2, 3, 1, 4).reshape(-1, n, 3, 3 * n)
        return (T.transpose(2, 3) @ rows).view(-1, n, 3, n, 3)


def motion_prior(dtype: torch.dtype) -> GaussianPrior:
    """The default: how real people moved (`build_prior` learns it), within anatomy's limits."""
    with np.load(ASSETS / MOTION_FILE, allow_pickle=False) as content:
        mean, covariance = (torch.as_tensor(content[name], dtype=torch.float64) for name in ("mean", "covariance"))
    lowest, highest = _walls(mean)
    return GaussianPrior(*(a.to(dtype) for a in (mean, torch.linalg.inv(covariance), lowest, highest)))


def anatomical_prior(dtype: torch.dtype) -> GaussianPrior:
    """Per-joint Gaussians and limits from anatomy: the default of version 0.1.0."""
    mean = torch.zeros(N_POSED, 3, dtype=dtype)
    sigma = torch.zeros(N_POSED, 3, dtype=dtype)
    for name, (mu, deviation) in _ANATOMY.items():
        # a mirror across x = 0 keeps turns about x and flips those about y and z; joints in the middle have only turns about x
        for joint, sign in ((mirror_name(name), -1.0), (name, 1.0)):
            mean[row_of(joint)] = torch.tensor([mu[0], sign * mu[1], sign * mu[2]], dtype=dtype)
            sigma[row_of(joint)] = torch.tensor(deviation, dtype=dtype)
    correlation = torch.eye(3 * N_POSED, dtype=dtype)
    for a, axis_a, b, axis_b, value in _CORRELATIONS:
        i, j = 3 * row_of(a) + axis_a, 3 * row_of(b) + axis_b
        correlation[i, j] = correlation[j, i] = value
    deviations = sigma.flatten()
    lowest, highest = _walls(mean)
    return GaussianPrior(mean, torch.linalg.inv(deviations[:, None] * correlation * deviations), lowest, highest)


def _walls(mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Joint limits of both sides as turns from the mean: two (21, 3)."""
    lowest = torch.full_like(mean, -torch.inf)
    highest = torch.full_like(mean, torch.inf)
    for name, axis, low, high in _LIMITS:
        row, other = row_of(name), row_of(mirror_name(name))
        lowest[row, axis], highest[row, axis] = low, high
        lowest[other, axis], highest[other, axis] = (low, high) if axis == 0 else (-high, -low)
    return lowest - mean, highest - mean


def l2_prior(dtype: torch.dtype, sigma: float) -> GaussianPrior:
    """SMPLify-X's plain prior: squared axis-angle. sigma: radians, one standard deviation of every angle."""
    mean = torch.zeros(N_POSED, 3, dtype=dtype)
    open_ended = torch.full_like(mean, torch.inf)
    return GaussianPrior(mean, torch.eye(3 * N_POSED, dtype=dtype) / sigma**2, -open_ended, open_ended)
