"""From what a network says to a body: SMPL-X fitted to it by the pipeline's own solver.

Joints that are predicted one by one need not be those of any body. Bone lengths, joint limits and a prior of poses correct them,
and the result has parameters and a surface. The same fit serves every head: it uses joints, how sure they are, and keypoints.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from model.body_fit.evidence import are_marked, build, keypoint_weights, made_usable
from model.body_fit.hypotheses import Hypotheses, other_bodies
from model.body_fit.records import Bodies, BodyFitSettings, Keypoints, Told
from model.body_fit.strangers import elsewhere
from model.body_fit.uncertainty import KEYPOINTS_SPREAD, doubtful, joint_spread, likely_right
from pipeline.body.model import BodyModel
from pipeline.fit import starts
from pipeline.fit.fitter import Fitter, Kind, export_parameters
from pipeline.fit.kinematics import Chain, State
from pipeline.fit.objective import Objective, Weights
from pipeline.fit.prior_terms import Prior
from pipeline.fit.settings import FitSettings
from pipeline.fit.solver import minimise
from pipeline.fit.spheres import COARSE
from pipeline.fit.untangle import LEAST_GAIN, part_limbs
from pipeline.lift.network import load_lifter
from pipeline.skeletons import COCO, FIELD_JOINTS, JointSet

# Steps of the solver at most.
STEPS = 30
# Of people whose keypoints are not heard.
STRANGE = "its keypoints are not of this body"
# Upright in camera axes: x right, y down, z forward.
UPRIGHT = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Asked:
    """A batch of people, as they are fitted. weights: (N, 17) of their keypoints; betas: (N, 10), shapes that are known."""

    told: Told
    keypoints: Keypoints | None
    weights: np.ndarray
    confidence: np.ndarray | None
    betas: np.ndarray | None

    @property
    def marked(self) -> np.ndarray:
        """(N,) bool, whose keypoints say where they are in the image."""
        return are_marked(self.weights)

    def without(self, people: np.ndarray) -> "Asked":
        """The same without the keypoints of some people (N,) bool, whose doubts say so."""
        if self.keypoints is None or not people.any():
            return self
        doubts = tuple(
            "; ".join(filter(None, [said, STRANGE if strange else ""]))
            for said, strange in zip(self.told.doubts, people, strict=True)
        )
        weights = np.where(people[:, None], 0.0, self.weights)
        return replace(
            self, told=replace(self.told, doubts=doubts), keypoints=self.keypoints.without(people), weights=weights
        )


@dataclass(frozen=True)
class Fitted:
    """A batch of people and their bodies. asked: without keypoints that were not heard."""

    asked: Asked
    objective: Objective
    state: State


class BodyDecoder:
    """Fits bodies to predictions, in batches; a body does not depend on those beside it."""

    def __init__(
        self,
        body: BodyModel,
        joint_set: JointSet,
        settings: BodyFitSettings | None = None,
        prior: Prior | None = None,
        spread_factor: float = 1.0,
    ):
        """prior: of poses; the one of real people's motion where it is left out. spread_factor: how much further off joints are than
        the fit itself expects, of people without keypoints.
        """
        self.body = body
        self.settings, self.joint_set, self.spread_factor = settings or BodyFitSettings(), joint_set, spread_factor
        self.lifter = load_lifter() if joint_set is FIELD_JOINTS else None
        self.fitter = Fitter(body, FitSettings())
        self.prior = prior or self.fitter.prior
        likely = self.fitter.likely_pose(self._chain(False)[0])
        self.filler = self._standing(likely)

    def _chain(self, with_keypoints: bool) -> tuple[Chain, np.ndarray]:
        """The chain, and which of its points the body has."""
        extra = (COCO.name,) if with_keypoints else ()
        kind = Kind(self.joint_set.name, extra, n_views=1, from_3d=True, shape_known=False)
        chain, _, defined = self.fitter.chain(kind)
        return chain, defined

    def _standing(self, likely: torch.Tensor) -> np.ndarray:
        """(J, 3) m about the root: the joints of a body that stands upright before the camera in the likely pose."""
        chain, _ = self._chain(False)
        state = chain.rest(1)
        state.R[:] = likely
        state.R[:, 0] = torch.as_tensor(UPRIGHT)
        points = chain.points(state)[0, : len(self.joint_set)].numpy()
        return points - points[self.joint_set.root_index]

    @torch.no_grad()
    def __call__(
        self,
        joints: np.ndarray,
        root: np.ndarray,
        keypoints: Keypoints | None = None,
        confidence: np.ndarray | None = None,
        betas: np.ndarray | None = None,
    ) -> Bodies:
        """joints: (N, J, 3) m, root-relative in camera axes. root: (N, 3) m, absolute. confidence: (N, J) 0..1, that a joint
        lies within 100 mm of the truth. A joint that is not finite is left to the prior, and the body's doubts say so. betas:
        (N, 10) shapes that are known, and stay as they are; they are solved for where they are left out.
        """
        found = [self._fitted(asked) for asked in self._asked(joints, root, keypoints, confidence, betas)]
        if not found:
            return self._none()
        state = State.cat([fitted.state for fitted in found])
        marked = np.concatenate([fitted.asked.marked for fitted in found])[:, None]
        factor = np.where(marked, min(KEYPOINTS_SPREAD, self.spread_factor), self.spread_factor)
        spread = factor * np.concatenate([self._spread(fitted) for fitted in found])
        own_root, points = self.placed(state)
        doubts = doubtful([said for fitted in found for said in fitted.asked.told.doubts], spread)
        own = likely_right(spread)
        sure = own if confidence is None else np.where(marked, own, confidence)
        return Bodies(points, own_root, export_parameters(self._chain(False)[0], state), spread, sure, doubts)

    def _spread(self, fitted: "Fitted") -> np.ndarray:
        return joint_spread(fitted.objective, fitted.state, len(self.joint_set), self.joint_set.root_index)

    @torch.no_grad()
    def hypotheses(
        self,
        joints: np.ndarray,
        root: np.ndarray,
        count: int,
        keypoints: Keypoints | None = None,
        confidence: np.ndarray | None = None,
    ) -> Hypotheses:
        """Up to `count` bodies of each person, the fitted one first, those that differ by 25 mm at least. The rest as `__call__`."""
        chain, _ = self._chain(keypoints is not None)
        likely = self.fitter.likely_pose(chain)
        parts = []
        for asked in self._asked(joints, root, keypoints, confidence):
            fitted = self._fitted(asked)
            parts.append(other_bodies(fitted.objective, likely, fitted.state, count, self.joint_set))
        J = len(self.joint_set)
        if not parts:
            return Hypotheses(np.zeros((0, count, J, 3)), np.zeros((0, count)), [[] for _ in range(count)])
        states = [State.cat([states[k] for states, _ in parts]) for k in range(count)]
        placed = np.stack([self.placed(state)[1] for state in states], 1)
        exported = [export_parameters(chain, state) for state in states]
        return Hypotheses(placed, np.concatenate([weights for _, weights in parts]), exported)

    def _asked(
        self,
        joints: np.ndarray,
        root: np.ndarray,
        keypoints: Keypoints | None,
        confidence: np.ndarray | None,
        betas: np.ndarray | None = None,
    ) -> Iterator["Asked"]:
        """The people in batches, without keypoints that are elsewhere."""
        told = made_usable(np.asarray(joints, float), np.asarray(root, float), self.filler)
        for k in range(0, len(joints), self.settings.batch):
            rows = slice(k, k + self.settings.batch)
            sure, shapes = (None if given is None else given[rows] for given in (confidence, betas))
            weights = np.zeros((len(joints[rows]), len(COCO)))
            if keypoints is not None:
                weights = keypoint_weights(keypoints.take(rows), self._chain(True)[1][len(self.joint_set) :])
            asked = Asked(told.take(rows), keypoints and keypoints.take(rows), weights, sure, shapes)
            if asked.keypoints is not None:
                asked = asked.without(elsewhere(asked.told, asked.keypoints, weights, self.joint_set, self.settings))
            yield asked

    def _fitted(self, asked: "Asked") -> "Fitted":
        objective = self.objective(asked.told, asked.keypoints, asked.confidence)
        if asked.betas is not None:
            objective = objective.with_shape_known()
        return Fitted(asked, objective, self.solve(objective, betas=asked.betas))

    def objective(
        self, told: Told, keypoints: Keypoints | None = None, confidence: np.ndarray | None = None
    ) -> Objective:
        """What is minimised for some views."""
        chain, defined = self._chain(keypoints is not None)
        evidence = build(told, defined, self.settings, keypoints, confidence, self.lifter)
        weights = Weights(self.settings.robust, self.settings.prior, self.settings.shape)
        return Objective(chain, self.prior, evidence, weights, free_shape=True)

    def solve(self, objective: Objective, start: State | None = None, betas: np.ndarray | None = None) -> State:
        """The best bodies, their limbs outside of them, from a start or from the directions of torso and limbs. betas: (N, 10) of the
        latter start."""
        chain, evidence = objective.chain, objective.evidence
        if start is None:
            likely = self.fitter.likely_pose(chain)
            shape = torch.zeros(len(evidence.points), chain.n_shape, dtype=torch.float64)
            if betas is not None:
                shape[:, : betas.shape[1]] = torch.as_tensor(betas, dtype=torch.float64)
            known = evidence.points_weight > 0
            limbs = starts.limbs_of(chain, likely)
            start = starts.procrustes_start(chain, limbs, likely, evidence.points, known, shape, self.joint_set)
        state = minimise(objective, start, STEPS, LEAST_GAIN).state
        return part_limbs(objective, self.fitter.penalty(chain, COARSE), state)

    def placed(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Roots (N, 3) and joints about them (N, J, 3), m."""
        chain, _ = self._chain(False)
        points = chain.points(state)[:, : len(self.joint_set)].numpy()
        root = points[:, self.joint_set.root_index]
        return root, points - root[:, None]

    def _none(self) -> Bodies:
        J = len(self.joint_set)
        return Bodies(np.zeros((0, J, 3)), np.zeros((0, 3)), [], np.zeros((0, J)), np.zeros((0, J)), ())
