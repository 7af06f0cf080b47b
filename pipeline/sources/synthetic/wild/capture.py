"""Pictures as people take them: a capture in MSCOCO's layout, with everything in 3D beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.sources.synthetic.begun import BYTES_A_PIXEL, Kind
from pipeline.sources.synthetic.wild.blocks import Block, make_block, read_block
from pipeline.sources.synthetic.wild.columns import FORMAT
from pipeline.sources.synthetic.wild.layout import NOTE, join
from pipeline.sources.synthetic.wild.settings import DRAWN, FOLDERS, WildSettings
from pipeline.sources.synthetic.wild.sheet import write_sheet
from pipeline.sources.synthetic.wild.statistics import write_statistics

# What is known of a picture takes so much beside it.
_BYTES_A_PICTURE = 6000


@dataclass(frozen=True)
class Wild:
    """One form of a capture (`pipeline.synthesize.Form`)."""

    settings: WildSettings
    kind: ClassVar[Kind] = Kind(FORMAT, DRAWN, NOTE)
    folders: ClassVar[tuple[str, ...]] = tuple(FOLDERS.values())

    @property
    def pictures(self) -> int:
        return self.settings.instants

    @property
    def picture_bytes(self) -> float:
        return 0.75 * self.settings.image_px**2 * BYTES_A_PIXEL + _BYTES_A_PICTURE

    @property
    def make(self) -> Callable[[Block], int]:
        return make_block

    def tasks(self, out: Path) -> list[Block]:
        total, size = self.settings.instants, self.settings.block
        return [Block(out, first, min(size, total - first)) for first in range(0, total, size)]

    def made(self, task: Block) -> bool:
        return read_block(task) is not None

    def join(self, out: Path, tasks: Sequence[Block]) -> dict:
        people = join(out, tasks)
        write_statistics(out)
        write_sheet(out)
        return {"wild": True, "instants": self.settings.instants, "people": people}
