"""Reads a photograph as people see it: upright, with three channels of eight bits, and on white where it is transparent."""

import math
from pathlib import Path

import cv2
import numpy as np

from pipeline.camera import assumed_camera
from pipeline.errors import InputError
from pipeline.image_header import TIFF_MARKS, Header, read_header
from pipeline.images import MOST_PIXELS, most_pixels, refuse_large, turn_image
from pipeline.records import Camera

# Focal lengths that a lens can have, in diagonals of the image.
FOCAL_RANGE = (0.05, 100.0)
KINDS = "JPEG, PNG, WebP, TIFF or BMP"
# Bytes of a file that tell whether it is transparent. Such a picture takes up to eight bytes a pixel while it is read, another three.
HEAD, MOST_TRANSPARENT = 4096, MOST_PIXELS // 4
# Of files that other programs read, by what they begin with.
OTHERS = {b"%PDF": "a PDF", b"8BPS": "a Photoshop file", b"PK\x03\x04": "an archive", b"\x1f\x8b": "an archive"}
_HEIF = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def read_photograph(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright. Raises InputError naming the file."""
    header, head = _header(path)
    most = most_pixels(head)
    refuse_large(path, header, min(most, MOST_TRANSPARENT) if may_be_transparent(head) else most)
    try:
        data = np.fromfile(path, np.uint8)
        image = _decoded(data) if data.size else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give the path of a picture.") from error
    except (cv2.error, MemoryError):
        image = None
    if image is None or image.ndim != 3 or image.dtype != np.uint8:
        raise InputError(f"{path}: {_why_not(data[:16].tobytes(), header, image)}")
    if header is None or data[:4].tobytes() in TIFF_MARKS:  # OpenCV turns TIFF files by itself
        return image
    return turn_image(image, header.orientation)


def _header(path: Path) -> tuple[Header | None, bytes]:
    """And the beginning of the file."""
    try:
        with open(path, "rb") as file:
            header = read_header(file)
            file.seek(0)
            return header, file.read(HEAD)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give the path of a picture.") from error


def _decoded(data: np.ndarray) -> np.ndarray | None:
    if may_be_transparent(data[:HEAD].tobytes()):
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if image is not None and image.ndim == 3 and image.shape[2] == 4:
            return _on_white(image)
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def may_be_transparent(head: bytes) -> bool:
    """Whether the beginning of a PNG or WebP file announces it."""
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) > 25:
        return head[25] in (4, 6) or b"tRNS" in head
    return head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 0x10) or head[8:16] == b"WEBPVP8L"


def _on_white(image: np.ndarray) -> np.ndarray:
    """(H, W, 4) blue, green, red, opacity -> (H, W, 3) RGB, uint8."""
    most = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1.0
    out = np.empty((*image.shape[:2], 3), np.uint8)
    for rows in range(0, len(image), 256):  # a whole picture of floats would be four times as large
        part = image[rows : rows + 256].astype(np.float32) / most
        opacity = part[..., 3:]
        out[rows : rows + 256] = np.round(255 * (part[..., 2::-1] * opacity + 1 - opacity))
    return out


def _why_not(head: bytes, header: Header | None, image: np.ndarray | None) -> str:
    """What is wrong with a file that gives no picture, by its first bytes, and what to do."""
    if not head:
        return "the file is empty. Copy it again."
    if image is not None:
        return f"its pixels are {image.dtype}. Save it as JPEG or PNG."
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return "HEIC pictures are not read. Save it as JPEG (phones: Settings, Camera, Most Compatible)."
    for start, kind in OTHERS.items():
        if head.startswith(start):
            return f"it is {kind}, not a picture. Give {KINDS}."
    if head[:4] in TIFF_MARKS:
        return (
            "it is cut off or damaged, or a kind of TIFF that is not read, of floating point numbers for example. Copy it again, "
            "or save it as JPEG or PNG."
        )
    if header is not None:
        return "it is cut off or damaged: its pixels cannot be decoded. Copy it again."
    return f"not an image that can be decoded. Give {KINDS}."


def photograph_camera(width: int, height: int, focal: float | None) -> Camera:
    """A pinhole at the image's centre; without a focal length the image's diagonal, as everywhere a camera is assumed.

    Raises InputError for a focal length that no lens has.
    """
    diagonal = math.hypot(width, height)
    f = diagonal if focal is None else focal
    least, most = (part * diagonal for part in FOCAL_RANGE)
    if not least <= f <= most:
        raise InputError(
            f"--focal {f:g}: for an image of {width} x {height} px it is between {least:.0f} and {most:.0f} px. Give it in pixels, "
            "or leave it out."
        )
    return assumed_camera(width, height, focal)
