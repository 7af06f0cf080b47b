"""How good a fit is: errors against the evidence, and what the evidence could not tell."""

from typing import Any

import numpy as np
import torch

from pipeline import camera as cameras
from pipeline.fit.kinematics import State
from pipeline.fit.objective import Objective, Weights
from pipeline.fit.settings import ENOUGH_3D, FitSettings
from pipeline.records import FitQuality, Instant
from pipeline.skeletons import SMPLX_22

# Joints whose turn about the bone to their child is easily unseen, and joints that may be unseen altogether.
_TWISTS = tuple(
    (f"{side}_{joint}", f"{side}_{child}")
    for side in ("left", "right")
    for joint, child in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
)
_WHOLE = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ("wrist", "ankle", "foot", "collar")) + (
    "spine1",
    "neck",
    "head",
)
# Another body that costs less than this more is at most e^2 = 7 times less likely.
AMBIGUOUS = 4.0
# Information (1 / radian^2) below which the evidence says less about an angle than a prior of half a radian.
LEAST_INFORMATION = 4.0


def unseen_names(objective: Objective, state: State) -> list[tuple[str, ...]]:
    """For each row the degrees of freedom that the evidence does not constrain: "left_elbow_twist" is the forearm's turn about itself,
    "left_wrist" a joint of which no turn is seen."""
    chain = objective.chain
    A = len(chain.joints)
    normal = objective.with_weights(Weights(objective.weights.robust, 0.0, 0.0)).linearise(state)
    blocks = normal.matrix[:, : 3 * A, : 3 * A].unflatten(1, (3, A)).unflatten(3, (3, A)).diagonal(dim1=2, dim2=4)
    names, known = [], []
    for joint, child in _TWISTS:
        i, j = SMPLX_22.index(joint), SMPLX_22.index(child)
        axis = normal.posed.p[:, j] - normal.posed.p[:, i]
        axis = axis / axis.norm(dim=1, keepdim=True)
        names.append(f"{joint}_twist")
        known.append(torch.einsum("ba,bac,bc->b", axis, blocks[..., i], axis))
    for joint in _WHOLE:
        names.append(joint)
        known.append(blocks[..., SMPLX_22.index(joint)].diagonal(dim1=1, dim2=2).sum(1))
    unseen = (torch.stack(known, 1) < LEAST_INFORMATION).cpu().numpy()
    return [tuple(name for name, flag in zip(names, row, strict=True) if flag) for row in unseen]


def measure(instant: Instant, points: np.ndarray, settings: FitSettings, **found: Any) -> FitQuality:
    """points: (J, 3) metres, the joint set's joints on the fitted body, in the instant's frame. found: the solver's own fields."""
    error, in_space = np.nan, False
    if instant.joints_3d is not None:
        valid = (
            np.ones(len(points), bool) if instant.joints_3d_valid is None else np.asarray(instant.joints_3d_valid, bool)
        )
        if valid.any():
            offset = points[valid] - instant.joints_3d[valid]
            error = 1000 * float(np.linalg.norm(offset - offset.mean(0), axis=1).mean())
            in_space = valid.sum() >= ENOUGH_3D
    pixels: list[float] = []
    crop: list[float] = []
    for view in instant.views:
        seen = view.confidence > settings.min_confidence
        side = cameras.BOX_MARGIN * max(view.box[2], view.box[3])
        if not seen.any():
            pixels.append(np.nan)
            crop.append(np.nan)
            continue
        projected = cameras.project(view.camera, cameras.world_to_camera(view.camera, points[seen]))
        pixels.append(float(np.linalg.norm(projected - view.joints_2d[seen], axis=1).mean()))
        crop.append(pixels[-1] / side if side > 0 else np.nan)
    in_image = np.nanmax(crop, initial=0) <= settings.valid_reprojection
    near = error <= settings.valid_error_mm
    good = near if in_space else in_image and (near or np.isnan(error))  # a few joints lie right by themselves
    return FitQuality(
        fit_error_mm=error,
        reprojection_px=np.array(pixels),
        reprojection_crop=np.array(crop),
        valid=bool(good),
        ambiguous=found["margin"] < AMBIGUOUS,
        **found,
    )
