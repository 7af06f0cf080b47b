"""Some of many, evenly spread."""

import numpy as np


def spread_evenly(n: int, count: int) -> list[int]:
    """Up to `count` of the indices 0 .. n - 1, ascending, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(count, n)).round().astype(int)).tolist()
