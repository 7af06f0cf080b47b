"""`nvf-cli demo OUT`: the whole chain on the free body and capture; each stage is the command that a user would type."""

import json
from functools import partial
from pathlib import Path

import click

from cli.options import POSITIVE, usable_cores
from cli.stages import run_stages


def stage_arguments(
    out: Path, instants: int, minutes: float, workers: int, config: str | None, seed: int
) -> dict[str, list[str]]:
    """nvf-cli's arguments for every stage, in order. config: what is trained from its encoder on; None for the free model, which
    learns the capture on top of what it knows.
    """
    from model.people import free_model
    from model.training.config import load_config

    capture, shards = str(out / "capture"), str(out / "shards")
    beginning = ["--from", free_model.NAME] if config is None else ["--config", config]
    return {
        "synthesize": [
            "synthesize",
            capture,
            "--instants",
            str(instants),
            "--seed",
            str(seed),
            "--workers",
            str(workers),
        ],
        # a view is drawn from five times, 128 points each: more than these are made in vain (docs/log.md)
        "preprocess": [
            "preprocess",
            "human36m",
            capture,
            shards,
            "--crop-px",
            str(load_config(config or str(free_model.CONFIGURATION)).network.crop_px),
            "--pool",
            "3072",
            "--workers",
            str(workers),
        ],
        "train": ["train", shards, str(out), *beginning, "--minutes", f"{minutes:g}"],
        "evaluate": ["evaluate", str(out), shards],
        "report": ["report", str(out)],
    }


def summarise(out: Path, seconds: dict[str, float]) -> dict:
    """What scripts read from a demo: the evaluation's headline, the fits against the true bodies, and the time of each stage."""
    from pipeline.body.model import load_body
    from pipeline.look.fit_truth import fit_truth_errors

    evaluation = json.loads((out / "evaluation.json").read_text())
    keys = ("mpjpe_mm", "pa_mpjpe_mm", "mean_pose", "n_views", "root", "box", "ground_truth", "split")
    return {
        **{key: evaluation[key] for key in keys if key in evaluation},
        "seconds": seconds,
        "fit": fit_truth_errors(out / "shards", out / "capture", load_body()),
    }


def print_table(report: dict, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    mean, fit = report["mean_pose"], report["fit"]
    table = Table(title="On subjects never trained on", title_justify="left")
    for column in ("", "MPJPE mm", "PA-MPJPE mm"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("voting field", f"{report['mpjpe_mm']:.1f}", f"{report['pa_mpjpe_mm']:.1f}")
    table.add_row("mean training pose", f"{mean['mpjpe_mm']:.1f}", f"{mean['pa_mpjpe_mm']:.1f}")
    table.add_row(
        "ratio", f"{report['mpjpe_mm'] / mean['mpjpe_mm']:.2f}", f"{report['pa_mpjpe_mm'] / mean['pa_mpjpe_mm']:.2f}"
    )
    console = Console()
    console.print(table)
    console.print(
        f"{report['n_views']} test views; root: {report['root']}; ground truth: {report['ground_truth']}; only the person's box "
        "enters at test time"
    )
    console.print(
        f"fits: vertices {fit['vertex_error_mm']:.1f} mm from the true bodies, joints' fit error {fit['fit_error_mm']:.1f} mm"
    )
    console.print("seconds: " + ", ".join(f"{name} {value:.0f}" for name, value in report["seconds"].items()))
    console.print(f"report with pictures: {out / 'report.html'}", soft_wrap=True)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--instants", default=1500, show_default=True, help="Moments of the capture; each gives four images.")
@click.option("--minutes", type=POSITIVE, default=7.0, show_default=True, help="Of training.")
@click.option(
    "--config",
    default=None,
    help="Named configuration or TOML file, trained from its encoder on; default: the free model goes on learning.",
)
@click.option(
    "--workers",
    type=int,
    default=usable_cores,
    show_default="number of cores",
    help="Processes of the capture and pipeline.",
)
@click.option("--seed", default=0, show_default=True, help="Of the capture.")
def command(out: Path, instants: int, minutes: float, config: str | None, workers: int, seed: int) -> None:
    """Free body -> capture -> shards -> trained and evaluated field, in OUT.

    Ends with a table, OUT/report.json and OUT/report.html. The same command goes on with an interrupted demo.
    """
    from pipeline.outputs import write_json

    stages = partial(stage_arguments, instants=instants, minutes=minutes, workers=workers, config=config, seed=seed)
    seconds = run_stages(out, stages, out)
    report = summarise(out, seconds)
    write_json(out / "report.json", report)
    print_table(report, out)
