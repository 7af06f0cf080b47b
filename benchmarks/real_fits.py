"""How right fits of a real person are: 100 views of pose2sim's single-person demo, keypoints by MoveNet thunder.

    pip download pose2sim==0.10.49 --no-deps && unzip pose2sim-*.whl "Pose2Sim/Demo_SinglePerson/*"
    python -m benchmarks.real_fits --pose2sim Pose2Sim/Demo_SinglePerson [--quick] [--json FILE]

25 moments of one man on a beam, four calibrated cameras that look down on him and roll. The truth is triangulated from the same
network's keypoints in all four views, so a fit of one view shares some of its noise. Errors in mm over the 12 joints of arms and legs,
relative to the middle of the hips (MPJPE) and after a similarity (PA). Nothing of the fit is tuned on these views.
"""

import argparse
import json
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from model.networks.encoders.movenet import MoveNet, decode_keypoints
from model.networks.encoders.movenet_weights import asset_path, read_weights
from model.networks.keypoint_network import KeypointNetwork
from model.scoring.metrics import mpjpe, pa_mpjpe
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel, as_tensors, load_body
from pipeline.fit import FitSettings, Fitter
from pipeline.fit.settings import PRIORS
from pipeline.records import Camera, Instant, View
from pipeline.skeletons import COCO

SIDE, EVERY, MOMENTS = 256, 4, 25
LIMBS = COCO.indices(
    tuple(f"{s}_{j}" for j in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for s in ("left", "right"))
)
HIPS = COCO.indices(("left_hip", "right_hip"))
# The person in each camera's first frame, pixels: left, top, right, bottom. Later boxes follow his keypoints.
FIRST_BOXES = ((61, 415, 776, 1194), (137, 476, 760, 1115), (253, 416, 730, 1240), (221, 543, 1033, 1256))
LOOKS = ("one view, one look", "one view, four looks")
MISSING = "the demo's videos are not part of this project; --help says where they come from"


@dataclass(frozen=True)
class Seen:
    """cameras: without distortion, one a view. pixels: (F, 4, 17, 2) undistorted, scores: (F, 4, 17), boxes: (F, 4, 4) left, top,
    right, bottom. looks: pixels and scores once more, as `nvf-cli keypoints` finds them in these boxes with one look and with four
    (`--tta`), by how they are fitted. joints: (F, 17, 3) metres, triangulated from the first pixels, in the world."""

    cameras: list[Camera]
    pixels: np.ndarray
    scores: np.ndarray
    looks: dict[str, tuple[np.ndarray, np.ndarray]]
    boxes: np.ndarray
    joints: np.ndarray


def read_cameras(file: Path) -> tuple[list[Camera], list[np.ndarray]]:
    """Qualisys' calibration: cameras in metres without distortion, and OpenCV's (k1, k2, p1, p2) of each."""
    cameras, distortions = [], []
    for element in ET.parse(file).getroot().iter("camera"):
        place, lens = element.find("transform").attrib, element.find("intrinsic").attrib
        R = np.diag([1.0, -1, -1]) @ np.array([[float(place[f"r{a}{b}"]) for b in (1, 2, 3)] for a in (1, 2, 3)])
        t = -R @ (np.array([float(place[axis]) for axis in "xyz"]) / 1000)
        f, c = ([float(lens[f"{name}{axis}"]) / 64 for axis in "UV"] for name in ("focalLength", "centerPoint"))
        K = np.array([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1.0]])
        cameras.append(Camera(K, R, t, 1088, 1920))
        names = ("radialDistortion1", "radialDistortion2", "tangentalDistortion1", "tangentalDistortion2")
        distortions.append(np.array([float(lens[name]) for name in names]))
    return cameras, distortions


def read_frames(video: Path, moments: int) -> list[np.ndarray]:
    """Every EVERY-th frame, RGB."""
    capture, frames = cv2.VideoCapture(str(video)), []
    while len(frames) < moments:
        for _ in range(EVERY):
            there, image = capture.read()
            if not there:
                return frames
            if len(frames) < moments and _ == 0:
                frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return frames


@torch.no_grad()
def detect(network: MoveNet, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (17, 2) pixels, scores (17,), and the box of those that are seen; the network sees a square around `box`."""
    side, centre = max(box[2:] - box[:2]) * 1.25, (box[:2] + box[2:]) / 2
    A = np.c_[np.eye(2) * SIDE / side, SIDE / 2 - centre * SIDE / side]
    crop = cv2.warpAffine(image, A, (SIDE, SIDE))
    pixels, scores = decode_keypoints(network(torch.from_numpy(crop).permute(2, 0, 1)[None] / 127.5 - 1))
    pixels, scores = (pixels[0].numpy() - A[:, 2]) * side / SIDE, scores[0].numpy()
    seen = pixels[scores > 0.2]
    return pixels, scores, np.concatenate([seen.min(0), seen.max(0)]) if len(seen) > 2 else box


def triangulate(cameras: list[Camera], pixels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(17, 3) metres from pixels (4, 17, 2), by least squares, far rays counting less: 8 rounds of weights 1 / (1 + (e / 12 px)^2)."""
    rows = [camera.K @ np.c_[camera.R, camera.t] for camera in cameras]
    joints = np.zeros((17, 3))
    for j in range(17):
        weight = scores[:, j].astype(float)
        for _ in range(8):
            A = [
                w * (x * P[2] - P[k])
                for P, p, w in zip(rows, pixels[:, j], weight, strict=True)
                for k, x in enumerate(p)
            ]
            # lengths in pixels: both rows of a view are scaled alike
            solution = np.linalg.svd(np.array(A))[2][-1]
            joints[j] = solution[:3] / solution[3]
            there = np.array([P @ np.r_[joints[j], 1] for P in rows])
            error = np.linalg.norm(there[:, :2] / there[:, 2:] - pixels[:, j], axis=1)
            weight = scores[:, j] / (1 + (error / 12) ** 2)
    return joints


def look(demo: Path, moments: int) -> Seen:
    """Runs the network over the demo."""
    cameras, distortions = read_cameras(demo / "calibration" / "Calib.qca.txt")
    kind, state = read_weights(asset_path("thunder"))
    network = MoveNet(kind).eval()
    network.load_state_dict(state)
    videos = [read_frames(demo / "videos" / f"cam{n:02d}.mp4", moments) for n in (1, 2, 3, 4)]
    F = min(map(len, videos))
    pixels, scores, boxes = np.zeros((F, 4, 17, 2)), np.zeros((F, 4, 17)), np.zeros((F, 4, 4))
    networks = {how: KeypointNetwork("thunder", augmented=how.endswith("four looks")) for how in LOOKS}
    looks = {how: (np.zeros_like(pixels), np.zeros_like(scores)) for how in LOOKS}
    for n, (frames, first) in enumerate(zip(videos, FIRST_BOXES, strict=True)):
        box = detect(network, frames[0], np.array(first, float))[2]
        for f in range(F):
            raw, scores[f, n], box = detect(network, frames[f], box)
            boxes[f, n] = box
            pixels[f, n] = undistorted(raw, cameras[n], distortions[n])
            for how, again in networks.items():
                raw, looks[how][1][f, n] = again(frames[f], np.r_[box[:2], box[2:] - box[:2]])
                looks[how][0][f, n] = undistorted(raw, cameras[n], distortions[n])
    joints = np.array([triangulate(cameras, pixels[f], scores[f]) for f in range(F)])
    return Seen(cameras, pixels, scores, looks, boxes, joints)


def undistorted(pixels: np.ndarray, camera: Camera, distortion: np.ndarray) -> np.ndarray:
    """(17, 2) pixels of the same camera without its distortion."""
    return cv2.undistortPoints(pixels[:, None].astype(float), camera.K, distortion, P=camera.K)[:, 0]


def view_of(seen: Seen, f: int, n: int, marks: tuple[np.ndarray, np.ndarray], in_world: bool) -> View:
    """marks: (17, 2) pixels and (17,) scores."""
    camera, box = seen.cameras[n], seen.boxes[f, n]
    camera = camera if in_world else replace(camera, R=np.eye(3), t=np.zeros(3))
    return View(f"{f:03d}_{n}/0", str(n), camera, "", np.r_[box[:2], box[2:] - box[:2]], *marks)


def instants(seen: Seen, how: str) -> tuple[list[Instant], np.ndarray]:
    """What is fitted, and the true joints (n, 17, 3) in its frame. how: "one view", one of LOOKS, "one view, exact" (keypoints where
    the truth projects), or "four views"."""
    made, truth = [], []
    pixels, scores = seen.looks.get(how, (seen.pixels, seen.scores))
    for f, joints in enumerate(seen.joints):
        if how == "four views":
            views = tuple(view_of(seen, f, n, (pixels[f, n], scores[f, n]), True) for n in range(4))
            made.append(Instant(f"{f:03d}", None, "", f, COCO.name, views, has_world=True))
            truth.append(joints)
            continue
        for n, camera in enumerate(seen.cameras):
            local = joints @ camera.R.T + camera.t
            exact = local[:, :2] / local[:, 2:] * camera.K[[0, 1], [0, 1]] + camera.K[:2, 2]
            marks = exact if how == "one view, exact" else pixels[f, n], scores[f, n]
            made.append(Instant(f"{f:03d}_{n}", None, "", f, COCO.name, (view_of(seen, f, n, marks, False),)))
            truth.append(local)
    return made, np.array(truth)


def measure(body: BodyModel, seen: Seen, prior: str, how: str) -> dict[str, float]:
    settings = FitSettings(prior=prior)
    made, truth = instants(seen, how)
    fits = Fitter(body, settings).fit(made)
    vertices, joints = body.pose(as_tensors([fit.parameters for fit in fits]))
    points = keypoint_map(body, COCO, settings.manner.as_annotated)(joints.numpy(), vertices.numpy())

    def relative(x: np.ndarray) -> np.ndarray:
        return (x - x[:, HIPS].mean(1, keepdims=True))[:, LIMBS]

    error = mpjpe(relative(points), relative(truth)) * 1000
    ambiguous = np.array([fit.quality.ambiguous for fit in fits])
    row = {
        "mpjpe_mm": error.mean(),
        "pa_mpjpe_mm": pa_mpjpe(points[:, LIMBS], truth[:, LIMBS]).mean() * 1000,
        "ambiguous": ambiguous.mean(),
    }
    for name, rows in (("ambiguous", ambiguous), ("clear", ~ambiguous)):
        if rows.any():
            row[f"{name}_mpjpe_mm"] = error[rows].mean()
    return {name: float(value) for name, value in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pose2sim", type=Path, help="the folder Demo_SinglePerson")
    parser.add_argument("--quick", action="store_true", help="two moments: does it run?")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.pose2sim is None:
        print(f"Nothing is measured: {MISSING}.")
        return
    torch.set_num_threads(1)
    seen = look(arguments.pose2sim, 2 if arguments.quick else MOMENTS)
    body, table = load_body(), {}
    for prior in PRIORS[:2] if arguments.quick else [name for name in PRIORS if name not in ("gmm", "vposer")]:
        for how in ("one view", *LOOKS, "one view, exact", "four views"):
            table[f"{prior}, {how}"] = row = measure(body, seen, prior, how)
            print(f"{prior}, {how}: {', '.join(f'{key} {value:.3g}' for key, value in row.items())}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
