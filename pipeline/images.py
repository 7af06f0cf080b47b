"""Images of a source: files on disk and frames of videos, both named by a path relative to the source's root.

A video frame is named "FILE#frame=N" (N from 0); "FILE#upright" is an image turned as its orientation flag says. Any
other image is read as it is stored. Open videos are kept for the process, so that frames asked for in order are decoded
once; a step back or a long step forward seeks.
"""

import os
import re
from collections import OrderedDict
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from pipeline.errors import InputError, refuse_pipe
from pipeline.image_header import TIFF_MARKS, Header, read_header

# Images that announce more are not decoded: 0.8 GB as pixels. The largest photographs of phones have 200 million.
MOST_PIXELS = 1 << 28
# OpenCV holds the pixels of a GIF several times over while it reads it.
GIF_MARK, MOST_OF_GIF = b"GIF", MOST_PIXELS // 4
# An instant of Human3.6M has 4 views; a few more, so that neighbouring sequences do not close each other's files.
OPEN_VIDEOS = 8
# Decoding this many frames forward costs about as much as a seek, which decodes from the last key frame.
LONGEST_STEP = 48
# A frame of a video; Python does not read numbers of thousands of digits.
_FRAME = re.compile(r"^(.+)#frame=0*(\d{1,9})$")
UPRIGHT = "#upright"
# Bytes of a file's name at most, on every common file system.
LONGEST_NAME = 255
# Orientation flags of pictures that are stored mirrored, and of those whose width and height change places.
MIRRORED, SIDEWAYS = (2, 4, 5, 7), (5, 6, 7, 8)
# Degrees by which a video's header has its frames turned -> the orientation flag of a picture that says the same.
_FLAGS = {90: 6, 180: 3, 270: 8}


def resolve(root: Path, image_path: str) -> Path:
    """The file that a path of an annotation names; InputError when it would leave `root`. Links inside `root` may
    point anywhere."""
    pure = PurePosixPath(image_path)
    if not image_path or pure.is_absolute() or ".." in pure.parts or "\\" in image_path or "\0" in image_path:
        raise InputError(
            f"The image path {image_path!r} leads out of the dataset's folder {root}. Paths in annotations are "
            "relative to that folder and may not contain '..'; correct the annotation."
        )
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in pure.parts):
        raise InputError(
            f"The image path {image_path[:100]!r}... has a part of more than {LONGEST_NAME} bytes, which no file can be called. "
            "Correct the annotation."
        )
    return Path(root) / pure


def split_frame(image_path: str) -> tuple[str, int | None]:
    """'FILE#frame=N' -> ('FILE', N); any other path -> (path, None)."""
    match = _FRAME.match(image_path)
    return (match[1], int(match[2])) if match else (image_path, None)


def frame_path(video: str, frame: int) -> str:
    """The name of one frame of a video, the inverse of `split_frame`."""
    return f"{video}#frame={frame}"


def upright_path(image_path: str) -> str:
    """The name of an image file that is to be turned upright."""
    return image_path + UPRIGHT


def image_file(image_path: str) -> str:
    """The file of an image or a video frame, without what is behind its '#'."""
    return split_frame(image_path.removesuffix(UPRIGHT))[0]


def read_image(root: Path, image_path: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB, as stored unless the path says upright (annotations count stored pixels).

    size: (width, height) that the image must have. Raises InputError naming the file when it is missing, unreadable,
    larger than MOST_PIXELS, of another size, or outside of `root`.
    """
    file_name, frame = split_frame(image_path.removesuffix(UPRIGHT))
    path = resolve(root, file_name)
    orientation = 1
    if frame is not None:
        image = cv2.cvtColor(read_video_frame(path, frame), cv2.COLOR_BGR2RGB)
    else:
        header, image = _read_file(path)
        orientation = header.orientation
    if image_path.endswith(UPRIGHT):
        image = turn_image(image, orientation)
    height, width = image.shape[:2]
    if size is not None and (width, height) != tuple(size):
        flag = f" Its orientation flag is {orientation}." if orientation in SIDEWAYS else ""
        raise InputError(
            f"The image {path} has {width} x {height} pixels, its annotation says {size[0]} x {size[1]}.{flag} Use the "
            "images that the annotation was made for."
        )
    return image


def turn_image(image: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (H, W, 3) -> those that stand upright, by EXIF's orientation."""
    if orientation in SIDEWAYS:
        image = np.swapaxes(image, 0, 1)  # now rows are columns: 5 is done, 6 lacks a mirror in x, 8 one in y, 7 both
    mirror_x, mirror_y = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return np.ascontiguousarray(image[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1])


def turn_points(points: np.ndarray, orientation: int, width: int, height: int) -> np.ndarray:
    """(..., 2) stored pixels of an image of width x height -> the same places in the upright image."""
    x, y = points[..., 0], points[..., 1]
    if orientation in SIDEWAYS:
        x, y, width, height = y, x, height, width
    x = width - 1 - x if orientation in (2, 3, 6, 7) else x
    y = height - 1 - y if orientation in (3, 4, 7, 8) else y
    return np.stack([x, y], -1)


def _read_file(path: Path) -> tuple[Header, np.ndarray]:
    """What the file announces, and its stored pixels (H, W, 3) RGB. Whatever a decoder raises is an InputError."""
    header = _header(path)
    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    except OSError as error:
        raise InputError(f"The image {path} cannot be read ({error.strerror}).") from None
    except (cv2.error, MemoryError) as error:
        what = str(error).split("error: ")[-1].strip() or "out of memory"
        raise InputError(f"The image {path} cannot be decoded ({what}). Fetch it again.") from None
    if image is None:
        raise InputError(f"The image {path} cannot be decoded ({data.size} bytes). Fetch it again.")
    if image.ndim != 3 or image.dtype != np.uint8:  # OpenCV gives grey PFM files as they are
        raise InputError(f"The image {path} has pixels of {image.dtype} {image.shape}. Save it as JPEG or PNG.")
    if header is not None and data[:4].tobytes() in TIFF_MARKS:  # OpenCV turns those whatever it is told: turn it back
        image = turn_image(image, {6: 8, 8: 6}.get(header.orientation, header.orientation))
    return header or Header(image.shape[1], image.shape[0]), image


def most_pixels(head: bytes) -> int:
    """How many are decoded of a file that begins so."""
    return MOST_OF_GIF if head.startswith(GIF_MARK) else MOST_PIXELS


def _header(path: Path) -> Header | None:
    """What the file announces, None where its kind has no header that is known. InputError for more pixels than are decoded."""
    refuse_pipe(path)
    try:
        with open(path, "rb") as file:
            header = read_header(file)
            file.seek(0)
            most = most_pixels(file.read(len(GIF_MARK)))
    except FileNotFoundError:
        raise InputError(
            f"The image {path} does not exist. Complete the download, or run `nvf-cli check-data` to list gaps."
        ) from None
    except OSError as error:
        raise InputError(f"The image {path} cannot be read ({error.strerror}).") from None
    refuse_large(path, header, most)
    return header


def refuse_large(path: Path, header: Header | None, most: int) -> None:
    """Raises InputError, before anything is decoded, for a picture or an animation that announces more than `most` pixels."""
    if header is not None and header.width * header.height > most:
        raise InputError(
            f"The image {path} announces {header.width} x {header.height} pixels, more than {most} in all. It is damaged, or must "
            "be made smaller first."
        )


def image_size(path: Path) -> Header:
    """Size of the stored pixels and orientation of an image file, from its header where that is known. Raises
    InputError naming the file."""
    header = _header(path)
    if header is None or header.width < 1 or header.height < 1:
        height, width = _read_file(path)[1].shape[:2]
        return Header(width, height)
    return header


class VideoReader:
    """Frames of one video by number, (H, W, 3) uint8 BGR, upright. Fast for frames in order.

    orientation: the flag by which they were turned from how they are stored, 1 where they were not.

    Frame N is the N-th of the file. A decoder may leave out a damaged frame in silence; the time of what it gives says so, since
    the file itself knows when every frame is shown.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        if not os.path.exists(self.path):  # says no to a name that no file can have, where pathlib raises
            raise InputError(
                f"The video {path} does not exist. Complete the download, or run `nvf-cli check-data` to list gaps."
            )
        # A picture under a video's name would be decoded whole to see what it is.
        _header(self.path)
        self._open()
        self._shown: tuple[int, np.ndarray] | None = None
        # When each frame is shown, ms; looked up where frames do not follow one another at the announced rate.
        self._times: np.ndarray | None = None
        self._rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        if self._capture.isOpened() and not self.frames:  # a recording that was streamed does not announce them
            self.frames = len(frame_times(self.path))
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.orientation = _FLAGS.get(int(self._capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360, 1)
        if not self._capture.isOpened() or not self.frames:
            raise InputError(f"The video {path} cannot be opened as a video. Fetch it again.")

    def _open(self) -> None:
        # One decoding thread: a pipeline has a worker on every core already.
        self._capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        self._next = 0

    def read(self, frame: int) -> np.ndarray:
        """Frame `frame`; InputError past the end of the video or where it is damaged."""
        if self._shown is not None and self._shown[0] == frame:
            return self._shown[1]
        regular = self._times is None
        self._go_near(frame)
        found = self._advance(frame)
        if regular and self._times is not None and found != frame:
            self._go_near(frame)  # the seek went by the announced rate, which the video does not keep
            found = self._advance(frame)
        image = self._capture.retrieve()[1] if found is not None else None
        if found is not None and image is not None:
            self._shown = (found, image)
        if found != frame or image is None:
            raise InputError(
                f"The video {self.path} has no readable frame {frame} (it announces {self.frames} frames)."
            )
        return image

    def _go_near(self, frame: int) -> None:
        """To where `frame` is one of the next. A video of irregular times is decoded from its start: seeks go by times."""
        if self._times is not None:
            if frame < self._next:
                self._capture.release()
                self._open()
        elif not self._next <= frame <= self._next + LONGEST_STEP:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
            self._next = frame

    def _advance(self, frame: int) -> int | None:
        """Grabs up to `frame`: the number of what was grabbed last, a later one where `frame` is damaged; None for nothing."""
        found = None
        while self._next <= frame:
            grabbed = self._capture.grab()
            if not grabbed and self._next >= self.frames:
                return None
            found = self._number() if grabbed else None
            self._next = self._next + 1 if found is None else found + 1
        return found

    def _number(self) -> int:
        """The number of the frame that was just grabbed."""
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if self._times is None and not abs(time * self._rate / 1000 - self._next) < 0.5:
            self._times = frame_times(self.path)
        if self._times is None:
            return self._next
        nearest = int(np.abs(self._times - time).argmin()) if len(self._times) else 0
        known = len(self._times) > nearest and abs(self._times[nearest] - time) < 1
        return nearest if known and nearest >= self._next else self._next

    @property
    def time_s(self) -> float:
        """When the frame that was read last is shown, seconds from the beginning of the video."""
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000

    def close(self) -> None:
        self._capture.release()


def frame_times(path: Path) -> np.ndarray:
    """When the frames of a video are shown, ms, ascending, from the file without decoding it; empty where it does not say."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    times = []
    while capture.isOpened() and capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    capture.release()
    return np.sort(np.array(times, float))


class OpenVideos:
    """The videos that a process has open, at most `most`; the least recently used one is closed for another."""

    def __init__(self, most: int):
        self.most = most
        self.readers: OrderedDict[Path, VideoReader] = OrderedDict()

    def read(self, path: Path, frame: int) -> np.ndarray:
        reader = self.readers.pop(path, None) or VideoReader(path)
        self.readers[path] = reader
        if len(self.readers) > self.most:
            self.readers.popitem(last=False)[1].close()
        return reader.read(frame)

    def forget(self) -> None:
        """Leaves the open files to the parent of a fork, which shares them."""
        self.readers.clear()


_videos = OpenVideos(OPEN_VIDEOS)
os.register_at_fork(after_in_child=_videos.forget)


def read_video_frame(path: Path, frame: int) -> np.ndarray:
    """One frame, (H, W, 3) uint8 BGR, through the process's open videos."""
    return _videos.read(path, frame)
