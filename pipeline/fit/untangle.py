"""Ways out of a body's overlap with itself, each tried, the best kept.

Limbs that have crossed through each other sit in a minimum of their own: which way out works depends on the pose, and spheres cannot
see all that is left (neighbours along a limb and thighs at the crotch may touch). So the results are compared by their cost and by how
much of the body lies inside another part of it. To stay is one of the ways.
"""

from collections.abc import Callable

import numpy as np
import torch

from pipeline.fit.collisions import CollisionPenalty
from pipeline.fit.kinematics import State
from pipeline.fit.objective import Objective
from pipeline.fit.solver import Solution, minimise

# Stages (sigma in metres, iterations, in depth?). A light penalty lets limbs slide past each other, instead of stopping at the first
# sphere in their way; parting them in depth frees those that have crossed.
WAYS = (
    ((0.02, 20, False), (0.004, 40, False)),
    ((0.01, 20, True), (0.004, 40, False)),
    ((0.005, 30, True), (0.004, 40, False)),
)
# Where time is short and the evidence is itself some centimetres off: harder, limbs leave where they were seen. Those that stay deep
# in each other have crossed and are parted in depth, then held apart a little harder.
LIGHT = ((0.03, 8, False),)
CROSSED = ((0.02, 8, True), (0.015, 8, False))
# What the overlap costs in units of LIGHT's from which a body is moved, and from which it counts as crossed; and the part of the cost
# that a step must gain.
TOUCHING, DEEP, LEAST_GAIN = 0.05, 1.5, 1e-3
# A litre of the body inside another part of it costs this much, in units of the objective; and a later way must win by one unit, so
# that ways that end in the same minimum do not take turns.
LITRE, CLEARLY = 100.0, 1.0
# Buried flesh is looked for under every so many vertices, at these depths (metres), each of which stands for a layer so thick.
EVERY, DEPTHS, LAYER = 4, (0.01, 0.03), 0.02

# States -> meshes: vertices (B, V, 3) metres.
Skin = Callable[[State], np.ndarray]


def untangle(
    objective: Objective, penalty: CollisionPenalty, solution: Solution, skin: Skin, faces: np.ndarray
) -> Solution:
    """The solution with limbs outside of the body, where that can be had; bodies whose spheres do not overlap stay as they are."""
    rows = _tangled(objective, penalty, solution.state)
    if not len(rows):
        return solution
    here, start = objective.take(rows), solution.take(rows)
    best, lowest = start, torch.full_like(start.cost, torch.inf)
    for solved in (*(_follow(here, penalty, start.state, way) for way in WAYS), start):
        reached = here.cost(solved.state) + LITRE * buried(skin(solved.state), faces).to(start.cost)
        better = reached < lowest - CLEARLY
        best, lowest = _where(better, solved, best), torch.where(better, reached, lowest)
    result = solution.take(torch.arange(len(solution.cost), device=rows.device))
    result.state.put(rows, best.state)
    result.cost[rows], result.iterations[rows], result.converged[rows] = best.cost, best.iterations, best.converged
    return result


def part_limbs(objective: Objective, penalty: CollisionPenalty, state: State) -> State:
    """Bodies (B) at a minimum of the objective with limbs moved out of each other as far as little force does it; their shapes stay.

    Far cheaper than `untangle`, since no mesh is looked at. Bodies that hardly touch themselves stay as they are.
    """
    posed_only, soft = objective.with_shape_known(), penalty.with_stage(LIGHT[-1][0], False)
    result = state.clone()
    rows = _tangled(objective, soft, state, TOUCHING)
    if len(rows):
        result.put(rows, _follow(posed_only.take(rows), penalty, state.take(rows), LIGHT, LEAST_GAIN).state)
    deep = _tangled(objective, soft, result, DEEP)
    if len(deep):
        here, before = posed_only.take(deep), result.take(deep)
        after = _follow(here, penalty, before, CROSSED, LEAST_GAIN)
        held = here.with_penalty(penalty.with_stage(CROSSED[-1][0], False))
        result.put(deep, after.state.where(after.cost < held.cost(before), before))
    return result


def _tangled(objective: Objective, penalty: CollisionPenalty, state: State, above: float = 0.0) -> torch.Tensor:
    """Rows of the bodies whose overlap costs more than `above`."""
    return (objective.with_penalty(penalty).penalty_cost(state) > above).nonzero()[:, 0]


def _follow(
    objective: Objective, penalty: CollisionPenalty, state: State, way: tuple, tolerance: float = 1e-4
) -> Solution:
    """Minimised stage by stage; the cost is that of the last, penalty included."""
    for sigma, iterations, in_depth in way:
        solution = minimise(objective.with_penalty(penalty.with_stage(sigma, in_depth)), state, iterations, tolerance)
        state = solution.state
    return solution


def _where(keep: torch.Tensor, one: Solution, other: Solution) -> Solution:
    values = (
        torch.where(keep, getattr(one, name), getattr(other, name)) for name in ("cost", "iterations", "converged")
    )
    return Solution(one.state.where(keep, other.state), *values)


def buried(vertices: np.ndarray, faces: np.ndarray) -> torch.Tensor:
    """(B,) litres under the skin, to DEPTHS, that another part of the body fills as well, for bodies (B, V, 3)."""
    return torch.as_tensor(
        [_buried(v, faces.astype(np.int64)) for v in vertices.astype(np.float64)], dtype=torch.float64
    )


def _buried(vertices: np.ndarray, faces: np.ndarray) -> float:
    import igl  # here, since scipy comes with it, and `part_limbs` needs neither

    chosen = np.arange(0, len(vertices), EVERY)
    normals = igl.per_vertex_normals(vertices, faces)[chosen]
    areas = np.bincount(faces.ravel(), np.repeat(igl.doublearea(vertices, faces) / 6, 3))[chosen]
    under = np.concatenate([vertices[chosen] - depth * normals for depth in DEPTHS])
    doubly = igl.fast_winding_number(vertices, faces, under).reshape(len(DEPTHS), -1) > 1.5
    return float(1000 * LAYER * EVERY * (doubly * areas).sum())
