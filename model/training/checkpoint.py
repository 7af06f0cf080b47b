"""Checkpoints: one safetensors file with everything a run needs to go on, and a JSON copy of its record to read.

A file is written beside its name, flushed and renamed over it, so a checkpoint is whole or it is the one before.
Nothing is pickled. Tensors are named by what they belong to: "network.<parameter>", "average.<parameter>" (the moving
average), "optimizer.<parameter>.<moment>", "rng.torch", "start.<parameter>" (what
another run gave it to start from).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from model.training.older import from_version_3, from_version_4
from pipeline.errors import InputError, naming_damage
from pipeline.outputs import write_file

FORMAT = "nvf-checkpoint"
VERSION = 5
OLDER = (3, 4)


@dataclass(frozen=True)
class Checkpoint:
    """tensors: by prefixed name, on the CPU. record: config, step, code commit, data hashes, what has been measured so
    far.
    """

    tensors: dict[str, torch.Tensor]
    record: dict

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors of one part, their prefix taken off."""
        return {name.removeprefix(prefix + "."): t for name, t in self.tensors.items() if name.startswith(prefix + ".")}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `path` (.safetensors; the record travels in its header) and its .json copy, each atomically.

    Raises InputError when the folder cannot be written.
    """
    record = {"format": FORMAT, "version": VERSION} | checkpoint.record | {"version": VERSION}
    text = json.dumps(record, indent=1, allow_nan=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    write_file(path, safetensors.torch.save(tensors, metadata={"record": text}))
    write_file(path.with_suffix(".json"), text.encode())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote. Raises InputError for a file that is missing, damaged or of another version."""
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such checkpoint. Train first (`nvf-cli train SHARDS RUN`), or name another run."
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get("record", "{}"))
            if not isinstance(record, dict):
                raise ValueError(f"its record is {str(record)[:40]!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
    except (safetensors.SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not a readable safetensors file ({error}). Copy it again, or train again."
        ) from error
    if record.get("format") == FORMAT and record.get("version") in OLDER:
        with naming_damage(path, "Copy it again, or train again."):
            if record["version"] == 3:
                return Checkpoint(*from_version_3(tensors, record))
            return Checkpoint(tensors, from_version_4(record))
    if (record.get("format"), record.get("version")) != (FORMAT, VERSION):
        raise InputError(
            f"{path}: its record says {record.get('format')} version {record.get('version')}; this program reads {FORMAT} "
            f"versions 3 to {VERSION}. Use the program that wrote it, or train again."
        )
    return Checkpoint(tensors, record)


def content_sum(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names and values, in the names' order."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def load_weights(network: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Put a checkpoint's weights into a network; InputError names the first tensors that differ when it has other
    sizes.
    """
    if wrong := misfits(network.state_dict(), weights):
        raise InputError(
            f"{path}: its tensors do not fit the network of this configuration: {wrong}. "
            "Use the configuration it was trained with, or another run folder."
        )
    refuse_infinite(weights, path)
    network.load_state_dict(weights)


def misfits(own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> str:
    """The first three tensors of a checkpoint that are missing, too many or of another size than a network's own, and the number of
    the others; nothing where all fit."""
    wrong = [f"{name} (missing in the checkpoint)" for name in own if name not in weights]
    wrong += [f"{name} (not in the network)" for name in weights if name not in own]
    wrong += [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    return ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def refuse_infinite(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Raises InputError for weights that a network cannot have."""
    odd = [name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if odd:
        raise InputError(f"{path}: {odd[0]} holds values that are not finite. Copy the file again, or train again.")


def optimizer_tensors(network: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """The optimisers' moments by parameter name; their settings are in the configuration."""
    return {
        f"{name}.{key}": value
        for optimizer in optimizers
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if torch.is_tensor(value)
    }


def restore_optimizers(
    network: torch.nn.Module, optimizers: list[torch.optim.Optimizer], tensors: dict[str, torch.Tensor]
) -> None:
    """Inverse of `optimizer_tensors`."""
    owner = {p: optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        # the key is what follows the last dot; a parameter's own name has dots too
        state = {n.rpartition(".")[2]: t for n, t in tensors.items() if n.rpartition(".")[0] == name}
        if state:
            # a fused optimiser counts its steps where the weights are, any other on the processor
            at_home = set() if owner[parameter].defaults.get("fused") else {"step"}
            owner[parameter].state[parameter] = {
                key: value.clone() if key in at_home else _lying_as(parameter, value) for key, value in state.items()
            }


def _lying_as(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A copy where the parameter is. One of its shape lies in memory as it does, which is how a fused optimiser pairs them: kernels of
    pretrained encoders lie by channels last, and a file holds plain rows."""
    if value.shape != parameter.shape:
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
