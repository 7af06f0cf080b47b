"""What preprocess costs: CPU a view by stage, and two workers beside two independent processes.

    python -m benchmarks.preprocess [ROOT] [--instants 64] [--crop-px 256] [--pool 8192] [--parallel] [--quick]
    [--json FILE]

ROOT: a human36m folder with 4 views an instant; without it a small capture is made, of 1000-pixel images. CPU seconds
of the process, so other load on the machine hardly enters.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from pipeline.threads import cap_native_threads

H36M_FRAMES = 312_188


def sample_capture(folder: Path, instants: int, image_px: int) -> Path:
    from benchmarks._sample import sample_capture

    return sample_capture(folder, instants, image_px)


def profile(root: Path, instants: int, crop_px: int, pool: int) -> dict:
    """CPU milliseconds a view: all of a shard's task, and the parts of it."""
    from pipeline.fit import Fitter
    from pipeline.preprocess import shard as stages
    from pipeline.preprocess.plan import make_plan
    from pipeline.preprocess.settings import PreprocessSettings, Request
    from pipeline.sampling import SamplingSettings

    spent: Counter[str] = Counter()

    def timed(owner, name: str, label: str) -> None:
        inner = getattr(owner, name)

        def outer(*arguments, **options):
            began = time.process_time()
            try:
                return inner(*arguments, **options)
            finally:
                spent[label] += time.process_time() - began

        setattr(owner, name, outer)

    for owner, name, label in (
        (Fitter, "fit", "fit"),
        (stages, "mesh_of", "pose the mesh"),
        (stages, "SignedDistance", "build the distance"),
        (stages, "encode_crop", "read, warp and encode the image"),
        (stages, "sample_instant", "points, distances, voters"),
        (stages, "shard_view", "turn to crop axes"),
        (stages, "write_shard", "write, read back, sync"),
    ):
        timed(owner, name, label)
    folder = Path(tempfile.mkdtemp())
    try:
        settings = PreprocessSettings(crop_px=crop_px, sampling=SamplingSettings(pool=pool))
        plan = make_plan(Request("human36m", root, folder / "out", limit=instants, settings=settings))
        stages.worker_of(plan.tasks[0].job.parent / "context.json")  # once a worker, not once a view
        spent.clear()
        began = time.process_time()
        for task in plan.tasks:
            stages.make_shard(task)
        total = time.process_time() - began
    finally:
        shutil.rmtree(folder)
    table = {label: 1000 * seconds / plan.views for label, seconds in spent.most_common()}
    return {
        "views": plan.views,
        "crop_px": crop_px,
        "pool": pool,
        "ms_a_view": 1000 * total / plan.views,
        "stages": table,
        "human36m_core_hours": total / plan.views * H36M_FRAMES / 3600,
    }


def parallel(root: Path, instants: int, crop_px: int, pool: int) -> dict:
    """Wall seconds of two workers on a plan, and of two processes without workers side by side on half of it each."""
    folder = Path(tempfile.mkdtemp())

    def start(out: str, workers: int, count: int) -> subprocess.Popen:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cli.main",
                "preprocess",
                "human36m",
                str(root),
                str(folder / out),
                "--workers",
                str(workers),
                "--limit",
                str(count),
                "--crop-px",
                str(crop_px),
                "--pool",
                str(pool),
                "--shard-instants",
                "16",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(*processes: subprocess.Popen) -> float:
        began = time.perf_counter()
        assert all(process.wait() == 0 for process in processes)
        return time.perf_counter() - began

    try:
        apart = wait(start("a", 0, instants // 2), start("b", 0, instants // 2))
        together = wait(start("c", 2, instants))
    finally:
        shutil.rmtree(folder)
    return {"two_processes_s": apart, "two_workers_s": together, "ratio": apart / together}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--instants", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="few instants")
    parser.add_argument("--crop-px", type=int, default=256)
    parser.add_argument("--pool", type=int, default=8192)
    parser.add_argument("--parallel", action="store_true", help="also two workers against two processes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    instants = 14 if options.quick else options.instants
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or sample_capture(Path(folder), instants, image_px=256 if options.quick else 1000)
        result = profile(root, instants, options.crop_px, options.pool)
        if options.parallel:
            result["parallel"] = parallel(root, instants, options.crop_px, options.pool)
    print(
        f"{result['ms_a_view']:.1f} ms of CPU a view ({result['views']} views, crop {options.crop_px}, pool {options.pool}); "
        f"Human3.6M's {H36M_FRAMES:,} frames: {result['human36m_core_hours']:.1f} core-hours"
    )
    for label, milliseconds in result["stages"].items():
        print(f"{milliseconds:8.2f} ms  {label}")
    if options.parallel:
        print(
            "two processes {two_processes_s:.1f} s, two workers {two_workers_s:.1f} s: {ratio:.2f}".format(
                **result["parallel"]
            )
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    cap_native_threads()
    main()
