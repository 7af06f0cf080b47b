"""What moves while the shutter is open: an arm, a leg or the trunk of some people, which the picture then shows blurred."""

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.records import Camera
from pipeline.skeletons import SMPLX_55
from pipeline.sources.synthetic.people import Motion, Rig, chain
from pipeline.sources.synthetic.wild.stage import Figure

# Share of people of whom something moves, and the moments that a picture of them is the mean of.
MOVING, MOMENTS = 0.1, 4
# Joint that turns -> how far what it moves reaches, metres.
_REACH = {
    **{f"{side}_shoulder": 0.6 for side in ("left", "right")},
    **{f"{side}_elbow": 0.35 for side in ("left", "right")},
    **{f"{side}_hip": 0.85 for side in ("left", "right")},
    **{f"{side}_knee": 0.45 for side in ("left", "right")},
    "spine1": 0.7,
}
# Its end moves by so many pixels of 384 at least and at most: less is not seen, and of more the moments come apart.
_PIXELS = (2.0, 10.0)


def draw_motion(rng: np.random.Generator, rig: Rig, figure: Figure, camera: Camera) -> Motion | None:
    """The MOMENTS of a figure while the shutter is open; the pose that it is labelled with is in the middle of them, between two. None
    for most, who keep still."""
    if rng.random() >= MOVING:
        return None
    joint = str(rng.choice(list(_REACH)))
    axis = rng.normal(size=3)
    depth = max(float(camera.R[2] @ figure.naked.mean(0) + camera.t[2]), 0.5)
    pixels = rng.uniform(*_PIXELS) * max(camera.width, camera.height) / 384
    angle = pixels * depth / (camera.K[0, 0] * _REACH[joint])
    times = (np.arange(MOMENTS) + 0.5) / MOMENTS - 0.5
    turns = Rotation.from_rotvec(np.outer(times * angle, axis / np.linalg.norm(axis))).as_matrix()
    rotations = np.repeat(figure.motion.rotations, MOMENTS, 0)
    at = SMPLX_55.index(joint)
    rotations[:, at] = turns @ rotations[:, at]
    shifts = np.repeat(figure.motion.translations, MOMENTS, 0)
    return Motion(rotations, shifts, *chain(rig, figure.person, rotations, shifts))
