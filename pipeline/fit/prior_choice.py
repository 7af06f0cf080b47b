"""The priors that can be asked for by name."""

from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.fit.learned_priors import BendingPrior, SumPrior, read_mixture, read_vposer
from pipeline.fit.prior_terms import Prior
from pipeline.fit.priors import anatomical_prior, l2_prior, motion_prior
from pipeline.fit.settings import FitSettings

# How to make each of `settings.PRIORS`.
_MAKERS: dict[str, Callable[[FitSettings, torch.dtype], Prior]] = {
    "motion": lambda settings, dtype: motion_prior(dtype),
    "anatomical": lambda settings, dtype: anatomical_prior(dtype),
    "l2": lambda settings, dtype: l2_prior(dtype, 0.3),
    "angle": lambda settings, dtype: l2_prior(dtype, 1.0),
    "gmm": lambda settings, dtype: read_mixture(_file(settings), dtype),
    "vposer": lambda settings, dtype: read_vposer(_file(settings), dtype),
}
# These have joint limits of their own; the others get SMPLify-X's bending term, as there.
_WITH_LIMITS = ("motion", "anatomical")


def _file(settings: FitSettings) -> Path:
    assert settings.prior_file is not None, "FitSettings refuses these priors without a file"
    return settings.prior_file


def make_prior(settings: FitSettings, dtype: torch.dtype) -> Prior:
    """The prior that the settings name."""
    prior = _MAKERS[settings.prior](settings, dtype)
    return prior if settings.prior in _WITH_LIMITS else SumPrior(prior, BendingPrior(dtype))
