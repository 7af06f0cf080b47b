"""Readers of datasets: one folder in, `Instant`s out, sorted by id, sampled and with their split."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.sources.base import Source, require_folder

# source -> (module, function that opens its root). A module is imported when its source is asked for.
SOURCES = {
    "human36m": ("pipeline.sources.human36m.open", "open_human36m"),
    "threedpw": ("pipeline.sources.threedpw", "ThreeDPW"),
    "coco": ("pipeline.sources.coco", "Coco"),
    "openpose": ("pipeline.sources.openpose", "OpenPose"),
}

__all__ = ["SOURCES", "Source", "open_source", "parse_options"]


def open_source(name: str, root: Path, **options) -> Source:
    """The reader of dataset `name` in folder `root`. docs/datasets.md lists the options of each source.

    An option that is None or False counts as not given. Raises InputError for an unknown source or option, a wrong
    folder, or annotations that cannot be read as a whole; a single bad item becomes a `Reject` while `instants` runs.
    """
    opener = _opener(name)
    root = require_folder(root, name)
    given = {key: value for key, value in options.items() if value is not None and value is not False}
    for key in given:
        _check_option(name, opener, key)
    return opener(root, **given)


def parse_options(name: str, pairs: Sequence[str]) -> dict:
    """Options of a source as a user writes them, "key=value" each, turned into what its reader expects."""
    opener = _opener(name)
    options = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found:
            raise InputError(f"{pair!r} is no option of a source; write key=value, for example every_test=5.")
        options[key] = _convert(key, value, _check_option(name, opener, key))
    return options


def _opener(name: str) -> Callable[..., Source]:
    if name not in SOURCES:
        raise InputError(f"There is no source {name!r}; choose one of {', '.join(SOURCES)}.")
    module, opener = SOURCES[name]
    return getattr(importlib.import_module(module), opener)


def _check_option(name: str, opener: Callable, key: str) -> str:
    """The option's type as the reader writes it; InputError when it has no such option."""
    known = {key: str(p.annotation) for key, p in inspect.signature(opener).parameters.items() if key != "root"}
    if key not in known:
        raise InputError(f"The source {name} has no option {key}; it takes {', '.join(known)}.")
    return known[key]


def _convert(key: str, value: str, kind: str):
    try:
        if "tuple" in kind:
            return tuple(value.split(","))
        if "bool" in kind:
            return {"true": True, "false": False}[value.lower()]
        if "float" in kind:
            return float(value)
        if "int" in kind:
            return int(value)
        return value  # paths stay text: options are kept in run.json
    except (ValueError, KeyError):
        raise InputError(
            f"The option {key} is {value!r}; it takes {'true or false' if 'bool' in kind else 'a number'}."
        ) from None
