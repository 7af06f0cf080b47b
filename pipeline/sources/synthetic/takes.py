"""One task of a capture before four cameras: a sequence, filmed, and one file that says all that is known of it until the capture is
joined."""

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.sources.synthetic.begun import (
    Task,
    open_context,
    read_arrays,
    read_context,
    write_arrays,
)
from pipeline.sources.synthetic.people import make_rig
from pipeline.sources.synthetic.sequences import ImageNote, SequencePlan, SequenceResult, Studio, film, open_studio
from pipeline.sources.synthetic.settings import CAMERAS, DRAWN, CaptureSettings
from pipeline.threads import one_thread

IMAGES = "images"
_TRUTH, _SIZES = "truth/", "bytes"


@dataclass(frozen=True)
class Take(Task):
    """plan: what is filmed."""

    plan: SequencePlan

    @property
    def name(self) -> str:
        return f"take-S{self.plan.subject:02d}-{self.plan.action_idx:02d}-{self.plan.subaction:02d}"

    @property
    def views(self) -> int:
        """What progress counts: pictures."""
        return self.plan.kept * len(CAMERAS)


@one_thread()
def make_take(take: Take) -> int:
    """Films a sequence and writes its pictures; how many. Its file comes last. Raises InputError where one cannot be written."""
    cv2.setNumThreads(1)
    result = film(studio_of(read_context(take.folder)), take.plan, take.folder / IMAGES)
    sizes = [file.stat().st_size for file in _pictures(take, result)]
    write_arrays(take.path, _plain(result) | {_SIZES: np.array(sizes)})
    return take.views


def read_take(take: Take) -> SequenceResult | None:
    """What is known of a filmed sequence; None where it is not there, is damaged, or a picture is missing or not of its size."""
    arrays = read_arrays(take.path)
    if arrays is None:
        return None
    result = _from_plain(arrays)
    sizes = [file.stat().st_size if file.is_file() else None for file in _pictures(take, result)]
    return result if len(sizes) == take.views and sizes == arrays[_SIZES].tolist() else None


def _pictures(take: Take, result: SequenceResult) -> list[Path]:
    return [take.folder / IMAGES / take.plan.image_name(note.camera, note.frame) for note in result.images]


@functools.lru_cache(maxsize=1)
def studio_of(context: str) -> Studio:
    """Keyed by the file's content: another capture in the same process gets its own."""
    settings, body = open_context(context, CaptureSettings, DRAWN)
    return open_studio(make_rig(body), settings)


def _plain(result: SequenceResult) -> dict[str, np.ndarray]:
    return {
        "joints_mm": result.joints_mm,
        "thumbs": result.thumbs,
        "camera": np.array([note.camera for note in result.images]),
        "frame": np.array([note.frame for note in result.images]),
        "box": np.array([note.box for note in result.images]),
        "visible": np.array([note.visible for note in result.images]),
        **{f"{_TRUTH}{name}": values for name, values in result.truth.items()},
    }


def _from_plain(arrays: dict[str, np.ndarray]) -> SequenceResult:
    columns = zip(*(arrays[name] for name in ("camera", "frame", "box", "visible")), strict=True)
    return SequenceResult(
        arrays["joints_mm"],
        [ImageNote(int(camera), int(frame), box, visible) for camera, frame, box, visible in columns],
        {name.removeprefix(_TRUTH): values for name, values in arrays.items() if name.startswith(_TRUTH)},
        arrays["thumbs"],
    )
