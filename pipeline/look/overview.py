"""What a shard or a folder of shards holds, and in what two of them differ."""

import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.lattice import LATTICE_M
from pipeline.preprocess.description import flatten
from pipeline.preprocess.rejects import RejectCounts
from pipeline.records import SPLITS, Reject
from pipeline.shards.format import decode_text, with_defaults
from pipeline.shards.open import naming, open_shard, read_columns
from pipeline.shards.run_json import RunRecord, read_run
from pipeline.shards.schema import COUNTS, TEXTS
from pipeline.shards.store import ShardReader, shard_folder
from pipeline.shards.table import distribution, read_table

# Edges of the distances' histogram, millimetres.
DISTANCE_EDGES = (-200, -100, -50, -20, -10, -5, 0, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
# Attributes of a shard that say where it comes from; the hash of its content is told elsewhere.
PROVENANCE = (*(name for name in TEXTS if name != "content_hash"), *COUNTS, "offsets", "version")
# Views whose distances enter the histogram, spread over the shards.
SAMPLED_VIEWS = 400


@dataclass(frozen=True)
class Target:
    """What the user pointed at. shards: the files. run: the record of a folder, None for a single shard."""

    path: Path
    shards: list[Path]
    run: RunRecord | None


def find_target(path: Path) -> Target:
    """A shard, a folder of shards, or a folder that has one as `shards/` (a run of `nvf-cli demo`)."""
    if path.is_file():
        open_shard(path).close()
        return Target(path, [path], None)
    if not path.exists():
        raise InputError(f"{path} does not exist; give a shard or a folder of shards")
    path = shard_folder(path)
    run = read_run(path)
    return Target(path, [path / record.name for record in run.shards], run)


# What `describe` counts over all views.
DESCRIBED = (
    "views/split",
    "views/subject",
    "views/action",
    "views/camera",
    "views/instant_id",
    "views/is_3d",
    "views/camera_assumed",
    "views/joints_valid",
    "views/joints_unseen",
    "fits/fit_error_mm",
    "fits/reprojection_px",
    "fits/fit_valid",
    "fits/has_mesh",
    "fits/mesh_model",
    "fits/ambiguous",
)


def describe(target: Target) -> dict:
    """Counts, quality and provenance; everything JSON-able."""
    if not target.shards:
        raise InputError(f"{target.path} has no finished shard; run preprocess again to finish it")
    table, attributes = read_table(target.shards, DESCRIBED)
    n, run = len(table["split"]), target.run
    return {
        "path": str(target.path),
        "state": run.state if run else "shard",
        "unfinished": run.unfinished if run else "",
        "views": n,
        "instants": len(np.unique(table["instant_id"])),
        "shards": len(target.shards),
        "bytes": sum(path.stat().st_size for path in target.shards),
        "content_hash": run.content_hash if run else str(attributes["content_hash"]),
        "rejects": RejectCounts(rejects_of(target)).by_reason(),
        "failed": [[shard.name, shard.error] for shard in run.failed] if run else [],
        "root": run.root if run else None,
        "recorded": run.recorded if run else None,
        "splits": {split: int((table["split"] == split).sum()) for split in SPLITS},
        "subjects": _counts(table["subject"]),
        "actions": _counts(table["action"]),
        "cameras": _counts(table["camera"]),
        "views_3d": int(table["is_3d"].sum()),
        "camera_assumed": int(table["camera_assumed"].sum()),
        "joints": {"valid": int(table["joints_valid"].sum()), "unseen": int(table["joints_unseen"].sum())},
        "fits": {
            "valid": int(table["fit_valid"].sum()),
            "ambiguous": int(table["ambiguous"].sum()),
            "without_mesh": int((~table["has_mesh"]).sum()),
            "mesh_models": _counts(table["mesh_model"][table["has_mesh"]]),
            "error_mm": distribution(table["fit_error_mm"]),
            "reprojection_px": distribution(table["reprojection_px"]),
        },
        "distance_mm": distance_histogram(target, n),
        "provenance": {name: _plain(attributes[name]) for name in PROVENANCE},
        "config": json.loads(attributes["config"]),
    }


def length(path: Path) -> int:
    """Views of a shard."""
    with closing(ShardReader(path)) as reader:
        return len(reader)


def rejects_of(target: Target) -> tuple[Reject, ...]:
    """Everything left out."""
    if target.run is not None:
        return target.run.all_rejects
    with open_shard(target.path) as file, naming(target.path):
        columns = [decode_text(file[f"rejects/{name}"][()]).tolist() for name in ("key", "stage", "reason")]
    return tuple(Reject(*row) for row in zip(*columns, strict=True))


def _counts(values: np.ndarray) -> dict[str, int]:
    return {str(name): int(count) for name, count in zip(*np.unique(values, return_counts=True), strict=True)}


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def distance_histogram(target: Target, n: int) -> dict[str, list]:
    """Share of field points in each interval of the signed distance, over up to SAMPLED_VIEWS views."""
    counts, step, first = np.zeros(len(DISTANCE_EDGES) - 1, np.int64), max(1, n // SAMPLED_VIEWS), 0
    for path in target.shards:
        with closing(ShardReader(path)) as reader, naming(path):
            has_mesh = reader.file["fits/has_mesh"][()]
            for row in range(-first % step, len(reader), step):
                if has_mesh[row]:
                    millimetres = reader.file["samples/sdf"][row] * (1000 * LATTICE_M)
                    counts += np.histogram(millimetres, DISTANCE_EDGES)[0]
            first += len(reader)
    total = max(1, counts.sum())
    return {"edges": list(DISTANCE_EDGES), "share": [round(float(count / total), 5) for count in counts]}


# --- two of them -----------------------------------------------------------------------------------------------------


def compare(first: Target, second: Target) -> dict:
    """Where two shards or folders differ: settings, views, and the datasets of the views that both have."""
    a, b = _views(first), _views(second)
    shared = sorted(a.keys() & b.keys())
    differing: Counter[str] = Counter()
    for view in shared:
        differing.update(_differences(*a[view], *b[view]))
    configs = [flatten({"config": describe_config(t)}) for t in (first, second)]
    changes = {k: [configs[0].get(k), configs[1].get(k)] for k in sorted(configs[0].keys() | configs[1].keys())}
    return {
        "paths": [str(first.path), str(second.path)],
        "views": [len(a), len(b)],
        "shared": len(shared),
        "only_first": sorted(a.keys() - b.keys())[:20],
        "only_second": sorted(b.keys() - a.keys())[:20],
        "settings": {k: pair for k, pair in changes.items() if pair[0] != pair[1]},
        "views_that_differ_by_dataset": dict(sorted(differing.items())),
        "same": not differing and a.keys() == b.keys(),
    }


def describe_config(target: Target) -> dict:
    with open_shard(target.shards[0]) as file:
        return json.loads(file.attrs["config"])


def _views(target: Target) -> dict[str, tuple[dict, int]]:
    """View id -> the shard's columns and the row."""
    found: dict[str, tuple[dict, int]] = {}
    for path in target.shards:
        with open_shard(path) as file:
            columns = with_defaults(read_columns(file))
        found |= {view: (columns, row) for row, view in enumerate(decode_text(columns["views/id"]).tolist())}
    return found


def _differences(a: dict, row_a: int, b: dict, row_b: int) -> list[str]:
    names = []
    for name in sorted(a.keys() | b.keys()):
        if name.startswith("rejects/") or name == "views/image_offset":
            continue
        if name == "views/image_bytes":
            cut = [
                c[name][c["views/image_offset"][r] : c["views/image_offset"][r + 1]]
                for c, r in ((a, row_a), (b, row_b))
            ]
        else:
            cut = [c[name][r] if name in c else None for c, r in ((a, row_a), (b, row_b))]
        if cut[0] is None or cut[1] is None or not _equal(*cut):
            names.append(name)
    return names


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
