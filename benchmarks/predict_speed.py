"""How fast `nvf-cli predict` is with the model that is shipped: crops, a video with everything on, and the first result.

    python -m benchmarks.predict_speed [--photo FILE] [--frames 60] [--quick] [--json FILE]

Asked for, on two cores: 8 people a second for a batch of crops, 3 frames a second of a one-person video with everything on, the first
result within 6 seconds of the command, and `nvf-cli --help` within 0.5. Run it on a quiet machine. The photograph shows one person;
the video is that photograph, moved by a few pixels from frame to frame.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch

from model.people import free_model
from model.people.bodies import BODY, BodyFits, find_people
from model.people.job import Question, answer
from model.people.outputs import FORMATS
from model.people.photographs import photograph_camera, read_photograph
from model.people.predict import Model, load_model, predict_crops
from model.people.records import Box, Picture
from pipeline.camera import make_crop, warp_to_crop
from pipeline.errors import InputError
from pipeline.outputs import write_json

PHOTO = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
KEYS = ["crops_a_second", "people_a_second", "video_frames_a_second", "first_result_s", "help_s"]
BATCH, FPS, FRAME_PX, SHIFT_PX = 16, 25.0, 960, 24


def best(work: Callable[[], object], times: int) -> float:
    """Seconds, the least of several."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def write_video(photograph: np.ndarray, path: Path, frames: int) -> None:
    """The photograph with its longer side at FRAME_PX, moved along a circle."""
    scale = FRAME_PX / max(photograph.shape[:2])
    small = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    size = (small.shape[1] // 2 * 2, small.shape[0] // 2 * 2)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, size)
    for k in range(frames):
        angle = 2 * np.pi * k / FPS
        shift = np.array([[1, 0, SHIFT_PX * np.cos(angle)], [0, 1, SHIFT_PX * np.sin(angle)]])
        writer.write(cv2.warpAffine(small[..., ::-1], shift, size, borderMode=cv2.BORDER_REPLICATE))
    writer.release()


def people_a_second(model: Model, picture: Picture, box: np.ndarray, times: int, batch: int) -> tuple[float, float]:
    """Of a batch: crops through the network alone; and people with crops, keypoints and bodies."""
    crop = make_crop(picture.camera, box, model.side, model.side)
    pixels = warp_to_crop(picture.pixels, picture.camera, crop)
    network = best(lambda: predict_crops(model, batch * [crop], batch * [pixels]), times)
    fits = BodyFits(model, BODY)

    def everything() -> None:
        list(find_people(model, batch * [picture], lambda _: [Box(box, None, "given")], fits))

    return batch / network, batch / best(everything, times)


def command(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "cli.main", *map(str, words)], check=True, capture_output=True)


def measured(photo: Path, frames: int, times: int, batch: int) -> dict[str, float]:
    model, pixels = load_model(free_model.folder()), read_photograph(photo)
    picture = Picture(str(photo), pixels, photograph_camera(pixels.shape[1], pixels.shape[0], None))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = answer(Question([str(photo)]), folder / "alone")
        if alone.people != 1:
            raise InputError(f"{photo} shows {alone.people} people to the model. Give a photograph of one person.")
        box = np.array(json.loads(alone.path.read_text())["people"][0]["box"])
        crops, people = people_a_second(model, picture, box, times, batch)
        write_video(pixels, folder / "v.mp4", frames)
        torch.set_num_threads(max(1, torch.get_num_threads() // 2))  # as the command does
        began = time.perf_counter()
        answer(Question([str(folder / "v.mp4")], formats=tuple(FORMATS)), folder / "film")
        video = frames / (time.perf_counter() - began)
        first = best(lambda: command("predict", photo, "--out", folder / "first", "--device", "cpu"), times)
    found = (crops, people, video, first, best(lambda: command("--help"), times))
    return {key: round(value, 2) for key, value in zip(KEYS, found, strict=True)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=PHOTO, help="of one person")
    parser.add_argument("--frames", type=int, default=60, help="of the video")
    parser.add_argument(
        "--quick", action="store_true", help="each once, small batches, a video of 4 frames: the numbers say little"
    )
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if asked.quick:
        torch.set_num_threads(1)  # beside other tests, two would wait for one another
    amounts = (4, 1, 4) if asked.quick else (asked.frames, 3, BATCH)
    try:
        said = measured(asked.photo, *amounts)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(json.dumps(said, indent=1))
    if asked.json:
        write_json(asked.json, said)


if __name__ == "__main__":
    main()
