"""Levenberg-Marquardt over a batch: every row has its own damping and stops on its own.

Marquardt's scaling (damping times the diagonal), steps accepted on the true cost only. Rows that have stopped leave the batch.
Nothing is summed, compared or pivoted across rows, and everything runs in float64, so that the rounding of a matrix product,
which may differ with the size of the batch, stays ten orders of magnitude below what decides anything.
"""

from dataclasses import dataclass

import torch

from pipeline.fit.kinematics import State
from pipeline.fit.objective import Normal, Objective

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-8, 1e8
# A turn of more than this (radians) in one step leaves the region where the linearisation says anything.
LONGEST_TURN = 0.8


@dataclass(frozen=True)
class Solution:
    """state: the bodies found. cost, iterations: (B,). converged: (B,) bool, stopped by tolerance and not by the limit."""

    state: State
    cost: torch.Tensor
    iterations: torch.Tensor
    converged: torch.Tensor

    def take(self, rows: torch.Tensor) -> "Solution":
        return Solution(self.state.take(rows), self.cost[rows], self.iterations[rows], self.converged[rows])


def minimise(
    objective: Objective, state: State, iterations: int, tolerance: float, first_damping: float = FIRST_DAMPING
) -> Solution:
    """Minimises the objective from `state`. A row stops when an accepted step lowers its cost by less than `tolerance` of it,
    or when no step helps any more."""
    B = len(state.transl)
    device = state.transl.device
    result = state.clone()
    costs = torch.zeros(B, dtype=state.transl.dtype, device=device)
    counts = torch.zeros(B, dtype=torch.long, device=device)
    converged = torch.zeros(B, dtype=torch.bool, device=device)
    rows = torch.arange(B, device=device)
    damping = torch.full((B,), first_damping, dtype=state.transl.dtype, device=device)
    here, normal = objective, objective.linearise(state)
    for k in range(iterations):
        trial, usable = _step(here, state, normal, damping)
        cost = torch.where(usable, here.cost(trial), torch.inf)
        better = cost < normal.cost
        gain = normal.cost - cost
        done = (better & (gain <= tolerance * normal.cost)) | (~better & (damping >= MOST_DAMPING))
        damping = torch.where(better, damping * 0.2, damping * 5).clamp(LEAST_DAMPING, MOST_DAMPING)
        state = trial.where(better, state)
        reached = torch.where(better, cost, normal.cost)
        counts[rows] += 1
        if done.any():
            result.put(rows[done], state.take(done))
            costs[rows[done]] = reached[done]
            converged[rows[done]] = True
            keep = ~done
            rows, state, damping, here = rows[keep], state.take(keep), damping[keep], here.take(keep)
            reached = reached[keep]
            if not len(rows):
                break
        if k < iterations - 1:
            normal = here.linearise(state)
    if len(rows):
        result.put(rows, state)
        costs[rows] = reached
    return Solution(result, costs, counts, converged)


def _step(objective: Objective, state: State, normal: Normal, damping: torch.Tensor) -> tuple[State, torch.Tensor]:
    """The damped Gauss-Newton step, and which rows could be factored."""
    diagonal = normal.matrix.diagonal(dim1=1, dim2=2)
    damped = normal.matrix.clone()
    damped.diagonal(dim1=1, dim2=2).add_(damping[:, None] * diagonal + 1e-9 * diagonal.amax(1, keepdim=True))
    factor, info = torch.linalg.cholesky_ex(damped)
    step = -torch.cholesky_solve(normal.gradient[..., None], factor)[..., 0]
    usable = (info == 0) & step.isfinite().all(1)
    step = torch.where(usable[:, None], step, 0)
    turns = step[:, : 3 * len(objective.chain.joints)]
    step = step * (LONGEST_TURN / turns.abs().amax(1, keepdim=True).clamp_min(1e-12)).clamp_max(1)
    return objective.chain.retract(state, normal.posed, step), usable
