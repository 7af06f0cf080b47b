"""Small captures in the exact layouts of the real datasets."""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.skeletons import HUMAN36M
from pipeline.sources.human36m.common import ACTIONS, CAMERA_NAMES, INTRINSICS
from tests.pipeline.people import standing, striped, unsure_witness


@pytest.fixture(autouse=True)
def _unsure_witness(monkeypatch):
    monkeypatch.setattr("model.networks.keypoint_network.KeypointNetwork", unsure_witness)


@dataclass
class Capture:
    """A made-up recording of Human3.6M: joints[(subject, action, subaction)] is (N, 32, 3) mm, world, the release's
    32 joints.

    Cameras are the dataset's own, 5 m around the origin. Images are grey with the frame's number as brightness.
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
# A camera that did not record a sequence: subject, action, subaction, camera.
LACKING = (11, 2, 2, 1)
# Subject -> (action, subaction) -> frames.
PLAN = {1: {(2, 1): 11, (9, 2): 7}, 8: {(2, 1): 6}, 9: {(12, 1): 3, (5, 2): 2}, 11: {(2, 1): 2, (2, 2): 3}}


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
            rest[BODY_17] = 1000 * standing(HUMAN36M.names)[:, [0, 2, 1]] * [1, -1, 1] + rng.normal(
                0, 15, (17, 3)
            )  # z up
            rest += [700, -500, 0]  # beside the origin, which a wrong rotation would leave in place
            # The release stores float32; what it cannot hold would differ between the two layouts.
            made.joints[(subject, *sequence)] = np.float32(rest + rng.normal(0, 5, (frames, 32, 3)).cumsum(0))
    return made


def write_annotations(root: Path, capture: Capture, subjects=None, every_test: int = 64) -> Path:
    """3DMPPE's layout. Images exist for the frames that the splits keep."""
    folder = root / "annotations"
    folder.mkdir(parents=True)
    grey = {c: striped(*capture.size(c)[::-1]) for c in CAMERA_NAMES}
    blank = {c: cv2.imencode(".jpg", image)[1].tobytes() for c, image in grey.items()}
    number = itertools.count()
    for subject in subjects or PLAN:
        cameras = {c: annotated_camera(capture, subject, c) for c in CAMERA_NAMES}
        data, joint_3d = {"images": [], "annotations": []}, {}
        for (s, action, subaction), joints in capture.joints.items():
            if s != subject:
                continue
            joints = joints[:, BODY_17].astype(float)
            of_action = joint_3d.setdefault(str(action), {})
            of_action[str(subaction)] = {str(k): frame.tolist() for k, frame in enumerate(joints)}
            views = [(c, k) for c in cameras for k in range(len(joints)) if (s, action, subaction, c) != LACKING]
            for c, k in views:
                image, annotation = annotated_view(
                    next(number), (s, action, subaction), c, k, joints[k], cameras[c], capture.size(c)
                )
                data["images"].append(image)
                data["annotations"].append(annotation)
                if k % (every_test if subject in (9, 11) else 5) == 0:
                    path = root / "images" / image["file_name"]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(blank[c])
        for part, content in (("data", data), ("camera", cameras), ("joint_3d", joint_3d)):
            (folder / f"Human36M_subject{subject}_{part}.json").write_text(json.dumps(content))
    return root


def annotated_camera(capture: Capture, subject: int, camera: int) -> dict:
    """A camera as 3DMPPE writes it."""
    R = capture.rotation(subject, camera)
    fx, fy, cx, cy = INTRINSICS[camera][:4]
    return {"R": R.tolist(), "t": (-R @ capture.centre[subject, camera]).tolist(), "f": [fx, fy], "c": [cx, cy]}


def annotated_view(number, sequence, c, k, joints, camera, size) -> tuple[dict, dict]:
    """The image and the annotation of frame k, joints (17, 3) mm. Box and visibility are computed here, independently of the
    reader."""
    (subject, action, subaction), (width, height) = sequence, size
    local = joints @ np.array(camera["R"]).T + camera["t"]
    u, v = (local[:, :2] / local[:, 2:] * camera["f"] + camera["c"]).T
    w, h = u.max() - u.min() - 1, v.max() - v.min() - 1
    x, y = (u.min() + w / 2), (v.min() + h / 2)
    name = f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{c:02d}"
    image = {
        "id": number,
        "file_name": f"{name}/{name}_{k + 1:06d}.jpg",
        "width": width,
        "height": height,
        "subject": subject,
        "action_name": ACTIONS[action],
        "action_idx": action,
        "subaction_idx": subaction,
        "cam_idx": c,
        "frame_idx": k,
    }
    inside = (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
    box = [x - 1.2 * w / 2, y - 1.2 * h / 2, 1.2 * w, 1.2 * h]
    return image, {"id": number, "image_id": number, "keypoints_vis": inside.tolist(), "bbox": box}


@pytest.fixture(scope="session")
def annotated_root(tmp_path_factory, capture) -> Path:
    """Read only: tests that change a file make their own."""
    return write_annotations(tmp_path_factory.mktemp("h36m"), capture)


# S1 files Photo as TakingPhoto and numbers (4, 1) "Eating 2"; other subjects differ: every subject gets names of its
# own here.
def released_name(subject: int, action: int, subaction: int) -> str:
    name = {12: "TakingPhoto", 15: "WalkingDog"}.get(action, ACTIONS[action]) if subject == 1 else ACTIONS[action]
    return name if (subaction == 1) == (subject % 2 == 0) else f"{name} {subaction if subject > 1 else 3 - subaction}"


def write_metadata(path: Path, capture: Capture) -> None:
    """metadata.xml as the official code ships it, as far as readers look at it."""
    subjects = range(1, 12)
    header = "".join(f"<td>{cell}</td>" for cell in ["", "", *(f"S{s}" for s in subjects)])
    rows = [f"<tr>{header}</tr>"]
    for action in range(1, 17):
        for subaction in (1, 2):
            names = [f"_ALL {subaction}" if action == 1 else released_name(s, action, subaction) for s in subjects]
            rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in [action, subaction, *names]) + "</tr>")
    sizes = "<td>[1002 1000;1000 1000;1000 1000;1002 1000]</td>"
    rows.append("<tr><td/><td/>" + "".join(sizes for _ in subjects) + "</tr>")
    numbers = []
    for c in CAMERA_NAMES:
        for s in subjects:
            numbers += [*capture.euler[s, c], *capture.centre[s, c]] if (s, c) in capture.euler else [0.0] * 6
    for c in CAMERA_NAMES:
        numbers += INTRINSICS[c]
    cells = {
        (s, 2 * a + sa - 1): f"[{n + 2} {n + 2} {n + 2} {n + 2} {4 * n + 1}]"
        for (s, a, sa), n in ((sequence, len(joints)) for sequence, joints in capture.joints.items())
    }
    counts = "".join(
        "<tr>" + "".join(f"<td>{cells.get((s, column), '')}</td>" for column in range(1, 34)) + "</tr>"
        for s in subjects
    )
    cameras = "".join(f"<dbid>{name}</dbid>" for name in CAMERA_NAMES.values())
    path.write_text(
        f"<metadata><mapping>{''.join(rows)}</mapping><actionnames/>"
        f"<dbcameras><index2id>{cameras}</index2id></dbcameras>"
        f"<frames>{counts}</frames><w0>[{' '.join(repr(float(x)) for x in numbers)}]</w0></metadata>"
    )


def write_video(path: Path, size: tuple[int, int], levels) -> None:
    """One grey frame for each level."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 50, size)
    assert video.isOpened()
    for level in levels:
        video.write(striped(size[1], size[0], level))
    video.release()


def write_release(root: Path, capture: Capture, subjects=None) -> Path:
    """The official layout. Videos run 2 frames longer than the poses, and frame k has the level 40 + 15 k."""
    write_metadata(root / "metadata.xml", capture)
    for (subject, action, subaction), joints in capture.joints.items():
        if subject not in (subjects or PLAN):
            continue
        poses, videos = root / f"S{subject}" / "MyPoseFeatures" / "D3_Positions", root / f"S{subject}" / "Videos"
        poses.mkdir(parents=True, exist_ok=True)
        videos.mkdir(exist_ok=True)
        name = released_name(subject, action, subaction)
        write_cdf(poses / f"{name}.cdf", joints.reshape(1, len(joints), 96))
        for c, serial in CAMERA_NAMES.items():
            levels = [min(40 + 15 * k, 255) for k in range(len(joints) + 2)]
            write_video(videos / f"{name}.{serial}.mp4", capture.size(c), levels)
    return root


def write_cdf(path: Path, values: np.ndarray, variable: str = "Pose") -> None:
    """A CDF file with one float32 variable whose single record is values[0]."""
    from cdflib.cdfwrite import CDF

    file = CDF(path, delete=True)
    file.write_var(
        {
            "Variable": variable,
            "Data_Type": 44,
            "Num_Elements": 1,
            "Rec_Vary": True,
            "Dim_Sizes": list(values.shape[1:]),
        },
        var_data=values.astype(np.float32),
    )
    file.close()


@pytest.fixture(scope="session")
def released_root(tmp_path_factory, capture) -> Path:
    """Read only."""
    return write_release(tmp_path_factory.mktemp("release"), capture)


@pytest.fixture(scope="session")
def make_annotations(capture):
    """make(root, joints): 3DMPPE's layout of other joints, with the same cameras (those of S1 where a subject has
    none)."""

    def make(root: Path, joints: dict) -> Path:
        other = Capture(joints, dict(capture.euler), dict(capture.centre))
        for subject, _, _ in joints:
            for c in CAMERA_NAMES:
                other.euler.setdefault((subject, c), capture.euler[1, c])
                other.centre.setdefault((subject, c), capture.centre[1, c])
        return write_annotations(root, other, subjects=sorted({subject for subject, _, _ in joints}))

    return make


@pytest.fixture(scope="session")
def make_metadata():
    """make(path, euler, centre): the reader's view of a metadata.xml with those cameras."""
    from pipeline.sources.human36m.release import read_metadata

    def make(path: Path, euler: dict, centre: dict):
        write_metadata(path, Capture({}, euler, centre))
        return read_metadata(path)

    return make


@pytest.fixture(name="write_cdf", scope="session")
def _write_cdf():
    return write_cdf


@pytest.fixture(name="write_video", scope="session")
def _write_video():
    return write_video
