"""fits.h5: fitted bodies on disk, one row an instant; and SMPLify-X's own result files.

Attributes: format, version, source, joint_set, body_name, body_sha256, joint_regressor_sha256 ("" for the built-in joints),
`frame` ("world" where the source has extrinsics, else "camera"), flat_hand_mean=True, use_pca=False. Datasets of N rows: id,
the SMPL-X parameters by name (axis-angle, radians; transl in metres), joints (N, 55, 3) metres, vertices (N, V, 3) if asked for,
quality. `rejects/` holds id, stage and reason.
"""

import hashlib
import pickle
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.body.model import BodyModel, as_tensors
from pipeline.errors import InputError, naming_damage
from pipeline.hdf5 import stored_columns
from pipeline.records import PARAMETER_SIZES, BodyFit, BodyParameters, FitQuality, Reject
from pipeline.skeletons import HUMAN36M

FORMAT = "nvf-fits"
VERSION = 1
NAME = "fits.h5"
# Of the name of a .pkl, before its ending: characters.
LONGEST_NAME = 120
_NUMBERS = {"fit_error_mm": "f8", "iterations": "i4", "converged": "?", "margin": "f8", "valid": "?"}
# Names, joined by commas. Files written before `joints_unseen` was kept have no such column: every joint then counts as seen.
_NAMES = ("unseen", "joints_unseen")
# Files written before it was kept have no such column: no fit of theirs counts as ambiguous.
_FLAG = "ambiguous"
_PER_VIEW = ("reprojection_px", "reprojection_crop")


class FitsWriter:
    """Appends fits to a new file as they come; memory does not grow with their number."""

    def __init__(self, path: Path, body: BodyModel, attributes: dict[str, str], vertices: bool = False):
        self.body = body
        self.file = h5py.File(path, "w")
        text = h5py.string_dtype()
        self.file.attrs.update(
            {
                "format": FORMAT,
                "version": VERSION,
                "body_name": body.name,
                "body_sha256": body.sha256,
                "joint_regressor_sha256": body.joint_regressor_sha256 or "",
                "flat_hand_mean": True,
                "use_pca": False,
                **attributes,
            }
        )
        self._make("id", (), text)
        for name, size in PARAMETER_SIZES.items():
            self._make(name, (size,), "f4")
        self._make("joints", (55, 3), "f4")
        if vertices:
            self._make("vertices", (body.n_vertices, 3), "f4")
        for name, kind in (*_NUMBERS.items(), (_FLAG, "?")):
            self._make(f"quality/{name}", (), kind)
        for name in ("start", *_NAMES):
            self._make(f"quality/{name}", (), text)
        for name in _PER_VIEW:
            self._make(f"quality/{name}", (), h5py.vlen_dtype(np.float64))
        for name in ("id", "stage", "reason"):
            self._make(f"rejects/{name}", (), text)

    def _make(self, name: str, shape: tuple[int, ...], kind: np.typing.DTypeLike) -> None:
        self.file.create_dataset(name, (0, *shape), kind, maxshape=(None, *shape), chunks=(64, *shape))

    def _append(self, name: str, values: Sequence[Any] | np.ndarray) -> None:
        if not len(values):
            return
        dataset = self.file[name]
        first = len(dataset)
        dataset.resize(first + len(values), 0)
        if h5py.check_vlen_dtype(dataset.dtype) is not None:
            for k, value in enumerate(values):
                dataset[first + k] = value
        else:
            dataset[first:] = values

    def append(self, fits: Sequence[BodyFit]) -> None:
        """Writes rows for these fits, in their order; nothing for none."""
        if not fits:
            return
        bodies = [fit.smplx for fit in fits]
        vertices, joints = self.body.pose(as_tensors(bodies))
        self._append("id", [fit.instant_id for fit in fits])
        for name in PARAMETER_SIZES:
            self._append(name, np.stack([getattr(body, name) for body in bodies]).astype(np.float32))
        self._append("joints", joints.numpy())
        if "vertices" in self.file:
            self._append("vertices", vertices.numpy())
        for name in (*_NUMBERS, _FLAG):
            self._append(f"quality/{name}", np.array([getattr(fit.quality, name) for fit in fits]))
        self._append("quality/start", [fit.quality.start for fit in fits])
        for name in _NAMES:
            self._append(f"quality/{name}", [",".join(getattr(fit.quality, name)) for fit in fits])
        for name in _PER_VIEW:
            self._append(f"quality/{name}", [np.asarray(getattr(fit.quality, name), float) for fit in fits])

    def reject(self, rejects: Sequence[Reject]) -> None:
        for name, field in (("id", "key"), ("stage", "stage"), ("reason", "reason")):
            self._append(f"rejects/{name}", [getattr(reject, field) for reject in rejects])

    def close(self) -> None:
        self.file.close()


def read_fits(path: Path, body: BodyModel | None = None) -> dict[str, BodyFit]:
    """Fits by instant id, from a fits.h5 or the folder that holds it.

    body: the model they will be posed with; InputError when they were made with another. Also for a file that is missing, cut,
    or of another format version.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"There are no fits at {path}; give the folder that `nvf-cli fit` wrote, or its {NAME}.")
    try:
        file = h5py.File(path)
    except OSError as error:
        raise InputError(f"{path} is not a complete {NAME} ({error}); run `nvf-cli fit` again.") from error
    with file, naming_damage(path, "Run `nvf-cli fit` again."):
        _check(path, file, body)
        problems = stored_columns(file)[1]
        if problems:
            raise ValueError(problems[0])
        return _read_rows(file)


def _check(path: Path, file: h5py.File, body: BodyModel | None) -> None:
    if file.attrs.get("format") != FORMAT:
        raise InputError(
            f"{path} is no file of fits (its format is {file.attrs.get('format')!r}, expected {FORMAT!r})."
        )
    if file.attrs["version"] != VERSION:
        raise InputError(
            f"{path} has version {file.attrs['version']}, this program reads version {VERSION}; run `nvf-cli fit` again."
        )
    if body is not None and file.attrs["body_sha256"] != body.sha256:
        raise InputError(
            f"The fits in {path} were made with the body {file.attrs['body_name']} ({file.attrs['body_sha256'][:12]}), not with "
            f"{body.name} ({body.sha256[:12]}); give that body with --body, or fit again."
        )
    if body is not None and file.attrs["joint_set"] == HUMAN36M.name:
        theirs, ours = file.attrs.get("joint_regressor_sha256") or None, body.joint_regressor_sha256
        if theirs != ours:
            raise InputError(
                f"The fits in {path} were made with {_regressor_name(theirs)}, this run has {_regressor_name(ours)}; give the "
                "same --joint-regressor, or fit again."
            )


def _regressor_name(sha256: str | None) -> str:
    return f"the joint regressor {sha256[:12]}" if sha256 else "the built-in joints"


def _read_rows(file: h5py.File) -> dict[str, BodyFit]:
    ids = file["id"].asstr()[:]
    parameters = {name: file[name][:] for name in PARAMETER_SIZES}
    for name, values in parameters.items():
        if values.shape != (len(ids), PARAMETER_SIZES[name]) or not np.isfinite(values).all():
            raise ValueError(
                f"{name} is {values.dtype} {values.shape}, expected {PARAMETER_SIZES[name]} finite numbers a fit"
            )
    quality = {name: file[f"quality/{name}"][:] for name in (*_NUMBERS, *_PER_VIEW)}
    start = file["quality/start"].asstr()[:]
    names = {name: file[f"quality/{name}"].asstr()[:] for name in _NAMES if f"quality/{name}" in file}
    ambiguous = file[f"quality/{_FLAG}"][:] if f"quality/{_FLAG}" in file else np.zeros(len(ids), bool)
    fits = {}
    for i, key in enumerate(ids):
        found: dict[str, Any] = {
            name: kind(quality[name][i])
            for name, kind in (
                ("fit_error_mm", float),
                ("iterations", int),
                ("converged", bool),
                ("margin", float),
                ("valid", bool),
            )
        }
        found |= {name: np.asarray(quality[name][i]) for name in _PER_VIEW}
        found |= {name: _split(column[i]) for name, column in names.items()}
        fits[key] = BodyFit(
            key,
            BodyParameters(**{f.name: parameters[f.name][i] for f in fields(BodyParameters)}),
            FitQuality(**found, start=start[i], ambiguous=bool(ambiguous[i])),
        )
    return fits


def _split(joined: str) -> tuple[str, ...]:
    return tuple(joined.split(",")) if joined else ()


def _file_name(instant_id: str) -> str:
    """A name that every file system takes, another one for every id: an id that had to be changed is told apart by its hash."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", instant_id)[:LONGEST_NAME]
    # some file systems take S1 and s1 for one name
    return plain if plain == instant_id.lower() else f"{plain}-{hashlib.sha256(instant_id.encode()).hexdigest()[:10]}"


def export_smplifyx(fit: BodyFit, camera_R: np.ndarray, camera_t: np.ndarray, folder: Path) -> Path:
    """Writes one fit as SMPLify-X writes its results: a pickled dict of (1, k) float32 arrays, named after the instant's id.

    Its bodies stand at the origin and the camera moves: `X_cam = camera_rotation X + camera_translation`, with camera_R (3, 3) and
    camera_t (3,) metres those of the first view. Hands are full axis-angle here (use_pca=False), flat at zero.
    """
    p = fit.smplx
    R, t = np.asarray(camera_R), np.asarray(camera_t) + np.asarray(camera_R) @ p.transl
    result = {"camera_rotation": R, "camera_translation": t}
    result |= {name: getattr(p, name) for name in PARAMETER_SIZES if name != "transl"}
    result = {name: np.asarray(value, np.float32)[None] for name, value in result.items()}
    path = folder / f"{_file_name(fit.instant_id)}.pkl"
    path.write_bytes(pickle.dumps(result, protocol=2))
    return path
