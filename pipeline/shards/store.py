"""Writes and reads shards (`pipeline.shards.format`): a shard is composed, checked and renamed, and read row by row."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from pipeline.errors import InputError
from pipeline.image_header import read_header
from pipeline.lattice import LATTICE_M
from pipeline.records import PARAMETER_SIZES, SPLITS, BodyParameters, FieldSamples, Reject
from pipeline.shards.format import (
    COLUMNS,
    FORMAT,
    IMAGE_BYTES,
    IMAGE_OFFSET,
    OPTIONAL,
    REJECT_COLUMNS,
    REQUIRED,
    VERSION,
    ShardHeader,
    ShardView,
    content_hash,
    decode_text,
    default_column,
    not_finite,
    table_name,
    to_columns,
    with_defaults,
)
from pipeline.shards.open import naming, open_shard, read_columns
from pipeline.shards.run_json import RUN_FILE, RunRecord, ShardRecord, read_run
from pipeline.skeletons import FIELD_JOINTS, JOINT_SETS

_CHUNK_BYTES = 1 << 20
_IMAGE_CHUNK = 1 << 15


# --- writer ----------------------------------------------------------------------------------------------------------


def write_shard(
    path: Path, header: ShardHeader, views: Sequence[ShardView], rejects: Sequence[Reject] = ()
) -> ShardRecord:
    """Writes a shard so that `path` either holds a verified file or does not exist.

    The file is composed in memory, written beside `path`, synced, read back and compared, then renamed. Raises
    InputError when the disk is full or not writable; nothing is left behind then.
    """
    columns = to_columns(header, views, rejects)
    content = content_hash(columns)
    image = _compose(header, columns, content)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        _write_synced(partial, image)
        with h5py.File(partial, "r") as file:
            if content_hash(read_columns(file)) != content:
                raise InputError(f"{partial} does not read back as it was written: a fault of this disk or memory")
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}. Free some space or choose a folder that can be written; "
            "run the same command again and finished shards are kept"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return _record(path.name, columns, image, content)


def finished_record(path: Path, header: ShardHeader) -> ShardRecord | None:
    """What a finished shard of this run is, once all of it is read and its content hash checked; None when there is
    none, or it is damaged or was made otherwise."""
    try:
        data = path.read_bytes()
        with h5py.File(BytesIO(data), "r") as file:
            columns, found = read_columns(file), dict(file.attrs)
            content = content_hash(columns)
    except (OSError, KeyError, ValueError, RuntimeError):
        return None
    expected = attributes(header, content) | {"code_commit": found.get("code_commit")}
    return _record(path.name, columns, data, content) if found == expected else None


def _record(name: str, columns: Mapping[str, np.ndarray], data: bytes, content: str) -> ShardRecord:
    whole = with_defaults(columns)
    rejects = zip(*(decode_text(whole[column]).tolist() for column in REJECT_COLUMNS), strict=True)
    return ShardRecord(
        name=name,
        views=len(whole["views/id"]),
        instants=len(np.unique(whole["views/instant_id"])),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        content_hash=content,
        fit_valid=int(whole["fits/fit_valid"].sum()),
        fit_error_mm=_finite_mean(whole["fits/fit_error_mm"]),
        reprojection_px=_finite_mean(whole["fits/reprojection_px"]),
        rejects=tuple(Reject(*row) for row in rejects),
        joints_unseen=int(whole["views/joints_unseen"].sum()),
        ambiguous=int(whole["fits/ambiguous"].sum()),
    )


def _finite_mean(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def _compose(header: ShardHeader, columns: Mapping[str, np.ndarray], content: str) -> bytes:
    buffer = BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(attributes(header, content))
        for name in sorted(columns):
            values = columns[name]
            file.create_dataset(name, data=values, **_layout(name, values))
    return buffer.getvalue()


def attributes(header: ShardHeader, content: str) -> dict[str, Any]:
    """What a shard says about itself as a whole."""
    values = asdict(header) | {"config": json.dumps(header.config, sort_keys=True)}
    needed = {"required_columns": json.dumps(REQUIRED)} if REQUIRED else {}
    return (
        values
        | needed
        | {
            "format": FORMAT,
            "version": VERSION,
            "lattice": LATTICE_M,
            "content_hash": content,
            "joint_set": FIELD_JOINTS.name,
            "joint_names": json.dumps(FIELD_JOINTS.names),
        }
    )


def _layout(name: str, values: np.ndarray) -> dict[str, object]:
    """Chunks and filters: one chunk a view for the samples, under 1 MiB everywhere; filters that HDF5 itself has."""
    if values.size == 0:
        return {}
    if name == IMAGE_BYTES:  # already compressed
        return {"chunks": (min(len(values), _IMAGE_CHUNK),), "fletcher32": True}
    row = max(1, values[0].nbytes)
    rows = 1 if name.startswith("samples/") else max(1, min(len(values), _CHUNK_BYTES // row))
    inner = values.shape[1:]
    if row >= _CHUNK_BYTES:
        inner = (max(1, inner[0] * _CHUNK_BYTES // (row + 1)), *inner[1:])
    return {"chunks": (rows, *inner), "shuffle": True, "compression": "gzip", "compression_opts": 1, "fletcher32": True}


def _write_synced(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reader ----------------------------------------------------------------------------------------------------------


class ShardReader:
    """Reads one shard row by row. The file is opened on first use, anew in every process, and is never pickled.

    keep_chunks: as `open_shard`. Field samples have one chunk a view, so that who asks for views in any order gains nothing by it.
    checked: this program has opened the shard before and looked at all of its columns, which takes ten times as long as opening it.
    """

    def __init__(self, path: Path, keep_chunks: bool = True, checked: bool = False):
        self.path, self.keep_chunks, self.checked = Path(path), keep_chunks, checked
        self._file: h5py.File | None = None
        self._pid = 0

    def __getstate__(self) -> dict[str, Any]:
        kept = {"path": self.path, "keep_chunks": self.keep_chunks, "checked": self.checked}
        return kept | {"_file": None, "_pid": 0}

    @property
    def file(self) -> h5py.File:
        """The open file of this process. A handle inherited through fork is left alone: it belongs to the parent."""
        if self._file is None or self._pid != os.getpid():
            self._file, self._pid = open_shard(self.path, self.keep_chunks, not self.checked), os.getpid()
            self._size = int(self._file.attrs["size"])
            self._datasets: dict[str, h5py.Dataset] = {}
            self._kept: dict[str, np.ndarray] = {}
        return self._file

    def close(self) -> None:
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None

    def __len__(self) -> int:
        file = self.file
        with naming(self.path):
            return len(file["views/id"])

    def _read(self, name: str, rows: int | slice) -> Any:
        """Some rows of a dataset. InputError that names the shard when it is damaged."""
        file = self.file  # first: a new process starts with nothing kept
        with naming(self.path):
            if name not in self._datasets:
                self._datasets[name] = file[name]
            return self._datasets[name][rows]

    def _value(self, name: str, row: int) -> Any:
        """A column's value, its default where this shard lacks an optional column."""
        lacks = name in OPTIONAL and name not in self.file
        return default_column(name, 1)[0] if lacks else self._read(name, row)

    def _whole(self, name: str) -> np.ndarray:
        """A dataset that every read asks for, kept in memory: a few bytes a view."""
        file = self.file  # as in _read
        with naming(self.path):
            if name not in self._kept:
                self._kept[name] = file[name][()]
            return self._kept[name]

    def ids(self) -> list[str]:
        """Of all views, in order."""
        with naming(self.path):
            return decode_text(self._whole("views/id")).tolist()

    @property
    def attributes(self) -> dict[str, Any]:
        values = dict(self.file.attrs)
        return values | {"config": json.loads(values["config"])}

    def read_view(self, row: int) -> dict[str, Any]:
        """One view's record: {"id": ..., "K": ..., "fit_valid": ...}, all of views/ and fits/ but the image.

        The joints of the fitted mesh are "fit_joints"; the body's parameters go by their SMPL-X names.
        """
        names = [name for name in COLUMNS if name.startswith(("views/", "fits/"))]
        values = {table_name(name): self._value(name, row) for name in names}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}

    def has_parameters(self, row: int) -> bool:
        """Whether `read_body` gives the mesh: not where there is none, nor where it is an SMPL mesh of the dataset (which the
        first release did not mark: its parameters are zeros)."""
        return self._value("fits/mesh_model", row) == b"smplx" and bool(self._read("fits/transl", row).any())

    def read_body(self, row: int) -> BodyParameters:
        """The fit of a view: its mesh lies root-relative in crop axes."""
        return BodyParameters(**{name: self._read(f"fits/{name}", row) for name in PARAMETER_SIZES})

    def read_jpeg(self, row: int) -> np.ndarray:
        """(n,) uint8: the stored JPEG file."""
        first, last = self._whole(IMAGE_OFFSET)[row : row + 2]
        return self._read(IMAGE_BYTES, slice(first, last))

    def read_image(self, row: int) -> np.ndarray:
        """(size, size, 3) uint8 RGB: the crop with its margin."""
        image = decode_crop(self.read_jpeg(row), self._size)
        if image is None:
            raise InputError(
                f"{self.path}: the image of row {row} is no JPEG of {self._size} x {self._size} pixels; try `nvf-cli "
                "inspect --verify` on it"
            )
        return image

    def read_samples(self, row: int) -> FieldSamples:
        """The field samples of a view. An offset is `pipeline.lattice.offsets_to` of a point and a stored joint, the same
        numbers whether the shard keeps offsets or not."""
        points, sdf, voters = (self._read(f"samples/{name}", row) for name in ("points", "sdf", "voters"))
        if voters.max(initial=0) >= len(points):
            raise InputError(f"{self.path}: samples/voters of row {row} names a point outside the pool; it is damaged")
        return FieldSamples(self._whole("views/id")[row].decode(), points, sdf, voters)


def decode_crop(data: np.ndarray, size: int) -> np.ndarray | None:
    """(size, size, 3) uint8 RGB of the bytes of a stored crop; None where they are another image's, or none's."""
    header = read_header(BytesIO(data.tobytes()))
    if header is None or (header.width, header.height) != (size, size):
        return None
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None


class ShardFolder:
    """A finished run: run.json and the shards it lists, in a folder or in its `shards` (`shard_folder`).

    run: the content of run.json. shards: paths, in order. readers: one for each. crop_px: side of the nominal crop, the
    centre of the stored image. Raises InputError when a shard is missing, belongs to another run or is of another
    version, or holds other joints, when two have crops of different sizes, or when none was finished.
    """

    def __init__(self, path: Path):
        self.path = shard_folder(Path(path))
        self.run = read_run(self.path)
        self.joint_set = self.run.joint_set
        if not self.run.shards:
            raise InputError(f"{self.path / RUN_FILE} lists no finished shard; run preprocess again to finish it")
        self.shards = [self.path / record.name for record in self.run.shards]
        sides: dict[int, Path] = {}
        for shard in self.shards:
            with open_shard(shard) as file, naming(shard):
                refuse_other_run(shard, file.attrs, self.run)
                sides.setdefault(int(file.attrs["crop_px"]), shard)
        if len(sides) > 1:
            listed = ", ".join(f"{side} px in {shard.name}" for side, shard in sides.items())
            raise InputError(
                f"{self.path} holds crops of several sizes ({listed}); preprocess it again with --overwrite"
            )
        [self.crop_px] = sides
        self.readers = [ShardReader(shard) for shard in self.shards]

    def view_table(self, split: str | None = None) -> dict[str, np.ndarray]:
        """What is known of every view, or of a split's: `{"id": (n,), "K": (n, 3, 3), "fit_valid": (n,), ...}`.

        Columns of views/ and fits/ (the fitted joints are "fit_joints") but images and body parameters, plus "shard"
        (index into `shards`) and "row". Raises InputError when the split has no views, or a number in it is not finite that must be.
        """
        names = [n for n in COLUMNS if n.startswith(("views/", "fits/")) and n.split("/")[1] not in PARAMETER_SIZES]
        parts: dict[str, list[np.ndarray]] = {name: [] for name in (*map(table_name, names), "shard", "row")}
        for index, shard in enumerate(self.shards):
            with open_shard(shard) as file, naming(shard):
                n = len(file["views/id"])
                for name in names:
                    values = default_column(name, n) if name in OPTIONAL and name not in file else file[name][()]
                    refuse_not_finite(shard, name, values, file["views/id"])
                    parts[table_name(name)].append(decode_text(values) if values.dtype.kind == "S" else values)
            parts["shard"].append(np.full(n, index))
            parts["row"].append(np.arange(n))
        table = {name: np.concatenate(values) for name, values in parts.items()}
        keep = np.ones(len(table["id"]), bool) if split is None else table["split"] == split
        if not keep.any():
            found = ", ".join(f"{name}: {(table['split'] == name).sum()}" for name in SPLITS)
            kind = "views" if split is None else f"views of the split {split}"
            raise InputError(
                f"{self.path} has no {kind} ({found}). `nvf-cli inspect {self.path}` says what was left out, and why."
            )
        return {name: values[keep] for name, values in table.items()}

    def rows(self) -> Iterator[tuple[ShardReader, int]]:
        """Every view of the folder, in order."""
        for reader in self.readers:
            for row in range(len(reader)):
                yield reader, row


def refuse_other_run(shard: Path, attrs: Mapping, run: RunRecord) -> None:
    """Raises InputError when a shard is of another run, or when its joints are not those of its run or not those that this
    program knows by the name."""
    if attrs["run_id"] != run.run_id:
        raise InputError(
            f"{shard} belongs to run {attrs['run_id']}, but {shard.parent / RUN_FILE} is of run {run.run_id}. "
            "Keep the folders of two runs apart"
        )
    known = JOINT_SETS.get(run.joint_set)
    if attrs["joint_set"] != run.joint_set or known is None or json.loads(attrs["joint_names"]) != list(known.names):
        raise InputError(
            f"{shard} holds the joints {attrs['joint_set']} ({attrs['joint_names']}), not {run.joint_set} as its run says and this "
            "program knows it. Preprocess its dataset again"
        )


def refuse_not_finite(shard: Path, name: str, values: np.ndarray, ids: Sequence[bytes]) -> None:
    """Raises InputError naming the first view in which `name` holds NaN or infinity."""
    bad = not_finite(name, values)
    if len(bad):
        raise InputError(
            f"{shard}: {name} of view {ids[bad[0]].decode()} is not finite ({len(bad)} such views). `nvf-cli inspect --verify` says "
            "whether the file was damaged; remove it and run preprocess again to have it made anew"
        )


def shard_folder(path: Path) -> Path:
    """Where the shards of a folder are: in it, or in its `shards/`, as `nvf-cli demo` leaves them."""
    return path / "shards" if not (path / RUN_FILE).exists() and (path / "shards" / RUN_FILE).exists() else path
