"""Opens a shard: an HDF5 file that this program can read, or a message that says why it cannot and what to do."""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import InputError, naming_damage
from pipeline.hdf5 import stored_columns
from pipeline.shards.format import COLUMNS, FORMAT, REQUIRED, VERSION
from pipeline.shards.schema import wrong_attributes, wrong_columns

# What a file's first bytes say about a file that is no shard, and what to do with it instead.
_PICTURE = "for a picture use `nvf-cli predict`"
_KNOWN_STARTS = {
    b"\xff\xd8\xff": ("a JPEG picture", _PICTURE),
    b"\x89PNG": ("a PNG picture", _PICTURE),
    b"RIFF": ("a WebP picture or a video", _PICTURE),
    b"GIF8": ("a GIF picture", _PICTURE),
    b"PK\x03\x04": ("a zip archive", "unpack it first, if shards are in it"),
    b"{": ("a JSON file", "the folder that holds a run.json can be given as a whole"),
    b"%PDF": ("a PDF document", "it has nothing to show here"),
}


def open_shard(path: Path, keep_chunks: bool = True, check: bool = True) -> h5py.File:
    """An HDF5 file that says it is a shard of this version. InputError otherwise, naming both versions, and for a shard that
    is locked by another program, or that needs a column which this program does not know.

    check: also for one whose attributes or datasets are not those of a shard (`pipeline.shards.schema`).
    keep_chunks: HDF5 keeps up to 8 MiB of unpacked chunks for each column that is read; without, a chunk is unpacked at every read.
    """
    try:
        file = h5py.File(path, "r") if keep_chunks else h5py.File(path, "r", rdcc_nbytes=0)
    except OSError as error:
        raise InputError(_why_not(Path(path), error)) from error
    try:
        with naming(path):
            _refuse_unknown(path, file.attrs)
            if check:
                _refuse_other_schema(path, file)
    except InputError:
        file.close()
        raise
    return file


def _refuse_other_schema(path: Path, file: h5py.File) -> None:
    columns, problems = stored_columns(file)
    problems += wrong_attributes(file.attrs)
    problems = problems or list(wrong_columns(columns, file.attrs))
    if problems:
        raise InputError(f"{path} is damaged: {problems[0]}. Remove it and run preprocess again, which makes it anew")


def _why_not(path: Path, error: OSError) -> str:
    """Why a file cannot be opened as HDF5, and the remedy. That a file be removed is said of damaged ones only."""
    if isinstance(error, BlockingIOError) or "unable to lock" in str(error):
        return (
            f"{path} is locked by another program that writes it or has it open for writing (a notebook with h5py in mode 'a' or "
            f"'r+', an HDF5 viewer; `lsof {path}` names it). The file itself may be sound: close that program and try again. On "
            "a network disk that knows no locks, set HDF5_USE_FILE_LOCKING=FALSE"
        )
    if "already open for write" in str(error):
        return (
            f"{path} is marked as open for writing: by a program that still has it open, or by one that was killed. Close it; "
            f"where none is left, `h5clear -s {path}` removes the mark"
        )
    if not os.path.exists(path):
        return f"{path} is missing; run preprocess again to write it"
    if path.is_dir():
        return f"{path} is a folder, not a shard; give a shard-*.h5, or the folder with its run.json"
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as unreadable:
        return f"{path} cannot be read ({unreadable.strerror}); look at its owner and permissions"
    for first, (kind, remedy) in _KNOWN_STARTS.items():
        if start.startswith(first):
            return f"{path} is {kind}, not a shard (shard-*.h5 of `nvf-cli preprocess`); {remedy}"
    return (
        f"{path} is not a readable HDF5 file ({error}). If it is a shard of a run, it is damaged: remove it and run preprocess "
        "again, which makes it anew"
    )


def _refuse_unknown(path: Path, attrs: Mapping) -> None:
    found, version = attrs.get("format"), attrs.get("version")
    if found != FORMAT:
        raise InputError(f"{path} is HDF5, but not a shard: its attribute 'format' is {found!r}, not {FORMAT!r}")
    if version != VERSION:
        raise InputError(
            f"{path} is a shard of format version {version}; this program reads version {VERSION}. "
            "Use the program that wrote it, or run preprocess again"
        )
    unknown = [name for name in _required_columns(path, attrs) if name not in COLUMNS]
    if unknown:
        raise InputError(
            f"{path} has the column {', '.join(unknown)}, without which it must not be read and which this program does not know "
            f"(beyond the first release's it knows {', '.join(REQUIRED) or 'none that is required'}). Use the program that wrote "
            f"it ({attrs.get('code_commit', 'unknown')}) or a newer one, or run preprocess again"
        )


def _required_columns(path: Path, attrs: Mapping) -> list[str]:
    text = attrs.get("required_columns", "[]")
    try:
        names = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{path}: the attribute required_columns is {text!r}, not a JSON list of columns; it is damaged"
        )
    return names


def naming(path: Path) -> AbstractContextManager[None]:
    """Whatever HDF5 makes of damaged bytes becomes an InputError that names the shard."""
    remedy = f"`nvf-cli inspect --verify {path}` says more; remove it and run preprocess again, which makes it anew"
    return naming_damage(path, remedy)


def read_columns(file: h5py.File) -> dict[str, np.ndarray]:
    """Every dataset of an open shard, those that this program does not know too."""
    columns: dict[str, np.ndarray] = {}
    file.visititems(lambda name, item: columns.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None)
    return columns
