"""Whether the memory of `predict` grows with a video: resident memory after every so many frames.

    python -m benchmarks.video_memory [--frames 10000] [--quick] [--json FILE]

A video of small frames is read, tracked, smoothed, fitted with bodies and written into predictions.json and the page, as predict does.
Two things that keep nothing are replaced, so that this takes minutes and not an hour: the boxes and keypoints are given, and the
network's answer is a body that swings its arms.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from model.decoding import BODY
from model.people import free_model, predict
from model.people.bodies import BodyFits, find_people
from model.people.outputs import Outputs, Place
from model.people.pictures import find_given, read_given
from model.people.predict import Model, load_model
from model.people.predictions import PredictionsFile
from model.people.records import Box, Keypoints, Picture
from model.people.shown import Shown, Stems
from model.people.tracks import Tracker
from pipeline.camera import Crop
from pipeline.outputs import write_json
from pipeline.skeletons import COCO

KEYS = ["frames", "resident_mib"]
SIZE, BOX = (96, 128), np.array([24.0, 8, 48, 112])


def write_video(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, SIZE)
    for k in range(frames):
        image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
        cv2.rectangle(image, (30 + k % 8, 10), (66 + k % 8, 118), (30, 60, 200), -1)
        writer.write(image)
    writer.release()


class Swinging:
    """In place of the network: the mean pose, its joints moved a little from one crop to the next."""

    def __init__(self, model: Model):
        self.pose, self.asked = model.network.mean_pose.double().cpu().numpy(), 0

    def __call__(self, model: Model, crops: Sequence[Crop], pixels: Sequence[np.ndarray]) -> list[dict]:
        return [self.answer() for _ in crops]

    def answer(self) -> dict[str, np.ndarray]:
        self.asked += 1
        swing = 0.03 * np.sin(self.asked / 5 + np.arange(self.pose.size).reshape(self.pose.shape))
        sure, root = np.full(len(self.pose), 0.7), np.array([0.0, 0, 4])
        return {"joints": self.pose + swing, "root": root, "confidence": sure, "presence": np.array(0.99)}


class Given:
    """In place of the detector: one person, with keypoints, in every frame."""

    def __init__(self) -> None:
        self.tracker = Tracker()
        points = BOX[:2] + BOX[2:] * np.random.default_rng(0).random((len(COCO), 2))
        self.box = Box(BOX, 0.9, "detector", Keypoints(COCO.name, points, np.full(len(COCO), 0.3)))

    def __call__(self, picture: Picture) -> list[Box]:
        return self.tracker(picture, [self.box])


def resident_mib() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def watched(video: Path, out: Path, every: int) -> Iterator[tuple[int, float]]:
    """(frames, MiB) after every so many frames."""
    model = load_model(free_model.folder())
    predict.predict_crops = Swinging(model)
    fits, stems = BodyFits(model, BODY), Stems()
    file, outputs = PredictionsFile(out, model.joint_set, {}), Outputs(Place(out), ["html"])
    people = find_people(model, read_given(find_given([str(video)])), Given(), fits)
    for number, (picture, found) in enumerate(people, 1):
        assert picture is not None and len(found.people) == 1, found
        file.add(found)
        outputs.add(Shown.of(picture, found, stems, model.joint_set, fits))
        if number % every == 0:
            yield number, round(resident_mib(), 1)
    file.close()
    outputs.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="80 frames")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    frames = 80 if asked.quick else asked.frames
    rows: dict[str, list] = {key: [] for key in KEYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        write_video(folder / "v.avi", frames)
        for number, mib in watched(folder / "v.avi", folder / "out", max(1, frames // 10)):
            rows["frames"].append(number)
            rows["resident_mib"].append(mib)
            print(f"{number} frames: {mib} MiB", flush=True)
    if asked.json:
        write_json(asked.json, rows)


if __name__ == "__main__":
    main()
