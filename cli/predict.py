"""`nvf-cli predict`: the joints of people in photographs."""

import math
import sys
from pathlib import Path

import click

from cli.options import POSITIVE
from pipeline.errors import InputError


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--box",
    "boxes",
    multiple=True,
    metavar="X,Y,W,H",
    help="A person's box in pixels, again for every further person; default: the whole image.",
)
@click.option("--focal", type=POSITIVE, help="Focal length in pixels; default: the image's diagonal.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Folder for results; default: RUN/predictions."
)
@click.option("--device", default=None, help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")
def command(
    run: Path,
    images: tuple[Path, ...],
    boxes: tuple[str, ...],
    focal: float | None,
    out: Path | None,
    device: str | None,
) -> None:
    """Predict a person in each of IMAGES with RUN's best weights; writes NAME.prediction.json and NAME.prediction.png.

    No file is replaced: another person or setting gets the next number. Exit code 1 when some of the images were refused.
    """
    if boxes and len(images) > 1:
        raise InputError(
            f"--box is a person's box in one image, and {len(images)} images are given. Predict one image at a time, each with its "
            "own boxes."
        )
    from model.device import choose_device
    from model.predict import Question, predict_images

    asked: list[list[float] | None] = [parse_box(text) for text in boxes] or [None]
    questions = [Question(image, box) for image in images for box in asked]
    refused = []
    for answer in predict_images(run, questions, out or run / "predictions", focal, choose_device(device)):
        if answer.report is None or answer.files is None:
            refused.append(answer.refusal)
            click.echo(f"Refused: {answer.refusal}", err=True)
        else:
            click.echo(f"{answer.report['image']}: {said_of(answer.report)}, written {answer.files[0]} and .png")
    if len(refused) == len(questions):
        raise InputError(f"nothing was predicted. {refused[0]}")
    sys.exit(1 if refused else 0)


def said_of(report: dict) -> str:
    """What the line of a prediction says of it."""
    return f"root at {report['root'][2]:.2f} m"


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
