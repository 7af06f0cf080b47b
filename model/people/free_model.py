"""The model that comes with this program: trained on free synthetic people, over an encoder that is free to use."""

from pathlib import Path

from pipeline.errors import InputError

# What `nvf-cli train --from` calls it.
NAME = "free"
FOLDER = Path(__file__).parent / "assets" / "free"
# What it is trained as at first, and what a run that goes on from it trains: its encoder is frozen.
CONFIGURATION = FOLDER.with_name("free.toml")
# What it is trained as in a build after another: the encoder's last stages learn along.
AFTER = FOLDER.with_name("free-after.toml")


def folder() -> Path:
    """The run of the free model. Raises InputError while none is shipped."""
    if not FOLDER.is_dir():
        raise InputError("no free model is shipped with this version. Name a run of yours.")
    return FOLDER
