"""Encoders: an image becomes feature maps at 1/4, 1/8 and 1/16 of its side and one global context vector.

Two shapes with one interface: "hourglass", the published stacked hourglass (Newell et al. 2016, with group norm and average
pooling as in the hand original), and "unet", a residual U of about a tenth of the work, for processors and small crops.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class EncoderConfig:
    """kind: "unet" or "hourglass". channels: width of the 1/4 map. stacks: hourglasses in a row, each supervised (1 to 4;
    the unet has one). depth: halvings inside an hourglass (at least 2, the maps at 1/8 and 1/16 come from there).
    context: width of the global vector.
    """

    kind: str = "unet"
    channels: int = 32
    stacks: int = 1
    depth: int = 2
    context: int = 128

    def __post_init__(self):
        if self.kind not in ("unet", "hourglass"):
            raise ValueError(f"encoder kind {self.kind!r}: choose unet or hourglass")
        step = 32 if self.kind == "hourglass" else 8
        if self.channels < step or self.channels % step:
            raise ValueError(
                f"encoder channels {self.channels}: a {self.kind} takes multiples of {step} (group norm of 8 groups)"
            )
        if not 1 <= self.stacks <= 4 or (self.kind == "unet" and self.stacks != 1):
            raise ValueError(f"{self.stacks} stacks for {self.kind}: a hourglass has 1 to 4, a unet one")
        if self.depth < 2 or self.context < 8:
            raise ValueError(f"depth {self.depth}, context {self.context}: depth is at least 2, context at least 8")


class Features(NamedTuple):
    """pyramids: per stack the maps at 1/4, 1/8 and 1/16, each (B, C, side/stride, side/stride). context: (B, context)."""

    pyramids: list[list[Tensor]]
    context: Tensor


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


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 pre-activated residual of the stacked hourglass."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        half = outputs // 2
        self.norms = nn.ModuleList([nn.GroupNorm(8, c) for c in (inputs, half, half)])
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(inputs, half, 1, bias=False),
                nn.Conv2d(half, half, 3, 1, 1, bias=False),
                nn.Conv2d(half, outputs, 1),
            ]
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.relu(norm(y)))
        return self.shortcut(x) + y


def double(x: Tensor) -> Tensor:
    """Twice the side, bilinear, on the pixel-centre convention that the field reads with."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class UNetEncoder(nn.Module):
    """128 px: 64 -> 32 -> 16 -> 8 -> 4 and back to 32. The bottom also gives the global context, which is fed back by FiLM,
    so that every pixel knows which way the person faces.
    """

    def __init__(self, config: EncoderConfig):
        super().__init__()
        c = config.channels
        widths = (c, 2 * c, 4 * c, 4 * c)
        self.channels = (c, 2 * c, 4 * c)
        self.stem = nn.Conv2d(
            12, 32, 3, 1, 1, bias=False
        )  # on 2x2 pixels folded into channels: 4x cheaper than on pixels
        self.stem_norm = nn.GroupNorm(8, 32)
        self.down = nn.ModuleList(
            [
                Residual(32, widths[0], 2),
                Residual(widths[0], widths[1], 2),
                Residual(widths[1], widths[2], 2),
                nn.Sequential(Residual(widths[2], widths[3], 2), Residual(widths[3], widths[3])),
            ]
        )
        self.context = nn.Linear(widths[3], config.context)
        self.film = nn.Linear(config.context, 2 * widths[2])
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.up = nn.ModuleList(
            [Residual(widths[3], widths[2]), Residual(widths[2], widths[1]), Residual(widths[1], widths[0])]
        )
        self.lateral = nn.ModuleList([nn.Conv2d(w, w, 1) for w in widths[2::-1]])

    def forward(self, image: Tensor) -> Features:
        x = F.relu(self.stem_norm(self.stem(F.pixel_unshuffle(image, 2))))
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        context = F.relu(self.context(x.mean((2, 3))))
        scale, shift = self.film(context)[:, :, None, None].chunk(2, 1)
        x = self.up[0](double(x) + self.lateral[0](skips[2])) * (1 + scale) + shift
        sixteenth = x
        eighth = self.up[1](double(x)) + self.lateral[1](skips[1])
        quarter = self.up[2](double(eighth)) + self.lateral[2](skips[0])
        return Features([[quarter, eighth, sixteenth]], context)


class Hourglass(nn.Module):
    """One hourglass: down `depth` times by average pooling and back up with skips; returns the maps of the way up, largest
    first.
    """

    def __init__(self, channels: int, depth: int):
        super().__init__()
        self.skip = nn.ModuleList([Bottleneck(channels, channels) for _ in range(depth)])
        self.down = nn.ModuleList([Bottleneck(channels, channels) for _ in range(depth)])
        self.bottom = Bottleneck(channels, channels)
        self.up = nn.ModuleList([Bottleneck(channels, channels) for _ in range(depth)])

    def forward(self, x: Tensor) -> list[Tensor]:
        skips = []
        for skip, down in zip(self.skip, self.down, strict=True):
            skips.append(skip(x))
            x = down(F.avg_pool2d(x, 2))
        maps = [self.bottom(x)]
        for skip, up in zip(reversed(skips), reversed(self.up), strict=True):
            maps.append(double(up(maps[-1])) + skip)
        return maps[::-1]


class HourglassEncoder(nn.Module):
    """`stacks` hourglasses on the 1/4 map, each fed with the sum of its predecessor's input and output."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        c = config.channels
        self.channels = (c, c, c)
        self.stem = nn.Sequential(nn.Conv2d(3, c // 4, 7, 2, 3, bias=False), nn.GroupNorm(8, c // 4), nn.ReLU())
        self.enter = nn.ModuleList([nn.Conv2d(c // 4, c // 2, 1), Bottleneck(c // 2, c // 2), Bottleneck(c // 2, c)])
        self.hourglasses = nn.ModuleList([Hourglass(c, config.depth) for _ in range(config.stacks)])
        self.out = nn.ModuleList(
            [
                nn.Sequential(Bottleneck(c, c), nn.Conv2d(c, c, 1), nn.GroupNorm(8, c), nn.ReLU())
                for _ in range(config.stacks)
            ]
        )
        self.again = nn.ModuleList([nn.Conv2d(c, c, 1) for _ in range(config.stacks - 1)])
        self.context = nn.Linear(c, config.context)

    def forward(self, image: Tensor) -> Features:
        x = self.enter[1](self.enter[0](self.stem(image)))
        x = self.enter[2](F.avg_pool2d(x, 2))
        pyramids = []
        for k, (hourglass, out) in enumerate(zip(self.hourglasses, self.out, strict=True)):
            maps = hourglass(x)
            quarter = out(maps[0])
            pyramids.append([quarter, maps[1], maps[2]])
            if k < len(self.again):
                x = x + self.again[k](quarter)
        return Features(pyramids, F.relu(self.context(maps[-1].mean((2, 3)))))


def build_encoder(config: EncoderConfig) -> nn.Module:
    """An encoder with `.channels` (of the three maps) that turns (B, 3, S, S) in [-1, 1] into Features; S divides by 32."""
    return UNetEncoder(config) if config.kind == "unet" else HourglassEncoder(config)
