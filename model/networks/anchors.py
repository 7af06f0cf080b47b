"""Where the image shows each joint: auxiliary maps that every head shares, and the anchors read from them.

"heatmaps" finds joints in the image and takes their depths from the mean pose. "pose" reads a depth under each heatmap as well, so
that heads correct a 2.5D pose instead of a flat one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.encoders.encoder import Features
from model.networks.frame import axis_mean, spatial_softmax

# Channels of the convolution before the maps: about the work of the field's MLP on a training draw.
HEAD_CHANNELS = 128


class MapHead(nn.Module):
    """3x3 convolution on the 1/4 map and a vector, then `outputs` maps. All scales reach it, as they reach the field."""

    def __init__(self, channels: tuple[int, ...], vector: int, outputs: int):
        super().__init__()
        self.maps = nn.ModuleList(
            [nn.Conv2d(c, HEAD_CHANNELS, 3 if k == 0 else 1, 1, 1 if k == 0 else 0) for k, c in enumerate(channels)]
        )
        self.given = nn.Linear(vector, HEAD_CHANNELS)
        self.norm = nn.GroupNorm(8, HEAD_CHANNELS)
        self.out = nn.Conv2d(HEAD_CHANNELS, outputs, 1)

    def forward(self, pyramid: list[Tensor], vector: Tensor) -> Tensor:
        """pyramid: maps at 1/4, 1/8 and 1/16. vector: (B, C). Returns (B, outputs, h, w) float32 at 1/4."""
        x = sum(
            F.interpolate(conv(features), size=pyramid[0].shape[-2:], mode="bilinear", align_corners=False)
            for conv, features in zip(self.maps, pyramid, strict=True)
        )
        return self.out(F.relu(self.norm(x + self.given(vector)[:, :, None, None]))).float()


class Anchors(nn.ModuleList):
    """One module a stack. learns_depth: whether the anchors have a loss of their own."""

    learns_depth: bool

    def __init__(self, channels: tuple[int, int, int], context: int, stacks: int, joints: int):
        """channels: of the encoder's maps. context: width of its vector."""
        raise NotImplementedError

    def outputs(self) -> list[nn.Module]:
        """Layers whose answers the losses look at directly."""
        raise NotImplementedError

    def forward(self, features: Features, mean_depth: Tensor) -> tuple[list[Tensor], Tensor]:
        """Log-heatmaps (B, J, h, w) of every stack, and the anchors (B, J, 3) float32 crop coordinates of the last.

        mean_depth: (J,) crop coordinates, of the mean pose.
        """
        raise NotImplementedError


class HeatmapAnchors(Anchors):
    """A heatmap a joint; depths are the mean pose's."""

    learns_depth = False

    def __init__(self, channels: tuple[int, int, int], context: int, stacks: int, joints: int):
        nn.ModuleList.__init__(self, [nn.Conv2d(channels[0], joints, 1) for _ in range(stacks)])

    def outputs(self) -> list[nn.Module]:
        return list(self)

    def forward(self, features: Features, mean_depth: Tensor) -> tuple[list[Tensor], Tensor]:
        maps = [conv(pyramid[0]) for conv, pyramid in zip(self, features.pyramids, strict=True)]
        p = spatial_softmax(maps[-1])
        xy = torch.stack([axis_mean(p, 3)[0], axis_mean(p, 2)[0]], -1)
        return maps, torch.cat([xy, mean_depth.expand(len(xy), -1)[..., None]], -1)


class PoseAnchors(Anchors):
    """A heatmap and a depth map a joint, as latent 2.5D heatmaps (Iqbal et al. 2018); depths are read beyond the mean pose's."""

    learns_depth = True

    def __init__(self, channels: tuple[int, int, int], context: int, stacks: int, joints: int):
        nn.ModuleList.__init__(self, [MapHead(channels, context, 2 * joints) for _ in range(stacks)])

    def outputs(self) -> list[nn.Module]:
        return [head.get_submodule("out") for head in self]

    def forward(self, features: Features, mean_depth: Tensor) -> tuple[list[Tensor], Tensor]:
        found = [head(pyramid, features.context) for head, pyramid in zip(self, features.pyramids, strict=True)]
        logits, depths = found[-1].chunk(2, 1)
        p = spatial_softmax(logits)
        xy = torch.stack([axis_mean(p, 3)[0], axis_mean(p, 2)[0]], -1)
        depth = mean_depth + (p * depths).sum((2, 3))
        return [maps.chunk(2, 1)[0] for maps in found], torch.cat([xy, depth[..., None]], -1)


ANCHORS: dict[str, type[Anchors]] = {"heatmaps": HeatmapAnchors, "pose": PoseAnchors}
