"""What a worker is handed: two small JSON files on the shared disk, so that the task graph carries only their names.

`.plan/context.json` holds what is the same for every shard, `.plan/shard-00042.json` the instants of one. Arrays are
kept bit for bit. Both are written by the run that reads them and are removed when it is done.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from pipeline.preprocess.settings import PreprocessSettings
from pipeline.records import BodyFit, BodyParameters, Camera, FitQuality, Instant, Reject, SmplParameters, View
from pipeline.shards.format import ShardHeader
from pipeline.typed_json import from_plain, to_plain

Work = TypeVar("Work")
Record = TypeVar("Record")
PLAN_FOLDER, CONTEXT_FILE = ".plan", "context.json"
_RECORDS: dict[str, Any] = {
    record.__name__: record
    for record in (Instant, View, Camera, BodyParameters, SmplParameters, BodyFit, FitQuality, Reject)
}


def encode(value: Any) -> Any:
    """A record, or anything made of records, arrays, lists, dicts and plain values -> what JSON can hold."""
    if isinstance(value, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": [value.dtype.str, value.shape, data]}
    if is_dataclass(value):
        return {"record": type(value).__name__} | {f.name: encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {"dict": {key: encode(item) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    assert value is None or isinstance(value, str | int | float | bool), type(value)
    return value


def decode(value: Any) -> Any:
    """Inverse of `encode`; sequences come back as tuples."""
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        dtype, shape, data = value["array"]
        # a copy: some of scipy's functions refuse memory that may not be written, which a view of bytes is
        return np.frombuffer(base64.b64decode(data), np.dtype(dtype)).reshape(shape).copy()
    if "dict" in value:
        return {key: decode(item) for key, item in value["dict"].items()}
    return _RECORDS[value["record"]](**{key: decode(item) for key, item in value.items() if key != "record"})


@dataclass(frozen=True)
class Task:
    """One shard to make. name: of its file. job: the JSON file with its instants. views: how many are planned."""

    name: str
    job: Path
    views: int

    @property
    def shard(self) -> Path:
        return self.job.parent.parent / self.name

    @property
    def context(self) -> Path:
        return self.job.parent / CONTEXT_FILE


@dataclass(frozen=True)
class Outcome(Generic[Work, Record]):
    """How a task ended: its record, or why it has none. fatal: no other task can do better (a full disk)."""

    task: Work
    record: Record | None = None
    error: str = ""
    fatal: bool = False


@dataclass(frozen=True)
class Context:
    """What is the same for every shard of a run.

    root: the dataset's folder. body: the user's body model, None for the built-in one; joint_regressor: the user's file and
    joint_regressor_sha256 what it was when the run was planned, None for the built-in joints. betas: (10,) by subject. smpl:
    folder of the user's SMPL files and their regressor, where the dataset's SMPL parameters are the meshes.
    """

    root: Path
    header: ShardHeader
    settings: PreprocessSettings
    body: Path | None
    joint_regressor: Path | None
    joint_regressor_sha256: str | None
    betas: dict[str, tuple[float, ...]]
    smpl: tuple[Path, ...] | None


def write_context(folder: Path, context: Context) -> None:
    """Makes `folder`/.plan and puts there what every worker reads first."""
    (folder / PLAN_FOLDER).mkdir()
    (folder / PLAN_FOLDER / CONTEXT_FILE).write_text(json.dumps(to_plain(context)))


def read_context(text: str) -> Context:
    """text: the content of context.json."""
    return from_plain(Context, json.loads(text), CONTEXT_FILE)


def task_of(folder: Path, name: str, instants: Sequence[Instant]) -> Task:
    """The task of a shard; `name` is its file's."""
    job = folder / PLAN_FOLDER / Path(name).with_suffix(".json").name
    return Task(name, job, sum(len(instant.views) for instant in instants))


def write_job(task: Task, instants: Sequence[Instant], fits: Sequence[BodyFit | Reject] | None) -> None:
    """Stores the instants of a shard for its worker. fits: None to fit."""
    task.job.write_text(json.dumps(encode({"instants": list(instants), "fits": fits})))


def read_job(task: Task) -> tuple[tuple[Instant, ...], Sequence[BodyFit | Reject] | None]:
    job = decode(json.loads(task.job.read_text()))
    return job["instants"], job["fits"]
