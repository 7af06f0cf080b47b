"""`nvf-cli export`: a run as one file for torch alone."""

from pathlib import Path

import click


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Crops that the program takes at a time."
)
def command(run: Path, out: Path, batch: int) -> None:
    """Write RUN's best weights as a torch.export program, OUT.pt2, and check that it predicts the same."""
    from model.export import export_run

    said = export_run(run, out, batch)
    click.echo(f"Written: {out}. Takes image {said['image']} and K {said['K']}.")
    click.echo(f"Largest difference from the network: {said['largest_difference_mm']} mm.")
