"""Views a second that loader workers make from shards, against the views a second that a step takes, and a loader's memory.

    python -m benchmarks.loading SHARDS [--workers 0 1 2] [--crop-px 128] [--views 1000] [--copies N] [--json FILE]

--copies: measure on so many shards, copies of those in SHARDS under a temporary folder, to see what a large dataset costs.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from model.data.augment import AugmentConfig
from model.data.loading import DrawConfig, StepSampler, ViewDataset
from model.data.views import need_views, read_views
from model.data.workers import loader
from pipeline.shards.run_json import read_run, write_run

BATCH = 16
DEMO = Path("runs/demo/shards")


def stages(dataset: ViewDataset, count: int = 100) -> dict[str, float]:
    """Milliseconds of processor time a view, in this process: JPEG decode, field samples, and everything."""
    views, found = dataset.views, {}
    index = [int(k * len(views) / count) for k in range(count)]
    dataset.view(0, 0)  # opens a shard
    for name, work in {
        "image": lambda i: dataset.reader(i).read_image(int(views["row"][i])),
        "samples": lambda i: dataset.reader(i).read_samples(int(views["row"][i])),
        "whole view": lambda i: dataset.view(0, i),
    }.items():
        started = time.process_time()
        for i in index:
            work(i)
        found[name] = round((time.process_time() - started) / count * 1000, 3)
    return found


def copied(shards: Path, count: int, folder: Path) -> Path:
    """A folder of `count` shards, copies of those there are one after the other."""
    run = read_run(shards)
    records = tuple(replace(run.shards[k % len(run.shards)], name=f"shard-{k:05d}.h5") for k in range(count))
    for k, record in enumerate(records):
        shutil.copy(shards / run.shards[k % len(run.shards)].name, folder / record.name)
    write_run(folder, replace(run, shards=records))
    return folder


def loader_memory(dataset: ViewDataset, count: int) -> float:
    """MB that this process grows by over `count` views in random order: its open shards and what reading them keeps."""
    before = resident_bytes()
    for index in np.random.default_rng(0).integers(0, len(dataset.views), count).tolist():
        dataset.view(0, index)
    return round((resident_bytes() - before) / 1e6, 1)


def resident_bytes() -> int:
    """Memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def rate(dataset: ViewDataset, workers: int, count: int) -> float:
    """Views a second over `count` views, after a first batch that starts the workers."""
    steps = max(2, count // BATCH)
    batches = loader(dataset, StepSampler(dataset.views, [1], BATCH, range(steps), seed=0), workers)
    next(batches)
    started = time.perf_counter()
    done = sum(len(batch) for batch in batches)
    return done / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, nargs="?", default=DEMO)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--crop-px", type=int, default=128)
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--views", type=int, default=1000)
    parser.add_argument("--copies", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the copies go, which take as many times the space")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer views")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.views = 200
        if not arguments.shards.exists():
            print(f"{arguments.shards} is not there yet: `make demo` writes it. Nothing to measure.")
            return
    if arguments.copies:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            report(copied(arguments.shards, arguments.copies, Path(folder)), arguments)
    else:
        report(arguments.shards, arguments)


def report(shards: Path, arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    views = need_views(read_views([shards]), "train", [shards])
    dataset = ViewDataset(views, arguments.crop_px, DrawConfig(points=arguments.points), AugmentConfig())
    result = {
        "shards": len(views.folders[0].shards),
        "views": len(views),
        "crop_px": arguments.crop_px,
        "points": arguments.points,
        "memory_mb": loader_memory(dataset, arguments.views),
        "ms_a_view": stages(dataset),
        "views_per_second": {str(w): round(rate(dataset, w, arguments.views), 1) for w in arguments.workers},
    }
    title = f"{result['shards']} shards: {result['ms_a_view']} ms of processor time a view, {result['memory_mb']} MB"
    table = Table("workers", "views/s", title=title)
    for workers, value in result["views_per_second"].items():
        table.add_row(workers, f"{value:.0f}")
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
