"""What a run tells while it works: a bar on a terminal, plain lines elsewhere, the same numbers in both."""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.preprocess.disk import expected_bytes
from pipeline.preprocess.job_files import Outcome, Task
from pipeline.preprocess.plan import Plan
from pipeline.preprocess.rejects import RejectCounts
from pipeline.shards.format import OFFSETS, J
from pipeline.shards.run_json import RunRecord, ShardRecord
from pipeline.shards.table import FIT_ERRORS, distribution, read_table

WINDOW_S = 60.0  # the rate is that of the last minute
PLAIN_EVERY_S = 10.0


class Rate:
    """Views a second over the last WINDOW_S seconds, from (time, views) marks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, before: int = 0):
        """before: views that an earlier run made."""
        self.clock = clock
        self.marks: deque[tuple[float, int]] = deque([(clock(), before)])

    def add(self, total: int) -> None:
        """Notes that `total` views are done by now."""
        self.marks.append((self.clock(), total))

    def __call__(self) -> float:
        now = self.clock()
        while len(self.marks) > 2 and self.marks[1][0] <= now - WINDOW_S:
            self.marks.popleft()
        (start, before), (_, after) = self.marks[0], self.marks[-1]
        return (after - before) / (now - start) if now > start else 0.0


class RunProgress:
    """Follows a run. `start` is given the plan, `add` every outcome, `note` a line to print."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self.console, self.clock = console, clock
        self.rejects = RejectCounts()
        self.done_views = self.done_shards = self.failed = 0
        self.live: Live | None = None

    def __enter__(self) -> "RunProgress":
        self.began = self.clock()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    @property
    def seconds(self) -> float:
        return self.clock() - self.began

    def start(self, plan: Plan) -> None:
        self.total_views, self.total_shards = plan.views, len(plan.tasks)
        self.rejects.add(plan.record.rejects)
        for doubt in plan.doubts:
            self.note(f"warning: {doubt}")
        self.note(describe_plan(plan))
        self.rate, self.printed = Rate(self.clock), self.clock()
        if self.console.is_terminal:
            self.live = Live(get_renderable=self.bar, console=self.console, refresh_per_second=2)
            self.live.start()

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def add(self, outcome: Outcome[Task, ShardRecord]) -> Outcome[Task, ShardRecord]:
        """Counts the outcome and returns it."""
        self.done_views += outcome.task.views
        self.done_shards += 1
        self.rate.add(self.done_views)
        if outcome.record is None:
            self.failed += 1
            self.note(outcome.error)
        else:
            self.rejects.add(outcome.record.rejects)
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
        return text + (f", rejects: {self.rejects}" if self.rejects.total else "")

    def bar(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, self.total_views), completed=self.done_views, width=30)
        grid.add_row(bar, Text(self.line()))
        return grid


def describe_plan(plan: Plan) -> str:
    sizes, offsets = expected_bytes(plan.settings, plan.views), plan.settings.offsets
    listed = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in sizes.items())
    splits = ", ".join(f"{views} {split}" for split, views in plan.split_views.items())
    return (
        f"plan: {sum(map(len, plan.record.layout))} instants, {plan.views} views ({splits}) in {len(plan.tasks)} "
        f"shards; about {sizes[offsets] / 1e9:.2f} GB with --offsets {offsets} (of {'|'.join(OFFSETS)}: {listed})"
    )


def summary(folder: Path, run: RunRecord, seconds: float) -> str:
    """The closing lines of a run."""
    valid, unseen, ambiguous = (
        sum(getattr(shard, name) for shard in run.shards) for name in ("fit_valid", "joints_unseen", "ambiguous")
    )
    rejects, means = RejectCounts(run.all_rejects), mean_errors(folder, run)
    lines = [
        f"{folder}: {run.views} views in {len(run.shards)} shards, {sum(shard.bytes for shard in run.shards) / 1e9:.3f} GB, "
        f"{clock_text(seconds)} ({run.views / max(seconds, 1e-9):.1f} views/s)",
        f"fits: {valid} of {run.views} views valid, {means}"
        + (f"; {run.supplied} views took the dataset's own fit" if run.supplied else ""),
        f"rejects: {rejects.total}" + (f" ({rejects})" if rejects.total else ""),
        f"content hash: {run.content_hash}",
    ]
    marks = []
    if ambiguous:
        marks.append(f"ambiguous: {ambiguous} of {run.views} views have a fit that could as well be another body")
    if unseen:
        marks.append(f"unseen: {unseen} of {run.views * J} joints have no evidence of their own and supervise nothing")
    lines[2:2] = marks
    lines += [f"FAILED {shard.error}" for shard in run.failed]
    return "\n".join(lines if usable(run) else [*lines, why_useless(run, means)])


def usable(run: RunRecord) -> bool:
    """Whether anything of a finished run can be trained on."""
    return any(shard.fit_valid for shard in run.shards)


def why_useless(run: RunRecord, means: str) -> str:
    what = f"None of the {run.views} views has a valid fit ({means})" if run.views else "No view was made"
    rejects = RejectCounts(run.all_rejects)
    why = f" The commonest reasons: {rejects}." if rejects.total else ""
    return (
        f"NOTHING USABLE: {what}.{why} `nvf-cli check-data {run.source} {run.root}` looks at the data, `nvf-cli inspect` at what was "
        "made"
    )


def mean_errors(folder: Path, run: RunRecord) -> str:
    """Of the fits of all views that have such an error, as `nvf-cli inspect` gives them."""
    if not run.shards:
        return "no errors"
    table, _ = read_table([folder / shard.name for shard in run.shards], FIT_ERRORS)
    found = [distribution(table[name.split("/")[1]]) for name in FIT_ERRORS]
    means = [f"{one['mean']:.1f} {unit}" if one else "none" for one, unit in zip(found, ("mm", "px"), strict=True)]
    return f"mean 3D error {means[0]}, mean reprojection {means[1]}"


def clock_text(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
