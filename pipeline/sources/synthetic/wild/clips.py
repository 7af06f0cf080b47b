"""Poses of real motion capture: the asset that `pipeline.build_clips` makes, and what is drawn from it."""

import functools
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.errors import InputError
from pipeline.skeletons import SMPLX_22
from pipeline.sources.synthetic.listed import listed_bytes

CLIPS_FILE, PROVENANCE = "motion_clips.npz", "provenance.json"
ASSETS = Path(__file__).with_name("assets")
# A quaternion's components are stored in this many steps from 0 to 1.
QUATERNION_STEPS = 32767
# How often each clip is taken for a whole pose: what photographs show most (walking, dancing, running) more than falls and flips.
WEIGHTS = {
    "backflip": 0.3,
    "cartwheel": 0.6,
    "crawl": 1.0,
    "dance_a": 2.0,
    "dance_b": 2.0,
    "getup_facedown": 1.3,
    "getup_faceup": 1.3,
    "jump": 1.5,
    "kick": 1.5,
    "punch": 1.5,
    "roll": 0.6,
    "run": 2.0,
    "spin": 1.5,
    "spinkick": 1.2,
    "walk": 3.0,
}


@dataclass(frozen=True)
class Clips:
    """names: of the clips. rotations: (F, 22, 3, 3), the pelvis in the world of the clip, y up. lift: (F,) metres from the floor
    to the body's lowest point. clip: (F,) index into names."""

    names: tuple[str, ...]
    rotations: np.ndarray
    lift: np.ndarray
    clip: np.ndarray


@functools.cache
def load_clips() -> Clips:
    """The clips that come with the program. Raises InputError when their file is not the one that the provenance beside it lists, or
    that says no licence."""
    with np.load(io.BytesIO(_listed()), allow_pickle=False) as archive:
        turns = archive["quaternions"].astype(float) / QUATERNION_STEPS
        rotations = Rotation.from_quat(turns.reshape(-1, 4)).as_matrix().reshape(-1, len(SMPLX_22), 3, 3)
        names = tuple(str(name) for name in archive["names"])
        return Clips(names, rotations, archive["lift"].astype(float), archive["clip"].astype(int))


def _listed() -> bytes:
    """The asset, checked."""
    try:
        listed = json.loads((ASSETS / PROVENANCE).read_text())
        known, licence = listed["sha256"][CLIPS_FILE], listed["licence"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the motion clips in {ASSETS} cannot be read ({error}). Install this program again."
        ) from error
    if not licence:
        raise InputError(f"{ASSETS / PROVENANCE} says no licence of {CLIPS_FILE}. Install this program again.")
    return listed_bytes(ASSETS / CLIPS_FILE, known, PROVENANCE)


def draw_frame(rng: np.random.Generator, clips: Clips, weights: dict[str, float] | None = None) -> int:
    """The index of a frame: a clip by its weight, then any of its frames."""
    weights = weights or WEIGHTS
    names = list(weights)
    p = np.array([weights[name] for name in names])
    chosen = clips.names.index(names[rng.choice(len(names), p=p / p.sum())])
    return int(rng.choice(np.flatnonzero(clips.clip == chosen)))


def mirrored(rotations: np.ndarray) -> np.ndarray:
    """(22, 3, 3) turns of the same person seen in a mirror."""
    mirror = np.diag([-1.0, 1, 1])
    return (mirror @ rotations @ mirror)[SMPLX_22.flip]
