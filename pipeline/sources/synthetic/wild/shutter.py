"""What moves while the shutter is open: an arm, a leg or the trunk of some people, which the picture then shows blurred."""

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.records import Camera
from pipeline.skeletons import SMPLX_55
from pipeline.sources.synthetic.people import Motion, Rig, chain
from pipeline.sources.synthetic.wild.stage import Figure

# Share of people of whom something moves, and the exposures that a picture of them is the mean of.
MOVING, EXPOSURES = 0.1, 4
# Joint that turns -> the joint at the end of what it moves.
_ENDS = {
    **{f"{side}_shoulder": f"{side}_wrist" for side in ("left", "right")},
    **{f"{side}_elbow": f"{side}_wrist" for side in ("left", "right")},
    **{f"{side}_hip": f"{side}_ankle" for side in ("left", "right")},
    **{f"{side}_knee": f"{side}_ankle" for side in ("left", "right")},
    "spine1": "head",
}
# The end moves by so many pixels of 384 from the first exposure to the last: less is not seen, and of more the exposures come apart.
_PIXELS = (2.0, 9.0)
# What moves nearly towards the camera or away moves in the picture by this part of the way at least, for the sake of the above.
_LEAST_ACROSS = 0.3


def draw_motion(rng: np.random.Generator, rig: Rig, figure: Figure, camera: Camera) -> Motion | None:
    """The EXPOSURES of a figure; the pose that it is labelled with is in the middle of them, between two. None for most people, who
    keep still."""
    if rng.random() >= MOVING:
        return None
    joint = str(rng.choice(list(_ENDS)))
    at, end = SMPLX_55.index(joint), SMPLX_55.index(_ENDS[joint])
    places, turned = figure.motion.places[0], figure.motion.turned[0]
    limb = places[end] - places[at]
    reach = float(np.linalg.norm(limb))
    axis = np.cross(limb, rng.normal(size=3))
    axis /= np.linalg.norm(axis)
    way = camera.R @ np.cross(axis, limb / reach)
    depth = float(camera.R[2] @ places[end] + camera.t[2])
    pixels = rng.uniform(*_PIXELS) * max(camera.width, camera.height) / 384
    angle = pixels * max(depth, 0.5) / (camera.K[0, 0] * reach * max(float(np.linalg.norm(way[:2])), _LEAST_ACROSS))
    own = turned[rig.parents[at]].T @ axis
    turns = Rotation.from_rotvec(np.outer(np.linspace(-angle / 2, angle / 2, EXPOSURES), own)).as_matrix()
    rotations = np.repeat(figure.motion.rotations, EXPOSURES, 0)
    rotations[:, at] = turns @ rotations[:, at]
    shifts = np.repeat(figure.motion.translations, EXPOSURES, 0)
    return Motion(rotations, shifts, *chain(rig, figure.person, rotations, shifts))
