"""A video of what was found."""

import os
from pathlib import Path

import cv2
import numpy as np

from model.people import overlay
from model.people.shown import Shown
from pipeline.errors import InputError
from pipeline.outputs import MARK

# Until two frames have said how long one is shown.
USUAL_FPS = 25.0
# MPEG-4 part 2: players show it, and OpenCV's packages can write it everywhere, as they cannot H.264.
CODEC = "mp4v"


class Film:
    """Writes frame after frame beside `path`, and gives the whole file its name at the end. source: of the frames."""

    def __init__(self, path: Path, source: str):
        self.path, self.source = path, source
        self._temporary = path.with_name(f".{path.stem}.part.mp4")
        self._writer: cv2.VideoWriter | None = None
        self._waiting: tuple[float | None, np.ndarray] | None = None
        self._window: np.ndarray | None = None
        self._size = (0, 0)

    def add(self, shown: Shown) -> None:
        """A frame. The picture from the side spans all that was seen until now, so that it does not jump."""
        if shown.people:
            window = overlay.side_window(shown)
            if self._window is not None:
                window = np.stack([np.minimum(window[0], self._window[0]), np.maximum(window[1], self._window[1])])
            self._window = window
        image, time_s = overlay.draw_people(shown, overlay.FRAME_PX, self._window), shown.picture.time_s
        if self._writer is None and self._waiting is None:
            self._waiting = time_s, image  # how long it is shown, the next one says
            return
        if self._waiting is not None:
            self._open(self._waiting[0], time_s, self._waiting[1])
            self._write(self._waiting[1])
            self._waiting = None
        self._write(image)

    def _open(self, first_s: float | None, second_s: float | None, image: np.ndarray) -> None:
        known = first_s is not None and second_s is not None and second_s > first_s
        fps = 1 / (second_s - first_s) if known and first_s is not None and second_s is not None else USUAL_FPS
        self._size = image.shape[1] + image.shape[1] % 2, image.shape[0] + image.shape[0] % 2
        self._writer = cv2.VideoWriter(str(self._temporary), cv2.VideoWriter.fourcc(*CODEC), fps, self._size)
        if not self._writer.isOpened():
            raise InputError(f"{self.path}: OpenCV cannot write a video there. Leave the format overlay out.")

    def _write(self, image: np.ndarray) -> None:
        """Frames whose size the video cannot have are filled up or cut."""
        assert self._writer is not None
        width, height = self._size
        room = ((0, max(0, height - image.shape[0])), (0, max(0, width - image.shape[1])), (0, 0))
        whole = np.pad(image, room, constant_values=255)[:height, :width]
        self._writer.write(cv2.cvtColor(whole, cv2.COLOR_RGB2BGR))

    def drop(self) -> None:
        """Leaves nothing, for work that was broken off."""
        if self._writer is not None:
            self._writer.release()
        self._temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """Ends the video, which gets its name. Raises InputError where it cannot be written."""
        if self._waiting is not None:
            self._open(None, None, self._waiting[1])
            self._write(self._waiting[1])
        assert self._writer is not None
        self._writer.release()
        mark = MARK.encode()
        try:
            with open(self._temporary, "ab") as file:  # a box that players pass over
                file.write((8 + len(mark)).to_bytes(4, "big") + b"free" + mark)
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}).") from error
