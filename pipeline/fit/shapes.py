"""One shape per subject: the frames that speak of it, and betas solved together with their poses, by eliminating the poses (Schur
complement)."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import torch

from pipeline.fit.kinematics import N_BETAS, State
from pipeline.fit.objective import Objective, Weights
from pipeline.spread import spread_evenly


def shape_frames(told: Sequence[tuple[str, Hashable] | None], count: int) -> dict[str, list[int]]:
    """Subject -> indices of up to `count` of its instants that its shape is solved from, spread evenly over those of its usual kind.

    told: what `Fitter.tells` says of each instant of a source, in order. Of those that are chosen the same are chosen again, so that
    whoever cannot keep a source in memory reads it twice.
    """
    by_subject: dict[str, dict[Hashable, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, one in enumerate(told):
        if one is not None:
            by_subject[one[0]][one[1]].append(index)
    chosen = {}
    for subject, kinds in sorted(by_subject.items()):
        usual = max(kinds, key=lambda kind: (len(kinds[kind]), str(kind)))
        chosen[subject] = [kinds[usual][k] for k in spread_evenly(len(kinds[usual]), count)]
    return chosen


def shared_shape(objective: Objective, state: State, iterations: int = 15, tolerance: float = 1e-6) -> State:
    """Minimises the objective over the poses of all rows, which are frames of one subject, and one set of betas.

    The normal equations of frame f are [H_bb H_bt; H_tb H_tt] in betas b and pose t. Eliminating the poses leaves
    `S db = -(g_b - sum_f H_bt H_tt^-1 g_t)` with `S = prior + sum_f (H_bb - H_bt H_tt^-1 H_tb)`. The prior on betas counts once, not
    once a frame.
    """
    w = objective.weights
    objective = objective.with_weights(Weights(w.robust, w.prior, 0.0))
    chain = objective.chain
    A3 = 3 * len(chain.joints)
    betas = list(range(A3, A3 + N_BETAS))
    others = [c for c in range(chain.n_parameters) if c not in betas]
    shape = state.shape.clone()
    shape[:, :N_BETAS] = shape[:, :N_BETAS].mean(0)
    state = State(state.R, shape, state.transl)
    damping = 1e-3

    def total(state: State) -> torch.Tensor:
        return objective.cost(state).sum() + state.shape[0, :N_BETAS].square().sum()

    cost = total(state)
    for _ in range(iterations):
        normal = objective.linearise(state)
        step = _eliminate(normal.matrix, normal.gradient, betas, others, state.shape[0, :N_BETAS], damping)
        trial = chain.retract(state, normal.posed, step)
        trial_cost = total(trial)
        if trial_cost < cost:
            done = cost - trial_cost < tolerance * cost
            state, cost, damping = trial, trial_cost, damping * 0.2
            if done:
                break
        else:
            damping *= 10
            if damping > 1e8:
                break
    return state


def _eliminate(
    matrix: torch.Tensor,
    gradient: torch.Tensor,
    betas: list[int],
    others: list[int],
    shape: torch.Tensor,
    damping: float,
) -> torch.Tensor:
    """(F, P) steps of all frames with a common step of the betas."""
    H_tt = matrix[:, others][:, :, others].clone()
    H_tt.diagonal(dim1=1, dim2=2).mul_(1 + damping).add_(1e-9 * H_tt.diagonal(dim1=1, dim2=2).amax(1, keepdim=True))
    H_bt, H_bb = matrix[:, betas][:, :, others], matrix[:, betas][:, :, betas]
    g_t, g_b = gradient[:, others, None], gradient[:, betas, None]
    factor = torch.linalg.cholesky(H_tt)
    S = (H_bb - H_bt @ torch.cholesky_solve(H_bt.transpose(1, 2), factor)).sum(0)
    S = S + (1 + damping) * torch.eye(len(betas), dtype=S.dtype, device=S.device)
    right = (g_b - H_bt @ torch.cholesky_solve(g_t, factor)).sum(0) + shape[:, None]
    db = -torch.linalg.solve(S, right)
    dt = -torch.cholesky_solve(g_t + H_bt.transpose(1, 2) @ db, factor)
    step = torch.zeros_like(gradient)
    step[:, betas], step[:, others] = db[:, 0], dt[..., 0]
    return step
