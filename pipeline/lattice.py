"""The 0.1 mm lattice on which shards keep points, distances and offsets as int16 steps."""

import numpy as np

from pipeline.errors import InputError

LATTICE_M = 1e-4  # metres a step of points, distances and offsets


def to_lattice(values: np.ndarray) -> np.ndarray:
    """Metres -> int16 lattice steps, rounded half to even. Raises InputError where a value does not fit (3.2767 m)."""
    steps = np.rint(np.asarray(values, np.float64) / LATTICE_M)
    if not np.isfinite(steps).all() or np.abs(steps).max(initial=0) > 32767:
        raise InputError(
            f"a coordinate of {np.abs(values).max():.3f} m relative to the root does not fit the shard's lattice "
            "(3.2767 m); the body or its camera is wrong, or the sampling radius is too large"
        )
    return steps.astype(np.int16)


def offsets_to(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Joint minus point, in lattice steps: the one definition that stored and derived offsets share (both int16)."""
    offsets = joints.astype(np.int32) - points.astype(np.int32)
    if np.abs(offsets).max(initial=0) > 32767:
        raise InputError("an offset from a point to a joint does not fit the shard's lattice (3.2767 m)")
    return offsets.astype(np.int16)
