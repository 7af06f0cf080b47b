"""What heads without a field have in common: one layer stack per pyramid, trained by the loss on joints alone."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.heads.head import Head, HeadInputs, HeadSettings
from model.networks.losses import Term, joint_loss
from model.networks.records import Decoded, Encoded
from model.networks.targets import Targets

# Channels of the convolution before the maps: about the work of the field's MLP on a training draw.
HEAD_CHANNELS = 128


@dataclass(frozen=True)
class StackedSettings(HeadSettings):
    """joint: weight of the loss on decoded joints."""

    joint: float = 5.0

    def __post_init__(self):
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
        return [stack[-1] if isinstance(stack, nn.Sequential) else stack.out for stack in self.stacks]

    def losses(self, encoded: Encoded, targets: Targets, generator: torch.Generator | None) -> dict[str, Term]:
        pyramids = encoded.features.pyramids
        found = [self.read(stack, maps, encoded)[0] for stack, maps in zip(self.stacks, pyramids, strict=True)]
        return {"joint": Term(sum(joint_loss(joints, targets) for joints in found), self.settings.joint)}

    def decode(self, encoded: Encoded, depth: Tensor) -> Decoded:
        joints, spread = self.read(self.stacks[-1], encoded.features.pyramids[-1], encoded)
        return Decoded(joints, spread, {"spread": spread})


class MapHead(nn.Module):
    """3x3 convolution on the 1/4 map and the person's vector, then `outputs` maps. All scales reach it, as they reach the field."""

    def __init__(self, channels: tuple[int, ...], person: int, outputs: int):
        super().__init__()
        self.maps = nn.ModuleList(
            [nn.Conv2d(c, HEAD_CHANNELS, 3 if k == 0 else 1, 1, 1 if k == 0 else 0) for k, c in enumerate(channels)]
        )
        self.given = nn.Linear(person, HEAD_CHANNELS)
        self.norm = nn.GroupNorm(8, HEAD_CHANNELS)
        self.out = nn.Conv2d(HEAD_CHANNELS, outputs, 1)

    def forward(self, pyramid: list[Tensor], person: Tensor) -> Tensor:
        x = sum(
            F.interpolate(conv(features), size=pyramid[0].shape[-2:], mode="bilinear", align_corners=False)
            for conv, features in zip(self.maps, pyramid, strict=True)
        )
        return self.out(F.relu(self.norm(x + self.given(person)[:, :, None, None]))).float()
