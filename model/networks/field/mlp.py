"""The voting field: at any point of the canonical volume, one signed distance, a vote for every joint, and the limb it belongs to."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class MlpSettings:
    """hidden: widths of the MLP. octaves: of the Fourier code of depth, the longest period is the volume's side.
    skip: what is concatenated to every layer's input: "code" (position and depth), or "all" (the pixel feature as well, as
    published). film: the depth code scales the first layer's pixel feature, not only shifts it.
    """

    hidden: tuple[int, ...] = (128, 128, 96)
    octaves: int = 5
    skip: str = "code"
    film: bool = True

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"mlp widths {self.hidden}: give at least one, above 0")
        if self.octaves < 1:
            raise ValueError(f"{self.octaves} octaves: the depth code needs at least 1")
        if self.skip not in ("code", "all"):
            raise ValueError(f"skip {self.skip!r}: choose code or all")


class FieldOutput(NamedTuple):
    """distance: (B, N) in units of the truncation, through tanh. votes: (B, N, J, C) raw: the C channels of the head's votes.
    limbs: (B, N, J - 1) logits of the nearest bone; only training asks for them.
    """

    distance: Tensor
    votes: Tensor
    limbs: Tensor


class Prepared(NamedTuple):
    """What points read. maps: per scale (B, side, side, C), the first layer's answer to every pixel. person: (B, 1, C), its
    answer to the whole person. anchors: (B, 1, J, 3) crop coordinates, where the image shows each joint (`Encoded.anchors`).
    """

    maps: list[Tensor]
    person: Tensor
    anchors: Tensor


def read_pixels(features: Tensor, xy: Tensor) -> Tensor:
    """Bilinear reading of (B, h, w, C) at crop coordinates (B, N, 2) -> (B, N, C); the border goes on outwards.

    The same as `grid_sample` (align_corners=False, padding "border"), as one weighted sum of four rows a point, which is
    several times faster with many channels.
    """
    B, h, w, C = features.shape
    with torch.no_grad():
        size = torch.tensor([w, h], dtype=torch.float32, device=xy.device)
        pixel = ((xy.float() + 1) * size / 2 - 0.5).clamp(min=0)
        pixel = torch.minimum(pixel, size - 1)
        low = (
            torch.minimum(pixel.floor(), size - 2).clamp(min=0).nan_to_num()
        )  # a row that is there; what is read stays NaN
        part = pixel - low
        x, y = low[..., 0].int(), low[..., 1].int()
        right, down = (1 if w > 1 else 0), (w if h > 1 else 0)
        corner = torch.arange(B, device=xy.device, dtype=torch.int32)[:, None] * (h * w) + y * w + x
        index = torch.stack([corner, corner + right, corner + down, corner + down + right], -1)
        a, b = part[..., 0], part[..., 1]
        weight = torch.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b], -1)
    rows = features.reshape(B * h * w, C)
    read = F.embedding_bag(
        index.flatten(0, 1), rows, mode="sum", per_sample_weights=weight.flatten(0, 1).to(rows.dtype)
    )
    return read.view(B, -1, C)


def position_code(q: Tensor, octaves: int) -> Tensor:
    """(..., 3) crop coordinates -> (..., 3 + 2 octaves): the coordinates and Fourier features of depth, float32."""
    turns = math.pi * 2.0 ** torch.arange(octaves, device=q.device, dtype=torch.float32)
    angle = q[..., 2:].float() * turns
    return torch.cat([q.float(), angle.sin(), angle.cos()], -1)


class VotingField(nn.Module):
    """MLP on the pixel-aligned feature, the global context and the position code.

    The first layer is linear in the feature, so it is applied to whole maps before they are read: many points then cost little
    more than few.
    """

    def __init__(
        self,
        config: MlpSettings,
        channels: tuple[int, ...],
        person: int,
        joints: int,
        vote_channels: int,
        anchored: bool,
    ):
        """channels: of the encoder's maps. person: width of the vector of the whole person. vote_channels: C, a vote's raw
        numbers, the first three a vector. anchored: these three are a correction of the vector from the point to the anchor.
        """
        super().__init__()
        self.config, self.joints, self.vote_channels, self.anchored = config, joints, vote_channels, anchored
        code = 3 + 2 * config.octaves
        first = config.hidden[0]
        self.maps = nn.ModuleList([nn.Linear(c, first, bias=False) for c in channels])
        self.given = nn.Linear(person, first)
        self.code = nn.Linear(code, 2 * first if config.film else first)
        skip = code + (first if config.skip == "all" else 0)
        self.layers = nn.ModuleList(
            [nn.Linear(a + skip, b) for a, b in zip(config.hidden[:-1], config.hidden[1:], strict=True)]
        )
        self.out = nn.Linear(config.hidden[-1] + skip, 1 + vote_channels * joints + joints - 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)
        if anchored:
            self._start_at_anchors()

    @torch.no_grad()
    def _start_at_anchors(self) -> None:
        """Every point begins by voting for the joint's anchor.

        Without it the last layer must first learn to subtract the point itself, a weight of -1 that takes an optimiser with a
        rate of 1e-3 a thousand steps, and then to repeat the 2D joints, which it does worse than they were.
        """
        C = self.vote_channels
        vectors = self.out.weight[1 : 1 + C * self.joints].unflatten(0, (self.joints, C))[:, :3]
        first = self.config.hidden[-1]  # where the position starts in the last layer's input
        vectors[:, :, first : first + 3] = -torch.eye(3)

    def prepare(self, pyramid: list[Tensor], person: Tensor, anchors: Tensor) -> Prepared:
        """The maps that points read. person: (B, C), the same for every pixel. anchors: (B, J, 3) crop coordinates."""
        maps = [layer(features.permute(0, 2, 3, 1)) for layer, features in zip(self.maps, pyramid, strict=True)]
        return Prepared(maps, self.given(person)[:, None], anchors[:, None])

    def hidden(self, prepared: Prepared, q: Tensor) -> Tensor:
        """Input of the last layer at (B, N, 3) crop coordinates."""
        feature = sum((read_pixels(features, q[..., :2]) for features in prepared.maps), prepared.person)
        code = position_code(q, self.config.octaves)
        if self.config.film:
            scale, shift = self.code(code).chunk(2, -1)
            x = torch.addcmul(feature + shift, feature, scale)
        else:
            x = feature + self.code(code)
        code = code.to(x.dtype)
        skip = torch.cat([code, feature], -1) if self.config.skip == "all" else code
        for layer in self.layers:
            x = layer(torch.cat([F.leaky_relu(x, 0.1), skip], -1))
        return torch.cat([F.leaky_relu(x, 0.1), skip], -1)

    def forward(self, prepared: Prepared, q: Tensor) -> FieldOutput:
        """Distance, votes and limbs at (B, N, 3) crop coordinates."""
        x = self.out(self.hidden(prepared, q)).float()
        distance, votes, limbs = x.split([1, self.vote_channels * self.joints, self.joints - 1], -1)
        votes = votes.unflatten(-1, (self.joints, self.vote_channels))
        if self.anchored:
            votes = torch.cat([votes[..., :3] + prepared.anchors, votes[..., 3:]], -1)
        return FieldOutput(distance[..., 0].tanh(), votes, limbs)

    def distance(self, prepared: Prepared, q: Tensor) -> Tensor:
        """(B, N) distance only, for the search of the surface."""
        return F.linear(self.hidden(prepared, q), self.out.weight[:1], self.out.bias[:1])[..., 0].float().tanh()
