"""The field against its baselines: same shards, boxes, encoder, augmentation and training time; settings chosen on
validation.

python -m benchmarks.compare runs/compare --minutes 10 --seeds 3 [--models nvf,heatmap25d] [--shards SHARDS]

Models are given equal measured cost, not an equal clock: all are timed first, in turns, which makes the minutes a number of steps for
each (timing.json), so that whoever runs while the machine is busy loses nothing by it. For every model a few
learning rates (--rates) are tried for a part of the steps, and the configured one stays unless another is clearly better on
validation; then it is trained for all of them with every seed and evaluated on the test split, only the box known: as its head gives
the joints ("votes") and as bodies fitted to them ("body"), the headline by whichever of the two its own validation views chose.
Finished rows are kept: the same command goes on, and --models adds some. Writes table.json (a row per model and seed),
predictions/, summary.json and comparison.png. Without --shards the synthetic capture is made first.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from model.data.views import need_views, read_views
from model.device import Ranks, choose_device
from model.evaluate import evaluate_run
from model.networks.build import HEADS, build_network
from model.scoring.figures import comparison_plot
from model.train import train
from model.training.checkpoint import load_checkpoint
from model.training.config import Config, load_config, with_steps, with_train
from model.training.job import Job
from model.training.runs import BEST, LAST, start_run, training_statistics
from model.training.step import losses_module, take_step
from model.training.transfer import Start
from pipeline.errors import InputError
from pipeline.memory import keep_freed_memory
from pipeline.outputs import write_json
from pipeline.records import SYNTHETIC_MARK

# These get every seed; the others one.
SEEDED = ("nvf", "heatmap25d", "volumetric")
# Part of the steps that each rate is tried for, and by how much another than the configured one must be better: so much do short
# runs scatter.
TRIAL, MARGIN = 0.2, 0.03
# How often every model is timed, in turns: where a machine's speed drifts, it drifts for all of them.
ROUNDS = 3
# Steps of a timing, after some that are not timed.
TIMED_STEPS, WARM_STEPS = 20, 6
BOOTSTRAPS = 2000
# What is said of a model under each decode.
DECODED = ("mpjpe_mm", "pa_mpjpe_mm")


def make_shards(folder: Path, instants: int) -> Path:
    """The synthetic capture, preprocessed, in `folder`; what is there already is kept."""
    capture, shards = folder / "capture", folder / "shards"
    for done, arguments in (
        (capture / SYNTHETIC_MARK, ["synthesize", str(capture), "--instants", str(instants)]),
        (None, ["preprocess", "human36m", str(capture), str(shards), "--crop-px", "192"]),
    ):
        if done is None or not done.exists():
            subprocess.run([sys.executable, "-m", "cli.main", *arguments], check=True)
    return shards


def step_seconds(shards: Path, config: Config) -> float:
    """Seconds of a training step of a new network, by a short timing. The wait for data counts; looks at validation do not."""
    views = need_views(read_views([shards]), "train", [shards]).labelled(config.train.ground_truth)
    device = choose_device(None)
    network = build_network(config.network, training_statistics(views, config)).to(device)
    job = Job(config, views, [1.0], None, shards, device, Ranks())
    run, compute = start_run(network, config), losses_module(network, config.train.compile, job.ranks)
    count = WARM_STEPS + TIMED_STEPS
    batches = job.batches(range(2 * count))  # the loader works beside every timed step
    for k in range(count):
        if k == WARM_STEPS:
            started = time.perf_counter()
        take_step(run, compute, next(batches).to(device), job, k / config.train.steps)
    return (time.perf_counter() - started) / TIMED_STEPS


def refuse_other_settings(out: Path, settings: dict) -> None:
    """A folder holds one comparison. Raises InputError when it was begun with other settings."""
    path = out / "settings.json"
    if not path.exists():
        write_json(path, settings)
    elif (before := json.loads(path.read_text())) != settings:
        raise InputError(f"{out} was begun with {before}, not {settings}. Ask for the same, or name another folder.")


def time_models(path: Path, shards: Path, config_name: str, rounds: int) -> dict[str, float]:
    """Seconds of a step of every model that learns: the median of the rounds. Timed once; `path` keeps it."""
    if not path.exists():
        found = {name: [] for name in HEADS if name != "mean_pose"}
        for _ in range(rounds):
            for name, seconds in found.items():
                seconds.append(round(step_seconds(shards, load_config(config_name, name)), 5))
        write_json(path, found)
    return {name: float(np.median(seconds)) for name, seconds in json.loads(path.read_text()).items()}


def trained(
    folder: Path,
    shards: Path,
    config: Config,
    also: Sequence[tuple[Path, float]] = (),
    start: Start | None = None,
) -> dict:
    """The record of a run, trained, gone on with, or found finished. also: further shards, as `train` takes them. start: weights
    that it starts from."""
    if (folder / LAST).exists() and (folder / BEST).exists():
        said = load_checkpoint(folder / LAST).record
        if said["config"]["network"]["head"]["kind"] == "mean_pose" or said["step"] == said["config"]["train"]["steps"]:
            return said
    resume = (folder / LAST).exists()
    return train(shards, folder, None if resume else config, also=also, resume=resume, start=None if resume else start)


def choose_rate(out: Path, shards: Path, config: Config, factors: list[float]) -> tuple[Config, list[dict]]:
    """The configuration with the learning rate that did best on validation, and what was tried: the configured one times each
    factor. A single factor needs no trial.
    """
    configured = config.train.learning_rate
    if len(factors) == 1:
        return with_train(config, learning_rate=configured * factors[0]), []
    short, tried = with_steps(config, int(config.train.steps * TRIAL)), []
    for factor in factors:
        rate = configured * factor
        folder = out / "trials" / f"{config.network.head.kind}-{rate:.1e}"
        record = trained(folder, shards, with_train(short, learning_rate=rate))
        if record["best"] is None:
            raise InputError(
                f"{shards} has no validation split to choose a learning rate by. Give one alone, e.g. --rates 1."
            )
        tried.append(
            {"learning_rate": rate, "steps": record["step"], "validation_mpjpe_mm": record["best"]["mpjpe_mm"]}
        )
    best = min(tried, key=lambda row: row["validation_mpjpe_mm"] * (1 - MARGIN * (row["learning_rate"] == configured)))
    return with_train(config, learning_rate=best["learning_rate"]), tried


def row_of(out: Path, shards: Path, config: Config, seed: int, timing: dict, tried: list[dict]) -> dict:
    """Train and evaluate one model with one seed."""
    folder = out / f"{config.network.head.kind}-seed{seed}"
    record = trained(folder, shards, with_train(config, seed=seed))
    learns = config.network.head.kind != "mean_pose"
    report = evaluate_run(folder, shards, both=learns)
    # a copy: evaluating the run in another way would overwrite it
    predictions = out / "predictions" / f"{folder.name}.npz"
    predictions.parent.mkdir(exist_ok=True)
    shutil.copyfile(folder / "predictions.npz", predictions)
    keys = (
        "mpjpe_mm",
        "pa_mpjpe_mm",
        "mrpe_mm",
        "n_views",
        "root",
        "distal_ratio",
        "facing_flips",
        "images_per_second",
    )
    return {
        "model": config.network.head.kind,
        "seed": seed,
        **{key: report[key] for key in keys},
        "decode": report["decode"],
        "decodes": {name: {key: row[key] for key in DECODED} for name, row in report["decodes"].items()},
        "queries": report.get("queries"),
        "mpjpe_gt_scale_mm": report["scale"]["gt"]["mpjpe_mm"],
        "mean_pose_mpjpe_mm": report["mean_pose"]["mpjpe_mm"],
        "mean_pose_pa_mpjpe_mm": report["mean_pose"]["pa_mpjpe_mm"],
        "parameters": record["parameters"],
        "seconds": record["seconds"],
        "steps": record["step"],
        "timing": timing,
        "learning_rate": config.train.learning_rate,
        "tried": tried,
        "commit": record["commit"],
        "run": str(folder),
        "predictions": str(predictions),
    }


def view_errors(rows: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """(views,) m mean over the seeds of a model, and the group (subject and action) of each view."""
    errors = []
    for row in rows:
        with np.load(row["predictions"]) as saved:
            errors.append(saved["mpjpe"])
            groups = np.char.add(np.char.add(saved["subject"], "/"), saved["action"])
    return np.mean(errors, 0), groups


def paired_bootstrap(rows: list[dict], others: list[dict]) -> dict:
    """Ratio of mean errors of two models on the same views, with the 95 % interval over subject x action."""
    (a, groups), (b, _) = view_errors(rows), view_errors(others)
    used = np.isfinite(a) & np.isfinite(b)
    a, b, groups = a[used], b[used], np.unique(groups[used], return_inverse=True)[1]
    sums = np.stack([np.bincount(groups, a), np.bincount(groups, b)])
    drawn = np.random.default_rng(0).integers(0, sums.shape[1], (BOOTSTRAPS, sums.shape[1]))
    ratios = sums[0][drawn].sum(1) / sums[1][drawn].sum(1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return {"ratio": round(float(a.sum() / b.sum()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def decodes_of(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Means of a model's rows under each decode that all of them have. Rows of before there were bodies have none."""
    shared = set.intersection(*(set(row.get("decodes", {})) for row in rows))
    return {
        name: {key: round(float(np.mean([row["decodes"][name][key] for row in rows])), 2) for key in DECODED}
        for name in ("votes", "body")
        if name in shared
    }


def summarise(table: list[dict]) -> dict:
    """Per model the mean and spread over seeds; and the field against the best of the others, whatever it is but the mean pose."""
    models = {}
    for name in dict.fromkeys(row["model"] for row in table):
        rows = [row for row in table if row["model"] == name]
        values = np.array([row["mpjpe_mm"] for row in rows])
        models[name] = {
            "seeds": len(rows),
            "mpjpe_mm": round(float(values.mean()), 2),
            "spread_mm": round(float(np.ptp(values)), 2),
            "pa_mpjpe_mm": round(float(np.mean([row["pa_mpjpe_mm"] for row in rows])), 2),
            "of_mean_pose": round(float(values.mean() / rows[0]["mean_pose_mpjpe_mm"]), 4),
            "distal_ratio": round(float(np.mean([row["distal_ratio"] for row in rows])), 3),
            "facing_flips": round(float(np.mean([row["facing_flips"] for row in rows])), 4),
            "decodes": decodes_of(rows),
            "chosen": sorted({row["decode"] for row in rows if "decode" in row}),
            "steps": rows[0]["steps"],
            "parameters": rows[0]["parameters"],
        }
    ours = [row for row in table if row["model"] == "nvf"]
    baselines = [name for name in models if name not in ("nvf", "mean_pose")]
    if not ours or not baselines:
        return {"models": models}
    best = min(baselines, key=lambda name: models[name]["mpjpe_mm"])
    return {
        "models": models,
        "best_baseline": best,
        "best_pa": min(models, key=lambda name: models[name]["pa_mpjpe_mm"]),
        "gap_mm": round(models[best]["mpjpe_mm"] - models["nvf"]["mpjpe_mm"], 2),
        "spread_mm": max(models[name]["spread_mm"] for name in ("nvf", best)),
        "nvf_against_it": paired_bootstrap(ours, [row for row in table if row["model"] == best]),
    }


def both(row: dict[str, float] | None) -> str:
    """MPJPE and PA-MPJPE under a decode."""
    return "-" if row is None else f"{row['mpjpe_mm']:.1f}/{row['pa_mpjpe_mm']:.1f}"


def print_table(summary: dict) -> None:
    table = Table(
        "model",
        "seeds",
        "MPJPE mm",
        "spread",
        "PA mm",
        "votes",
        "body",
        "decode",
        "of mean pose",
        "distal ratio",
        "flips %",
        "steps",
        "parameters",
    )
    for name, row in sorted(summary["models"].items(), key=lambda item: item[1]["mpjpe_mm"]):
        table.add_row(
            name,
            str(row["seeds"]),
            f"{row['mpjpe_mm']:.1f}",
            f"{row['spread_mm']:.1f}",
            f"{row['pa_mpjpe_mm']:.1f}",
            *(both(row["decodes"].get(name)) for name in ("votes", "body")),
            ", ".join(row["chosen"]) or "-",
            f"{row['of_mean_pose']:.3f}",
            f"{row['distal_ratio']:.2f}",
            f"{100 * row['facing_flips']:.1f}",
            str(row["steps"]),
            f"{row['parameters']:,}",
        )
    console = Console(width=max(150, Console().width))
    console.print(table)
    if "best_baseline" in summary:
        found = summary["nvf_against_it"]
        console.print(
            f"nvf / {summary['best_baseline']}: {found['ratio']:.3f} (95 %: {found['low']:.3f} to {found['high']:.3f})"
        )


def compare(
    out: Path,
    shards: Path,
    models: list[str],
    seeds: int,
    minutes: float,
    config_name: str,
    factors: list[float],
    rounds: int,
) -> list[dict]:
    """Every row that is asked for and not there yet; the table is written after each."""
    refuse_other_settings(out, {"config": config_name, "minutes": minutes, "shards": str(shards.resolve())})
    path = out / "table.json"
    table = json.loads(path.read_text()) if path.exists() else []
    for model in models:
        wanted = range(seeds if model in SEEDED else 1)
        missing = [seed for seed in wanted if not any((row["model"], row["seed"]) == (model, seed) for row in table)]
        if not missing:
            continue
        config, tried, timing = load_config(config_name, model), [], {}
        if model != "mean_pose":
            step = time_models(out / "timing.json", shards, config_name, rounds)[model]
            config = with_steps(config, int(minutes * 60 / step))
            timing = {"minutes": minutes, "step_seconds": step, "steps": config.train.steps}
            config, tried = choose_rate(out, shards, config, factors)
        for seed in missing:
            table.append(row_of(out, shards, config, seed, timing, tried))
            write_json(path, table)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/compare"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", default=",".join(HEADS), help="comma-separated")
    parser.add_argument("--config", default="small")
    parser.add_argument(
        "--rates",
        default="0.5,1,2",
        help="factors of the configured learning rate that every model tries; one alone is taken untried",
    )
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--instants", type=int, default=1500, help="of the capture, where it has to be made")
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds a model on a small capture, to see that it runs"
    )
    arguments = parser.parse_args()
    keep_freed_memory()
    minutes, seeds, instants, out, rounds = (
        arguments.minutes,
        arguments.seeds,
        arguments.instants,
        arguments.out,
        ROUNDS,
    )
    if arguments.quick:
        minutes, seeds, instants, out, rounds = 0.1, 1, 60, Path("runs/compare-quick"), 1
    models = arguments.models.replace(",", " ").split()
    factors = [float(factor) for factor in arguments.rates.replace(",", " ").split()]
    unknown = [name for name in models if name not in HEADS]
    if unknown:
        parser.error(f"--models {' '.join(unknown)}: choose from {', '.join(HEADS)}")
    out.mkdir(parents=True, exist_ok=True)
    shards = arguments.shards or make_shards(out, instants)
    table = compare(out, shards, models, seeds, minutes, arguments.config, factors, rounds)
    summary = summarise(table)
    write_json(out / "summary.json", summary)
    comparison_plot(out / "comparison.png", table)
    print_table(summary)


if __name__ == "__main__":
    main()
