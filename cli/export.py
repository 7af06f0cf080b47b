"""`nvf-cli export`: a run as one file for torch alone."""

from pathlib import Path

import click


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, help="People that the program takes at a time."
)
@click.option("--photograph", is_flag=True, help="The program takes a photograph and boxes, and crops by itself.")
def command(run: Path, out: Path, batch: int, photograph: bool) -> None:
    """Write RUN's best weights as a program that needs torch alone, OUT.pt2, or OUT.onnx, and check that it predicts the same."""
    from model.export import export_run

    said = export_run(run, out, batch, photograph)
    takes = ", ".join(f"{name} {said[name]}" for name in ("image", "photograph", "K", "boxes") if name in said)
    click.echo(f"Written: {out}. Takes {takes}.")
    click.echo(f"Largest difference from the network: {said['largest_difference_mm']} mm.")
