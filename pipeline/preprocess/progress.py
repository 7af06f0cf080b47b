"""What a run tells while it works: a bar on a terminal, plain lines elsewhere, the same numbers in both."""

import re
import time
from collections import Counter, deque
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.preprocess.plan import Plan, expected_bytes
from pipeline.shards.format import OFFSETS

WINDOW_S = 60.0  # the rate is that of the last minute
PLAIN_EVERY_S = 10.0


class Rate:
    """Views a second over the last WINDOW_S seconds, from (time, views) marks."""

    def __init__(self, clock=time.monotonic):
        self.clock = clock
        self.marks: deque[tuple[float, int]] = deque([(clock(), 0)])

    def add(self, total: int) -> None:
        self.marks.append((self.clock(), total))

    def __call__(self) -> float:
        now = self.clock()
        while len(self.marks) > 2 and self.marks[1][0] <= now - WINDOW_S:
            self.marks.popleft()
        (start, before), (_, after) = self.marks[0], self.marks[-1]
        return (after - before) / (now - start) if now > start else 0.0


def reason_of(reject: list[str]) -> str:
    """ "read: the image does not exist": what rejects are counted by.

    The key and the reason's text before its last ": " say which item; numbers are masked.
    """
    _, stage, reason = reject
    return f"{stage}: {re.sub(r'-?[0-9][0-9.,]*', 'N', reason.rsplit(': ', 1)[-1].split(';')[0])}"


class RunProgress:
    """Follows a run. `start` is given the plan, `add` every outcome, `note` a line to print."""

    def __init__(self, console: Console, clock=time.monotonic):
        self.console, self.clock = console, clock
        self.rejects: Counter[str] = Counter()
        self.done_views = self.done_shards = self.failed = 0
        self.live: Live | None = None

    def __enter__(self) -> "RunProgress":
        self.began = self.clock()
        return self

    def __exit__(self, *_) -> None:
        if self.live is not None:
            self.live.stop()

    @property
    def seconds(self) -> float:
        return self.clock() - self.began

    def start(self, plan: Plan) -> None:
        self.total_views, self.total_shards = plan.views, len(plan.tasks)
        self.rejects.update(reason_of(reject) for reject in plan.run["rejects"])
        self.note(describe_plan(plan))
        self.rate, self.printed = Rate(self.clock), self.clock()
        if self.console.is_terminal:
            self.live = Live(get_renderable=self.bar, console=self.console, refresh_per_second=2)
            self.live.start()

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def add(self, outcome):
        """Counts the outcome and returns it."""
        self.done_views += outcome.task.views
        self.done_shards += 1
        self.rate.add(self.done_views)
        if outcome.record is None:
            self.failed += 1
            self.note(outcome.error)
        else:
            self.rejects.update(reason_of(reject) for reject in outcome.record.rejects)
        due = self.clock() - self.printed >= PLAIN_EVERY_S or self.done_shards == self.total_shards
        if self.live is None and due:
            self.printed = self.clock()
            self.note(self.line())
        return outcome

    def line(self) -> str:
        rate, left = self.rate(), self.total_views - self.done_views
        eta = clock_text(left / rate) if rate else "unknown"
        text = f"{self.done_views}/{self.total_views} views, {self.done_shards}/{self.total_shards} shards, "
        text += f"{rate:.1f} views/s, ETA {eta}"
        if self.failed:
            text += f", {self.failed} shards failed"
        return text + (f", rejects: {count_text(self.rejects)}" if self.rejects else "")

    def bar(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, self.total_views), completed=self.done_views, width=30)
        grid.add_row(bar, Text(self.line()))
        return grid


def describe_plan(plan: Plan) -> str:
    settings, config = plan.settings, plan.run["config"]
    sizes = expected_bytes(settings, plan.views)
    listed = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in sizes.items())
    splits = ", ".join(f"{views} {split}" for split, views in plan.split_views.items())
    return (
        f"plan: {sum(map(len, plan.run['layout']))} instants, {plan.views} views ({splits}) in {len(plan.tasks)} "
        f"shards; about {sizes[config['offsets']] / 1e9:.2f} GB with --offsets {config['offsets']} (of "
        f"{'|'.join(OFFSETS)}: {listed})"
    )


def count_rejects(run: dict) -> Counter[str]:
    """How often each reason occurs in a run, its source's and its shards' rejects together."""
    rejects = [*run["rejects"], *(reject for record in run["shards"] for reject in record["rejects"])]
    return Counter(reason_of(reject) for reject in rejects)


def summary(folder: Path, run: dict, seconds: float) -> str:
    """The closing lines of a run."""
    records = run["shards"]
    rejects = count_rejects(run)
    lines = [
        f"{folder}: {run['views']} views in {len(records)} shards, "
        f"{sum(record['bytes'] for record in records) / 1e9:.3f} GB, "
        f"{clock_text(seconds)} ({run['views'] / max(seconds, 1e-9):.1f} views/s)",
        f"fits: {sum(record['fit_valid'] for record in records)} of {run['views']} views valid, mean 3D error "
        f"{_mean(records, 'fit_error_mm', 'mm')}, mean reprojection {_mean(records, 'reprojection_px', 'px')}"
        + (f"; {run['supplied']} views took the dataset's own fit" if run.get("supplied") else ""),
        f"rejects: {sum(rejects.values())}" + (f" ({count_text(rejects)})" if rejects else ""),
        f"content hash: {run['content_hash']}",
    ]
    return "\n".join(lines + [f"FAILED {error}" for _, error in run["failed"]])


def _mean(records: list[dict], name: str, unit: str) -> str:
    known = [(record["views"], record[name]) for record in records if record[name] is not None]
    total = sum(views for views, _ in known)
    return f"{sum(views * value for views, value in known) / total:.1f} {unit}" if total else "none"


def count_text(counts: Counter[str]) -> str:
    listed = [f"{count} x {reason}" for reason, count in counts.most_common(4)]
    return "; ".join(listed + ["..."] * (len(counts) > 4))


def clock_text(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
