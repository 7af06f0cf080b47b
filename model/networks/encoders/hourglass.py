"""The published stacked hourglass (Newell et al. 2016), with group norm and average pooling as in the hand original."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.encoders.encoder import Encoder, EncoderSettings, Features, double, rectified


@dataclass(frozen=True)
class HourglassSettings(EncoderSettings):
    """channels: width of every map, a multiple of 32. stacks: hourglasses in a row, each supervised (1 to 4). depth: halvings
    inside an hourglass, at least 2: the maps at 1/8 and 1/16 come from there.
    """

    kind: str = "hourglass"
    channels: int = 256
    stacks: int = 1
    depth: int = 2

    def __post_init__(self) -> None:
        if self.channels < 32 or self.channels % 32:
            raise ValueError(
                f"encoder channels {self.channels}: an hourglass takes multiples of 32 (group norm of 8 groups)"
            )
        if not 1 <= self.stacks <= 4:
            raise ValueError(f"encoder stacks {self.stacks}: an hourglass encoder has 1 to 4")
        if self.depth < 2 or self.context < 8:
            raise ValueError(f"depth {self.depth}, context {self.context}: depth is at least 2, context at least 8")


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


class StackedHourglass(Encoder):
    """`stacks` hourglasses on the 1/4 map, each fed with the sum of its predecessor's input and output."""

    Settings = HourglassSettings

    def __init__(self, settings: HourglassSettings):
        c = settings.channels
        super().__init__(settings, (c, c, c), settings.stacks)
        self.stem = nn.Sequential(nn.Conv2d(3, c // 4, 7, 2, 3, bias=False), nn.GroupNorm(8, c // 4), nn.ReLU())
        self.enter = nn.ModuleList([nn.Conv2d(c // 4, c // 2, 1), Bottleneck(c // 2, c // 2), Bottleneck(c // 2, c)])
        self.hourglasses = nn.ModuleList([Hourglass(c, settings.depth) for _ in range(settings.stacks)])
        self.out = nn.ModuleList(
            [
                nn.Sequential(Bottleneck(c, c), nn.Conv2d(c, c, 1), nn.GroupNorm(8, c), nn.ReLU())
                for _ in range(settings.stacks)
            ]
        )
        self.again = nn.ModuleList([nn.Conv2d(c, c, 1) for _ in range(settings.stacks - 1)])
        self.context = nn.Linear(c, settings.context)

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
        context = self.context(maps[-1].mean((2, 3)))
        return Features(pyramids, rectified(context, self.settings.context_norm))
