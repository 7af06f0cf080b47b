"""The objective where points in space have a shift in common that nobody knows."""

from dataclasses import replace

import pytest
import torch

from pipeline.fit.objective import Objective
from tests.pipeline.fit.gradients import same_gradient


@pytest.fixture(scope="module")
def moved(fitter, in_space):
    """An objective of two bodies whose points may have shifted by 0.2 m, and a state beside its minimum."""
    objective, found = fitter.search(fitter.kind_of(in_space.instants[0], {}), in_space.instants[:2], {})
    weight = objective.evidence.points_weight * 1e-3
    evidence = replace(objective.evidence, points_weight=weight, shift=torch.full((2,), 0.2, dtype=torch.float64))
    objective = Objective(objective.chain, fitter.prior, evidence, objective.weights, free_shape=True)
    direction = torch.randn(2, objective.n_parameters, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = found.solution.state
    return objective, objective.chain.retract(state, objective.chain.pose(state), 0.05 * direction), direction


def test_the_cost_is_the_least_over_every_shift(moved):
    """Slow twin: the shift written down and solved for."""
    objective, state, _ = moved
    e, P = objective.evidence, objective.chain.points(state)
    w, offset = e.points_weight[..., None], P - e.points

    def with_shift(d):
        return (w * (offset - d[:, None]).square()).sum((1, 2)) + (d / e.shift[:, None]).square().sum(1)

    best = (w * offset).sum(1) / (w.sum(1) + e.shift[:, None] ** -2)
    assert torch.allclose(objective.data_cost(P), with_shift(best), rtol=1e-9)
    assert (with_shift(best + 0.01) > objective.data_cost(P)).all()


def test_half_gradient_and_matrix(moved):
    objective, state, direction = moved
    normal = same_gradient(objective, state, direction, rtol=1e-4)
    assert (torch.linalg.eigvalsh(normal.matrix) > -1e-6).all()


def test_points_that_all_moved_cost_no_more_than_the_shift(moved):
    """Without limits a shift of all points changes nothing."""
    objective, state, _ = moved
    free = replace(objective.evidence, shift=torch.full((2,), 1e6, dtype=torch.float64))
    elsewhere = replace(free, points=free.points + torch.tensor([0.3, -0.1, 0.7], dtype=torch.float64))
    assert torch.allclose(objective.over(free).cost(state), objective.over(elsewhere).cost(state), rtol=1e-6)
    assert (objective.over(elsewhere).cost(state) < objective.over(replace(elsewhere, shift=None)).cost(state)).all()
