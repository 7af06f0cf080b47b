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
    it is pictures as people take them, in MSCOCO's layout with everything in 3D beside it, for `nvf-cli preprocess wild OUT ...`. The
    same command again goes on with one that was interrupted. Look at OUT/contact_sheet.png (.jpg with --wild).
    """
    from rich.console import Console

    from pipeline.run import Workers
    from pipeline.sources.synthetic.settings import CaptureSettings
    from pipeline.sources.synthetic.wild.settings import WildSettings
    from pipeline.synthesize import CaptureProgress, CaptureRequest, synthesize
    from pipeline.threads import cap_native_threads

    cap_native_threads()
    given: dict = {"seed": seed, "instants": instants, "image_px": image_px}
    given = {name: value for name, value in given.items() if value is not None}
    settings = WildSettings(**given) if wild else CaptureSettings(**given)
    progress = CaptureProgress(Console(stderr=True))
    mark = synthesize(CaptureRequest(out, settings, body_file), Workers(workers, scheduler), progress)
    if wild:
        made, sheet = f"{mark['instants']} pictures of {mark['people']} people", "contact_sheet.jpg"
    else:
        made, sheet = f"{mark['instants']} instants, {mark['views']} images", "contact_sheet.png"
    click.echo(f"{out}: {made}, seed {mark['seed']}. Look at {out / sheet}.")
