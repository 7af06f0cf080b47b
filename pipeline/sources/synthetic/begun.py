"""The folder of a capture: nothing yet, one that was begun, or one that is whole. Both forms of the capture keep it alike.

While a capture is made, `.plan/context.json` says with what it was begun, and each task leaves one file beside it. `synthetic.json` is
written last: a capture that has it is whole.
"""

import io
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.body.model import BodyModel, load_body
from pipeline.errors import InputError
from pipeline.outputs import write_file
from pipeline.records import SYNTHETIC_MARK, SYNTHETIC_PLAN
from pipeline.typed_json import from_plain
from pipeline.version import code_commit

PLAN_FOLDER, CONTEXT_FILE = Path(SYNTHETIC_PLAN).parts
# What a picture takes on disk for each pixel of its area.
BYTES_A_PIXEL = 0.3

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Task:
    """Some pictures that one worker makes. folder: of the capture."""

    folder: Path

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def path(self) -> Path:
        """The file that says all that is known of its pictures; it is written last."""
        return self.folder / PLAN_FOLDER / f"{self.name}.npz"


@dataclass(frozen=True)
class Kind:
    """format: of the finished folder. drawn: number of what a seed draws, raised by every change of what is in the pictures: a capture
    that was begun with another is not finished with this one. note: for people who open the mark."""

    format: int | str
    drawn: int
    note: str

    def mark(self, settings: Any, body: BodyModel) -> dict:
        """What `synthetic.json` says of either form."""
        return {
            "synthetic": True,
            "format": self.format,
            "drawn": self.drawn,
            "note": self.note,
            "seed": settings.seed,
            "settings": asdict(settings),
            "body": {"name": body.name, "sha256": body.sha256},
        }


def write_context(out: Path, kind: Kind, settings: Any, body: Path | None, sha256: str) -> None:
    """What every worker reads first, and what a run that goes on compares itself with."""
    content = {
        "settings": asdict(settings),
        "body": str(body.resolve()) if body else None,
        "sha256": sha256,
        "format": kind.format,
        "drawn": kind.drawn,
        "code_commit": code_commit(),
    }
    write_file(out / PLAN_FOLDER / CONTEXT_FILE, json.dumps(content).encode())


def read_context(out: Path) -> str:
    """Its text, by which a worker keeps what it makes of it (`open_context`)."""
    return (out / PLAN_FOLDER / CONTEXT_FILE).read_text()


def open_context(text: str, kind: type[Settings], drawn: int) -> tuple[Settings, BodyModel]:
    """The settings, of this kind, and the body of a capture that was begun. Raises InputError where this process, a worker perhaps
    that was started long ago, would film other pictures or another body. drawn: what it draws."""
    context = json.loads(text)
    if context["drawn"] != drawn:
        raise InputError(
            f"a worker is of a version that draws other pictures ({drawn}, not {context['drawn']}); start it again"
        )
    body = load_body(Path(context["body"]) if context["body"] else None)
    if body.sha256 != context["sha256"]:
        which = (
            f"the body model {context['body']} changed"
            if context["body"]
            else "a worker has another free body than it had"
        )
        raise InputError(f"{which} when the capture was begun; restore it, and start workers of one version")
    return from_plain(kind, context["settings"], CONTEXT_FILE), body


def standing(out: Path, kind: Kind, settings: Any, sha256: str) -> dict | None:
    """The mark of a complete capture that is what is wanted, None for a folder that is empty or was begun so. InputError for anything
    else, with the settings in which they differ."""
    wanted = {"settings": json.loads(json.dumps(asdict(settings))), "sha256": sha256}
    mark = _read(out / SYNTHETIC_MARK)
    if mark is not None:
        if mark.get("format") != kind.format:
            raise InputError(f"{out} holds another kind of capture; name a new folder")
        _refuse_changes(out, {"settings": mark.get("settings"), "sha256": mark.get("body", {}).get("sha256")}, wanted)
        return mark
    begun = _read(out / PLAN_FOLDER / CONTEXT_FILE)
    if begun is not None:
        if begun.get("format", kind.format) != kind.format:
            raise InputError(f"another kind of capture was begun in {out}; name a new folder")
        _refuse_changes(out, begun, wanted)
        _refuse_other_pictures(out, begun, kind)
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


def _refuse_changes(out: Path, there: dict, wanted: dict) -> None:
    if there.get("sha256") != wanted["sha256"]:
        raise InputError(f"{out} was begun with another body; give that one with --body, or name a new folder")
    before = there.get("settings") or {}
    changed = [f"{k} {before.get(k)} (now {v})" for k, v in wanted["settings"].items() if before.get(k) != v]
    if changed:
        raise InputError(f"{out} was begun with other settings: {', '.join(changed)}; give those, or name a new folder")


def _refuse_other_pictures(out: Path, begun: dict, kind: Kind) -> None:
    """InputError where the pictures that are there are not those that this version draws, clothes or hair for example."""
    if begun.get("drawn") != kind.drawn:
        raise InputError(
            f"{out} was begun by a version that draws other pictures ({begun.get('code_commit', 'an earlier one')}; its number is "
            f"{begun.get('drawn', 'not recorded')}, this version's {kind.drawn}): half of the capture would be of another kind. Go on "
            "with that version, or remove the folder and begin again"
        )


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """What a task left; None where it is not there or is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, SyntaxError, zipfile.BadZipFile):
        return None


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Written at once: it is there or is not, and who makes the task again writes the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_file(path, buffer.getvalue())
