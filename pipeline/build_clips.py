"""Makes `assets/motion_clips.npz`: poses of real people's motion on the free body.

    pip download pybullet==3.2.7 --no-deps && unzip pybullet-*.whl "pybullet_data/data/motions/*"
    python -m pipeline.build_clips pybullet_data/data/motions pipeline/sources/synthetic/wild/assets

Every frame of the 15 clips, retargeted as `pipeline.fit.build_prior` does, as quaternions of the pelvis and 21 joints in 16-bit steps,
with the height at which the body's lowest point is above the floor (jumps).
"""

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.body.model import load_body
from pipeline.fit.build_prior import FRAME, clip_files, read_clip, retarget, run_on_clips, write_provenance
from pipeline.skeletons import SMPLX_22
from pipeline.sources.synthetic.people import Motion, Rig, chain, make_rig, shape_person, skin
from pipeline.sources.synthetic.wild.clips import CLIPS_FILE, QUATERNION_STEPS

# Where a frame holds the height of the root, metres, and the length of the clips' legs, hip to ankle.
_HEIGHT, _LEG_M = 2, 0.42 + 0.41
# Clips whose people leave the floor; what lies less than this above the lowest frames of its clip stands: clips float a little.
_AIRBORNE, _FLOATS_M = ("backflip", "jump", "run", "spin", "spinkick"), 0.06


def lifts(rig: Rig, rotations: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """(F,) metres from the floor to the body's lowest point. rotations: (F, 22, 3, 3). heights: (F,) of the clip's root."""
    person = shape_person(rig, np.zeros(10), np.zeros_like(rig.template))
    whole = np.tile(np.eye(3), (len(rotations), 55, 1, 1))
    whole[:, :22] = rotations
    motion = Motion(whole, np.zeros((len(whole), 3)), *chain(rig, person, whole, np.zeros((len(whole), 3))))
    low = np.array([skin(rig, person, person.rest, motion, k)[:, 1].min() for k in range(len(whole))])
    hip, ankle = (person.rest_joints[SMPLX_22.index(f"left_{name}")] for name in ("hip", "ankle"))
    above = low - motion.places[:, 0, 1] + heights * np.linalg.norm(hip - ankle) / _LEG_M
    above -= np.quantile(above, 0.25)
    return np.where(above < _FLOATS_M, 0.0, above)


def build(motions: Path, out: Path) -> None:
    """Writes the clips and their provenance into the folder `out`, from a folder of clips."""
    paths = clip_files(motions)
    body = load_body()
    rig, rest = make_rig(body), body.joint_template[: len(SMPLX_22)].numpy().astype(float)
    names, quaternions, heights, clip_of = [], [], [], []
    for k, path in enumerate(paths):
        pelvis, joints = retarget(read_clip(path), rest)
        rotations = np.concatenate([pelvis[:, None], joints], 1)
        frames = np.array(json.loads(path.read_text())["Frames"], float).reshape(-1, FRAME)
        names.append(path.stem.removeprefix("humanoid3d_"))
        turns = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat(canonical=True)
        quaternions.append(np.round(turns * QUATERNION_STEPS).astype(np.int16).reshape(-1, len(SMPLX_22), 4))
        jumps = names[-1] in _AIRBORNE
        lift = lifts(rig, rotations, frames[:, _HEIGHT]) if jumps else np.zeros(len(frames))
        heights.append(lift.astype(np.float16))
        clip_of.append(np.full(len(frames), k, np.uint8))
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out / CLIPS_FILE,
        names=np.array(names),
        quaternions=np.concatenate(quaternions),
        lift=np.concatenate(heights),
        clip=np.concatenate(clip_of),
    )
    what = "Poses of real people's motion on the free body: turns of SMPL-X's pelvis and 21 body joints, and heights."
    write_provenance(out / CLIPS_FILE, what, "pipeline.build_clips", int(sum(map(len, heights))))


if __name__ == "__main__":
    run_on_clips(__doc__, CLIPS_FILE, build)
