"""A picture with its people, as those get it who write files of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from model.people.bodies import BodyFits
from model.people.records import Person, Picture, PicturePeople
from pipeline.body.model import BodyModel, as_tensors
from pipeline.records import BodyParameters
from pipeline.shading import surface_normals
from pipeline.skeletons import JointSet

# Of people beside one another, and of a track in all frames; told apart also by those who see fewer colours.
PALETTE = np.array(
    [(86, 180, 233), (230, 159, 0), (0, 178, 130), (224, 130, 180), (240, 228, 66), (213, 94, 0), (120, 140, 235)]
)
FRAME = "#frame="
# Views from other places than the camera's are made for the people up to this many metres behind the nearest: for all they would show
# everybody as dots.
DEEP = 4.0


@dataclass(frozen=True)
class Shown:
    """One picture and its people. stem: the beginning of the names of its files, and of no other picture's. source: the same for the
    video that it is from, or for the photograph. joint_set: of the people. body: the model of their bodies; fitted: whether people get
    bodies at all."""

    picture: Picture
    found: PicturePeople
    stem: str
    source: str
    joint_set: JointSet
    body: BodyModel
    fitted: bool = True

    @classmethod
    def of(cls, picture: Picture, found: PicturePeople, stems: "Stems", joint_set: JointSet, fits: BodyFits) -> "Shown":
        """stems: gives names to the files of all pictures."""
        names = stems.picture(picture), stems.source(picture.name)
        return cls(picture, found, *names, joint_set, fits.body, fits.decoder is not None)

    @property
    def people(self) -> tuple[Person, ...]:
        return self.found.people

    @property
    def embodied(self) -> list[tuple[int, BodyParameters]]:
        """The people with a body: number in the picture, parameters."""
        return [(k, person.body) for k, person in enumerate(self.people) if person.body is not None]

    @cached_property
    def vertices(self) -> np.ndarray:
        """(n, V, 3) float32 m, camera axes: of `embodied`."""
        bodies = [parameters for _, parameters in self.embodied]
        if not bodies:
            return np.zeros((0, self.body.n_vertices, 3), np.float32)
        return self.body.pose(as_tensors(bodies))[0].numpy()

    @cached_property
    def normals(self) -> list[np.ndarray]:
        """(V, 3) each, of `vertices`."""
        return [surface_normals(vertices, self.body.faces) for vertices in self.vertices]

    @cached_property
    def reach(self) -> np.ndarray | None:
        """(2, 3) m, camera axes: least and most of the joints and bodies of the nearest and of those at most DEEP behind; None without
        people. Views from other places than the camera's show what it holds."""
        if not self.people:
            return None
        near = in_front(self.people)
        parts = [self.people[k].joints + self.people[k].root for k in near]
        parts += [skin for (k, _), skin in zip(self.embodied, self.vertices, strict=True) if k in near]
        return np.stack([np.min([part.min(0) for part in parts], 0), np.max([part.max(0) for part in parts], 0)])

    def colour(self, number: int) -> np.ndarray:
        """(3,) 0..255 of a person of the picture."""
        return colour_of(self.people[number], number)


def colour_of(person: Person, number: int) -> np.ndarray:
    """(3,) 0..255. number: among the people of the picture, from 0."""
    return PALETTE[(number if person.track is None else person.track) % len(PALETTE)]


def in_front(people: Sequence[Person]) -> list[int]:
    """Which of them are the nearest or at most DEEP behind."""
    nearest = min(person.root[2] for person in people)
    return [k for k, person in enumerate(people) if person.root[2] <= nearest + DEEP]


class Stems:
    """Names for the files of pictures. Two photographs of one name in different folders get different ones."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}
        self._taken: set[str] = set()

    def source(self, name: str) -> str:
        """name: as of `Picture`."""
        path = name.split(FRAME)[0]
        if path not in self._of:
            plain = Path(path).stem or "picture"
            stem, number = plain, 1
            while stem.lower() in self._taken:  # not every disk tells capitals apart
                number += 1
                stem = f"{plain}-{number}"
            self._taken.add(stem.lower())
            self._of[path] = stem
        return self._of[path]

    def picture(self, picture: Picture) -> str:
        source = self.source(picture.name)
        return source if picture.frame is None else f"{source}.frame{picture.frame:06d}"
