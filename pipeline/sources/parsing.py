"""Reading annotation files: JSON with errors that name file and key, and the fits that come with datasets."""

import gc
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.errors import InputError, refuse_pipe
from pipeline.records import PARAMETER_SIZES, BodyParameters, SmplParameters

# No picture that can be decoded is longer, pixels.
LONGEST_SIDE = 1 << 20


@contextmanager
def _no_collection() -> Iterator[None]:
    """The cyclic collector visits every object of a growing parse tree again and again; JSON has no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load_json(path: Path, pairs: Callable[[list], dict] | None = None) -> dict:
    """The object in a JSON file; InputError naming the file when it is missing, cut, no JSON or no object. pairs: makes an object of
    its keys and values, `dict` unless given."""
    refuse_pipe(path)
    try:
        data = path.read_bytes()
        with _no_collection():
            content = json.loads(data, object_pairs_hook=pairs)
        if rb"\ud" in data or rb"\uD" in data:  # half of a character in two halves: no file, page or terminal takes it
            json.dumps(content, ensure_ascii=False).encode()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; it belongs to the dataset's annotations. Fetch it again.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    except InputError:
        raise
    except ValueError as error:  # no JSON, no Unicode, or a number of thousands of digits
        raise InputError(
            f"{path} is not complete JSON ({error}). The download may have been cut; fetch it again."
        ) from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be an annotation file. Fetch it again.") from None
    return typed(content, dict, path, "the whole file")


def load_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file; InputError naming the file when it is missing or no XML."""
    refuse_pipe(path)
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: of encodings
        raise InputError(f"{path} is not readable XML ({error}). Fetch it again.") from None


Kind = TypeVar("Kind", dict, list, int, str)
_TYPE_NAMES: dict[type, str] = {dict: "an object", list: "a list", int: "a whole number", str: "a text"}


def typed(value: Any, kind: type[Kind], path: Path, where: str) -> Kind:
    """The value; InputError naming file and place when JSON has another type there."""
    if type(value) is not kind:
        raise InputError(f"{path}: {where} is {str(value)[:60]!r}, expected {_TYPE_NAMES[kind]}.")
    return value


def image_shape(image: dict, path: Path, where: str) -> tuple[int, int]:
    """(width, height) of an entry of `images`."""
    width, height = (typed(member(image, key, path, where), int, path, f"{where}/{key}") for key in ("width", "height"))
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise InputError(
            f"{path}: {where} is {width} x {height} pixels large, which no picture is; the annotation is damaged."
        )
    return width, height


def member(mapping: Any, key: str | int, path: Path, where: str = "") -> Any:
    """mapping[key]; InputError naming the file and the place when it is not there."""
    try:
        return mapping[key]
    except (KeyError, TypeError, IndexError):
        raise InputError(
            f"{path} has no key {where + '/' if where else ''}{key}. It is not in the expected layout "
            "(docs/datasets.md)."
        ) from None


def array(value: Any, shape: tuple[int, ...], path: Path, where: str) -> np.ndarray:
    """float64 array of the shape; InputError naming the file, the place and both shapes. NaN may be inside."""
    try:
        result = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
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


def _unnested(values: Any) -> Any:
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
