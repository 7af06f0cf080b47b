"""Interpenetration: spheres inside the body that must not run into each other.

The spheres hang on the skin, so they follow shape and pose through the same kinematics as the evidence. Two spheres of parts that do
not touch at rest pay for their overlap, `((r_i + r_j + margin - |c_i - c_j|)_+ / sigma)^2`. SMPLify-X's own term needs a bounding
volume hierarchy on the GPU.
"""

from copy import copy
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.body.model import BodyModel
from pipeline.fit.kinematics import Chain, Posed, State
from pipeline.fit.objective import Evidence
from pipeline.fit.spheres import Packing, Spheres, kept_spheres
from pipeline.skeletons import SMPLX_55

# The spheres lie inside the skin; they keep this much more apart (metres).
MARGIN = 0.006
_N_LIMBS = 5  # arms, legs and the rest


def spheres_of(body: BodyModel, packing: Packing) -> Spheres:
    """Spheres that fill a body; the same for the same body."""
    kept = kept_spheres(body, packing)
    if kept is not None:
        return kept
    from pipeline.fit.pack_spheres import pack_spheres  # here, since half of scipy comes with it

    return pack_spheres(body, packing)


def _limbs(body: BodyModel, spheres: Spheres) -> np.ndarray:
    """(N,) of every sphere 1 to 4, the arm or leg it lies in, or 0."""
    tops = [SMPLX_55.index(f"{side}_{joint}") for joint in ("hip", "shoulder") for side in ("left", "right")]
    limb = [tops.index(j) + 1 if j in tops else 0 for j in range(len(body.parents))]
    for j, parent in enumerate(body.parents):  # parents come first
        if parent >= 0 and not limb[j]:
            limb[j] = limb[int(parent)]
    held = np.einsum("nh,nhk->nk", spheres.shares, body.weights.numpy()[spheres.vertices])
    return np.array(limb)[held.argmax(1)]


@dataclass(frozen=True)
class Overlaps:
    """K pairs of spheres that overlap, sorted by row. row: (K,) of the batch. pair: (K,). metres: (K,). away: (K, 3) unit vectors that
    part them."""

    row: torch.Tensor
    pair: torch.Tensor
    metres: torch.Tensor
    away: torch.Tensor


class CollisionPenalty:
    """The overlap of a body's spheres as residuals, in units of `sigma` metres.

    in_depth: limbs that overlap are parted along the first camera's line of sight, all of one limb to the side on which most of it
    is. Spheres that lie deep in each other push every which way; the image fixes where limbs are across it, so depth is where there
    is room.
    """

    def __init__(
        self,
        body: BodyModel,
        spheres: Spheres,
        joints: tuple[int, ...],
        expression: bool,
        device: str,
        dtype: torch.dtype,
    ):
        self.chain = Chain(body, spheres.maps(), joints, expression, device, dtype)
        radii = torch.as_tensor(spheres.radii, dtype=dtype, device=device)
        first, second = np.triu(spheres.pairs, 1).nonzero()
        limb = _limbs(body, spheres)
        swap = limb[first] > limb[second]  # the sphere of the limb with the lower number comes first
        first, second = np.where(swap, second, first), np.where(swap, first, second)
        self.first, self.second, self.limbs, self.between = (
            torch.as_tensor(values, device=device)
            for values in (first, second, _N_LIMBS * limb[first] + limb[second], limb[first] != limb[second])
        )
        self.reach = radii[self.first] + radii[self.second] + MARGIN
        # of spheres i and j in this order: the pair, and the squared distance below which it may overlap
        self.pair_of = torch.zeros(len(radii), len(radii), dtype=torch.long, device=device)
        self.pair_of[self.first, self.second] = torch.arange(len(first), device=device)
        self.near = torch.full((len(radii), len(radii)), -torch.inf, dtype=dtype, device=device)
        self.near[self.first, self.second] = self.reach.square() + 1e-9
        self.sigma, self.in_depth = 0.004, False

    def with_stage(self, sigma: float, in_depth: bool) -> "CollisionPenalty":
        """The same spheres under another stage of `untangle`."""
        other = copy(self)
        other.sigma, other.in_depth = sigma, in_depth
        return other

    def overlaps(self, P: torch.Tensor, evidence: Evidence) -> Overlaps:
        """Of centres P (B, N, 3), all pairs that overlap: few do, and other ones in every row."""
        if self.in_depth:
            return self._in_depth(P, evidence)
        squares = P.square().sum(-1)
        apart = squares[:, :, None] + squares[:, None] - 2 * P @ P.transpose(1, 2)
        # rounding decides nothing: those found here are measured again
        row, one, other = (apart < self.near).nonzero(as_tuple=True)
        pair = self.pair_of[one, other]
        offset = P[row, self.first[pair]] - P[row, self.second[pair]]
        distance = offset.norm(dim=-1).clamp_min(1e-6)
        return Overlaps(row, pair, (self.reach[pair] - distance).clamp_min(0), offset / distance[:, None])

    def _in_depth(self, P: torch.Tensor, evidence: Evidence) -> Overlaps:
        apart = P[:, self.first] - P[:, self.second]
        distance = apart.norm(dim=-1).clamp_min(1e-6)
        overlap, away = (self.reach - distance).clamp_min(0), apart / distance[..., None]
        sight = evidence.R[:, 0, 2] if evidence.R.shape[1] else P.new_tensor([[0, 0, 1.0]]).expand(len(P), 3)
        depth = (apart @ sight[..., None])[..., 0]
        sums = P.new_zeros(2, len(P), _N_LIMBS**2)
        sums.index_add_(2, self.limbs, torch.stack([overlap, overlap * depth]))
        touching, behind = sums[..., self.limbs]
        side = torch.where(behind >= 0, 1.0, -1.0).to(P.dtype)
        across = apart.square().sum(-1) - depth.square()
        needed = (self.reach.square() - across).clamp_min(0).sqrt()
        parted = torch.where((touching > 0) & (needed > 0), (needed - side * depth).clamp_min(0), 0.0)
        # not the whole derivative: with its part across the line of sight, limbs slide off each other instead of past each other,
        # and a tenth less of the penetrating volume goes. The solver refuses steps that do not pay.
        overlap = torch.where(self.between, parted, overlap)
        away = torch.where(self.between[:, None], side[..., None] * sight[:, None], away)
        row, pair = overlap.nonzero(as_tuple=True)
        return Overlaps(row, pair, overlap[row, pair], away[row, pair])

    def cost(self, state: State, posed: Posed, evidence: Evidence) -> torch.Tensor:
        """(B,) evidence: for the line of sight."""
        return self._cost(self.overlaps(self.chain.points(state, posed), evidence), len(state.transl))

    def _cost(self, found: Overlaps, rows: int) -> torch.Tensor:
        return found.metres.new_zeros(rows).index_add_(0, found.row, (found.metres / self.sigma).square())

    def linearise(
        self, state: State, posed: Posed, evidence: Evidence, free_shape: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """cost (B,), half gradient (B, P), Gauss-Newton matrix (B, P, P)."""
        parts = self.chain.parts(state, posed)
        found, B = self.overlaps(parts.sum(-1), evidence), len(parts)
        by_pair = self._jacobian(posed, parts, found, free_shape)
        gradient = by_pair.new_zeros(B, by_pair.shape[1])
        matrix = by_pair.new_zeros(B, by_pair.shape[1], by_pair.shape[1])
        counts = torch.bincount(found.row, minlength=B).tolist()
        residuals = (found.metres / self.sigma).split(counts)
        for b, (J, residual) in enumerate(zip(by_pair.split(counts), residuals, strict=True)):
            if len(J):
                gradient[b], matrix[b] = J.T @ residual, J.T @ J
        return self._cost(found, B), gradient, matrix

    def _jacobian(self, posed: Posed, parts: torch.Tensor, found: Overlaps, free_shape: bool) -> torch.Tensor:
        """(K, P): derivative of the residuals of K pairs."""
        row, first, second = found.row, self.first[found.pair], self.second[found.pair]
        arm = self.chain.arms(posed, parts)
        lever = arm[row, first] - arm[row, second]
        turn = torch.linalg.cross(lever, found.away[..., None].expand_as(lever), dim=1).flatten(1)
        columns = [turn]
        if free_shape:
            by_shape = self.chain.shape_jacobian(posed)
            columns.append((found.away[:, None] @ (by_shape[row, first] - by_shape[row, second]))[:, 0])
        columns.append(turn.new_zeros(len(turn), 3))  # both spheres follow the body's place alike
        return -torch.cat(columns, 1) / self.sigma
