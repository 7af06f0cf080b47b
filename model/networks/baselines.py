"""What the field is compared with. Same crops, intrinsics, encoder, auxiliary heatmaps, scale head and canonical frame, and each head
is given the whole-person vector as the field is. The field has beside its head what a mesh tells (distance, limb).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.data.batch import Batch
from model.networks.hourglass import Features
from model.networks.losses import joint_loss
from model.networks.nvf import NetworkConfig, PoseNetwork, Prediction, Statistics, axis_mean
from model.networks.targets import HALF, Targets, reference_depth

# Channels of the convolution before the maps: about the work of the field's MLP on a training draw.
HEAD_CHANNELS = 128


class MeanPose(nn.Module):
    """The mean pose of the training split, whatever the image. It has no parameters and is not trained."""

    def __init__(self, config: NetworkConfig, statistics: Statistics):
        super().__init__()
        self.config = config
        self.register_buffer("mean_pose", torch.as_tensor(statistics.mean_pose, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(statistics.log_scale_mean).exp())

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {"total": batch.K.new_zeros(())}

    def predict(self, image: Tensor, K: Tensor, scale: Tensor | None = None) -> Prediction:
        """The same joints for every crop; the root where D0 and the mean scale put it."""
        depth = reference_depth(K, self.config.crop_px)
        scale = self.scale.expand(len(K)) if scale is None else scale
        joints = self.mean_pose.expand(len(K), -1, -1)
        root = torch.stack([torch.zeros_like(depth), torch.zeros_like(depth), depth], -1)
        return Prediction(
            joints=joints,
            scale=scale,
            joints_canonical=joints * scale[:, None, None] + root[:, None],
            root=root / scale[:, None],
            confidence=torch.zeros_like(joints[..., 0]),
            diagnostics={},
        )


class StackedHead(PoseNetwork):
    """A head per stack that turns a pyramid into joints, trained by the loss on joints alone."""

    def make_head(self) -> nn.Module:
        raise NotImplementedError

    def __init__(self, config: NetworkConfig, statistics: Statistics):
        super().__init__(config, statistics)
        self.heads = nn.ModuleList([self.make_head() for _ in range(config.encoder.stacks)])

    def outputs(self) -> list[nn.Module]:
        return [*super().outputs(), *(head[-1] if isinstance(head, nn.Sequential) else head.out for head in self.heads)]

    def read(self, head: nn.Module, pyramid: list[Tensor], seen: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """joints (B, J, 3) in crop coordinates and spread (B, J) m. seen: (B, J, 3) and given: (B, context), of `look`."""
        raise NotImplementedError

    def head_losses(
        self, features: Features, seen: Tensor, given: Tensor, targets: Targets, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        found = [
            self.read(head, maps, seen, given)[0] for head, maps in zip(self.heads, features.pyramids, strict=True)
        ]
        return {"joint": sum(joint_loss(joints, targets) for joints in found)}

    def decode(
        self, features: Features, seen: Tensor, given: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        joints, spread = self.read(self.heads[-1], features.pyramids[-1], seen, given)
        return joints, spread, {"spread": spread}


class Holistic(StackedHead):
    """Direct regression of all joints from pooled features, as a change of the mean pose."""

    def make_head(self) -> nn.Module:
        pooled = sum(self.encoder.channels) + self.config.encoder.context
        return nn.Sequential(nn.Linear(pooled, 512), nn.ReLU(), nn.Linear(512, 3 * len(self.joint_set)))

    def read(self, head: nn.Module, pyramid: list[Tensor], seen: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        pooled = torch.cat([features.mean((2, 3)) for features in pyramid] + [given], -1)
        change = head(pooled).float().unflatten(-1, (-1, 3))
        joints = self.mean_pose * (self.log_scale[0].exp() / HALF) + change
        return joints, torch.zeros_like(joints[..., 0])


class MapHead(nn.Module):
    """3x3 convolution on the 1/4 map and the given vector, then `outputs` maps. All scales reach it, as they reach the field."""

    def __init__(self, channels: tuple[int, ...], given: int, outputs: int):
        super().__init__()
        self.maps = nn.ModuleList(
            [nn.Conv2d(c, HEAD_CHANNELS, 3 if k == 0 else 1, 1, 1 if k == 0 else 0) for k, c in enumerate(channels)]
        )
        self.given = nn.Linear(given, HEAD_CHANNELS)
        self.norm = nn.GroupNorm(8, HEAD_CHANNELS)
        self.out = nn.Conv2d(HEAD_CHANNELS, outputs, 1)

    def forward(self, pyramid: list[Tensor], given: Tensor) -> Tensor:
        x = sum(
            F.interpolate(conv(features), size=pyramid[0].shape[-2:], mode="bilinear", align_corners=False)
            for conv, features in zip(self.maps, pyramid, strict=True)
        )
        return self.out(F.relu(self.norm(x + self.given(given)[:, :, None, None]))).float()


class Heatmap25D(StackedHead):
    """Latent 2.5D heatmaps (Iqbal et al. 2018): a soft-argmax in the image and the depth map read under it.

    The depth maps hold what lies beyond the mean depth of each joint.
    """

    def make_head(self) -> nn.Module:
        return MapHead(self.encoder.channels, self.config.encoder.context, 2 * len(self.joint_set))

    def read(self, head: nn.Module, pyramid: list[Tensor], seen: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        logits, depths = head(pyramid, given).chunk(2, 1)
        p = logits.flatten(2).softmax(-1).view(logits.shape)
        (x, across), (y, down) = axis_mean(p, 3), axis_mean(p, 2)
        z = (p * depths).sum((2, 3))
        along = (p * depths.square()).sum((2, 3)) - z.square()
        return torch.stack([x, y, seen[..., 2] + z], -1), HALF * (across + down + along).clamp(min=0).sqrt()


class Volumetric(StackedHead):
    """Soft-argmax over the canonical volume (Sun et al. 2018; MeTRAbs): `slices` depths behind every cell of the 1/4 map."""

    def make_head(self) -> nn.Module:
        return MapHead(self.encoder.channels, self.config.encoder.context, len(self.joint_set) * self.config.slices)

    def read(self, head: nn.Module, pyramid: list[Tensor], seen: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(pyramid, given).unflatten(1, (-1, self.config.slices))
        p = logits.flatten(2).softmax(-1).view(logits.shape)
        (z, along), (y, down), (x, across) = axis_mean(p, 2), axis_mean(p, 3), axis_mean(p, 4)
        return torch.stack([x, y, z], -1), HALF * (across + down + along).clamp(min=0).sqrt()


HEADS = {"mean_pose": MeanPose, "holistic": Holistic, "heatmap25d": Heatmap25D, "volumetric": Volumetric}
