"""Whether what a sequence says of one person in all its frames belongs together: part of what `pipeline.plausible` judges."""

from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.camera import in_image, project_pinhole
from pipeline.plausible import odd_bones
from pipeline.plausible_fits import MOST_ANGLE
from pipeline.skeletons import SMPL_24
from pipeline.spread import spread_evenly

# So many frames are looked at.
FRAMES = 50
# Parameters of a body that is not turned by so much, radians, may be placeholders; it can be told from so many frames.
TURNED, FEWEST_FRAMES = 0.6, 3
# SMPL's parameters give the joints beside them, by other models and rounding no further off than that, metres.
MOST_OFF = 0.1
# Metres from a camera at which people are.
NEAREST, FURTHEST = 0.3, 100.0


def odd_turning(joints: np.ndarray, poses: np.ndarray) -> str | None:
    """Whether joints (F, 24, 3) are not those of the SMPL poses (F, 72) beside them: then their left points to the poses' right."""
    turned = np.isfinite(joints).all((1, 2)) & np.isfinite(poses).all(1)
    angles = np.linalg.norm(np.where(turned[:, None], poses[:, :3], 0), axis=1)
    turned &= (angles > TURNED) & (angles < MOST_ANGLE)
    if turned.sum() < FEWEST_FRAMES:
        return None
    # where x points, the left hip's side of a body that is not turned
    left = Rotation.from_rotvec(poses[turned, :3]).apply([1.0, 0, 0])
    across = joints[turned][:, SMPL_24.index("left_hip")] - joints[turned][:, SMPL_24.index("right_hip")]
    if (np.einsum("fk,fk->f", left, across) < 0).mean() <= 0.8:
        return None
    return "the joints have left and right the other way round than the poses beside them, as if they were mirrored or exchanged"


def odd_posing(joints: np.ndarray, posed: np.ndarray, poses: np.ndarray) -> str | None:
    """Whether SMPL's joints (F, 24, 3) of the parameters beside them, posed, are not the joints (F, 24, 3). poses: (F, 72)."""
    off = np.linalg.norm(posed - joints, axis=-1)
    off = off[np.isfinite(off).all(1)]
    if not len(off) or (apart := float(np.median(off))) < MOST_OFF:
        return None
    angles = np.linalg.norm(poses.reshape(len(poses), -1, 3), axis=-1)
    guess = (
        "angles were in degrees" if np.nanmax(angles) > MOST_ANGLE else "they were another person's, or in another unit"
    )
    return f"the SMPL parameters give joints {apart:.2g} m away from the joints beside them, as if {guess}"


def odd_absence(joints: np.ndarray, extrinsics: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> str:
    """Why somebody may be in no picture of a sequence: the one change that brings the person there, "" where none does.

    joints: (F, 24, 3) in the world. extrinsics: (F, 4, 4) world -> camera. size: width, height."""
    good = np.flatnonzero(np.isfinite(joints).all((1, 2)) & np.isfinite(extrinsics).all((1, 2)))
    chosen = good[spread_evenly(len(good), FRAMES)]
    if not len(chosen):
        return ""
    for text, points, matrices in _readings(joints[chosen], extrinsics[chosen]):
        local = np.einsum("fij,fkj->fki", matrices[:, :3, :3], points) + matrices[:, None, :3, 3]
        ahead = (local[..., 2] > NEAREST) & (local[..., 2] < FURTHEST)
        with np.errstate(all="ignore"):
            pixels = project_pinhole(K, local.reshape(-1, 3)).reshape(*local.shape[:2], 2)
        seen = in_image(pixels, *size) & ahead
        bones = odd_bones(SMPL_24.name, points[0])
        if (seen.mean(1) > 0.5).mean() > 0.5 and bones is None:
            return f", as if {text}"
    return ""


def _readings(joints: np.ndarray, extrinsics: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Joints and cameras as they may be meant, by what is wrong then."""
    with np.errstate(all="ignore"):
        inverse = np.linalg.pinv(extrinsics)
    yield "cam_poses were inverted (camera to world)", joints, inverse
    for unit, scale in {"millimetres": 0.001, "centimetres": 0.01}.items():
        yield f"joints were in {unit} where metres are expected", scale * joints, extrinsics
        moved = extrinsics.copy()
        moved[:, :3, 3] *= scale
        yield f"translations of cam_poses were in {unit} where metres are expected", joints, moved
        yield f"joints and cam_poses were in {unit} where metres are expected", scale * joints, moved
