"""What an image file announces before it is decoded: its size, and how it must be turned to stand upright.

Read from the headers of JPEG, PNG, WebP, TIFF, GIF and BMP. The orientation is EXIF's tag 0x0112, 1 to 8.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

TIFF_MARKS = (b"II*\0", b"MM\0*")
_ORIENTATION, _WIDTH, _HEIGHT = 0x0112, 0x0100, 0x0101
# A file whose metadata are larger is not looked through any further.
_MOST_CHUNKS, _MOST_BYTES = 4096, 1 << 20


@dataclass(frozen=True)
class Header:
    """width, height: of the stored pixels. orientation: EXIF's number, 1 where they stand upright."""

    width: int
    height: int
    orientation: int = 1


def read_header(file: BinaryIO) -> Header | None:
    """The header of an open file; None where it is of another kind, or cut."""
    head = file.read(32)
    file.seek(0)
    try:
        if head[:2] == b"\xff\xd8":
            return _jpeg(file)
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(file)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _webp(file)
        if head[:4] in TIFF_MARKS:
            return _tiff(file)
        if head[:6] in (b"GIF87a", b"GIF89a"):
            return Header(*struct.unpack("<HH", head[6:10]))
        if head[:2] == b"BM":
            width, height = struct.unpack("<ii", head[18:26])
            return Header(width, abs(height))  # a negative height means rows from the top
    except (struct.error, IndexError, OSError, ValueError):
        pass
    return None


def _jpeg(file: BinaryIO) -> Header | None:
    """Walks the segments to the frame header."""
    orientation = None  # of the first EXIF segment, as viewers take it
    file.seek(2)
    for _ in range(_MOST_CHUNKS):
        start, kind = file.read(2)
        if start != 0xFF:
            return None
        while kind == 0xFF:  # bytes that fill
            (kind,) = file.read(1)
        (length,) = struct.unpack(">H", file.read(2))
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">xHH", file.read(5))
            return Header(width, height, orientation or 1)
        body = file.read(length - 2)
        if kind == 0xE1 and body[:6] == b"Exif\0\0" and orientation is None:
            orientation = _exif(body[6:])
    return None


def _png(file: BinaryIO) -> Header:
    file.seek(16)
    width, height = struct.unpack(">II", file.read(8))
    file.seek(8)
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf" and length < _MOST_BYTES:
            return Header(width, height, _exif(file.read(length)))
        if kind in (b"tEXt", b"zTXt") and length < _MOST_BYTES:
            profile = _profile(kind, file.read(length))
            if profile is not None:
                return Header(width, height, _exif(profile))
            file.seek(-length, 1)
        file.seek(length + 4, 1)
    return Header(width, height)


def _profile(kind: bytes, text: bytes) -> bytes | None:
    """The EXIF that programs wrote into a PNG's text before it had a chunk for it: a name, a length, and hexadecimal digits. None for
    other text."""
    keyword, _, value = text.partition(b"\0")
    if keyword.lower() not in (b"raw profile type exif", b"raw profile type app1"):
        return None
    try:
        said = zlib.decompressobj().decompress(value[1:], 2 * _MOST_BYTES) if kind == b"zTXt" else value
        return bytes.fromhex(b"".join(said.split()[2:]).decode("ascii")).removeprefix(b"Exif\0\0")
    except (zlib.error, ValueError):
        return None


def _webp(file: BinaryIO) -> Header | None:
    size, orientation = None, 1
    file.seek(12)
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        kind, length = struct.unpack("<4sI", head)
        padded = length + length % 2
        body = file.read(min(padded, 10))
        if kind == b"VP8X":
            width, height = (int.from_bytes(body[k : k + 3], "little") + 1 for k in (4, 7))
            size = width, height
        elif kind == b"VP8 " and size is None:
            width, height = struct.unpack("<HH", body[6:10])
            size = width & 0x3FFF, height & 0x3FFF
        elif kind == b"VP8L" and size is None:
            bits = int.from_bytes(body[1:5], "little")
            size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"EXIF" and length < _MOST_BYTES:
            body += file.read(padded - len(body))
            orientation = _exif(body.removeprefix(b"Exif\0\0"))
        file.seek(max(0, padded - len(body)), 1)
    return None if size is None else Header(*size, orientation)


def _tiff(file: BinaryIO) -> Header | None:
    order = {b"II": "<", b"MM": ">"}[file.read(8)[:2]]
    file.seek(4)
    (start,) = struct.unpack(order + "I", file.read(4))
    file.seek(start)
    tags = _directory(file.read(2 + 12 * 512), order)
    if _WIDTH not in tags or _HEIGHT not in tags:
        return None
    return Header(tags[_WIDTH], tags[_HEIGHT], _known(tags.get(_ORIENTATION, 1)))


def _exif(tiff: bytes) -> int:
    """The orientation in a TIFF header's first directory, 1 where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack(order + "I", tiff[4:8])
    return _known(_directory(tiff[start:], order).get(_ORIENTATION, 1))


def _directory(data: bytes, order: str) -> dict[int, int]:
    """Tag -> its number, of those entries that hold one short or long number."""
    tags: dict[int, int] = {}
    count = struct.unpack(order + "H", data[:2])[0] if len(data) >= 2 else 0
    for k in range(min(count, (len(data) - 2) // 12)):
        tag, kind = struct.unpack(order + "HH", data[2 + 12 * k : 6 + 12 * k])
        value = data[10 + 12 * k : 14 + 12 * k]
        if kind in (3, 4):
            tags[tag] = struct.unpack(order + "H", value[:2])[0] if kind == 3 else struct.unpack(order + "I", value)[0]
    return tags


def _known(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1
