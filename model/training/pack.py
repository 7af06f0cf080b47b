"""A run made small enough to ship: its best weights in half precision, with the record of what they were made of."""

from pathlib import Path

import torch

from model.networks.build import published_weights
from model.training.checkpoint import Checkpoint, content_sum, save_checkpoint
from model.training.runs import BEST, evaluated_weights, find_weights, read_weights, recorded_config
from pipeline.errors import InputError

# Tensors of at most so many numbers stay as they are: means, scales and biases weigh nothing and half precision would move the joints.
SMALL = 4096
LARGEST_HALF = torch.finfo(torch.float16).max


def pack_run(run: Path, out: Path, notes: dict) -> dict:
    """Write the weights of `run` that predict into the folder `out`, which is a run to predict with, not to go on with.

    Weights of the encoder that come with this program, and stayed as they are, are left out; those that have learnt since are named
    in the record, for their licence goes with them. notes: what the record says beside the run's own (where the data came from, what
    was measured). Returns the record, with the sums of what is there and of what was left out. Raises InputError for a run without
    weights, or with one that half precision cannot hold.
    """
    path = find_weights(run)
    checkpoint = read_weights(path)
    weights = evaluated_weights(checkpoint, path)
    published = published_weights(recorded_config(checkpoint, path).network, checkpoint.record["encoder"])
    left_out = unchanged(weights, published)
    tensors = {f"network.{name}": halved(name, t, path) for name, t in weights.items() if name not in left_out}
    tensors |= {f"pose_prior.{name}": tensor for name, tensor in checkpoint.part("pose_prior").items()}
    # a prior's covariances would no longer be positive definite in half precision
    tensors |= {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith("pose_prior.")}
    sums = {"weights_sha256": content_sum(tensors), "left_out_sha256": content_sum(left_out) if left_out else None}
    learnt_since = {"published_and_trained_on": sorted(published.keys() - left_out.keys())}
    record = _without_places({**checkpoint.record, "packed": notes | sums | learnt_since})
    save_checkpoint(out / BEST, Checkpoint(tensors, record))
    return record


def _without_places(record: dict) -> dict:
    """A record whose paths are names alone: where things lay on one machine says nothing on another."""

    def named(rows: list[dict]) -> list[dict]:
        return [{**row, "path": Path(row["path"]).name} for row in rows]

    start = record.get("started_from")
    if start:
        record = {**record, "started_from": named([start])[0] | {"data": named(start.get("data", []))}}
    return {**record, "data": named(record["data"])}


def unchanged(weights: dict[str, torch.Tensor], published: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of the weights that are still as they were published."""
    return {n: t for n, t in weights.items() if n in published and torch.equal(t, published[n].to(t.dtype))}


def halved(name: str, tensor: torch.Tensor, path: Path) -> torch.Tensor:
    """A tensor as it is shipped. Raises InputError when it is too large for half precision."""
    if tensor.dtype != torch.float32 or tensor.numel() <= SMALL:
        return tensor
    if tensor.abs().max() > LARGEST_HALF:
        raise InputError(
            f"{path}: {name} holds {tensor.abs().max():.3g}, which half precision cannot. Ship the run as it is."
        )
    return tensor.half()
