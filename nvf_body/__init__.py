"""People in pictures, from Python.

import nvf_body

model = nvf_body.load()  # the model that is shipped; or nvf_body.load("runs/x")
found = model("photo.jpg")
for person in found.people:
    print(person.root, person.joints)  # metres, the camera's axes: x right, y down, z forward
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from model.device import choose_device
from model.people import free_model
from model.people.bodies import BodyFits, find_people
from model.people.detector import Detector
from model.people.outputs import Outputs, Place, parse_formats
from model.people.photographs import photograph_camera
from model.people.pictures import find_given, read_given
from model.people.predict import Model, load_model
from model.people.records import Box, Person, Picture, PicturePeople, Refusal
from model.people.shown import Shown, Stems
from model.people.tracks import VideoFinder
from pipeline.body.model import BodyModel
from pipeline.errors import InputError
from pipeline.records import BodyParameters, Camera

__all__ = ["BodyParameters", "Camera", "InputError", "People", "Person", "PicturePeople", "load"]

# A path, or the pixels (H, W, 3) uint8 RGB.
Image = str | Path | np.ndarray


class People:
    """Finds people and gives them joints and bodies. Made by `load`.

    joint_names: (J,) of `Person.joints`. faces: (F, 3), of the meshes that `mesh` gives.
    """

    def __init__(self, model: Model, decode: str):
        self._model, self._detector = model, Detector()
        self._fits = BodyFits(model, decode)
        self.joint_names = model.joint_set.names

    @property
    def body(self) -> BodyModel:
        return self._fits.body

    @property
    def faces(self) -> np.ndarray:
        return self.body.faces

    @overload
    def __call__(self, images: Image, boxes: Any = None, focal: float | None = None) -> PicturePeople: ...
    @overload
    def __call__(
        self, images: list[Image] | tuple[Image, ...], boxes: Any = None, focal: float | None = None
    ) -> list[PicturePeople]: ...
    def __call__(
        self, images: Image | list[Image] | tuple[Image, ...], boxes: Any = None, focal: float | None = None
    ) -> PicturePeople | list[PicturePeople]:
        """The people of one picture, or of each of several; several go through the network together, with the same results.

        images: paths or arrays (H, W, 3) uint8 RGB. boxes: of the people, (n, 4) x, y, width, height px, of several pictures a list
        of them; without any a detector looks. focal: px; without it the picture's diagonal is assumed. A picture that cannot be read,
        or holds nobody, has no people, and its `refusal` says why. Raises InputError for an argument that is neither.
        """
        if not isinstance(images, (list, tuple)):
            return self([images], None if boxes is None else [boxes], focal)[0]
        return [found for _, found in self._find(images, boxes, focal)]

    def each(self, names: str | Sequence[str], every: int = 1, focal: float | None = None) -> Iterator[PicturePeople]:
        """The people of every picture of files, folders, patterns, videos or webcams, as they come: any number in little memory.

        every: of a video's frames, every so many.
        """
        given = find_given([names] if isinstance(names, str) else list(names), every)
        find = VideoFinder(self._detector)
        for _, found in find_people(self._model, read_given(given, focal, every), find, self._fits):
            yield found

    def save(self, images: Sequence[Image], folder: str | Path, formats: str, focal: float | None = None) -> list[Path]:
        """Finds people and writes files of them: formats as those of `nvf-cli predict --write`, "glb,html" for example. The files."""
        outputs, stems = Outputs(Place(Path(folder)), parse_formats(formats)), Stems()
        for picture, found in self._find(images, None, focal):
            if picture is not None:
                outputs.add(Shown.of(picture, found, stems, self._model.joint_set, self._fits))
        return outputs.close()

    def mesh(self, person: Person) -> np.ndarray:
        """(V, 3) float32 m in the camera's axes: the skin of somebody's body. Raises InputError for somebody without one."""
        if person.body is None:
            raise InputError("this person has no body: the model was loaded with decode='votes'. Load it without.")
        return self.body.mesh(person.body)[0]

    def _find(
        self, images: Sequence[Image], boxes: Any, focal: float | None
    ) -> Iterator[tuple[Picture | None, PicturePeople]]:
        given = None if boxes is None else [as_boxes(each) for each in boxes]
        if given is not None and len(given) != len(images):
            raise InputError(f"{len(images)} images and boxes for {len(given)}: give one list of boxes an image.")
        now = 0

        def numbered() -> Iterator[Picture | Refusal]:
            nonlocal now
            for now, picture in enumerate(as_pictures(images, focal)):  # noqa: B007 (find reads it)
                yield picture

        def find(picture: Picture) -> Sequence[Box]:
            return self._detector(picture.pixels) if given is None else given[now]

        return find_people(self._model, numbered(), find, self._fits)


def load(
    run: str | Path | None = None,
    device: str | torch.device | None = None,
    decode: str = "auto",
    augmented: bool = False,
) -> People:
    """A model that finds people.

    run: a folder of `nvf-cli train`; the model that is shipped without. device: "cpu", "cuda", "cuda:1"; without, a GPU where there
    is one. decode: which joints count: "votes" as the network says them, without bodies; "body" of bodies that are fitted to them;
    "auto" what was better when the run was validated. augmented: test-time augmentation, four looks at everybody, which is slower
    and a little less off. Raises InputError for a run that cannot predict.
    """
    chosen = choose_device(None if device is None else str(device))
    return People(load_model(free_model.folder() if run is None else Path(run), chosen, augmented), decode)


def as_pictures(images: Iterable[Image], focal: float | None) -> Iterator[Picture | Refusal]:
    """Pictures of paths and of pixels. Raises InputError for what is neither."""
    for number, image in enumerate(images):
        if isinstance(image, (str, Path)):
            given = find_given([str(image)])
            if len(given) > 1 or given[0].kind in ("video", "webcam"):
                raise InputError(
                    f"{image} is more than one picture. Use `each`, which gives the people of one after the other."
                )
            yield from read_given(given, focal)
            continue
        if (
            not isinstance(image, np.ndarray)
            or image.dtype != np.uint8
            or image.ndim != 3
            or image.shape[2] != 3
            or not image.size
        ):
            what = (
                f"an array {image.dtype} {image.shape}"
                if isinstance(image, np.ndarray)
                else f"a {type(image).__name__}"
            )
            raise InputError(f"image {number} is {what}. Give a path, or an array (height, width, 3) uint8 in RGB.")
        yield Picture(f"image {number}", image, photograph_camera(image.shape[1], image.shape[0], focal))


def as_boxes(boxes: Any) -> list[Box]:
    """Boxes of a picture, (n, 4) numbers, or one (4,)."""
    try:
        values = np.asarray(boxes, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"boxes {boxes!r}: give x, y, width and height of each person, in pixels.") from error
    if not values.size:
        return []
    values = values[None] if values.shape == (4,) else values
    if values.ndim != 2 or values.shape[1] != 4 or not np.isfinite(values).all():
        raise InputError(f"boxes of the shape {values.shape}: give x, y, width and height of each person, in pixels.")
    return [Box(box, None, "given") for box in values]
