"""Views a second that loader workers make from shards, against the views a second that a step takes.

python -m benchmarks.loading SHARDS [--workers 0 1 2] [--crop-px 128] [--views 1000] [--json FILE]
"""

import argparse
import json
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from model.data.augment import AugmentConfig
from model.data.loading import DrawConfig, StepSampler, ViewDataset
from model.data.views import need_views, read_views
from model.data.workers import loader

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
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer views")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.views = 200
        if not arguments.shards.exists():
            print(f"{arguments.shards} is not there yet: `make demo` writes it. Nothing to measure.")
            return
    torch.set_num_threads(1)
    views = need_views(read_views([arguments.shards]), "train", [arguments.shards])
    dataset = ViewDataset(views, arguments.crop_px, DrawConfig(points=arguments.points), AugmentConfig())
    result = {
        "views": len(views),
        "crop_px": arguments.crop_px,
        "points": arguments.points,
        "ms_a_view": stages(dataset),
        "views_per_second": {str(w): round(rate(dataset, w, arguments.views), 1) for w in arguments.workers},
    }
    table = Table("workers", "views/s", title=f"{arguments.shards}: {result['ms_a_view']} ms of processor time a view")
    for workers, value in result["views_per_second"].items():
        table.add_row(workers, f"{value:.0f}")
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
