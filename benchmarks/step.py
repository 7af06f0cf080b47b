"""What a training step of a configuration costs on this machine, part by part.

    python -m benchmarks.step [SHARDS] [--config small] [--model nvf] [--threads 2] [--steps 20] [--quick] [--json FILE]

Times are processor and wall seconds of one step after warm-up: loading in this process, losses forward, backward, optimiser. The table
of operators comes from torch's profiler. Run it on a quiet machine: processor time grows when others share its caches.
"""

import argparse
import json
import time
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.compare import make_shards
from model.data.loading import StepSampler, ViewDataset
from model.data.views import need_views, read_views
from model.device import fast_bf16
from model.networks.build import build_network
from model.training.config import load_config
from model.training.runs import Run, start_run, training_statistics
from pipeline.memory import keep_freed_memory

DEMO = Path("runs/demo/shards")


class Clock:
    """Milliseconds of wall and processor time by part."""

    def __init__(self):
        self.parts: dict[str, list[float]] = {}

    @contextmanager
    def part(self, name: str):
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        total = self.parts.setdefault(name, [0.0, 0.0])
        total[0] += 1000 * (time.perf_counter() - wall)
        total[1] += 1000 * (time.process_time() - cpu)


def one_step(clock: Clock, dataset: ViewDataset, keys: list, run: Run, bf16: bool) -> None:
    with clock.part("load"):
        batch = dataset.__getitems__(keys).to("cpu")
    with clock.part("losses"), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        total = run.network.losses(batch, torch.Generator().manual_seed(0))["total"]
    with clock.part("backward"):
        run.network.zero_grad(set_to_none=True)
        total.backward()
    with clock.part("optimiser"):
        torch.nn.utils.clip_grad_norm_(run.network.parameters(), 1.0, foreach=True)
        for optimizer in run.optimizers:
            optimizer.step()
        run.step += 1
        run.average.update(run.step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, nargs="?", default=DEMO)
    parser.add_argument("--config", default="small")
    parser.add_argument("--model", default="nvf")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--quick", action="store_true", help="3 steps on a small capture, to see that it runs")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.quick:
        asked.steps, asked.shards = 3, make_shards(Path("runs/step-quick"), 60)
    keep_freed_memory()
    torch.set_num_threads(asked.threads)
    config = load_config(asked.config, asked.model)
    views = need_views(read_views([asked.shards]), "train", [asked.shards])
    network = build_network(config.network, training_statistics(views, config))
    run = start_run(network, config)
    bf16 = config.train.bf16 and not asked.float32 and fast_bf16(torch.device("cpu"))
    dataset = ViewDataset(views, config.network.crop_px, config.draw, config.augment)
    keys = list(StepSampler(views, [1.0], config.train.batch_size, range(asked.steps + 3), 0))
    for k in keys[:3]:
        one_step(Clock(), dataset, k, run, bf16)
    clock = Clock()
    for k in keys[3:]:
        one_step(clock, dataset, k, run, bf16)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        one_step(Clock(), dataset, keys[-1], run, bf16)
    print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40))
    rows = {
        name: {"wall_ms": wall / asked.steps, "cpu_ms": cpu / asked.steps} for name, (wall, cpu) in clock.parts.items()
    }
    print(
        f"{asked.model}, {config.train.batch_size} views a step, {asked.threads} threads, {'bf16' if bf16 else 'float32'}, "
        f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters"
    )
    for name, row in rows.items():
        print(f"{name:>10}  {row['wall_ms']:7.1f} ms wall  {row['cpu_ms']:7.1f} ms cpu")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
