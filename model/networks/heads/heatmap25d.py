"""Latent 2.5D heatmaps (Iqbal et al. 2018): a soft-argmax in the image and the depth map read under it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.networks.anchors import MapHead
from model.networks.frame import HALF, axis_mean, spatial_softmax
from model.networks.heads.stacked import StackedHead, StackedSettings
from model.networks.records import Encoded


@dataclass(frozen=True)
class Heatmap25DSettings(StackedSettings):
    """The settings of every head without a field."""

    kind: str = "heatmap25d"


class Heatmap25D(StackedHead):
    """A heatmap and a depth map a joint. The depth maps hold what lies beyond the mean depth of each joint."""

    Settings = Heatmap25DSettings

    def make_stack(self) -> nn.Module:
        return MapHead(self.inputs.channels, self.inputs.person, 2 * len(self.inputs.joint_set))

    def read(self, stack: nn.Module, pyramid: list[Tensor], encoded: Encoded) -> tuple[Tensor, Tensor]:
        logits, depths = stack(pyramid, encoded.person).chunk(2, 1)
        p = spatial_softmax(logits)
        (x, across), (y, down) = axis_mean(p, 3), axis_mean(p, 2)
        z = (p * depths).sum((2, 3))
        along = (p * depths.square()).sum((2, 3)) - z.square()
        spread = HALF * (across + down + along).clamp(min=0).sqrt()
        return torch.stack([x, y, encoded.anchors[..., 2] + z], -1), spread
