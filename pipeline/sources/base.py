"""What every reader of a dataset shares: the interface, rejects, and reading JSON with errors that name file and
key."""

import gc
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.records import PARAMETER_SIZES, BodyParameters, Instant, Reject, SmplParameters

SPLITS = ("train", "validation", "test")
# Why a view is rejected when its image file is not there.
MISSING_IMAGE = "the image does not exist"
# A box is this much wider and higher than the tight box about the joints (3DMPPE's annotations).
BOX_SCALE = 1.2


class Source:
    """One dataset on disk.

    root: its folder. joint_set: name of the joint set of its instants. rejects: what was left out because something
    is wrong with it. skipped: how many people or views the dataset's usual filters leave out, by reason (nothing is
    wrong with those). annotated: (instants, views) of each subject before sampling. All four are filled while
    `instants` runs, and running it again changes nothing.
    """

    name: str
    joint_set: str
    # Whether it is a recorded dataset, whose counts are known, or one made by this project.
    real = True

    def __init__(self, root: Path):
        self.root = Path(root)
        self.skipped: Counter[str] = Counter()
        self.annotated: dict[str, tuple[int, int]] = {}
        self.notices: list[str] = []
        self._rejects: dict[str, Reject] = {}

    @property
    def rejects(self) -> list[Reject]:
        return list(self._rejects.values())

    def reject(self, key: str, reason: str) -> None:
        """Leaves out an item (an instant or view id, or a file) because of a fault in the data."""
        self._rejects[key] = Reject(key, "read", reason)

    def annotation_files(self) -> list[Path]:
        """The files that decide what `instants` yields (images not counted), sorted."""
        raise NotImplementedError

    def instants(self) -> Iterator[Instant]:
        """Sampled instants with their split, sorted by id. Faulty items go to `rejects`."""
        for part in self.parts().values():
            yield from part

    def parts(self) -> dict[str, Iterator[Instant]]:
        """`instants` in pieces by name (subjects, sequences, files), in order: where one cannot be read, the others can."""
        raise NotImplementedError

    def group(self, instant: Instant) -> str:
        """The name under which `annotated` counts an instant: its subject where the source knows subjects."""
        return instant.subject or ""

    def fingerprint(self) -> dict:
        """{relative name: {"size": bytes, "sha256": hex}} of the annotation files."""
        return {
            str(path.relative_to(self.root)) if path.is_relative_to(self.root) else path.name: file_print(path)
            for path in self.annotation_files()
        }


def file_print(path: Path) -> dict:
    """{"size", "sha256"} of one file."""
    with open(path, "rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def require_folder(root: Path, source: str) -> Path:
    """`root` as a Path; InputError when it is not a folder."""
    root = Path(root)
    if not root.is_dir():
        raise InputError(
            f"{root} is not a folder. Give the folder that holds the {source} dataset (docs/datasets.md shows its "
            "layout)."
        )
    return root


@contextmanager
def _no_collection():
    """The cyclic collector visits every object of a growing parse tree again and again; JSON has no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load_json(path: Path) -> dict:
    """The object in a JSON file; InputError naming the file when it is missing, cut, no JSON or no object."""
    try:
        with _no_collection():
            content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; it belongs to the dataset's annotations. Fetch it again.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not complete JSON ({error}). The download may have been cut; fetch it again."
        ) from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be an annotation file. Fetch it again.") from None
    return typed(content, dict, path, "the whole file")


_TYPE_NAMES = {dict: "an object", list: "a list", int: "a whole number", str: "a text"}


def typed(value, kind: type, path: Path, where: str):
    """The value; InputError naming file and place when JSON has another type there."""
    if type(value) is not kind:
        raise InputError(f"{path}: {where} is {str(value)[:60]!r}, expected {_TYPE_NAMES[kind]}.")
    return value


def image_shape(image: dict, path: Path, where: str) -> tuple[int, int]:
    """(width, height) of an entry of `images`."""
    width, height = (typed(member(image, key, path, where), int, path, f"{where}/{key}") for key in ("width", "height"))
    if width < 1 or height < 1:
        raise InputError(f"{path}: {where} is {width} x {height} pixels large; the annotation is damaged.")
    return width, height


def member(mapping, key: str, path: Path, where: str = ""):
    """mapping[key]; InputError naming the file and the place when it is not there."""
    try:
        return mapping[key]
    except (KeyError, TypeError, IndexError):
        raise InputError(
            f"{path} has no key {where + '/' if where else ''}{key}. It is not in the expected layout "
            "(docs/datasets.md)."
        ) from None


def array(value, shape: tuple[int, ...], path: Path, where: str) -> np.ndarray:
    """float64 array of the shape; InputError naming the file, the place and both shapes. NaN may be inside."""
    try:
        result = np.array(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{path}: {where} is not an array of {' x '.join(map(str, shape))} numbers.") from None
    if result.shape != shape:
        found = " x ".join(map(str, result.shape)) or "no list of"
        raise InputError(f"{path}: {where} has {found} numbers, expected {' x '.join(map(str, shape))}.")
    return result


def box_problem(box: np.ndarray) -> str | None:
    """Why a box (4,) x, y, width, height cannot be used; None when it can."""
    if not np.isfinite(box).all():
        return "the box is not finite"
    return None if box[2] > 0 and box[3] > 0 else "the box has no area"


def tight_box(joints_2d: np.ndarray, subtract: float) -> np.ndarray:
    """(..., 4) x, y, width, height: the tight box of (..., J, 2) pixels, `subtract` taken off its sides, times
    BOX_SCALE about its centre. 3DMPPE's Human3.6M annotation subtracts 1, its 3DPW annotation 0."""
    low, high = joints_2d.min(-2), joints_2d.max(-2)
    side = high - low - subtract
    centre = low + side / 2
    return np.concatenate([centre - side * BOX_SCALE / 2, side * BOX_SCALE], -1)


def _unnested(values):
    """[[x, y, z]] -> [x, y, z]: some files write trans as 1 x 3."""
    return values[0] if isinstance(values, list) and len(values) == 1 else values


# SMPL-X parameters -> NeuralAnnot's names of them.
_NEURAL_ANNOT = {"global_orient": "root_pose", "body_pose": "body_pose", "betas": "shape", "transl": "trans"}
_NEURAL_ANNOT_FACE = {"jaw_pose": "jaw_pose", "expression": "expr"}


def neural_annot(fit: dict, path: Path, where: str, face: bool = False) -> BodyParameters:
    """A fit of NeuralAnnot's files, in the frame that the file uses. Hands stay flat: its hand poses are relative to
    a mean pose that only the model file knows. face: jaw and expression are there too."""
    names = _NEURAL_ANNOT | (_NEURAL_ANNOT_FACE if face else {})
    values = {name: np.zeros(size) for name, size in PARAMETER_SIZES.items()}
    for name, key in names.items():
        values[name] = array(_unnested(member(fit, key, path, where)), values[name].shape, path, f"{where}/{key}")
    return BodyParameters(**values)


def smpl_parameters(fit: dict, path: Path, where: str) -> SmplParameters:
    """A fit of neutral SMPL as 3DMPPE's files hold it (`pose`, `shape`, `trans`), in the frame that the file uses."""
    pose, betas, trans = (
        array(_unnested(member(fit, key, path, where)), (size,), path, f"{where}/{key}")
        for key, size in (("pose", 72), ("shape", 10), ("trans", 3))
    )
    return SmplParameters("neutral", pose, betas, trans)
