"""What every prior on the body's pose says, and of which joints.

A prior speaks of the first n joints after the pelvis (n = 21: the body) by their rotations relative to their parents, `R`
(B, n, 3, 3). `cost` is a sum of squares; `linearise` also takes the parents' world rotations (B, n, 3, 3) and gives derivatives for
turns w of the joints about the instant's axes, which act on R as `R <- exp(Gp^T w) R`.
"""

from dataclasses import dataclass
from typing import Protocol

import torch

from pipeline.skeletons import SMPLX_22

N_POSED = 21
# Deviation (radians) of turns beyond a joint limit: how steep the wall is.
LIMIT_SIGMA = 0.1


@dataclass(frozen=True)
class PriorTerms:
    """A prior about n joints, for turns about the instant's axes. cost: (B,). gradient: (B, n, 3), half of the cost's.

    Gauss-Newton's matrix is either `blocks` (B, n, 3, 3), one a joint, with `coupled` (B, C, 3, 3) between the joints pairs[0] and
    pairs[1] (C,), or `dense` (B, n, 3, n, 3).
    """

    cost: torch.Tensor
    gradient: torch.Tensor
    blocks: torch.Tensor | None = None
    coupled: torch.Tensor | None = None
    pairs: tuple[torch.Tensor, torch.Tensor] | None = None
    dense: torch.Tensor | None = None

    def by_joints(self) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """`blocks`, `coupled` and `pairs` of terms that are not dense."""
        assert self.blocks is not None and self.coupled is not None and self.pairs is not None
        return self.blocks, self.coupled, self.pairs


class Prior(Protocol):
    """A prior about `n_joints` joints after the pelvis, on one device."""

    @property
    def n_joints(self) -> int: ...

    def to(self, device: torch.device) -> "Prior": ...

    def cost(self, R: torch.Tensor) -> torch.Tensor:
        """(B,) of rotations (B, n, 3, 3)."""

    def linearise(self, R: torch.Tensor, parents: torch.Tensor) -> PriorTerms:
        """R: (B, n, 3, 3) rotations of the joints in the frames of their parents. parents: (B, n, 3, 3) of these in the instant's."""


def row_of(name: str) -> int:
    """Where a prior has the joint of SMPL-X with this name."""
    return SMPLX_22.index(name) - 1
