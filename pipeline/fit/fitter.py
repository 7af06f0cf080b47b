"""Fits a body model to instants: groups them, finds starts, minimises, and says how good each result is."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel, as_tensors
from pipeline.fit import parts, rotations, starts
from pipeline.fit.collisions import CollisionPenalty, spheres_of
from pipeline.fit.constrained import joints_unseen
from pipeline.fit.evidence import build_evidence, refusal
from pipeline.fit.kinematics import COARSE_JOINTS, N_BETAS, Chain, State
from pipeline.fit.lifted import LIFTED, told, with_lifted
from pipeline.fit.objective import Objective, Weights
from pipeline.fit.prior_choice import make_prior
from pipeline.fit.priors import GaussianPrior, anatomical_prior
from pipeline.fit.quality import measure, unseen_names
from pipeline.fit.race import Finalists, different, margin_of, race, rivals_of
from pipeline.fit.settings import ENOUGH_3D, FitSettings
from pipeline.fit.shapes import shape_frames, shared_shape
from pipeline.fit.solver import Solution, minimise
from pipeline.fit.spheres import FINE, Packing
from pipeline.fit.untangle import untangle
from pipeline.records import PARAMETER_SIZES, BodyFit, BodyParameters, Instant, Reject
from pipeline.skeletons import FIELD_JOINTS, JOINT_SETS, OPENPOSE_FACE, JointSet

# Turns of a wrist about the forearm (radians) from which hands start.
WRIST_TURNS = (0.0, 1.5, -1.5)


@dataclass(frozen=True)
class Kind:
    """What instants must share to be fitted in one batch."""

    joint_set: str
    extra_sets: tuple[str, ...]
    n_views: int
    from_3d: bool
    shape_known: bool

    @property
    def lifted(self) -> bool:
        """Whether the lifter can say how the bodies lie in depth: one image alone shows them, by joints that it knows."""
        return self.n_views == 1 and not self.from_3d and self.joint_set in LIFTED


@dataclass(frozen=True)
class Found:
    """solution: the best bodies; start: (B,) index of the start that won; margin: (B,) by how much the best other body
    costs more, infinite where none was looked for."""

    solution: Solution
    start: np.ndarray
    margin: np.ndarray
    names: tuple[str, ...]


class Fitter:
    """SMPLify-X's fit, in batches. Rows of a batch do not influence each other.

    `fit` and `solve_shapes` take any instants. `kind_of` and `search` are the steps below them, for those who want the objective.
    """

    def __init__(self, body: BodyModel, settings: FitSettings):
        self.body, self.settings = body, settings
        self.dtype = torch.float64
        device = torch.device(settings.device)
        self.prior = make_prior(settings, self.dtype).to(device)
        # what starts begin with and are raced under; priors without limits or likely pose leave that to anatomy
        likely = self.prior if isinstance(self.prior, GaussianPrior) else anatomical_prior(self.dtype)
        self.likely = likely.to(device)
        self._penalties: dict[tuple, CollisionPenalty] = {}
        self._has_hands = parts.has_hands(body)
        self._chains: dict[tuple, tuple[Chain, np.ndarray, np.ndarray]] = {}

    @torch.no_grad()
    def fit(self, instants: Sequence[Instant], betas: dict[str, np.ndarray] | None = None) -> list[BodyFit | Reject]:
        """One result an instant, in order. betas: the shape (10,) of subjects that have been solved; others' shapes are free."""
        betas = betas or {}
        results: list[BodyFit | Reject | None] = [None] * len(instants)
        groups = defaultdict(list)
        for i, instant in enumerate(instants):
            reason = self._refusal(instant)
            if reason is None:
                groups[self.kind_of(instant, betas)].append(i)
            else:
                results[i] = Reject(instant.id, "fit", reason)
        for kind, members in groups.items():
            for first in range(0, len(members), self.settings.batch):
                rows = members[first : first + self.settings.batch]
                for i, result in zip(rows, self._fit_batch(kind, [instants[i] for i in rows], betas), strict=True):
                    results[i] = result
        assert all(result is not None for result in results)
        return [result for result in results if result is not None]

    @torch.no_grad()
    def solve_shapes(self, instants: Sequence[Instant]) -> dict[str, np.ndarray]:
        """Betas (10,) of every subject that the instants name, each from the instants that `shape_frames` chooses.

        A subject none of whose instants can be fitted is left out.
        """
        shapes = {}
        for subject, frames in shape_frames([self.tells(one) for one in instants], self.settings.shape_frames).items():
            kind = self.kind_of(instants[frames[0]], {})
            objective, found = self.search(kind, [instants[i] for i in frames], {})
            state = shared_shape(objective, found.solution.state)
            shapes[subject] = state.shape[0, :N_BETAS].cpu().numpy()
        return shapes

    def tells(self, instant: Instant) -> tuple[str, Kind] | None:
        """Of whose shape an instant tells, and its kind; None where nobody is named, or it cannot be fitted."""
        if instant.subject is None or self._refusal(instant) is not None:
            return None
        return instant.subject, self.kind_of(instant, {})

    def _refusal(self, instant: Instant) -> str | None:
        if self.settings.hands and not self._has_hands:
            return f"hands were asked for, but the body model {self.body.name} has none"
        return refusal(instant, self.settings)

    def kind_of(self, instant: Instant, betas: dict[str, np.ndarray]) -> Kind:
        """betas: by the subjects whose shape is known."""
        valid = 0
        if instant.joints_3d is not None:
            valid = len(instant.joints_3d) if instant.joints_3d_valid is None else int(np.sum(instant.joints_3d_valid))
        extra_sets = parts.extra_sets(instant, self.settings)
        return Kind(instant.joint_set, extra_sets, len(instant.views), valid >= ENOUGH_3D, instant.subject in betas)

    def chain(self, kind: Kind, joints: tuple[int, ...] | None = None) -> tuple[Chain, np.ndarray, np.ndarray]:
        """The chain of a kind of instants, its points in the T-pose (N, 3), and which points the body has (N,).

        joints: those that turn; all that the evidence speaks of, if not given.
        """
        joints = joints or parts.fitted_joints(kind.extra_sets)
        key = (kind.joint_set, kind.extra_sets, self._lifts(kind), joints)
        if key not in self._chains:
            sets, as_annotated = (kind.joint_set, *kind.extra_sets), self.settings.manner.as_annotated
            sets += (FIELD_JOINTS.name,) if self._lifts(kind) else ()
            maps = [keypoint_map(self.body, name, as_annotated) for name in sets]
            chain = Chain(
                self.body, maps, joints, OPENPOSE_FACE.name in kind.extra_sets, self.settings.device, self.dtype
            )
            template = chain.points(chain.rest(1))[0].cpu().numpy()
            self._chains[key] = chain, template, np.concatenate([m.defined for m in maps])
        return self._chains[key]

    def _lifts(self, kind: Kind) -> bool:
        return self.settings.manner.lifted and kind.lifted

    def _n_seen(self, kind: Kind) -> int:
        """How many points of a kind's chain are seen; those behind them are lifted."""
        return sum(len(JOINT_SETS[name]) for name in (kind.joint_set, *kind.extra_sets))

    def _fit_batch(self, kind: Kind, instants: list[Instant], betas: dict[str, np.ndarray]) -> list[BodyFit | Reject]:
        objective, found = self.search(kind, instants, betas)
        return self._results(instants, objective.over(told(objective.evidence, self._n_seen(kind))), found)

    def search(self, kind: Kind, instants: list[Instant], betas: dict[str, np.ndarray]) -> tuple[Objective, Found]:
        """The best body for every instant, and the objective that says so."""
        chain, template, defined = self.chain(kind)
        n, joint_set = self._n_seen(kind), JOINT_SETS[kind.joint_set]
        evidence = build_evidence(instants, kind.extra_sets, template[:n], defined[:n], self.settings)
        in_space = (evidence.points_weight > 0).sum(1) >= ENOUGH_3D
        if self._lifts(kind):
            evidence = with_lifted(evidence, joint_set, defined[n:])
        shape = torch.zeros(len(instants), chain.n_shape, dtype=self.dtype, device=chain.device)
        if kind.shape_known:
            solved = np.stack([betas[instant.subject] for instant in instants if instant.subject is not None])
            shape[:, :N_BETAS] = torch.as_tensor(solved, dtype=self.dtype)
        weights = Weights(self.settings.manner.robust * self.settings.robust)
        objective = Objective(chain, self.prior, evidence, weights, not kind.shape_known, self._extras(chain))
        points, known = evidence.points, evidence.points_weight > 0
        if not kind.from_3d and kind.n_views > 1:
            points, known = starts.triangulate(evidence)
            in_space = known.sum(1) >= ENOUGH_3D
        pieces = []
        rows = in_space.nonzero()[:, 0]
        if len(rows):
            pieces.append((rows, self.from_3d(objective.take(rows), points[rows], known[rows], shape[rows], joint_set)))
        rows = (~in_space).nonzero()[:, 0]
        if len(rows):
            coarse = self.chain(kind, COARSE_JOINTS)[0]
            pieces.append((rows, self._from_2d(objective.take(rows), coarse, shape[rows], joint_set)))
        found = pieces[0][1] if len(pieces) == 1 else _merge(pieces)
        if self.settings.interpenetration:
            skin = lambda state: self._skin(chain, state)  # noqa: E731
            found = replace(
                found, solution=untangle(objective, self.penalty(chain), found.solution, skin, self.body.faces)
            )
        return objective, found

    def _skin(self, chain: Chain, state: State) -> np.ndarray:
        """(B, V, 3) vertices, metres."""
        return self.body.pose(as_tensors(export_parameters(chain, state)))[0].numpy()

    def penalty(self, chain: Chain, packing: Packing = FINE) -> CollisionPenalty:
        """What bodies of a chain pay for running into themselves."""
        expression = chain.n_shape > N_BETAS
        key = (packing, chain.joints, expression)
        if key not in self._penalties:
            spheres = spheres_of(self.body, packing)
            self._penalties[key] = CollisionPenalty(
                self.body, spheres, chain.joints, expression, self.settings.device, self.dtype
            )
        return self._penalties[key]

    def _extras(self, chain: Chain) -> GaussianPrior | None:
        """The prior on hands and jaw, None where the chain has neither."""
        prior = parts.extra_prior(tuple(joint for joint in chain.joints if joint >= parts.JAW), self.dtype)
        return prior if prior is None else prior.to(chain.device)

    def likely_pose(self, chain: Chain) -> torch.Tensor:
        """(A, 3, 3) rotations of the likeliest pose, whatever the prior: what starts begin with."""
        mean = self.likely.mean.to(chain.device)
        R = chain.rest(1).R[0]
        for k, joint in enumerate(chain.joints):
            if 1 <= joint <= len(mean):
                R[k] = rotations.exp(mean[joint - 1])
        return R

    def from_3d(
        self,
        objective: Objective,
        points: torch.Tensor,
        known: torch.Tensor,
        shape: torch.Tensor,
        joint_set: JointSet,
    ) -> Found:
        """The best bodies for points (B, N, 3) of which most are known (B, N) bool: one start, by Procrustes, is enough."""
        chain = objective.chain
        likely = self.likely_pose(chain)
        start = starts.procrustes_start(chain, starts.limbs_of(chain, likely), likely, points, known, shape, joint_set)
        solution = minimise(objective, start, iterations=30, tolerance=1e-4)
        B = len(shape)
        return Found(solution, np.zeros(B, int), np.full(B, np.inf), ("procrustes",))

    def _from_2d(self, objective: Objective, coarse: Chain, shape: torch.Tensor, joint_set: JointSet) -> Found:
        """Orientations and depth twins raced on the large joints only; the best of them to the end with all."""
        likely = self.likely_pose(coarse)
        limbs = starts.limbs_of(coarse, likely)
        prior = self.likely.given_rest([joint - 1 for joint in coarse.joints[1:]])
        evidence = objective.evidence.first_points(len(joint_set))  # fingers and faces come last
        far = Objective(coarse, prior, evidence, Weights(100.0), free_shape=False)
        named = starts.orientation_starts(coarse, likely, evidence, joint_set)
        states = [State(s.R, shape, s.transl) for _, s in named]
        best = race(far, states, keep=5, iterations=2)
        best = race(far, best.states, keep=2, iterations=5, starts=best.starts)
        near = far.with_weights(Weights(30.0))
        twins = [starts.reversed_torso(coarse, limbs, s, far.evidence) for s in best.states]
        twins = starts.mirrored_limbs(near, limbs, [*best.states, *twins])
        best = race(near, twins, keep=2, iterations=8, starts=torch.cat([best.starts, best.starts]))
        near = far.with_weights(objective.weights)
        twins = starts.mirrored_limbs(near, limbs, best.states)
        best = race(near, [*best.states, *twins], keep=2, iterations=6, starts=torch.cat([best.starts, best.starts]))
        finalists = rivals_of(near, limbs, best)
        if self.settings.manner.finalists > 1:
            finished = self._finish(objective, coarse, finalists, len(joint_set))
            margin = margin_of(objective.chain, finished.states[0], finished, len(joint_set))
        else:
            winner = objective.chain.adopt(best.states[0], coarse)
            finished = Finalists([winner], best.costs[:1], best.starts[:1])
            margin = margin_of(coarse, best.states[0], finalists, len(joint_set))
        final = minimise(objective, self._place_hands(objective, finished.states[0]), iterations=20, tolerance=1e-3)
        return Found(final, finished.starts[0].cpu().numpy(), margin.cpu().numpy(), tuple(name for name, _ in named))

    def _finish(self, objective: Objective, coarse: Chain, best: Finalists, n_joints: int) -> Finalists:
        """The finalists that are different bodies, solved with all joints and the shape: which of them costs least is
        often seen only then."""
        few = different(coarse, best, self.settings.manner.finalists, n_joints)
        states = [objective.chain.adopt(state, coarse) for state in few.states]
        # fingers begin in the hand that is then placed
        bodies = objective.over(objective.evidence.first_points(n_joints))
        return race(bodies, states, keep=len(states), iterations=5, starts=few.starts)

    def _place_hands(self, objective: Objective, state: State) -> State:
        """Of each fitted hand the best of several turns about the forearm: a hand has depth twins as limbs have."""
        chain = objective.chain
        for hand, wrist in (parts.LEFT_HAND, parts.LEFT_WRIST), (parts.RIGHT_HAND, parts.RIGHT_WRIST):
            if hand[0] not in chain.joints:
                continue
            row = chain.joints.index(wrist)
            candidates = []
            for turn in WRIST_TURNS:
                about = chain.bones.new_zeros(3)
                about[0] = turn  # the forearm lies along x in the T-pose
                R = state.R.clone()
                R[:, row] = rotations.exp(about)
                candidates.append(State(R, state.shape, state.transl))
            fixed = Objective(chain, self.prior, objective.evidence, objective.weights, False, objective.extras)
            state = race(fixed, candidates, keep=1, iterations=10).states[0]
        return state

    def _results(self, instants: list[Instant], objective: Objective, found: Found) -> list[BodyFit | Reject]:
        solution, settings = found.solution, self.settings
        state = solution.state
        J = len(JOINT_SETS[instants[0].joint_set])
        points = objective.chain.points(state)[:, :J].cpu().numpy()
        unseen = unseen_names(objective, state)
        parameters = export_parameters(objective.chain, state)
        # all at once, since a GPU is waited for each time
        iterations, converged = solution.iterations.tolist(), solution.converged.tolist()
        results: list[BodyFit | Reject] = []
        for b, instant in enumerate(instants):
            if not np.isfinite(points[b]).all():
                results.append(Reject(instant.id, "fit", "the fit diverged"))
                continue
            quality = measure(
                instant,
                points[b],
                settings,
                iterations=iterations[b],
                converged=converged[b],
                start=found.names[found.start[b]],
                margin=float(found.margin[b]),
                unseen=unseen[b],
                joints_unseen=joints_unseen(instant, settings),
            )
            results.append(BodyFit(instant.id, parameters[b], quality))
        return results


def _merge(pieces: list[tuple[torch.Tensor, Found]]) -> Found:
    """Results of searches over parts of a batch, in the batch's order."""
    order = torch.cat([rows for rows, _ in pieces]).argsort()
    solutions = [found.solution for _, found in pieces]
    cat = {
        name: torch.cat([getattr(s, name) for s in solutions])[order] for name in ("cost", "iterations", "converged")
    }
    names = tuple(name for _, found in pieces for name in found.names)
    shifts = np.cumsum([0] + [len(found.names) for _, found in pieces])
    there = order.cpu().numpy()
    start = np.concatenate([found.start + shift for (_, found), shift in zip(pieces, shifts[:-1], strict=True)])[there]
    margin = np.concatenate([found.margin for _, found in pieces])[there]
    return Found(Solution(State.cat([s.state for s in solutions]).take(order), **cat), start, margin, names)


def export_parameters(chain: Chain, state: State) -> list[BodyParameters]:
    """SMPL-X parameters in axis-angle, float32; joints that were not fitted are zero."""
    vectors = np.zeros((len(state.transl), 55, 3), np.float32)
    vectors[:, list(chain.joints)] = rotations.log(state.R).cpu().numpy()
    shape = state.shape.cpu().numpy().astype(np.float32)
    expression = (
        shape[:, 10:] if chain.n_shape > 10 else np.zeros((len(shape), PARAMETER_SIZES["expression"]), np.float32)
    )
    transl = state.transl.cpu().numpy().astype(np.float32)
    return [
        BodyParameters(
            betas=shape[b, :10],
            global_orient=v[0],
            body_pose=v[1:22].reshape(-1),
            left_hand_pose=v[25:40].reshape(-1),
            right_hand_pose=v[40:55].reshape(-1),
            jaw_pose=v[22],
            leye_pose=v[23],
            reye_pose=v[24],
            expression=expression[b],
            transl=transl[b],
        )
        for b, v in enumerate(vectors)
    ]
