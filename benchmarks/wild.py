"""What a picture of the wild capture costs, step by step, and how hard the capture is.

    python -m benchmarks.wild [--pictures 60] [--image-px 384] [--capture FOLDER] [--quick] [--json FILE]

Costs are seconds of processor time a picture on one core. Mean pose: the mean root-relative pose of the training people in camera
axes, as the prediction for every validation person. Nearest pose: the distance of each validation pose to the training pose that is
nearest after Procrustes alignment, which is what a perfect memory would reach. They are of the same pictures, or of a whole capture.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.capture import nearest_pa
from model.scoring.metrics import align, mpjpe
from pipeline.body.model import load_body
from pipeline.camera import world_to_camera
from pipeline.skeletons import HUMAN36M
from pipeline.sources import open_source
from pipeline.sources.synthetic import render, scenery
from pipeline.sources.synthetic.wild import film, stage
from pipeline.sources.synthetic.wild.settings import WildSettings, split_of

# Row of the table -> the function whose time it is. A row's time holds that of the rows that its functions call.
STEPS = {
    "people, camera and things placed": (film, "_arrange"),
    "  poses drawn": (film, "draw_pose"),
    "  people put on the floor": (stage, "stand"),
    "people dressed, one scene": (film, "_dress"),
    "place or room, and light": (film, "_setting"),
    "what the camera sees of the room": (scenery, "draw_backdrop"),
    "rays, light and shadows": (render, "draw_view"),
    "who is where": (film, "_who_is_where"),
    "what is known of the people": (film, "_note"),
    "JPEG": (film, "encode_jpeg"),
}
TOTALS = ("everything, ms", "everything, ms a person")
HARDNESS = ("mean pose, MPJPE mm", "mean pose, PA-MPJPE mm", "nearest training pose, median PA mm")
KEYS = [*(f"{name}, ms" for name in STEPS), *TOTALS, *HARDNESS]


class Clock:
    """Adds up the processor time of functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STEPS, 0.0)

    def wrap(self, name: str, function: Callable) -> Callable:
        def timed(*arguments, **options):
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[name] += time.process_time() - start

        return timed


def read_people(capture: Path) -> list[tuple[str, np.ndarray]]:
    """Split and joints (17, 3) metres, camera axes, of everybody whom a run would take."""
    instants = open_source("wild", capture).instants()
    return [(i.split, world_to_camera(i.views[0].camera, i.joints_3d)) for i in instants]


def measure(pictures: int, image_px: int, capture: Path | None = None) -> dict[str, float]:
    cv2.setNumThreads(1)
    settings = WildSettings(image_px=image_px)
    studio, clock = film.open_studio(load_body(), settings), Clock()
    originals = {name: getattr(module, function) for name, (module, function) in STEPS.items()}
    for name, (module, function) in STEPS.items():
        setattr(module, function, clock.wrap(name, originals[name]))
    try:
        start = time.process_time()
        shots = []
        for number in range(pictures):
            shot = film.film(studio, number)
            film.encode_jpeg(shot.image, settings.jpeg_quality - shot.coarse)
            shots.append((split_of(number), shot.people))
        total = time.process_time() - start
    finally:
        for name, (module, function) in STEPS.items():
            setattr(module, function, originals[name])
    people = sum(len(found) for _, found in shots)
    found = {f"{name}, ms": 1000 * seconds / pictures for name, seconds in clock.seconds.items()}
    found |= dict(zip(TOTALS, (1000 * total / pictures, 1000 * total / people), strict=True))
    here = [(split, note.joints) for split, notes in shots for note in notes]
    return found | hardness(read_people(capture) if capture else here)


def hardness(people: list[tuple[str, np.ndarray]]) -> dict[str, float]:
    """Baselines that need no picture. people: split and joints (17, 3) metres, camera axes."""
    poses = {
        split: np.array([joints - joints[HUMAN36M.root_index] for s, joints in people if s == split])
        for split in ("train", "validation")
    }
    train, test = poses["train"], poses["validation"]
    guess = np.broadcast_to(train.mean(0), test.shape)
    metres = mpjpe(guess, test).mean(), mpjpe(align(guess, test), test).mean(), np.median(nearest_pa(test, train))
    return {name: 1000 * float(value) for name, value in zip(HARDNESS, metres, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--image-px", type=int, default=384)
    parser.add_argument("--capture", type=Path, help="a capture whose people the baselines are of")
    parser.add_argument("--quick", action="store_true", help="20 pictures of 128 pixels")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    arguments = parser.parse_args()
    numbers = (
        measure(20, 128) if arguments.quick else measure(arguments.pictures, arguments.image_px, arguments.capture)
    )
    for name, value in numbers.items():
        print(f"{name:42s} {value:8.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
