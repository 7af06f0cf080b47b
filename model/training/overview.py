"""What a run folder holds, without its weights: its configuration, how far it came, how good it is, what it was trained on."""

import json
from pathlib import Path
from typing import Any

from model.training.clock import duration
from model.training.logbook import read_history
from pipeline.errors import InputError

RECORD = "last.json"
# Of the last rows of history.jsonl: what says how the losses stand, not how fast the machine was.
NO_LOSS = ("kind", "step", "step_seconds", "data_wait", "learning_rate", "gradient")


def describe_run(folder: Path) -> dict[str, Any]:
    """The record of the last checkpoint, and beside it the last values of the curves (`curves`: of "train" and "validation", None
    where there are none) and the headline of the last evaluation. Raises InputError when the record cannot be read."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_text())
        if not isinstance(record, dict):
            raise ValueError("it holds no object")
        missing = [key for key in ("config", "step", "seconds", "best", "data", "parameters") if key not in record]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); it is no run of `nvf-cli train`, or it is damaged."
        ) from error
    if missing:
        raise InputError(f"{path} has no {missing[0]!r}: it is no record of `nvf-cli train`, or of another version.")
    rows = read_history(folder)
    curves = {
        kind: next((row for row in reversed(rows) if row["kind"] == kind), None) for kind in ("train", "validation")
    }
    return record | {"curves": curves, "evaluation": evaluation_of(folder)}


def evaluation_of(folder: Path) -> dict[str, Any] | None:
    """The headline of the run's last evaluation."""
    try:
        report = json.loads((folder / "evaluation.json").read_text())
        return {key: report[key] for key in ("mpjpe_mm", "pa_mpjpe_mm", "n_views", "split", "step")} | {
            "protocol": report["protocol"]["name"]
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # none yet, or another version's: the run is worth showing all the same


def run_facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, text): the lines that a person reads of `describe_run`."""
    train, network = run["config"]["train"], run["config"]["network"]
    asked = f"{train['minutes']:g} minutes" if train.get("minutes") else f"{train['steps']} steps"
    started = run.get("started_from")
    head = network["head"]["kind"] if "head" in network else network["model"]  # so runs of version 3 called it
    encoder = network["encoder"]["kind"]
    rows = [
        ("model", f"{head} on {encoder}, {run['parameters']:,} parameters, crops of {network['crop_px']} px"),
        ("trained", f"step {run['step']} in {duration(run['seconds'])}, of {asked}{ending(run)}"),
        ("best", best_text(run["best"])),
        ("last look", validation_text(run["curves"]["validation"])),
        ("losses", losses_text(run["curves"]["train"])),
        ("evaluation", evaluation_text(run["evaluation"])),
        *(("data", data_text(row)) for row in run["data"]),
        ("labels", f"ground truth: {train.get('ground_truth', 'dataset')}"),
        *([("started from", str(started.get("path", started)))] if started else []),
        (
            "made by",
            f"{run.get('commit', 'unknown')}, torch {run.get('torch', 'unknown')} on {run.get('device', 'unknown')}",
        ),
    ]
    return rows + [(section, settings_text(values)) for section, values in run["config"].items()]


def ending(run: dict[str, Any]) -> str:
    return {True: ", finished", False: ", not finished: --resume goes on"}.get(run.get("finished", ""), "")


def best_text(best: dict[str, Any] | None) -> str:
    if best is None:
        return "none: it has not looked at validation yet"
    ratio = (
        f", {best['mpjpe_mm'] / best['mean_pose_mpjpe_mm']:.2f} of the mean pose's"
        if best.get("mean_pose_mpjpe_mm")
        else ""
    )
    return f"validation MPJPE {best['mpjpe_mm']:.1f} mm at step {best['step']}{share_text(best)}{ratio}"


def share_text(best: dict[str, Any]) -> str:
    """Of weights that were brought back towards a start, how far; else nothing."""
    share = best.get("start_share")
    return f" with {share:.0%} of the weights that it started from" if share else ""


def validation_text(row: dict[str, Any] | None) -> str:
    if row is None:
        return "none"
    return (
        f"step {row['step']}: MPJPE {row['mpjpe_mm']:.1f} mm, PA {row['pa_mpjpe_mm']:.1f} mm ({row['n_views']} views)"
    )


def losses_text(row: dict[str, Any] | None) -> str:
    if row is None:
        return "none"
    parts = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in NO_LOSS)
    return f"step {row['step']}: {parts}; {1 / row['step_seconds']:.2f} steps/s, {100 * row['data_wait']:.0f} % waiting for data"


def evaluation_text(found: dict[str, Any] | None) -> str:
    if found is None:
        return "none: `nvf-cli evaluate RUN SHARDS` makes one"
    return (
        f"{found['protocol']}, split {found['split']}: MPJPE {found['mpjpe_mm']:.1f} mm, PA {found['pa_mpjpe_mm']:.1f} mm "
        f"({found['n_views']} views, step {found['step']})"
    )


def data_text(row: dict[str, Any]) -> str:
    subjects = ", ".join(name for name in row.get("subjects") or () if name)
    return (
        f"{row.get('source') or 'dataset not recorded'}{f' {subjects}' if subjects else ''}: {row['train_views']:,} views, weight "
        f"{row['weight']:g}, content {row['content_hash'][:12]}, {row['path']}"
    )


def settings_text(values: dict[str, Any], prefix: str = "") -> str:
    """ "crop_px 128, encoder.kind unet"."""
    parts = [
        settings_text(value, f"{prefix}{name}.") if isinstance(value, dict) else f"{prefix}{name} {value}"
        for name, value in values.items()
    ]
    return ", ".join(part for part in parts if part)
