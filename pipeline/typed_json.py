"""Frozen records to JSON and back: every key and every type is checked, and what is wrong is named with its place."""

import types
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from pipeline.errors import InputError

_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def to_plain(value: Any, rows: Iterable[type] = ()) -> Any:
    """What JSON can hold of a record. rows: kinds of records that are kept as a list of their values, which is shorter."""
    if is_dataclass(value):
        values = {f.name: to_plain(getattr(value, f.name), rows) for f in fields(value)}
        return list(values.values()) if isinstance(value, tuple(rows)) else values
    if isinstance(value, dict):
        return {key: to_plain(item, rows) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item, rows) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: Any, value: Any, place: str) -> Any:
    """The value as `kind`: a record (an object, or a list of its values in order), a tuple, a dict, a union or a plain type.

    place: what the value is called in messages, its file first. A field with a default may be missing: older files lack it.
    Raises InputError that names the place of a missing key, an unknown key or a wrong type.
    """
    if is_dataclass(kind):
        return _record(kind, value, place)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return _one_of(arguments, value, place)
    if origin is tuple:
        _require(isinstance(value, list), value, "a list", place)
        return tuple(from_plain(arguments[0], item, f"{place}[{k}]") for k, item in enumerate(value))
    if origin is dict:
        _require(isinstance(value, dict), value, "an object", place)
        return {key: from_plain(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    if kind is dict or kind is object:
        _require(kind is object or isinstance(value, dict), value, "an object", place)
        return value
    if kind is Path:
        _require(isinstance(value, str), value, "a path", place)
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    _require(type(value) is kind, value, _NAMES[kind], place)
    return value


def _record(kind: Any, value: Any, place: str) -> Any:
    known = {f.name: f for f in fields(kind)}
    if isinstance(value, list) and len(value) == len(known):
        value = dict(zip(known, value, strict=True))
    _require(isinstance(value, dict), value, f"a {kind.__name__}", place)
    for key in value.keys() - known.keys():
        raise InputError(f"{place} has the key {key!r}, which this program does not know")
    for name, field in known.items():
        if name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{place} has no key {name!r}")
    kinds = get_type_hints(kind)
    return kind(**{name: from_plain(kinds[name], item, f"{place}: {name}") for name, item in value.items()})


def _one_of(kinds: tuple[type, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    [kind] = [kind for kind in kinds if kind is not type(None)]
    return from_plain(kind, value, place)


def _require(right: bool, value: object, expected: str, place: str) -> None:
    if not right:
        raise InputError(f"{place} is {str(value)[:60]!r}, expected {expected}")
