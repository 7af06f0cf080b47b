"""A run that started from the weights of another, brought part of the way back to them.

What a network learns from little data it gains there and loses elsewhere; on the straight line between the weights before and after,
both are often better than at its ends (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

import copy
from collections.abc import Collection
from pathlib import Path

import torch

from model.networks.network import Network
from model.training.checkpoint import misfits, refuse_infinite
from model.training.optimise import learning
from pipeline.errors import InputError

# Shares of the start that are looked at on validation, beside none.
SHARES = (0.2, 0.4, 0.6)


def start_weights(network: Network, taken: Collection[str]) -> dict[str, torch.Tensor]:
    """A copy of the parameters that a run is about to train, where all of them are among those that it has taken: between weights and
    an initialisation nothing good lies. Nothing otherwise."""
    trained = learning(network)
    if not set(trained) <= set(taken):
        return {}
    return {name: parameter.detach().clone() for name, parameter in trained.items()}


def restored_start(network: Network, start: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """What `start_weights` gave, as the checkpoint at `path` holds it. Raises InputError where it does not fit the network."""
    trained = learning(network)
    if start and (wrong := misfits(trained, start)):
        raise InputError(
            f"{path}: the weights that it says it started from do not fit its network: {wrong}. Copy it again, or train again."
        )
    refuse_infinite(start, path)
    return {name: tensor.to(trained[name]) for name, tensor in start.items()}


@torch.no_grad()
def brought_back(network: Network, start: dict[str, torch.Tensor], share: float) -> Network:
    """A copy of the network whose trained parameters are `share` of the start's and the rest of its own."""
    mixed = copy.deepcopy(network)
    own = dict(mixed.named_parameters())
    for name, tensor in start.items():
        own[name].lerp_(tensor, share)
    return mixed
