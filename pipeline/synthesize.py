"""`nvf-cli synthesize`: tasks over processes, then joined. A run that is interrupted at any moment goes on where it was.

Request -> tasks -> make on the workers -> annotations, contact sheet -> synthetic.json
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.outputs import clear_drafts, run_lock, write_json
from pipeline.preprocess.progress import PLAIN_EVERY_S, Rate, clock_text
from pipeline.records import SYNTHETIC_MARK
from pipeline.run import Workers, make_all
from pipeline.sources.synthetic.begun import PLAN_FOLDER, Kind, standing, write_context
from pipeline.sources.synthetic.four_cameras import FourCameras
from pipeline.sources.synthetic.settings import CaptureSettings
from pipeline.sources.synthetic.wild.capture import Wild
from pipeline.sources.synthetic.wild.settings import WildSettings

# What is left free on the disk.
_SPARE_BYTES = 1 << 29


@dataclass(frozen=True)
class CaptureRequest:
    """What the user asked for. settings: people in motion before four cameras, or pictures as people take them. body: file of a body
    model, None for the free one."""

    out: Path
    settings: CaptureSettings | WildSettings = field(default_factory=CaptureSettings)
    body: Path | None = None


class Form(Protocol):
    """One form of a capture. pictures: in total. picture_bytes: about, on the disk. folders: patterns of those below the capture in
    which a killed run may have left half a file. make: of a task, on a worker."""

    @property
    def kind(self) -> Kind: ...
    @property
    def pictures(self) -> int: ...
    @property
    def picture_bytes(self) -> float: ...
    @property
    def folders(self) -> tuple[str, ...]: ...
    @property
    def make(self) -> Callable[[Any], Any]: ...
    def tasks(self, out: Path) -> list[Any]: ...
    def made(self, task: Any) -> bool:
        """Whether it is there, whole."""
        ...

    def join(self, out: Path, tasks: Sequence[Any]) -> dict:
        """Write what all tasks together give; what the mark says beside what `Kind.mark` does."""
        ...


def form_of(settings: CaptureSettings | WildSettings) -> Form:
    return Wild(settings) if isinstance(settings, WildSettings) else FourCameras(settings)


class CaptureProgress:
    """A line now and then: pictures done, rate and time left."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self.console, self.clock = console, clock

    def start(self, total: int, done: int = 0) -> None:
        """done: of an earlier run of this capture."""
        self.total, self.done = total, done
        self.rate, self.printed = Rate(self.clock, done), self.clock()

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def add(self, pictures: int) -> None:
        self.done += pictures
        self.rate.add(self.done)
        if self.clock() - self.printed >= PLAIN_EVERY_S or self.done == self.total:
            self.printed = self.clock()
            rate = self.rate()
            eta = clock_text((self.total - self.done) / rate) if rate else "unknown"
            self.note(f"{self.done}/{self.total} pictures, {rate:.1f} pictures/s, ETA {eta}")


def synthesize(request: CaptureRequest, workers: Workers, progress: CaptureProgress) -> dict:
    """Write a capture and return what its `synthetic.json` says; one that is complete stays as it is. Raises InputError when the
    folder holds something else, or when pictures could not be made: the others stay, and the same command tries again."""
    out, form = request.out, form_of(request.settings)
    with run_lock(out):
        body = load_body(request.body)
        mark = standing(out, form.kind, request.settings, body.sha256)
        if mark is not None:
            other = mark.get("drawn") != form.kind.drawn
            drawn = ", drawn by a version that draws other pictures than this one" if other else ""
            progress.note(f"{out} is complete already{drawn}; nothing was made")
            shutil.rmtree(out / PLAN_FOLDER, ignore_errors=True)  # of a run that was killed at its very end
            return mark
        below = (folder for pattern in (PLAN_FOLDER, "annotations", *form.folders) for folder in out.glob(pattern))
        for folder in (out, *below):
            clear_drafts(folder, "*")
        tasks = form.tasks(out.resolve())
        missing = [task for task in tasks if not form.made(task)]
        left = sum(task.views for task in missing)
        _check_disk(out, left, form.picture_bytes)
        write_context(out, form.kind, request.settings, request.body, body.sha256)
        progress.start(form.pictures, form.pictures - left)
        _make(form, missing, workers, progress)
        mark = form.kind.mark(request.settings, body) | form.join(out, tasks)
        write_json(out / SYNTHETIC_MARK, mark)
        shutil.rmtree(out / PLAN_FOLDER)
        return mark


def _make(form: Form, missing: Sequence[Any], workers: Workers, progress: CaptureProgress) -> None:
    failures = 0
    for outcome in make_all(form.make, missing, workers, progress.note) if missing else ():
        if outcome.record is None:
            failures += 1
            progress.note(outcome.error)
        else:
            progress.add(outcome.task.views)
    if failures:
        raise InputError(f"{failures} of {len(missing)} tasks failed; the same command tries them again")


def _check_disk(out: Path, pictures: int, each: float) -> None:
    """InputError where the disk has no room for what is still to be made."""
    needed, free = pictures * each, shutil.disk_usage(out).free
    if pictures and needed + _SPARE_BYTES > free:
        raise InputError(
            f"{out} has {free / 1e9:.1f} GB free; {pictures} pictures need about {needed / 1e9:.1f} GB and half a GB to spare. Free "
            "some space, choose another disk, or ask for fewer or smaller pictures"
        )
