"""The field against its baselines: same shards, boxes, encoder, augmentation and training time; settings chosen on
validation.

python -m benchmarks.compare runs/compare --minutes 10 --seeds 3 [--models nvf,heatmap25d] [--shards SHARDS]

For every model a few learning rates (--rates) are tried for a part of the time and the best on validation is kept; then it is
trained for the whole time with every seed and evaluated on the test split, only the box known. Finished rows are kept:
the same command goes on, and --models adds some. Writes table.json (a row per model and seed), summary.json and
comparison.png. Without --shards the synthetic capture is made first.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from model.config import Config, load_config, with_train
from model.evaluate import evaluate_run, write_json
from model.figures import comparison_plot
from model.nvf import MODELS
from model.runs import LAST
from model.train import train
from pipeline.memory import keep_freed_memory

# These get every seed; the others one.
SEEDED = ("nvf", "heatmap25d", "volumetric")
# Part of the time that each of them is tried for.
TRIAL = 0.2
BOOTSTRAPS = 2000


def make_shards(folder: Path, instants: int) -> Path:
    """The synthetic capture, preprocessed, in `folder`; what is there already is kept."""
    capture, shards = folder / "capture", folder / "shards"
    for done, arguments in (
        (capture / "truth.h5", ["synthesize", str(capture), "--instants", str(instants)]),
        (None, ["preprocess", "human36m", str(capture), str(shards), "--crop-px", "128"]),
    ):
        if done is None or not done.exists():
            subprocess.run([sys.executable, "-m", "cli.main", *arguments], check=True)
    return shards


def trained(folder: Path, shards: Path, config: Config, minutes: float | None = None) -> dict:
    """The record of a run, trained, gone on with, or found finished; for some minutes, or for the configuration's steps."""
    record = folder / "last.json"
    if record.exists():
        said = json.loads(record.read_text())
        if said["config"]["network"]["model"] == "mean_pose" or said["step"] == said["config"]["train"]["steps"]:
            return said
    resume = (folder / LAST).exists()
    return train(shards, folder, None if resume else config, resume=resume, minutes=minutes)


def choose_rate(
    out: Path, shards: Path, config: Config, minutes: float, factors: list[float]
) -> tuple[Config, list[dict]]:
    """The configuration with the learning rate that did best on validation, and what was tried: the configured one times each
    factor. A single factor needs no trial.
    """
    if len(factors) == 1:
        return with_train(config, learning_rate=config.train.learning_rate * factors[0]), []
    tried = []
    for factor in factors:
        rate = config.train.learning_rate * factor
        folder = out / "trials" / f"{config.network.model}-{rate:.1e}"
        record = trained(folder, shards, with_train(config, learning_rate=rate), minutes * TRIAL)
        tried.append(
            {"learning_rate": rate, "steps": record["step"], "validation_mpjpe_mm": record["best"]["mpjpe_mm"]}
        )
    best = min(tried, key=lambda row: row["validation_mpjpe_mm"])
    return with_train(config, learning_rate=best["learning_rate"]), tried


def row_of(out: Path, shards: Path, config: Config, seed: int, minutes: float, tried: list[dict]) -> dict:
    """Train and evaluate one model with one seed."""
    folder = out / f"{config.network.model}-seed{seed}"
    record = trained(folder, shards, replace(config, train=replace(config.train, seed=seed)), minutes)
    source = folder / "evaluation.json"
    report = json.loads(source.read_text()) if source.exists() else evaluate_run(folder, shards)
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
        "model": config.network.model,
        "seed": seed,
        **{key: report[key] for key in keys},
        "queries": report.get("queries"),
        "mpjpe_gt_scale_mm": report["scale"]["gt"]["mpjpe_mm"],
        "mean_pose_mpjpe_mm": report["mean_pose"]["mpjpe_mm"],
        "mean_pose_pa_mpjpe_mm": report["mean_pose"]["pa_mpjpe_mm"],
        "parameters": record["parameters"],
        "seconds": record["seconds"],
        "steps": record["step"],
        "minutes": minutes,
        "timing": record["timing"],
        "learning_rate": config.train.learning_rate,
        "tried": tried,
        "commit": record["commit"],
        "run": str(folder),
    }


def view_errors(rows: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """(views,) m mean over the seeds of a model, and the group (subject and action) of each view."""
    errors = []
    for row in rows:
        with np.load(Path(row["run"]) / "predictions.npz") as saved:
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


def summarise(table: list[dict]) -> dict:
    """Per model the mean and spread over seeds; and the field against the best of the others."""
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
            "steps": rows[0]["steps"],
            "parameters": rows[0]["parameters"],
        }
    ours = [row for row in table if row["model"] == "nvf"]
    baselines = [name for name in models if name not in ("nvf", "nosdf", "nvf-published", "mean_pose")]
    if not ours or not baselines:
        return {"models": models}
    best = min(baselines, key=lambda name: models[name]["mpjpe_mm"])
    return {
        "models": models,
        "best_baseline": best,
        "nvf_against_it": paired_bootstrap(ours, [row for row in table if row["model"] == best]),
    }


def print_table(summary: dict) -> None:
    table = Table(
        "model",
        "seeds",
        "MPJPE mm",
        "spread",
        "PA mm",
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
            f"{row['of_mean_pose']:.3f}",
            f"{row['distal_ratio']:.2f}",
            f"{100 * row['facing_flips']:.1f}",
            str(row["steps"]),
            f"{row['parameters']:,}",
        )
    console = Console(width=max(110, Console().width))
    console.print(table)
    if "best_baseline" in summary:
        found = summary["nvf_against_it"]
        console.print(
            f"nvf / {summary['best_baseline']}: {found['ratio']:.3f} (95 %: {found['low']:.3f} to {found['high']:.3f})"
        )


def compare(
    out: Path, shards: Path, models: list[str], seeds: int, minutes: float, config_name: str, factors: list[float]
) -> list[dict]:
    """Every row that is asked for and not there yet; the table is written after each."""
    path = out / "table.json"
    table = json.loads(path.read_text()) if path.exists() else []
    for model in models:
        wanted = range(seeds if model in SEEDED else 1)
        missing = [seed for seed in wanted if not any((row["model"], row["seed"]) == (model, seed) for row in table)]
        if not missing:
            continue
        config, tried = load_config(config_name, model), []
        if model != "mean_pose":
            config, tried = choose_rate(out, shards, config, minutes, factors)
        for seed in missing:
            table.append(row_of(out, shards, config, seed, minutes, tried))
            write_json(path, table)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/compare"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", default=",".join(MODELS), help="comma-separated")
    parser.add_argument("--config", default="small")
    parser.add_argument(
        "--rates", default="0.5,1,2", help="factors of the configured learning rate that every model tries; one alone is taken untried"
    )
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--instants", type=int, default=1500, help="of the capture, where it has to be made")
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds a model on a small capture, to see that it runs"
    )
    arguments = parser.parse_args()
    keep_freed_memory()
    minutes, seeds, instants, out = arguments.minutes, arguments.seeds, arguments.instants, arguments.out
    if arguments.quick:
        minutes, seeds, instants, out = 0.1, 1, 60, Path("runs/compare-quick")
    models = arguments.models.replace(",", " ").split()
    factors = [float(factor) for factor in arguments.rates.replace(",", " ").split()]
    unknown = [name for name in models if name not in MODELS]
    if unknown:
        parser.error(f"--models {' '.join(unknown)}: choose from {', '.join(MODELS)}")
    out.mkdir(parents=True, exist_ok=True)
    shards = arguments.shards or make_shards(out, instants)
    table = compare(out, shards, models, seeds, minutes, arguments.config, factors)
    summary = summarise(table)
    write_json(out / "summary.json", summary)
    comparison_plot(out / "comparison.png", table)
    print_table(summary)


if __name__ == "__main__":
    main()
