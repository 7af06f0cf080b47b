"""Calibrations of several cameras in the layouts people have: Pose2Sim's TOML, Qualisys' XML, EasyMocap's YAML, and JSON with OpenCV's
names. All become metres and `X_cam = R X + t`, camera axes x right, y down, z forward."""

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.sources.parsing import LONGEST_SIDE, array, load_json, load_xml, member, typed

LAYOUTS = (
    "NAME.toml (Pose2Sim), NAME.qca.txt or NAME.xml (Qualisys), intri.yml with extri.yml (EasyMocap), or NAME.json"
)
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
# Other names of the values of a camera in JSON and TOML.
_NAMES = {
    "K": ("K", "matrix", "camera_matrix", "intrinsic", "intrinsics", "mtx"),
    "distortion": ("dist", "distortions", "distortion", "dist_coeffs", "distCoeffs", "distCoef", "D"),
    "R": ("R", "rotation", "rvec"),
    "t": ("t", "T", "translation", "tvec"),
    "size": ("size", "image_size", "resolution", "imgSize"),
}
# Qualisys counts pixels in 64 parts. Its camera looks along its own -z, with y up.
_SUBPIXELS, _FLIP = 64, np.diag([1.0, -1.0, -1.0])
_MATRIX = re.compile(r"^(\w+):\s*!!opencv-matrix\s+rows:\s*\d+\s+cols:\s*\d+\s+dt:\s*\w+\s+data:\s*\[([^\]]*)\]", re.M)


@dataclass(frozen=True)
class Calibrated:
    """One camera. K: (3, 3) pixels. lens: (5,) OpenCV's k1 k2 p1 p2 k3. R: (3, 3), t: (3,) metres. size: of its pictures, where
    the file knows it."""

    name: str
    K: np.ndarray
    lens: np.ndarray
    R: np.ndarray
    t: np.ndarray
    size: tuple[int, int] | None


def find_calibration(root: Path, given: str | None) -> list[Path]:
    """The files of the one calibration in `root` or its folder calibration/; InputError for none, or for several."""
    if given is not None:
        path = root / given
        pair = [path.with_name("intri.yml"), path.with_name("extri.yml")]
        return pair if path in pair else [path]
    found = []
    for folder in (root, root / "calibration"):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.name == "intri.yml":
                found.append([path, path.with_name("extri.yml")])
            elif path.name != "Config.toml" and (
                path.suffix in (".toml", ".xml", ".json") or path.name.endswith(".qca.txt")
            ):
                found.append([path])
    if len(found) != 1:
        names = ", ".join(str(files[0].relative_to(root)) for files in found) or "none"
        raise InputError(
            f"{root} needs one calibration of its cameras and has {names}. Known are {LAYOUTS}; "
            "-o calibration=FILE names one."
        )
    return found[0]


def read_calibration(files: list[Path], unit: str | None) -> dict[str, Calibrated]:
    """Cameras by name. unit: of the lengths, None for the layout's own (Qualisys: mm, others: m). InputError names file and camera."""
    path = files[0]
    by_suffix: dict[str, Callable] = {".toml": _toml, ".json": _json}
    reader = _easymocap if len(files) == 2 else by_suffix.get(path.suffix, _qualisys)
    scale = METRES[unit or ("mm" if reader is _qualisys else "m")]
    cameras = reader(files, scale)
    if not cameras:
        raise InputError(f"{path} has no calibrated camera. Known are {LAYOUTS}.")
    refuse_twice([camera.name for camera in cameras], path)
    return {camera.name: camera for camera in cameras}


def refuse_twice(names: Sequence[str], path: Path) -> None:
    """Raises InputError for cameras or matrices that a calibration has twice: which of the two counts, nobody says."""
    twice = sorted(name or "a camera without a name" for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(f"{path} has {', '.join(twice)} more than once. Keep the one that counts.")


def _toml(files: list[Path], scale: float) -> list[Calibrated]:
    path = files[0]
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))  # Windows' editors put a mark before it
        repr(content)  # a hexadecimal number of thousands of digits is read, and can be put into no message
    except (OSError, ValueError, RecursionError) as error:  # no Unicode, no TOML, or a number of thousands of digits
        raise InputError(f"{path} cannot be read as TOML ({error}).") from None
    tables = {key: value for key, value in content.items() if isinstance(value, dict) and "matrix" in value}
    return [_camera(str(table.get("name", key)), table, path, scale) for key, table in tables.items()]


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises InputError where a key comes twice."""
    refuse_twice([key for key, _ in pairs], path)
    return dict(pairs)


def _json(files: list[Path], scale: float) -> list[Calibrated]:
    path = files[0]
    content: Any = load_json(path, pairs=partial(_once, path))
    content = content.get("cameras", content)
    if isinstance(content, list):
        names = [str(member(entry, "name", path, f"cameras/{k}")) for k, entry in enumerate(content)]
        refuse_twice(names, path)
        content = dict(zip(names, content, strict=True))
    content = typed(content, dict, path, "cameras")
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    return [_camera(key, table, path, scale) for key, table in tables.items()]


def _easymocap(files: list[Path], scale: float) -> list[Calibrated]:
    try:
        texts = [file.read_text() for file in files]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{files[0]} and extri.yml cannot both be read ({error}).") from None
    values: dict[str, list[float]] = {}
    for text, file in zip(texts, files, strict=True):
        refuse_twice([name for name, _ in _MATRIX.findall(text)], file)
    for name, numbers in _MATRIX.findall("\n".join(texts)):
        try:
            values[name] = [float(number) for number in numbers.replace(",", " ").split()]
        except ValueError:
            raise InputError(f"{files[0].parent}: {name} of intri.yml or extri.yml holds no numbers.") from None
    cameras = []
    for name in sorted(key.removeprefix("K_") for key in values if key.startswith("K_")):
        given = {"R": values.get(f"Rot_{name}", values.get(f"R_{name}")), "t": values.get(f"T_{name}")}
        given |= {"K": values[f"K_{name}"], "dist": values.get(f"dist_{name}", [0.0])}
        cameras.append(_camera(name, {k: v for k, v in given.items() if v is not None}, files[1], scale))
    return cameras


def _qualisys(files: list[Path], scale: float) -> list[Calibrated]:
    path = files[0]
    cameras = []
    for entry in load_xml(path).iter("camera"):
        parts = {name: entry.find(name) for name in ("fov_video", "transform", "intrinsic")}
        known = {name: dict(part.attrib) for name, part in parts.items() if part is not None}
        name = entry.get("serial", "")
        try:
            cameras.append(_qualisys_camera(name, known, path, scale))
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: camera {name} lacks a number ({error}).") from None
    return cameras


def _qualisys_camera(name: str, known: Mapping[str, Mapping[str, str]], path: Path, scale: float) -> Calibrated:
    place, lens = known["transform"], known["intrinsic"]
    left, top, right, bottom = (float(known["fov_video"][side]) for side in ("left", "top", "right", "bottom"))
    fx, fy, cx, cy = (
        float(lens[key]) / _SUBPIXELS for key in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
    )
    keys = ("radialDistortion1", "radialDistortion2", "tangentalDistortion1", "tangentalDistortion2")
    # Rows of the file are the camera's axes in the world's columns: camera to world is its transpose.
    R = _FLIP @ np.array([[float(place[f"r{i}{j}"]) for j in (1, 2, 3)] for i in (1, 2, 3)])
    centre = np.array([float(place[axis]) for axis in "xyz"])
    table = {
        "K": [[fx, 0, cx - left], [0, fy, cy - top], [0, 0, 1]],
        "dist": [*(float(lens[key]) for key in keys), float(lens.get("radialDistortion3", 0))],
        "R": R.tolist(),
        "t": (-R @ centre).tolist(),
        "size": [right - left + 1, bottom - top + 1],
    }
    return _camera(name, table, path, scale)


def _camera(name: str, table: Mapping[str, Any], path: Path, scale: float) -> Calibrated:
    values = {key: next((table[n] for n in names if n in table), None) for key, names in _NAMES.items()}
    if missing := [key for key in ("K", "R", "t") if values[key] is None]:
        listed = "; ".join(f"{key}: {', '.join(_NAMES[key])}" for key in missing)
        raise InputError(f"{path}: camera {name} lacks {', '.join(missing)}. Known names are {listed}.")
    if table.get("fisheye"):
        raise InputError(f"{path}: camera {name} is a fisheye, which is not read; undistort its pictures first.")
    K = _numbers(values["K"], 9, path, f"K of {name}").reshape(3, 3)
    turn = np.ravel(np.array(values["R"], object))
    if len(turn) == 3:
        R = cv2.Rodrigues(_numbers(values["R"], 3, path, f"R of {name}"))[0]
    else:
        R = _numbers(values["R"], 9, path, f"R of {name}").reshape(3, 3)
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-2 or np.linalg.det(R) < 0:
        raise InputError(f"{path}: R of camera {name} is not a rotation (mirrored, or its rows are not orthogonal).")
    if not (K[0, 0] > 0 and K[1, 1] > 0 and np.allclose([K[1, 0], K[2, 0], K[2, 1], K[2, 2]], [0, 0, 0, 1])):
        raise InputError(f"{path}: K of camera {name} is no camera matrix: {K.tolist()}; is it transposed?")
    t = scale * _numbers(values["t"], 3, path, f"t of {name}")
    lens = np.ravel(np.array(values["distortion"] if values["distortion"] is not None else [0.0], object))
    lens = _numbers(lens.tolist(), len(lens), path, f"distortion of {name}")
    if lens[5:].any():
        raise InputError(f"{path}: camera {name} has more than k1 k2 p1 p2 k3; undistort its pictures first.")
    size = values["size"]
    if size is not None:
        size = tuple(int(v) for v in _numbers(size, 2, path, f"size of {name}"))
        if not (min(size) >= 1 and max(size) <= LONGEST_SIDE):
            raise InputError(f"{path}: size of {name} is {size[0]} x {size[1]}; give the pixels of its pictures.")
    return Calibrated(name, K, np.resize(np.append(lens[:5], np.zeros(5)), 5), R, t, size)


def _numbers(value: Any, count: int, path: Path, where: str) -> np.ndarray:
    try:
        flat = np.ravel(np.array(value, np.float64))
    except (TypeError, ValueError, OverflowError):
        flat = np.full(count, np.nan)
    flat = array(flat, (count,), path, where)
    if not np.isfinite(flat).all():
        raise InputError(f"{path}: {where} holds something that is not a finite number.")
    return flat
