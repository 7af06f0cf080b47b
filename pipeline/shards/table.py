"""A few columns over all shards of a run, and how a quantity is spread over its views."""

from pathlib import Path

import numpy as np

from pipeline.shards.format import OPTIONAL, decode_text, default_column
from pipeline.shards.open import naming, open_shard

PERCENTILES = (5, 50, 95, 100)
# What the means of a run's fits are made of.
FIT_ERRORS = ("fits/fit_error_mm", "fits/reprojection_px")


def read_table(shards: list[Path], names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], dict]:
    """Some columns over all shards, by the name after the slash, and the attributes of the last shard."""
    parts = []
    for path in shards:
        with open_shard(path) as file, naming(path):
            n, part, attributes = len(file["views/id"]), {}, dict(file.attrs)
            for name in names:
                values = default_column(name, n) if name in OPTIONAL and name not in file else file[name][()]
                part[name.split("/")[1]] = decode_text(values) if values.dtype.kind == "S" else values
            parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, attributes


def distribution(values: np.ndarray) -> dict[str, float] | None:
    """Mean and percentiles of the finite ones; None where there are none."""
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return None
    distribution = {"n": len(values), "mean": round(float(values.mean()), 3)}
    return distribution | {f"p{p}": round(float(np.percentile(values, p)), 3) for p in PERCENTILES}
