"""Pictures in other kinds of pixels and files, and PNGs that announce what is not there."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks._mutations.base import Rng


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture_flavour(path: Path, rng: Rng) -> str:
    """The same picture in another kind of pixels, or as another kind of file under the same name."""
    picture = Image.open(path).convert("RGB")
    mode = rng.choice(("L", "P", "RGBA", "LA", "1", "CMYK", "I;16", "F", "YCbCr", "LAB"))
    kind = rng.choice(("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "ICO", "TGA"))
    flag = rng.choice((None, 1, 3, 6, 8, 0, 9, 65535))
    exif = Image.Exif()
    if flag is not None:
        exif[0x0112] = flag
    image = (
        Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        if mode == "I;16"
        else picture.convert(mode)
    )
    several = (
        {"save_all": True, "append_images": [picture, picture]}
        if rng.random() < 0.3 and kind in ("PNG", "GIF", "WEBP", "TIFF")
        else {}
    )
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif, **several)
    path.write_bytes(buffer.getvalue())
    return f"{kind} {mode}, flag {flag}{', several' if several else ''}"


def picture_header(path: Path, rng: Rng) -> str:
    """A PNG whose header announces what is not there."""
    sizes = ((100_000, 100_000), (0, 10), (2**31 - 1, 1), (1, 2**31 - 1), (40_000, 6_000), (96, 96), (95, 97))
    width, height = rng.choice(sizes)
    depth, colour = rng.choice(((8, 2), (16, 6), (1, 3), (7, 9), (8, 3)))
    exif = (
        b"MM\0*"
        + struct.pack(">I", rng.choice((8, 2**32 - 1, 0)))
        + b"\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
        + bytes(4)
    )
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    parts += [chunk(b"eXIf", exif)] * rng.choice((0, 1, 3)) + [
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20)))
    ] * rng.choice((0, 1))
    parts += [chunk(b"IDAT", zlib.compress(bytes(rng.choice((10, 30_000))))), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return f"{width} x {height}, {depth} bits, colour {colour}"
