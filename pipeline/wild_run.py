"""`synthesize --wild`: blocks of pictures over processes, then joined. A run that is interrupted at any moment goes on where it was.

Request -> blocks -> make_block on the workers -> annotations, statistics, contact sheet -> synthetic.json
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.outputs import clear_drafts, run_lock, write_json
from pipeline.preprocess.progress import PLAIN_EVERY_S, Rate, clock_text
from pipeline.records import SYNTHETIC_MARK
from pipeline.run import Workers, make_all
from pipeline.sources.synthetic.wild.blocks import (
    CONTEXT_FILE,
    PLAN_FOLDER,
    Block,
    make_block,
    read_block,
    write_context,
)
from pipeline.sources.synthetic.wild.columns import FORMAT
from pipeline.sources.synthetic.wild.layout import join, mark_of
from pipeline.sources.synthetic.wild.settings import DRAWN, FOLDERS, WildSettings
from pipeline.sources.synthetic.wild.sheet import write_sheet
from pipeline.sources.synthetic.wild.statistics import write_statistics

# What a picture takes on disk for each pixel of its area, what is known of it beside, and what is left free.
_BYTES_A_PIXEL, _BYTES_A_PICTURE, _SPARE_BYTES = 0.3, 6000, 1 << 29


@dataclass(frozen=True)
class WildRequest:
    """What the user asked for. body: file of a body model, None for the free one."""

    out: Path
    settings: WildSettings = field(default_factory=WildSettings)
    body: Path | None = None


class WildProgress:
    """A line now and then: pictures done, people, rate and time left."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self.console, self.clock = console, clock
        self.done = self.people = 0

    def start(self, total: int, done: int = 0, people: int = 0) -> None:
        """done, people: of an earlier run of this capture."""
        self.total, self.done, self.people = total, done, people
        self.rate, self.printed = Rate(self.clock, done), self.clock()

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def add(self, pictures: int, people: int) -> None:
        self.done, self.people = self.done + pictures, self.people + people
        self.rate.add(self.done)
        if self.clock() - self.printed >= PLAIN_EVERY_S or self.done == self.total:
            self.printed = self.clock()
            rate = self.rate()
            eta = clock_text((self.total - self.done) / rate) if rate else "unknown"
            self.note(f"{self.done}/{self.total} pictures, {self.people} people, {rate:.1f} pictures/s, ETA {eta}")


def synthesize_wild(request: WildRequest, workers: Workers, progress: WildProgress) -> dict:
    """Write a wild capture and return what its `synthetic.json` says; one that is complete stays as it is. Raises InputError when the
    folder holds something else, or when pictures could not be made: the others stay, and the same command tries again."""
    out, settings = request.out, request.settings
    with run_lock(out):
        body = load_body(request.body)
        wanted = {"settings": _plain(settings), "sha256": body.sha256}
        if (mark := _standing(out, wanted)) is not None:
            drawn = "" if mark.get("drawn") == DRAWN else ", drawn by a version that draws other pictures than this one"
            progress.note(f"{out} is complete already{drawn}; nothing was made")
            return mark
        _check_disk(out, settings)
        _clear_drafts(out)
        write_context(out, settings, request.body.resolve() if request.body else None, body.sha256)
        blocks = _blocks(out, settings)
        there = {
            block: len(columns["person/picture"]) for block in blocks if (columns := read_block(block)) is not None
        }
        progress.start(settings.instants, sum(block.count for block in there), sum(there.values()))
        failures, missing = [], [block for block in blocks if block not in there]
        for outcome in make_all(make_block, missing, workers, progress.note) if missing else ():
            if outcome.record is None:
                failures.append(outcome.error)
                progress.note(outcome.error)
            else:
                progress.add(outcome.task.count, outcome.record.people)
        if failures:
            raise InputError(f"{len(failures)} of {len(missing)} blocks failed; the same command tries them again")
        people = join(out, blocks)
        write_statistics(out)
        write_sheet(out)
        mark = mark_of(settings, body.name, body.sha256, people)
        write_json(out / SYNTHETIC_MARK, mark)
        shutil.rmtree(out / PLAN_FOLDER)
        return mark


def _plain(settings: WildSettings) -> dict:
    """As JSON gives it back."""
    return json.loads(json.dumps(asdict(settings)))


def _blocks(out: Path, settings: WildSettings) -> list[Block]:
    folder, total, size = out.resolve(), settings.instants, settings.block
    return [Block(folder, first, min(size, total - first)) for first in range(0, total, size)]


def _standing(out: Path, wanted: dict) -> dict | None:
    """The mark of a complete capture that is what is wanted, None for a folder that is empty or was begun so. InputError for anything
    else, with the settings in which they differ."""
    mark = _read(out / SYNTHETIC_MARK)
    if mark is not None:
        if mark.get("format") != FORMAT:
            raise InputError(f"{out} holds another kind of capture; name a new folder")
        _refuse_changes(out, {"settings": mark.get("settings"), "sha256": mark.get("body", {}).get("sha256")}, wanted)
        return mark
    begun = _read(out / PLAN_FOLDER / CONTEXT_FILE)
    if begun is not None:
        _refuse_changes(out, begun, wanted)
        _refuse_other_pictures(out, begun)
    elif any(path.name != PLAN_FOLDER for path in out.iterdir()):
        raise InputError(f"{out} is not empty and holds no capture that was begun; name a new folder")
    return None


def _read(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); name a new folder") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no object; name a new folder")
    return content


def _refuse_changes(out: Path, standing: dict, wanted: dict) -> None:
    if standing.get("sha256") != wanted["sha256"]:
        raise InputError(f"{out} was begun with another body; give that one with --body, or name a new folder")
    there = standing.get("settings") or {}
    changed = [f"{k} {there.get(k)} (now {v})" for k, v in wanted["settings"].items() if there.get(k) != v]
    if changed:
        raise InputError(f"{out} was begun with other settings: {', '.join(changed)}; give those, or name a new folder")


def _refuse_other_pictures(out: Path, begun: dict) -> None:
    """InputError where the pictures that are there are not those that this version draws, clothes or hair for example."""
    if begun.get("drawn") != DRAWN:
        raise InputError(
            f"{out} was begun by a version that draws other pictures ({begun.get('code_commit', 'an earlier one')}; its number is "
            f"{begun.get('drawn', 'not recorded')}, this version's {DRAWN}): half of the capture would be of another kind. Go on with "
            "that version, or remove the folder and begin again"
        )


def _check_disk(out: Path, settings: WildSettings) -> None:
    """InputError where the disk has no room for what is still to be made."""
    there = sum(1 for folder in FOLDERS.values() for _ in (out / folder).glob("*.jpg"))
    each = 0.75 * settings.image_px**2 * _BYTES_A_PIXEL + _BYTES_A_PICTURE
    needed, free = (settings.instants - there) * each, shutil.disk_usage(out).free
    if needed + _SPARE_BYTES > free:
        raise InputError(
            f"{out} has {free / 1e9:.1f} GB free; {settings.instants - there} pictures need about {needed / 1e9:.1f} GB and half a GB "
            "to spare. Free some space, choose another disk, or ask for fewer or smaller pictures"
        )


def _clear_drafts(out: Path) -> None:
    """What a killed run may have left half written."""
    for folder in (PLAN_FOLDER, "annotations", *FOLDERS.values()):
        clear_drafts(out / folder, "*")
