"""Votes become joints: which points are asked, which of them vote, and how their votes are combined.

Everything here is float32 and in crop coordinates (targets.py); lengths in metres are divided by HALF where they meet them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from model.networks.targets import CANONICAL_SIDE, HALF, TargetConfig, to_canonical, to_crop

# Points that pass through the MLP together.
POINTS_AT_ONCE = 4096

# A question to the field: points (B, N, 3) in crop coordinates -> values (B, N, ...).
Ask = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class VotingConfig:
    """cells: coarse cells a side of the canonical volume. levels: grids, each halving the cells of the one before.
    most: cells that are refined at most, those of smallest |distance|, which bounds work and memory.
    margin: metres added to a cell's half diagonal before it is dropped. gate: metres of predicted |distance| within which a
    point votes. nearest: points of smallest |distance| that vote in any case, so that an uncertain limb never goes unheard.
    neighbours: how many of them vote for a joint, those nearest to where the image shows it; 0 is all.
    best: points that vote for each joint, those of largest weight; a count above 1, or a part of the points up to 1.
    temperature: of the softmax over confidences (direct votes). use_distance: False asks the coarse grid only and lets
    every point vote (the field without its distance).
    """

    cells: int = 32
    levels: int = 2
    most: int = 8192
    margin: float = 0.016
    gate: float = 0.02
    nearest: int = 256
    neighbours: int = 64
    best: float = 1.0
    temperature: float = 1.0
    use_distance: bool = True

    def __post_init__(self):
        if self.cells < 4 or self.levels < 1:
            raise ValueError(f"{self.cells} cells and {self.levels} levels: at least 4 cells and 1 level")
        if self.gate <= 0 or self.margin < 0 or self.temperature <= 0:
            raise ValueError(
                f"gate {self.gate} and temperature {self.temperature} must be above 0, margin {self.margin} not below"
            )
        if self.neighbours < 0:
            raise ValueError(f"neighbours is {self.neighbours}; give a count, or 0 for all points")
        if not 1 <= self.nearest <= self.most or self.best <= 0:
            raise ValueError(f"nearest {self.nearest} must be 1 to most ({self.most}), and best {self.best} above 0")


class Votes(NamedTuple):
    """joints: (B, J, 3) crop coordinates. spread: (B, J) m, weighted deviation of the votes. voters: (B, J) points that
    voted with weight. fallback: (B, J) bool, none of the joint's voters lies within the gate, or (published votes) none has weight
    for it. queries: (B,) points asked.
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
    length = (1 - weight) * torch.tensor(config.radius, device=q.device)
    X = to_canonical(q, depth)[:, :, None] + length[..., None] * raw[..., :3]
    return to_crop(X, depth), weight


def combine(positions: Tensor, score: Tensor, selected: Tensor, targets: TargetConfig, config: VotingConfig) -> tuple:
    """Weighted mean of the votes of the selected points: joints (B, J, 3), weights (B, N, J).

    positions: (B, N, J, 3), score: (B, N, J), selected: (B, N, J) bool with at least one point a joint.
    """
    out = ~selected
    if targets.vote == "direct":
        weights = (score / config.temperature).masked_fill(out, -torch.inf).softmax(1)
    else:
        weights = score.masked_fill(out, 0.0)
        # No weight anywhere: every selected point counts the same, and the caller reports a fallback.
        weights = torch.where(weights.sum(1, keepdim=True) > 1e-6, weights, (~out).float())
        weights = weights / weights.sum(1, keepdim=True)
    return (weights[..., None] * positions).sum(1), weights


def of_each_joint(q: Tensor, seen: Tensor, selected: Tensor, count: int) -> Tensor:
    """(B, N, J) bool: the `count` selected points that appear nearest to each joint in the image, or all (0), which vote for it.

    q: (B, N, 3), seen: (B, J, 2 or 3) crop coordinates, selected: (B, N) bool.
    """
    if not count:
        return selected[..., None].expand(-1, -1, seen.shape[1])
    far = torch.cdist(q[..., :2], seen[..., :2]).masked_fill(~selected[..., None], torch.inf)
    limit = far.topk(min(count, q.shape[1]), dim=1, largest=False).values[:, -1:]
    return (far <= limit) & selected[..., None]


def best_of(score: Tensor, selected: Tensor, best: float) -> Tensor:
    """(B, N, J) bool: of the selected points (B, N, J), those whose score is among the best of their joint."""
    count = selected.sum(1)
    keep = torch.full_like(count, int(best)) if best > 1 else (count * best).ceil().long()
    keep = keep.clamp(min=1).minimum(count)
    ranked = score.masked_fill(~selected, -torch.inf).sort(1, descending=True).values
    lowest = ranked.gather(1, (keep - 1)[:, None])
    return (score >= lowest) & selected


def decode(
    q: Tensor,
    raw: Tensor,
    selected: Tensor,
    depth: Tensor,
    targets: TargetConfig,
    config: VotingConfig,
    queries: Tensor,
) -> Votes:
    """Joints from the votes (B, N, J, 4) of the selected points (B, N, J) bool. q: (B, N, 3)."""
    positions, score = vote_positions(q, raw, depth, targets)
    if config.best != 1:
        kept = best_of(score, selected, config.best)
        score = score.masked_fill(~kept, -torch.inf if targets.vote == "direct" else 0.0)
    joints, weights = combine(positions, score, selected, targets, config)
    spread = (weights * ((positions - joints[:, None]) * HALF).square().sum(-1)).sum(1).sqrt()
    # Effective number of equal votes: 1 / sum w^2.
    voters = 1 / weights.square().sum(1)
    fallback = torch.zeros_like(spread, dtype=torch.bool)
    if targets.vote == "published":
        fallback = score.masked_fill(~selected, 0.0).sum(1) <= 1e-6
        voters = voters.masked_fill(fallback, 0.0)
    return Votes(joints, spread, voters, fallback, queries)


def cell_centres(cells: int, device: torch.device | None = None) -> Tensor:
    """(cells^3, 3) centres of a grid over the canonical volume, crop coordinates."""
    axis = (torch.arange(cells, device=device, dtype=torch.float32) + 0.5) * (2 / cells) - 1
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)


def half_diagonal(cells: int) -> float:
    """Metres from the centre of a cell to its corner."""
    return math.sqrt(3) / 2 * CANONICAL_SIDE / cells


def nearest_points(distance: Tensor, valid: Tensor, gate: float, nearest: int, most: int) -> tuple[Tensor, Tensor]:
    """Points with |distance| within the gate, the `nearest` smallest in any case, and never more than `most`.

    distance: (B, N) m. Returns indices (B, M) padded to the longest view, nearest first, and which are real (B, M).
    """
    size = torch.where(valid, distance.abs(), torch.inf)
    # An exported program has shapes that do not depend on the image: it pads to the most that there may be.
    found = most if torch.compiler.is_exporting() else int(((size <= gate).sum(1)).max())
    count = min(max(found, nearest), most, size.shape[1])
    ranked = size.topk(count, dim=1, largest=False)
    real = (ranked.values <= gate) | (torch.arange(count, device=size.device) < nearest)
    return ranked.indices, real & ranked.values.isfinite()


def rows(values: Tensor, index: Tensor) -> Tensor:
    """(B, N, ...) at (B, M) -> (B, M, ...)."""
    return values[torch.arange(len(values), device=values.device)[:, None], index]


def in_slices(ask: Ask, q: Tensor) -> Tensor:
    """`ask` at any number of points, POINTS_AT_ONCE at a time, which bounds the memory of the hidden layers."""
    return torch.cat([ask(part) for part in q.split(max(1, POINTS_AT_ONCE // len(q)), dim=1)], 1)


class Near(NamedTuple):
    """Points that may vote. q: (B, M, 3) crop coordinates. real: (B, M) bool, false for padding. gated: (B, M) bool, within the gate,
    not only among the nearest. queries: (B,) points asked.
    """

    q: Tensor
    real: Tensor
    gated: Tensor
    queries: Tensor


def refine_grid(distance_at: Ask, batch: int, config: VotingConfig, device: torch.device) -> Near:
    """Coarse to fine: the points that vote. distance_at: (B, N, 3) -> (B, N) predicted distance, metres.

    A cell is dropped only when its |distance| is above its half diagonal plus the gate and the margin: no point of it could pass
    the gate; but `nearest` to `most` stay.
    """
    q = cell_centres(config.cells, device).expand(batch, -1, -1)
    valid = torch.ones(q.shape[:2], dtype=torch.bool, device=device)
    queries = valid.sum(1)
    for level in range(config.levels):
        last = level == config.levels - 1
        cells = config.cells * 2**level
        reach = config.gate if last else half_diagonal(cells) + config.gate + config.margin
        distance = distance_at(q)
        index, valid = nearest_points(distance, valid, reach, config.nearest, config.most)
        q, distance = rows(q, index), rows(distance, index)
        if not last:
            q = (q[:, :, None] + cell_centres(2, device) / cells).flatten(1, 2)
            valid = valid[..., None].expand(-1, -1, 8).flatten(1)
            queries = queries + valid.sum(1)
    return Near(q, valid, valid & (distance.abs() <= config.gate), queries)


def points_that_vote(distance: Ask, depth: Tensor, targets: TargetConfig, config: VotingConfig) -> Near:
    """The points near the surface, or every point of the coarse grid. distance: (B, N, 3) -> (B, N) in truncations. depth: (B,)."""
    if config.use_distance:
        return refine_grid(lambda p: in_slices(distance, p) * targets.truncation, len(depth), config, depth.device)
    q = cell_centres(config.cells, depth.device).expand(len(depth), -1, -1)
    everywhere = torch.ones(q.shape[:2], dtype=torch.bool, device=depth.device)
    return Near(q, everywhere, everywhere, everywhere.sum(1))


def vote(distance: Ask, votes: Ask, seen: Tensor, depth: Tensor, targets: TargetConfig, config: VotingConfig) -> Votes:
    """Ask the field coarse to fine and combine the votes of the points near the surface, for each joint those near it.

    distance: (B, N, 3) crop coordinates -> (B, N) in truncations. votes: (B, N, 3) -> (B, N, J, 4). seen: (B, J, 3) crop coordinates,
    where the image shows the joints. depth: (B,) D0.
    """
    near = points_that_vote(distance, depth, targets, config)
    selected = of_each_joint(near.q, seen, near.real, config.neighbours)
    found = decode(near.q, in_slices(votes, near.q), selected, depth, targets, config, near.queries)
    return found._replace(fallback=found.fallback | ~(selected & near.gated[..., None]).any(1))


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
    rows = torch.cat(
        [torch.eye(2, dtype=rays.dtype, device=rays.device).expand(*rays.shape[:2], 2, 2), -rays[..., None]], -1
    )
    right = rays * joints[..., 2:] - joints[..., :2]
    weighted = rows * weights[..., None, None]
    normal = torch.einsum("bjki,bjkl->bil", weighted, rows)
    return torch.linalg.solve(normal, torch.einsum("bjki,bjk->bi", weighted, right)).float()
