"""The objective of SMPLify-X as a nonlinear least-squares problem over a batch of bodies.

    cost = sum_3D w |P_n - X_n|^2 + sum_views,n c^2 rho(|K (proj(P_n) - u_n) / sigma|^2) + pose prior + |betas|^2 + ...

`rho(s) = c^2 s / (c^2 + s)` is Geman-McClure's, in units of the keypoints' expected noise. All residuals are in units of their
expected deviation, so the weights have a meaning and the cost is twice a negative log-likelihood where rho is s.
"""

from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch

from pipeline.fit import rotations
from pipeline.fit.kinematics import Chain, Posed, State
from pipeline.fit.prior_terms import Prior, PriorTerms

# A point nearer to the camera's plane than this (metres) is treated as if it were here: steps behind the camera are refused
# because they cost too much, not because something divides by zero.
NEAREST_Z = 0.1
# Leaning (radians) of a pelvis that is called upright, and how many of these deviations count fully (Geman-McClure's c).
LEAN_SIGMA, LEAN_ROBUST = 0.3, 3.0


@dataclass(frozen=True)
class Evidence:
    """What was seen of a batch of B bodies: N points, V views.

    points: (B, N, 3) metres in the instant's frame; points_weight: (B, N) 1 / sigma^2, 0 where there is none. pixels:
    (B, V, N, 2) normalised image coordinates X/Z, Y/Z, undistorted. pixels_weight: (B, V, N) squared confidence. R: (B, V, 3, 3),
    t: (B, V, 3): the instant's frame -> camera. scale: (B, V, 2, 2) normalised coordinates -> units of pixel noise. up: (B, 3) unit,
    where a body that stands would point in the instant's frame, zero where nothing is known of that. shift: (B,) metres, expected
    size of an unknown shift (an axis) that the points have in common; None where they have none.
    """

    points: torch.Tensor
    points_weight: torch.Tensor
    pixels: torch.Tensor
    pixels_weight: torch.Tensor
    R: torch.Tensor
    t: torch.Tensor
    scale: torch.Tensor
    up: torch.Tensor
    shift: torch.Tensor | None = None

    def take(self, rows: torch.Tensor) -> "Evidence":
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: value[rows] for name, value in own.items() if value is not None})

    def with_points(self, points: torch.Tensor, weight: torch.Tensor) -> "Evidence":
        """With further points in space behind the others, (B, n, 3) metres and their weights (B, n), which no view sees."""
        unseen = self.pixels.new_zeros(*self.pixels.shape[:2], points.shape[1])
        return replace(
            self,
            points=torch.cat([self.points, points], 1),
            points_weight=torch.cat([self.points_weight, weight], 1),
            pixels=torch.cat([self.pixels, unseen[..., None].expand(*unseen.shape, 2)], 2),
            pixels_weight=torch.cat([self.pixels_weight, unseen], 2),
        )

    def first_points(self, n: int) -> "Evidence":
        """The evidence of the first n points only."""
        weight = self.pixels_weight.clone()
        weight[..., n:] = 0
        return replace(self, pixels_weight=weight)


@dataclass(frozen=True)
class Weights:
    """What may change from stage to stage. robust: c of the Geman-McClure function in units of pixel noise. prior: factor on
    the pose prior's cost. shape: factor on |betas|^2."""

    robust: float = 4.0
    prior: float = 1.0
    shape: float = 1.0


@dataclass(frozen=True)
class Normal:
    """Gauss-Newton's equations. cost: (B,), gradient: (B, P), half of the cost's; matrix: (B, P, P); posed: the joints here."""

    cost: torch.Tensor
    gradient: torch.Tensor
    matrix: torch.Tensor
    posed: Posed


class Penalty(Protocol):
    """A further cost of a batch, such as `collisions.CollisionPenalty`."""

    def cost(self, state: State, posed: Posed, evidence: Evidence) -> torch.Tensor: ...

    def linearise(
        self, state: State, posed: Posed, evidence: Evidence, free_shape: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """cost (B,), half its gradient (B, P), Gauss-Newton's matrix (B, P, P)."""


class Objective:
    """Cost and normal equations of a batch. extras: the prior on the active joints after the body's (hands,
    jaw), or None. penalty: a further cost, or None. free_shape: betas (and expression) are solved for, not given."""

    def __init__(
        self,
        chain: Chain,
        prior: Prior,
        evidence: Evidence,
        weights: Weights,
        free_shape: bool,
        extras: Prior | None = None,
        penalty: Penalty | None = None,
    ):
        self.chain, self.prior, self.evidence, self.weights = chain, prior, evidence, weights
        self.free_shape, self.extras, self.penalty = free_shape, extras, penalty

    def take(self, rows: torch.Tensor) -> "Objective":
        return self.over(self.evidence.take(rows))

    def repeat(self, count: int) -> "Objective":
        """The same rows `count` times over, for `State.cat` of as many states."""
        return self.take(torch.arange(len(self.evidence.points), device=self.evidence.points.device).repeat(count))

    def over(self, evidence: Evidence) -> "Objective":
        """The same objective about other evidence."""
        return Objective(self.chain, self.prior, evidence, self.weights, self.free_shape, self.extras, self.penalty)

    def with_penalty(self, penalty: Penalty | None) -> "Objective":
        return Objective(self.chain, self.prior, self.evidence, self.weights, self.free_shape, self.extras, penalty)

    def with_weights(self, weights: Weights) -> "Objective":
        return Objective(self.chain, self.prior, self.evidence, weights, self.free_shape, self.extras, self.penalty)

    def with_shape_known(self) -> "Objective":
        """The same objective of poses alone: the shape is given."""
        return Objective(self.chain, self.prior, self.evidence, self.weights, False, self.extras, self.penalty)

    @property
    def n_parameters(self) -> int:
        return self.chain.n_parameters - (0 if self.free_shape else self.chain.n_shape)

    def cost(self, state: State) -> torch.Tensor:
        """(B,) the objective."""
        posed = self.chain.pose(state)
        cost = self.data_cost(self.chain.points(state, posed)) + self.prior_cost(state)
        return cost if self.penalty is None else cost + self.penalty.cost(state, posed, self.evidence)

    def penalty_cost(self, state: State) -> torch.Tensor:
        """(B,) what the penalty adds."""
        assert self.penalty is not None
        return self.penalty.cost(state, self.chain.pose(state), self.evidence)

    def data_cost(self, P: torch.Tensor) -> torch.Tensor:
        """(B,) what the points P (B, N, 3) fail to explain."""
        e = self.evidence
        offset = P - e.points
        pulled = e.points_weight * offset.square().sum(-1) if e.shift is None else (self._pull(offset) * offset).sum(-1)
        cost = pulled.sum(-1)
        if e.pixels.shape[1]:
            residual, _ = self._reproject(P, with_jacobian=False)
            s = residual.square().sum(-1)
            cost = cost + (e.pixels_weight * _geman_mcclure(s, self.weights.robust)).sum((1, 2))
        return cost

    def _pull(self, offset: torch.Tensor) -> torch.Tensor:
        """(B, N, 3) weight times how far the points are from where they were seen (`offset`), less the likeliest common shift."""
        e = self.evidence
        pull = e.points_weight[..., None] * offset
        if e.shift is None:
            return pull
        return pull - e.points_weight[..., None] * (pull.sum(1) / self._shift_weight())[:, None]

    def _shift_weight(self) -> torch.Tensor:
        """(B, 1) what holds the common shift, 1 / m^2: the points and its own expected size."""
        e = self.evidence
        assert e.shift is not None
        return (e.points_weight.sum(1) + e.shift**-2)[:, None]

    def prior_cost(self, state: State) -> torch.Tensor:
        """(B,) how unlikely the body is before anything was seen."""
        n = 1 + self.prior.n_joints
        body = state.R[:, 1:n]
        cost = self.weights.prior * self.prior.cost(body) + self.weights.shape * state.shape.square().sum(1)
        if self.extras is not None:
            cost = cost + self.weights.prior * self.extras.cost(state.R[:, n:])
        return cost + _geman_mcclure(self._lean(state).square().sum(1), LEAN_ROBUST)

    def _lean(self, state: State) -> torch.Tensor:
        """(B, 3) how far the pelvis' own up is from where it is expected, in deviations; about the sine of the angle."""
        up = self.evidence.up
        known = (up != 0).any(1, keepdim=True)
        return torch.where(known, state.R[:, 0, :, 1] - up, 0.0) / LEAN_SIGMA

    def linearise(self, state: State) -> Normal:
        """Gauss-Newton's equations at a state. Parameters in the order of `Chain.retract`: turns of the joints about the instant's
        axes (radians, all x, then y, then z), shape where it is free, translation (metres)."""
        e, chain = self.evidence, self.chain
        posed = chain.pose(state)
        parts = chain.parts(state, posed)
        P = parts.sum(-1)
        J = chain.jacobian(state, posed, parts, self.free_shape)
        offset = P - e.points
        pull = self._pull(offset)
        cost = (pull * offset).sum((1, 2))
        information = e.points_weight[..., None, None] * torch.eye(3, dtype=P.dtype, device=P.device)
        if e.pixels.shape[1]:
            residual, D = self._reproject(P, with_jacobian=True)
            assert D is not None
            s = residual.square().sum(-1)
            c2 = self.weights.robust**2
            cost = cost + (e.pixels_weight * _geman_mcclure(s, self.weights.robust)).sum((1, 2))
            # iteratively reweighted least squares: rho' = c^4 / (c^2 + s)^2
            weighted = (e.pixels_weight * (c2 / (c2 + s)) ** 2)[..., None, None] * D
            information = information + (weighted.transpose(3, 4) @ D).sum(1)
            pull = pull + (weighted.transpose(3, 4) @ residual[..., None])[..., 0].sum(1)
        B = len(P)
        gradient = (pull.reshape(B, 1, -1) @ J.reshape(B, -1, J.shape[-1]))[:, 0]
        matrix = (information @ J).reshape(B, -1, J.shape[-1]).transpose(1, 2) @ J.reshape(B, -1, J.shape[-1])
        if e.shift is not None:  # what is common to all points may as well be the shift
            common = (e.points_weight[..., None, None] * J).sum(1)
            matrix = matrix - common.transpose(1, 2) @ common / self._shift_weight()[..., None]
        cost = cost + self._add_priors(state, posed, gradient, matrix)
        if self.penalty is not None:
            terms = self.penalty.linearise(state, posed, self.evidence, self.free_shape)
            cost, gradient, matrix = (a + b for a, b in zip((cost, gradient, matrix), terms, strict=True))
        return Normal(cost, gradient, matrix, posed)

    def _reproject(self, P: torch.Tensor, with_jacobian: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Residuals (B, V, N, 2) in units of pixel noise, and their derivative (B, V, N, 2, 3) by the points."""
        e = self.evidence
        X = P[:, None] @ e.R.transpose(2, 3) + e.t[:, :, None]
        z = X[..., 2].clamp_min(NEAREST_Z)
        xy = X[..., :2] / z[..., None]
        residual = (xy - e.pixels) @ e.scale.transpose(2, 3)
        if not with_jacobian:
            return residual, None
        S, R = e.scale[:, :, None], e.R[:, :, None]
        D = S @ (R[..., :2, :] - xy[..., None] * R[..., 2:, :]) / z[..., None, None]
        return residual, D

    def _add_priors(self, state: State, posed: Posed, gradient: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Adds the priors to the normal equations in place; returns their cost (B,)."""
        w, A = self.weights, len(self.chain.joints)
        parents = self.chain.parent_rotations(posed.G)
        turns = gradient[:, : 3 * A].unflatten(1, (3, A))
        square = matrix[:, : 3 * A, : 3 * A].unflatten(1, (3, A)).unflatten(3, (3, A))
        n = 1 + self.prior.n_joints
        terms = self.prior.linearise(state.R[:, 1:n], parents[:, 1:n])
        cost = w.prior * terms.cost
        _add_terms(turns, square, terms, 1, w.prior)
        if self.extras is not None:
            terms = self.extras.linearise(state.R[:, n:], parents[:, n:])
            cost = cost + w.prior * terms.cost
            _add_terms(turns, square, terms, n, w.prior)
        cost = cost + self._add_lean(state, turns, square)
        cost = cost + w.shape * state.shape.square().sum(1)
        if self.free_shape:
            S = self.chain.n_shape
            gradient[:, 3 * A : 3 * A + S] += w.shape * state.shape
            matrix[:, 3 * A : 3 * A + S, 3 * A : 3 * A + S].diagonal(dim1=1, dim2=2).add_(w.shape)
        return cost

    def _add_lean(self, state: State, turns: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
        """Adds the pelvis' lean to gradient and matrix (of the turns of joint 0) in place; returns its cost (B,)."""
        lean = self._lean(state)
        s = lean.square().sum(1)
        c2 = LEAN_ROBUST**2
        # a turn w moves the pelvis' up a by w x a = -[a]x w
        D = -rotations.skew(state.R[:, 0, :, 1]) / LEAN_SIGMA * (c2 / (c2 + s) * (s > 0))[:, None, None]
        turns[:, :, 0] += (D.transpose(1, 2) @ (lean * (c2 / (c2 + s))[:, None])[..., None])[..., 0]
        square[:, :, 0, :, 0] += D.transpose(1, 2) @ D
        return _geman_mcclure(s, LEAN_ROBUST)


def _geman_mcclure(s: torch.Tensor, c: float) -> torch.Tensor:
    return c * c * s / (c * c + s)


def _add_terms(turns: torch.Tensor, square: torch.Tensor, terms: PriorTerms, first: int, weight: float) -> None:
    """Adds a prior about the joints from `first` on to the gradient (B, 3, A) and the matrix (B, 3, A, 3, A)."""
    n = terms.gradient.shape[1]
    turns[:, :, first : first + n] += weight * terms.gradient.transpose(1, 2)
    if terms.dense is not None:
        square[:, :, first : first + n, :, first : first + n] += weight * terms.dense.permute(0, 2, 1, 4, 3)
        return
    blocks, coupled, pairs = terms.by_joints()
    square.diagonal(dim1=2, dim2=4)[..., first : first + n] += weight * blocks.permute(0, 2, 3, 1)
    if len(pairs[0]):
        square[:, :, first + pairs[0], :, first + pairs[1]] += weight * coupled.transpose(0, 1)
