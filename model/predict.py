"""Predictions for photographs: one person's box in each, joints in metres out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from model.evaluate import write_json
from model.scoring.figures import draw_skeleton, from_the_side, save_png
from model.training.runs import load_run
from pipeline.camera import Crop, make_crop, project, warp_to_crop
from pipeline.errors import InputError
from pipeline.records import Camera
from pipeline.skeletons import JOINT_SETS

# Longest side of the picture that is written, px.
PICTURE_PX = 1024


@dataclass(frozen=True)
class Found:
    """A person in a photograph. Metres, axes of its camera.

    joints: (J, 3) root-relative. root: (3,) absolute. joints_2d: (J, 2) px of the photograph. confidence: (J,) 0..1.
    """

    joints: np.ndarray
    root: np.ndarray
    joints_2d: np.ndarray
    confidence: np.ndarray


def read_photograph(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises InputError naming the file."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give the path of a JPEG or PNG file.") from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    if image is None:
        raise InputError(f"{path}: not an image that can be decoded. Give a JPEG or PNG file.")
    return image


def photograph_camera(width: int, height: int, focal: float | None) -> Camera:
    """A pinhole at the image's centre; without a focal length the image's diagonal, as everywhere a camera is assumed."""
    f = focal or math.hypot(width, height)
    K = np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1.0]])
    return Camera(K, np.eye(3), np.zeros(3), width, height, assumed=focal is None)


def find_person(
    network: torch.nn.Module, image: np.ndarray, camera: Camera, box: np.ndarray
) -> tuple[Found, Crop, np.ndarray]:
    """The person in `box` (4,) x, y, width, height px; the crop that the network saw, and its pixels."""
    side = network.config.crop_px
    crop = make_crop(camera, box, side, side)
    pixels = warp_to_crop(image, camera, crop)
    device = next(network.buffers()).device
    given = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(device).float().mul(2 / 255).sub(1)
    predicted = network.predict(given, torch.from_numpy(crop.K).float()[None].to(device))
    joints, root = (value[0].double().cpu().numpy() @ crop.R for value in (predicted.joints, predicted.root))
    return Found(joints, root, project(camera, joints + root), predicted.confidence[0].cpu().numpy()), crop, pixels


def picture(image: np.ndarray, found: Found, joint_set) -> np.ndarray:
    """(H, W, 3) uint8: the skeleton on the photograph, and seen from the side."""
    scale = PICTURE_PX / max(image.shape[:2])
    canvas = cv2.resize(
        image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    flat = (found.joints_2d + 0.5) * scale - 0.5
    size = np.ptp(flat, 0).max()
    draw_skeleton(canvas, flat, joint_set, (20, 20, 20), max(3, int(size / 50)))
    draw_skeleton(canvas, flat, joint_set, None, max(2, int(size / 90)))
    height = canvas.shape[0]
    return np.concatenate([canvas, from_the_side(found.joints, None, joint_set, height)], 1)


def predict_images(
    run: Path,
    images: Sequence[Path],
    out: Path,
    box: Sequence[float] | None = None,
    focal: float | None = None,
    device: torch.device | str = "cpu",
) -> list[dict]:
    """Predict each image; leaves NAME.json and NAME.png in `out`. box: x, y, width, height px, default the whole image.

    Raises InputError for an image that cannot be read, a box outside it, or two images of one name.
    """
    if len({path.stem for path in images}) < len(images):
        raise InputError(
            "Two of the images have the same name, and would overwrite each other's results. Predict them separately."
        )
    network, config, record = load_run(run, device)
    joint_set = JOINT_SETS[config.network.joint_set]
    reports = []
    out.mkdir(parents=True, exist_ok=True)
    for path in images:
        image = read_photograph(path)
        height, width = image.shape[:2]
        person = np.array(box if box is not None else (0, 0, width, height), float)
        if person[0] >= width or person[1] >= height or (person[:2] + person[2:] <= 0).any():
            raise InputError(f"{path}: the box {person.tolist()} lies outside the image of {width} x {height} px.")
        camera = photograph_camera(width, height, focal)
        found, _, _ = find_person(network, image, camera, person)
        report = {
            "image": str(path),
            "run": str(run),
            "step": record["step"],
            "box": person.tolist(),
            "box_source": "the user's" if box is not None else "the whole image",
            "focal_px": camera.K[0, 0],
            "camera_assumed": camera.assumed,
            "units": "metres, camera axes: x right, y down, z forward",
            "joint_names": list(joint_set.names),
            "joints": found.joints.round(5).tolist(),
            "root": found.root.round(5).tolist(),
            "joints_2d": found.joints_2d.round(2).tolist(),
            "confidence": found.confidence.astype(float).round(4).tolist(),
        }
        write_json(out / f"{path.stem}.json", report)
        save_png(out / f"{path.stem}.png", picture(image, found, joint_set))
        reports.append(report)
    return reports
