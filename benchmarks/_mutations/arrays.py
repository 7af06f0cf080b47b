"""Arrays made wrong in their values or their headers: npy, npz and safetensors."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np

from benchmarks._mutations.base import Rng, change_array, change_tree


def npy_bytes(values: np.ndarray, rng: Rng) -> tuple[bytes, str]:
    """An .npy file of the array, changed as array or in its header."""
    if rng.random() < 0.5:
        values, said = change_array(values, rng)
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=True)
        return buffer.getvalue(), said
    headers = {
        "huge": "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}",
        "negative": "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "code": "{'descr': __import__('os').system('true'), 'shape': ()}",
        "no header": "(((((",
        "nested": "(" * 3000 + ")" * 3000,
        "fields": "{'descr': [('a', '<f4'), ('b', '|S9')], 'fortran_order': False, 'shape': (2,)}",
        "wide text": "{'descr': '|S2000000000', 'fortran_order': False, 'shape': (3,)}",
    }
    name = rng.choice(list(headers))
    header = headers[name].encode() + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(64), name


def npy_file(path: Path, rng: Rng) -> str:
    data, said = npy_bytes(np.load(path), rng)
    path.write_bytes(data)
    return said


def npz_member(path: Path, rng: Rng) -> str:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    what = rng.choice(("changed", "changed", "changed", "gone", "renamed", "raw"))
    if what == "changed":
        members[name], what = npy_bytes(np.load(io.BytesIO(members[name]), allow_pickle=True), rng)
    else:
        data = members.pop(name)
        if what != "gone":
            members[f"../{name}" if what == "renamed" else name.removesuffix(".npy")] = data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return f"{name}: {what}"


def safetensors_head(path: Path, rng: Rng) -> str:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    record = json.loads(head["__metadata__"]["record"])
    where = rng.choice(("record", "record", "record", "head", "length", "text"))
    said = where
    if where == "record":
        said = change_tree(record, rng)
        head["__metadata__"]["record"] = json.dumps(record)
    elif where == "head":
        said = change_tree(head, rng)
    elif where == "text":
        head["__metadata__"]["record"] = rng.choice(("", "[]", "3", "{", "9" * 5000, "[" * 100_000, "null"))
    text = json.dumps(head).encode()
    length = rng.choice((1 << 62, 0, len(text) + 1, 1 << 31)) if where == "length" else len(text)
    path.write_bytes(struct.pack("<Q", length) + text + rest)
    return said
