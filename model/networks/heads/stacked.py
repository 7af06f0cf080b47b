"""What heads without a field have in common: one layer stack per pyramid, trained by the loss on joints alone."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.networks.heads.head import Head, HeadInputs, HeadSettings
from model.networks.losses import Term, added, joint_loss
from model.networks.records import Decoded, Encoded
from model.networks.targets import Targets


@dataclass(frozen=True)
class StackedSettings(HeadSettings):
    """joint: weight of the loss on decoded joints."""

    joint: float = 5.0

    def __post_init__(self) -> None:
        if not self.joint >= 0:
            raise ValueError(f"loss weight joint is {self.joint}; it must not be below 0")


class StackedHead(Head):
    """A module per stack that turns a pyramid into joints."""

    def __init__(self, settings: Any, inputs: HeadInputs):
        super().__init__(settings, inputs)
        self.settings, self.inputs = settings, inputs
        self.stacks = nn.ModuleList([self.make_stack() for _ in range(inputs.stacks)])

    @abstractmethod
    def make_stack(self) -> nn.Module:
        """The module of one stack."""

    @abstractmethod
    def read(self, stack: nn.Module, pyramid: list[Tensor], encoded: Encoded) -> tuple[Tensor, Tensor]:
        """joints (B, J, 3) in crop coordinates and spread (B, J) m, from the maps at 1/4, 1/8 and 1/16 of one stack."""

    def outputs(self) -> list[nn.Module]:
        return [stack[-1] if isinstance(stack, nn.Sequential) else stack.get_submodule("out") for stack in self.stacks]

    def losses(self, encoded: Encoded, targets: Targets, generator: torch.Generator | None) -> dict[str, Term]:
        pyramids = encoded.features.pyramids
        found = [self.read(stack, maps, encoded)[0] for stack, maps in zip(self.stacks, pyramids, strict=True)]
        return {"joint": Term(added(joint_loss(joints, targets) for joints in found), self.settings.joint)}

    def decode(self, encoded: Encoded, depth: Tensor) -> Decoded:
        joints, spread = self.read(self.stacks[-1], encoded.features.pyramids[-1], encoded)
        return Decoded(joints, spread, {"spread": spread})
