"""What an encoder is: it turns an image into feature maps at 1/4, 1/8 and 1/16 of its side and one global context vector.

A new encoder is one file with a settings record and a class, and one line in `build.ENCODERS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of an encoder. kind: its name in `build.ENCODERS`. context: width of the global vector. context_norm: whether that is
    normalised before it is rectified (`rectified`); runs of earlier versions have it false.
    """

    kind: str = ""
    context: int = 128
    context_norm: bool = True


class Features(NamedTuple):
    """pyramids: per stack the maps at 1/4, 1/8 and 1/16, each (B, C, side/stride, side/stride). context: (B, context)."""

    pyramids: list[list[Tensor]]
    context: Tensor


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that an optimiser treats alike. rate: times the run's learning rate. decay: whether matrices decay.
    frozen: no gradient, no optimiser state, no moving average. pretrained: Muon leaves them alone.
    """

    parameters: tuple[nn.Parameter, ...]
    rate: float = 1.0
    decay: bool = True
    frozen: bool = False
    pretrained: bool = False


class Encoder(nn.Module):
    """(B, 3, S, S) normalised pixels -> `Features`; S divides by 32.

    Settings: its settings record. channels: of the maps at 1/4, 1/8 and 1/16. stacks: pyramids, each of which is supervised.
    kept: plain values that, beside the settings, say how to build it again; they travel in a run's checkpoint, so that a run
    is opened without anything from outside it.
    """

    Settings: ClassVar[type[EncoderSettings]]

    def __init__(
        self, settings: EncoderSettings, channels: tuple[int, int, int], stacks: int = 1, kept: dict | None = None
    ):
        super().__init__()
        self.settings, self.channels, self.stacks, self.kept = settings, channels, stacks, kept or {}

    @classmethod
    def fresh(cls, settings: Any, crop_px: int) -> "Encoder":
        """The encoder of a new run. One that has learnt before reads its weights here, and only here."""
        return cls.rebuilt(settings, {})

    @classmethod
    def rebuilt(cls, settings: Any, kept: dict) -> "Encoder":
        """The same encoder without its weights, for a checkpoint to fill. kept: what `kept` was."""
        of_settings_alone = cast(Callable[[Any], Encoder], cls)  # as most are made
        return of_settings_alone(settings)

    @classmethod
    def published(cls, settings: Any, kept: dict) -> dict[str, Tensor]:
        """Weights that come with this program, by their names in the encoder: a model that is shipped beside them need not hold them
        again. kept: what `kept` was. Here: none.
        """
        return {}

    def normalise(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) pixels in [-1, 1] -> what the encoder takes.

        Here: zero mean and unit deviation in every channel of every image, so that dark rooms and coloured light look alike.
        """
        deviation, mean = torch.std_mean(image, (2, 3), keepdim=True)
        return (image - mean) / (deviation + 0.05)

    def parameter_groups(self) -> list[ParameterGroup]:
        """How its parameters are trained; every one of them is in one group."""
        return [ParameterGroup(tuple(self.parameters()))]

    def forward(self, image: Tensor) -> Features:
        """image: (B, 3, S, S), normalised."""
        raise NotImplementedError


def rectified(x: Tensor, norm: bool) -> Tensor:
    """ReLU of (B, ...), normalised over all but the first axis before. Without that, biases drift until hardly a unit of the global
    vector is above zero for any image, and what is never above zero learns no more (docs/log.md).
    """
    return F.relu(F.layer_norm(x, x.shape[1:]) if norm else x)


def double(x: Tensor) -> Tensor:
    """Twice the side, bilinear, on the pixel-centre convention that the field reads with."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
