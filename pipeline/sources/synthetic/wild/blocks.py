"""The pictures of one task: their files, and one file that says all that is known of them until the whole capture is joined.

A block's file is written last and at once, so a block is there or is not; who makes it again writes the same bytes.
"""

import functools
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.outputs import write_file
from pipeline.sources.synthetic.wild.columns import PERSON_COLUMNS, PICTURE_COLUMNS, image_path
from pipeline.sources.synthetic.wild.film import Shot, WildStudio, encode_jpeg, film, open_studio
from pipeline.sources.synthetic.wild.settings import DRAWN, WildSettings
from pipeline.threads import one_thread
from pipeline.typed_json import from_plain
from pipeline.version import code_commit

PLAN_FOLDER, CONTEXT_FILE = ".plan", "context.json"


@dataclass(frozen=True)
class Block:
    """A task. folder: of the capture. first, count: its pictures."""

    folder: Path
    first: int
    count: int

    @property
    def name(self) -> str:
        return f"block-{self.first:08d}"

    @property
    def path(self) -> Path:
        return self.folder / PLAN_FOLDER / f"{self.name}.npz"

    @property
    def views(self) -> int:
        """What progress counts: pictures."""
        return self.count


@dataclass(frozen=True)
class BlockRecord:
    """What a made block tells. people: how many its pictures show."""

    people: int


@one_thread()
def make_block(block: Block) -> BlockRecord:
    """Films the pictures of a block and writes them. One that is there already is kept. Raises InputError where a file cannot be
    written."""
    there = read_block(block)
    if there is None:
        studio = _studio_of((block.folder / PLAN_FOLDER / CONTEXT_FILE).read_text())
        shots = []
        for number in range(block.first, block.first + block.count):
            shot = film(studio, number)
            write_file(
                block.folder / image_path(number), encode_jpeg(shot.image, studio.settings.jpeg_quality - shot.coarse)
            )
            shots.append(shot)
        there = _columns(shots)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **there)
        write_file(block.path, buffer.getvalue())
    return BlockRecord(len(there["person/picture"]))


def read_block(block: Block) -> dict[str, np.ndarray] | None:
    """The columns of a block's file; None where it is not there or is damaged."""
    try:
        with np.load(block.path, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, SyntaxError):
        return None
    except Exception as error:  # zipfile's own errors
        if type(error).__name__ != "BadZipFile":
            raise
        return None
    wanted = range(block.first, block.first + block.count)
    complete = np.array_equal(columns.get("picture/number", ()), wanted)
    return columns if complete and all((block.folder / image_path(k)).is_file() for k in wanted) else None


def write_context(folder: Path, settings: WildSettings, body: Path | None, sha256: str) -> None:
    """What every worker reads first, and what a run that goes on compares itself with."""
    content = {
        "settings": asdict(settings),
        "body": str(body) if body else None,
        "sha256": sha256,
        "drawn": DRAWN,
        "code_commit": code_commit(),
    }
    write_file(folder / PLAN_FOLDER / CONTEXT_FILE, json.dumps(content).encode())


@functools.lru_cache(maxsize=1)
def _studio_of(text: str) -> WildStudio:
    """Keyed by the file's content: another capture in the same process gets its own."""
    context = json.loads(text)
    body = load_body(Path(context["body"]) if context["body"] else None)
    if body.sha256 != context["sha256"]:
        raise InputError(f"the body model {context['body']} changed since the capture was begun; restore it")
    cv2.setNumThreads(1)
    return open_studio(body, from_plain(WildSettings, context["settings"], CONTEXT_FILE))


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
