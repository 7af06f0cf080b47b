"""One pose: an action, a moment of a motion clip, both mixed limb by limb, or somebody who lies; with hands and a head that move."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.skeletons import SMPLX_55
from pipeline.sources.synthetic.people import Person, Rig, chain, penetration
from pipeline.sources.synthetic.poses import HIGH, LOW, NAMES, neutral_pose, pose_rotations
from pipeline.sources.synthetic.repertoire import ArmBank, sample_arm, sample_legs, sample_pose
from pipeline.sources.synthetic.wild.clips import Clips, draw_frame, mirrored

# How often a pose is of each kind. Most people in photographs stand, walk, sit or reach; "calm" are those who just stand or sit about.
KINDS = {"calm": 0.26, "action": 0.30, "clip": 0.16, "mixed": 0.22, "lying": 0.06}
# What the legs and arms of the calm do.
_CALM_LEGS = {"stand": 0.55, "hip_out": 0.15, "step": 0.12, "sit": 0.13, "sit_crossed": 0.05}
_CALM_ARMS = {"hang": 6, "hip": 1, "lap": 1, "carry": 1.2, "low": 0.8, "ear": 0.4, "gesture": 0.8}
# How often each action is taken (its legs follow no gait here: walking comes from the clips).
ACTIONS = {
    "Directions": 1.5,
    "Discussion": 2.0,
    "Eating": 1.2,
    "Greeting": 1.5,
    "Phoning": 1.2,
    "Posing": 1.5,
    "Purchases": 1.2,
    "Sitting": 1.5,
    "SittingDown": 0.9,
    "Smoking": 0.8,
    "Photo": 1.2,
    "Waiting": 2.0,
}
# Clips whose limbs go with any others: those that happen on the feet.
_ON_FEET = {
    "walk": 3.0,
    "run": 2.0,
    "dance_a": 1.5,
    "dance_b": 1.5,
    "punch": 1.0,
    "kick": 1.0,
    "jump": 1.0,
    "spin": 0.7,
    "spinkick": 0.7,
}
_LEGS = ("pelvis", *(f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "ankle", "foot")))
_TRUNK = ("spine1", "spine2", "spine3", "neck", "head")
_ARM = ("collar", "shoulder", "elbow", "wrist")
# Parts of the body that a mixed pose takes from wherever: joints of each.
_PARTS = tuple(
    np.array([SMPLX_55.index(name) for name in names])
    for names in (_LEGS, _TRUNK, [f"left_{name}" for name in _ARM], [f"right_{name}" for name in _ARM])
)
_FINGERS = ("index", "middle", "ring", "pinky")
_HANDS = np.array(
    [SMPLX_55.index("jaw")]
    + [SMPLX_55.index(f"{side}_{f}{k}") for side in ("left", "right") for f in (*_FINGERS, "thumb") for k in (1, 2, 3)]
)
# Share of actions that may be done as only the other capture's test subjects do them.
HELD_OUT = 0.16
# Candidates that are tried together, and rounds of them.
_TOGETHER, _ROUNDS = 3, 12


@dataclass(frozen=True)
class Pose:
    """rotations: (55, 3, 3) local, the pelvis in axes of y up, z to where the person's path goes. lift: metres above the floor of the
    body's lowest point. kind: one of KINDS, with the clip's name where it is one."""

    rotations: np.ndarray
    lift: float
    kind: str


def draw_pose(
    rng: np.random.Generator,
    rig: Rig,
    person: Person,
    bank: ArmBank,
    clips: Clips | None,
    penetration_m: float,
    held_out: float = HELD_OUT,
) -> Pose:
    """A pose whose capsules overlap by no more than `penetration_m`; standing where none of many is. clips: None for none of
    their poses. held_out: share of actions that may be done as only the test subjects of the other capture do them."""
    for _ in range(_ROUNDS):
        poses = [_draw(rng, bank, clips, held_out) for _ in range(_TOGETHER)]
        rotations = np.stack([pose.rotations for pose in poses])
        turned, places = chain(rig, person, rotations, np.zeros((len(poses), 3)))
        good = np.flatnonzero(penetration(person, places, turned) <= penetration_m)
        if len(good):
            return poses[good[0]]
    return Pose(pose_rotations(neutral_pose()[None])[0], 0.0, "action")


def _draw(rng: np.random.Generator, bank: ArmBank, clips: Clips | None, held_out: float) -> Pose:
    shares = np.array([share * (clips is not None or kind != "clip") for kind, share in KINDS.items()])
    kind = str(rng.choice(list(KINDS), p=shares / shares.sum()))
    lift, name = 0.0, kind
    if kind == "calm":
        rotations = _calm(rng, bank)
    elif kind == "action":
        rotations = _action(rng, bank, held_out)
    elif kind == "clip" and clips is not None:
        frame = draw_frame(rng, clips)
        rotations, lift, name = _frame(rng, clips, frame), clips.lift[frame], f"clip {clips.names[clips.clip[frame]]}"
        _shake(rng, rotations)
    elif kind == "mixed":
        rotations = _mixed(rng, bank, clips, held_out)
    else:
        rotations = _lying(rng, bank, held_out)
    _hands(rng, rotations)
    return Pose(rotations, float(lift), name)


def _calm(rng: np.random.Generator, bank: ArmBank) -> np.ndarray:
    """(55, 3, 3) of somebody who stands (seldom sits) upright; both arms do the same or not."""
    pose = {name: 0.0 for name in NAMES}
    legs, shares = zip(*_CALM_LEGS.items(), strict=True)
    sample_legs(rng, str(rng.choice(legs, p=shares)), pose)
    bend, turn, nod, look = rng.normal((0.03, 0, 0.05, 0), (0.08, 0.12, 0.15, 0.35))
    pose |= {"bend": bend, "turn": turn, "neck_bend": nod, "neck_turn": look}
    pose |= {"side": rng.normal(0, 0.06), "neck_side": rng.normal(0, 0.1)}
    modes = rng.choice(list(_CALM_ARMS), size=2, p=np.array(list(_CALM_ARMS.values())) / sum(_CALM_ARMS.values()))
    both = rng.random() < 0.5
    for side, mode in zip(("left", "right"), modes[[0, 0]] if both else modes, strict=True):
        sample_arm(rng, bank, str(mode), side, pose)
    return pose_rotations(np.clip([[pose[name] for name in NAMES]], LOW, HIGH))[0]


def _action(rng: np.random.Generator, bank: ArmBank, held_out: float) -> np.ndarray:
    """(55, 3, 3) of one of ACTIONS. held_out: as of `draw_pose`."""
    weights = np.array(list(ACTIONS.values()))
    action = list(ACTIONS)[rng.choice(len(weights), p=weights / weights.sum())]
    return pose_rotations(sample_pose(rng, bank, action, held_out=bool(rng.random() < held_out))[None])[0]


def _frame(rng: np.random.Generator, clips: Clips, frame: int) -> np.ndarray:
    """(55, 3, 3) of a moment of a clip without the direction that it faces, half of them seen in a mirror."""
    rotations = np.tile(np.eye(3), (55, 1, 1))
    body = clips.rotations[frame]
    rotations[:22] = mirrored(body) if rng.random() < 0.5 else body
    ahead = rotations[0, :, 2]
    if np.hypot(ahead[0], ahead[2]) > 0.2:  # nobody who looks straight up or down faces anywhere
        rotations[0] = Rotation.from_euler("y", -np.arctan2(ahead[0], ahead[2])).as_matrix() @ rotations[0]
    return rotations


def _shake(rng: np.random.Generator, rotations: np.ndarray) -> None:
    """Small turns of what the clips do not tell (wrists, collars, toes) and of all else a little, in place: no two are alike."""
    spread = np.full((22, 3), 0.05)
    for name, radians in (
        ("wrist", 0.25),
        ("collar", 0.08),
        ("foot", 0.1),
        ("ankle", 0.1),
        ("shoulder", 0.12),
        ("hip", 0.08),
    ):
        for side in ("left", "right"):
            spread[SMPLX_55.index(f"{side}_{name}")] = radians
    spread[SMPLX_55.index("head")] = (0.12, 0.25, 0.1)
    spread[0] = 0.03
    rotations[:22] = rotations[:22] @ Rotation.from_rotvec(rng.normal(0, spread)).as_matrix()


def _mixed(rng: np.random.Generator, bank: ArmBank, clips: Clips | None, held_out: float) -> np.ndarray:
    """(55, 3, 3): legs, trunk and either arm from an action or a clip each."""
    rotations = np.tile(np.eye(3), (55, 1, 1))
    both = rng.random() < 0.5  # arms that do something together
    source = None
    for k, joints in enumerate(_PARTS):
        if source is None or not (k == 3 and both):
            if clips is None or rng.random() < 0.5:
                source = _action(rng, bank, held_out)
            else:
                source = _frame(rng, clips, draw_frame(rng, clips, _ON_FEET))
        rotations[joints] = source[joints]
    _shake(rng, rotations)
    return rotations


def _lying(rng: np.random.Generator, bank: ArmBank, held_out: float) -> np.ndarray:
    """(55, 3, 3) of somebody on the back, the belly or a side."""
    rotations = _action(rng, bank, held_out)
    rest = rng.normal(0, 0.15, 3)
    how = rng.choice(3, p=[0.5, 0.2, 0.3])
    lie = ([-np.pi / 2, 0, 0], [np.pi / 2, 0, 0], [0, 0, np.pi / 2 * rng.choice([-1, 1])])[how]
    rotations[0] = (Rotation.from_rotvec(rest) * Rotation.from_rotvec(lie)).as_matrix()
    if how < 2:  # thighs that stand up from the floor are rare
        for side in ("left", "right"):
            hip = SMPLX_55.index(f"{side}_hip")
            rotations[hip] = Rotation.from_rotvec(
                rng.uniform(0, 0.5) * Rotation.from_matrix(rotations[hip]).as_rotvec()
            ).as_matrix()
    return rotations


def _hands(rng: np.random.Generator, rotations: np.ndarray) -> None:
    """Both hands relaxed, open, closed or pointing, each finger a little its own way, in place; half the mouths stay shut."""
    turns = np.zeros((55, 3))
    for side, mirror in (("left", 1.0), ("right", -1.0)):
        how = rng.choice(4, p=[0.5, 0.2, 0.2, 0.1])
        grip = np.full(
            4, (rng.uniform(0.15, 0.6), rng.uniform(-0.1, 0.15), rng.uniform(0.9, 1.4), rng.uniform(0.8, 1.3))[how]
        )
        if how == 3:
            grip[0] = 0.05
        splay = rng.uniform(-0.05, 0.2 if how == 1 else 0.1)
        for f, finger in enumerate(_FINGERS):
            for k in (1, 2, 3):
                bend = min(max(grip[f] + rng.normal(0, 0.1), -0.15), 1.5)
                sideways = (1.5 - f) * splay * (k == 1)
                turns[SMPLX_55.index(f"{side}_{finger}{k}")] = 0.0, -sideways * mirror, -bend * mirror
        for k in (1, 2, 3):
            turns[SMPLX_55.index(f"{side}_thumb{k}")] = rng.normal(0, 0.15, 3)
    turns[SMPLX_55.index("jaw"), 0] = max(0.0, rng.normal(0, 0.12))
    rotations[_HANDS] = Rotation.from_rotvec(turns[_HANDS]).as_matrix()
