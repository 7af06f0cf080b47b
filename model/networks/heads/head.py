"""What a head is: it turns what the encoder saw into joints, and says how that is learnt.

A new head is one file with a settings record and a class, and one line in `build.HEADS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from model.networks.losses import Term
from model.networks.records import Decoded, Encoded, PredictedDistance
from model.networks.targets import Targets
from pipeline.skeletons import JointSet


@dataclass(frozen=True)
class HeadSettings:
    """Settings of a head. kind: its name in `build.HEADS`."""

    kind: str = ""

    def require_joints(self, joints: int) -> None:
        """ValueError where the settings do not fit a joint set of so many joints."""


class HeadInputs(NamedTuple):
    """What a head is built for. channels: of the encoder's maps at 1/4, 1/8 and 1/16. person: width of the vector of the whole
    person. stacks: pyramids of the encoder, each of which a head supervises. joint_set: whose joints it gives.
    """

    channels: tuple[int, int, int]
    person: int
    stacks: int
    joint_set: JointSet


class Head(nn.Module):
    """A head of a `PoseNetwork`. Settings: its settings record. network: a class in place of `PoseNetwork` for a head that
    looks at no image, called with the network's configuration and statistics.
    """

    Settings: ClassVar[type[HeadSettings]]
    network: ClassVar[Callable[[Any, Any], Any] | None] = None

    def __init__(self, settings: Any, inputs: HeadInputs):
        """settings: an instance of `Settings`."""
        super().__init__()

    @staticmethod
    def preset(configuration: str) -> dict:
        """Tables of a run's configuration that this head wants on top of the named one ("small", "base"...)."""
        return {}

    def losses(self, encoded: Encoded, targets: Targets, generator: torch.Generator | None) -> dict[str, Term]:
        """Its losses by name, each summed over stacks, with its weight."""
        raise NotImplementedError

    def decode(self, encoded: Encoded, depth: Tensor) -> Decoded:
        """Joints of images. depth: (B,) D0."""
        raise NotImplementedError

    def outputs(self) -> list[nn.Module]:
        """Layers whose answers the losses look at directly; Muon leaves their matrices alone."""
        raise NotImplementedError

    def distance(self, encoded: Encoded) -> PredictedDistance | None:
        """The signed distance to the body that it predicts; None for a head without one."""
        return None
