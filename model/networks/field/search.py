"""Which points of the canonical volume vote: those near the predicted surface, found coarse to fine.

Everything here is float32 and in crop coordinates (`frame.py`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from model.networks.frame import CANONICAL_SIDE

# Points that pass through the MLP together: on a processor as many as stay in its caches; elsewhere every slice costs the same
# launches, a few hundred, so as many as take about a gigabyte.
POINTS_AT_ONCE, POINTS_AT_ONCE_ELSEWHERE = 4096, 1 << 18

# A question to the field: points (B, N, 3) in crop coordinates -> values (B, N, ...).
Ask = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SearchSettings:
    """cells: coarse cells a side of the canonical volume. levels: grids, each halving the cells of the one before.
    most: cells that are refined at most, those of smallest |distance|, which bounds work and memory.
    margin: metres added to a cell's half diagonal before it is dropped. gate: metres of predicted |distance| within which a
    point votes. nearest: points of smallest |distance| that vote in any case, so that an uncertain limb never goes unheard.
    """

    cells: int = 32
    levels: int = 2
    most: int = 8192
    margin: float = 0.016
    gate: float = 0.02
    nearest: int = 256

    def __post_init__(self) -> None:
        if self.cells < 4 or self.levels < 1:
            raise ValueError(f"{self.cells} cells and {self.levels} levels: at least 4 cells and 1 level")
        if self.gate <= 0 or self.margin < 0:
            raise ValueError(f"gate {self.gate} must be above 0, margin {self.margin} not below")
        if not 1 <= self.nearest <= self.most:
            raise ValueError(f"nearest {self.nearest} must be 1 to most ({self.most})")

    def require_truncation(self, truncation: float) -> None:
        """ValueError when no distance up to `truncation` metres lets a coarse cell be dropped."""
        need = half_diagonal(self.cells) + self.gate + self.margin
        if self.levels > 1 and truncation <= need:
            raise ValueError(
                f"truncation {truncation} m: coarse-to-fine can drop a cell only beyond {need:.3f} m, so it must be above "
                f"that, or search.cells ({self.cells}) larger"
            )


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
    """`ask` at any number of points, so many at a time that the memory of the hidden layers is bounded."""
    at_once = POINTS_AT_ONCE if q.device.type == "cpu" else POINTS_AT_ONCE_ELSEWHERE
    return torch.cat([ask(part) for part in q.split(max(1, at_once // len(q)), dim=1)], 1)


class Near(NamedTuple):
    """Points that may vote. q: (B, M, 3) crop coordinates. real: (B, M) bool, false for padding. gated: (B, M) bool, within the gate,
    not only among the nearest. queries: (B,) points asked.
    """

    q: Tensor
    real: Tensor
    gated: Tensor
    queries: Tensor


def refine_grid(distance_at: Ask, batch: int, config: SearchSettings, device: torch.device) -> Near:
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


def everywhere(batch: int, cells: int, device: torch.device) -> Near:
    """Every point of the coarse grid: for a field without a distance."""
    q = cell_centres(cells, device).expand(batch, -1, -1)
    all_of_them = torch.ones(q.shape[:2], dtype=torch.bool, device=device)
    return Near(q, all_of_them, all_of_them, all_of_them.sum(1))
