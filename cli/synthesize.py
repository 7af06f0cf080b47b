"""`nvf-cli synthesize`: a synthetic capture in Human3.6M's annotation layout."""

import os
from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Same seed, same bytes.")
@click.option("--instants", default=1500, show_default=True, help="Rendered moments in total; each gives four images.")
@click.option("--image-px", default=256, show_default=True, help="Side of the images.")
@click.option(
    "--workers", default=os.cpu_count(), show_default="number of cores", help="Processes; 0 works in this one."
)
@click.option(
    "--body", "body_file", type=click.Path(path_type=Path), help="A licensed SMPLX_*.npz in place of the free body."
)
def command(out: Path, seed: int, instants: int, image_px: int, workers: int, body_file: Path | None) -> None:
    """Write a synthetic capture to the new folder OUT: people in motion, four cameras, true joints.

    It has Human3.6M's subjects, actions, splits and annotation layout, so `nvf-cli preprocess human36m OUT ...` reads it. Look at
    OUT/contact_sheet.png.
    """
    from pipeline.threads import cap_native_threads

    cap_native_threads()
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from pipeline.body.model import load_body
    from pipeline.sources.synthetic import CaptureSettings, write_capture

    settings = CaptureSettings(seed=seed, instants=instants, image_px=image_px)
    columns = (
        TextColumn("filming"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("instants"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task("filming", total=instants)

    def show(done: int, total: int) -> None:
        bar.start()  # not before: what write_capture refuses is said without a bar above it
        bar.update(task, completed=done, total=total)

    try:
        mark = write_capture(out, load_body(body_file), settings, workers, show)
    finally:
        bar.stop()
    click.echo(
        f"{out}: {mark['instants']} instants, {mark['views']} images, seed {seed}. Look at {out / 'contact_sheet.png'}."
    )
