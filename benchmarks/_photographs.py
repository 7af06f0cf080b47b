"""Several dozen real photographs with people marked by hand: which they are, and how they are read out of public packages.

photographs.json, beside this file, names the packages, their licences, the file and sha256 of each photograph, and the marks. No
photograph is in this repository. Packages are read and never installed or unpacked.
"""

import hashlib
import io
import json
import lzma
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from model.people.photographs import photograph_camera, read_photograph
from model.people.records import Picture
from pipeline.errors import InputError
from pipeline.images import frame_path, read_image, turn_image
from pipeline.outputs import write_file
from pipeline.skeletons import COCO

LIST = Path(__file__).with_name("photographs.json")
# Degrees clockwise that a picture is turned by -> the orientation flag that says the same.
FLAGS = {90: 6, 180: 3, 270: 8}
# A Debian package is an archive of ar: this, then members with headers of HEADER bytes, each at an even place.
DEBIAN, HEADER = b"!<arch>\n", 60


@dataclass(frozen=True)
class Marked:
    """A person as marked by hand. box: (4,) x, y, width, height px about what is seen of the person. points: (17, 2) px of MSCOCO's
    keypoints, not finite where they were not marked."""

    box: np.ndarray
    points: np.ndarray


@dataclass(frozen=True)
class Photograph:
    """picture: upright, with the camera that `predict` assumes. people: everybody who is marked, which is not everybody."""

    picture: Picture
    people: tuple[Marked, ...]


def read_photographs(folders: Sequence[Path], partly: bool = False) -> tuple[list[Photograph], list[str]]:
    """The photographs, and how the packages are got that were not found in `folders`.

    Raises InputError where packages are missing, unless `partly`, and where nothing is there; and for a photograph that is another.
    """
    listed = json.loads(LIST.read_text())
    archives = {name: archive_of(package["file"], folders) for name, package in listed["packages"].items()}
    missing = [listed["packages"][name]["get"] for name, path in archives.items() if path is None]
    if missing and (not partly or len(missing) == len(archives)):
        where = ", ".join(map(str, folders)) or "no folder"
        raise InputError(
            f"{len(missing)} of {len(archives)} packages with photographs are missing in {where}. Fetch them into one folder: "
            + "; ".join(missing)
        )
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, archive in archives.items():
            rows = [row for row in listed["photographs"] if row["package"] == name]
            if archive is not None:
                contents = members(archive, {row["file"] for row in rows})
                found += [photograph(row, contents, archive, Path(folder)) for row in rows]
    return found, missing


def archive_of(pattern: str, folders: Sequence[Path]) -> Path | None:
    """The first file of such a name."""
    return next((path for folder in folders for path in sorted(folder.glob(pattern))), None)


def photograph(row: dict, contents: dict[str, bytes], archive: Path, folder: Path) -> Photograph:
    """One of the list's photographs, decoded as `predict` does it. folder: to write the file into."""
    data = contents.get(row["file"])
    if data is None or hashlib.sha256(data).hexdigest() != row["sha256"]:
        what = "is not in it" if data is None else "is another than the one that was marked"
        raise InputError(f"{archive}: {row['file']} {what}. Fetch the version that {LIST.name} names.")
    path = folder / f"photograph{Path(row['file']).suffix}"
    write_file(path, data)
    film = row.get("frame") is not None
    pixels = read_image(folder, frame_path(path.name, row["frame"])) if film else read_photograph(path)
    if "turned" in row:
        pixels = turn_image(pixels, FLAGS[row["turned"]])
    height, width = pixels.shape[:2]
    people = tuple(marked(person["box"], person["keypoints"]) for person in row["people"])
    return Photograph(Picture(row["name"], pixels, photograph_camera(width, height, None)), people)


def marked(box: Sequence[float], keypoints: dict[str, Sequence[float]]) -> Marked:
    points = np.full((len(COCO), 2), np.nan)
    for name, point in keypoints.items():
        points[COCO.index(name)] = point
    return Marked(np.array(box, float), points)


def members(archive: Path, names: Collection[str]) -> dict[str, bytes]:
    """The files of a wheel, of a tar file or of a Debian package whose paths are, or end in, one of the names. By name.

    Raises InputError for a file that is none of these or is damaged.
    """
    found = {}
    try:
        for path, data in matching(archive, names):
            for name in names:
                if path == name or path.endswith(f"/{name}"):
                    found[name] = data
    except (
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        raise InputError(f"{archive} cannot be read as a package ({error}). Fetch it again.") from error
    return found


def matching(archive: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Path and content of the members whose path ends in one of the names."""
    ends = tuple(names)
    if archive.suffix == ".whl":
        with ZipFile(archive) as wheel:
            yield from ((path, wheel.read(path)) for path in wheel.namelist() if path.endswith(ends))
        return
    with tarfile.open(fileobj=io.BytesIO(tar_of(archive)), mode="r:*") as packed:
        for member in packed:
            content = packed.extractfile(member) if member.isfile() and member.name.endswith(ends) else None
            if content is not None:
                yield member.name, content.read()


def tar_of(archive: Path) -> bytes:
    """A tar file, which in a Debian package is the member data.tar.*."""
    data = archive.read_bytes()
    if not data.startswith(DEBIAN):
        return data
    at = len(DEBIAN)
    while at + HEADER <= len(data):
        name, size = data[at : at + 16].decode("ascii"), int(data[at + 48 : at + 58])
        if name.startswith("data.tar"):
            return data[at + HEADER : at + HEADER + size]
        at += HEADER + size + size % 2
    raise ValueError("a Debian package without data.tar")
