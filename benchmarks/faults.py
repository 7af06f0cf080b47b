"""A hundred kills and a thousand flipped bits.

    python -m benchmarks.faults [ROOT] [--kills 100] [--flips 1000] [--instants 24] [--quick] [--json FILE]

ROOT: a human36m folder; without it a small capture is made. Whole runs (in this process and with two workers) and
single workers are killed by SIGKILL at random moments and started again; in the end every shard must have the content
of an uninterrupted run, none lost, none twice, nothing left over. Then single bits of the shards are flipped, and
each must be found by the verification.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks._sample import sample_capture
from pipeline.shards.run_json import RunRecord, read_run
from pipeline.shards.verify import verify_path, verify_shard


def command(root: Path, out: Path, workers: int, instants: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "cli.main",
        "preprocess",
        "human36m",
        str(root),
        str(out),
        "--workers",
        str(workers),
        "--limit",
        str(instants),
        "--crop-px",
        "64",
        "--pool",
        "512",
        "--shard-instants",
        "2",
    ]


def run(arguments: list[str]) -> int:
    return subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def workers_of(pid: int) -> list[int]:
    """Dask's worker processes under a run."""
    found = []
    for child in descendants(pid):
        try:
            if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                found.append(child)
        except OSError:
            continue
    return found


def kill_often(root: Path, folder: Path, kills: int, instants: int, rng: random.Random) -> dict:
    """Kills until `kills` happened, restarting on the same folder, and a new folder whenever a run got through."""
    whole = folder / "whole"
    began = time.perf_counter()
    assert run(command(root, whole, 0, instants)) == 0
    duration = time.perf_counter() - began
    expected = read_run(whole)
    counts = {"of the run, 0 workers": 0, "of the run, 2 workers": 0, "of a worker": 0}
    kinds, checked, out = list(counts), 0, folder / "out"
    while sum(counts.values()) < kills:
        kind = kinds[sum(counts.values()) % 3]
        process = subprocess.Popen(
            command(root, out, 0 if "0" in kind else 2, instants), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(rng.uniform(0.3, 1.0) * duration)
        except subprocess.TimeoutExpired:
            victims = workers_of(process.pid) if kind == "of a worker" else [process.pid]
            if victims:
                os.kill(rng.choice(victims), signal.SIGKILL)
                counts[kind] += 1
            if kind == "of a worker" and victims:
                process.wait()
            else:
                process.kill()
                process.wait()
        if process.returncode in (0, 1) or sum(counts.values()) >= kills:
            assert run(command(root, out, 0, instants)) == 0
            check(out, expected)
            checked += 1
            shutil.rmtree(out)
    return {"kills": counts, "finished_and_checked": checked, "shards": len(expected.shards)}


def check(out: Path, expected: RunRecord) -> None:
    run = read_run(out)
    assert [r.content_hash for r in run.shards] == [r.content_hash for r in expected.shards], out
    assert sorted(p.name for p in out.iterdir()) == sorted(["run.json", *(r.name for r in expected.shards)]), out
    assert verify_path(out).problems == [], out


def flip_bits(folder: Path, flips: int, rng: np.random.Generator) -> dict:
    run, found = read_run(folder), 0
    for k in range(flips):
        record = run.shards[k % len(run.shards)]
        path = folder / record.name
        whole = path.read_bytes()
        data, bit = bytearray(whole), int(rng.integers(0, 8 * len(whole)))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        found += bool(verify_shard(path, record, run.run_id).problems)
        path.write_bytes(whole)
    return {"flips": flips, "found": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--instants", type=int, default=24)
    parser.add_argument("--quick", action="store_true", help="3 kills, 100 flips")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kills, flips, instants = (3, 100, 14) if options.quick else (options.kills, options.flips, options.instants)
    folder = Path(tempfile.mkdtemp())
    try:
        root = options.root or sample_capture(folder, instants)
        result = {"killed": kill_often(root, folder, kills, instants, random.Random(0))}
        result["flipped"] = flip_bits(folder / "whole", flips, np.random.default_rng(0))
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    sys.exit(0 if result["flipped"]["found"] == flips else 1)


if __name__ == "__main__":
    main()
