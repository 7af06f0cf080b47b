"""What a run takes on disk, and whether it is there."""

import shutil
from pathlib import Path

from pipeline.errors import InputError
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.shards.format import OFFSETS, J

# Left free on the disk beside the shards.
SPARE_BYTES = 1 << 30
# Stored over raw bytes with gzip 1, measured by benchmarks/storage.py; JPEG bytes a pixel at quality 90.
PACKED, JPEG_BYTES_A_PIXEL = 0.85, 0.45


def bytes_a_view(settings: PreprocessSettings, offsets: str) -> int:
    """What a view takes on disk, about."""
    pool, voters = settings.sampling.pool, settings.sampling.voters
    raw = 8 * pool + 2 * J * voters + {"voters": 6 * J * voters, "dense": 6 * J * pool, "derive": 0}[offsets]
    return round(PACKED * raw + JPEG_BYTES_A_PIXEL * settings.size**2 + 3000)


def expected_bytes(settings: PreprocessSettings, views: int) -> dict[str, int]:
    """Bytes of the whole run for each way to keep offsets."""
    return {offsets: views * bytes_a_view(settings, offsets) for offsets in OFFSETS}


def check_disk(folder: Path, settings: PreprocessSettings, views: int, there: int) -> None:
    """Raises InputError where the folder's disk has no room for a run of so many views. there: bytes of its shards that are
    already done."""
    needed = expected_bytes(settings, views)
    free = shutil.disk_usage(folder).free
    missing = needed[settings.offsets] - there + SPARE_BYTES - free
    if missing > 0:
        choices = ", ".join(f"{name} {size / 1e9:.1f} GB" for name, size in needed.items())
        raise InputError(
            f"{folder} has {free / 1e9:.1f} GB free; {views} views need about {choices} by --offsets (and 1 GB to "
            f"spare). Free {missing / 1e9:.1f} GB, choose another disk, or keep less"
        )
