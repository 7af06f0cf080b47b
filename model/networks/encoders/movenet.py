"""MoveNet's 2D pose network, written again in torch: MobileNetV2, a feature pyramid and four heads (batch norm is folded).

Its weights are Google's, Apache-2.0, trained on the people of COCO and on videos of yoga, fitness and dance (assets/). It takes
RGB pixels in [-1, 1].
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.encoders.encoder import double

STAGES = ("stem", "stage1", "stage2", "stage3", "stage4", "stage5")
# Of the six kinds of blocks after the stem: how many there are, the stride of the first, and the number of the stage that has them.
REPEATS, STRIDES, STAGE_OF = (2, 3, 4, 3, 3, 1), (2, 2, 2, 1, 2, 1), (1, 2, 3, 4, 5, 5)
EXPANSION = 6
TOP, PYRAMID, HIDDEN = 1280, (64, 32, 24, 24), 96  # channels above the last stage, of the pyramid, and of a head
HEADS = {"heatmap": 17, "centre": 1, "regression": 34, "offset": 34}  # values a cell, see `PoseMaps`
STRIDE = 4  # pixels a cell of the heads


@dataclass(frozen=True)
class Widths:
    """Channels of one MoveNet. stem: after the first convolution. first: at the end of the stem. kinds: of the six kinds of blocks
    that follow. side: of the images that it was trained on, pixels.
    """

    stem: int
    first: int
    kinds: tuple[int, int, int, int, int, int]
    side: int


WIDTHS = {
    "lightning": Widths(32, 16, (24, 32, 64, 96, 160, 320), 192),
    "thunder": Widths(56, 32, (40, 56, 112, 168, 280, 560), 256),
}


class Convolution(nn.Conv2d):
    """A convolution with TensorFlow's padding: at stride 2 a 3x3 kernel has one row and column more below and to the right only."""

    def __init__(self, inputs: int, outputs: int, side: int = 1, stride: int = 1, groups: int = 1, bias: bool = True):
        super().__init__(inputs, outputs, side, stride, side // 2 if stride == 1 else 0, groups=groups, bias=bias)

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:  # torch would take its time to draw nothing
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)) if self.stride[0] == 2 else x)


class Block(nn.Module):
    """Expand, filter each channel, project; added to its input where both have the same shape."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        inner = EXPANSION * inputs
        self.expand = Convolution(inputs, inner)
        self.depthwise = Convolution(inner, inner, 3, stride, inner)
        self.project = Convolution(inner, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(F.relu6(self.depthwise(F.relu6(self.expand(x)))))
        return x + y if self.residual else y


class Stem(nn.Module):
    """The first convolution, to half the side, and the block without expansion."""

    def __init__(self, widths: Widths):
        super().__init__()
        self.convolution = Convolution(3, widths.stem, 3, 2)
        self.depthwise = Convolution(widths.stem, widths.stem, 3, 1, widths.stem)
        self.project = Convolution(widths.stem, widths.first)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.relu6(self.depthwise(F.relu6(self.convolution(x)))))


class Backbone(nn.Module):
    """MobileNetV2 without its last convolution. channels: at the end of each of STAGES."""

    def __init__(self, widths: Widths):
        super().__init__()
        blocks: list[list[nn.Module]] = [[] for _ in STAGES]
        inputs = widths.first
        for outputs, repeats, stride, stage in zip(widths.kinds, REPEATS, STRIDES, STAGE_OF, strict=True):
            for k in range(repeats):
                blocks[stage].append(Block(inputs, outputs, 1 if k else stride))
                inputs = outputs
        self.stages = nn.ModuleList([Stem(widths), *(nn.Sequential(*stage) for stage in blocks[1:])])
        self.channels = (widths.first, *widths.kinds[:4], widths.kinds[5])

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, S, S) RGB in [-1, 1] -> maps at the end of each of STAGES, at 1/2, 1/4, 1/8, 1/16, 1/16 and 1/32 of S.

        S divides by 32.
        """
        maps = [image]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


class Separable(nn.Module):
    """A 3x3 filter for each channel, then a mixture of channels."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.depthwise = Convolution(inputs, inputs, 3, groups=inputs, bias=False)
        self.pointwise = Convolution(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.pointwise(self.depthwise(x)))


class Pyramid(nn.Module):
    """Stages read from the coarsest to the finest, doubled and added on the way: maps at 1/16, 1/8 and 1/4."""

    def __init__(self, widths: Widths):
        super().__init__()
        self.top = Convolution(widths.kinds[5], TOP)
        read = (TOP, *widths.kinds[2::-1])  # the last stage, and the ends of stages 3, 2 and 1
        self.lateral = nn.ModuleList([Convolution(a, b) for a, b in zip(read, (PYRAMID[0], *PYRAMID[:3]), strict=True)])
        self.smooth = nn.ModuleList([Separable(a, b) for a, b in zip(PYRAMID, PYRAMID[1:], strict=False)])

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        x, maps = self.lateral[0](F.relu6(self.top(stages[5]))), []
        for lateral, smooth, stage in zip(self.lateral[1:], self.smooth, stages[3:0:-1], strict=True):
            x = smooth(double(x) + lateral(stage))
            maps.append(x)
        return maps


class Head(nn.Module):
    """From the 1/4 map to `outputs` values a cell."""

    def __init__(self, outputs: int):
        super().__init__()
        self.hidden = Separable(PYRAMID[-1], HIDDEN)
        self.out = Convolution(HIDDEN, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x))


class PoseMaps(NamedTuple):
    """What MoveNet says of each cell at 1/4 of the side, (B, ..., h, w).

    heatmap: (17,) logits of COCO's keypoints. centre: (1,) logit of the person's centre. regression: (34,) keypoints seen from
    the centre, in cells, y before x. offset: (34,) place of each keypoint in its cell, in cells, y before x.
    """

    heatmap: Tensor
    centre: Tensor
    regression: Tensor
    offset: Tensor


class MoveNet(nn.Module):
    """The whole network. kind: one of WIDTHS."""

    def __init__(self, kind: str):
        super().__init__()
        self.backbone = Backbone(WIDTHS[kind])
        self.pyramid = Pyramid(WIDTHS[kind])
        self.heads = nn.ModuleDict({name: Head(outputs) for name, outputs in HEADS.items()})

    def forward(self, image: Tensor) -> PoseMaps:
        """image: (B, 3, S, S) RGB in [-1, 1]; S divides by 32."""
        quarter = self.pyramid(self.backbone(image))[-1]
        return PoseMaps(**{name: head(quarter) for name, head in self.heads.items()})


def decode_keypoints(maps: PoseMaps) -> tuple[Tensor, Tensor]:
    """COCO's 17 keypoints of the person nearest the middle: (B, 17, 2) pixels, x before y, and (B, 17) scores 0..1.

    The centre's cell says roughly where each keypoint is; the heatmap's best cell near there, and its offset, say where exactly.
    Centre and keypoints are weighed by 1 / (distance in cells + 1.8), as published.
    """
    batch, joints, h, w = maps.heatmap.shape
    device = maps.heatmap.device
    cells = (
        torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), -1).view(-1, 2).to(device).float()
    )
    heat = maps.heatmap.float().sigmoid().flatten(2)  # (B, J, h w)
    middle = cells.new_tensor([h / 2, w / 2])
    centre = maps.centre.float().sigmoid().flatten(1) / ((cells - middle).norm(dim=-1) + 1.8)
    row = torch.arange(batch, device=device)
    best = centre.argmax(1)  # (B,)
    rough = maps.regression.float().flatten(2)[row, :, best].view(batch, joints, 2) + cells[best][:, None]
    distance = torch.cdist(rough, cells.expand(batch, -1, -1), compute_mode="donot_use_mm_for_euclid_dist")
    cell = (heat / (distance + 1.8)).argmax(2)  # (B, J)
    offset = maps.offset.float().view(batch, joints, 2, h * w)
    within = offset.gather(3, cell[..., None, None].expand(-1, -1, 2, 1))[..., 0]
    yx = STRIDE * (cells[cell] + within) - 0.5
    return yx.flip(-1), heat.gather(2, cell[..., None])[..., 0]
