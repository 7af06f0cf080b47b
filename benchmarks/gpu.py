"""What this system does on a GPU, in one go: a capture, shards, training steps, predictions, fits, and a training run.

    python -m benchmarks.gpu OUT --minutes 8
    python -m benchmarks.gpu OUT --quick             # every part, as small as it can be, in well under a minute on a processor
    python -m benchmarks.gpu OUT --only step fits    # these parts anew, beside what OUT/gpu.json holds of the others
    python -m benchmarks.gpu OUT --tables            # the tables of what OUT/gpu.json holds

Needs a GPU, some processor cores, and no network: where the weights of `base` cannot be had, its speed is measured with random
ones. Every part runs in a process of its own, with a limit of time, so that one that fails or hangs is reported and the rest goes on.
Writes OUT/gpu.json after every part, and OUT/gpu.md, the tables of docs/gpu.md, at the end. Exit code 1 when a part failed.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks._gpu_parts import CONFIGS, FIT_BATCHES, INFERENCE_BATCHES, Asked, parts
from model.device import choose_device
from pipeline.outputs import make_folder, write_file, write_json
from pipeline.threads import wait_passively
from pipeline.version import code_commit

# Seconds that a part may take; others DEFAULT_LIMIT.
LIMITS = {"data": 240.0, "machine": 60.0, "weights": 90.0}
DEFAULT_LIMIT, COMPILING_LIMIT = 75.0, 180.0
# Part of the time that is kept for the training run, and what that needs at least, seconds.
FOR_TRAINING, LEAST_TRAINING = 0.2, 60.0
GRACE = 60.0
# How parts start: from a process that never touches the device.
START = "forkserver"
# What parts import, so that none of them does; what is not installed is passed over.
PRELOADED = ["benchmarks._gpu_parts", "torch._dynamo", "transformers.models.vitpose_backbone.modeling_vitpose_backbone"]


def answer(name: str, asked: Asked, pipe: Connection) -> None:
    """A part, in its own process, and in a session of its own, so that what it starts can be ended with it."""
    os.setsid()
    started = time.perf_counter()
    try:
        found = parts()[name](asked)
    except BaseException as error:  # whatever it is, it is what there is to say of this part
        last = traceback.format_exc().strip().splitlines()[-8:]
        found = {"failed": f"{type(error).__name__}: {str(error)[:500]}", "trace": last}
    pipe.send(found | {"part_seconds": round(time.perf_counter() - started, 1)})


def run_part(name: str, asked: Asked, limit: float) -> dict:
    """What a part found, or why it did not."""
    context = multiprocessing.get_context(START)
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(name, asked, writer))
    process.start()
    writer.close()
    try:
        if reader.poll(limit):
            return reader.recv()
        return {"failed": f"it took longer than the {limit:.0f} s that it was given"}
    except EOFError:
        process.join()
        code = process.exitcode or 0
        return {"failed": f"its process ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"}
    finally:
        process.join(5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()


def chosen(only: list[str]) -> list[str]:
    """The parts whose names begin so; all of them where nothing is asked for."""
    return [name for name in parts() if not only or name.startswith(tuple(only))]


def measure(asked: Asked, only: list[str], before: dict) -> dict:
    """The chosen parts; OUT/gpu.json is written after each. before: the parts that an earlier call measured."""
    ends, names = time.monotonic() + 60 * asked.minutes, chosen(only)
    kept = max(LEAST_TRAINING, FOR_TRAINING * 60 * asked.minutes) if "training" in names else 0.0
    report: dict = {
        "minutes": asked.minutes,
        "quick": asked.quick,
        "device": asked.device,
        "commit": code_commit(),
        "parts": before,
    }
    for name in names:
        left = ends - time.monotonic()
        usual = COMPILING_LIMIT if name.endswith("/compiled") else LIMITS.get(name, DEFAULT_LIMIT)
        limit = left + GRACE if name == "training" else min(usual, left - kept)
        if asked.quick:
            left, limit = 60.0, 60.0
        if limit < (LEAST_TRAINING / 2 if name == "training" else 5.0):
            report["parts"][name] = {"failed": "no time was left for it; give more --minutes"}
        else:
            print(f"{name} ...", flush=True)
            report["parts"][name] = run_part(name, replace(asked, seconds_left=left), limit)
        found = report["parts"][name]
        found["measured_by"] = {key: report[key] for key in ("commit", "device", "quick")}
        print(f"{name}: {found.get('failed') or json.dumps(found)}", flush=True)
        write_json(asked.out / "gpu.json", report)
    return report


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(report: dict) -> str:
    """docs/gpu.md's tables, in Markdown."""
    found = report["parts"]
    about, trained = found.get("machine", {}), found.get("training", {})
    rates = about.get("matrix_tflops", {})
    said = [
        f"{about.get('name', report['device'])}, {about.get('cores', '?')} cores, torch {about.get('torch', '?')}, commit "
        f"{(report['commit'] or 'unknown')[:7]}. Products of large matrices: {rates.get('bf16', '?')} TFLOP/s in bf16, "
        f"{rates.get('float32', '?')} in float32. `base`: {found.get('weights', {}).get('base', '?')}.",
        "## Training steps",
        step_table(found, rates),
        "## Predictions",
        table(
            ["configuration", *(f"images/s, batch {batch}" for batch in INFERENCE_BATCHES)],
            [
                [f"`{name}`", *(cell(part, str(batch), "images_per_second") for batch in INFERENCE_BATCHES)]
                for name, part in ((name, found.get(f"inference/{name}", {})) for name in CONFIGS)
            ],
        ),
        "## Fits",
        table(
            ["at once", "fits/s", "mm"],
            [
                [f"{part.get('fits', batch):,}", cell(part, "fits_per_second"), cell(part, "error_mm")]
                for batch, part in ((batch, found.get(f"fits/{batch}", {})) for batch in FIT_BATCHES)
            ],
        ),
        "## A training run",
        table(
            ["configuration", "minutes", "steps", "images/s", "MPJPE mm", "PA-MPJPE mm", "mean pose"],
            [
                [
                    cell(trained, key)
                    for key in (
                        "config",
                        "minutes",
                        "steps",
                        "images_per_second",
                        "mpjpe_mm",
                        "pa_mpjpe_mm",
                        "mean_pose_mpjpe_mm",
                    )
                ]
            ],
        ),
    ]
    commits = {part["measured_by"]["commit"] for part in found.values() if "measured_by" in part}
    if len(commits) > 1:
        said.append("Parts are of several commits: " + ", ".join(sorted(str(commit)[:7] for commit in commits)) + ".")
    failed = [f"- {name}: {part['failed']}" for name, part in found.items() if "failed" in part]
    return "\n\n".join(said + (["## What failed", "\n".join(failed)] if failed else [])) + "\n"


def step_table(found: dict, rates: dict) -> str:
    rows = []
    for name in CONFIGS:
        ours, published, compiled = (found.get(f"step/{name}/{how}", {}) for how in ("ours", "published", "compiled"))
        fed = found.get(f"loading/{name}", {})
        share, ratio = "-", "-"
        if "tflops" in ours and ours["tflops"] and rates.get("bf16"):
            share = f"{100 * ours['tflops'] / rates['bf16']:.1f} %"
        if "images_per_second" in ours and "images_per_second" in published:
            ratio = f"{ours['images_per_second'] / published['images_per_second']:.2f}"
        rows.append(
            [
                f"`{name}`",
                cell(ours, "batch"),
                cell(ours, "images_per_second"),
                cell(compiled, "images_per_second"),
                cell(published, "images_per_second"),
                ratio,
                share,
                cell(fed, "images_per_second"),
                cell(fed, "data_wait"),
                cell(fed, "first_batch_seconds"),
                cell(ours, "peak_memory_gb"),
            ]
        )
    heads = [
        "configuration",
        "batch",
        "images/s, bf16",
        "compiled",
        "eager float32 as published",
        "ratio",
        "of the matrix rate",
    ]
    return table([*heads, "with loading", "data wait", "first batch, s", "GB"], rows)


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(part: dict, *path: str) -> str:
    """A number of a part, "-" where it has none."""
    value: object = part
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return "-" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/gpu"))
    parser.add_argument("--minutes", type=float, default=8.0, help="of everything together")
    parser.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    parser.add_argument("--quick", action="store_true", help="every part, tiny, to see that it runs")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="beginnings of parts' names")
    parser.add_argument("--tables", action="store_true", help="only print the tables of what was measured before")
    given = parser.parse_args()
    if given.tables:
        print(tables(json.loads((given.out / "gpu.json").read_text())))
        return
    make_folder(given.out)
    wait_passively()  # the processes of the parts inherit it
    multiprocessing.get_context(START).set_forkserver_preload(PRELOADED)
    if not chosen(given.only):
        parser.error(f"--only {' '.join(given.only)}: no part's name begins so; there are {', '.join(parts())}")
    held = given.out / "gpu.json"
    device = choose_device(given.device).type
    earlier = json.loads(held.read_text()) if given.only and held.exists() else {"parts": {}}
    if earlier["parts"] and (earlier["device"], earlier["quick"]) != (device, given.quick):
        parser.error(f"{held} was measured on {earlier['device']}{', --quick' * earlier['quick']}; give another folder")
    report = measure(Asked(given.out, given.minutes, device, given.quick), given.only, earlier["parts"])
    write_file(given.out / "gpu.md", tables(report).encode())
    print("\n" + tables(report))
    sys.exit(1 if any("failed" in report["parts"][name] for name in chosen(given.only)) else 0)


if __name__ == "__main__":
    main()
