"""All predictions in arrays, one row a person."""

from typing import Any

import numpy as np

from model.people.shown import Shown
from pipeline.records import PARAMETER_SIZES


class Arrays:
    """Gathers people picture by picture: about two kilobytes a person."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._joint_names: tuple[str, ...] = ()

    def add(self, shown: Shown) -> None:
        """Takes the people of a picture."""
        self._joint_names = shown.joint_set.names
        camera = shown.picture.camera
        for number, person in enumerate(shown.people):
            spread = np.full(len(person.joints), np.nan) if person.spread is None else person.spread
            row = {
                "image": shown.picture.name,
                "person": number,
                "frame": -1 if shown.picture.frame is None else shown.picture.frame,
                "time_s": np.nan if shown.picture.time_s is None else shown.picture.time_s,
                "track": -1 if person.track is None else person.track,
                "camera": camera.K,
                "camera_assumed": camera.assumed,
                "box": person.box,
                "score": np.nan if person.score is None else person.score,
                "joints": person.joints,
                "root": person.root,
                "joints_2d": person.joints_2d,
                "confidence": person.confidence,
                "visible": person.visible,
                "presence": person.presence,
                "spread": spread,
                "doubts": person.doubts,
                "has_body": person.body is not None,
            }
            for name, size in PARAMETER_SIZES.items():
                row[name] = np.zeros(size, np.float32) if person.body is None else getattr(person.body, name)
            self._rows.append({name: _small(value) for name, value in row.items()})

    def table(self) -> dict[str, np.ndarray]:
        """Arrays over all people, N first; `joint_names` (J,). Metres in the camera's axes, pixels of the picture. The body's
        parameters have the names that smplx gives them, and are zero where has_body is False. Frames and tracks are -1 where there are
        none."""
        columns = {name: np.array([row[name] for row in self._rows]) for name in (self._rows[0] if self._rows else {})}
        return {"joint_names": np.array(self._joint_names, np.str_)} | columns


def _small(value: Any) -> Any:
    """Half of the memory for what is measured: 32 bits hold it."""
    return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value
