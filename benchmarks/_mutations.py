"""Files made wrong in one place: `mutate` changes a file as its kind allows, or its bytes, and says how."""

import copy
import io
import json
import os
import pickle
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

Rng = random.Random
# What a pickle that is opened leaves behind. Every pickle made here asks for it.
CANARY = "NVF_FUZZ_CANARY"
# In place of any value: other types, and numbers at the ends of what types hold.
VALUES: list[Any] = [
    None, True, False, "", "x", "../../../etc/passwd", "/etc/passwd", "a\0b", "\ud800", "x" * 5000, 0, -1, 1, 2**31, 2**53 + 1, 2**63,
    -(2**63) - 1, 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), -float("inf"), [], {}, [[]],
    [None], {"": {}}, list(range(100)), [0.0] * 51, [1e9] * 75, [[1, 2], [3]], {"id": 1}, "nan", "1e5", "1",
]  # fmt: skip


class Canary:
    """Runs a command when it is unpickled, as a crafted file would."""

    def __reduce__(self) -> tuple:
        return os.system, (f'touch "${CANARY}"',)


def mutate(path: Path, rng: Rng) -> str:
    """Changes the file in place (or puts something else there); says how."""
    kinds = KINDS.get(path.suffix.lower(), [])
    change = rng.choice(kinds if kinds and rng.random() < 0.75 else BYTES)
    try:
        said = change(path, rng)
    except Exception as error:  # a file that cannot be changed so, for instance because it was changed already
        said = f"({type(error).__name__}) {flip(path, rng)}" if path.is_file() else ""
    return f"{change.__name__}: {said}" if said else change.__name__


# --- bytes -----------------------------------------------------------------------------------------------------------


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


# --- trees: JSON, pickles, records -----------------------------------------------------------------------------------


def change_tree(tree: Any, rng: Rng) -> str:
    """One value of nested containers is made another, taken out, doubled or moved; says where."""
    parent, key, where = None, None, ""
    node = tree
    while isinstance(node, dict | list) and node and (parent is None or rng.random() < 0.85):
        parent, key = node, rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        where, node = f"{where}/{str(key)[:40]}", node[key]
    if parent is None:
        return "nothing"
    what = rng.choice(("value", "value", "value", "gone", "twice", "number", "renamed"))
    if what == "gone":
        del parent[key]
    elif what == "twice" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(node))
    elif what == "renamed" and isinstance(parent, dict):
        parent[rng.choice((f"{key}_", "", str(key).upper(), "-1", "99"))] = parent.pop(key)
    elif what == "number" and isinstance(node, int | float) and not isinstance(node, bool):
        parent[key] = node * rng.choice((-1, 0, 0.001, 1000, 1e12, 2, 0.5)) + rng.choice((0, 1, -1, 1e6))
    elif what == "number" and isinstance(node, np.ndarray):
        parent[key], what = change_array(node, rng)
    else:
        parent[key] = copy.deepcopy(rng.choice(VALUES))
        what = f"{what} {str(parent[key])[:30]}"
    return f"{where}: {what}"


def change_array(values: np.ndarray, rng: Rng) -> tuple[np.ndarray, str]:
    """The array with another type, shape or content; says which."""
    flat = values.reshape(-1)
    spot = rng.randrange(len(flat)) if len(flat) else 0
    special = rng.choice((np.nan, np.inf, -1, 1e30, 0, 2**31, 65535))

    def poked() -> np.ndarray:
        out = values.astype(float) if values.dtype.kind in "fiub" else values.copy()
        out.reshape(-1)[spot : spot + 1] = special if out.dtype.kind == "f" else b"\xff\0x"
        with np.errstate(invalid="ignore"):
            return out.astype(values.dtype)

    changes: dict[str, Callable[[], np.ndarray]] = {
        f"[{spot}] = {special}": poked,
        "float16": lambda: values.astype(np.float16),
        "text": lambda: values.astype("S8"),
        "complex": lambda: values.astype(complex),
        "objects": lambda: np.array([Canary()], object),
        "empty": lambda: values[:0],
        "one row more": lambda: np.concatenate([values, values[:1]]),
        "one row less": lambda: values[1:],
        "scalar": lambda: np.array(7),
        "flat": lambda: flat.copy(),
        "one more axis": lambda: values[None],
        "reversed": lambda: values[::-1].copy(),
        "times 1000": lambda: values * values.dtype.type(100),
    }
    name = rng.choice(list(changes))
    return changes[name](), name


def json_value(path: Path, rng: Rng) -> str:
    tree = json.loads(path.read_text())
    said = "; ".join(change_tree(tree, rng) for _ in range(rng.choice((1, 1, 1, 3))))
    path.write_text(json.dumps(tree))
    return said


def json_text(path: Path, rng: Rng) -> str:
    text = path.read_text()
    number = re.compile(r"-?\d+(\.\d+)?")
    spots = [match.span() for match in number.finditer(text)] or [(0, 0)]
    a, b = rng.choice(spots)
    changes: dict[str, bytes] = {
        "BOM": b"\xef\xbb\xbf" + text.encode(),
        "UTF-16": text.encode("utf-16"),
        "UTF-32": text.encode("utf-32"),
        "CRLF": text.replace(",", ",\r\n").encode(),
        "latin-1": text.replace('"', '"\xe4', 1).encode("latin-1"),
        "comma at the end": text.replace("}", ",}", 1).encode(),
        "comment": b"// comment\n" + text.encode(),
        "twice": 2 * text.encode(),
        "zero byte": text.encode() + b"\0",
        "nested": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "key twice": text.replace("{", '{"images": 1, "images": [], "people": 3, ', 1).encode(),
    } | {
        f"number {new[:12]}": (text[:a] + new + text[b:]).encode()
        for new in ("NaN", "Infinity", "-Infinity", "1e999999", "9" * 5000, "0x10", "1,5", "-", '"5"', "1e-999", "007")
    }
    name = rng.choice(list(changes))
    path.write_bytes(changes[name])
    return name


def pickle_value(path: Path, rng: Rng) -> str:
    tree = pickle.loads(path.read_bytes())
    said = change_tree(tree, rng)
    path.write_bytes(pickle.dumps(tree, rng.choice((0, 2, 4))))
    return said


def pickle_program(path: Path, rng: Rng) -> str:
    """Pickles that run something, or that ask for much memory."""
    size = struct.pack("<I", rng.choice((0x7FFFFFFF, 0x0FFFFFFF)))
    touch = f'touch "${CANARY}"'
    programs = {
        "canary": pickle.dumps({"genders": [Canary()]}, 2),
        "canary of protocol 0": pickle.dumps(Canary(), 0),
        "builtins": b"c__builtin__\neval\n(V1\ntR.",
        "numpy's own loader": b"cnumpy\nload\n(V/etc/passwd\ntR.",
        "inst": f"(S'{touch}'\nios\nsystem\n.".encode(),
        "obj": f"(cos\nsystem\nS'{touch}'\no.".encode(),
        "global behind dots": b"\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93\x8c\x01x\x85R.",
        "memo": b"\x80\x02Nr" + size + b".",
        "long text": b"\x80\x02X" + size + b"abc.",
        "long number": b"\x80\x02\x8b" + size + b"1.",
        "large array": b"\x80\x02cnumpy\nndarray\n\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85R.",
        "large dtype": b"\x80\x02cnumpy\ndtype\nX\x0a\x00\x00\x00S999999999\x85R.",
        "nested": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "persistent": b"Pos.system\n.",
        "extension": b"\x80\x02\x82\x01.",
    }
    name = rng.choice(list(programs))
    path.write_bytes(programs[name])
    return name


# --- XML, TOML -------------------------------------------------------------------------------------------------------


def xml_text(path: Path, rng: Rng) -> str:
    text = path.read_text()
    tags = [match.span() for match in re.finditer(r"<[^>]+>", text)] or [(0, 0)]
    words = [match.span() for match in re.finditer(r"(?<=>)[^<]+(?=<)", text)] or [(0, 0)]
    (a, b), (c, d) = rng.choice(tags), rng.choice(words)
    bomb = '<!DOCTYPE m [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {y} "{f"&{x};" * 10}">' for x, y in zip("abcdefgh", "bcdefghi", strict=True)
    )
    outside = '<!DOCTYPE m [<!ENTITY o SYSTEM "file:///etc/passwd">]>'
    changes = {
        "without a tag": text[:a] + text[b:],
        "a tag twice": text[:b] + text[a:b] + text[b:],
        "bomb": f"{bomb}]>{text[:c]}&i;{text[d:]}",
        "outside": f"{outside}{text[:c]}&o;{text[d:]}",
        "unknown encoding": f'<?xml version="1.0" encoding="klingon"?>{text}',
        "wide encoding": f'<?xml version="1.0" encoding="shift_jis"?>{text}',
        "nested": "<a>" * 50_000 + text + "</a>" * 50_000,
    } | {
        f"text {new[:12]}": text[:c] + new + text[d:]
        for new in (
            "",
            "NaN",
            "inf",
            "-1",
            "9" * 5000,
            "x",
            "S9",
            "\N{ARABIC-INDIC DIGIT TWO}",
            "\N{SUPERSCRIPT TWO}",
            "1e400",
            "../x",
        )
    }
    name = rng.choice(list(changes))
    path.write_text(changes[name])
    return name


def toml_text(path: Path, rng: Rng) -> str:
    lines = path.read_text().splitlines()
    new = rng.choice(
        (
            "inf",
            "nan",
            "-1",
            "0",
            "9" * 5000,
            "true",
            '"x"',
            "[]",
            "{}",
            "[1, 2]",
            "1e308",
            "1979-05-27",
            "'''a\n'''",
            "{kind = 3}",
        )
    )
    keys = (
        "crop_px",
        "steps",
        "kind",
        "channels",
        "seed",
        "workers",
        "minutes",
        "losses",
        "anchors",
        "encoder",
        "head",
    )
    changes = {
        "line": lambda k: [*lines[:k], lines[k].split("=")[0] + f"= {new}", *lines[k + 1 :]],
        "key": lambda k: [*lines[:k], f"{rng.choice(keys)} = {new}", *lines[k:]],
        "gone": lambda k: [*lines[:k], *lines[k + 1 :]],
        "twice": lambda k: [*lines[:k], lines[k], *lines[k:]],
        "nested": lambda k: [*lines, "a = " + "[" * 5000 + "]" * 5000],
        "table": lambda k: [
            *lines[:k],
            f"[{rng.choice(('network', 'network.head', 'x', 'train.train', 'augment'))}]",
            *lines[k:],
        ],
    }
    name = rng.choice(list(changes))
    path.write_text("\n".join(changes[name](rng.randrange(len(lines)))))
    return f"{name} {new[:12]}"


# --- arrays: npz, npy, safetensors -----------------------------------------------------------------------------------


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


# --- pictures --------------------------------------------------------------------------------------------------------


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


# --- HDF5 and CDF ----------------------------------------------------------------------------------------------------


def hdf5_part(path: Path, rng: Rng) -> str:
    """A dataset or an attribute is another, gone, or elsewhere."""
    import h5py

    with h5py.File(path, "a") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name, what = (
            rng.choice(names),
            rng.choice(("values", "values", "values", "attribute", "attribute", "place", "size")),
        )
        if what == "attribute":
            key = rng.choice(list(file.attrs))
            value = rng.choice(
                (None, "", "x", "[]", "{", "{}", 7, -1, 0, 2**40, np.nan, np.zeros(3), b"\xff\xfe", "9" * 5000)
            )
            del file.attrs[key]
            if value is not None:
                file.attrs[key] = value
            return f"{key} = {str(value)[:20]}"
        values = file[name][()]
        del file[name]
        if what == "values":
            changed, said = change_array(values, rng)
            file.create_dataset(name, data=changed.astype("S") if changed.dtype.kind == "O" else changed)
            return f"{name}: {said}"
        if what == "size":
            rows = rng.choice((10**4, 10**8, 10**12))
            file.create_dataset(name, (rows, *values.shape[1:]), values.dtype, chunks=(1, *values.shape[1:]))
            return f"{name}: {rows} rows that are not stored"
        where = rng.choice(("gone", "group", "link", "outside", "raw bytes outside"))
        if where == "group":
            file.create_group(name)
        elif where == "link":
            file[name] = h5py.SoftLink(f"/{name}")
        elif where == "outside":
            file[name] = h5py.ExternalLink("/etc/passwd", "/x")
        elif where == "raw bytes outside":
            file.create_dataset(name, values.shape, values.dtype, external=[("/etc/passwd", 0, max(1, values.nbytes))])
        return f"{name}: {where}"


def cdf_variable(path: Path, rng: Rng) -> str:
    from cdflib.cdfwrite import CDF

    values, said = change_array(np.zeros((1, 2, 96), np.float32) + rng.choice((1.0, 1e30, np.nan)), rng)
    kinds = {"f": 44, "i": 4, "S": 51, "c": 51}
    name = rng.choice(("Pose", "Pose", "Pose", "pose", ""))
    path.unlink()
    file = CDF(path, delete=True)
    shape = {
        "Variable": name,
        "Data_Type": kinds.get(values.dtype.kind, 44),
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(values.shape[1:]),
    }
    file.write_var(shape, var_data=values.astype(np.float32) if values.dtype.kind == "f" else values)
    file.close()
    return f"{name}: {said}"


def cdf_numbers(path: Path, rng: Rng) -> str:
    """One of the 64- or 32-bit numbers of its records, which are places and sizes."""
    data = bytearray(path.read_bytes())
    at, width = rng.randrange(min(len(data), 2000) // 4) * 4, rng.choice((4, 8))
    number = rng.choice((0, 1, 8, 320, len(data), len(data) - 8, 2**31 - 1, 2**32 - 1, 96, at))
    data[at : at + width] = number.to_bytes(width, "big")
    path.write_bytes(data)
    return f"{number} at {at}"


PICTURES = [picture_flavour, picture_flavour, picture_header]
KINDS: dict[str, list[Callable[[Path, Rng], str]]] = {
    ".json": [json_value, json_value, json_value, json_text],
    ".pkl": [pickle_value, pickle_value, pickle_program],
    ".xml": [xml_text],
    ".toml": [toml_text],
    ".npy": [npy_file],
    ".npz": [npz_member],
    ".safetensors": [safetensors_head],
    ".h5": [hdf5_part],
    ".cdf": [cdf_variable, cdf_numbers, cdf_numbers],
} | dict.fromkeys((".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"), PICTURES)
