"""From predicted joints to a body: SMPL-X fitted to what a network says, by the pipeline's own solver.

Joints that are predicted one by one need not be those of any body. Bone lengths, joint limits and a prior of poses correct them,
and the result has parameters and a surface. The same fit serves every head: it uses nothing but the joints.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.body.model import BodyModel
from pipeline.fit.fitter import Fitter, Kind, export_parameters
from pipeline.fit.kinematics import State
from pipeline.fit.objective import NEAREST_Z, Evidence, Objective, Weights
from pipeline.fit.settings import FitSettings
from pipeline.records import BodyParameters
from pipeline.skeletons import JointSet


@dataclass(frozen=True)
class BodyFitSettings:
    """How far a predicted joint is expected to be off: along, across: metres along the ray and across the image. robust: c of the
    image term's Geman-McClure function, in units of `across`. batch: bodies that are fitted at once. Chosen on validation views.
    """

    along: float = 0.1
    across: float = 0.03
    robust: float = 10.0
    batch: int = 64


@dataclass(frozen=True)
class Bodies:
    """N fitted bodies, in the axes of the joints they were fitted to. joints: (N, J, 3) m, relative to the root. root: (N, 3) m.
    parameters: of the body model, one a body, absolute.
    """

    joints: np.ndarray
    root: np.ndarray
    parameters: list[BodyParameters]


class BodyDecoder:
    """Fits bodies to predicted joints, in batches; a body does not depend on those beside it."""

    def __init__(self, body: BodyModel, joint_set: JointSet, settings: BodyFitSettings | None = None):
        self.settings, self.joint_set = settings or BodyFitSettings(), joint_set
        self.fitter = Fitter(body, FitSettings())
        kind = Kind(joint_set.name, (), n_views=1, from_3d=True, shape_known=False)
        self.chain, self.template, self.defined = self.fitter.chain(kind)

    @torch.no_grad()
    def __call__(self, joints: np.ndarray, root: np.ndarray) -> Bodies:
        """joints: (N, J, 3) m, root-relative in camera axes. root: (N, 3) m, absolute. Raises ValueError when one is not finite."""
        if not (np.isfinite(joints).all() and np.isfinite(root).all()):
            raise ValueError("a predicted joint is not a finite number")
        size, found = self.settings.batch, []
        for k in range(0, len(joints), size):
            found.append(self._fit(joints[k : k + size], root[k : k + size]))
        state = State.cat(found)
        points = self.chain.points(state)[:, : len(self.joint_set)].numpy()
        own_root = points[:, self.joint_set.root_index]
        return Bodies(points - own_root[:, None], own_root, export_parameters(self.chain, state))

    def _fit(self, joints: np.ndarray, root: np.ndarray) -> State:
        evidence, chain = self._evidence(joints, root), self.chain
        objective = Objective(chain, self.fitter.prior, evidence, Weights(self.settings.robust), free_shape=True)
        shape = torch.zeros(len(joints), chain.n_shape, dtype=torch.float64)
        known = evidence.points_weight > 0
        return self.fitter.from_3d(objective, evidence.points, known, shape, self.joint_set).solution.state

    def _evidence(self, joints: np.ndarray, root: np.ndarray) -> Evidence:
        """Each joint as a point in space, known to `along`, and as a point of the image, known to `across` at the root's depth."""
        B, J, N = len(joints), len(self.joint_set), len(self.template)
        has = self.defined[:J].astype(float)
        points, weight = np.zeros((B, N, 3)), np.zeros((B, N))
        points[:, :J], weight[:, :J] = joints + root[:, None], has / self.settings.along**2
        pixels, seen, scale = np.zeros((B, 1, N, 2)), np.zeros((B, 1, N)), np.zeros((B, 1, 2, 2))
        pixels[:, 0, :J] = points[:, :J, :2] / np.maximum(points[:, :J, 2:], NEAREST_Z)
        seen[:, 0, :J] = has
        scale[:, 0, 0, 0] = scale[:, 0, 1, 1] = root[:, 2] / self.settings.across
        R, t, up = np.broadcast_to(np.eye(3), (B, 1, 3, 3)), np.zeros((B, 1, 3)), np.zeros((B, 3))
        return Evidence(
            *(torch.tensor(a, dtype=torch.float64) for a in (points, weight, pixels, seen, R, t, scale, up))
        )
