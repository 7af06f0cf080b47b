"""Motion as files: BVH for programs that animate, and an .npz in the layout of AMASS for Blender's SMPL-X add-on."""

import io
import warnings

import numpy as np

from model.people.motion import Motion, rest_joints
from pipeline.body.model import BodyModel
from pipeline.skeletons import SMPLX_55

# Camera axes (y down, z forward) to y up, and to AMASS's z up with the floor in x and y.
Y_UP = np.diag([1.0, -1.0, -1.0])
Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
CENTIMETRES = 100.0
ORDER = "ZXY"


def as_bvh(motion: Motion, body: BodyModel) -> bytes:
    """Centimetres, y up, the camera at the origin looking along -z. The pelvis has positions and turns, every other joint turns, about
    z, x and y in this order; the skeleton is that of the motion's shape."""
    from scipy.spatial.transform import Rotation  # here, since predictions without motion need not wait for it

    motion = motion.turned(body, Y_UP)
    rest = CENTIMETRES * rest_joints(body, motion.betas)
    children = [[k for k, parent in enumerate(SMPLX_55.parents) if parent == joint] for joint in range(len(SMPLX_55))]
    order: list[int] = []
    lines = ["HIERARCHY", *_joint_lines(0, rest, children, 0, order), "MOTION"]
    lines += [f"Frames: {len(motion.frames)}", f"Frame Time: {1 / motion.fps:.8f}"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gimbal lock detected")  # the third angle is then free, and 0
        turns = Rotation.from_rotvec(motion.rotations.reshape(-1, 3)).as_euler(ORDER, degrees=True)
    turns = turns.reshape(len(motion.frames), -1, 3)[:, order]
    places = CENTIMETRES * motion.transl + rest[0]
    data = io.BytesIO()
    data.write(("\n".join(lines) + "\n").encode())
    np.savetxt(data, np.concatenate([places, turns.reshape(len(places), -1)], 1), fmt="%.5f")
    return data.getvalue()


def _joint_lines(joint: int, rest: np.ndarray, children: list[list[int]], depth: int, order: list[int]) -> list[str]:
    """The joint and all below it. order: gets the joints as the file's columns have them."""
    order.append(joint)
    outer, inner = "\t" * depth, "\t" * (depth + 1)
    offset = rest[joint] - rest[SMPLX_55.parents[joint]] if joint else np.zeros(3)
    turns = " ".join(f"{axis}rotation" for axis in ORDER)
    channels = f"6 Xposition Yposition Zposition {turns}" if joint == 0 else f"3 {turns}"
    lines = [f"{outer}{'JOINT' if joint else 'ROOT'} {SMPLX_55.names[joint]}", f"{outer}{{"]
    lines += [f"{inner}OFFSET {offset[0]:.6f} {offset[1]:.6f} {offset[2]:.6f}", f"{inner}CHANNELS {channels}"]
    for child in children[joint]:
        lines += _joint_lines(child, rest, children, depth + 1, order)
    if not children[joint]:  # as far again as from the joint above: where a bone ends, the file does not know
        lines += [
            f"{inner}End Site",
            f"{inner}{{",
            f"{inner}\tOFFSET {offset[0]:.6f} {offset[1]:.6f} {offset[2]:.6f}",
            f"{inner}}}",
        ]
    return [*lines, f"{outer}}}"]


def as_amass(motion: Motion, body: BodyModel) -> dict[str, np.ndarray]:
    """The arrays of AMASS's SMPL-X files: metres, z up. betas are those of our body model, which SMPL-X does not share."""
    motion = motion.turned(body, Z_UP)
    pose = motion.rotations.astype(np.float32)
    flat = {name: pose[:, joints].reshape(len(pose), -1) for name, joints in _AMASS_PARTS.items()}
    return {
        "surface_model_type": np.array("smplx"),
        "gender": np.array("neutral"),
        "mocap_frame_rate": np.array(motion.fps),
        "mocap_time_length": np.array(len(pose) / motion.fps),
        "num_betas": np.array(len(motion.betas)),
        "betas": motion.betas.astype(np.float32),
        "trans": motion.transl.astype(np.float32),
        "poses": pose.reshape(len(pose), -1),
        **flat,
        "frames": motion.frames,
        "filled": motion.filled,
    }


_AMASS_PARTS = {
    "root_orient": slice(0, 1),
    "pose_body": slice(1, 22),
    "pose_jaw": slice(22, 23),
    "pose_eye": slice(23, 25),
    "pose_hand": slice(25, 55),
}
