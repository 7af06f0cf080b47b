"""Files of any kind, made wrong byte by byte, or replaced by something else."""

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks._mutations.base import Canary, Rng


def flip(path: Path, rng: Rng) -> str:
    data = bytearray(path.read_bytes() or b"\0")
    spots = [rng.randrange(len(data) if rng.random() < 0.5 else min(len(data), 1024)) for _ in range(rng.randint(1, 8))]
    for spot in spots:
        data[spot] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"bits of bytes {spots}"


def overwrite(path: Path, rng: Rng) -> str:
    data = bytearray(path.read_bytes())
    start, length = rng.randrange(max(1, len(data))), rng.choice((1, 2, 4, 8, 64))
    data[start : start + length] = rng.choice((b"\xff" * length, b"\0" * length, rng.randbytes(length)))
    path.write_bytes(data)
    return f"{length} bytes at {start}"


def cut(path: Path, rng: Rng) -> str:
    data = path.read_bytes()
    length = rng.choice((0, 1, 7, len(data) // 2, max(0, len(data) - 1), rng.randrange(len(data) + 1)))
    path.write_bytes(data[:length])
    return f"{length} of {len(data)} bytes"


def splice(path: Path, rng: Rng) -> str:
    data = path.read_bytes()
    a, b, at = sorted(rng.randrange(len(data) + 1) for _ in range(2)) + [rng.randrange(len(data) + 1)]
    if rng.random() < 0.5:
        path.write_bytes(data[:a] + data[b:])
        return f"without {a}..{b}"
    path.write_bytes(data[:at] + data[a : min(b, a + 4096)] + data[at:])
    return f"{a}..{b} again at {at}"


def something_else(path: Path, rng: Rng) -> str:
    contents = {
        "nothing": b"",
        "zeros": bytes(4096),
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "a pickle": pickle.dumps(Canary()),
        "json": b'{"people": []}',
        "a list": b"[]",
        "png": cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes(),
        "hdf5 head": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    }
    name = rng.choice(list(contents))
    path.write_bytes(contents[name])
    return name


def no_file(path: Path, rng: Rng) -> str:
    path.unlink()
    what = rng.choice(("gone", "a folder", "a broken link", "a link to itself"))
    if what == "a folder":
        path.mkdir()
    elif what != "gone":
        path.symlink_to(path.name if "itself" in what else "nowhere")
    return what


BYTES: list[Callable[[Path, Rng], str]] = [flip, flip, overwrite, overwrite, cut, splice, something_else, no_file]
