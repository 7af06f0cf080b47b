"""Kinds of values that several commands take."""

import math
from typing import Any

import click


class Positive(click.ParamType):
    """A number above 0 that is finite: click's own ranges let NaN and infinity pass."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is not a number above 0.", param, context)
        return number


class RegisteredHead(click.ParamType):
    """The name of a head. Which there are is read when it is asked for: the registry loads torch."""

    name = "head"

    def choices(self) -> click.Choice:
        from model.networks.build import HEADS

        return click.Choice(list(HEADS))

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self.choices().get_metavar(param, ctx)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return self.choices().convert(value, param, ctx)


POSITIVE, HEAD = Positive(), RegisteredHead()
