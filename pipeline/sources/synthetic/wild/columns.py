"""What is kept of a wild capture: the columns of its file in 3D, and where everything lies. Needs nothing that draws."""

from pipeline.records import PARAMETER_SIZES
from pipeline.sources.synthetic.wild.settings import FOLDERS, split_of

TRUTH_FILE = "annotations/people_3d.h5"
FORMAT = "wild capture 1"
# What hides a joint: it lies outside the picture, behind something or somebody else, behind the person's own body, or nothing.
OUTSIDE, HIDDEN, BEHIND_ITSELF, SEEN = range(4)
# Columns of a block's file and of the joined one: name -> shape of a row and type. Those of a picture, then those of a person.
PICTURE_COLUMNS = {
    "number": ((), "<i8"),
    "size": ((2,), "<i4"),
    "K": ((3, 3), "<f8"),
    "R": ((3, 3), "<f8"),
    "t": ((3,), "<f8"),
}
PERSON_COLUMNS = {
    "picture": ((), "<i8"),
    "body": ((), "<i4"),
    "kind": ((), "S24"),
    "joints_mm": ((17, 3), "<f4"),
    "seen": ((17,), "|u1"),
    "coco": ((17, 2), "<f4"),
    "coco_seen": ((17,), "|u1"),
    "box": ((4,), "<f4"),
    "pixels": ((), "<i4"),
    **{name: ((size,), "<f4") for name, size in PARAMETER_SIZES.items()},
}


def image_path(number: int) -> str:
    """Of a picture, relative to the capture: MSCOCO's names."""
    return f"{FOLDERS[split_of(number)]}/{number:012d}.jpg"
