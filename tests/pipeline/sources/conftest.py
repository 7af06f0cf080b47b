"""Small captures in the exact layouts of the real datasets."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.sources.human36m import ACTIONS, CAMERA_NAMES, INTRINSICS


@dataclass
class Capture:
    """A made-up recording of Human3.6M: joints[(subject, action, subaction)] is (N, 32, 3) mm, world, the release's 32 joints.

    Cameras are the dataset's own, 5 m around the origin. Images are flat grey with the frame's number as brightness.
    """

    joints: dict = field(default_factory=dict)
    euler: dict = field(default_factory=dict)
    centre: dict = field(default_factory=dict)

    def rotation(self, subject: int, camera: int) -> np.ndarray:
        """(3, 3) world -> camera, the product of elementary rotations about x, y, z."""
        (a, b, c) = self.euler[subject, camera]
        Rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        Ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        Rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        return Rx @ Ry @ Rz

    def size(self, camera: int) -> tuple[int, int]:
        return (1000, 1002) if camera in (1, 4) else (1000, 1000)


BODY_17 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
# Subject -> (action, subaction) -> frames.
PLAN = {1: {(2, 1): 11, (9, 2): 7}, 8: {(2, 1): 6}, 9: {(12, 1): 70}, 11: {(2, 1): 65, (2, 2): 3}}


def look_at_euler(position: np.ndarray) -> np.ndarray:
    """(3,) Euler angles x y z whose rotation (camera y down) looks from `position` at the origin, z of the world up."""
    z = -position / np.linalg.norm(position)
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    return np.array([np.arctan2(-R[1, 2], R[2, 2]), np.arcsin(R[0, 2]), np.arctan2(-R[0, 1], R[0, 0])])


@pytest.fixture(scope="session")
def capture() -> Capture:
    rng = np.random.default_rng(0)
    made = Capture()
    for subject, sequences in PLAN.items():
        for camera in CAMERA_NAMES:
            angle = np.pi / 2 * camera + 0.3 * subject
            position = np.array([5000 * np.cos(angle), 5000 * np.sin(angle), 1500.0])
            made.euler[subject, camera] = look_at_euler(position)
            made.centre[subject, camera] = position
        for sequence, frames in sequences.items():
            rest = rng.normal(0, 300, (32, 3))
            # The release stores float32; what it cannot hold would differ between the two layouts.
            made.joints[(subject, *sequence)] = np.float32(rest + rng.normal(0, 5, (frames, 32, 3)).cumsum(0))
    return made


def write_annotations(root: Path, capture: Capture, subjects=None, images: bool = True, every=lambda s: 64 if s in (9, 11) else 5):
    """3DMPPE's layout. Boxes and visibility are computed here, frame by frame, independently of the reader."""
    folder = root / "annotations"
    folder.mkdir(parents=True)
    blank = {c: cv2.imencode(".jpg", np.full((*capture.size(c)[::-1], 3), 90, np.uint8))[1].tobytes() for c in CAMERA_NAMES}
    identity = 0
    for subject in subjects or PLAN:
        cameras = {}
        for c in CAMERA_NAMES:
            R = capture.rotation(subject, c)
            fx, fy, cx, cy = INTRINSICS[c][:4]
            cameras[c] = {"R": R.tolist(), "t": (-R @ capture.centre[subject, c]).tolist(), "f": [fx, fy], "c": [cx, cy]}
        data, joint_3d = {"images": [], "annotations": []}, {}
        for (s, action, subaction), joints in capture.joints.items():
            if s != subject:
                continue
            joints = joints[:, BODY_17].astype(float)
            of_action = joint_3d.setdefault(str(action), {})
            of_action[str(subaction)] = {str(k): frame.tolist() for k, frame in enumerate(joints)}
            for c, camera in cameras.items():
                if (subject, action, subaction, c) == (11, 2, 2, 1):
                    continue
                name = f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{c:02d}"
                (root / "images" / name).mkdir(parents=True, exist_ok=True)
                for k, frame in enumerate(joints):
                    local = frame @ np.array(camera["R"]).T + camera["t"]
                    u = local[:, 0] / local[:, 2] * camera["f"][0] + camera["c"][0]
                    v = local[:, 1] / local[:, 2] * camera["f"][1] + camera["c"][1]
                    width, height = capture.size(c)
                    w, h = u.max() - u.min() - 1, v.max() - v.min() - 1
                    x, y = (u.min() + w / 2), (v.min() + h / 2)
                    file_name = f"{name}/{name}_{k + 1:06d}.jpg"
                    data["images"].append({
                        "id": identity, "file_name": file_name, "width": width, "height": height, "subject": subject,
                        "action_name": ACTIONS[action], "action_idx": action, "subaction_idx": subaction, "cam_idx": c,
                        "frame_idx": k,
                    })
                    inside = (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
                    data["annotations"].append({
                        "id": identity, "image_id": identity, "keypoints_vis": inside.tolist(),
                        "bbox": [x - 1.2 * w / 2, y - 1.2 * h / 2, 1.2 * w, 1.2 * h],
                    })
                    identity += 1
                    if images and k % every(subject) == 0:
                        (root / "images" / file_name).write_bytes(blank[c])
        for part, content in (("data", data), ("camera", cameras), ("joint_3d", joint_3d)):
            (folder / f"Human36M_subject{subject}_{part}.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def annotated_root(tmp_path_factory, capture) -> Path:
    """Read only: tests that change a file make their own."""
    return write_annotations(tmp_path_factory.mktemp("h36m"), capture)
