"""Kinds of values that several commands take."""

import math

import click


class Positive(click.ParamType):
    """A number above 0 that is finite: click's own ranges let NaN and infinity pass."""

    name = "number"

    def convert(self, value, param, context):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is not a number above 0.", param, context)
        return number


POSITIVE = Positive()
