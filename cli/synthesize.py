"""`nvf-cli synthesize`: a synthetic capture in Human3.6M's annotation layout, or pictures as people take them."""

from pathlib import Path

import click

from cli.options import SCHEDULER, WORKERS


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Same seed, same bytes.")
@click.option("--wild", is_flag=True, help="Independent pictures of one to four people each, by any camera.")
@click.option(
    "--instants",
    type=int,
    show_default="1500, with --wild 2000",
    help="Rendered moments in total; each gives four images, with --wild one.",
)
@click.option(
    "--image-px",
    type=int,
    show_default="256, with --wild 384",
    help="Side of the images; with --wild their longest side.",
)
@WORKERS
@SCHEDULER
@click.option(
    "--body", "body_file", type=click.Path(path_type=Path), help="A licensed SMPLX_*.npz in place of the free body."
)
def command(
    out: Path,
    seed: int,
    wild: bool,
    instants: int | None,
    image_px: int | None,
    workers: int,
    scheduler: str | None,
    body_file: Path | None,
) -> None:
    """Write a synthetic capture to the new folder OUT: people in motion, four cameras, true joints.

    It has Human3.6M's subjects, actions, splits and annotation layout, so `nvf-cli preprocess human36m OUT ...` reads it. With --wild
    it is pictures as people take them, in MSCOCO's layout with everything in 3D beside it, for `nvf-cli preprocess wild OUT ...`; the
    same command again goes on with one that was interrupted. Look at OUT/contact_sheet.png (.jpg with --wild).
    """
    from pipeline.errors import InputError
    from pipeline.threads import cap_native_threads

    cap_native_threads()
    given = {"seed": seed, "instants": instants, "image_px": image_px}
    given = {name: value for name, value in given.items() if value is not None}
    if wild:
        _write_wild(out, given, workers, scheduler, body_file)
        return
    if scheduler is not None:
        raise InputError(
            "--scheduler is for --wild; people in motion are filmed by processes of this machine (--workers)."
        )
    _write_motion(out, given, workers, body_file)


def _write_wild(out: Path, given: dict, workers: int, scheduler: str | None, body_file: Path | None) -> None:
    from rich.console import Console

    from pipeline.run import Workers
    from pipeline.sources.synthetic.wild.settings import WildSettings
    from pipeline.wild_run import WildProgress, WildRequest, synthesize_wild

    request = WildRequest(out, WildSettings(**given), body_file)
    mark = synthesize_wild(request, Workers(workers, scheduler), WildProgress(Console(stderr=True)))
    click.echo(
        f"{out}: {mark['instants']} pictures of {mark['people']} people, seed {mark['seed']}. Look at {out / 'contact_sheet.jpg'}."
    )


def _write_motion(out: Path, given: dict, workers: int, body_file: Path | None) -> None:
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

    settings = CaptureSettings(**given)
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
    task = bar.add_task("filming", total=settings.instants)

    def show(done: int, total: int) -> None:
        bar.start()  # not before: what write_capture refuses is said without a bar above it
        bar.update(task, completed=done, total=total)

    try:
        mark = write_capture(out, load_body(body_file), settings, workers, show)
    finally:
        bar.stop()
    click.echo(
        f"{out}: {mark['instants']} instants, {mark['views']} images, seed {settings.seed}. Look at {out / 'contact_sheet.png'}."
    )
