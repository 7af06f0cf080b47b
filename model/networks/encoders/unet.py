"""A residual U of about a tenth of the hourglass's work, for processors and small crops."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.encoders.encoder import Encoder, EncoderSettings, Features, double, rectified


@dataclass(frozen=True)
class UNetSettings(EncoderSettings):
    """channels: width of the 1/4 map, a multiple of 8."""

    kind: str = "unet"
    channels: int = 32

    def __post_init__(self) -> None:
        if self.channels < 8 or self.channels % 8:
            raise ValueError(f"encoder channels {self.channels}: a unet takes multiples of 8 (group norm of 8 groups)")
        if self.context < 8:
            raise ValueError(f"encoder context {self.context}: at least 8")


class Residual(nn.Module):
    """Two 3x3 convolutions with group norm around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(8, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(8, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        nn.init.constant_(self.norm2.weight, 0.5)  # quieter branches at the start: fewer steps lost to warm-up

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.norm2(self.conv2(y)))


class UNet(Encoder):
    """128 px: 64 -> 32 -> 16 -> 8 -> 4 and back to 32. The bottom also gives the global context, which is fed back by FiLM,
    so that every pixel knows which way the person faces.
    """

    Settings = UNetSettings

    def __init__(self, settings: UNetSettings):
        c = settings.channels
        super().__init__(settings, (c, 2 * c, 4 * c))
        widths = (c, 2 * c, 4 * c, 4 * c)
        # on 2x2 pixels folded into channels: 4x cheaper than on pixels
        self.stem = nn.Conv2d(12, 32, 3, 1, 1, bias=False)
        self.stem_norm = nn.GroupNorm(8, 32)
        self.down = nn.ModuleList(
            [
                Residual(32, widths[0], 2),
                Residual(widths[0], widths[1], 2),
                Residual(widths[1], widths[2], 2),
                nn.Sequential(Residual(widths[2], widths[3], 2), Residual(widths[3], widths[3])),
            ]
        )
        self.context = nn.Linear(widths[3], settings.context)
        self.film = nn.Linear(settings.context, 2 * widths[2])
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.up = nn.ModuleList(
            [Residual(widths[3], widths[2]), Residual(widths[2], widths[1]), Residual(widths[1], widths[0])]
        )
        self.lateral = nn.ModuleList([nn.Conv2d(w, w, 1) for w in widths[2::-1]])

    def forward(self, image: Tensor) -> Features:
        """image: (B, 3, S, S), normalised, S a multiple of 32; one pyramid and the context."""
        x = F.relu(self.stem_norm(self.stem(F.pixel_unshuffle(image, 2))))
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        context = rectified(self.context(x.mean((2, 3))), self.settings.context_norm)
        scale, shift = self.film(context)[:, :, None, None].chunk(2, 1)
        x = self.up[0](double(x) + self.lateral[0](skips[2])) * (1 + scale) + shift
        sixteenth = x
        eighth = self.up[1](double(x)) + self.lateral[1](skips[1])
        quarter = self.up[2](double(eighth)) + self.lateral[2](skips[0])
        return Features([[quarter, eighth, sixteenth]], context)
