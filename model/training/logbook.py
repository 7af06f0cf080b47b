"""What a run says while it goes on: a row of numbers in history.jsonl, TensorBoard, and the console.

history.jsonl is the record that reports and tests read; a resumed run cuts it back to the step of its checkpoint, so
that it holds every step once.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from model.training.clock import Length, duration
from pipeline.outputs import write_file

HISTORY = "history.jsonl"
# Kind of a look at weights between those of a run and those that it started from.
TOWARDS_START = "towards_start"
# Seconds between lines where there is no terminal to redraw.
LINE_SECONDS = 15.0


class Logbook:
    """Use as a context manager. length: of the run. first: the step it starts from."""

    def __init__(self, run: Path, length: Length, first: int, console: Console | None = None):
        from torch.utils.tensorboard import SummaryWriter

        self.console = console or Console(stderr=True)
        self.path, self.length, self.first = run / HISTORY, length, first
        self.file = self._rows_that_stay(lambda row: row["step"] <= first)
        self.board = SummaryWriter(run / "tensorboard", purge_step=first + 1)
        self.started = self.printed = time.monotonic()
        self.begun: float | None = None
        self.progress: Progress | None = None

    def __enter__(self) -> "Logbook":
        if self.console.is_terminal:
            self.progress = Progress(
                TextColumn("training"),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                TextColumn("{task.fields[said]}"),
                console=self.console,
            )
            self.task = self.progress.add_task("training", total=1.0, said="")
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress:
            self.progress.stop()
        self.file.close()
        self.board.close()

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def note(self, lines: Sequence[str]) -> None:
        """What is to be known before the first step."""
        for line in lines:
            self.say(line)

    def row(self, kind: str, step: int, values: dict[str, float]) -> None:
        """One row of history.jsonl (kind "train", "validation" or TOWARDS_START) and its curves."""
        self.file.write(json.dumps({"kind": kind, "step": step, **values}, allow_nan=False) + "\n")
        self.file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self.board.add_scalar(f"{kind}/{name}", value, step)

    def training(self, step: int, seconds: float, values: dict[str, float]) -> None:
        """The means of the last steps, after `seconds` of training."""
        self.row("train", step, values)
        said, part = f"{self.length.said(step, seconds)}  loss {values['total']:.4f}", self.length.part(step, seconds)
        if self.begun is None:
            self.begun = self.length.part(self.first, seconds - values["step_seconds"] * (step - self.first))
        if self.progress:
            self.progress.update(self.task, completed=part, said=said)
        elif time.monotonic() - self.printed > LINE_SECONDS or part >= 1:
            self.printed = time.monotonic()
            left = (self.printed - self.started) * (1 - part) / max(part - self.begun, 1e-9)
            self.say(
                f"{said}  {1 / values['step_seconds']:.2f} steps/s  data wait {100 * values['data_wait']:.0f} %  "
                f"left {duration(left)}"
            )

    def validation(
        self,
        step: int,
        seconds: float,
        values: dict,
        best: bool,
        joints: dict[str, float],
        votes: dict[str, float],
    ) -> None:
        """A look at validation, after `seconds` of training. joints: mm. votes: the effective number of each joint's. Values with a
        `start_share` are of weights that were brought so far back to those that the run started from."""
        share = values.get("start_share", 0)
        self.row(TOWARDS_START if share else "validation", step, values)
        for group, numbers in () if share else (("error_mm", joints), ("effective_votes", votes)):
            for name, value in numbers.items():
                if value is not None:
                    self.board.add_scalar(f"{group}/{name}", value, step)
        self.say(
            f"{self.length.said(step, seconds)}  validation MPJPE {values['mpjpe_mm']:.1f} mm, PA {values['pa_mpjpe_mm']:.1f} mm "
            f"({values['n_views']} views)"
            + (f", with {share:.0%} of the weights that it started from" if share else "")
            + ("  best so far" if best else "")
        )

    def forget(self, kind: str, step: int) -> None:
        """Take back the rows of a kind at a step, which are about to be written again."""
        self.file.close()
        self.file = self._rows_that_stay(lambda row: (row["kind"], row["step"]) != (kind, step))

    def _rows_that_stay(self, stays: Callable[[dict], bool]) -> TextIO:
        """history.jsonl with such rows alone, open to go on with."""
        rows = [row for row in read_history(self.path.parent) if stays(row)]
        write_file(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        return self.path.open("a")

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """image: (H, W, 3) uint8."""
        self.board.add_image(name, image, step, dataformats="HWC")


def read_history(run: Path) -> list[dict]:
    """The rows of a run; a last line cut short by a crash is left out."""
    path = run / HISTORY
    rows = []
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if isinstance(row, dict) and "kind" in row:
            rows.append(row)
    return rows


class StepMeans:
    """Means over the steps since the last row of the log."""

    def __init__(self) -> None:
        self.parts: dict[str, torch.Tensor] = {}
        self.steps, self.waited, self.total = 0, 0.0, 0.0

    def add(self, parts: dict[str, torch.Tensor], waited: float, total: float) -> None:
        """parts: the losses of a step. waited, total: seconds that it waited for data, and took."""
        for name, value in parts.items():
            self.parts[name] = self.parts[name] + value if name in self.parts else value
        self.steps, self.waited, self.total = self.steps + 1, self.waited + waited, self.total + total

    def values(self) -> dict[str, float]:
        """Losses, seconds a step, and the part of them spent waiting for data."""
        means = {name: float(value) / self.steps for name, value in self.parts.items()}
        return means | {"step_seconds": self.total / self.steps, "data_wait": self.waited / self.total}
