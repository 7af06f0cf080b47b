"""The slow twin of Gauss-Newton's gradient: differences of the cost."""

import torch


def same_gradient(objective, state, direction, rtol):
    """Compares cost and half gradient at a state, along a direction (B, P), with the cost itself; returns the normal equations."""
    normal = objective.linearise(state)
    assert torch.allclose(normal.cost, objective.cost(state))

    def at(step):
        return objective.cost(objective.chain.retract(state, normal.posed, step * direction))

    numeric = (at(1e-6) - at(-1e-6)) / 2e-6
    assert torch.allclose(2 * (normal.gradient * direction).sum(1), numeric, rtol=rtol)
    return normal
