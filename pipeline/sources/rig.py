"""One camera of several: its calibration, its pictures or video, and the keypoint file of each frame."""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.camera import from_opencv
from pipeline.errors import InputError
from pipeline.images import VideoReader, frame_path, image_size
from pipeline.plausible import odd_lens
from pipeline.records import Camera
from pipeline.sources.base import MISSING_IMAGE
from pipeline.sources.calibrations import Calibrated
from pipeline.sources.openpose import IMAGE_SUFFIXES, MOST_APART_PX, VIDEO_SUFFIXES, find_images, frame_number

# Codecs fill pictures up to whole blocks of so many pixels, right and below.
BLOCK = 16


@dataclass(frozen=True)
class Rig:
    """One camera as it was used. pictures: NAME -> file under images/CAM, or None for a video. camera: with the pictures' size.
    files: frame -> keypoint file, frames of the common clock."""

    name: str
    camera: Camera
    shift: int
    pictures: dict[str, str] | None
    video: str
    frames: int
    files: dict[int, Path]

    def image_path(self, frame: int) -> str:
        """Of a frame of the common clock. InputError when there is none."""
        own = frame + self.shift
        if self.pictures is None:
            if own >= self.frames:
                raise InputError(
                    f"{self.video}: the video has {self.frames} frames, the keypoints go to {own}; are their frames numbered from 0?"
                )
            return frame_path(self.video, own)
        name = self.files[frame].stem.removesuffix("_keypoints")
        if name not in self.pictures:
            raise InputError(f"images/{self.name}/{name}.*: {MISSING_IMAGE}")
        return f"images/{self.name}/{self.pictures[name]}"


def open_rig(root: Path, calibrated: Calibrated, shift: int, calibration: Path) -> Rig:
    """The camera's files under `root`. calibration: the file that has it. InputError names what is missing, or does not fit."""
    name = calibrated.name
    files = _keypoint_files(root / "keypoints" / name, shift)
    folder = root / "images" / name
    if folder.is_dir():
        pictures = find_images(folder)
        readable = [file for file in pictures.values() if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES]
        if not readable:
            raise InputError(f"{folder} has no picture.")
        header = image_size(folder / readable[0])
        return Rig(name, _camera(calibrated, header.width, header.height, calibration), shift, pictures, "", 0, files)
    there = sorted(path.name for path in (root / "videos").iterdir()) if (root / "videos").is_dir() else []
    videos = [file for file in there if os.path.splitext(file)[0] == name and file.lower().endswith(VIDEO_SUFFIXES)]
    if len(videos) != 1:
        raise InputError(
            f"{root} needs one of images/{name}/ and videos/{name}.mp4, and has {len(videos)}; videos/ holds "
            f"{', '.join(there[:6]) or 'nothing'}. Name each video as its camera."
        )
    reader = VideoReader(root / "videos" / videos[0])
    reader.close()
    camera = _camera(calibrated, reader.width, reader.height, calibration)
    return Rig(name, camera, shift, None, f"videos/{videos[0]}", reader.frames, files)


def _keypoint_files(folder: Path, shift: int) -> dict[int, Path]:
    """By frame of the common clock."""
    files: dict[int, Path] = {}
    for path in sorted(folder.glob("*.json")):
        number = frame_number(path.stem.removesuffix("_keypoints"))
        if number is None:
            raise InputError(f"{path} has no number of its frame in its name.")
        if number - shift in files:
            raise InputError(f"{path} has the frame of {files[number - shift].name}; number each once.")
        files[number - shift] = path
    if not files:
        raise InputError(f"{folder} has no keypoint files.")
    return files


def _camera(calibrated: Calibrated, width: int, height: int, path: Path) -> Camera:
    """The camera of pictures of this size; InputError naming the likely mistake when the calibration is of others."""
    name, K, size = calibrated.name, calibrated.K, calibrated.size
    if size is not None and not (0 <= size[0] - width < BLOCK and 0 <= size[1] - height < BLOCK):
        ratio = f"as if they were {width / size[0]:.2f} times as large"
        guess = "as if they were turned by 90 degrees" if size == (height, width) else ratio
        raise InputError(
            f"{path}: camera {name} was calibrated with {size[0]} x {size[1]} pixels, its pictures have {width} x {height}, "
            f"{guess}. Use pictures of the calibration's size, or calibrate again."
        )
    if not (0 < K[0, 2] < width and 0 < K[1, 2] < height):
        raise InputError(
            f"{path}: camera {name} has its centre at {K[0, 2]:.0f}, {K[1, 2]:.0f}, its pictures have {width} x {height} pixels: "
            "another image size, or K is in other units."
        )
    distortion, off = from_opencv(calibrated.lens, K, width, height)
    if off > MOST_APART_PX:
        raise InputError(
            f"{path}: the distortion of camera {name} is off by {off:.1f} pixels in the model used here; undistort the "
            "pictures and keypoints first."
        )
    camera = Camera(K, calibrated.R, calibrated.t, width, height, distortion)
    if problem := odd_lens(camera):
        raise InputError(f"{path}: camera {name}: {problem}. Calibrate it again, or undistort its pictures first.")
    return camera
