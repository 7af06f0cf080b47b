"""Direct regression of all joints from pooled features."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.networks.heads.stacked import StackedHead, StackedSettings
from model.networks.records import Encoded


@dataclass(frozen=True)
class HolisticSettings(StackedSettings):
    """The settings of every head without a field."""

    kind: str = "holistic"


class Holistic(StackedHead):
    """All joints as a change of the mean pose."""

    Settings = HolisticSettings

    def make_stack(self) -> nn.Module:
        pooled = sum(self.inputs.channels) + self.inputs.person
        return nn.Sequential(nn.Linear(pooled, 512), nn.ReLU(), nn.Linear(512, 3 * len(self.inputs.joint_set)))

    def read(self, stack: nn.Module, pyramid: list[Tensor], encoded: Encoded) -> tuple[Tensor, Tensor]:
        pooled = torch.cat([features.mean((2, 3)) for features in pyramid] + [encoded.person], -1)
        joints = encoded.mean_pose + stack(pooled).float().unflatten(-1, (-1, 3))
        return joints, torch.zeros_like(joints[..., 0])
