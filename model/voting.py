"""Votes become joints: which points are asked, which of them vote, and how their votes are combined.

Everything here is float32 and in crop coordinates (targets.py); lengths in metres are divided by HALF where they meet them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from model.field import FieldOutput
from model.targets import CANONICAL_SIDE, HALF, TargetConfig, to_canonical, to_crop


@dataclass(frozen=True)
class VotingConfig:
    """cells: coarse cells a side of the canonical volume. levels: grids, each halving the cells of the one before.
    margin: metres added to a cell's half diagonal before it is dropped. gate: metres of predicted |distance| within which a
    point votes. nearest: points of smallest |distance| that vote in any case, so that an uncertain limb never goes unheard.
    best: points that vote for each joint, those of largest weight; a count above 1, or a part of the points up to 1.
    temperature: of the softmax over confidences (direct votes). use_distance: False asks the coarse grid only and lets
    every point vote (the field without its distance).
    """

    cells: int = 32
    levels: int = 2
    margin: float = 0.016
    gate: float = 0.02
    nearest: int = 256
    best: float = 1.0
    temperature: float = 1.0
    use_distance: bool = True

    def __post_init__(self):
        if self.cells < 4 or self.levels < 1:
            raise ValueError(f"{self.cells} cells and {self.levels} levels: at least 4 cells and 1 level")
        if self.gate <= 0 or self.margin < 0 or self.temperature <= 0:
            raise ValueError(f"gate {self.gate} and temperature {self.temperature} must be above 0, margin {self.margin} not below")
        if self.nearest < 1 or self.best <= 0:
            raise ValueError(f"nearest {self.nearest} must be at least 1 and best {self.best} above 0")


class Votes(NamedTuple):
    """joints: (B, J, 3) crop coordinates. spread: (B, J) m, weighted deviation of the votes. voters: (B, J) points that
    voted with weight. fallback: (B, J) bool, no point had weight for the joint. queries: (B,) points asked.
    """

    joints: Tensor
    spread: Tensor
    voters: Tensor
    fallback: Tensor
    queries: Tensor


def vote_positions(q: Tensor, raw: Tensor, depth: Tensor, config: TargetConfig) -> tuple[Tensor, Tensor]:
    """Where each point puts each joint, and its say.

    q: (B, N, 3) crop coordinates, raw: (B, N, J, 4) of the field. Returns positions (B, N, J, 3) and score (B, N, J): a
    logit for direct votes, the clamped weight for published ones.
    """
    if config.vote == "direct":
        return q[:, :, None] + raw[..., :3], raw[..., 3]
    weight = raw[..., 3].clamp(0, 1)
    X = to_canonical(q, depth)[:, :, None] + (1 - weight)[..., None] * config.radius * raw[..., :3]
    return to_crop(X, depth), weight


def combine(positions: Tensor, score: Tensor, selected: Tensor, targets: TargetConfig, config: VotingConfig) -> tuple:
    """Weighted mean of the votes of the selected points: joints (B, J, 3), weights (B, N, J).

    positions: (B, N, J, 3), score: (B, N, J), selected: (B, N) bool with at least one point a view.
    """
    out = ~selected[..., None]
    if targets.vote == "direct":
        weights = (score / config.temperature).masked_fill(out, -torch.inf).softmax(1)
    else:
        weights = score.masked_fill(out, 0.0)
        # No weight anywhere: every selected point counts the same, and the caller reports a fallback.
        weights = torch.where(weights.sum(1, keepdim=True) > 1e-6, weights, (~out).float())
        weights = weights / weights.sum(1, keepdim=True)
    return (weights[..., None] * positions).sum(1), weights


def best_of(score: Tensor, selected: Tensor, best: float) -> Tensor:
    """(B, N, J) lowest score that still votes for each joint, as a mask of the points above it."""
    count = selected.sum(1)
    keep = torch.full_like(count, int(best)) if best > 1 else (count * best).ceil().long()
    keep = keep.clamp(min=1).minimum(count)
    ranked = score.masked_fill(~selected[..., None], -torch.inf).sort(1, descending=True).values
    lowest = ranked.gather(1, (keep - 1)[:, None, None].expand(-1, 1, score.shape[2]))
    return (score >= lowest) & selected[..., None]


def decode(q: Tensor, output: FieldOutput, selected: Tensor, depth: Tensor, targets: TargetConfig,
           config: VotingConfig, queries: Tensor) -> Votes:
    """Joints from the selected points of `output`. q: (B, N, 3), selected: (B, N) bool."""
    positions, score = vote_positions(q, output.votes, depth, targets)
    dropped = ~selected[..., None]
    if config.best != 1:
        kept = best_of(score, selected, config.best)
        score = score.masked_fill(~kept, -torch.inf if targets.vote == "direct" else 0.0)
    joints, weights = combine(positions, score, selected, targets, config)
    distance = ((positions - joints[:, None]) * HALF).square().sum(-1)
    spread = (weights * distance).sum(1).sqrt()
    if targets.vote == "direct":
        fallback = torch.zeros_like(spread, dtype=torch.bool)
    else:
        fallback = score.masked_fill(dropped, 0.0).sum(1) <= 1e-6
    # Effective number of equal votes: 1 / sum w^2.
    voters = torch.where(fallback, 0.0, 1 / weights.square().sum(1))
    return Votes(joints, spread, voters, fallback, queries)


def cell_centres(cells: int, device: torch.device | None = None) -> Tensor:
    """(cells^3, 3) centres of a grid over the canonical volume, crop coordinates."""
    axis = (torch.arange(cells, device=device, dtype=torch.float32) + 0.5) * (2 / cells) - 1
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)


def half_diagonal(cells: int) -> float:
    """Metres from the centre of a cell to its corner."""
    return math.sqrt(3) / 2 * CANONICAL_SIDE / cells


def select_near(distance: Tensor, valid: Tensor, gate: float, nearest: int) -> Tensor:
    """(B, N) bool: points with |distance| within the gate, and the `nearest` smallest in any case. distance: (B, N) m."""
    size = torch.where(valid, distance.abs(), torch.inf)
    last = size.topk(min(nearest, size.shape[1]), dim=1, largest=False).values[:, -1:]
    return (size <= last.clamp(min=gate)) & valid


def pack(q: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Kept points of (B, N, 3), moved to the front and padded to the longest: (B, M, 3) and which are real (B, M)."""
    longest = int(keep.sum(1).max())
    order = keep.to(torch.int8).sort(dim=1, descending=True, stable=True).indices[:, :longest]
    return q.gather(1, order[..., None].expand(-1, -1, 3)), keep.gather(1, order)


def refine_grid(distance_at: Callable[[Tensor], Tensor], batch: int, config: VotingConfig,
                device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Coarse to fine: the finest cells near the surface. distance_at: (B, N, 3) -> (B, N) predicted distance, metres.

    Returns points (B, M, 3), which are real (B, M), and queries asked so far (B,). A cell is dropped only when its |distance|
    is above its half diagonal plus the gate and the margin: no point of it could pass the gate; but at least `nearest` stay.
    """
    q = cell_centres(config.cells, device).expand(batch, -1, -1)
    valid = torch.ones(q.shape[:2], dtype=torch.bool, device=device)
    queries = torch.zeros(batch, dtype=torch.long, device=device)
    for level in range(config.levels - 1):
        cells = config.cells * 2**level
        queries = queries + valid.sum(1)
        reach = half_diagonal(cells) + config.gate + config.margin
        q, valid = pack(q, select_near(distance_at(q), valid, reach, config.nearest))
        children = cell_centres(2, device) / cells
        q = (q[:, :, None] + children).flatten(1, 2)
        valid = valid[..., None].expand(-1, -1, 8).flatten(1)
    return q, valid, queries


def vote(field: Callable[[Tensor], FieldOutput], depth: Tensor, targets: TargetConfig, config: VotingConfig) -> Votes:
    """Ask the field coarse to fine and combine the votes. field: (B, N, 3) crop coordinates -> FieldOutput; depth: (B,) D0."""
    device = depth.device
    if not config.use_distance:
        q = cell_centres(config.cells, device).expand(len(depth), -1, -1)
        everywhere = torch.ones(q.shape[:2], dtype=torch.bool, device=device)
        return decode(q, field(q), everywhere, depth, targets, config, everywhere.sum(1))
    q, valid, queries = refine_grid(lambda p: field(p).distance * targets.truncation, len(depth), config, device)
    output = field(q)
    near = select_near(output.distance * targets.truncation, valid, config.gate, config.nearest)
    order = near.to(torch.int8).sort(dim=1, descending=True, stable=True).indices[:, : int(near.sum(1).max())]
    raw = output.votes.gather(1, order[..., None, None].expand(-1, -1, *output.votes.shape[2:]))
    chosen = FieldOutput(output.distance.gather(1, order), raw)
    q = q.gather(1, order[..., None].expand(-1, -1, 3))
    return decode(q, chosen, near.gather(1, order), depth, targets, config, queries + valid.sum(1))


def confidence(spread: Tensor) -> Tensor:
    """(B, J) spread of the votes in metres -> 0..1; 0.5 where they spread by 100 mm."""
    return 1 / (1 + (spread / 0.1).square())


def bone_scale(joints: Tensor, bones: tuple[tuple[int, int], ...], mean_lengths: Tensor) -> Tensor:
    """(B,) least-squares scale of the canonical joints (B, J, 3) against mean bone lengths (bones,) in metres."""
    parents, children = (list(side) for side in zip(*bones, strict=True))
    lengths = (joints[:, children] - joints[:, parents]).norm(dim=-1)
    return (lengths * mean_lengths).sum(1) / mean_lengths.square().sum()


def absolute_root(rays: Tensor, joints: Tensor, weights: Tensor) -> Tensor:
    """(B, 3) translation t that puts root-relative joints (B, J, 3) on their rays (B, J, 2) = (X/Z, Y/Z), weights (B, J).

    Least squares of `[I, -x_j] t = x_j Z_j - XY_j`, as MeTRAbs does (Sarandi et al. 2020).
    """
    rays, joints, weights = rays.double(), joints.double(), weights.double()
    rows = torch.cat([torch.eye(2, dtype=rays.dtype, device=rays.device).expand(*rays.shape[:2], 2, 2), -rays[..., None]], -1)
    right = rays * joints[..., 2:] - joints[..., :2]
    weighted = rows * weights[..., None, None]
    normal = torch.einsum("bjki,bjkl->bil", weighted, rows)
    return torch.linalg.solve(normal, torch.einsum("bjki,bjk->bi", weighted, right)).float()
