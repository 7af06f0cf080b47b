"""What the scheduler itself costs a shard: 10,000 tasks that do nothing, through the pipeline's own graph.

python -m benchmarks.scheduler [--tasks 10000] [--workers 2] [--quick] [--json FILE]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from pipeline import run as running
from pipeline.preprocess.job_files import Task
from pipeline.run import Outcome, Workers, make_shards


def do_nothing(task: Task) -> Outcome:
    return Outcome(task)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="500 tasks")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    number = 500 if options.quick else options.tasks
    running.attempt = do_nothing
    folder = Path(tempfile.mkdtemp())
    tasks = [Task(f"shard-{k:05d}.h5", folder / ".plan" / f"shard-{k:05d}.json", 256) for k in range(number)]
    rows, outcomes = [], iter(make_shards(tasks, Workers(options.workers), print))
    start_up = time.perf_counter()
    next(outcomes)
    began = time.perf_counter()
    done = 1 + sum(1 for _ in outcomes)
    # the generator's end closes the cluster, which is counted: it is at most seconds
    seconds = time.perf_counter() - began
    rows.append(
        {
            "tasks": done,
            "workers": options.workers,
            "start_s": round(began - start_up, 2),
            "seconds": round(seconds, 2),
            "ms_a_shard": round(1000 * seconds / done, 3),
        }
    )
    print(f"{'tasks':>8}{'workers':>9}{'start s':>9}{'seconds':>9}{'ms a shard':>12}")
    for row in rows:
        print(f"{row['tasks']:8}{row['workers']:9}{row['start_s']:9}{row['seconds']:9}{row['ms_a_shard']:12}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
