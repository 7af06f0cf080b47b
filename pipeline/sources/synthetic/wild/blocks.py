"""The pictures of one task: their files, and one file that says all that is known of them until the whole capture is joined.

A block's file is written last and at once, so a block is there or is not; who makes it again writes the same bytes.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.outputs import write_file
from pipeline.sources.synthetic.begun import (
    Task,
    open_context,
    read_arrays,
    read_context,
    write_arrays,
)
from pipeline.sources.synthetic.wild.columns import PERSON_COLUMNS, PICTURE_COLUMNS, image_path
from pipeline.sources.synthetic.wild.film import Shot, WildStudio, encode_jpeg, film, open_studio
from pipeline.sources.synthetic.wild.settings import DRAWN, WildSettings
from pipeline.threads import one_thread


@dataclass(frozen=True)
class Block(Task):
    """first, count: its pictures."""

    first: int
    count: int

    @property
    def name(self) -> str:
        return f"block-{self.first:08d}"

    @property
    def views(self) -> int:
        """What progress counts: pictures."""
        return self.count


@one_thread()
def make_block(block: Block) -> int:
    """Films the pictures of a block and writes them; how many. One that is there already is kept. Raises InputError where a file
    cannot be written."""
    if read_block(block) is None:
        studio = _studio_of(read_context(block.folder))
        shots = []
        for number in range(block.first, block.first + block.count):
            shot = film(studio, number)
            write_file(
                block.folder / image_path(number), encode_jpeg(shot.image, studio.settings.jpeg_quality - shot.coarse)
            )
            shots.append(shot)
        write_arrays(block.path, _columns(shots))
    return block.count


def read_block(block: Block) -> dict[str, np.ndarray] | None:
    """The columns of a block's file; None where it is not there or is damaged."""
    columns = read_arrays(block.path)
    wanted = range(block.first, block.first + block.count)
    if columns is None or not np.array_equal(columns.get("picture/number", ()), wanted):
        return None
    return columns if all((block.folder / image_path(k)).is_file() for k in wanted) else None


@functools.lru_cache(maxsize=1)
def _studio_of(context: str) -> WildStudio:
    """Keyed by the file's content: another capture in the same process gets its own."""
    settings, body = open_context(context, WildSettings, DRAWN)
    cv2.setNumThreads(1)
    return open_studio(body, settings)


def _columns(shots: list[Shot]) -> dict[str, np.ndarray]:
    """Everything that is known of some pictures, by column: those of PICTURE_COLUMNS and of PERSON_COLUMNS."""
    pictures = [
        {
            "number": shot.number,
            "size": (shot.camera.width, shot.camera.height),
            "K": shot.camera.K,
            "R": shot.camera.R,
            "t": shot.camera.t,
        }
        for shot in shots
    ]
    persons = [
        {
            "picture": shot.number,
            "body": note.number,
            "kind": note.kind.encode(),
            "joints_mm": 1000 * note.joints,
            "seen": note.seen,
            "coco": note.coco,
            "coco_seen": note.coco_seen,
            "box": note.box,
            "pixels": note.pixels,
            **note.parameters,
        }
        for shot in shots
        for note in shot.people
    ]
    return _stack("picture", PICTURE_COLUMNS, pictures) | _stack("person", PERSON_COLUMNS, persons)


def _stack(group: str, columns: dict, rows: list[dict]) -> dict[str, np.ndarray]:
    return {
        f"{group}/{name}": np.array([row[name] for row in rows], kind).reshape(len(rows), *shape)
        for name, (shape, kind) in columns.items()
    }
