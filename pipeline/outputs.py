"""Files that a command leaves: whole or not there, never over a file that it was given or that somebody else wrote.

A file that a user names (a picture, a page, an exported program) carries a mark, by which a later command knows that it may
replace it. Files with fixed names in a folder of ours (a run's, a shard folder's) need none: such a folder holds the results of one
command and nothing else (`claim_folder`).
"""

import contextlib
import errno
import fcntl
import json
import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import InputError

MARK = "Written by nvf-cli"
# A file -> what the folder holds that has it.
RESULTS = {
    "run.json": "shards",
    "last.safetensors": "a training run",
    "best.safetensors": "a trained model",
    "fits.h5": "fits",
    "synthetic.json": "a synthetic capture",
    "predictions.json": "predictions",
}
# Folders that datasets have. Results of ours have none of these names.
DATA_FOLDERS = (
    *("images", "annotations", "keypoints", "videos", "calibration"),
    *("imageFiles", "sequenceFiles", "train2017", "val2017", "Videos", "MyPoseFeatures"),
)
# Endings of what people keep beside results, and of what a command leaves that was killed.
NOTES = (".err", ".log", ".md", ".out", ".sh", ".tmp", ".toml", ".txt", ".yaml", ".yml")
# Length and type of a PNG's first chunk after the signature, its 13 bytes and checksum: text may follow.
_PNG_HEAD = 8 + 8 + 13 + 4


def write_file(path: Path, data: bytes, flush: bool = True) -> None:
    """Write, flush to the disk and rename over `path`. Raises InputError naming the path when that fails; nothing is left then.

    Without `flush`, a machine that loses its power may leave less of the file.

    Of several who write the same file at once, one is the last. What a killed one leaves `clear_drafts` finds.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            if flush:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(
            f"{path}: cannot be written ({error.strerror}). Free some space, or name a folder that can be written."
        ) from error


def clear_drafts(folder: Path, *names: str) -> None:
    """Removes what killed commands left half written of the files of these names, which may be patterns. Only under the folder's lock:
    nobody else may be writing them."""
    for name in names:
        for path in (*folder.glob(f"{name}.tmp"), *folder.glob(f"{name}.*.tmp")):
            path.unlink(missing_ok=True)


def write_json(path: Path, value: dict | list) -> None:
    """As `write_file`; a number that is not finite is an error of ours."""
    write_file(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_marked(path: Path, data: bytes) -> None:
    """As `write_file`, with the mark in it.

    path: a picture (.png, .jpg), a page (.html), arrays (.npz), a mesh (.ply, or .glb that says who generated it), or .json, whose
    data is an object.
    """
    write_file(path, _marked(path, data))


def make_folder(path: Path) -> None:
    """Make the folder of some results. Raises InputError when it cannot be made, or a file has its name."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: no folder can be made there ({error.strerror}). Name a folder that can be written."
        ) from error


# Locks that this process holds.
_held: set[int] = set()
# What disks without such locks say; NFS has none of folders.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """One run a folder, which is made. The kernel holds the lock on the folder itself and drops it when the process ends, however it
    ends. Raises InputError while another run holds it. A run that left nothing leaves no folder either; on a disk without locks none
    is held."""
    made = not folder.exists()
    make_folder(folder)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unusable(folder, error) from error
    _held.add(descriptor)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        if descriptor in _held:  # else this is a child, and the folder its parent's
            if made:
                with contextlib.suppress(OSError):  # it holds something
                    folder.rmdir()
            _held.remove(descriptor)
            os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"another run is writing {folder}; wait for it to end, or give another folder") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder} cannot be used as the output folder: {error.strerror}; choose another")


def _close_in_child() -> None:
    """A worker that outlives its killed run must not hold the lock."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


def claim_folder(path: Path, own: Collection[str], inputs: Iterable[Path] = ()) -> None:
    """Raises InputError for a folder to fill with results where they would be mixed with something else: one of the inputs, a folder
    below one that holds results, or one that holds files. Nothing is made.

    own: files by which a folder is known to be one that this command began. Folders in it (but a dataset's), notes and hidden files
    are no obstacle.
    """
    for given in inputs:
        _refuse_input(path, given)
    if any((path / name).exists() for name in own):
        return
    refuse_other_results(path, own)
    for held in _content(path):
        if held.name in DATA_FOLDERS if held.is_dir() else not _is_note(held):
            raise InputError(
                f"{path} holds {held.name}, and results would be mixed with it. Name a new folder for them."
            )


def refuse_other_results(path: Path, own: Collection[str]) -> None:
    """Raises InputError where a folder holds results of another command. own: files by which those of this one are known."""
    for name, what in RESULTS.items():
        if name not in own and (path / name).exists():
            raise InputError(f"{path} holds {what} ({name}), and results would be mixed with it. Name another folder.")


def _refuse_input(path: Path, given: Path) -> None:
    if not given.is_dir():
        return
    inside = path.resolve().relative_to(given.resolve()) if path.resolve().is_relative_to(given.resolve()) else None
    if inside == Path():
        raise InputError(f"{path} is the folder that is read. Name another folder for the results.")
    results = [name for name in RESULTS if (given / name).exists()] if inside else []
    if results:
        raise InputError(
            f"{path} lies in {given}, which is read and holds {RESULTS[results[0]]}. Name a folder outside."
        )


def _content(path: Path) -> list[Path]:
    """What lies in a folder that may not be there."""
    try:
        return sorted(path.iterdir()) if path.is_dir() else []
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Name another folder.") from error


def _is_note(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix.lower() in NOTES


def encode_picture(image: np.ndarray, suffix: str = ".png") -> bytes:
    """An (H, W, 3) uint8 RGB image as a file of that kind."""
    return cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def check_output(path: Path | None, kinds: Collection[str], inputs: Iterable[Path | None] = ()) -> None:
    """Raises InputError for a file to write that is of another kind than these endings, is one of the inputs by whatever path or
    link, or is there already without being marked as ours. None, for what was not asked for, is fine.
    """
    if path is None:
        return
    if path.suffix.lower() not in kinds:
        raise InputError(f"{path}: name a file that ends in {' or '.join(kinds)}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder. Name the file to write.")
    if not path.exists():
        return
    for given in inputs:
        if given is not None and given.exists() and path.samefile(given):
            raise InputError(f"{path} would be written over {given}, which the command was given. Name another file.")
    if not is_ours(path):
        raise InputError(f"{path} exists, and this program did not write it. Name another file, or remove it.")


def is_ours(path: Path) -> bool:
    """Whether a file carries the mark."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(MARK.encode()) >= 0
    except (OSError, ValueError):  # empty, or no plain file
        return False


def _marked(path: Path, data: bytes) -> bytes:
    kind, mark = path.suffix.lower(), MARK.encode()
    if kind == ".png":
        chunk = b"tEXt" + b"Software\0" + mark
        text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return data[:_PNG_HEAD] + text + data[_PNG_HEAD:]
    if kind in (".jpg", ".jpeg"):  # a comment after the start of the image
        return data[:2] + b"\xff\xfe" + struct.pack(">H", len(mark) + 2) + mark + data[2:]
    if kind in (".html", ".htm"):
        return data + b"\n<!-- " + mark + b" -->\n"
    if kind == ".json":
        return (json.dumps({"written_by": MARK} | json.loads(data), indent=1, allow_nan=False) + "\n").encode()
    if kind == ".npz":  # the comment of an archive that has none yet, whose length is the last two bytes
        return data[:-2] + struct.pack("<H", len(mark)) + mark
    if kind == ".ply":  # after the format, which some readers want to be the second line
        first, form, rest = data.split(b"\n", 2)
        return b"\n".join([first, form, b"comment " + mark, rest])
    if kind == ".glb":  # glTF says itself what wrote it
        assert mark in data
        return data
    raise AssertionError(f"{path}: no mark is known for files of this kind")
