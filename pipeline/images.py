"""Images of a source: files on disk and frames of videos, both named by a path relative to the source's root.

A video frame is named "FILE#frame=N" (N from 0). Open videos are kept for the process, so that frames asked for in
order are decoded once; a step back or a long step forward seeks.
"""

import os
import re
import struct
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import cv2
import numpy as np

from pipeline.errors import InputError

# An instant of Human3.6M has 4 views; a few more, so that neighbouring sequences do not close each other's files.
OPEN_VIDEOS = 8
# Decoding this many frames forward costs about as much as a seek, which decodes from the last key frame.
LONGEST_STEP = 48
_FRAME = re.compile(r"^(.+)#frame=(\d+)$")


def resolve(root: Path, image_path: str) -> Path:
    """The file that a path of an annotation names; InputError when it would leave `root`. Links inside `root` may
    point anywhere."""
    pure = PurePosixPath(image_path)
    if not image_path or pure.is_absolute() or ".." in pure.parts or "\\" in image_path or "\0" in image_path:
        raise InputError(
            f"The image path {image_path!r} leads out of the dataset's folder {root}. Paths in annotations are "
            "relative to that folder and may not contain '..'; correct the annotation."
        )
    return Path(root) / pure


def split_frame(image_path: str) -> tuple[str, int | None]:
    """'FILE#frame=N' -> ('FILE', N); any other path -> (path, None)."""
    match = _FRAME.match(image_path)
    return (match[1], int(match[2])) if match else (image_path, None)


def frame_path(video: str, frame: int) -> str:
    """The name of one frame of a video, the inverse of `split_frame`."""
    return f"{video}#frame={frame}"


def read_image(root: Path, image_path: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB, as stored: an orientation tag is not applied (annotations count stored pixels).

    size: (width, height) that the image must have. Raises InputError naming the file when it is missing, unreadable,
    of another size, or outside of `root`.
    """
    file_name, frame = split_frame(image_path)
    path = resolve(root, file_name)
    image = _read_file(path) if frame is None else read_video_frame(path, frame)
    height, width = image.shape[:2]
    if size is not None and (width, height) != tuple(size):
        raise InputError(
            f"The image {path} has {width} x {height} pixels, its annotation says {size[0]} x {size[1]}. Use the "
            "images that the annotation was made for."
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_file(path: Path) -> np.ndarray:
    try:
        data = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise InputError(
            f"The image {path} does not exist. Complete the download, or run `nvf-cli check-data` to list gaps."
        ) from None
    except OSError as error:
        raise InputError(f"The image {path} cannot be read ({error.strerror}).") from None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    if image is None:
        raise InputError(f"The image {path} cannot be decoded ({data.size} bytes). Fetch it again.")
    return image


class VideoReader:
    """Frames of one video by number, (H, W, 3) uint8 BGR. Fast for frames in order."""

    def __init__(self, path: Path):
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(
                f"The video {path} does not exist. Complete the download, or run `nvf-cli check-data` to list gaps."
            )
        # One decoding thread: a pipeline has a worker on every core already.
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        self._next = 0
        self._shown: tuple[int, np.ndarray] | None = None
        self.frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if not self._capture.isOpened() or not self.frames:
            raise InputError(f"The video {path} cannot be opened as a video. Fetch it again.")

    def read(self, frame: int) -> np.ndarray:
        """Frame `frame`; InputError past the end of the video or where it is damaged."""
        if self._shown is not None and self._shown[0] == frame:
            return self._shown[1]
        if not self._next <= frame <= self._next + LONGEST_STEP:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
            self._next = frame
        grabbed = True
        while grabbed and self._next <= frame:
            grabbed = self._capture.grab()
            self._next += 1
        image = self._capture.retrieve()[1] if grabbed else None
        if image is None:
            raise InputError(
                f"The video {self.path} has no readable frame {frame} (it announces {self.frames} frames)."
            )
        self._shown = (frame, image)
        return image

    def close(self) -> None:
        self._capture.release()


_readers: OrderedDict[Path, VideoReader] = OrderedDict()
_owner = os.getpid()


def read_video_frame(path: Path, frame: int) -> np.ndarray:
    """One frame, (H, W, 3) uint8 BGR, through the process's open videos (the least recently used one is closed)."""
    global _owner
    if _owner != os.getpid():  # after a fork the open files are shared with the parent; leave them to it
        _readers.clear()
        _owner = os.getpid()
    reader = _readers.pop(path, None) or VideoReader(path)
    _readers[path] = reader
    if len(_readers) > OPEN_VIDEOS:
        _readers.popitem(last=False)[1].close()
    return reader.read(frame)


def image_size(path: Path) -> tuple[int, int, int]:
    """(width, height, orientation) of an image file, from its header where it is a JPEG or PNG. orientation is the
    EXIF tag, 1 for upright. Raises InputError naming the file."""
    try:
        with open(path, "rb") as file:
            head = file.read(24)
            if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 24:
                return *struct.unpack(">II", head[16:24]), 1
            if head[:2] == b"\xff\xd8":
                file.seek(2)
                found = _jpeg_size(file)
                if found is not None:
                    return found
    except FileNotFoundError:
        raise InputError(f"The image {path} does not exist.") from None
    except OSError as error:
        raise InputError(f"The image {path} cannot be read ({error.strerror}).") from None
    height, width = _read_file(path).shape[:2]
    return width, height, 1


def _jpeg_size(file: BinaryIO) -> tuple[int, int, int] | None:
    """Walks a JPEG's segments to the frame header. None where the file is not laid out as expected."""
    orientation = 1
    while True:
        marker = file.read(4)
        if len(marker) < 4 or marker[0] != 0xFF:
            return None
        kind, length = marker[1], struct.unpack(">H", marker[2:])[0]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            frame = file.read(5)
            if len(frame) < 5:
                return None
            height, width = struct.unpack(">HH", frame[1:])
            return width, height, orientation
        body = file.read(length - 2)
        if kind == 0xE1 and body[:6] == b"Exif\0\0":
            orientation = _exif_orientation(body[6:])


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory of a TIFF header, 1 where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 1
    start = struct.unpack(order + "I", tiff[4:8])[0]
    count = struct.unpack(order + "H", tiff[start : start + 2])[0] if start + 2 <= len(tiff) else 0
    for k in range(count):
        entry = tiff[start + 2 + 12 * k : start + 14 + 12 * k]
        if len(entry) == 12 and struct.unpack(order + "H", entry[:2])[0] == 0x0112:
            return struct.unpack(order + "H", entry[8:10])[0]
    return 1
