"""`nvf-cli check-data`: what a dataset on disk holds, before hours are spent on it."""

import json
import sys
from pathlib import Path

import click

from cli.options import FINAL, FOCAL, SOURCE_OPTIONS, SUBJECTS


@click.command()
@click.argument("source")
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON and nothing else.")
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Write a contact sheet: joints and boxes on a few images."
)
@click.option(
    "--every-test", type=click.IntRange(1), help="Count every N-th test frame (human36m: 64; 5 for SPIN's protocol)."
)
@FINAL
@SUBJECTS
@FOCAL
@SOURCE_OPTIONS
def command(
    source: str,
    root: Path,
    as_json: bool,
    picture: Path | None,
    every_test: int | None,
    final: bool,
    subjects: str | None,
    focal: float | None,
    options: tuple[str, ...],
) -> None:
    """Look over the dataset in ROOT: counts, missing files, and whether joints, boxes and cameras fit together.

    SOURCE is human36m, threedpw, coco, openpose, multiview or wild. Exit code 0 when all is well, 1 when there are problems (listed),
    2 when the folder cannot be read as that dataset.
    """
    from model.networks.keypoint_network import KeypointNetwork
    from pipeline.errors import InputError
    from pipeline.sources import open_source, parse_options
    from pipeline.sources.check import check_source, empty_report

    given: dict[str, object] = {"every_test": every_test, "final": final, "focal": focal}
    given["subjects"] = tuple(subjects.split(",")) if subjects else None
    try:
        reader = open_source(source, root, **(given | parse_options(source, options)))
        report = check_source(reader, picture, KeypointNetwork("lightning"))
    except InputError as error:
        if as_json:
            click.echo(json.dumps(empty_report(source, root, str(error)), indent=1))
        raise
    if as_json:
        click.echo(json.dumps(report, indent=1, allow_nan=False))
    else:
        _print(report)
    sys.exit(1 if report["problems"] else 0)


def _print(report: dict) -> None:
    """The report as a person reads it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    subjects = report["subjects"]
    console.print(escape(f"{report['source']} in {report['root']}"), soft_wrap=True)
    table = Table()
    for title in ("subject", "instants", "views", "views after sampling"):
        table.add_column(title, justify="left" if title == "subject" else "right")
    for name, counts in list(subjects.items())[:20]:
        table.add_row(escape(name) or "all", *(f"{counts[key]:,}" for key in ("instants", "views", "sampled")))
    if len(subjects) > 20:
        table.add_row(f"and {len(subjects) - 20} more", "", "", "")
    table.add_row("total", f"{report['instants']:,}", f"{report['views']:,}", f"{report['sampled']:,}", style="bold")
    console.print(table)
    console.print(
        "splits: " + (", ".join(f"{split} {count:,} views" for split, count in report["by_split"].items()) or "none")
    )
    for reason, count in report["skipped"].items():
        console.print(f"left out by the usual filters: {count:,} {escape(reason)}")
    for notice in report["notices"]:
        console.print(f"note: {escape(notice)}", soft_wrap=True)
    if report["picture"]:
        console.print(f"picture: {escape(report['picture'])}", soft_wrap=True)
    for problem in report["problems"]:
        console.print(f"[red]problem:[/] {escape(problem)}", soft_wrap=True)
    if not report["problems"]:
        console.print(f"[green]no problems[/] ({report['seconds']:.1f} s)")
