"""People in motion before four cameras: a capture in Human3.6M's annotation layout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.errors import InputError
from pipeline.sources.synthetic.begun import BYTES_A_PIXEL, Kind, read_context
from pipeline.sources.synthetic.layout import join
from pipeline.sources.synthetic.sequences import plan_sequences
from pipeline.sources.synthetic.settings import CAMERAS, DRAWN, CaptureSettings
from pipeline.sources.synthetic.takes import Take, make_take, read_take, studio_of


@dataclass(frozen=True)
class FourCameras:
    """One form of a capture (`pipeline.synthesize.Form`)."""

    settings: CaptureSettings
    kind: ClassVar[Kind] = Kind(1, DRAWN, "Rendered people, not a recording: written by nvf-cli synthesize.")
    folders: ClassVar[tuple[str, ...]] = ("images/*",)

    @property
    def pictures(self) -> int:
        return self.settings.instants * len(CAMERAS)

    @property
    def picture_bytes(self) -> float:
        return self.settings.image_px**2 * BYTES_A_PIXEL

    @property
    def make(self) -> Callable[[Take], int]:
        return make_take

    def tasks(self, out: Path) -> list[Take]:
        return [Take(out, plan) for plan in plan_sequences(self.settings)]

    def made(self, task: Take) -> bool:
        return read_take(task) is not None

    def join(self, out: Path, tasks: Sequence[Take]) -> dict:
        results = []
        for take in tasks:
            result = read_take(take)
            if result is None:
                raise InputError(f"{take.path} is damaged; the same command again films it anew")
            results.append(result)
        join(out, studio_of(read_context(out)), [take.plan for take in tasks], results)
        return {"instants": self.settings.instants, "views": self.pictures}
