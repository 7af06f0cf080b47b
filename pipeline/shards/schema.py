"""What a reader of shards relies on before it reads a single row: attributes that are what they are called, datasets of their type
and shape."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.shards.format import (
    COLUMNS,
    GROWING,
    IMAGE_BYTES,
    IMAGE_OFFSET,
    OFFSETS,
    OPTIONAL,
    REJECT_COLUMNS,
    dataset_names,
)

# Attributes that readers use, and what they are.
TEXTS = (
    "run_id",
    "code_commit",
    "source",
    "body_model",
    "body_sha256",
    "sdf_backend",
    "sdf_sign_rule",
    "joint_set",
    "content_hash",
)
COUNTS = {"crop_px": 1 << 14, "size": 1 << 14, "pool": 1 << 16, "voters": 1 << 16}


def wrong_attributes(attributes: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with what a shard says about itself."""
    for name in TEXTS:
        if not isinstance(attributes.get(name), str):
            yield f"its attribute {name} is {attributes.get(name)!r}, not a text"
    for name, value in attributes.items():
        if isinstance(value, str) and not value.isascii() and value != value.encode(errors="ignore").decode():
            yield f"its attribute {name} is {value!r}, not a text in UTF-8"
    for name, most in COUNTS.items():
        value = attributes.get(name)
        if not isinstance(value, int | np.integer) or not (name == "voters") <= value + (name == "voters") <= most:
            yield f"its attribute {name} is {value!r}, not a number from {int(name != 'voters')} to {most}"
    if attributes.get("offsets") not in OFFSETS:
        yield f"its attribute offsets is {attributes.get('offsets')!r}, none of {', '.join(OFFSETS)}"
    for name, kind in {"config": dict, "joint_names": list}.items():
        try:
            found = json.loads(attributes.get(name, ""))
        except (TypeError, ValueError, RecursionError):
            found = None
        if not isinstance(found, kind):
            yield f"its attribute {name} is {str(attributes.get(name))[:40]!r}, not JSON of a {kind.__name__}"


def wrong_columns(columns: Mapping[str, Any], attributes: Mapping[str, Any]) -> Iterator[str]:
    """Every dataset there, of its type and shape, and none that belongs to another way of keeping offsets. columns: arrays or
    datasets by name."""
    offsets = attributes["offsets"]
    expected = {*dataset_names(offsets), IMAGE_BYTES, IMAGE_OFFSET, *REJECT_COLUMNS} - set(OPTIONAL)
    missing = sorted(expected - columns.keys())
    for name in missing:
        yield f"{name} is missing"
    for name in sorted((columns.keys() & COLUMNS.keys()) - expected - set(OPTIONAL)):
        yield f"{name} is there, but the shard says that it keeps offsets as {offsets!r}"
    if missing:
        return
    n = len(columns["views/id"]) if columns["views/id"].shape else -1
    sizes = {"N": int(attributes["pool"]), "K": int(attributes["voters"])}
    shapes = {name: (kind, (n, *(sizes.get(k, k) for k in shape))) for name, (kind, shape) in COLUMNS.items()}
    rejects = columns[REJECT_COLUMNS[0]].shape or (-1,)
    shapes |= dict.fromkeys(REJECT_COLUMNS, ("text", rejects))
    shapes |= {IMAGE_OFFSET: ("<i8", (n + 1,)), IMAGE_BYTES: ("|u1", columns[IMAGE_BYTES].shape[:1])}
    for name in shapes.keys() & columns.keys():
        kind, shape = shapes[name]
        values = columns[name]
        found = "text" if values.dtype.kind == "S" else values.dtype.str
        if found not in (kind, GROWING.get(name)) or values.shape != shape:
            yield f"{name} is {found} {values.shape}, expected {kind} {shape}"
