"""How far the joints of a fitted body may be off, and which bodies are not to be trusted."""

from collections.abc import Sequence

import numpy as np
import torch

from model.body_fit.evidence import RIGHT, share_within
from pipeline.fit.kinematics import State
from pipeline.fit.objective import Objective

# How much further off joints are than the fit expects where keypoints say where a person is: a run measures its own factor on people
# without any. Between what suits the mean square of errors on rendered people (1.8) and what suits the confidence (1.6), keypoints
# off by 0.8 and by 2 % of a person's height (docs/log.md).
KEYPOINTS_SPREAD = 1.7
# A body whose joints are expected to be further off than this on average (metres) is doubtful.
FAR_OFF = 0.2
# No joint of a body is further off than this (metres), and where the matrix says nothing it may be anywhere.
MOST = 2.0
# Nothing is surer than this, metres: the root is where it is.
LEAST = 1e-6


def joint_spread(objective: Objective, state: State, n_joints: int, root: int) -> np.ndarray:
    """(N, J) m: root of the mean squared distance of each joint from where it was fitted, both relative to the root, by the
    curvature of the cost: Gauss-Newton's matrix is the inverse covariance of a turn, shape and place.
    """
    chain = objective.chain
    normal = objective.linearise(state)
    parts = chain.parts(state, normal.posed)
    J = chain.jacobian(state, normal.posed, parts, objective.free_shape)[:, :n_joints]
    J = (J - J[:, root : root + 1]).flatten(1, 2)
    matrix = normal.matrix.clone()
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    diagonal.add_(1e-9 * diagonal.amax(1, keepdim=True))
    factor, info = torch.linalg.cholesky_ex(matrix)
    white = torch.linalg.solve_triangular(factor, J.transpose(1, 2), upper=False)
    spread = white.square().sum(1).unflatten(1, (-1, 3)).sum(2).sqrt()
    told = (info == 0)[:, None] & spread.isfinite()
    return torch.where(told, spread.clamp_max(MOST), MOST).cpu().numpy()


def likely_right(spread: np.ndarray) -> np.ndarray:
    """0..1, that a joint lies within 100 mm of the truth, of the distances (N, J) m by which it is expected to be off."""
    return share_within(RIGHT * np.sqrt(3) / np.maximum(spread, LEAST))


def doubtful(doubts: Sequence[str], spread: np.ndarray) -> tuple[str, ...]:
    """What is missing, and where the joints are uncertain altogether. spread: (N, J) m."""
    far = spread.mean(1) > FAR_OFF
    return tuple(
        "; ".join(filter(None, [said, f"joints may be {1000 * row.mean():.0f} mm off" if wide else ""]))
        for said, row, wide in zip(doubts, spread, far, strict=True)
    )
