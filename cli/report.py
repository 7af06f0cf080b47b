"""`nvf-cli report`: the page of an evaluated run."""

from pathlib import Path

import click


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Write RUN/report.html, one file with the pictures and numbers of RUN's last evaluation."""
    from model.scoring.report import write_report

    click.echo(f"Written: {write_report(run)}")
