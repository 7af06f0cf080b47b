"""A capture small enough to benchmark with when none is given."""

from pathlib import Path

from rich.console import Console

from pipeline.run import Workers
from pipeline.sources.synthetic.settings import CaptureSettings
from pipeline.synthesize import CaptureProgress, CaptureRequest, synthesize


def sample_capture(folder: Path, instants: int, image_px: int = 256) -> Path:
    """A human36m folder of `instants` moments, four images each."""
    settings = CaptureSettings(instants=instants, image_px=image_px)
    synthesize(CaptureRequest(folder / "capture", settings), Workers(0), CaptureProgress(Console(stderr=True)))
    return folder / "capture"
