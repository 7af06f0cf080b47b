"""`nvf-cli predict`: the joints of a person in a photograph."""

from pathlib import Path

import click

from pipeline.errors import InputError


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--box", default=None, metavar="X,Y,W,H", help="The person's box in pixels; default: the whole image.")
@click.option(
    "--focal",
    type=click.FloatRange(min=0, min_open=True),
    help="Focal length in pixels; default: the image's diagonal.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Folder for results; default: RUN/predictions."
)
@click.option("--device", default=None, help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")
def command(run, images, box, focal, out, device):
    """Predict the person in each of IMAGES with RUN's best weights; writes NAME.json and NAME.png."""
    from model.device import choose_device
    from model.predict import predict_images

    out = out or run / "predictions"
    for report in predict_images(run, images, out, parse_box(box), focal, choose_device(device)):
        stem = Path(report["image"]).stem
        click.echo(f"{report['image']}: root at {report['root'][2]:.2f} m, written {out / stem}.json and .png")


def parse_box(text: str | None) -> list[float] | None:
    """ "10,20,300,400" -> [10, 20, 300, 400]."""
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not (values[2] > 0 and values[3] > 0):
        raise InputError(
            f"--box {text}: give x,y,width,height in pixels, width and height above 0, for example 120,40,300,520."
        )
    return values
