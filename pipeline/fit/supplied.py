"""Fits in place of a run's own, that came with a dataset or from `nvf-cli fit`: judged by the same errors and thresholds."""

import functools
import hashlib
from dataclasses import replace

import numpy as np

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import FREE_BODY, BodyModel, move_body
from pipeline.body.smpl import SmplBodies
from pipeline.fit.constrained import joints_unseen
from pipeline.fit.evidence import refusal
from pipeline.fit.quality import measure
from pipeline.fit.settings import FitSettings
from pipeline.mesh import BodySurface, pose_mesh
from pipeline.records import BodyFit, BodyMesh, BodyParameters, FitQuality, Instant, Reject, SmplParameters
from pipeline.skeletons import JOINT_SETS

# `FitQuality.start` of such a fit.
START = "supplied"
# A body further away is no body, metres.
FURTHEST = 1e4
# Ends of the names of SMPL-X's files that are not the neutral model.
GENDERED = ("_MALE", "_FEMALE")
# Errors of a fit that are measured again differ by less, millimetres or pixels and a share: parameters are stored in single precision.
LEAST_CHANGE, CHANGE = 0.5, 0.05


def uses_supplied(instant: Instant, body: BodyModel) -> bool:
    """Whether a run takes the fit that came with the instant.

    SMPL-X parameters mean something on SMPL-X only: the free body has another rest pose and other betas, and those of the male and
    female models are others than the neutral one's, which datasets are fitted with. Those of another body mean something on that
    one alone.
    """
    if isinstance(instant.supplied, BodyParameters):
        if instant.supplied_body:
            return body.sha256 == instant.supplied_body
        return body.sha256 != _free_sha256() and not body.name.upper().endswith(GENDERED)
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
    if not np.isfinite(points).all() or np.abs(points).max() > FURTHEST:
        return Reject(instant.id, "fit", "the supplied fit lies nowhere: its numbers are too large")
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


def given_fit(instant: Instant, fit: BodyFit, body: BodyModel, settings: FitSettings) -> BodyFit | Reject:
    """A fit that `nvf-cli fit` made of the instant of this id, if it fits this one: another dataset may have the same ids, and people
    other numbers since they were found anew. Where it fits otherwise than when it was made, its errors are those measured here."""
    reason = refusal(instant, settings)
    if reason:
        return Reject(instant.id, "fit", reason)
    vertices, joints = body.mesh(fit.smplx)
    found = None
    for as_annotated in (
        settings.manner.as_annotated,
        not settings.manner.as_annotated,
    ):  # as this run, or as the fit may have had it
        points = keypoint_map(body, JOINT_SETS[instant.joint_set], as_annotated)(joints, vertices)
        measured = _measured_again(instant, fit.quality, points, settings)
        if _alike(fit.quality, measured):
            return fit
        found = found or measured
    assert found is not None
    if found.valid:
        return replace(fit, quality=found)
    return Reject(
        instant.id, "fit", f"the given fit is not of this instant ({_told(found)}, its file says {_told(fit.quality)})"
    )


def _measured_again(instant: Instant, quality: FitQuality, points: np.ndarray, settings: FitSettings) -> FitQuality:
    """points: (J, 3) metres, the joints of the fit."""
    kept = ("iterations", "converged", "start", "margin", "unseen")
    unseen = joints_unseen(instant, settings)
    return measure(instant, points, settings, joints_unseen=unseen, **{name: getattr(quality, name) for name in kept})


def _alike(one: FitQuality, other: FitQuality) -> bool:
    """Whether two judgements are of the same fit to the same evidence."""
    ours, theirs = (np.append(quality.reprojection_px, quality.fit_error_mm) for quality in (one, other))
    return len(ours) == len(theirs) and np.allclose(ours, theirs, rtol=CHANGE, atol=LEAST_CHANGE, equal_nan=True)


def _told(quality: FitQuality) -> str:
    seen = quality.reprojection_px[np.isfinite(quality.reprojection_px)]
    parts = [f"{quality.fit_error_mm:.1f} mm"] if np.isfinite(quality.fit_error_mm) else []
    return " and ".join([*parts, *([f"{seen.mean():.1f} px"] if len(seen) else [])]) + " off"
