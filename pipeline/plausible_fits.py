"""Whether a fit that came with a dataset can be one: part of what `pipeline.plausible` judges."""

import numpy as np

from pipeline.camera import world_to_camera
from pipeline.records import BodyParameters, Instant
from pipeline.skeletons import JOINT_SETS

# Optimisers leave angles a little beyond a full turn, radians.
MOST_ANGLE = 3 * np.pi
# Standard deviations of a shape: nobody has so many.
MOST_BETA = 30.0
# Metres from the measured pelvis to a fit's translation: SMPL-X's rest pose has 0.35. What is a little further off is a matter of its
# errors, which are measured where it is used.
FURTHEST_ROOT, FAR_OFF = 1.0, 5.0
# A fit without measured joints beside it is no further from its origin, metres.
FURTHEST = 300.0


def odd_fit(instant: Instant) -> str | None:
    """What is wrong with the parameters that an instant is supplied with, None where nothing is or it has none."""
    fit = instant.supplied
    if fit is None:
        return None
    if isinstance(fit, BodyParameters):
        angles, transl = np.concatenate([fit.global_orient, fit.body_pose]), fit.transl
    else:
        angles, transl = fit.pose, fit.trans
    if not all(np.isfinite(values).all() for values in (angles, transl, fit.betas)):
        return "the supplied fit is not finite"
    largest = float(np.linalg.norm(angles.reshape(-1, 3), axis=1).max())
    if largest > MOST_ANGLE:
        return f"the supplied fit has an angle of {largest:.4g} radians, as if angles were in degrees"
    if (worst := float(np.abs(fit.betas).max(initial=0))) > MOST_BETA:
        return f"the supplied fit's shape is {worst:.3g} standard deviations from the mean, as if betas were something else"
    return _odd_place(instant, transl)


def _odd_place(instant: Instant, transl: np.ndarray) -> str | None:
    """Whether a fit stands elsewhere than the instant's joints, or further away than anybody."""
    names = JOINT_SETS[instant.joint_set].names
    known = instant.joints_3d is not None and "pelvis" in names
    if known and instant.joints_3d_valid is not None:
        known = bool(instant.joints_3d_valid[names.index("pelvis")])
    if not known:
        away = float(np.linalg.norm(transl))
        return f"the supplied fit is {away:.0f} m away, as if it were in millimetres" if away > FURTHEST else None
    assert instant.joints_3d is not None
    root = instant.joints_3d[names.index("pelvis")]
    if instant.supplied_in_camera:
        root = world_to_camera(instant.views[0].camera, root)
    away = float(np.linalg.norm(transl - root))
    if away <= FAR_OFF:
        return None
    guess = _unit(transl, root)
    return f"the supplied fit is {away:.3g} m away from the person's joints" + (f", as if {guess}" if guess else "")


def _unit(transl: np.ndarray, root: np.ndarray) -> str | None:
    """What a translation is in where that brings it to the root."""
    away = {
        name: float(np.linalg.norm(scale * transl - root))
        for name, scale in {"millimetres": 0.001, "centimetres": 0.01}.items()
    }
    nearest = min(away, key=lambda name: away[name])
    return f"it were in {nearest}" if away[nearest] < FURTHEST_ROOT else None
