"""What all changes need: odd values, and one change in nested containers or in an array."""

import copy
import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = random.Random
# What a pickle that is opened leaves behind. Every pickle made here asks for it.
CANARY = "NVF_FUZZ_CANARY"
# In place of any value: other types, and numbers at the ends of what types hold.
VALUES: list[Any] = [
    None, True, False, "", "x", "../../../etc/passwd", "/etc/passwd", "a\0b", "\ud800", "x" * 5000, 0, -1, 1, 2**31, 2**53 + 1, 2**63,
    -(2**63) - 1, 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), -float("inf"), [], {}, [[]],
    [None], {"": {}}, list(range(100)), [0.0] * 51, [1e9] * 75, [[1, 2], [3]], {"id": 1}, "nan", "1e5", "1",
]  # fmt: skip


class Canary:
    """Runs a command when it is unpickled, as a crafted file would."""

    def __reduce__(self) -> tuple:
        return os.system, (f'touch "${CANARY}"',)


def change_tree(tree: Any, rng: Rng) -> str:
    """One value of nested containers is made another, taken out, doubled or moved; says where."""
    parent, key, where = None, None, ""
    node = tree
    while isinstance(node, dict | list) and node and (parent is None or rng.random() < 0.85):
        parent, key = node, rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        where, node = f"{where}/{str(key)[:40]}", node[key]
    if parent is None:
        return "nothing"
    what = rng.choice(("value", "value", "value", "gone", "twice", "number", "renamed"))
    if what == "gone":
        del parent[key]
    elif what == "twice" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(node))
    elif what == "renamed" and isinstance(parent, dict):
        parent[rng.choice((f"{key}_", "", str(key).upper(), "-1", "99"))] = parent.pop(key)
    elif what == "number" and isinstance(node, int | float) and not isinstance(node, bool):
        parent[key] = node * rng.choice((-1, 0, 0.001, 1000, 1e12, 2, 0.5)) + rng.choice((0, 1, -1, 1e6))
    elif what == "number" and isinstance(node, np.ndarray):
        parent[key], what = change_array(node, rng)
    else:
        parent[key] = copy.deepcopy(rng.choice(VALUES))
        what = f"{what} {str(parent[key])[:30]}"
    return f"{where}: {what}"


def change_array(values: np.ndarray, rng: Rng) -> tuple[np.ndarray, str]:
    """The array with another type, shape or content; says which."""
    flat = values.reshape(-1)
    spot = rng.randrange(len(flat)) if len(flat) else 0
    special = rng.choice((np.nan, np.inf, -1, 1e30, 0, 2**31, 65535))

    def poked() -> np.ndarray:
        out = values.astype(float) if values.dtype.kind in "fiub" else values.copy()
        out.reshape(-1)[spot : spot + 1] = special if out.dtype.kind == "f" else b"\xff\0x"
        with np.errstate(invalid="ignore"):
            return out.astype(values.dtype)

    changes: dict[str, Callable[[], np.ndarray]] = {
        f"[{spot}] = {special}": poked,
        "float16": lambda: values.astype(np.float16),
        "text": lambda: values.astype("S8"),
        "complex": lambda: values.astype(complex),
        "objects": lambda: np.array([Canary()], object),
        "empty": lambda: values[:0],
        "one row more": lambda: np.concatenate([values, values[:1]]),
        "one row less": lambda: values[1:],
        "scalar": lambda: np.array(7),
        "flat": lambda: flat.copy(),
        "one more axis": lambda: values[None],
        "reversed": lambda: values[::-1].copy(),
        "times 1000": lambda: values * values.dtype.type(100),
    }
    name = rng.choice(list(changes))
    return changes[name](), name
