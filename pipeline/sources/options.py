"""Options of a source: one frozen dataclass each, from which names, types, choices and defaults come."""

import math
import types
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pipeline.errors import InputError

Options = TypeVar("Options")


def make_options(name: str, options: type[Options], given: dict) -> Options:
    """The options dataclass of source `name`; None and False count as not given. InputError for an option that it does
    not have, or for a value that is not among its choices."""
    given = {key: value for key, value in given.items() if value is not None and value is not False}
    for key, value in given.items():
        kind = _kind(name, options, key)
        if get_origin(kind) is Literal:
            _check_choice(key, value, kind)
    return options(**given)


def parse_pairs(name: str, options: type, pairs: Sequence[str]) -> dict:
    """{option: value} of "key=value" texts. Paths stay text, since options are kept in run.json."""
    found = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"{pair!r} is not an option of a source; write key=value, for example every_test=5.")
        found[key] = _convert(key, text, _kind(name, options, key))
    return found


def _kind(name: str, options: type, key: str) -> Any:
    """The type of an option, without its None."""
    hints = get_type_hints(options)
    if key not in hints:
        known = ", ".join(field.name for field in fields(options))
        raise InputError(f"The source {name} has no option {key}; it takes {known}.")
    kind = hints[key]
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (part for part in get_args(kind) if part is not type(None))
    return kind


def _convert(key: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return tuple(text.split(","))
    if get_origin(kind) is Literal:
        _check_choice(key, text, kind)
        return text
    if kind in (str, Path):
        return text
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise InputError(f"The option {key} is {text!r}; it takes true or false.")
    assert kind in (int, float), kind
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"The option {key} is {text!r}; it takes a number.") from None


def _check_choice(key: str, value: object, kind: Any) -> None:
    if value not in get_args(kind):
        raise InputError(f"{key} is {value!r}; choose one of {', '.join(get_args(kind))}.")


def check_focal(focal: float | None) -> None:
    """InputError unless the focal length is a positive number of pixels, or none is given."""
    if focal is not None and not 0 < focal < math.inf:
        raise InputError(f"focal is {focal}; give the focal length in pixels, above 0.")
