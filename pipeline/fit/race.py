"""Bodies that explain one image compete: the cheapest go on, and those that are the same body count once."""

from dataclasses import dataclass

import torch

from pipeline.fit.kinematics import Chain, State
from pipeline.fit.objective import Objective
from pipeline.fit.solver import minimise
from pipeline.fit.starts import Limb, other_limbs, reversed_torso

# Bodies whose joints lie further apart than this in the mean (metres, after their means are aligned) are not the same: as far as a
# fit may be from the joints it was given and still count as valid.
DIFFERENT = 0.025


@dataclass(frozen=True)
class Finalists:
    """The best candidates of every row after a race, best first: states, costs (K, B), and the starts (K, B) that they came from."""

    states: list[State]
    costs: torch.Tensor
    starts: torch.Tensor


def race(
    objective: Objective, candidates: list[State], keep: int, iterations: int, starts: torch.Tensor | None = None
) -> Finalists:
    """Runs every candidate of every row for a few steps, as rows of one batch, and keeps the cheapest of each row."""
    K, B = len(candidates), len(candidates[0].transl)
    device = candidates[0].transl.device
    rows = torch.arange(B, device=device)
    solution = minimise(objective.repeat(K), State.cat(candidates), iterations, tolerance=1e-3)
    costs, order = solution.cost.view(K, B).sort(dim=0, stable=True)
    if starts is None:
        starts = torch.arange(K, device=device)[:, None].expand(K, B)
    states = [solution.state.take(order[k] * B + rows) for k in range(keep)]
    return Finalists(states, costs[:keep], starts.gather(0, order[:keep]))


def rivals_of(objective: Objective, limbs: list[Limb], best: Finalists) -> Finalists:
    """All finalists, the winner mirrored in depth, and the winner with each limb in another twin: solved, the cheapest first."""
    winner = best.states[0]
    mirrored = reversed_torso(objective.chain, limbs, winner, objective.evidence)
    candidates = [*best.states, mirrored, *other_limbs(objective, limbs, winner)]
    from_finalists, from_winner = best.starts, best.starts[:1].expand(1 + len(limbs), -1)
    return race(
        objective,
        candidates,
        keep=len(candidates),
        iterations=4,
        starts=torch.cat([from_finalists, from_winner]),
    )


def distances(chain: Chain, states: list[State], n_joints: int) -> torch.Tensor:
    """(K, K, B) metres between each two of K bodies of every row: their first `n_joints` points, after their means are aligned."""
    points = torch.stack([chain.points(state)[:, :n_joints] for state in states])
    points = points - points.mean(2, keepdim=True)
    return (points[:, None] - points[None]).norm(dim=-1).mean(3)


def different(chain: Chain, rivals: Finalists, keep: int, n_joints: int) -> Finalists:
    """The cheapest `keep` of every row that are different bodies; where there are not so many, the same ones again."""
    apart = distances(chain, rivals.states, n_joints)
    K, B = rivals.costs.shape
    rows = torch.arange(B, device=rivals.costs.device)
    known, chosen = torch.zeros(K, B, dtype=torch.bool, device=rows.device), []
    for _ in range(min(keep, K)):
        best = torch.where(known & ~known.all(0), torch.inf, rivals.costs).argmin(0)
        known = known | (apart[best, :, rows].T < DIFFERENT)
        chosen.append(best)
    order = torch.stack(chosen)
    everyone = State.cat(rivals.states)
    states = [everyone.take(k * B + rows) for k in order]
    return Finalists(states, rivals.costs.gather(0, order), rivals.starts.gather(0, order))


def margin_of(chain: Chain, winner: State, rivals: Finalists, n_joints: int) -> torch.Tensor:
    """(B,) how much more than the cheapest the first rival costs that is DIFFERENT from the winner; infinite without such a one."""
    apart = distances(chain, [winner, *rivals.states], n_joints)[0, 1:]
    return torch.where(apart >= DIFFERENT, rivals.costs - rivals.costs[0], torch.inf).amin(0)
