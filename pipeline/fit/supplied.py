"""Fits that came with a dataset, in place of our own: judged by the same errors and thresholds."""

import functools
import hashlib

import numpy as np

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import FREE_BODY, BodyModel, move_body
from pipeline.body.smpl import SmplBodies
from pipeline.fit.constrained import joints_unseen
from pipeline.fit.evidence import refusal
from pipeline.fit.quality import measure
from pipeline.fit.settings import FitSettings
from pipeline.mesh import BodySurface, pose_mesh
from pipeline.records import BodyFit, BodyMesh, BodyParameters, Instant, Reject, SmplParameters
from pipeline.skeletons import JOINT_SETS

# `FitQuality.start` of such a fit.
START = "supplied"


def uses_supplied(instant: Instant, body: BodyModel) -> bool:
    """Whether a run takes the fit that came with the instant.

    SMPL-X parameters mean something on SMPL-X only: the free body has another rest pose and other betas. Those of another body
    mean something on that one alone.
    """
    if isinstance(instant.supplied, BodyParameters):
        if instant.supplied_body:
            return body.sha256 == instant.supplied_body
        return body.sha256 != _free_sha256()
    return instant.supplied is not None


@functools.cache
def _free_sha256() -> str:
    return hashlib.sha256(FREE_BODY.read_bytes()).hexdigest()


def supplied_fit(instant: Instant, body: BodyModel, smpl: SmplBodies | None, settings: FitSettings) -> BodyFit | Reject:
    """The fit that came with an instant, in the instant's frame, with errors measured here."""
    parameters = instant.supplied
    assert parameters is not None
    numbers = np.concatenate([values for values in vars(parameters).values() if isinstance(values, np.ndarray)])
    reason = refusal(instant, settings) or ("" if np.isfinite(numbers).all() else "the supplied fit is not finite")
    if reason:
        return Reject(instant.id, "fit", reason)
    if instant.supplied_in_camera:
        camera = instant.views[0].camera
        assert isinstance(parameters, BodyParameters), "SMPL's own parameters come in the instant's frame"
        parameters = move_body(body, parameters, camera.R.T, -camera.R.T @ camera.t)
    joint_set = JOINT_SETS[instant.joint_set]
    if isinstance(parameters, SmplParameters):
        assert smpl is not None, "who supplies SMPL's parameters has opened its files"
        points = smpl.keypoints(joint_set, smpl.mesh(instant.id, parameters))
    else:
        vertices, joints = body.mesh(parameters)
        points = keypoint_map(body, joint_set, settings.manner.as_annotated)(joints, vertices)
    quality = measure(
        instant,
        points,
        settings,
        iterations=0,
        converged=True,
        start=START,
        margin=float("inf"),
        joints_unseen=joints_unseen(instant, settings),
    )
    return BodyFit(instant.id, parameters, quality)


def mesh_of(fit: BodyFit, body: BodyModel, surface: BodySurface, smpl: SmplBodies | None) -> BodyMesh:
    """The mesh of a fit: of the run's body, or of SMPL where the dataset supplied that."""
    if isinstance(fit.parameters, SmplParameters):
        assert smpl is not None, "who supplies SMPL's parameters has opened its files"
        return smpl.mesh(fit.instant_id, fit.parameters)
    return pose_mesh(body, fit, surface)
