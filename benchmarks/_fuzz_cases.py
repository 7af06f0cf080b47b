"""Which commands are run on which good inputs, and which of their files are made wrong: the cases of `benchmarks.fuzz`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PREPROCESS = ("--workers", "0", "--crop-px", "32", "--pool", "256", "--overwrite", "--limit", "2")


@dataclass(frozen=True)
class Case:
    """A command, and which files of which good input are made wrong. In arguments, IN is the input's copy, GOOD the folder of
    all good inputs, OUT an empty folder. share: how often, relative to the others."""

    command: str
    good: str
    files: tuple[str, ...]
    arguments: tuple[str, ...]
    share: int = 1
    quick: bool = False

    @property
    def name(self) -> str:
        return f"{self.command} {self.good}"


def source_case(command: str, source: str, files: Sequence[str], share: int, *more: str, good: str = "") -> Case:
    out = () if command == "check-data" else ("OUT",)
    quick = command == "check-data"
    return Case(command, good or source, tuple(files), (command, source, "IN", *out, *more), share, quick)


# Where somebody stands, so that nobody is looked for; a picture with bodies drawn costs most of a run.
BOX = ("--box", "20,10,56,80", "--write", "npz")
PICTURES = ("*.jpg", "*.png", "*.webp", "*.tif", "*.bmp", "*.gif")
OPENPOSE, COCO = ("*_keypoints.json", "camera.json", *PICTURES), ("*_val2017.json", *PICTURES)
HUMAN36M = ("*_data.json", "*_camera.json", "*_joint_3d.json", "*_SMPLX_NeuralAnnot.json", "*.jpg")
RELEASE = ("*.cdf", "*.cdf", "metadata.xml", "metadata.xml", "*.mp4")
RIG = ("*_keypoints.json", "*.jpg")
RIGS = ("rig.toml", "rig.qca.txt", "rig.json", "*tri.yml")
CASES = [
    source_case("check-data", "openpose", OPENPOSE, 10, "--picture", "OUT/sheet.png"),
    source_case("check-data", "coco", COCO, 10),
    source_case("check-data", "human36m", HUMAN36M, 8),
    source_case("check-data", "threedpw", ("*.pkl", "*.pkl", "*.jpg"), 10),
    source_case("check-data", "human36m", RELEASE, 8, good="release"),
    *(
        source_case("check-data", "multiview", (name, name, *RIG), 2, "-o", f"calibration={name.replace('*tri', 'intri')}")
        for name in RIGS
    ),
    source_case("preprocess", "openpose", OPENPOSE, 2, *PREPROCESS),
    source_case("preprocess", "coco", COCO, 2, *PREPROCESS),
    source_case("preprocess", "human36m", HUMAN36M, 1, *PREPROCESS),
    source_case("preprocess", "threedpw", ("*.pkl", "*.jpg"), 1, *PREPROCESS),
    source_case("preprocess", "human36m", RELEASE, 1, *PREPROCESS, good="release"),
    source_case("preprocess", "multiview", ("rig.json", *RIG), 1, "-o", "calibration=rig.json", *PREPROCESS),
    source_case("fit", "openpose", ("*_keypoints.json", "camera.json"), 1, "--threads", "1", "--limit", "2"),
    Case("inspect", "shards", ("*.h5", "*.h5", "run.json"), ("inspect", "IN", "--json"), 8, True),
    Case("inspect --verify", "shards", ("*.h5", "*.h5", "run.json"), ("inspect", "IN", "--verify"), 8, True),
    Case("inspect --picture", "shards", ("*.h5",), ("inspect", "IN", "--picture", "OUT/a.png")),
    Case("inspect --html", "shards", ("*.h5",), ("inspect", "IN", "--html", "OUT/a.html")),
    Case("inspect", "run", ("*.json", "*.jsonl"), ("inspect", "IN"), 4),
    Case("predict", "run", ("best.safetensors",), (
        "predict", "--run", "IN", "GOOD/openpose/images/0.jpg", *BOX, "--out", "OUT"), 6),
    Case("predict", "openpose", PICTURES, ("predict", "--run", "GOOD/run", "IN/images/MUTATED", "--out", "OUT"), 2),
    Case("predict --box", "openpose", PICTURES, (
        "predict", "--run", "GOOD/run", "IN/images/MUTATED", *BOX, "--out", "OUT"), 5),
    Case("predict --keypoints", "openpose", ("*_keypoints.json",), (
        "predict", "GOOD/openpose/images/2.webp", "--run", "GOOD/run-of-somebody", "--keypoints", "IN/keypoints", "--out", "OUT"), 2),
    Case("evaluate", "shards", ("*.h5", "run.json"), ("evaluate", "OUT/../run", "IN", "--split", "train")),
    Case("report", "run", ("*.json", "*.jsonl"), ("report", "IN"), 2),
    Case("train", "config.toml", ("config.toml",), ("train", "GOOD/shards", "OUT", "--config", "IN", "--steps", "1")),
    Case("train", "shards", ("*.h5", "run.json"), ("train", "IN", "OUT", "--config", "GOOD/config.toml")),
    Case("body info", "SMPLX_NEUTRAL.npz", ("*.npz",), ("body", "info", "IN"), 3),
    Case("fit", "regressor.npy", ("*.npy",), ("fit", "coco", "GOOD/coco", "OUT", "--joint-regressor", "IN", "--limit", "1"), 2),
    Case("preprocess", "fits", ("fits.h5",), ("preprocess", "coco", "GOOD/coco", "OUT", "--fits-from", "IN", *PREPROCESS), 3),
]  # fmt: skip


def filled(case: Case, copy: Path, good: Path, out: Path, mutated: str) -> list[str]:
    """A case's arguments with their places."""
    places = {"IN": str(copy), "GOOD": str(good), "OUT": str(out), "MUTATED": mutated}
    return [
        re.sub("IN|GOOD|OUT|MUTATED", lambda m: places[m[0]], word) if word.isupper() or "/" in word else word
        for word in case.arguments
    ]
