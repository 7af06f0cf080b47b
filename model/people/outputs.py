"""The files that a prediction leaves, besides predictions.json: one row of `FORMATS` a format, so that another is a function and a
row.

Everything is written as pictures come, or gathered in little memory, so that a video may be of any length.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from model.people import meshes, motion_files, overlay
from model.people.arrays import Arrays
from model.people.film import Film
from model.people.motion import Motion, Motions
from model.people.page import PagePictures
from model.people.shown import Shown
from pipeline.body.model import BodyModel
from pipeline.errors import InputError
from pipeline.outputs import encode_picture, is_ours, make_folder, refuse_other_results, write_file, write_marked

PREDICTIONS = "predictions.json"
# Files that cannot carry a mark. In a folder with predictions of ours they are ours.
UNMARKED = (".bvh",)


@dataclass
class Place:
    """A folder that takes files of predictions. What is there already is replaced where it is ours, and nothing else is."""

    folder: Path
    written: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        refuse_other_results(self.folder, (PREDICTIONS,))
        make_folder(self.folder)
        self._ours = is_ours(self.folder / PREDICTIONS)

    def check(self, pattern: str) -> None:
        """Raises InputError now, and not after hours, where somebody else's file has a name that may be wanted."""
        for path in sorted(self.folder.glob(pattern)):
            self._check(path)

    def claim(self, name: str) -> Path:
        """The path of a file that may be written. Raises InputError where somebody else's has that name."""
        path = self.folder / name
        self._check(path)
        self.written.append(path)
        return path

    def _check(self, path: Path) -> None:
        if path.exists() and not (is_ours(path) or (self._ours and path.suffix in UNMARKED)):
            whose = (
                "nothing says that this program wrote it"
                if path.suffix in UNMARKED
                else "this program did not write it"
            )
            raise InputError(f"{path} exists, and {whose}. Name another folder with --out, or remove it.")

    def write(self, name: str, data: bytes) -> None:
        path = self.claim(name)
        (write_file if path.suffix in UNMARKED else write_marked)(path, data)


class Writer(Protocol):
    """Takes the pictures one after the other, in the order of the video."""

    def add(self, shown: Shown) -> None: ...

    def close(self) -> None:
        """Writes what was gathered. Not called where the work was broken off."""


@dataclass(frozen=True)
class Format:
    """names: patterns of its files. says: for the list of formats. bodies: it needs them. open: makes the writer."""

    names: tuple[str, ...]
    says: str
    bodies: bool
    open: Callable[[Place], Writer]


@dataclass
class EachPicture:
    """Writes a file a picture. make: its bytes, or None for no file."""

    place: Place
    suffix: str
    make: Callable[[Shown], bytes | None]

    def add(self, shown: Shown) -> None:
        data = self.make(shown)
        if data is not None:
            self.place.write(f"{shown.stem}.people{self.suffix}", data)

    def close(self) -> None:
        pass


@dataclass
class EachMotion:
    """Writes a file for everybody's motion. make: its bytes."""

    place: Place
    suffix: str
    make: Callable[[Motion, BodyModel], bytes]
    motions: Motions = field(default_factory=Motions)
    body: BodyModel | None = None

    def add(self, shown: Shown) -> None:
        self.motions.add(shown)
        self.body = shown.body

    def close(self) -> None:
        for motion in self.motions:
            assert self.body is not None
            self.place.write(f"{motion.name}{self.suffix}", self.make(motion, self.body))


@dataclass
class OneTable:
    """Writes predictions.npz."""

    place: Place
    arrays: Arrays = field(default_factory=Arrays)

    def add(self, shown: Shown) -> None:
        self.arrays.add(shown)

    def close(self) -> None:
        self.place.write("predictions.npz", npz(self.arrays.table()))


@dataclass
class Page:
    """Writes people.html."""

    place: Place
    pictures: PagePictures = field(default_factory=PagePictures)

    def add(self, shown: Shown) -> None:
        self.pictures.add(shown)

    def close(self) -> None:
        data = self.pictures.page()
        if data is not None:
            self.place.write("people.html", data)


@dataclass
class Overlays:
    """Draws photographs as PNG, and the frames of a video as one MP4."""

    place: Place
    film: Film | None = None

    def add(self, shown: Shown) -> None:
        if shown.picture.frame is None:
            self._end_film()
            if shown.people:
                self.place.write(f"{shown.stem}.people.png", encode_picture(overlay.draw_people(shown)))
            return
        if self.film is None or self.film.source != shown.source:
            self._end_film()
            self.film = Film(self.place.claim(f"{shown.source}.people.mp4"), shown.source)
        self.film.add(shown)

    def close(self) -> None:
        self._end_film()

    def drop(self) -> None:
        if self.film is not None:
            self.film.drop()

    def _end_film(self) -> None:
        if self.film is not None:
            self.film.close()
            self.film = None


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """An .npz file that opens without unpickling."""
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **arrays)
    return data.getvalue()


FORMATS = {
    "html": Format(
        ("people.html",), "people.html: one page that turns in 3D in a browser, without a network", False, Page
    ),
    "npz": Format(
        ("predictions.npz",), "predictions.npz: everything in arrays; its bodies are what smplx takes", False, OneTable
    ),
    "overlay": Format(
        ("*.people.png", "*.people.mp4"),
        "NAME.people.png, of a video .mp4: skeletons and bodies, and from the side",
        False,
        Overlays,
    ),
    "glb": Format(
        ("*.people.glb",),
        "NAME.people.glb: bodies for programs for 3D",
        True,
        lambda place: EachPicture(place, ".glb", meshes.as_glb),
    ),
    "ply": Format(
        ("*.people.ply",),
        "NAME.people.ply: bodies in the camera's axes",
        True,
        lambda place: EachPicture(place, ".ply", meshes.as_ply),
    ),
    "bvh": Format(
        ("*.track-*.bvh", "*.person-*.bvh"),
        "NAME.track-1.bvh: motion",
        True,
        lambda place: EachMotion(place, ".bvh", motion_files.as_bvh),
    ),
    "amass": Format(
        ("*.track-*.npz", "*.person-*.npz"),
        "NAME.track-1.npz: motion in the layout of AMASS, for Blender's SMPL-X add-on",
        True,
        lambda place: EachMotion(place, ".npz", lambda *motion: npz(motion_files.as_amass(*motion))),
    ),
}


def parse_formats(text: str) -> tuple[str, ...]:
    """ "npz, glb" -> ("npz", "glb"). Raises InputError for a word that is no format."""
    names = tuple(dict.fromkeys(word.strip().lower() for word in text.split(",") if word.strip()))
    if text.strip().lower() == "none":
        return ()
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise InputError(f"--write {text}: there is no format {unknown[0]}. Choose from {', '.join(FORMATS)}, or none.")
    return names


class Outputs:
    """All the files that were asked for."""

    def __init__(self, place: Place, names: Iterable[str]):
        """Raises InputError where files of others are in the way."""
        self.place = place
        wanted = [FORMATS[name] for name in names]
        for pattern in (pattern for format in wanted for pattern in format.names):
            place.check(pattern)
        self._writers: Sequence[Writer] = [format.open(place) for format in wanted]

    def add(self, shown: Shown) -> None:
        for writer in self._writers:
            writer.add(shown)

    def close(self) -> list[Path]:
        """Ends all files; what was written."""
        for writer in self._writers:
            writer.close()
        return self.place.written

    def drop(self) -> None:
        """Leaves no file unfinished; for work that was broken off."""
        for writer in self._writers:
            if isinstance(writer, Overlays):
                writer.drop()
