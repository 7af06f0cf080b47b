"""Readers of datasets: one folder in, `Instant`s out, sorted by id, sampled and with their split.

A reader is one module with a dataclass `Options` and a function `open_root(root, options)` that gives a `Source`; a
line in SOURCES makes it known to every command. docs/datasets.md lists the options of each.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.errors import InputError
from pipeline.records import SYNTHETIC_MARK, SYNTHETIC_PLAN
from pipeline.sources.base import Source
from pipeline.sources.options import make_options, parse_pairs

# Source -> its module, which is imported when the source is asked for.
SOURCES = {
    "human36m": "pipeline.sources.human36m.open",
    "threedpw": "pipeline.sources.threedpw",
    "coco": "pipeline.sources.coco",
    "openpose": "pipeline.sources.openpose",
    "multiview": "pipeline.sources.multiview",
    "wild": "pipeline.sources.wild",
}

__all__ = ["SOURCES", "Source", "open_source", "parse_options"]


def open_source(name: str, root: Path, **options: Any) -> Source:
    """The reader of dataset `name` in folder `root`; an option that is None or False counts as not given.

    Raises InputError for an unknown source or option, a wrong folder, or annotations that cannot be read as a whole; a
    single bad item becomes a `Reject` while the source is read.
    """
    module, root = _reader(name), Path(root)
    if not root.is_dir():
        raise InputError(
            f"{root} is not a folder. Give the folder that holds the {name} dataset (docs/datasets.md shows its layout)."
        )
    if (root / SYNTHETIC_PLAN).exists() and not (root / SYNTHETIC_MARK).exists():
        raise InputError(f"{root} is a capture that is not finished. The same `nvf-cli synthesize` goes on with it.")
    return module.open_root(root, make_options(name, module.Options, options))


def parse_options(name: str, pairs: Sequence[str]) -> dict:
    """Options of a source as a user writes them, "key=value" each, turned into what its reader expects."""
    return parse_pairs(name, _reader(name).Options, pairs)


def _reader(name: str) -> ModuleType:
    if name not in SOURCES:
        raise InputError(f"There is no source {name!r}; choose one of {', '.join(SOURCES)}.")
    return importlib.import_module(SOURCES[name])
