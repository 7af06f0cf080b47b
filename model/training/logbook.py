"""What a run says while it goes on: a row of numbers in history.jsonl, TensorBoard, and the console.

history.jsonl is the record that reports and tests read; a resumed run cuts it back to the step of its checkpoint, so
that it holds every step once.
"""

import json
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

HISTORY = "history.jsonl"
# Seconds between lines where there is no terminal to redraw.
LINE_SECONDS = 15.0


class Logbook:
    """Use as a context manager. total: steps of the run. first: the step it starts from."""

    def __init__(self, run: Path, total: int, first: int, console: Console | None = None):
        from torch.utils.tensorboard import SummaryWriter

        self.console = console or Console(stderr=True)
        self.path, self.total, self.first = run / HISTORY, total, first
        rows = [row for row in read_history(run) if row["step"] <= first]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.file = self.path.open("a")
        self.board = SummaryWriter(run / "tensorboard", purge_step=first + 1)
        self.started = self.printed = time.monotonic()
        self.progress = None

    def __enter__(self) -> "Logbook":
        if self.console.is_terminal:
            self.progress = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                TextColumn("{task.fields[said]}"),
                console=self.console,
            )
            self.task = self.progress.add_task("training", total=self.total, completed=self.first, said="")
            self.progress.start()
        return self

    def __exit__(self, *_) -> None:
        if self.progress:
            self.progress.stop()
        self.file.close()
        self.board.close()

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def row(self, kind: str, step: int, values: dict[str, float]) -> None:
        """One row of history.jsonl (kind "train" or "validation") and its curves."""
        self.file.write(json.dumps({"kind": kind, "step": step, **values}, allow_nan=False) + "\n")
        self.file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self.board.add_scalar(f"{kind}/{name}", value, step)

    def training(self, step: int, values: dict[str, float]) -> None:
        self.row("train", step, values)
        said = f"loss {values['total']:.4f}"
        if self.progress:
            self.progress.update(self.task, completed=step, said=said)
        elif time.monotonic() - self.printed > LINE_SECONDS or step == self.total:
            self.printed = time.monotonic()
            rate = (self.printed - self.started) / max(step - self.first, 1)
            self.say(
                f"step {step}/{self.total}  {said}  {1 / rate:.2f} steps/s  "
                f"data wait {100 * values['data_wait']:.0f} %  left {duration(rate * (self.total - step))}"
            )

    def validation(
        self, step: int, values: dict, best: bool, joints: dict[str, float], voters: dict[str, float]
    ) -> None:
        self.row("validation", step, values)
        for group, numbers in (("error_mm", joints), ("voters", voters)):
            for name, value in numbers.items():
                if value is not None:
                    self.board.add_scalar(f"{group}/{name}", value, step)
        self.say(
            f"step {step}/{self.total}  validation MPJPE {values['mpjpe_mm']:.1f} mm, PA {values['pa_mpjpe_mm']:.1f} mm "
            f"({values['n_views']} views)" + ("  best so far" if best else "")
        )

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """image: (H, W, 3) uint8."""
        self.board.add_image(name, image, step, dataformats="HWC")


def read_history(run: Path) -> list[dict]:
    """The rows of a run; a last line cut short by a crash is left out."""
    path = run / HISTORY
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def duration(seconds: float) -> str:
    """75 -> "1:15"; 3700 -> "1:01:40"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
