"""What people do with their legs, trunk and arms in each action, and poses drawn from it."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.sources.synthetic.poses import HIGH, LOW, NAMES, SIDED

# Arms and legs that only the test subjects use.
HELD_OUT_ARMS = ("behind",)
HELD_OUT_LEGS = ("lunge", "one_leg")


@dataclass(frozen=True)
class ArmBank:
    """Arm configurations and where they put the hand, to choose from by what the hand does.

    angles: (N, 4) spread, swing, arm_twist, elbow. wrist, elbow: (N, 3) metres, left arm, relative to the middle of the
    shoulders, in the chest's axes (x to the body's left, y up, z forward), for an arm of 0.28 + 0.25 m at x = 0.17 m.
    choices: for each of ARM_MODES, the indices of the arms that do it.
    """

    angles: np.ndarray
    wrist: np.ndarray
    elbow: np.ndarray
    choices: dict[str, np.ndarray] = field(default_factory=dict)


ARM_ANGLES = ("spread", "swing", "arm_twist", "elbow")
SHOULDER, UPPER_ARM, FOREARM = 0.17, 0.28, 0.25


def make_arm_bank(rng: np.random.Generator, size: int = 20000) -> ArmBank:
    """Draw arms within the limits and keep those whose elbow and wrist stay out of the trunk and the head."""
    low, high = (np.array([SIDED[name][k] for name in ARM_ANGLES]) for k in (0, 1))
    angles = rng.uniform(low, high, (size, 4))
    spread, swing, twist, flex = angles.T
    shoulder = Rotation.from_rotvec(np.stack([0 * spread, -spread * np.cos(swing), spread * np.sin(swing)], -1))
    shoulder = shoulder * Rotation.from_rotvec(np.stack([twist, 0 * twist, 0 * twist], -1))
    forearm = shoulder * Rotation.from_rotvec(np.stack([0 * flex, -flex, 0 * flex], -1))
    elbow = shoulder.apply([UPPER_ARM, 0, 0]) + [SHOULDER, 0, 0]
    wrist = elbow + forearm.apply([FOREARM, 0, 0])
    free = np.ones(size, bool)
    for point in (elbow, 0.5 * (elbow + wrist), wrist):
        trunk = np.hypot(point[:, 0] / 0.19, (point[:, 2] - 0.02) / 0.15) < 1
        free &= ~(trunk & (point[:, 1] < 0.06)) & (np.linalg.norm(point - [0, 0.24, 0.05], axis=1) > 0.13)
    behind = elbow[:, 2] < -0.17  # shoulders do not turn that far back
    free &= ~behind & ~((elbow[:, 2] < -0.05) & (elbow[:, 1] > 0.05))
    bank = ArmBank(angles[free], wrist[free], elbow[free])
    bank.choices.update({mode: arm_choices(bank, mode) for mode in ARM_MODES})
    return bank


# What an arm does: the place of the wrist and its tolerance (metres, chest axes of a left arm), or a condition on the arm.
_PLACES = {
    "mouth": ((0.07, 0.16, 0.22), 0.07),
    "ear": ((0.17, 0.24, 0.06), 0.07),
    "photo": ((0.09, 0.22, 0.33), 0.08),
    "cross": ((-0.10, -0.20, 0.22), 0.09),
    "hip": ((0.26, -0.42, 0.02), 0.09),
    "lap": ((0.12, -0.42, 0.27), 0.12),
    "carry": ((0.15, -0.28, 0.33), 0.12),
    "gesture": ((0.22, -0.12, 0.33), 0.20),
    "behind": ((0.10, -0.42, -0.20), 0.10),
    "head": ((0.12, 0.36, 0.03), 0.10),
}


def arm_choices(bank: ArmBank, mode: str) -> np.ndarray:
    """(M,) indices of the bank's arms that do what `mode` says."""
    spread, swing, _, elbow = bank.angles.T
    down = np.abs(swing + np.pi / 2)
    if mode in _PLACES:
        place, tolerance = _PLACES[mode]
        distance = np.linalg.norm(bank.wrist - np.array(place), axis=1)
        found = np.flatnonzero(distance < tolerance)
        return found if len(found) >= 12 else np.argsort(distance)[:12]
    conditions = {
        "hang": (spread > 1.15) & (spread < 1.5) & (down < 0.4) & (elbow < 0.6),
        "point": (elbow < 0.5) & (swing > -1.0) & (bank.wrist[:, 0] > -0.2),
        "wave": (bank.wrist[:, 1] > 0.15) & (bank.wrist[:, 0] > 0.25) & (elbow > 0.8),
        "overhead": (bank.wrist[:, 1] > 0.38),
        "reach": (elbow < 1.2) & (bank.wrist[:, 2] > 0.05),
        "low": (bank.wrist[:, 1] < -0.35) & (elbow < 1.2) & (bank.wrist[:, 2] > 0.0),
        "leash": (elbow < 0.9) & (down < 1.0) & (bank.wrist[:, 2] > 0.15) & (bank.wrist[:, 1] < -0.1),
        "any": np.ones(len(elbow), bool),
    }
    return np.flatnonzero(conditions[mode])


ARM_MODES = (*_PLACES, "hang", "point", "wave", "overhead", "reach", "low", "leash", "any")
# What the legs do: mean and spread of angles (both legs unless the name has a side; "a_" is one leg, "b_" the other).
LEG_MODES = {
    "stand": {"flexion": (0.05, 0.08), "abduction": (0.08, 0.07), "knee": (0.10, 0.10)},
    "hip_out": {
        "a_flexion": (0.35, 0.15),
        "a_knee": (0.65, 0.2),
        "a_abduction": (0.2, 0.12),
        "b_abduction": (0.05, 0.05),
        "roll": (0.0, 0.1),
    },
    "wide": {"abduction": (0.42, 0.15), "knee": (0.2, 0.2), "flexion": (0.2, 0.15), "leg_twist": (0.3, 0.2)},
    "step": {"a_flexion": (0.6, 0.2), "a_knee": (0.4, 0.2), "b_flexion": (-0.3, 0.12), "b_knee": (0.3, 0.2)},
    "sit": {"flexion": (1.45, 0.18), "abduction": (0.2, 0.16), "knee": (1.35, 0.35), "tilt": (-0.1, 0.12)},
    "sit_crossed": {
        "a_flexion": (1.6, 0.1),
        "a_abduction": (0.45, 0.15),
        "a_leg_twist": (0.5, 0.15),
        "a_knee": (1.55, 0.2),
        "b_flexion": (1.4, 0.12),
        "b_knee": (1.5, 0.2),
        "b_abduction": (0.1, 0.1),
        "tilt": (-0.1, 0.1),
    },
    "floor": {
        "flexion": (1.5, 0.2),
        "abduction": (0.65, 0.15),
        "leg_twist": (0.5, 0.2),
        "knee": (1.85, 0.25),
        "tilt": (-0.2, 0.2),
    },
    "floor_straight": {
        "a_flexion": (1.4, 0.2),
        "a_knee": (0.25, 0.2),
        "b_flexion": (1.6, 0.25),
        "b_knee": (0.9, 0.6),
        "abduction": (0.3, 0.2),
        "tilt": (-0.45, 0.25),
    },
    "crouch": {
        "flexion": (1.6, 0.15),
        "abduction": (0.45, 0.2),
        "knee": (2.05, 0.18),
        "tilt": (0.3, 0.15),
        "ankle": (-0.3, 0.1),
    },
    "half_crouch": {"flexion": (1.0, 0.25), "abduction": (0.25, 0.15), "knee": (1.1, 0.3), "tilt": (0.25, 0.15)},
    "kneel": {
        "a_flexion": (1.45, 0.15),
        "a_knee": (1.55, 0.15),
        "b_flexion": (0.05, 0.12),
        "b_knee": (1.6, 0.15),
        "abduction": (0.15, 0.1),
    },
    "kneel_both": {"flexion": (0.3, 0.25), "knee": (1.8, 0.2), "abduction": (0.2, 0.1), "ankle": (0.6, 0.1)},
    "lunge": {"a_flexion": (1.3, 0.2), "a_knee": (1.2, 0.25), "b_flexion": (-0.35, 0.08), "b_knee": (0.5, 0.25)},
    "one_leg": {"a_flexion": (1.3, 0.3), "a_knee": (1.4, 0.4), "a_abduction": (0.3, 0.25), "b_knee": (0.1, 0.08)},
}
# What the trunk and the head do.
TRUNK_MODES = {
    "upright": {
        "bend": (0.08, 0.12),
        "side": (0.0, 0.1),
        "turn": (0.0, 0.15),
        "neck_bend": (0.0, 0.15),
        "neck_turn": (0.0, 0.3),
    },
    "lively": {
        "bend": (0.15, 0.2),
        "side": (0.0, 0.2),
        "turn": (0.0, 0.35),
        "neck_bend": (0.0, 0.2),
        "neck_turn": (0.0, 0.4),
    },
    "stoop": {
        "bend": (0.75, 0.25),
        "side": (0.0, 0.2),
        "turn": (0.0, 0.3),
        "tilt": (0.45, 0.2),
        "neck_bend": (-0.1, 0.25),
    },
    "lean_back": {
        "bend": (-0.1, 0.12),
        "side": (0.0, 0.2),
        "turn": (0.0, 0.25),
        "tilt": (-0.3, 0.15),
        "neck_bend": (0.2, 0.15),
    },
    "look_down": {"bend": (0.3, 0.15), "turn": (0.0, 0.2), "neck_bend": (0.35, 0.12), "neck_turn": (0.0, 0.25)},
}


@dataclass(frozen=True)
class Repertoire:
    """What an action is made of: weighted modes of legs, trunk and arms. walks: legs follow a gait."""

    legs: dict[str, float]
    trunk: dict[str, float]
    arms: dict[str, float]
    both_arms: dict[str, float]
    walks: bool = False


_STANDING: dict[str, float] = {"stand": 4, "hip_out": 3, "wide": 1.5, "step": 2}
_SEATED: dict[str, float] = {"sit": 4, "sit_crossed": 2}
REPERTOIRES = {
    "Directions": Repertoire(
        _STANDING, {"upright": 2, "lively": 3}, {"point": 5, "hang": 1, "hip": 1, "gesture": 2}, {}
    ),
    "Discussion": Repertoire(
        _STANDING, {"upright": 2, "lively": 3}, {"gesture": 5, "reach": 2, "any": 2, "hip": 1}, {"cross": 1}
    ),
    "Eating": Repertoire(
        _SEATED | {"stand": 1.5}, {"upright": 2, "look_down": 2}, {"mouth": 3, "lap": 2, "carry": 2, "reach": 1}, {}
    ),
    "Greeting": Repertoire(
        _STANDING, {"lively": 3, "stoop": 1.5}, {"wave": 4, "reach": 3, "overhead": 1, "hang": 2}, {}
    ),
    "Phoning": Repertoire(
        _STANDING | {"sit": 2}, {"upright": 3, "lively": 2}, {"ear": 4, "hang": 1, "gesture": 2, "hip": 1}, {}
    ),
    "Posing": Repertoire(
        {"wide": 3, "step": 2, "hip_out": 2, "half_crouch": 1.5, "kneel": 1},
        {"lively": 3, "lean_back": 1},
        {"any": 3, "hip": 2, "overhead": 2, "head": 2},
        {"hip": 1, "overhead": 1},
    ),
    "Purchases": Repertoire(
        _STANDING | {"half_crouch": 2, "crouch": 1.5},
        {"stoop": 3, "lively": 2},
        {"reach": 3, "low": 3, "carry": 2, "overhead": 1},
        {"carry": 1},
    ),
    "Sitting": Repertoire(
        _SEATED,
        {"upright": 2, "lively": 2, "lean_back": 2, "stoop": 1},
        {"lap": 3, "gesture": 2, "head": 1, "hang": 1, "any": 1},
        {"cross": 1},
    ),
    "SittingDown": Repertoire(
        {"floor": 3, "floor_straight": 3, "kneel_both": 2, "crouch": 2, "half_crouch": 1},
        {"lively": 3, "stoop": 1, "lean_back": 2},
        {"low": 3, "lap": 2, "any": 2, "reach": 1},
        {},
    ),
    "Smoking": Repertoire(
        _SEATED | {"stand": 2, "hip_out": 2},
        {"upright": 3, "lean_back": 1, "lively": 1},
        {"mouth": 4, "lap": 1, "hang": 2, "gesture": 1},
        {},
    ),
    "Photo": Repertoire(
        _STANDING | {"kneel": 2, "crouch": 1.5, "half_crouch": 1},
        {"lively": 3, "stoop": 1, "look_down": 1},
        {"photo": 2, "any": 1},
        {"photo": 4},
    ),
    "Waiting": Repertoire(
        _STANDING | {"sit": 1.5},
        {"upright": 4, "lean_back": 1, "look_down": 2},
        {"hang": 3, "hip": 2, "head": 1, "any": 1},
        {"cross": 2, "hip": 1},
    ),
    "Walking": Repertoire({}, {"upright": 1}, {"swing": 1}, {}, walks=True),
    "WalkDog": Repertoire(
        {}, {"lively": 2, "stoop": 1, "lean_back": 1}, {"leash": 3, "low": 1, "swing": 1}, {}, walks=True
    ),
    "WalkTogether": Repertoire(
        {}, {"lively": 2, "upright": 1}, {"gesture": 2, "point": 1, "any": 1, "swing": 1}, {}, walks=True
    ),
}


def _choose(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = list(weights)
    p = np.array([weights[name] for name in names])
    return names[rng.choice(len(names), p=p / p.sum())]


def _draw(rng: np.random.Generator, mode: dict[str, tuple[float, float]], pose: dict[str, float]) -> None:
    """Draw the angles of a mode into `pose`; "a_" and "b_" become the two sides in random order."""
    sides = ("left", "right") if rng.random() < 0.5 else ("right", "left")
    for name, (mean, spread) in mode.items():
        if name[:2] in ("a_", "b_"):
            targets = [f"{sides[name[0] == 'b']}_{name[2:]}"]
        elif name in SIDED:
            targets = [f"left_{name}", f"right_{name}"]
        else:
            targets = [name]
        for target in targets:
            pose[target] = pose.get(target, 0.0) * (target in ("tilt", "roll")) + rng.normal(mean, spread)


def sample_legs(rng: np.random.Generator, mode: str, pose: dict[str, float]) -> None:
    """Legs of one of LEG_MODES, with small random angles in what the mode leaves open."""
    for side in ("left", "right"):
        for name, spread in (
            ("flexion", 0.1),
            ("abduction", 0.08),
            ("leg_twist", 0.15),
            ("ankle", 0.12),
            ("ankle_side", 0.06),
        ):
            pose[f"{side}_{name}"] = rng.normal(0.08 if name != "ankle" else 0.0, spread)
        pose[f"{side}_knee"] = abs(rng.normal(0.1, 0.1))
    _draw(rng, LEG_MODES[mode], pose)


def sample_arm(rng: np.random.Generator, bank: ArmBank, mode: str, side: str, pose: dict[str, float]) -> None:
    """One arm of ARM_MODES; "swing" hangs, the gait moves it."""
    choice = rng.choice(bank.choices["hang" if mode == "swing" else mode])
    for name, angle in zip(ARM_ANGLES, bank.angles[choice], strict=True):
        pose[f"{side}_{name}"] = angle
    for name, mean, spread in (
        ("shrug", 0.02, 0.06),
        ("collar", 0.0, 0.08),
        ("pronation", 0.0, 0.35),
        ("wrist", 0.0, 0.22),
        ("wrist_side", 0.0, 0.1),
        ("grip", 0.35, 0.3),
    ):
        pose[f"{side}_{name}"] = rng.normal(mean, spread)


def sample_pose(rng: np.random.Generator, bank: ArmBank, action: str, held_out: bool) -> np.ndarray:
    """(P,) a pose of an action within the limits. held_out: may use the arms and legs that only test subjects show."""
    repertoire = REPERTOIRES[action]
    pose = {name: 0.0 for name in NAMES}
    leg_mode = _choose(rng, repertoire.legs) if repertoire.legs else "stand"
    if held_out and not repertoire.walks and rng.random() < 0.15:
        leg_mode = HELD_OUT_LEGS[rng.integers(len(HELD_OUT_LEGS))]
    sample_legs(rng, leg_mode, pose)
    seated = leg_mode in ("sit", "sit_crossed", "floor", "floor_straight")
    trunk = TRUNK_MODES[_choose(rng, repertoire.trunk)]
    of_legs = pose["tilt"]
    _draw(rng, {k: v for k, v in trunk.items() if not (seated and k == "tilt")}, pose)
    for side in ("left", "right"):  # the thighs stay where they were when the pelvis tips over them
        pose[f"{side}_flexion"] += pose["tilt"] - of_legs
    pose["neck_side"], pose["jaw"] = rng.normal(0, 0.1), max(0.0, rng.normal(-0.05, 0.12))
    if repertoire.both_arms and rng.random() < 0.35:
        modes = [_choose(rng, repertoire.both_arms)] * 2
    else:
        modes = [_choose(rng, repertoire.arms) for _ in range(2)]
    for side, mode in zip(("left", "right"), modes, strict=True):
        if held_out and rng.random() < 0.1:
            mode = HELD_OUT_ARMS[0]
        sample_arm(rng, bank, mode, side, pose)
    return np.clip([pose[name] for name in NAMES], LOW, HIGH)
