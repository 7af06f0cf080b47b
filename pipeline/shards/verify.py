"""Checks shards: nothing that a reader relies on is taken on trust."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import igl
import numpy as np

from pipeline.body.model import BodyModel
from pipeline.camera import in_image, project_pinhole
from pipeline.errors import InputError
from pipeline.hdf5 import stored_columns
from pipeline.lattice import LATTICE_M, offsets_to, to_lattice
from pipeline.mesh import body_surface
from pipeline.records import FIT_JOINT, SPLITS
from pipeline.shards.format import (
    COLUMNS,
    IMAGE_BYTES,
    IMAGE_OFFSET,
    MESH_MODELS,
    NAN_ALLOWED,
    REJECT_COLUMNS,
    J,
    content_hash,
    decode_text,
    not_finite,
    with_defaults,
)
from pipeline.shards.open import open_shard, read_columns
from pipeline.shards.run_json import RunRecord, ShardRecord, joined_hash, read_run
from pipeline.shards.schema import wrong_attributes, wrong_columns
from pipeline.shards.store import ShardReader, decode_crop

# A stored distance is rounded to the lattice, its parameters to single precision, and the fast backend is exact to
# single precision below NEAR, to a hundredth beyond.
NEAR, NEAR_ERROR, FAR_ERROR = 0.15, 1.5e-4, 0.011
# So close to the surface a sign may turn with the last digits of the fit.
SIGN_BAND = 2e-4


@dataclass
class Findings:
    """problems: what is wrong, one line each. notes: what is no fault but worth knowing. counts: what was looked at."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int | float] = field(default_factory=dict)

    def add(self, other: "Findings") -> None:
        """Takes in what was found elsewhere."""
        self.problems += other.problems
        self.notes += other.notes
        for name, value in other.counts.items():
            old = self.counts.get(name, 0)
            self.counts[name] = max(old, value) if name.startswith("max") else old + value


def verify_path(path: Path, body: BodyModel | None = None, seed: int = 0) -> Findings:
    """Checks a shard, or a folder of them against its run.json. body: also computes some distances again."""
    if path.is_dir():
        run = read_run(path)
        findings = Findings()
        for shard in run.shards:
            findings.add(verify_shard(path / shard.name, shard, run.run_id, body, seed))
        return _compare_folder(path, run, findings)
    record, run_id = _own_record(path)
    return verify_shard(path, record, run_id, body, seed)


def _own_record(path: Path) -> tuple[ShardRecord | None, str | None]:
    """What the run.json beside a shard says about it, where there is one."""
    try:
        run = read_run(path.parent)
    except InputError:
        return None, None
    records = {record.name: record for record in run.shards}
    return (records[path.name], run.run_id) if path.name in records else (None, None)


def _compare_folder(path: Path, run: RunRecord, findings: Findings) -> Findings:
    listed = {record.name for record in run.shards}
    for extra in sorted({file.name for file in path.glob("shard-*.h5")} - listed):
        findings.problems.append(f"{extra}: lies in the folder, but run.json does not list it")
    if joined_hash(run.shards) != run.content_hash:
        findings.problems.append(
            "run.json: its content hash is not that of the shards it lists; the run was not finished"
        )
    findings.problems += [f"{failed.name}: failed in the run: {failed.error}" for failed in run.failed]
    return findings


def verify_shard(
    path: Path,
    record: ShardRecord | None = None,
    run_id: str | None = None,
    body: BodyModel | None = None,
    seed: int = 0,
) -> Findings:
    """Checks one shard. record: what run.json says about it, if there is one."""
    findings = Findings(counts={"shards": 1})
    try:
        with open_shard(path, check=False) as file:
            attributes = dict(file.attrs)
            problems = stored_columns(file)[1] + list(wrong_attributes(attributes))
            stored = {} if problems else read_columns(file)
        unknown = sorted(stored.keys() - {*COLUMNS, IMAGE_BYTES, IMAGE_OFFSET, *REJECT_COLUMNS})
        findings.notes += [f"{path.name}: {name} is unknown to this program, which leaves it alone" for name in unknown]
        # each check relies on what the one before found right
        problems = problems or list(wrong_columns(stored, attributes))
        problems = problems or list(_check_file(path, record, run_id, attributes, stored))
        columns = stored if problems else with_defaults(stored)
        problems = problems or list(check_values(columns))
        if not problems:
            findings.counts |= count(columns, attributes)
            problems += [*check_geometry(columns, attributes), *check_images(columns, attributes)]
        if not problems and body is not None:
            findings.add(check_distances(path, body, seed))
    except InputError as error:
        findings.problems.append(str(error))
        return findings
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:  # whatever HDF5 makes of damaged bytes
        findings.problems.append(f"{path.name}: cannot be read: {error}")
        return findings
    findings.problems += [f"{path.name}: {problem}" for problem in problems]
    return findings


def _check_file(
    path: Path, record: ShardRecord | None, run_id: str | None, attributes: Mapping, columns: Mapping[str, np.ndarray]
) -> Iterator[str]:
    content = content_hash(columns)
    if content != attributes.get("content_hash"):
        yield f"its content hash is {content[:12]}, it says {str(attributes.get('content_hash'))[:12]}: its data changed"
    if run_id is not None and attributes.get("run_id") != run_id:
        yield f"it is of run {attributes.get('run_id')}, its folder of run {run_id}"
    if record is None:
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != record.sha256:
        yield f"the file's sha256 is {found[:12]}, run.json says {record.sha256[:12]}: the file changed"
    if content != record.content_hash:
        yield f"its content hash is {content[:12]}, run.json says {record.content_hash[:12]}"


def check_values(columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Numbers that are numbers, and within their range."""
    for name in columns.keys() & COLUMNS.keys():
        for row in not_finite(name, columns[name])[:1]:
            yield f"{name} of row {row} is not finite"
    if len(np.unique(columns["views/id"])) != len(columns["views/id"]):
        yield "views/id names a view twice"
    unknown = set(decode_text(columns["views/split"]).tolist()) - set(SPLITS)
    if unknown:
        yield f"views/split has {sorted(unknown)[0]!r}, which is none of {', '.join(SPLITS)}"
    if columns["views/joints_source"].max(initial=0) > 2:
        yield "views/joints_source has a value above 2"
    unknown = set(decode_text(columns["fits/mesh_model"]).tolist()) - set(MESH_MODELS)
    if unknown:
        yield f"fits/mesh_model has {sorted(unknown)[0]!r}, which is none of {', '.join(MESH_MODELS)}"
    unseen = columns["views/joints_unseen"] & (columns["views/joints_source"] != FIT_JOINT)
    if unseen.any():
        yield f"row {int(np.argwhere(unseen)[0][0])} has a joint that is unseen, though it is not the fit's"
    ambiguous = columns["fits/ambiguous"] & ~columns["fits/has_mesh"]
    if ambiguous.any():
        yield f"row {int(np.argmax(ambiguous))} has an ambiguous fit, though it has no mesh"
    if columns["samples/voters"].max(initial=0) >= columns["samples/points"].shape[1]:
        yield "samples/voters names a point outside the pool"
    for name in NAN_ALLOWED:
        if (columns[name] < 0).any():
            yield f"{name} is negative"
    bad = columns["fits/fit_valid"] & ~columns["fits/has_mesh"]
    if bad.any():
        yield f"row {int(np.argmax(bad))} has a valid fit without a mesh"


def check_geometry(columns: Mapping[str, np.ndarray], attributes: Mapping) -> Iterator[str]:
    """Cameras that are cameras, joints in front of them, offsets that are the difference of joint and point."""
    K, R, root = columns["views/K"], columns["views/R_crop"], columns["views/root"]
    if not np.allclose(np.einsum("nij,nkj->nik", R, R), np.eye(3), atol=1e-6) or (np.linalg.det(R) < 0).any():
        yield "views/R_crop has a matrix that is no rotation"
    centre = (attributes["size"] - 1) / 2
    if not np.allclose(K[:, :2, 2], centre) or (K[:, 0, 0] <= 0).any():
        yield f"views/K has a principal point that is not the centre of the image ({centre})"
    depth = columns["views/joints"][..., 2] + root[:, None, 2]
    behind = (depth <= 0) & columns["views/joints_valid"]
    if behind.any():
        row, joint = np.argwhere(behind)[0]
        yield f"row {row} has joint {joint} {depth[row, joint]:.2f} m in front of the camera"
    for row in range(len(K)):
        joints, points = to_lattice(columns["views/joints"][row]), columns["samples/points"][row]
        voters = columns["samples/voters"][row]
        if "samples/joint_offsets" in columns:
            same = np.array_equal(columns["samples/joint_offsets"][row], offsets_to(points[voters], joints[:, None]))
        elif "samples/dense_offsets" in columns:
            same = np.array_equal(columns["samples/dense_offsets"][row], offsets_to(points[:, None], joints))
        else:
            same = True
        if not same:
            yield f"row {row} has offsets that are not joint minus point"


def check_images(columns: Mapping[str, np.ndarray], attributes: Mapping) -> Iterator[str]:
    """Every image decodes to the stored size."""
    offset, size = columns[IMAGE_OFFSET], int(attributes["size"])
    n = len(columns["views/id"])
    if (
        len(offset) != n + 1
        or offset[0] != 0
        or (np.diff(offset) <= 0).any()
        or offset[-1] != len(columns[IMAGE_BYTES])
    ):
        yield "views/image_offset does not cut views/image_bytes into one image a view"
        return
    for row in range(n):
        if decode_crop(columns[IMAGE_BYTES][offset[row] : offset[row + 1]], size) is None:
            yield f"row {row} has an image that does not decode to {size} x {size} pixels"


def count(columns: Mapping[str, np.ndarray], attributes: Mapping) -> dict[str, int]:
    """Views, and the joints that lie outside of their image (which is no fault)."""
    joints = columns["views/joints"] + columns["views/root"][:, None]
    valid = columns["views/joints_valid"]
    size = int(attributes["size"])
    seen = np.array(
        [
            in_image(project_pinhole(K, np.where(p[:, 2:] > 0, p, 1.0)), size, size) & (p[:, 2] > 0)
            for K, p in zip(columns["views/K"], joints, strict=True)
        ],
        bool,
    ).reshape(len(joints), J)
    return {
        "views": len(joints),
        "joints_valid": int(valid.sum()),
        "joints_out_of_image": int((valid & ~seen).sum()),
        "views_without_mesh": int((~columns["fits/has_mesh"]).sum()),
        "joints_unseen": int(columns["views/joints_unseen"].sum()),
        "ambiguous_fits": int(columns["fits/ambiguous"].sum()),
    }


def check_distances(path: Path, body: BodyModel, seed: int, views: int = 4, points: int = 200) -> Findings:
    """Computes distances of random points of random views again, from the stored parameters, exactly: the nearest of
    all triangles and the exact winding number."""
    reader = ShardReader(path)
    attributes = reader.attributes
    if attributes["body_sha256"] != body.sha256:
        raise InputError(
            f"{path} was made with the body {attributes['body_model']} ({attributes['body_sha256'][:12]}), not with "
            f"{body.name} ({body.sha256[:12]}); give that body with --body"
        )
    rng = np.random.default_rng(seed)
    rows = np.array([row for row in range(len(reader)) if reader.has_parameters(row)], int)
    faces, findings = body_surface(body).faces, Findings()
    for row in rng.permutation(rows)[:views]:
        samples = reader.read_samples(int(row))
        chosen = rng.permutation(len(samples.points))[:points]
        vertices = np.asarray(body.mesh(reader.read_body(int(row)))[0], np.float64)
        exact = exact_distance(samples.points[chosen] * LATTICE_M, vertices, faces)
        stored = samples.sdf[chosen] * LATTICE_M
        error = np.abs(np.abs(stored) - np.abs(exact))
        wrong_sign = (stored * exact < 0) & (np.abs(exact) > SIGN_BAND)
        limit = np.where(np.abs(exact) < NEAR, NEAR_ERROR, NEAR_ERROR + FAR_ERROR * np.abs(exact))
        for flaw, what in ((wrong_sign, "the wrong sign"), (error > limit, "a wrong distance")):
            if flaw.any():
                k = int(np.argmax(flaw))
                findings.problems.append(
                    f"{path.name}: {flaw.sum()} of {len(chosen)} points of row {row} have {what}, e.g. point "
                    f"{chosen[k]}: stored {1000 * stored[k]:.1f} mm, exact {1000 * exact[k]:.1f} mm"
                )
        near = np.abs(exact) < NEAR
        findings.add(
            Findings(
                counts={
                    "distances_computed_again": len(chosen),
                    "max_distance_error_mm": 1000 * float(error[near].max(initial=0)),
                }
            )
        )
    return findings


def exact_distance(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N,) metres, negative inside: slow and plain, for comparison."""
    squared = igl.point_mesh_squared_distance(points, vertices, faces)[0]
    return np.where(igl.winding_number(vertices, faces, points) > 0.5, -1, 1) * np.sqrt(squared)
