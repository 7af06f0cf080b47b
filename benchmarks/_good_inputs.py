"""A small good input of every kind that the program reads, each derived from one small capture."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks._sample import sample_capture
from pipeline.body.model import FREE_BODY, load_body
from pipeline.camera import project, world_to_camera
from pipeline.images import read_image
from pipeline.records import Camera, Instant, View
from pipeline.skeletons import COCO, HUMAN36M, OPENPOSE_25, SMPL_24
from pipeline.sources import open_source
from pipeline.sources.human36m.common import ACTIONS, CAMERA_NAMES, INTRINSICS
from pipeline.sources.human36m.release import BODY_17, JOINTS_RELEASED

# Every kind of picture has its own decoder.
SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp", ".gif")
# SMPL's and the image sets' joints by Human3.6M's that lie nearest: these people need not be measured ones.
NEAREST = {"neck": "neck", "nose": "nose", "head": "head_top", "spine1": "spine", "spine2": "spine", "spine3": "neck"}
# Of the capture's seven subjects: one to train on, one to validate and one to test.
SUBJECTS = (1, 8, 9)
CONFIG = 'extends = "scratch"\n[network]\ncrop_px = 64\n[train]\nsteps = 1\nbatch_size = 2\n[draw]\npoints = 16\n'


def write_good_inputs(folder: Path) -> None:
    """Folders human36m, coco, openpose, threedpw, release, multiview, and the files of a body and a configuration."""
    root = folder / "human36m"
    shutil.move(sample_capture(folder, 7, 96), root)
    for path in (root / "annotations").iterdir():
        if "subject" in path.name and not any(f"subject{s}_" in path.name for s in SUBJECTS):
            path.unlink()
    instants = list(open_source("human36m", root).instants())[:3]
    seen = [(instant, view) for instant in instants for view in instant.views[:2]]
    write_coco(folder / "coco", root, seen)
    write_openpose(folder / "openpose", root, seen)
    write_threedpw(folder / "threedpw", root, instants[0])
    write_release(folder / "release", instants[0])
    write_multiview(folder / "multiview", root, instants[0])
    shutil.copy(FREE_BODY, folder / "SMPLX_NEUTRAL.npz")
    np.save(folder / "regressor.npy", np.eye(len(HUMAN36M), load_body().n_vertices, dtype=np.float32))
    (folder / "config.toml").write_text(CONFIG)


def taken(instant: Instant, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(J, 3) metres of the joints of other names that Human3.6M's have or lie near, and (J,) bool which those are."""
    assert instant.joints_3d is not None
    near = [NEAREST.get(name, name) for name in names]
    known = np.array([name in HUMAN36M.names for name in near])
    index = [HUMAN36M.names.index(name) if name in HUMAN36M.names else 0 for name in near]
    return instant.joints_3d[index], known


def keypoints(instant: Instant, view: View, names: tuple[str, ...]) -> np.ndarray:
    """(J, 3) x, y, confidence of the joints in a view."""
    joints, known = taken(instant, names)
    pixels = project(view.camera, world_to_camera(view.camera, joints))
    return np.where(known[:, None], np.c_[pixels, known], 0).round(2)


def write_coco(folder: Path, root: Path, seen: list[tuple[Instant, View]]) -> None:
    images, people = [], []
    for k, (instant, view) in enumerate(seen):
        name = f"{k}{SUFFIXES[k % 4]}"
        save(folder / "val2017" / name, read_image(root, view.image_path))
        images.append({"id": k, "file_name": name, "width": view.camera.width, "height": view.camera.height})
        points = keypoints(instant, view, COCO.names)
        points[:, 2] *= 2
        person = {"id": k, "image_id": k, "category_id": 1, "iscrowd": 0, "bbox": view.box.round(2).tolist()}
        people.append(person | {"num_keypoints": int((points[:, 2] > 0).sum()), "keypoints": points.ravel().tolist()})
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO.names)}]
    write_json(
        folder / "annotations" / "person_keypoints_val2017.json",
        {"images": images, "annotations": people, "categories": categories},
    )


def write_openpose(folder: Path, root: Path, seen: list[tuple[Instant, View]]) -> None:
    for k, (instant, view) in enumerate(seen):
        save(folder / "images" / f"{k}{SUFFIXES[k]}", read_image(root, view.image_path))
        points = keypoints(instant, view, OPENPOSE_25.names)
        hand = np.c_[np.linspace(points[4, :2], points[4, :2] + 3, 21), np.ones(21)]
        person = {"pose_keypoints_2d": points.ravel().tolist(), "hand_right_keypoints_2d": hand.ravel().tolist()}
        write_json(folder / "keypoints" / f"{k}_keypoints.json", {"version": 1.3, "people": [person]})
    K = seen[0][1].camera.K
    lens = {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "k1": 0.01, "p1": 0.0001}
    write_json(folder / "camera.json", lens)


def write_threedpw(folder: Path, root: Path, instant: Instant) -> None:
    """One sequence of three images, in all of which the person is the same."""
    n, view = 3, instant.views[0]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = view.camera.R, view.camera.t
    joints, known = taken(instant, SMPL_24.names)
    joints = np.where(known[:, None], joints, joints[0])
    data = {
        "sequence": "walk",
        "cam_poses": np.tile(matrix, (n, 1, 1)),
        "cam_intrinsics": view.camera.K,
        "genders": ["m"],
        "poses": [np.zeros((n, 72))],
        "trans": [np.zeros((n, 3))],
        "betas": [np.zeros(10)],
        "jointPositions": [np.tile(joints.ravel(), (n, 1))],
        "campose_valid": [np.ones(n)],
    }
    path = folder / "sequenceFiles" / "test" / "walk.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(data, 2))
    for k in range(n):
        save(folder / "imageFiles" / "walk" / f"image_{k:05d}.jpg", read_image(root, view.image_path))


def write_release(folder: Path, instant: Instant) -> None:
    """The official layout with one sequence of S9, seen by one video."""
    from cdflib.cdfwrite import CDF

    assert instant.joints_3d is not None
    poses, n = np.zeros((1, 2, JOINTS_RELEASED, 3), np.float32), 2
    poses[:, :, BODY_17] = 1000 * (instant.joints_3d - instant.joints_3d[0])
    place = folder / "S9" / "MyPoseFeatures" / "D3_Positions"
    place.mkdir(parents=True)
    file = CDF(place / "Directions.cdf", delete=True)
    shape = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [n, 96]}
    file.write_var(shape, var_data=poses.reshape(1, n, 96))
    file.close()
    videos = folder / "S9" / "Videos"
    videos.mkdir()
    stripes = 90 + 20 * (np.arange(1000) // 10 % 2)  # a view of a plain wall is none
    frame = np.tile(stripes.astype(np.uint8)[None, :, None], (1000, 1, 3))
    for serial in CAMERA_NAMES.values():
        video = cv2.VideoWriter(
            str(videos / f"Directions.{serial}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 50, (1000, 1000)
        )
        for _ in range(n + 1):
            video.write(frame)
        video.release()
    (folder / "metadata.xml").write_text(metadata(n))


def write_multiview(folder: Path, root: Path, instant: Instant) -> None:
    """Three frames of a person who stands still. Every calibration that is read, of one rig: a run on this folder names one."""
    for k in range(3):
        for view in instant.views:
            name = f"cam{view.camera_id}"
            save(folder / "images" / name / f"{k}.jpg", read_image(root, view.image_path))
            points = keypoints(
                instant, replace(view, camera=replace(view.camera, distortion=np.zeros(5))), OPENPOSE_25.names
            )
            people = [{"pose_keypoints_2d": points.ravel().tolist()}]
            write_json(folder / "keypoints" / name / f"{k}_keypoints.json", {"people": people})
    cameras = {f"cam{view.camera_id}": view.camera for view in instant.views}
    (folder / "rig.toml").write_text("\n".join(_toml(name, camera) for name, camera in cameras.items()))
    (folder / "rig.qca.txt").write_text(_qualisys(cameras))
    yaml = [f"K_{name}: {_matrix(c.K)}dist_{name}: {_matrix(np.zeros((1, 5)))}" for name, c in cameras.items()]
    (folder / "intri.yml").write_text("%YAML:1.0\n---\n" + "".join(yaml))
    yaml = [f"Rot_{name}: {_matrix(c.R)}T_{name}: {_matrix(c.t[:, None])}" for name, c in cameras.items()]
    (folder / "extri.yml").write_text("%YAML:1.0\n---\n" + "".join(yaml))
    rig = {
        name: {"K": c.K.tolist(), "dist": [0.0] * 5, "R": c.R.tolist(), "t": c.t.tolist(), "size": [c.width, c.height]}
        for name, c in cameras.items()
    }
    write_json(folder / "rig.json", {"cameras": rig})


def _toml(name: str, camera: Camera) -> str:
    turn = cv2.Rodrigues(camera.R)[0].ravel().tolist()
    return (
        f'[{name}]\nname = "{name}"\nsize = [{camera.width}.0, {camera.height}.0]\nmatrix = {camera.K.tolist()}\n'
        f"distortions = [0.0, 0.0, 0.0, 0.0]\nrotation = {turn}\ntranslation = {camera.t.tolist()}\nfisheye = false\n"
    )


def _matrix(values: np.ndarray) -> str:
    """As OpenCV's FileStorage writes it."""
    rows, cols = values.shape
    numbers = ", ".join(map(repr, values.ravel().tolist()))
    return f"!!opencv-matrix\n   rows: {rows}\n   cols: {cols}\n   dt: d\n   data: [{numbers}]\n"


def _qualisys(cameras: dict[str, Camera]) -> str:
    """Its pixels have 64 parts, its lengths are millimetres, its camera looks along its own -z."""
    entries = []
    for name, c in cameras.items():
        R, centre = np.diag([1.0, -1.0, -1.0]) @ c.R, -1000 * c.R.T @ c.t
        turn = " ".join(f'r{i + 1}{j + 1}="{R[i, j]}"' for i in range(3) for j in range(3))
        lens = "".join(
            f' {key}="{64 * value}"'
            for key, value in zip(
                ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV"),
                (c.K[0, 0], c.K[1, 1], c.K[0, 2], c.K[1, 2]),
                strict=True,
            )
        )
        bent = "".join(f' {kind}Distortion{k}="0"' for kind in ("radial", "tangental") for k in (1, 2))
        entries.append(
            f'<camera serial="{name}"><fov_video left="0" top="0" right="{c.width - 1}" bottom="{c.height - 1}"/>'
            f'<transform {turn} x="{centre[0]}" y="{centre[1]}" z="{centre[2]}"/><intrinsic{lens}{bent}/></camera>'
        )
    return f"<calibration><cameras>{''.join(entries)}</cameras></calibration>"


def metadata(n: int) -> str:
    """metadata.xml of the official code, as far as the reader looks at it: every camera 5 m in front of the origin."""
    subjects = range(1, 12)
    rows = ["<tr>" + "<td/>" * 2 + "".join(f"<td>S{s}</td>" for s in subjects) + "</tr>"]
    rows += [
        f"<tr><td>{action}</td><td>{sub}</td>"
        + "".join(f"<td>{name if sub == 1 else name + ' 1'}</td>" for _ in subjects)
        + "</tr>"
        for action, name in ACTIONS.items()
        for sub in (1, 2)
    ]
    numbers = [0.0, 0.0, 0.0, 0.0, 0.0, -5000.0] * len(CAMERA_NAMES) * len(subjects)
    numbers += [number for c in CAMERA_NAMES for number in INTRINSICS[c]]
    counts = "".join(
        "<tr>" + "".join(f"<td>[{n} {n} {n} {n} {4 * n}]</td>" for _ in range(33)) + "</tr>" for _ in subjects
    )
    cameras = "".join(f"<dbid>{name}</dbid>" for name in CAMERA_NAMES.values())
    return (
        f"<metadata><mapping>{''.join(rows)}</mapping><dbcameras><index2id>{cameras}</index2id></dbcameras>"
        f"<frames>{counts}</frames><w0>[{' '.join(map(repr, numbers))}]</w0></metadata>"
    )


def save(path: Path, image: np.ndarray) -> None:
    """image: (H, W, 3) RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)), path


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
