"""Predictions for photographs: one person's box in each, joints in metres out."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch

from model.networks.network import Network
from model.scoring.figures import draw_skeleton, from_the_side
from model.training.runs import load_run
from pipeline.camera import Crop, assumed_camera, in_image, make_crop, project, project_pinhole, warp_to_crop
from pipeline.errors import InputError
from pipeline.outputs import encode_picture, is_ours, make_folder, write_marked
from pipeline.records import Camera
from pipeline.skeletons import JOINT_SETS, JointSet

# Longest side of the picture that is written, px.
PICTURE_PX = 1024
BOX_COLOUR = (255, 225, 60)
# A box may reach so far beyond the image, px and part of its side: detectors round.
SLACK_PX, SLACK = 1.0, 0.01
LEAST_BOX_PX = 2.0
# Focal lengths that a lens can have, in diagonals of the image.
FOCAL_RANGE = (0.05, 100.0)

# A box whose presence is below this is said to hold nobody.
SOMEBODY = 0.5


@dataclass(frozen=True)
class Found:
    """A person in a photograph. Metres, axes of its camera.

    joints: (J, 3) root-relative. root: (3,) absolute. joints_2d: (J, 2) px of the photograph. confidence: (J,) 0..1,
    that the joint lies within 100 mm. visible: (J,) bool, it lies in the crop and is more likely right than wrong. presence: 0..1,
    that a person fills the box.
    """

    joints: np.ndarray
    root: np.ndarray
    joints_2d: np.ndarray
    confidence: np.ndarray
    visible: np.ndarray
    presence: float


def read_photograph(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises InputError naming the file."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give the path of a JPEG or PNG file.") from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    except cv2.error:  # larger than OpenCV takes
        image = None
    if image is None or image.ndim != 3 or image.dtype != np.uint8:
        raise InputError(f"{path}: not an image that can be decoded. Give a JPEG or PNG file.")
    return image


def photograph_camera(width: int, height: int, focal: float | None) -> Camera:
    """A pinhole at the image's centre; without a focal length the image's diagonal, as everywhere a camera is assumed.

    Raises InputError for a focal length that no lens has.
    """
    diagonal = math.hypot(width, height)
    f = diagonal if focal is None else focal
    least, most = (part * diagonal for part in FOCAL_RANGE)
    if not least <= f <= most:
        raise InputError(
            f"--focal {f:g}: for an image of {width} x {height} px it is between {least:.0f} and {most:.0f} px. Give it in pixels, "
            "or leave it out."
        )
    return assumed_camera(width, height, focal)


def find_person(network: Network, image: np.ndarray, camera: Camera, box: np.ndarray) -> tuple[Found, Crop, np.ndarray]:
    """The person in `box` (4,) x, y, width, height px; the crop that the network saw, and its pixels."""
    side = network.config.crop_px
    crop = make_crop(camera, box, side, side)
    pixels = warp_to_crop(image, camera, crop)
    device = next(network.buffers()).device
    given = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(device).float().mul(2 / 255).sub(1)
    predicted = network.predict(given, torch.from_numpy(crop.K).float()[None].to(device))
    joints, root = (value[0].double().cpu().numpy() @ crop.R for value in (predicted.joints, predicted.root))
    confidence = predicted.confidence[0].cpu().numpy()
    in_crop = in_image(project_pinhole(crop.K, (joints + root) @ crop.R.T), side, side)
    found = Found(
        joints,
        root,
        project(camera, joints + root),
        confidence,
        visible=in_crop & (confidence >= 0.5),
        presence=float(predicted.presence[0]),
    )
    return found, crop, pixels


def check_box(box: np.ndarray, width: int, height: int) -> None:
    """Raises InputError for a box (4,) x, y, width, height px that is no part of an image of width x height px."""
    x, y, w, h = (float(value) for value in box)
    said = f"the box {x:g},{y:g},{w:g},{h:g} (x, y, width, height)"
    if min(w, h) < LEAST_BOX_PX:
        raise InputError(f"{said} is less than {LEAST_BOX_PX:g} px wide or high. Give the person's box in pixels.")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise InputError(
            f"{said} lies outside the image of {width} x {height} px. Give the person's box in pixels of it."
        )
    beyond = max(-x, -y, x + w - width, y + h - height)
    if beyond <= SLACK_PX + SLACK * max(w, h):
        return
    left, top, right, low = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    remedy = f"Give its part inside the image: {left:g},{top:g},{right - left:g},{low - top:g}"
    if x < w <= width and y < h <= height:
        remedy += f"; or, where {w:g} and {h:g} are the right and lower edge: {x:g},{y:g},{w - x:g},{h - y:g}"
    raise InputError(f"{said} reaches {beyond:.0f} px beyond the image of {width} x {height} px. {remedy}.")


def picture(image: np.ndarray, box: np.ndarray, found: Found, joint_set: JointSet) -> np.ndarray:
    """(H, W, 3) uint8: the box and the skeleton on the photograph, and the skeleton from the side."""
    scale = PICTURE_PX / max(image.shape[:2])
    canvas = cv2.resize(
        image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    first, second = ((int(x), int(y)) for x, y in np.round(scale * np.stack([box[:2], box[:2] + box[2:] - 1])))
    cv2.rectangle(canvas, first, second, (20, 20, 20), 4, cv2.LINE_AA)
    cv2.rectangle(canvas, first, second, BOX_COLOUR, 2, cv2.LINE_AA)
    flat = (found.joints_2d + 0.5) * scale - 0.5
    size = np.ptp(flat, 0).max()
    draw_skeleton(canvas, flat, joint_set, (20, 20, 20), max(3, int(size / 50)))
    draw_skeleton(canvas, flat, joint_set, None, max(2, int(size / 90)))
    height = canvas.shape[0]
    return np.concatenate([canvas, from_the_side(found.joints, None, joint_set, height)], 1)


def own_files(out: Path, stem: str, asked: dict) -> tuple[Path, Path]:
    """Where the JSON and the picture of a prediction go: names that are free, or that hold the answer to the same question.

    asked: what tells one prediction from another; a different one of the same image gets the next number.
    """
    for number in count(1):
        name = f"{stem}.prediction" + (f"-{number}" if number > 1 else "")
        files = out / f"{name}.json", out / f"{name}.png"
        there = [path for path in files if path.exists()]
        if not there:
            return files
        if all(is_ours(path) for path in there) and (not files[0].exists() or answers(files[0], asked)):
            return files
    raise AssertionError


def answers(path: Path, asked: dict) -> bool:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return all(found.get(key) == value for key, value in asked.items())


@dataclass(frozen=True)
class Question:
    """A person to predict. box: x, y, width, height px; None is the whole image."""

    image: Path
    box: Sequence[float] | None = None


@dataclass(frozen=True)
class Answer:
    """report: what the JSON file holds; None where the question was refused. files: the JSON and the picture. refusal: why not."""

    question: Question
    report: dict | None = None
    files: tuple[Path, Path] | None = None
    refusal: str = ""


def predict_images(
    run: Path,
    questions: Sequence[Question],
    out: Path,
    focal: float | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Answer]:
    """Predict one person after the other; leaves NAME.prediction.json and .png of each in `out`.

    A question that cannot be answered (an image that cannot be read, a box beyond it) is answered by a refusal, and the others go
    on. Raises InputError for a run that cannot predict, and a folder that cannot be written.
    """
    network, config, record = load_run(run, device)
    make_folder(out)
    said = {"run": str(run), "step": record["step"]}
    for question in questions:
        try:
            yield answer(network, JOINT_SETS[config.network.joint_set], said, question, out, focal)
        except InputError as error:
            yield Answer(question, refusal=str(error))


def answer(
    network: Network, joint_set: JointSet, said: dict, question: Question, out: Path, focal: float | None
) -> Answer:
    """The prediction for one person, written. said: what of the run goes into its report."""
    path = question.image
    image = read_photograph(path)
    height, width = image.shape[:2]
    box = np.array((0, 0, width, height) if question.box is None else question.box, float)
    try:
        check_box(box, width, height)
        camera = photograph_camera(width, height, focal)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    found, _, _ = find_person(network, image, camera, box)
    if not all(np.isfinite(values).all() for values in (found.joints_2d, found.confidence, found.presence)):
        raise InputError(
            f"{path}: the prediction is not finite: the weights of {said['run']} are damaged, or were trained until they had no "
            "finite values."
        )
    if found.presence < SOMEBODY:
        raise InputError(
            f"{path}: nobody is found in the box {box.round(1).tolist()} (presence {found.presence:.2f}, {SOMEBODY} is needed). A box "
            "holds one person, head to feet, with little room about them: give it with --box x,y,width,height."
        )
    asked = {"image": str(path), **said, "box": box.tolist(), "focal_px": camera.K[0, 0]}
    report = {
        **asked,
        "box_source": "the whole image" if question.box is None else "the user's",
        "camera_assumed": camera.assumed,
        "units": "metres, camera axes: x right, y down, z forward",
        "joint_names": list(joint_set.names),
        "joints": found.joints.round(5).tolist(),
        "root": found.root.round(5).tolist(),
        "joints_2d": found.joints_2d.round(2).tolist(),
        "confidence": found.confidence.astype(float).round(4).tolist(),
        "visible": found.visible.tolist(),
        "presence": round(found.presence, 4),
    }
    files = own_files(out, path.stem, asked)
    write_marked(files[1], encode_picture(picture(image, box, found, joint_set)))
    write_marked(files[0], json.dumps(report, allow_nan=False).encode())
    return Answer(question, report, files)
