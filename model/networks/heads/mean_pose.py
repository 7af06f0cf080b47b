"""The mean pose of the training split, whatever the image: what every head has to beat."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from model.data.batch import Batch
from model.networks.frame import reference_depth
from model.networks.heads.head import Head, HeadSettings
from model.networks.network import Network, NetworkConfig
from model.networks.records import Prediction, Statistics
from pipeline.skeletons import JOINT_SETS


@dataclass(frozen=True)
class MeanPoseSettings(HeadSettings):
    """It has no settings of its own."""

    kind: str = "mean_pose"


class MeanPoseNetwork(Network):
    """It has no parameters, sees no image and is not trained."""

    scale: Tensor

    def __init__(self, config: NetworkConfig, statistics: Statistics):
        super().__init__()
        self.config, self.joint_set = config, JOINT_SETS[config.joint_set]
        self.register_buffer("mean_pose", torch.as_tensor(statistics.mean_pose, dtype=torch.float32).clone())
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
            presence=torch.ones_like(scale),
            diagnostics={},
        )


class MeanPose(Head):
    """A head that needs no encoder, and so brings a network of its own."""

    Settings = MeanPoseSettings
    network: ClassVar[Callable[[Any, Any], Any] | None] = MeanPoseNetwork
