"""`nvf-cli predict`: people in photographs and videos."""

import math
import sys
from pathlib import Path

import click

from cli.options import POSITIVE
from pipeline.errors import InputError
from pipeline.memory import keep_imports

# Of the files that were written so many are named.
MOST_NAMED = 12


@click.command("predict")
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--run", type=click.Path(path_type=Path), default=None, help="A run of yours; default: the model that is shipped."
)
@click.option("--boxes", type=click.Path(path_type=Path), help="JSON or CSV with the boxes of any detector.")
@click.option(
    "--keypoints", type=click.Path(path_type=Path), help="2D keypoints of OpenPose (a folder) or in MSCOCO's JSON."
)
@click.option(
    "--box",
    "own_boxes",
    multiple=True,
    metavar="X,Y,W,H",
    help="A person's box in pixels, of one image; again for every further person.",
)
@click.option(
    "--every", type=click.IntRange(min=1), default=1, show_default=True, help="Of a video's frames, every so many."
)
@click.option(
    "--write",
    "formats",
    default="overlay",
    show_default=True,
    metavar="WORDS",
    help="Files besides predictions.json, with commas between: html, npz, overlay, glb, ply, bvh, amass; or none.",
)
@click.option("--html", is_flag=True, help="One page that turns in 3D in a browser, as html in --write.")
@click.option(
    "--decode",
    type=click.Choice(["auto", "votes", "body"]),
    default="auto",
    show_default=True,
    help="Joints of fitted bodies, or as the network says them; votes fits no bodies.",
)
@click.option(
    "--tta",
    "augmented",
    is_flag=True,
    help="Test-time augmentation, four looks at everybody: 2 to 5 % less off, and slower.",
)
@click.option("--focal", type=POSITIVE, help="Focal length in pixels; default: the image's diagonal.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("people"), show_default=True, help="Folder for results."
)
@click.option("--device", default=None, help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")
def command(
    images: tuple[str, ...],
    run: Path | None,
    boxes: Path | None,
    keypoints: Path | None,
    own_boxes: tuple[str, ...],
    every: int,
    formats: str,
    html: bool,
    decode: str,
    augmented: bool,
    focal: float | None,
    out: Path,
    device: str | None,
) -> None:
    """Find the people in IMAGES and give each joints in metres: pictures, videos, folders, patterns, or 0 for a webcam.

    Writes predictions.json and pictures of what was found into a folder of its own; the answer to another question gets the next
    number. Exit code 1 when some of the images were refused.
    """
    own = [parse_box(text) for text in own_boxes]
    with keep_imports():
        import torch

        from cli.progress import Progress
        from model.device import choose_device
        from model.people.job import Question, answer
        from model.people.outputs import parse_formats

    wanted = parse_formats(f"html,{'' if formats.strip().lower() == 'none' else formats}" if html else formats)
    question = Question(images, run, own, boxes, keypoints, every, focal, decode, wanted, augmented)
    # stages run beside one another, each with threads of its own
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    with Progress() as progress:
        found = answer(question, out, choose_device(device), progress.begin, progress.add)
    for remark in found.remarks:
        click.echo(remark, err=True)
    click.echo(f"Wrote {found.people} {'person' if found.people == 1 else 'people'}: {found.path}")
    for path in found.written[:MOST_NAMED]:
        click.echo(f"      {path}")
    if len(found.written) > MOST_NAMED:
        click.echo(f"      and {len(found.written) - MOST_NAMED} more files beside it")
    sys.exit(1 if found.refused else 0)


def parse_box(text: str) -> list[float]:
    """ "10,20,300,400" -> [10, 20, 300, 400]."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not all(map(math.isfinite, values)) or min(values[2:]) <= 0:
        raise InputError(
            f"--box {text}: give x,y,width,height in pixels, width and height above 0, for example 120,40,300,520."
        )
    return values
