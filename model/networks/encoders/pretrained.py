"""What encoders that have learnt before share: what of them is frozen, how fast the rest learns, and the neck to our maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.encoders.encoder import Encoder, EncoderSettings, Features, ParameterGroup, double, rectified
from model.networks.encoders.unet import Residual

STRIDES = (4, 8, 16, 32)
UNTIL = "until:"


@dataclass(frozen=True)
class PretrainedSettings(EncoderSettings):
    """channels: width of the 1/4 map, a multiple of 8. freeze: "all", "none", or "until:STAGE", which freezes the stages up to that
    one. rate: how fast pretrained parts that are not frozen learn, times the run's learning rate.
    """

    channels: int = 32
    freeze: str = "all"
    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.channels < 8 or self.channels % 8:
            raise ValueError(f"channels {self.channels}: take a multiple of 8 (group norm of 8 groups)")
        if self.context < 8:
            raise ValueError(f"context {self.context}: at least 8")
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate {self.rate}: above 0 and at most 1; `freeze` keeps parts as they are")
        if self.freeze not in ("all", "none") and not self.freeze.startswith(UNTIL):
            raise ValueError(f'freeze {self.freeze!r}: choose "all", "none" or "{UNTIL}STAGE"')


def frozen_stages(freeze: str, stages: Sequence[str]) -> tuple[str, ...]:
    """Those of the stages that `freeze` names. Raises ValueError for a stage that does not exist."""
    if freeze == "all" or freeze == "none":
        return tuple(stages) if freeze == "all" else ()
    name = freeze.removeprefix(UNTIL)
    if name not in stages:
        choices = [*(f"{UNTIL}{stage}" for stage in stages), "all", "none"]
        raise ValueError(f"freeze {freeze!r}: there is no such stage; choose one of {', '.join(choices)}")
    return tuple(stages[: list(stages).index(name) + 1])


class Neck(nn.Module):
    """Maps at 1/4, 1/8, 1/16 and 1/32 of any widths -> ours. The coarsest gives the context, which is fed back by FiLM, so that every
    pixel knows which way the person faces.

    inputs: channels of the four maps. channels: of the three that come out: c, 2 c, 4 c. norm: `EncoderSettings.context_norm`.
    """

    def __init__(self, inputs: Sequence[int], c: int, context: int, norm: bool = True):
        super().__init__()
        self.norm = norm
        self.channels = (c, 2 * c, 4 * c)
        self.top = nn.Conv2d(inputs[3], 4 * c, 1)
        self.lateral = nn.ModuleList([nn.Conv2d(a, b, 1) for a, b in zip(inputs, self.channels, strict=False)])
        self.up = nn.ModuleList([Residual(2 * c, c), Residual(4 * c, 2 * c), Residual(4 * c, 4 * c)])
        self.pool = nn.Conv2d(4 * c, context, 1)
        self.context = nn.Linear(context * 16, context)
        self.film = nn.Linear(context, 8 * c)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, maps: Sequence[Tensor], side: int) -> Features:
        """side: of the image, pixels. Maps of other sides than its quarter and so on are brought there after their channels are
        ours: the same as before, and cheaper.
        """
        sizes = [side // stride for stride in STRIDES]
        lateral = [to_side(conv(m), size) for conv, m, size in zip(self.lateral, maps, sizes, strict=False)]
        top = F.relu(to_side(self.top(maps[3]), sizes[3]))
        # 4 x 4 places of the image, whatever its side
        places = F.adaptive_avg_pool2d(rectified(self.pool(top), self.norm), 4)
        context = rectified(self.context(places.flatten(1)), self.norm)
        scale, shift = self.film(context)[:, :, None, None].chunk(2, 1)
        sixteenth = self.up[2](double(top) + lateral[2]) * (1 + scale) + shift
        eighth = self.up[1](double(sixteenth)) + lateral[1]
        quarter = self.up[0](double(eighth)) + lateral[0]
        return Features([[quarter, eighth, sixteenth]], context)


def to_side(x: Tensor, side: int) -> Tensor:
    """A square map of another number of cells, bilinear."""
    return x if x.shape[-1] == side else F.interpolate(x, (side, side), mode="bilinear", align_corners=False)


class PretrainedEncoder(Encoder):
    """A pretrained network under a neck that is trained from nothing.

    pretrained: the network. stages: name -> its modules, from the image on, each a name within `pretrained`; what is in no stage
    is frozen with "all" only. inputs: channels of the four maps that `read` gives.
    """

    def __init__(
        self,
        settings: Any,
        pretrained: nn.Module,
        stages: dict[str, tuple[str, ...]],
        inputs: Sequence[int],
        kept: dict | None = None,
    ):
        neck = Neck(inputs, settings.channels, settings.context, settings.context_norm)
        super().__init__(settings, neck.channels, kept=kept)
        # Kernels and images of a processor are two to three times faster with channels last, in half precision above all.
        for parameter in pretrained.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.settings: PretrainedSettings = settings
        self.pretrained, self.neck, self.stages = pretrained, neck, stages
        self.frozen = frozen_stages(settings.freeze, tuple(stages))

    def read(self, image: Tensor) -> list[Tensor]:
        """The pretrained network's maps of normalised images at STRIDES, or near them."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Features:
        return self.neck(self.read(image.contiguous(memory_format=torch.channels_last)), image.shape[-1])

    def frozen_modules(self) -> list[nn.Module]:
        """The parts that stay as they are."""
        if self.settings.freeze == "all":
            return [self.pretrained]
        return [self.pretrained.get_submodule(name) for stage in self.frozen for name in self.stages[stage]]

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """As for every module; what is frozen stays in evaluation mode: no dropout, no new statistics."""
        super().train(mode)
        for module in self.frozen_modules():
            module.eval()
        return self

    def parameter_groups(self) -> list[ParameterGroup]:
        fixed = {id(p) for module in self.frozen_modules() for p in module.parameters()}
        known = list(self.pretrained.parameters())
        frozen = tuple(p for p in known if id(p) in fixed)
        free = tuple(p for p in known if id(p) not in fixed)
        return [
            ParameterGroup(frozen, frozen=True, pretrained=True),
            ParameterGroup(free, rate=self.settings.rate, decay=False, pretrained=True),
            ParameterGroup(tuple(self.neck.parameters())),
        ]
