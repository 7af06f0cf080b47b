"""Smooth motion of a person through the capture space: keys from `poses`, a C1 curve through them, a gait, a path on the floor."""

from typing import TypedDict

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from pipeline.skeletons import SMPLX_55
from pipeline.sources.synthetic.people import Motion, Person, Rig, chain, penetration
from pipeline.sources.synthetic.poses import HIGH, INDEX, LOW, neutral_pose, pose_rotations
from pipeline.sources.synthetic.repertoire import REPERTOIRES, ArmBank, sample_pose

RATE_HZ = 50
# Where the body can touch the floor, with the distance of the skin from the joint (metres).
_FLOOR = {
    "left_ankle": 0.07,
    "right_ankle": 0.07,
    "left_foot": 0.025,
    "right_foot": 0.025,
    "left_knee": 0.055,
    "right_knee": 0.055,
    "pelvis": 0.12,
    "left_wrist": 0.03,
    "right_wrist": 0.03,
}
# Body axes (y up, z forward) -> world axes (z up), facing -y at heading 0.
UPRIGHT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


class _Gait(TypedDict):
    """phase: (N,) radians over the moments. The rest say how far legs, knees, arms and trunk turn: radians."""

    phase: np.ndarray
    stride: float
    lift: float
    arms: float
    turn: float


def make_motion(
    rig: Rig,
    person: Person,
    bank: ArmBank,
    rng: np.random.Generator,
    action: str,
    frames: int,
    held_out: bool,
    penetration_m: float,
) -> Motion:
    """`frames` moments of an action at 50 Hz."""
    poses = draw_angles(rig, person, bank, rng, action, frames, held_out, penetration_m)
    return _place(rig, person, rng, poses, REPERTOIRES[action].walks)


def draw_angles(
    rig: Rig,
    person: Person,
    bank: ArmBank,
    rng: np.random.Generator,
    action: str,
    frames: int,
    held_out: bool,
    penetration_m: float,
) -> np.ndarray:
    """(N, P) angles of `poses.NAMES` at 50 Hz. Keys whose surroundings put a limb deep into the body are drawn again."""
    times, keys = _draw_keys(rng, bank, action, frames, held_out)
    moments = np.arange(frames) / RATE_HZ
    gait = _draw_gait(rng, moments) if REPERTOIRES[action].walks else None
    check = np.unique(np.append(np.arange(0, frames, 4), frames - 1))
    for attempt in range(60):
        poses = _interpolate(times, keys, moments, gait)
        rotations = pose_rotations(poses[check])
        turned, places = chain(rig, person, rotations, np.zeros((len(check), 3)))
        bad = np.flatnonzero(penetration(person, places, turned) > penetration_m)
        if not len(bad):
            break
        nearest = np.abs(moments[check[bad]][:, None] - times).argmin(1)
        for key in np.unique(nearest):
            if attempt < 40:
                keys[key] = sample_pose(rng, bank, action, held_out)
            else:  # give in: move towards standing with free arms
                keys[key] = 0.6 * keys[key] + 0.4 * neutral_pose()
    return _interpolate(times, keys, moments, gait)


def _draw_keys(
    rng: np.random.Generator, bank: ArmBank, action: str, frames: int, held_out: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Key times (s), half a second to 1.1 s apart and reaching past both ends, and poses (K, P)."""
    duration = frames / RATE_HZ
    gaps = rng.uniform(0.5, 1.1, int(duration / 0.5) + 4)
    times = np.cumsum(gaps) - gaps[0] - rng.uniform(0.6, 1.1)
    times = times[: np.searchsorted(times, duration + 0.6) + 1]
    return times, np.stack([sample_pose(rng, bank, action, held_out) for _ in times])


def _interpolate(times: np.ndarray, keys: np.ndarray, moments: np.ndarray, gait: _Gait | None) -> np.ndarray:
    """C1 and without overshoot (Fritsch and Carlson), so that what lies between two keys keeps the limits."""
    poses = PchipInterpolator(times, keys)(np.clip(moments, times[0], times[-1]))
    return np.clip(poses, LOW, HIGH) if gait is None else _walk(poses, gait)


def _draw_gait(rng: np.random.Generator, moments: np.ndarray) -> _Gait:
    """Phase over time and sizes of a walk; the sizes stay where the sum with a key's angles keeps the limits."""
    rate = rng.uniform(0.7, 1.15)
    return {
        "phase": 2 * np.pi * (rate * moments + rng.random()),
        "stride": rng.uniform(0.25, 0.6),
        "lift": rng.uniform(0.4, 1.0),
        "arms": rng.uniform(0.1, 0.6),
        "turn": rng.uniform(0.02, 0.15),
    }


def _walk(poses: np.ndarray, gait: _Gait) -> np.ndarray:
    """Legs and hanging arms of a walk on top of the keys' trunk and arms."""
    walking = poses.copy()
    for side, phase in (("left", gait["phase"]), ("right", gait["phase"] + np.pi)):
        wave = np.sin(phase)
        walking[:, INDEX[f"{side}_flexion"]] = 0.08 + gait["stride"] * wave + poses[:, INDEX["tilt"]]
        swing_leg = np.maximum(0, np.sin(phase + 0.9)) ** 2
        walking[:, INDEX[f"{side}_knee"]] = 0.12 + gait["lift"] * swing_leg
        walking[:, INDEX[f"{side}_ankle"]] = -0.05 + 0.25 * np.maximum(0, -np.sin(phase - 0.5)) ** 2
        hanging = np.clip(-poses[:, INDEX[f"{side}_swing"]] - 0.9, 0, 0.5) * 2  # arms that do something do not swing
        walking[:, INDEX[f"{side}_swing"]] -= gait["arms"] * wave * hanging
    walking[:, INDEX["turn"]] += gait["turn"] * np.sin(gait["phase"])
    return np.clip(walking, LOW, HIGH)


def _place(rig: Rig, person: Person, rng: np.random.Generator, poses: np.ndarray, walks: bool) -> Motion:
    """Put the person on the floor, on a path through the middle of the capture space."""
    n = len(poses)
    path, heading = _path(rng, n, walks)
    rotations = pose_rotations(poses)
    rotations[:, 0] = (
        Rotation.from_euler("z", heading[:, None]).as_matrix().reshape(n, 3, 3) @ UPRIGHT @ rotations[:, 0]
    )
    turned, places = chain(rig, person, rotations, np.zeros((n, 3)))
    lowest = (places[:, [SMPLX_55.index(name) for name in _FLOOR], 2] - np.array(list(_FLOOR.values()))).min(1)
    height = gaussian_filter1d(lowest, 4, mode="nearest") if n > 1 else lowest
    pelvis = places[:, 0]
    translations = np.column_stack([path - pelvis[:, :2], -height])
    return Motion(rotations, translations, turned, places + translations[:, None])


def _path(rng: np.random.Generator, n: int, walks: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) metres on the floor and (N,) heading: a walk on a wandering curve, else small steps and turns on the spot."""
    duration = n / RATE_HZ
    knots = np.arange(-1.0, duration + 2.0, 1.0)
    if walks:
        radius, speed = rng.uniform(0.35, 0.75), rng.uniform(0.7, 1.3) * rng.choice([-1, 1])
        centre = rng.uniform(-0.25, 0.25, 2)
        angle = rng.uniform(0, 2 * np.pi) + speed / radius * np.arange(n) / RATE_HZ
        wobble = PchipInterpolator(knots, rng.normal(0, 0.12, (len(knots), 2)))(np.arange(n) / RATE_HZ)
        path = centre + radius * np.column_stack([np.cos(angle), np.sin(angle)]) + wobble
        return path, angle + (np.pi if speed > 0 else 0.0) + wobble[:, 0]
    steps = rng.normal(0, 0.15, (len(knots), 2))
    turns = np.cumsum(rng.normal(0, 0.7, len(knots))) + rng.uniform(0, 2 * np.pi)
    moments = np.arange(n) / RATE_HZ
    return (rng.uniform(-0.35, 0.35, 2) + PchipInterpolator(knots, steps)(moments)), PchipInterpolator(knots, turns)(
        moments
    )


def parameters(motion: Motion, person: Person, frames: np.ndarray) -> dict[str, np.ndarray]:
    """SMPL-X parameters (K, k) by name at some frames: axis-angle, metres. With the person's warp they give the true body."""
    vectors = Rotation.from_matrix(motion.rotations[frames].reshape(-1, 3, 3)).as_rotvec().reshape(len(frames), 55, 3)
    parts = {
        "global_orient": (0, 1),
        "body_pose": (1, 22),
        "jaw_pose": (22, 23),
        "leye_pose": (23, 24),
        "reye_pose": (24, 25),
        "left_hand_pose": (25, 40),
        "right_hand_pose": (40, 55),
    }
    found = {name: vectors[:, a:b].reshape(len(frames), -1) for name, (a, b) in parts.items()}
    return found | {
        "betas": np.tile(person.betas, (len(frames), 1)),
        "expression": np.zeros((len(frames), 10)),
        "transl": motion.translations[frames],
    }
