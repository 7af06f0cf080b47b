"""A capture small enough to benchmark with when none is given."""

from pathlib import Path

from pipeline.body.model import load_body
from pipeline.sources.synthetic import CaptureSettings, write_capture


def sample_capture(folder: Path, instants: int, image_px: int = 256) -> Path:
    """A human36m folder of `instants` moments, four images each."""
    write_capture(folder / "capture", load_body(), CaptureSettings(instants=instants, image_px=image_px), 0)
    return folder / "capture"
