"""What decides the content of a run's shards, and what the user asked for."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import InputError
from pipeline.fit import FitSettings
from pipeline.sampling import SamplingSettings
from pipeline.shards.format import OFFSETS


@dataclass(frozen=True)
class PreprocessSettings:
    """What decides the content of the shards, apart from the source and the body.

    crop_px: side of the nominal crop, pixels. margin: stored side over crop_px, room for augmentation. jpeg_quality:
    of the stored crops, 1..100. shard_instants: instants a shard. offsets: how joint offsets are kept, see
    docs/shard-format.md.
    """

    crop_px: int = 256
    margin: float = 1.25
    jpeg_quality: int = 90
    shard_instants: int = 64
    seed: int = 0
    offsets: str = "voters"
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    fit: FitSettings = field(default_factory=FitSettings)

    def __post_init__(self) -> None:
        limits = {"crop_px": (16, 4096), "margin": (1, 4), "jpeg_quality": (1, 100), "shard_instants": (1, 4096)}
        limits["seed"] = (0, 2**63 - 1)
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is {getattr(self, name)}; choose a value from {low} to {high}")
        if self.offsets not in OFFSETS:
            raise InputError(f"offsets is {self.offsets!r}; choose one of {', '.join(OFFSETS)}")

    @property
    def size(self) -> int:
        """Side of the stored image; of crop_px's parity, so that the nominal crop's borders lie between pixels."""
        return self.crop_px + 2 * round(self.crop_px * (self.margin - 1) / 2)


@dataclass(frozen=True)
class Request:
    """What the user asked for: the dataset `source` in the folder `root`, as shards in `out`.

    body: file of a body model, None for the built-in one. joint_regressor: file of Human3.6M's joints on the body, None for the
    built-in ones. subjects: None for all. options: of the source. limit: how many instants at most, None for all.
    fits_from: folder of a `fit` run. overwrite, append: what to do with the run that `out` holds.
    """

    source: str
    root: Path
    out: Path
    body: Path | None = None
    joint_regressor: Path | None = None
    subjects: tuple[str, ...] | None = None
    options: dict = field(default_factory=dict)
    settings: PreprocessSettings = field(default_factory=PreprocessSettings)
    limit: int | None = None
    fits_from: Path | None = None
    overwrite: bool = False
    append: bool = False
