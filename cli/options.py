"""Options that several commands share, and the kinds of values that they take."""

import math
import os
from pathlib import Path
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


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine has under taskset or in a batch system's job."""
    return len(os.sched_getaffinity(0))


POSITIVE, HEAD = Positive(), RegisteredHead()

SCHEDULER = click.option(
    "--scheduler", help="Address of a Dask scheduler (tcp://...), or 'slurm' to submit --workers jobs."
)
WORKERS = click.option(
    "--workers",
    type=int,
    default=usable_cores,
    show_default="number of cores",
    help="Processes that work; 0: this one.",
)

FOCAL = click.option("--focal", type=POSITIVE, help="Focal length in pixels where the source has no camera.")
SOURCE_OPTIONS = click.option(
    "--option",
    "-o",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another option of the source (docs/datasets.md).",
)
JOINT_REGRESSOR = click.option(
    "--joint-regressor",
    type=click.Path(path_type=Path),
    help="A regressor (17 x vertices) of Human3.6M's joints on the body, .npy or .npz; the built-in joints by default.",
)
FINAL = click.option("--final", is_flag=True, help="The validation subject joins the training set.")
SUBJECTS = click.option("--subjects", help="Only these, e.g. S1,S5; all by default.")
