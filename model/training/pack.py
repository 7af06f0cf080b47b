"""A run made small enough to ship: its best weights in half precision, with the record of what they were made of."""

import hashlib
from pathlib import Path

import torch

from model.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.training.runs import BEST, evaluated_weights, find_weights
from pipeline.errors import InputError

# Tensors of at most so many numbers stay as they are: means, scales and biases weigh nothing and half precision would move the joints.
SMALL = 4096
LARGEST_HALF = torch.finfo(torch.float16).max


def pack_run(run: Path, out: Path, notes: dict) -> dict:
    """Write the weights of `run` that predict into the folder `out`, which is a run to predict with, not to go on with.

    notes: what the record says beside the run's own (where the data came from, what was measured). Returns the record, with the sum of
    the weights. Raises InputError for a run without weights, or with one that half precision cannot hold.
    """
    path = find_weights(run)
    checkpoint = load_checkpoint(path)
    tensors = {f"network.{name}": halved(name, t, path) for name, t in evaluated_weights(checkpoint).items()}
    tensors |= {f"pose_prior.{name}": tensor for name, tensor in checkpoint.part("pose_prior").items()}
    # a prior's covariances would no longer be positive definite in half precision
    tensors |= {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith("pose_prior.")}
    record = {**checkpoint.record, "packed": {**notes, "weights_sha256": content_sum(tensors)}}
    save_checkpoint(out / BEST, Checkpoint(tensors, record))
    return record


def halved(name: str, tensor: torch.Tensor, path: Path) -> torch.Tensor:
    """A tensor as it is shipped. Raises InputError when it is too large for half precision."""
    if tensor.dtype != torch.float32 or tensor.numel() <= SMALL:
        return tensor
    if tensor.abs().max() > LARGEST_HALF:
        raise InputError(
            f"{path}: {name} holds {tensor.abs().max():.3g}, which half precision cannot. Ship the run as it is."
        )
    return tensor.half()


def content_sum(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names and values, in the names' order."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()
