"""MediaPipe Pose on the same photographs of a real person as benchmarks.real_views, to be compared with it.

    npm pack @mediapipe/pose@0.5.1675469404                      # Apache-2.0; then, unpacked:
    python -m benchmarks.mediapipe package/pose_landmark_heavy.tflite --out OUT [--wheel FILE] [--weights thunder]
    python -m benchmarks.mediapipe --quick                       # says what it would do

Its landmark model runs in OpenCV's dnn. It gets the person's box, once; then it is asked again and again in the crop that its
own two alignment points ask for, upright, until that has settled, as its tracking does. Its world landmarks are taken as they are.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks import _pose2sim as pose2sim
from benchmarks._triangulate import detect, triangulate
from benchmarks.real_views import LIMBS, NEAR, SCORED, WHEEL, limbs, numbers
from model.networks.keypoint_network import KeypointNetwork
from pipeline.camera import project, world_to_camera
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.outputs import make_folder, write_json
from pipeline.skeletons import COCO

SIDE = 256
# How much larger than twice the distance of the alignment points its square crop is.
MARGIN = 1.25
# Its landmarks, in the order of LIMBS' scored joints: hip, knee, ankle, shoulder, elbow, wrist of the right side, then of the left.
LANDMARKS = (24, 26, 28, 12, 14, 16, 23, 25, 27, 11, 13, 15)
# Landmarks that say where the next crop is: the middle of the hips, and a point of the circle about the whole person.
MIDDLE, RIM = 33, 34
# Until its crop has settled, as over the frames of a film.
ROUNDS = 8


class Landmarks:
    """The landmark model of MediaPipe Pose."""

    def __init__(self, path: Path):
        """Raises InputError when OpenCV cannot read the file."""
        try:
            self.net = cv2.dnn.readNetFromTFLite(str(path))
        except cv2.error as error:
            raise InputError(
                f"{path} is no model that OpenCV reads. Give pose_landmark_heavy.tflite of npm's @mediapipe/pose."
            ) from error

    def __call__(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(12, 3) m, about the hips' middle, x right, y down, z forward; and (12, 2) px of the (H, W, 3) uint8 RGB image.

        box: (4,) x, y, width, height px of the person.
        """
        centre, side, angle = box[:2] + box[2:] / 2, MARGIN * max(box[2:]), 0.0
        for _ in range(ROUNDS):
            c, s = np.cos(angle) * side / SIDE, np.sin(angle) * side / SIDE
            turn = np.array([[c, -s], [s, c]])  # of the crop's pixels into the image's
            to_image = np.column_stack([turn, centre - turn @ np.full(2, (SIDE - 1) / 2)])
            crop = cv2.warpAffine(image, to_image, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
            self.net.setInput(np.ascontiguousarray(crop.transpose(2, 0, 1)[None] / np.float32(255)))
            flat, world = self.net.forward(["Identity", "Identity_4"])
            pixels = flat.reshape(39, 5)[:, :2] @ turn.T + to_image[:, 2]
            spoke = pixels[RIM] - pixels[MIDDLE]
            joints = world.reshape(39, 3)[list(LANDMARKS)].astype(float)
            joints[:, :2] = joints[:, :2] @ (turn.T * SIDE / side)
            centre, side, angle = pixels[MIDDLE], 2 * MARGIN * np.linalg.norm(spoke), np.arctan2(spoke[0], -spoke[1])
        return joints, pixels[list(LANDMARKS)]


def with_middles(joints: np.ndarray) -> np.ndarray:
    """(12, 3) scored joints -> (14, 3) of LIMBS."""
    names = LIMBS.names[SCORED]
    middles = [
        joints[[names.index(f"{side}_{name}") for side in ("left", "right")]].mean(0) for name in ("hip", "shoulder")
    ]
    return np.concatenate([np.stack(middles), joints])


def judge(model: Path, wheel: Path, weights: str) -> dict:
    """Errors of every view of the film, as benchmarks.real_views reports them."""
    landmarks, detector = Landmarks(model), KeypointNetwork(weights)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pose2sim.unpack(wheel, folder)
        instants = pose2sim.instants(folder)
        seen = detect(instants, folder, detector)
        points = triangulate([[view.camera for view in instant.views] for instant in instants], seen).points
        for f, instant in enumerate(instants):
            for c, view in enumerate(instant.views):
                joints, pixels = landmarks(read_image(folder, view.image_path), seen.boxes[f, c])
                truth = world_to_camera(view.camera, limbs(points[f], COCO))
                off = np.linalg.norm(pixels - project(view.camera, truth[SCORED]), axis=-1) / max(seen.boxes[f, c, 2:])
                predicted = with_middles(joints)
                found.append((predicted - predicted[0], truth - truth[0], off))
    predicted, truth, off = (np.array(column) for column in zip(*found, strict=True))
    return {
        "model": model.name,
        "views": len(found),
        **numbers(predicted, truth),
        "near_in_the_image": round(float((off < NEAR).mean()), 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("runs/real-views"))
    parser.add_argument("--wheel", type=Path, default=WHEEL)
    parser.add_argument("--weights", default="thunder")
    parser.add_argument("--quick", action="store_true", help="nothing but whether the files are there")
    asked = parser.parse_args(arguments)
    if asked.quick and not (asked.model and asked.model.exists()):
        print("The landmark model and the film are not shipped: see --help. Nothing to measure.")
        return
    if asked.model is None:
        parser.error("name the landmark model's file, or give --quick")
    try:
        said = judge(asked.model, asked.wheel, asked.weights)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    make_folder(asked.out)
    write_json(asked.out / "mediapipe.json", said)
    print(said)


if __name__ == "__main__":
    main()
