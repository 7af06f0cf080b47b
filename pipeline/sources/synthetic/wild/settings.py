"""What a wild capture is made of."""

from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.sources.synthetic.settings import Looks

# Number of what a seed draws of pictures as people take them (`begun.Kind`).
DRAWN = 4
# Every so-many-th picture is for validation; bodies and rooms of its own.
VALIDATION_EVERY = 20
# Of the people that come with the free body, those from here on are for validation.
TRAIN_PEOPLE_SHARE = 0.85
# Split -> folder of its images, and the part of its annotations' names, as in MSCOCO.
FOLDERS = {"train": "train2017", "validation": "val2017"}


@dataclass(frozen=True)
class Variety:
    """What pictures vary in; each can be turned off, to see what it is worth.

    motion_capture: poses from clips of real people, whole and limb by limb; without, all are the program's own. roll: cameras that are
    not level. occluders: things and other people before somebody; without, a picture shows one person, on a seat or
    not. cuts: people whom the border
    cuts.
    """

    motion_capture: bool = True
    roll: bool = True
    occluders: bool = True
    cuts: bool = True


@dataclass(frozen=True)
class WildSettings:
    """Settings of a wild capture; lengths in metres unless the name says otherwise.

    instants: pictures, each of one moment with one to four people. image_px: longest side of a picture. occluder_rate: share of
    pictures with a thing before somebody. garment_m: least and greatest displacement of clothes. penetration_m: how far two capsules
    of a body may overlap. supersampling: rays per pixel along each axis. block: pictures a task.
    looks: how things look. variety: what pictures vary in. shape_spread, shape_warp_m: as in
    `CaptureSettings`, for a body that comes without people.
    """

    seed: int = 0
    instants: int = 2000
    image_px: int = 384
    occluder_rate: float = 0.25
    garment_m: tuple[float, float] = (0.008, 0.040)
    penetration_m: float = 0.03
    supersampling: int = 2
    jpeg_quality: int = 92
    looks: Looks = Looks()
    variety: Variety = Variety()
    block: int = 16
    shape_spread: float = 1.0
    shape_warp_m: float = 0.008

    def __post_init__(self) -> None:
        if not 1 <= self.instants <= 10_000_000:
            raise InputError(f"--instants is {self.instants}; give 1 to 10 million pictures")
        if not 128 <= self.image_px <= 2048:
            raise InputError(f"--image-px is {self.image_px}; give 128 to 2048 pixels for the longest side")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed is {self.seed}; give 0 or more, below 2^63")
        assert self.supersampling >= 1 and 0 <= self.occluder_rate <= 1 and self.block >= 1


def split_of(picture: int) -> str:
    """The split of a picture by its number."""
    return "validation" if picture % VALIDATION_EVERY == VALIDATION_EVERY - 1 else "train"
