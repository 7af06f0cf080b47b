"""What a worker is handed: two small JSON files on the shared disk, so that the task graph carries only their names.

`.plan/context.json` holds what is the same for every shard, `.plan/shard-00042.json` the instants of one. Arrays are
kept bit for bit. Both are written by the run that reads them and are removed when it is done.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np

from pipeline.records import BodyFit, BodyParameters, Camera, FitQuality, Instant, Reject, SmplParameters, View

PLAN_FOLDER = ".plan"
_RECORDS = {
    record.__name__: record
    for record in (Instant, View, Camera, BodyParameters, SmplParameters, BodyFit, FitQuality, Reject)
}


def encode(value: object) -> object:
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


def decode(value: object) -> object:
    """Inverse of `encode`; sequences come back as tuples."""
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        dtype, shape, data = value["array"]
        return np.frombuffer(base64.b64decode(data), np.dtype(dtype)).reshape(shape)
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


def write_job(folder: Path, name: str, instants: Sequence[Instant], fits: Sequence[BodyFit | Reject] | None) -> Task:
    """Stores what a worker needs for a shard under `folder`/.plan; `name` is the shard's file name. fits: None to
    fit."""
    job = folder / PLAN_FOLDER / Path(name).with_suffix(".json").name
    job.write_text(json.dumps(encode({"instants": list(instants), "fits": fits})))
    return Task(name, job, sum(len(instant.views) for instant in instants))


def read_job(task: Task) -> tuple[tuple[Instant, ...], tuple[BodyFit | Reject, ...] | None]:
    job = decode(json.loads(task.job.read_text()))
    return job["instants"], job["fits"]


def settings_from(cls: type, values: dict):
    """A settings dataclass from what JSON kept of it: nested settings, tuples and paths get their types back."""
    types = get_type_hints(cls)
    return cls(**{name: _as_type(types[name], value) for name, value in values.items()})


def _as_type(kind: object, value: object) -> object:
    if is_dataclass(kind):
        return settings_from(kind, value)
    if isinstance(value, list):
        return tuple(_as_type(None, item) for item in value)
    if isinstance(value, str) and Path in (kind, *get_args(kind)):
        return Path(value)
    return value
