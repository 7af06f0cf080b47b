"""The shard contract, format version 1: names, types, shapes, the lattice and the content hash.

One HDF5 file holds the views of one task. Metres and pixels; everything in three dimensions is root-relative in crop
axes: `p = R_crop X_cam - root`, `root = R_crop X_cam[pelvis]`. Points, distances and offsets are int16 steps of a
0.1 mm lattice. `pipeline.shards.store` writes and reads it; docs/shard-format.md says the same for readers in any language.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.lattice import offsets_to, to_lattice
from pipeline.records import PARAMETER_SIZES, BodyParameters, FieldSamples, Reject
from pipeline.skeletons import FIELD_JOINTS

FORMAT = "neural-voting-field-shard"
VERSION = 1
OFFSETS = ("voters", "dense", "derive")

J = len(FIELD_JOINTS)
# Dataset -> (type, shape of a row). "text" is UTF-8 of fixed length, padded with zero bytes; N points, K voters a
# joint. An integer that does not fit its column's type makes that shard's column int64.
COLUMNS: dict[str, tuple[str, tuple]] = {
    "views/id": ("text", ()),
    "views/instant_id": ("text", ()),
    "views/split": ("text", ()),
    "views/subject": ("text", ()),  # "" where the source does not know it
    "views/action": ("text", ()),
    "views/camera": ("text", ()),
    "views/frame": ("<i4", ()),
    "views/image_path": ("text", ()),  # relative to the source's root
    "views/K": ("<f8", (3, 3)),  # pixels of the stored image
    "views/R_crop": ("<f8", (3, 3)),  # source-camera axes -> crop axes
    "views/K_source": ("<f8", (3, 3)),  # pixels of the source image
    "views/distortion": ("<f8", (5,)),  # k1 k2 k3 p1 p2, Human3.6M's model
    "views/box": ("<f8", (4,)),  # x, y, width, height, source pixels
    "views/root": ("<f8", (3,)),  # metres, crop axes
    "views/joints": ("<f4", (J, 3)),  # metres, root-relative crop axes
    "views/joints_valid": ("|b1", (J,)),
    "views/joints_source": ("|u1", (J,)),  # 0 none, 1 dataset, 2 fit
    "views/joints_unseen": ("|b1", (J,)),  # the fit's alone: nothing that was observed says where it is
    "views/joints_2d": ("<f4", (J, 2)),  # the dataset's own, pixels of the stored image
    "views/joints_2d_valid": ("|b1", (J,)),
    "views/is_3d": ("|b1", ()),  # the dataset has 3D joints here
    "views/has_world": ("|b1", ()),
    "views/camera_assumed": ("|b1", ()),
    **{f"fits/{name}": ("<f4", (size,)) for name, size in PARAMETER_SIZES.items()},
    "fits/joints": ("<f4", (J, 3)),  # of the fitted mesh, metres, root-relative crop axes
    "fits/fit_error_mm": ("<f4", ()),  # NaN without 3D joints
    "fits/reprojection_px": ("<f4", ()),  # source pixels; NaN where no joint was seen
    "fits/has_mesh": ("|b1", ()),  # False: no body at all, samples are zeros
    "fits/fit_valid": ("|b1", ()),  # False: nothing that came from the mesh may be supervised
    "fits/ambiguous": ("|b1", ()),  # another body explains the image about as well
    "fits/mesh_model": ("text", ()),  # whose mesh the samples are of: one of MESH_MODELS
    "samples/points": ("<i2", ("N", 3)),
    "samples/sdf": ("<i2", ("N",)),
    "samples/voters": ("<u2", (J, "K")),
    "samples/joint_offsets": ("<i2", (J, "K", 3)),
    "samples/dense_offsets": ("<i2", ("N", J, 3)),
}
# Optional columns -> what a row has where the shard lacks the column. A column that has this in every row is neither
# stored nor hashed, so a shard that says no more than before stays what it was, to the byte.
OPTIONAL: dict[str, bool | str] = {"views/joints_unseen": False, "fits/ambiguous": False, "fits/mesh_model": "smplx"}
# Columns that came after the first release and that a reader must know: the attribute `required_columns` of a shard names
# its own, and a reader that lacks one refuses the file.
REQUIRED: tuple[str, ...] = ()
# Columns that grow to int64 where a value asks for it (image ids of large collections).
GROWING = {"views/frame": "<i8"}
MESH_MODELS = ("smplx", "smpl")
NAN_ALLOWED = ("fits/fit_error_mm", "fits/reprojection_px")
REJECT_COLUMNS = ("rejects/key", "rejects/stage", "rejects/reason")
IMAGE_BYTES, IMAGE_OFFSET = "views/image_bytes", "views/image_offset"
_ABSENT = {
    "voters": ("samples/dense_offsets",),
    "derive": ("samples/joint_offsets", "samples/dense_offsets"),
    "dense": ("samples/joint_offsets",),
}


def not_finite(name: str, values: np.ndarray) -> np.ndarray:
    """Rows of a column that hold NaN or infinity where the format allows neither."""
    if values.dtype.kind != "f" or name in NAN_ALLOWED:
        return np.empty(0, np.int64)
    return np.flatnonzero(~np.isfinite(values).all(tuple(range(1, values.ndim))))


@dataclass(frozen=True)
class ShardHeader:
    """What holds for a whole shard, and where it came from.

    crop_px: side of the nominal crop; size: side of the stored image. pool: points a view. voters: voters a joint.
    config: everything that decides the content, JSON-able.
    """

    run_id: str
    config: dict
    code_commit: str
    source: str
    body_model: str
    body_sha256: str
    sdf_backend: str
    sdf_sign_rule: str
    offsets: str
    crop_px: int
    size: int
    pool: int
    voters: int

    def __post_init__(self) -> None:
        assert self.offsets in OFFSETS and 0 < self.pool <= 65536 and self.voters >= 0, self


@dataclass(frozen=True)
class ShardView:
    """One row of a shard: a view, its fit and its samples. Fields are named and shaped as in `COLUMNS`.

    image: JPEG of the stored crop. fit: parameters that put the mesh root-relative in crop axes, None without a mesh and
    where it is an SMPL mesh of the dataset (stored as zeros: SMPL's parameters are not the body model's). samples: None
    without a mesh. mesh_model: one of MESH_MODELS.
    """

    id: str
    instant_id: str
    split: str
    subject: str
    action: str
    camera: str
    frame: int
    image_path: str
    K: np.ndarray
    R_crop: np.ndarray
    K_source: np.ndarray
    distortion: np.ndarray
    box: np.ndarray
    root: np.ndarray
    joints: np.ndarray
    joints_valid: np.ndarray
    joints_source: np.ndarray
    joints_2d: np.ndarray
    joints_2d_valid: np.ndarray
    is_3d: bool
    has_world: bool
    camera_assumed: bool
    image: bytes
    fit: BodyParameters | None
    fit_joints: np.ndarray
    fit_error_mm: float
    reprojection_px: float
    fit_valid: bool
    samples: FieldSamples | None
    joints_unseen: np.ndarray = field(default_factory=lambda: np.zeros(J, bool))
    mesh_model: str = "smplx"
    ambiguous: bool = False


# --- columns: a shard in memory --------------------------------------------------------------------------------------


def to_columns(header: ShardHeader, views: Sequence[ShardView], rejects: Sequence[Reject]) -> dict[str, np.ndarray]:
    """Every dataset of the shard, by name, in the rows' order."""
    rows = [_row(header, view) for view in views]
    sizes = {"N": header.pool, "K": header.voters}
    columns = {name: _column(name, [row[name] for row in rows], sizes) for name in dataset_names(header.offsets)}
    images = [np.frombuffer(view.image, np.uint8) for view in views]
    columns[IMAGE_BYTES] = np.concatenate(images) if images else np.zeros(0, np.uint8)
    columns[IMAGE_OFFSET] = np.cumsum([0, *map(len, images)]).astype("<i8")
    ordered = sorted(rejects, key=lambda r: (r.key, r.stage, r.reason))
    for name in REJECT_COLUMNS:
        columns[name] = encode_text([getattr(r, name.split("/")[1]) for r in ordered])
    return without_defaults(columns)


def _column(name: str, values: Sequence, sizes: Mapping[str, int]) -> np.ndarray:
    kind, shape = COLUMNS[name]
    if kind == "text":
        return encode_text(values)
    shape = tuple(sizes.get(n, n) for n in shape)
    for value in values:
        assert np.shape(value) == shape, (name, np.shape(value), shape)
    if name in GROWING and any(value != np.int64(value).astype(kind) for value in values):
        kind = GROWING[name]
    return np.array(values, kind).reshape(len(values), *shape)


def dataset_names(offsets: str) -> list[str]:
    """Datasets with one row a view, for the way that offsets are kept."""
    return [name for name in COLUMNS if name not in _ABSENT[offsets]]


def without_defaults(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns but those optional ones that have their default in every row."""
    return {
        name: values
        for name, values in columns.items()
        if name not in OPTIONAL or (values != _stored_default(name)).any()
    }


def with_defaults(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns and those optional ones that the shard lacks, filled with their defaults."""
    n = len(columns["views/id"])
    return {name: default_column(name, n) for name in OPTIONAL} | dict(columns)


def default_column(name: str, rows: int) -> np.ndarray:
    """What an optional column holds in a shard that lacks it."""
    kind, shape = COLUMNS[name]
    value = _stored_default(name)
    return np.full((rows, *shape), value, f"S{len(value)}" if isinstance(value, bytes) else kind)


def _stored_default(name: str) -> bool | bytes:
    value = OPTIONAL[name]
    return value.encode() if isinstance(value, str) else value


def table_name(column: str) -> str:
    """ "views/root" -> "root"; "fits/joints" -> "fit_joints", which views/ has too."""
    return "fit_joints" if column == "fits/joints" else column.split("/")[1]


def _row(header: ShardHeader, view: ShardView) -> dict[str, object]:
    row = {f"views/{name}": value for name, value in vars(view).items()}
    zeros = {name: np.zeros(size) for name, size in PARAMETER_SIZES.items()}
    parameters = zeros if view.fit is None else vars(view.fit)
    row |= {f"fits/{name}": parameters[name] for name in PARAMETER_SIZES}
    fit = {"joints": view.fit_joints, "has_mesh": view.samples is not None}
    row |= {f"fits/{name}": value for name, value in (vars(view) | fit).items() if f"fits/{name}" in COLUMNS}
    samples = view.samples or _no_samples(header, view)
    row |= {f"samples/{name}": getattr(samples, name) for name in ("points", "sdf", "voters")}
    return row | kept_offsets(header.offsets, samples, view.joints)


def kept_offsets(offsets: str, samples: FieldSamples, joints: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of offsets that a shard keeps of a view: from points to the joints (J, 3) as they are stored, metres.

    Raises InputError where an offset does not fit the lattice.
    """
    steps = to_lattice(joints)
    if offsets == "dense":
        return {"samples/dense_offsets": offsets_to(samples.points[:, None], steps)}
    if offsets == "voters":
        return {"samples/joint_offsets": offsets_to(samples.points[samples.voters], steps[:, None])}
    return {}


def _no_samples(header: ShardHeader, view: ShardView) -> FieldSamples:
    points, voters = np.zeros((header.pool, 3), np.int16), np.zeros((J, header.voters), np.uint16)
    return FieldSamples(view.id, points, np.zeros(header.pool, np.int16), voters)


def encode_text(values: Sequence[str]) -> np.ndarray:
    """Strings -> fixed-length UTF-8 bytes, wide enough for the longest."""
    encoded = [value.encode() for value in values]
    assert not any(b"\0" in value for value in encoded)
    return np.array(encoded, dtype=f"S{max([1, *map(len, encoded)])}")


def decode_text(values: np.ndarray) -> np.ndarray:
    return np.char.decode(values, "utf-8") if values.size else np.zeros(values.shape, "U1")


def content_hash(columns: Mapping[str, np.ndarray]) -> str:
    """sha256 of what the shard says, whatever its compression and provenance. The steps, for other languages:

    1. leave out the columns of `OPTIONAL` that have their default in every row;
    2. rows are taken in the order of their view id's bytes; feed every id followed by a zero byte;
    3. for every dataset but `views/image_offset`, in the order of its name's bytes, feed `NAME\\0TYPE\\0SHAPE\\0`,
       TYPE being `text` or numpy's name of the little-endian type (`<f4`), SHAPE like `64x17x3`; then its rows: numbers
       as little-endian bytes in C order, texts followed by a zero byte, an image as its length (8 bytes, little-endian)
       and its bytes. `rejects/` keep their stored order; the SHAPE of `views/image_bytes` is the number of views.
    """
    columns = without_defaults(columns)
    ids = columns["views/id"]
    order = np.argsort(ids, kind="stable")
    digest = hashlib.sha256()
    digest.update(b"".join(bytes(view) + b"\0" for view in ids[order]))
    for name in sorted(columns):
        values = columns[name]
        if name == IMAGE_OFFSET:
            continue
        if name == IMAGE_BYTES:
            offset = columns[IMAGE_OFFSET]
            digest.update(f"{name}\0|u1\0{len(ids)}\0".encode())
            for row in order:
                image = values[offset[row] : offset[row + 1]]
                digest.update(len(image).to_bytes(8, "little") + image.tobytes())
            continue
        rows = values if name in REJECT_COLUMNS else values[order]
        kind = "text" if values.dtype.kind == "S" else values.dtype.str
        digest.update(f"{name}\0{kind}\0{'x'.join(map(str, values.shape))}\0".encode())
        if kind == "text":
            digest.update(b"".join(bytes(value) + b"\0" for value in rows))
        else:
            digest.update(np.ascontiguousarray(rows).tobytes())
    return digest.hexdigest()
