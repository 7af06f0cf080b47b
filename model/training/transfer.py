"""A run that starts from the weights of another: which of them it takes, and what becomes of the rest."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from model.training.checkpoint import Checkpoint, refuse_infinite
from model.training.config import Config
from model.training.runs import MEND, evaluated_weights, find_weights, learnt_before, read_weights, recorded_config
from pipeline.errors import InputError, naming_damage

# What of another network is taken. Its buffers (mean pose, scale) are a part of what its layers have learnt, so they go with them.
PARTS = ("all", "encoder", "all-but-head")
# No layer has learnt from it: it only says how large the people of the new run are.
BONES = "bone_lengths"
# Tensors that a line names before it counts the others.
NAMED = 4


@dataclass(frozen=True)
class Start:
    """Weights to start from: a checkpoint of a run, and which of its parts are taken."""

    path: Path
    part: str
    checkpoint: Checkpoint

    def config(self) -> Config:
        """The configuration that the weights were trained with."""
        return recorded_config(self.checkpoint, self.path)

    def kept(self, config: Config) -> dict | None:
        """What an encoder like this one kept, so that it is not read from elsewhere; None where the new run has another.

        Raises InputError where that is of another kind: what the other layers have learnt is of its features.
        """
        theirs, own = self.config().network.encoder, config.network.encoder
        if theirs.kind != own.kind:
            raise InputError(
                f"{self.path} has the encoder {theirs.kind!r}, and the new run has {own.kind!r}: there is nothing to take, since all "
                f"layers learn from its features. Set kind = {theirs.kind!r} in [network.encoder], or train without --from."
            )
        return self.checkpoint.record["encoder"] if theirs == own else None

    def origin(self) -> dict:
        """What the weights are, for the record of the run that takes them. data: all that they, and those that they started from, have
        learnt from."""
        said = self.checkpoint.record
        data = [dict(row) for row in said["data"]] + learnt_before(said)
        return {"path": str(self.path), "part": self.part, "step": said["step"], "commit": said["commit"], "data": data}

    def takes(self, name: str) -> bool:
        """Whether a tensor of the network belongs to the part."""
        top = name.partition(".")[0]
        return {"all": True, "encoder": top == "encoder", "all-but-head": top != "head"}[self.part]


@dataclass(frozen=True)
class Taken:
    """What a network took: names of tensors; of those that stay as they were initialised, name and reason."""

    start: Start
    taken: tuple[str, ...]
    left: dict[str, str]

    def record(self) -> dict:
        """For the run's record."""
        return self.start.origin() | {"taken": list(self.taken), "left": self.left}

    def lines(self) -> list[str]:
        """For a person: the counts of each part of the network, and why tensors were left."""
        counts = Counter(name.partition(".")[0] for name in self.taken)
        lines = [
            f"from {self.start.path} ({self.start.part}), step {self.start.checkpoint.record['step']}: took "
            + ", ".join(f"{top} {count}" for top, count in counts.items())
            + f" ({len(self.taken)} tensors)"
        ]
        for reason in dict.fromkeys(self.left.values()):
            names = [name for name, why in self.left.items() if why == reason]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            lines.append(f"not taken, {reason}: {', '.join(names[:NAMED])}{more}")
        return lines


def find_start(path: Path, part: str) -> Start:
    """The weights of a run folder (its best, or its last average), or of one checkpoint. Raises InputError when there are none or
    they are damaged."""
    path = find_weights(path) if path.is_dir() else path
    start = Start(path, part, read_weights(path))
    with naming_damage(path, MEND):
        start.config()
        start.origin()
    return start


def take_weights(network: nn.Module, start: Start) -> Taken:
    """Put what fits into a network. Raises InputError when nothing of the part does, or when that is not finite."""
    own, theirs = network.state_dict(), evaluated_weights(start.checkpoint, start.path)
    taken, left = {}, {}
    for name, tensor in own.items():
        if not start.takes(name):
            left[name] = f"outside of {start.part}"
        elif name not in theirs:
            left[name] = "not there"
        elif name == BONES and tensor.all():  # of data without 3D it is zero
            left[name] = "of the new data"
        elif theirs[name].shape != tensor.shape:
            left[name] = "of another size"
        else:
            taken[name] = theirs[name]
    if not any(parameter in taken for parameter, _ in network.named_parameters()):
        raise InputError(
            f"{start.path}: none of its weights fits this network ({start.part}). Use the configuration that it was trained with, or "
            "take another part with --from-part."
        )
    refuse_infinite(taken, start.path)
    network.load_state_dict(own | taken)
    return Taken(start, tuple(taken), left)
