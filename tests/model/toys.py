"""A head and an encoder as a stranger would write them: one class and one settings record each, nothing else touched."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.networks.encoders.encoder import Encoder, EncoderSettings, Features
from model.networks.heads.head import Head, HeadInputs, HeadSettings
from model.networks.losses import Term, joint_loss
from model.networks.records import Decoded, Encoded
from model.networks.targets import Targets


@dataclass(frozen=True)
class NudgeSettings(HeadSettings):
    """weight: of its only loss."""

    kind: str = "nudge"
    weight: float = 1.0


class Nudge(Head):
    """Every joint is its anchor, moved by what the person's vector says."""

    Settings = NudgeSettings

    def __init__(self, settings: NudgeSettings, inputs: HeadInputs):
        super().__init__(settings, inputs)
        self.settings, self.move = settings, nn.Linear(inputs.person, 3 * len(inputs.joint_set))

    def outputs(self) -> list[nn.Module]:
        return [self.move]

    def joints(self, encoded: Encoded) -> Tensor:
        return encoded.anchors + self.move(encoded.person).float().unflatten(-1, (-1, 3))

    def losses(self, encoded: Encoded, targets: Targets, generator: torch.Generator | None) -> dict[str, Term]:
        return {"joint": Term(joint_loss(self.joints(encoded), targets), self.settings.weight)}

    def decode(self, encoded: Encoded, depth: Tensor) -> Decoded:
        joints = self.joints(encoded)
        return Decoded(joints, torch.zeros_like(joints[..., 0]), {})


@dataclass(frozen=True)
class PoolSettings(EncoderSettings):
    """channels: of every map."""

    kind: str = "pool"
    channels: int = 8


class Pool(Encoder):
    """Averages of pixels, mixed by one layer, with a batch norm whose statistics are buffers."""

    Settings = PoolSettings

    def __init__(self, settings: PoolSettings):
        super().__init__(settings, (settings.channels,) * 3)
        self.mix, self.norm = nn.Conv2d(3, settings.channels, 1), nn.BatchNorm2d(settings.channels)
        self.context = nn.Linear(settings.channels, settings.context)

    def forward(self, image: Tensor) -> Features:
        maps = self.norm(self.mix(nn.functional.avg_pool2d(image, 4)))
        pyramid = [maps, nn.functional.avg_pool2d(maps, 2), nn.functional.avg_pool2d(maps, 4)]
        return Features([pyramid], self.context(maps.mean((2, 3))))
