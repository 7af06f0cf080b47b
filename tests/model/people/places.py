"""A folder with pictures, a detector that sees people in them, and a run that is quick to make."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from model.people import detector
from model.train import train
from tests.model.capsules import make_folder, tiny_config


def quick_run(folder: Path) -> Path:
    """A run of one step."""
    torch.set_num_threads(1)
    train(make_folder(folder / "shards", 4, 1, 1), folder / "run", tiny_config(steps=1, evaluations=1), device="cpu")
    return folder / "run"


def make_place(folder: Path, monkeypatch: pytest.MonkeyPatch, people: int, frames: int) -> Path:
    """The working folder has two photographs, one of nobody, and a video. The detector sees so many people in each that is not
    black, and a network of one step is believed that somebody is there."""
    monkeypatch.setattr("model.people.predict.SOMEBODY", 0.0)

    def look(self, pixels, side):
        boxes = [[5.0 + 40 * k, 4, 50, 60] for k in range(people)] if pixels.any() else []
        return np.reshape(boxes, (-1, 4)), np.full(len(boxes), 0.8)

    monkeypatch.setattr(detector.Detector, "look", look)
    for name, level in (("a.png", 200), ("b.png", 100), ("nobody.png", 0)):
        cv2.imwrite(str(folder / name), np.full((90, 120, 3), level, np.uint8))
    writer = cv2.VideoWriter(str(folder / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (120, 96))
    for _ in range(frames):
        writer.write(np.full((96, 120, 3), 120, np.uint8))
    writer.release()
    monkeypatch.chdir(folder)
    return folder
