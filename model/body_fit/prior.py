"""The pose prior of a run: learnt from the bodies that were fitted to its own training views."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from pipeline.errors import InputError
from pipeline.fit.learned_priors import MixturePrior
from pipeline.fit.pose_mixture import learn_mixture
from pipeline.fit.prior_terms import N_POSED

# Fewer different poses than this say too little of what people do.
LEAST_POSES = 200
COMPONENTS = 4
NAMES = ("means", "covariances", "weights")


def learn_prior(poses: np.ndarray) -> MixturePrior | None:
    """poses: (N, 63) axis-angle, radians, each once. None where there are fewer than LEAST_POSES."""
    return learn_mixture(poses, COMPONENTS) if len(poses) >= LEAST_POSES else None


def prior_tensors(prior: MixturePrior) -> dict[str, torch.Tensor]:
    """As a checkpoint keeps it, float32."""
    return {name: getattr(prior, name).float() for name in NAMES}


def prior_sum(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of what `prior_tensors` gives."""
    found = hashlib.sha256()
    for name in NAMES:
        found.update(tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def prior_of(tensors: dict[str, torch.Tensor], path: Path) -> MixturePrior:
    """Inverse of `prior_tensors`. Raises InputError, naming the checkpoint at `path`, where they are no mixture of poses."""
    D = 3 * N_POSED
    remedy = f"{path}: its pose prior is damaged (%s). Copy the file again, or train again."
    if set(tensors) != set(NAMES):
        raise InputError(remedy % f"it has {', '.join(sorted(tensors)) or 'nothing'} in place of {', '.join(NAMES)}")
    means, covariances, weights = (tensors[name].double() for name in NAMES)
    K = len(weights) if weights.ndim == 1 else 0
    if not K or means.shape != (K, D) or covariances.shape != (K, D, D):
        shapes = ", ".join(str(tuple(tensors[name].shape)) for name in NAMES)
        raise InputError(remedy % f"its shapes are {shapes}")
    if not all(part.isfinite().all() for part in (means, covariances, weights)) or not (weights > 0).all():
        raise InputError(remedy % "a number in it is not finite, or a weight is not above zero")
    if (torch.linalg.cholesky_ex(covariances)[1] != 0).any():
        raise InputError(remedy % "a covariance is not positive definite")
    return MixturePrior(means, covariances, weights)
