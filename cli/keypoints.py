"""`nvf-cli keypoints`: 2D keypoints of the people in pictures, as OpenPose writes them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from model.people.keypoints import Marked


@click.command("keypoints")
@click.argument("images", nargs=-1, required=True)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    type=click.Choice(["body25", "coco17"]),
    default="body25",
    show_default=True,
    help="The joints and their order, as `-o layout=` of the source openpose reads them.",
)
@click.option(
    "--every", type=click.IntRange(min=1), default=1, show_default=True, help="Of a video's frames, every so many."
)
@click.option(
    "--tta",
    "augmented",
    is_flag=True,
    help="Test-time augmentation, four looks at everybody: a sixth fewer limbs far off, and slower.",
)
def command(images: tuple[str, ...], out: Path, layout: str, every: int, augmented: bool) -> None:
    """Find the people in IMAGES (pictures, folders, patterns, videos) and write OUT/NAME_keypoints.json for each picture.

    The files are what OpenPose writes: with the pictures in DATA/images and OUT = DATA/keypoints, `fit` and `preprocess openpose DATA`
    read them. Exit code 1 when some of the images were refused.
    """
    from model.people.keypoints import mark_all

    people, refused = mark_all(images, out, layout, every, augmented, tell)
    click.echo(f"Wrote the keypoints of {people} {'person' if people == 1 else 'people'} into {out}.")
    sys.exit(1 if refused else 0)


def tell(marked: "Marked") -> None:
    if marked.refusal:
        click.echo(f"Refused: {marked.refusal}", err=True)
    else:
        others = f", {marked.left_out} left out: their box shows another's keypoints" if marked.left_out else ""
        click.echo(f"{marked.name}: {'nobody' if not marked.people else marked.people}{others}")
