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
from pipeline.lattice import LATTICE_M, offsets_to, to_lattice
from pipeline.records import PARAMETER_SIZES, SPLITS, BodyParameters, FieldSamples, Reject
from pipeline.shards.format import (
    COLUMNS,
    FORMAT,
    IMAGE_BYTES,
    IMAGE_OFFSET,
    REJECT_COLUMNS,
    VERSION,
    J,
    ShardHeader,
    ShardRecord,
    ShardView,
    content_hash,
    decode_text,
    not_finite,
    table_name,
    to_columns,
)
from pipeline.skeletons import FIELD_JOINTS, JOINT_SETS

RUN_FILE = "run.json"
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
    rejects = [decode_text(columns[column]).tolist() for column in REJECT_COLUMNS]
    return ShardRecord(
        name,
        len(columns["views/id"]),
        len(np.unique(columns["views/instant_id"])),
        len(data),
        hashlib.sha256(data).hexdigest(),
        content,
        int(columns["fits/fit_valid"].sum()),
        *(_finite_mean(columns[f"fits/{column}"]) for column in ("fit_error_mm", "reprojection_px")),
        [list(row) for row in zip(*rejects, strict=True)],
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
    values = asdict(header) | {"config": json.dumps(header.config, sort_keys=True)}
    return values | {
        "format": FORMAT,
        "version": VERSION,
        "lattice": LATTICE_M,
        "content_hash": content,
        "joint_set": FIELD_JOINTS.name,
        "joint_names": json.dumps(FIELD_JOINTS.names),
    }


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


def read_columns(file: h5py.File) -> dict[str, np.ndarray]:
    """Every dataset of an open shard."""
    columns = {}
    file.visititems(lambda name, item: columns.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None)
    return columns


def open_shard(path: Path, keep_chunks: bool = True) -> h5py.File:
    """An HDF5 file that says it is a shard of this version. InputError otherwise, naming both versions.

    keep_chunks: HDF5 keeps up to 8 MiB of unpacked chunks for each column that is read; without, a chunk is unpacked at every read.
    """
    try:
        file = h5py.File(path, "r") if keep_chunks else h5py.File(path, "r", rdcc_nbytes=0)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; run preprocess again to write it") from error
    except OSError as error:
        raise InputError(f"{path} is not a readable HDF5 file ({error}); delete it and run preprocess again") from error
    found, version = file.attrs.get("format"), file.attrs.get("version")
    if found != FORMAT:
        file.close()
        raise InputError(f"{path} is HDF5, but not a shard: its attribute 'format' is {found!r}, not {FORMAT!r}")
    if version != VERSION:
        file.close()
        raise InputError(
            f"{path} is a shard of format version {version}; this program reads version {VERSION}. "
            "Use the program that wrote it, or run preprocess again"
        )
    return file


class ShardReader:
    """Reads one shard row by row. The file is opened on first use, anew in every process, and is never pickled.

    keep_chunks: as `open_shard`. Field samples have one chunk a view, so that who asks for views in any order gains nothing by it.
    """

    def __init__(self, path: Path, keep_chunks: bool = True):
        self.path, self.keep_chunks = Path(path), keep_chunks
        self._file: h5py.File | None = None
        self._pid = 0

    def __getstate__(self):
        return {"path": self.path, "keep_chunks": self.keep_chunks, "_file": None, "_pid": 0}

    @property
    def file(self) -> h5py.File:
        """The open file of this process. A handle inherited through fork is left alone: it belongs to the parent."""
        if self._file is None or self._pid != os.getpid():
            self._file, self._pid = open_shard(self.path, self.keep_chunks), os.getpid()
            self._datasets: dict[str, h5py.Dataset] = {}
            self._kept: dict[str, np.ndarray] = {}
        return self._file

    def close(self) -> None:
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None

    def __len__(self) -> int:
        return len(self.file["views/id"])

    def _dataset(self, name: str) -> h5py.Dataset:
        file = self.file  # first: a new process starts with nothing cached
        if name not in self._datasets:
            self._datasets[name] = file[name]
        return self._datasets[name]

    def _whole(self, name: str) -> np.ndarray:
        """A dataset that every read asks for, kept in memory: a few bytes a view."""
        file = self.file
        if name not in self._kept:
            self._kept[name] = file[name][()]
        return self._kept[name]

    @property
    def attributes(self) -> dict[str, Any]:
        values = dict(self.file.attrs)
        return values | {"config": json.loads(values["config"])}

    def read_view(self, row: int) -> dict[str, Any]:
        """One view's record: {"id": ..., "K": ..., "fit_valid": ...}, all of views/ and fits/ but the image.

        The joints of the fitted mesh are "fit_joints"; the body's parameters go by their SMPL-X names.
        """
        names = [name for name in COLUMNS if name.startswith(("views/", "fits/"))]
        values = {table_name(name): self._dataset(name)[row] for name in names}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}

    def has_parameters(self, row: int) -> bool:
        """Whether `read_body` gives the mesh: not where there is none, nor where it is an SMPL mesh of the dataset."""
        return bool(self._dataset("fits/transl")[row].any())

    def read_body(self, row: int) -> BodyParameters:
        """The fit of a view: its mesh lies root-relative in crop axes."""
        return BodyParameters(**{name: self._dataset(f"fits/{name}")[row] for name in PARAMETER_SIZES})

    def read_jpeg(self, row: int) -> np.ndarray:
        """(n,) uint8: the stored JPEG file."""
        first, last = self._whole(IMAGE_OFFSET)[row : row + 2]
        return self._dataset(IMAGE_BYTES)[first:last]

    def read_image(self, row: int) -> np.ndarray:
        """(size, size, 3) uint8 RGB: the crop with its margin."""
        image = cv2.imdecode(self.read_jpeg(row), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise InputError(f"{self.path}: the image of row {row} is no JPEG; try `nvf-cli inspect --verify` on it")
        return image

    def read_pool(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A view's points (N, 3) and distances (N,), lattice steps, and the voters (J, K) of each joint: what training draws from."""
        return tuple(self._dataset(f"samples/{name}")[row] for name in ("points", "sdf", "voters"))

    def read_samples(self, row: int) -> FieldSamples:
        """The field samples of a view; offsets are the same numbers however the shard keeps them."""
        points, sdf, voters = self.read_pool(row)
        joints = to_lattice(self._whole("views/joints")[row])
        if "samples/joint_offsets" in self.file:
            offsets = self._dataset("samples/joint_offsets")[row]
        elif "samples/dense_offsets" in self.file:
            offsets = self._dataset("samples/dense_offsets")[row][voters, np.arange(J)[:, None]]
        else:
            offsets = offsets_to(points[voters], joints[:, None])
        return FieldSamples(
            self._whole("views/id")[row].decode(),
            points,
            sdf,
            voters,
            offsets,
            joints,
            self._whole("views/root")[row],
        )

    def read_dense_offsets(self, row: int) -> np.ndarray:
        """(N, J, 3) int16 lattice steps from every point to every joint."""
        if "samples/dense_offsets" in self.file:
            return self._dataset("samples/dense_offsets")[row]
        return offsets_to(self._dataset("samples/points")[row][:, None], to_lattice(self._whole("views/joints")[row]))


class ShardFolder:
    """A finished run: run.json and the shards it lists, in a folder or in its `shards` (`shard_folder`).

    run: the content of run.json. shards: paths, in order. readers: one for each. crop_px: side of the nominal crop, the
    centre of the stored image. Raises InputError when a shard is missing, belongs to another run or is of another
    version, or holds other joints, or when none was finished.
    """

    def __init__(self, path: Path):
        self.path = shard_folder(Path(path))
        self.run = read_run(self.path)
        self.joint_set = self.run["joint_set"]
        self.crop_px = int(self.run["config"]["crop"]["crop_px"])
        if not self.run["shards"]:
            raise InputError(f"{self.path / RUN_FILE} lists no finished shard; run preprocess again to finish it")
        self.shards = [self.path / safe_name(record["name"], self.path) for record in self.run["shards"]]
        for shard in self.shards:
            with open_shard(shard) as file:
                if file.attrs["run_id"] != self.run["run_id"]:
                    raise InputError(
                        f"{shard} belongs to run {file.attrs['run_id']}, but {self.path / RUN_FILE} is of run "
                        f"{self.run['run_id']}. Keep the folders of two runs apart"
                    )
                refuse_other_joints(shard, file.attrs, self.joint_set)
        self.readers = [ShardReader(shard) for shard in self.shards]

    def view_table(self, split: str | None = None) -> dict[str, np.ndarray]:
        """What is known of every view, or of a split's: `{"id": (n,), "K": (n, 3, 3), "fit_valid": (n,), ...}`.

        Columns of views/ and fits/ (the fitted joints are "fit_joints") but images and body parameters, plus "shard"
        (index into `shards`) and "row". Raises InputError when the split has no views, or a number in it is not finite that must be.
        """
        names = [n for n in COLUMNS if n.startswith(("views/", "fits/")) and n.split("/")[1] not in PARAMETER_SIZES]
        parts: dict[str, list[np.ndarray]] = {table_name(name): [] for name in names} | {"shard": [], "row": []}
        for index, shard in enumerate(self.shards):
            with open_shard(shard) as file:
                n = len(file["views/id"])
                for name in names:
                    values = file[name][()]
                    refuse_not_finite(shard, name, values, file["views/id"])
                    parts[table_name(name)].append(decode_text(values) if values.dtype.kind == "S" else values)
            parts["shard"].append(np.full(n, index))
            parts["row"].append(np.arange(n))
        table = {name: np.concatenate(values) for name, values in parts.items()}
        keep = np.ones(len(table["id"]), bool) if split is None else table["split"] == split
        if not keep.any():
            found = ", ".join(f"{name}: {(table['split'] == name).sum()}" for name in SPLITS)
            raise InputError(f"{self.path} has no views of the split {split or 'any'} ({found})")
        return {name: values[keep] for name, values in table.items()}

    def rows(self) -> Iterator[tuple[ShardReader, int]]:
        """Every view of the folder, in order."""
        for reader in self.readers:
            for row in range(len(reader)):
                yield reader, row


def refuse_other_joints(shard: Path, attrs: Mapping, joint_set: str) -> None:
    """Raises InputError when a shard's joints are not those of its run, or not those that this program knows by the name."""
    known = JOINT_SETS.get(joint_set)
    if attrs["joint_set"] != joint_set or known is None or json.loads(attrs["joint_names"]) != list(known.names):
        raise InputError(
            f"{shard} holds the joints {attrs['joint_set']} ({attrs['joint_names']}), not {joint_set} as its run says and this "
            "program knows it. Preprocess its dataset again"
        )


def refuse_not_finite(shard: Path, name: str, values: np.ndarray, ids: Sequence[bytes]) -> None:
    """Raises InputError naming the first view that has a number of `name` which is none."""
    bad = not_finite(name, values)
    if len(bad):
        raise InputError(
            f"{shard}: {name} of view {ids[bad[0]].decode()} is not finite ({len(bad)} such views). `nvf-cli inspect --verify` says "
            "whether the file was damaged; remove it and run preprocess again to have it made anew"
        )


def shard_folder(path: Path) -> Path:
    """Where the shards of a folder are: in it, or in its `shards/`, as `nvf-cli demo` leaves them."""
    return path / "shards" if not (path / RUN_FILE).exists() and (path / "shards" / RUN_FILE).exists() else path


def read_run(folder: Path) -> dict:
    """run.json of a folder of shards. InputError when there is none, or it is damaged or of another version."""
    path = Path(folder) / RUN_FILE
    try:
        run = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no {RUN_FILE}; give the OUT folder of `nvf-cli preprocess`") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); run preprocess again with --overwrite") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise InputError(f"{path} is not the record of a preprocess run; give the OUT folder of `nvf-cli preprocess`")
    if run.get("version") != VERSION:
        raise InputError(f"{path} is of format version {run.get('version')}; this program reads version {VERSION}")
    return run


def safe_name(name: str, folder: Path) -> str:
    """The name of a file in `folder` itself; a run.json that points elsewhere is refused."""
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
        raise InputError(f"{folder / RUN_FILE} names a shard {name!r}, which is no file of its own folder")
    return name
