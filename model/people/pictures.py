"""What there is to look at: files, folders, patterns like "*.jpg", videos and webcams, read one picture after the other.

Nothing is kept: however many pictures there are, one is in memory. What cannot be read becomes a `Refusal`, and the next one follows.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from model.people.photographs import photograph_camera, read_photograph
from model.people.records import Picture, Refusal
from pipeline.errors import InputError
from pipeline.images import VideoReader, frame_path, frame_times
from pipeline.outputs import is_ours
from pipeline.records import Camera

CONVERT = "Convert it: ffmpeg -i IN -c:v libx264 OUT.mp4"
WEIGHTS = ("best.safetensors", "last.safetensors")
# What is read of a folder; a file that is named itself may have any name.
STILL = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".gif",
    ".jp2",
    ".ppm",
    ".pgm",
    ".heic",
    ".avif",
)
MOVING = (
    ".mp4",
    ".avi",
    ".mov",
    ".mkv",
    ".webm",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".mts",
    ".ts",
    ".3gp",
    ".ogv",
    ".flv",
)


@dataclass(frozen=True)
class Given:
    """Something to read. kind: "picture", "video", "webcam", or "nothing", whose reason says why. pictures: how many it has, None of a
    webcam.
    """

    name: str
    kind: str
    pictures: int | None = 1
    reason: str = ""

    @property
    def path(self) -> Path:
        return Path(self.name)


def find_given(names: Sequence[str], every: int = 1) -> list[Given]:
    """What the words of a command mean. A folder is what lies in it, without folders in it and without what this program wrote.

    every: of a video's frames, every so many. Raises InputError for a folder with a run, and where nothing is left to read.
    """
    found: dict[str, Given] = {}
    for name in names:
        for given in _meant(name, every):
            found.setdefault(given.name, given)
    if not found:
        raise InputError("no picture is given. Name pictures, videos, folders with them, or 0 for the first webcam.")
    return list(found.values())


def _meant(name: str, every: int) -> Iterator[Given]:
    path = Path(name)
    there = os.path.exists(path)  # says no to a name that no file can have, where pathlib raises
    if there and path.is_dir():
        yield from _in_folder(path, every)
    elif there and not path.is_file():
        yield Given(
            name, "nothing", 0, f"{name}: it is no plain file. Give the path of a picture, a video or a folder."
        )
    elif there:
        yield _file(path, every)
    elif name.isdigit() and len(name) <= 3:
        yield Given(name, "webcam", None)
    elif glob.has_magic(name):
        files = [Path(found) for found in sorted(glob.glob(name, recursive=True))]
        pictures = [path for path in files if _may_be_read(path) and not _written_by_us(path)]
        yield from (_file(path, every) for path in pictures)
        if not pictures:
            yield Given(name, "nothing", 0, f"{name}: no file has such a name.")
    else:
        yield Given(
            name, "nothing", 0, f"{name}: there is no such file. Give the path of a picture, a video or a folder."
        )


def _in_folder(folder: Path, every: int) -> Iterator[Given]:
    try:
        files = sorted(path for path in folder.iterdir() if _may_be_read(path))
    except OSError as error:
        yield Given(str(folder), "nothing", 0, f"{folder}: cannot be read ({error.strerror}).")
        return
    known = [path for path in files if path.suffix.lower() in (*STILL, *MOVING) and not _written_by_us(path)]
    if not known and any((folder / name).exists() for name in WEIGHTS):
        raise InputError(
            f"{folder} holds a run and no pictures. Name it with --run {folder}, and the pictures after it."
        )
    yield from (_file(path, every) for path in known)
    if not known:
        yield Given(str(folder), "nothing", 0, f"{folder}: no picture or video lies in this folder.")


def _may_be_read(path: Path) -> bool:
    """A plain file, or a link to one that is not there any more, which is told of and not passed over."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _written_by_us(path: Path) -> bool:
    return ".people" in path.suffixes and is_ours(path)


def _file(path: Path, every: int) -> Given:
    """A picture or a video, by its name; one whose name says nothing by whether it opens as a video."""
    suffix = path.suffix.lower()
    if not path.exists():
        return Given(
            str(path), "nothing", 0, f"{path}: it is a link to a file that is not there. Copy the file itself."
        )
    if suffix in STILL and suffix != ".gif":
        return Given(str(path), "picture")
    try:
        frames = frames_of(path)
    except InputError as error:
        return Given(str(path), "nothing", 0, str(error)) if suffix in MOVING else Given(str(path), "picture")
    if frames <= 1 and suffix not in MOVING:
        return Given(str(path), "picture")
    return Given(str(path), "video", -(-frames // every))


def frames_of(path: Path) -> int:
    """How many frames a video announces. Raises InputError for one that cannot be opened."""
    reader = open_video(path)
    reader.close()
    return reader.frames


def open_video(path: Path) -> VideoReader:
    """Raises InputError for a file that is empty, or that is no video which can be decoded here."""
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty. Copy it again.")
        return VideoReader(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except InputError as error:
        if "cannot be opened as a video" not in str(error):
            raise
        raise InputError(
            f"{path}: it cannot be opened as a video: it has no frames, is damaged or cut off, or its codec is not known "
            f"here. {CONVERT}"
        ) from error


def read_given(given: Sequence[Given], focal: float | None = None, every: int = 1) -> Iterator[Picture | Refusal]:
    """Every picture, in order. focal: px; None assumes one (`photograph_camera`)."""
    for one in given:
        if one.kind == "nothing":
            yield Refusal(one.name, one.reason)
            continue
        try:
            if one.kind == "picture":
                pixels = read_photograph(one.path)
                yield Picture(one.name, pixels, _camera(one.name, pixels, focal))
            else:
                yield from (_film if one.kind == "video" else _live)(one, focal, every)
        except InputError as error:
            yield Refusal(one.name, str(error))


def _camera(name: str, pixels: np.ndarray, focal: float | None) -> Camera:
    try:
        return photograph_camera(pixels.shape[1], pixels.shape[0], focal)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _film(given: Given, focal: float | None, every: int) -> Iterator[Picture | Refusal]:
    """Frames that cannot be decoded are told once for each stretch of them."""
    reader = open_video(given.path)
    missing: list[int] = []
    try:
        for frame in range(0, reader.frames, every):
            try:
                pixels = cv2.cvtColor(reader.read(frame), cv2.COLOR_BGR2RGB)
            except InputError:
                missing.append(frame)
                continue
            if missing:
                yield _stretch(given.name, missing, reader.frames, every)
                missing = []
            name = frame_path(given.name, frame)
            yield Picture(name, pixels, _camera(given.name, pixels, focal), frame, reader.time_s)
        if missing and _only_announced(given.path, missing[0], reader.frames):
            missing = []
        if missing:
            yield _stretch(given.name, missing, reader.frames, every)
    finally:
        reader.close()


def _only_announced(path: Path, first: int, frames: int) -> bool:
    """Whether a video ends before frame `first`, as long as it is: a container may announce some frames more than it has."""
    there = len(frame_times(path))
    return first >= there >= frames - max(2, frames // 50)


def _stretch(name: str, missing: list[int], frames: int, every: int) -> Refusal:
    first, last = missing[0], missing[-1]
    if first == 0 and last + every >= frames:
        reason = f"{name}: none of its {frames} frames can be decoded: it is damaged, or its codec is not known here. {CONVERT}"
        return Refusal(name, reason)
    which = f"frame {first}" if first == last else f"frames {first} to {last}"
    end = " The video is cut off there." if last + every >= frames and len(missing) > 1 else ""
    return Refusal(frame_path(name, first), f"{name}: {which} of {frames} cannot be decoded.{end}")


def _live(given: Given, focal: float | None, every: int) -> Iterator[Picture]:
    """What a webcam sees, until it is taken away."""
    capture = cv2.VideoCapture(int(given.name))
    if not capture.isOpened():
        raise InputError(
            f"there is no webcam {given.name} that can be opened. Plug it in, or name another; the first one is 0."
        )
    frame, start = 0, cv2.getTickCount()
    try:
        while capture.grab():
            there, seen = capture.retrieve() if frame % every == 0 else (False, None)
            if there and seen is not None:  # a frame that a camera garbles is passed over
                pixels = cv2.cvtColor(seen, cv2.COLOR_BGR2RGB)
                time_s = (cv2.getTickCount() - start) / cv2.getTickFrequency()
                name = f"webcam {given.name}"
                yield Picture(frame_path(name, frame), pixels, _camera(name, pixels, focal), frame, time_s)
            frame += 1
    finally:
        capture.release()
