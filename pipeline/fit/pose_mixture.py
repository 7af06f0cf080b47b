"""A pose prior learnt from poses: a mixture of Gaussians over the axis-angles of the body's joints."""

import numpy as np
import torch

from pipeline.fit.learned_priors import MixturePrior
from pipeline.fit.prior_terms import N_POSED
from pipeline.skeletons import SMPLX_22, mirror_name

# Deviation (radians) that is added to every angle: poses of one set are never all that there are.
ADDED = 0.05
# As many poses as the covariance of all poses counts for beside those of a component.
SHARED = 63.0
ROUNDS = 30
# A component needs so many poses of its own.
LEAST_POSES = 100


def learn_mixture(poses: np.ndarray, components: int) -> MixturePrior:
    """poses: (N, 63) axis-angle, radians, finite; their mirror images count as well. The same poses give the same mixture.

    Fewer components are made where there are fewer than LEAST_POSES poses for each.
    """
    y = np.concatenate([poses, mirrored(poses)]).astype(float)
    K = max(1, min(components, len(y) // LEAST_POSES))
    shared = np.cov(y.T, bias=True) + ADDED**2 * np.eye(y.shape[1])
    near = _first_guess(y, K)
    for _ in range(ROUNDS if K > 1 else 1):
        weights, means, covariances = _moments(y, near, shared)
        near = _responsibilities(y, weights, means, covariances)
    return MixturePrior(*(torch.as_tensor(a, dtype=torch.float64) for a in (means, covariances, weights)))


def mirrored(poses: np.ndarray) -> np.ndarray:
    """(N, 63) of the same poses seen in a mirror."""
    other = [SMPLX_22.index(mirror_name(name)) - 1 for name in SMPLX_22.names[1:]]
    return (poses.reshape(-1, N_POSED, 3)[:, other] * [1.0, -1.0, -1.0]).reshape(len(poses), -1)


def _first_guess(y: np.ndarray, K: int) -> np.ndarray:
    """(N, K) one where a pose belongs to a component: k-means++."""
    rng = np.random.default_rng(0)
    centres = y[[rng.integers(len(y))]]
    for _ in range(1, K):
        far = np.square(y[:, None] - centres).sum(2).min(1)
        centres = np.concatenate([centres, y[[rng.choice(len(y), p=far / far.sum())]]])
    for _ in range(10):
        nearest = np.square(y[:, None] - centres).sum(2).argmin(1)
        centres = np.stack([y[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(K)])
    return np.eye(K)[nearest]


def _moments(y: np.ndarray, near: np.ndarray, shared: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (K,), means (K, D) and covariances (K, D, D) of the components. near: (N, K) responsibilities."""
    counts = near.sum(0)
    means = (near.T @ y) / np.maximum(counts, 1e-9)[:, None]
    covariances = []
    for k, count in enumerate(counts):
        off = y - means[k]
        covariances.append(((near[:, k, None] * off).T @ off + SHARED * shared) / (count + SHARED))
    weights = np.maximum(counts, 1.0) / np.maximum(counts, 1.0).sum()
    return weights, means, np.stack(covariances) + ADDED**2 * np.eye(y.shape[1])


def log_densities(y: np.ndarray, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """(N, K) log of each component's weighted density, up to a constant that all share."""
    columns = []
    for weight, mean, covariance in zip(weights, means, covariances, strict=True):
        factor = np.linalg.cholesky(covariance)
        white = np.linalg.solve(factor, (y - mean).T)
        columns.append(np.log(weight) - np.log(np.diag(factor)).sum() - 0.5 * np.square(white).sum(0))
    return np.stack(columns, 1)


def _responsibilities(y: np.ndarray, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    log = log_densities(y, weights, means, covariances)
    near = np.exp(log - log.max(1, keepdims=True))
    return near / near.sum(1, keepdims=True)
