"""Soft-argmax over the canonical volume (Sun et al. 2018; MeTRAbs)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.networks.anchors import MapHead
from model.networks.frame import HALF, axis_mean, spatial_softmax
from model.networks.heads.stacked import StackedHead, StackedSettings
from model.networks.records import Encoded


@dataclass(frozen=True)
class VolumetricSettings(StackedSettings):
    """slices: depths behind every cell of the 1/4 map."""

    kind: str = "volumetric"
    slices: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slices < 2:
            raise ValueError(f"slices is {self.slices}; a volume has at least 2")


class Volumetric(StackedHead):
    """A volume of `slices` depths a joint."""

    Settings = VolumetricSettings

    def make_stack(self) -> nn.Module:
        return MapHead(self.inputs.channels, self.inputs.person, len(self.inputs.joint_set) * self.settings.slices)

    def read(self, stack: nn.Module, pyramid: list[Tensor], encoded: Encoded) -> tuple[Tensor, Tensor]:
        logits = stack(pyramid, encoded.person).unflatten(1, (-1, self.settings.slices))
        p = spatial_softmax(logits)
        (z, along), (y, down), (x, across) = axis_mean(p, 2), axis_mean(p, 3), axis_mean(p, 4)
        return torch.stack([x, y, z], -1), HALF * (across + down + along).clamp(min=0).sqrt()
