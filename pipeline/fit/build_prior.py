"""Makes `assets/motion_prior.npz`: the pose prior of real people's motion.

    pip download pybullet==3.2.7 --no-deps && unzip pybullet-*.whl "pybullet_data/data/motions/*"
    python -m pipeline.fit.build_prior pybullet_data/data/motions pipeline/fit/assets

The clips are motion capture of one skeleton (chest, neck, hips, knees, ankles, shoulders, elbows) as turns of its joints. Their
bones' directions are given to the free body, each frame also mirrored. One Gaussian describes all frames: with so few clips it
describes clips that it has not seen better than a mixture of several does (docs/fit.md has the numbers). What the clips cannot tell
(wrists, collars, toes), and how poses differ beyond them, comes from the anatomical prior.
"""

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.fit import rotations
from pipeline.fit.prior_terms import row_of
from pipeline.fit.priors import MOTION_FILE, anatomical_prior
from pipeline.known_package import Known, open_package
from pipeline.skeletons import SMPLX_22

# Where a frame holds the turn of each joint: quaternions w, x, y, z, or one angle about z. First come 4 numbers: time and place.
_QUATERNIONS = {
    "root": 4,
    "chest": 8,
    "neck": 12,
    "right_hip": 16,
    "right_ankle": 21,
    "right_shoulder": 25,
    "left_hip": 30,
    "left_ankle": 35,
    "left_shoulder": 39,
}
_ANGLES = {"right_knee": 20, "right_elbow": 29, "left_knee": 34, "left_elbow": 43}
FRAME = 44
# The clips' axes (x forward, y up, z right) -> those of SMPL-X (x left, y up, z forward).
_AXES = np.array([[0, 0, -1.0], [0, 1, 0], [1, 0, 0]])
# Joints of which the clips know nothing.
_UNTOLD = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ("foot", "collar", "wrist"))
# How much of the anatomical prior's deviations is added where the clips do tell: their people do not do everything. Less describes
# unseen clips better, but fits of their keypoints worse (docs/log.md).
ADDED = 1.0
# Frames whose pelvis leans by more than 30 degrees (rolls, falls, handstands) count this much; each clip counts as much as any other.
LEANING, LEANING_WEIGHT = 30.0, 0.2

PYBULLET = Known(
    name="pybullet",
    version="3.2.7",
    licence="zlib",
    how="`pip download pybullet==3.2.7 --no-deps`, unzip it, and give its folder pybullet_data/data/motions",
    licence_file=None,
    licence_text="",
    manifest=None,
    sha256={
        "humanoid3d_backflip.txt": "ffc5e117f69364e239eeedc86d6a30ab854500a375a1c137a405f1b7652905e6",
        "humanoid3d_cartwheel.txt": "17453459a40ec4ea08346072748ae3c7c384b49e619753e9779637fa8a9f7c49",
        "humanoid3d_crawl.txt": "104a3b675131a43e7a214e24c0ed631c6a0d814b85c8b66b71ce63b23a5731ae",
        "humanoid3d_dance_a.txt": "15ef3731f594edc9ed078170f1075815cc164acaca9e35a46db12a31ac64b717",
        "humanoid3d_dance_b.txt": "b5a9d7a3f2304f6242776d7ff6d19d1f6bcb98d78d68622761c3843b614a92b5",
        "humanoid3d_getup_facedown.txt": "1bd1a96e9175f65eb66e10f225473b4467bd70c68e283f4006b2ab090e337c0b",
        "humanoid3d_getup_faceup.txt": "5936c32d51dad9b0cd5e61df681079d160436cdce845c312f200d7a347c4040d",
        "humanoid3d_jump.txt": "a433557e94b193d8a95530572a0e32f387eb6d9996987b4216efb65444c3c641",
        "humanoid3d_kick.txt": "177cfb399466309ba7f4a8a987c3b6f6edde1cbe8b2d476e53dc6061ec5d4bac",
        "humanoid3d_punch.txt": "1ab4b654cecdb4ff3b2a4bf4086e50397bef28435bb59ab3aedd6a6bdc926fde",
        "humanoid3d_roll.txt": "50d75c2243b2859f8dcae4ad8fa14b59054dd9ee529b4fb52ec14470cd982c55",
        "humanoid3d_run.txt": "2cbe488023b243e5769299158ce7c78875ec4b701a2ffe6c0beeaf83d16ca87b",
        "humanoid3d_spin.txt": "9614f10b92e7a8b123990ad5bcfafc65aa4d8fa8ac7f10ade3c3591122d34425",
        "humanoid3d_spinkick.txt": "60ec9c200d96e0cd71693061f24db0bd8da9eb295daf487f6f60f8dfb324075a",
        "humanoid3d_walk.txt": "32d082c3599bc40aac50b1afa196ff1e2cf3842bb40f0541ab088845f6328a41",
    },
)

Turns = dict[str, np.ndarray]


def clip_files(motions: Path) -> list[Path]:
    """The clips in a folder. Raises InputError where one is missing or is another than was read and tried."""
    return [motions / name for name in sorted(open_package(motions, PYBULLET))]


def read_clip(path: Path) -> Turns:
    """(F, 3, 3) turns of the clip's joints relative to their parents, in SMPL-X's axes; InputError for another kind of file."""
    try:
        frames = np.array(json.loads(path.read_text())["Frames"], float)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a motion clip ({type(error).__name__}: {error}); give pybullet_data's."
        ) from error
    if frames.ndim != 2 or frames.shape[1] != FRAME or not np.isfinite(frames).all():
        raise InputError(f"{path} has frames of shape {frames.shape[1:]}, a humanoid's have {FRAME} finite numbers.")
    turns = {
        name: Rotation.from_quat(frames[:, k : k + 4], scalar_first=True).as_matrix()
        for name, k in _QUATERNIONS.items()
    }
    about_z = np.array([0, 0, 1.0])
    turns |= {name: Rotation.from_rotvec(frames[:, k, None] * about_z).as_matrix() for name, k in _ANGLES.items()}
    return {name: _AXES @ turn @ _AXES.T for name, turn in turns.items()}


def retarget(clip: Turns, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turns of the pelvis (F, 3, 3) and of the 21 joints after it (F, 21, 3, 3) that point the body's bones along the clip's.

    rest: (22, 3) the body's joints in its T-pose. The chest's turn is shared by the three joints of the spine, the neck's by neck and
    head. The clip's skeleton rests with its arms hanging.
    """
    world = {"pelvis": clip["root"], "spine3": clip["root"] @ clip["chest"]}
    chest = world["spine3"]
    third = _share(clip["chest"], 3)
    world["spine1"] = clip["root"] @ third
    world["spine2"] = world["spine1"] @ third
    world["neck"], world["head"] = chest @ _share(clip["neck"], 2), chest @ clip["neck"]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        arm = chest @ clip[f"{side}_shoulder"]
        forearm = arm @ clip[f"{side}_elbow"]
        thigh = clip["root"] @ clip[f"{side}_hip"]
        shank = thigh @ clip[f"{side}_knee"]
        hang = Rotation.from_rotvec([0, 0, -sign * np.pi / 2]).as_matrix()
        across, down = np.array([sign, 0, 0]), np.array([0, -1.0, 0])

        def straighten(joint: str, child: str, to: np.ndarray, side: str = side) -> np.ndarray:
            bone = rest[SMPLX_22.index(f"{side}_{child}")] - rest[SMPLX_22.index(f"{side}_{joint}")]
            return smallest_turn(bone, to)

        world[f"{side}_collar"] = chest
        world[f"{side}_shoulder"] = arm @ hang @ straighten("shoulder", "elbow", across)
        world[f"{side}_elbow"] = forearm @ hang @ straighten("elbow", "wrist", across)
        world[f"{side}_wrist"] = world[f"{side}_elbow"]
        world[f"{side}_hip"] = thigh @ straighten("hip", "knee", down)
        world[f"{side}_knee"] = shank @ straighten("knee", "ankle", down)
        world[f"{side}_ankle"] = world[f"{side}_foot"] = shank @ clip[f"{side}_ankle"]
    parents = [SMPLX_22.names[parent] for parent in SMPLX_22.parents[1:]]
    local = [world[up].transpose(0, 2, 1) @ world[name] for name, up in zip(SMPLX_22.names[1:], parents, strict=True)]
    return clip["root"], np.stack(local, 1)


def _share(turn: np.ndarray, parts: int) -> np.ndarray:
    """The rotation that makes `turn` (F, 3, 3) when it is done `parts` times."""
    return Rotation.from_rotvec(Rotation.from_matrix(turn).as_rotvec() / parts).as_matrix()


def smallest_turn(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3) of vectors (3,) of any length."""
    a, b = (torch.as_tensor(v / np.linalg.norm(v)) for v in (source, target))
    return rotations.smallest(a, b).numpy()


def mirrored(joints: np.ndarray) -> np.ndarray:
    """Poses (F, 21, 3, 3) of the same people seen in a mirror."""
    mirror = np.diag([-1.0, 1, 1])
    return (mirror @ joints @ mirror)[:, SMPLX_22.flip[1:] - 1]


def learn(clips: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (21, 3) axis-angle, and covariance (63, 63) of the turns from it, of clips as `retarget` gives them."""
    anatomy = anatomical_prior(torch.float64)
    back = anatomy.back.numpy()
    turns, weights = [], []
    for pelvis, joints in clips:
        weight = np.where(pelvis[:, 1, 1] > np.cos(np.radians(LEANING)), 1.0, LEANING_WEIGHT) / len(joints)
        for pose in (joints, mirrored(joints)):
            turns.append(Rotation.from_matrix((pose @ back).reshape(-1, 3, 3)).as_rotvec().reshape(len(pose), -1))
            weights.append(weight)
    y, w = np.concatenate(turns), np.concatenate(weights)
    w /= w.sum()
    offset = w @ y
    centred = y - offset
    added = np.full((21, 3), ADDED)
    added[[row_of(name) for name in _UNTOLD]] = 1.0
    anatomical = np.linalg.inv(anatomy.precision.numpy())
    covariance = (centred * w[:, None]).T @ centred + added.reshape(-1, 1) * anatomical * added.reshape(1, -1)
    mean = rotations.exp(torch.as_tensor(offset).view(21, 3)) @ rotations.exp(anatomy.mean)
    return rotations.log(mean).numpy(), covariance


def build(motions: Path, out: Path) -> None:
    """Writes the prior and its provenance into the folder `out`, from a folder of clips."""
    paths = clip_files(motions)
    rest = load_body().joint_template[: len(SMPLX_22)].numpy().astype(float)
    clips = [retarget(read_clip(path), rest) for path in paths]
    mean, covariance = learn(clips)
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / MOTION_FILE, mean=mean, covariance=covariance.astype(np.float32))
    what = "Mean and covariance of the turns of SMPL-X's 21 body joints in motion capture of real people."
    frames = sum(len(joints) for _, joints in clips)
    write_provenance(out / MOTION_FILE, what, "pipeline.fit.build_prior", frames)


def write_provenance(made: Path, what: str, module: str, frames: int) -> None:
    """provenance.json beside a file that `python -m module` made of pybullet's clips: what it is, where from, licence, checksums."""
    provenance = {
        "what": what,
        "made_from": f"{len(PYBULLET.sha256)} motion clips, pybullet_data/data/motions/humanoid3d_*.txt of the PyPI package "
        f"{PYBULLET.name} {PYBULLET.version}",
        "licence": f"{PYBULLET.licence} (https://pypi.org/project/pybullet/); these numbers are an altered form and not the original",
        "made_by": f"python -m {module} MOTIONS OUT",
        "frames": frames,
        "sha256_of_the_clips": PYBULLET.sha256,
        "sha256": {made.name: _sha256(made)},
    }
    (made.parent / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_on_clips(what: str | None, made: str, build: Callable[[Path, Path], object]) -> None:
    """A command of two folders, that of the motion clips and that of what is made of them. what: a docstring that begins with it."""
    parser = argparse.ArgumentParser(description=(what or "").splitlines()[0])
    parser.add_argument("motions", type=Path, help="pybullet_data/data/motions")
    parser.add_argument("out", type=Path, help=f"folder to write {made} and provenance.json into")
    arguments = parser.parse_args()
    try:
        build(arguments.motions, arguments.out)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    run_on_clips(__doc__, MOTION_FILE, build)
