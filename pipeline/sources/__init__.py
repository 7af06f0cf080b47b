"""Readers of datasets: one folder in, `Instant`s out, sorted by id, sampled and with their split."""

import importlib
import inspect
from pathlib import Path

from pipeline.errors import InputError
from pipeline.sources.base import Source, require_folder

# source -> (module, function that opens its root). A module is imported when its source is asked for.
SOURCES = {
    "human36m": ("pipeline.sources.human36m", "open_human36m"),
    "threedpw": ("pipeline.sources.threedpw", "ThreeDPW"),
    "coco": ("pipeline.sources.coco", "Coco"),
    "openpose": ("pipeline.sources.openpose", "OpenPose"),
}

__all__ = ["SOURCES", "Source", "open_source"]


def open_source(name: str, root: Path, **options) -> Source:
    """The reader of dataset `name` in folder `root`. docs/datasets.md lists the options of each source.

    An option that is None or False counts as not given. Raises InputError for an unknown source or option, a wrong
    folder, or annotations that cannot be read as a whole; a single bad item becomes a `Reject` while `instants` runs.
    """
    if name not in SOURCES:
        raise InputError(f"There is no source {name!r}; choose one of {', '.join(SOURCES)}.")
    root = require_folder(root, name)
    module, opener = SOURCES[name]
    opener = getattr(importlib.import_module(module), opener)
    given = {key: value for key, value in options.items() if value is not None and value is not False}
    known = [key for key in inspect.signature(opener).parameters if key != "root"]
    for key in given:
        if key not in known:
            raise InputError(f"The source {name} has no option {key}; it takes {', '.join(known) or 'none'}.")
    return opener(root, **given)
