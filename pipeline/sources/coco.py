"""MSCOCO keypoints: `annotations/person_keypoints_{train,val}2017.json` and the images beside them. One `Instant` is
one person.

There is no 3D and no camera: f = sqrt(w^2 + h^2) about the image centre unless a focal length is given. train2017 is
the training split, val2017 the validation split.
"""

import filecmp
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.camera import assumed_camera
from pipeline.errors import InputError
from pipeline.images import resolve, upright_path
from pipeline.records import BodyParameters, Camera, Instant, Reject, SmplParameters, View
from pipeline.skeletons import COCO, JointSet
from pipeline.sources.base import MISSING_IMAGE, Annotated, Doubt, Implausible, Item, Skipped, Source, smpl_files
from pipeline.sources.coco_people import (
    PERSON_ID,
    AnnotationFile,
    Person,
    marks_joints,
    odd_annotations,
    read_annotations,
)
from pipeline.sources.doubts import (
    doubt_border,
    doubt_order,
    doubt_percent,
    doubt_sides,
    doubt_twice,
    doubt_upright,
)
from pipeline.sources.options import check_focal
from pipeline.sources.parsing import array, box_problem, load_json, member, neural_annot, smpl_parameters, typed
from pipeline.spread import spread_evenly

FILES = {"train2017": "train", "val2017": "validation"}
# SPIN's filter asks for all twelve joints from the shoulders down.
BODY_JOINTS = slice(5, 17)
# The first holds SMPL parameters despite its name, and is read where the user has SMPL files.
SMPL_FITS = "annotations/coco_smplifyx_train.json"
SMPLX_FITS = "annotations/MSCOCO_train_SMPLX_all_NeuralAnnot.json"
# So many pictures of a name that two parts have are compared, to tell whether they are the same.
SAME_PICTURES = 5


@dataclass(frozen=True)
class Options:
    """people: "labelled" takes everyone who is no crowd and has a labelled keypoint (3DMPPE, I2L-MeshNet, Pose2Mesh),
    "complete" those with all twelve body joints (SPIN). focal: pixels, in place of the assumed focal length.
    orientation: whether annotations count the pixels as they are stored (MSCOCO's do), or upright, as a picture's orientation
    flag shows them. smpl, regressor: folder of SMPL_NEUTRAL.pkl and the 17 x 6890 regressor file, to take SMPLify-X's SMPL fits."""

    people: Literal["labelled", "complete"] = "labelled"
    focal: float | None = None
    orientation: Literal["stored", "upright"] = "stored"
    smpl: Path | None = None
    regressor: Path | None = None

    def __post_init__(self) -> None:
        check_focal(self.focal)


def same_file(one: Path, other: Path) -> bool:
    """Whether two files that can be read have the same bytes."""
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:  # which is told of each picture
        return False


class Coco(Source):
    """See the module."""

    name = "coco"

    def __init__(self, root: Path, options: Options):
        super().__init__(root)
        self.options = options
        self.smpl = smpl_files(options.smpl, options.regressor)
        self._shown: dict[str, set[str]] = {}
        self.files = [part for part in FILES if self._path(part).exists()]
        if not self.files:
            raise InputError(
                f"{self.root} has no annotations/person_keypoints_train2017.json nor person_keypoints_val2017.json. "
                "Give the folder that holds MSCOCO's annotations/ and image folders."
            )

    def _path(self, part: str) -> Path:
        return self.root / "annotations" / f"person_keypoints_{part}.json"

    def annotation_files(self) -> list[Path]:
        files = [self._path(part) for part in self.files]
        if "train2017" in self.files:
            files += [self.root / SMPL_FITS, *self.smpl.files] if self.smpl else [self.root / SMPLX_FITS]
        return sorted(path for path in files if path.exists())

    def film_of(self, instant: Instant) -> None:
        """Pictures are each of its own."""

    def group(self, instant: Instant) -> str:
        return instant.id.split("/")[0]

    def notices(self) -> list[str]:
        if self.smpl is not None or not (self.root / SMPL_FITS).exists() or "train2017" not in self.files:
            return []
        return [
            f"{SMPL_FITS} holds parameters of SMPL (despite its name), not of SMPL-X: they are not read without the "
            "options smpl and regressor."
        ]

    def parts(self) -> dict[str, Iterator[Item]]:
        return {part: self._part(part) for part in self.files}  # "train2017" sorts before "val2017"

    def _part(self, part: str) -> Iterator[Item]:
        path = self._path(part)
        file = read_annotations(path, lambda entry: _key(part, entry))
        fits = self._fits() if part == "train2017" else {}
        yield Annotated(part, len(file.people), len(file.people))
        found = [self._taken(file, _key(part, entry), entry) for entry in file.people]
        people = [item for item in found if isinstance(item, Person)]
        yield from self._remarks(people, file.placing.joint_set)
        yield from self._shown_before(part, {person.file_name for person in people})
        reasons = iter(odd_annotations(people))
        for item in found:
            if isinstance(item, Person):
                fit = fits.get(str(item.entry["id"]))
                yield self._instant(part, item, next(reasons), fit, file.placing.joint_set)
            else:
                yield item

    def _taken(self, file: AnnotationFile, key: str, entry: dict) -> Person | Skipped | Reject:
        """The person of an entry, or why the usual filters leave it out."""
        where = f"annotations/{entry['id']}"
        number = entry.get("category_id", PERSON_ID)
        if not isinstance(number, int) or number not in file.categories:
            return Reject(key, "read", f"its category_id {number} is not a category of the file")
        if file.categories[number] is not None:
            return Skipped(f"of the category {file.categories[number]}")
        crowd = member(entry, "iscrowd", file.path, where)
        if crowd not in (0, 1):
            raise InputError(
                f"{file.path}: {where}/iscrowd is {str(crowd)[:40]!r}. Write 0 for a person, 1 for a crowd."
            )
        if crowd:
            return Skipped("crowd")
        if member(entry, "num_keypoints", file.path, where) == 0:
            if marks_joints(entry):
                return Reject(key, "read", "num_keypoints is 0, and some of its keypoints are labelled")
            return Skipped("no labelled keypoint")
        person = file.person(key, entry)
        names = file.placing.joint_set.names
        body = [names.index(name) for name in COCO.names[BODY_JOINTS]]
        if self.options.people == "complete" and not person.keypoints[body, 2].all():
            return Skipped("not all twelve body joints labelled")
        return person

    def _remarks(self, people: list[Person], joint_set: JointSet) -> Iterator[Doubt]:
        keypoints = np.array([person.keypoints for person in people]).reshape(-1, len(joint_set), 3)
        yield from doubt_sides(keypoints, joint_set.names, detected=False)
        yield from doubt_upright(keypoints, joint_set.names)
        yield from doubt_order(keypoints, joint_set.names)
        yield from doubt_twice((person.image, person.keypoints) for person in people)
        sizes = np.array([person.size for person in people]).reshape(-1, 2)
        yield from (*doubt_border(keypoints, sizes), *doubt_percent(keypoints, sizes))

    def _shown_before(self, part: str, names: set[str]) -> Iterator[Doubt]:
        """Told where pictures of this part are those of another one that was read before it."""
        self._shown[part] = names
        for other in self.files[: self.files.index(part)]:
            both = sorted(names & self._shown.get(other, set()))
            looked_at = [both[k] for k in spread_evenly(len(both), SAME_PICTURES)]
            if looked_at and all(
                same_file(*(resolve(self.root, f"{name}/{file}") for name in (other, part))) for file in looked_at
            ):
                yield Doubt(
                    f"{len(both)} of {len(names)} pictures of {part} are pictures of {other}, too: what is validated on was trained on"
                )

    def _instant(
        self, part: str, person: Person, odd: str | None, fit: dict | None, joint_set: JointSet
    ) -> Instant | Reject | Implausible:
        image_path = f"{part}/{person.file_name}"
        resolve(self.root, image_path)
        keypoints, (width, height) = person.keypoints, person.size
        seen = keypoints[:, 2] > 0
        problem = box_problem(person.box)
        if problem is None and not np.isfinite(keypoints).all():
            problem = "a keypoint is not finite"
        if problem is None and not seen.any():
            problem = "no visible joint"
        if problem is None and not os.path.exists(f"{self.root}/{image_path}"):
            problem = MISSING_IMAGE
        if problem is not None:
            return Reject(person.key, "read", f"{image_path}: {problem}")
        camera, supplied = assumed_camera(width, height, self.options.focal), None
        if fit is not None:
            fit = typed(fit, dict, Path(SMPL_FITS if self.smpl else SMPLX_FITS), str(person.entry["id"]))
            camera, supplied = _supplied(fit, width, height, person.key)
            f = camera.K[[0, 1], [0, 1]]
            if not (np.isfinite(camera.K).all() and (f > 0).all()):
                problem = "the supplied fit's camera needs finite numbers and focal lengths above 0"
                return Reject(person.key, "read", f"{image_path}: {problem}")
        upright = self.options.orientation == "upright"
        view = View(
            id=f"{person.key}/0",
            camera_id="0",
            camera=camera,
            image_path=upright_path(image_path) if upright else image_path,
            box=person.box,
            joints_2d=np.where(seen[:, None], keypoints[:, :2], 0.0),
            confidence=seen.astype(np.float64),
        )
        instant = Instant(
            id=person.key,
            subject=None,
            action="",
            frame=person.image,
            joint_set=joint_set.name,
            views=(view,),
            supplied=supplied,
            split=FILES[part],
        )
        if odd is None:
            return instant
        return Implausible(Reject(person.key, "read", f"{image_path}: {odd}"), instant)

    def _fits(self) -> dict[str, dict]:
        """Fits by annotation id."""
        path = self.root / (SMPL_FITS if self.smpl else SMPLX_FITS)
        return load_json(path) if path.exists() else {}


def _key(part: str, person: dict) -> str:
    """The id of a person: it sorts by image, and a person's id as text."""
    return f"{part}/{person['image_id']:012d}/{person['id']}"


def _supplied(fit: dict, width: int, height: int, where: str) -> tuple[Camera, BodyParameters | SmplParameters]:
    """A fit of either file, and the camera that its parameters are in."""
    if "smpl_param" in fit:
        path = Path(SMPL_FITS)
        body: BodyParameters | SmplParameters = smpl_parameters(fit["smpl_param"], path, where)
    else:
        path = Path(SMPLX_FITS)
        body = neural_annot(member(fit, "smplx_param", path, where), path, where, face=True)
    camera = member(fit, "cam_param", path, where)
    f = array(member(camera, "focal", path, where), (2,), path, f"{where}/focal")
    c = array(member(camera, "princpt", path, where), (2,), path, f"{where}/princpt")
    K = np.array([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1]])
    return Camera(K, np.eye(3), np.zeros(3), width, height, assumed=True), body


def open_root(root: Path, options: Options) -> Coco:
    return Coco(root, options)
