"""`nvf-cli train`: learn a voting field, or a network that it is compared with, from shards."""

from pathlib import Path

import click

from cli.options import HEAD, POSITIVE
from pipeline.errors import InputError


@click.command("train")
@click.argument("shards", type=click.Path(path_type=Path))
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--config", default=None, help="small (default), scratch, base, published, or a TOML file (docs/training.md)."
)
@click.option("--model", type=HEAD, help="The head; the configuration's own by default, nvf where it names none.")
@click.option(
    "--also", multiple=True, metavar="SHARDS:WEIGHT", help="More shards; WEIGHT is how often relative to the first."
)
@click.option("--steps", type=click.IntRange(min=1), help="Length of the whole run; overrides the configuration's.")
@click.option(
    "--minutes", type=POSITIVE, help="Length of the whole run by the clock: training time, looks not counted."
)
@click.option(
    "--ground-truth",
    "truth",
    type=click.Choice(["dataset", "fit"]),
    default=None,
    help="What labels and validation are of: measured joints, or the fitted bodies; overrides the configuration's.",
)
@click.option("--seed", type=click.IntRange(min=0), default=None, help="Overrides the configuration's.")
@click.option(
    "--workers", type=click.IntRange(min=0), default=None, help="Loader processes; overrides the configuration's."
)
@click.option("--device", default=None, help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")
@click.option("--resume", is_flag=True, help="Go on from RUN's last checkpoint; with --steps or --minutes for longer.")
@click.option(
    "--from",
    "source",
    metavar="free|RUN_OR_FILE",
    help="Start from these weights (free: those that are shipped), with their configuration unless --config or --model says another.",
)
@click.option(
    "--from-part",
    "part",
    type=click.Choice(["all", "encoder", "all-but-head"]),
    default="all",
    show_default=True,
    help="Which of the weights of --from.",
)
def command(
    shards: Path,
    run: Path,
    config: str | None,
    model: str | None,
    also: tuple[str, ...],
    steps: int | None,
    minutes: float | None,
    truth: str | None,
    seed: int | None,
    workers: int | None,
    device: str | None,
    resume: bool,
    source: str | None,
    part: str,
) -> None:
    """Train on SHARDS (the output of preprocess) and write checkpoints, curves and records into RUN.

    The same command under `torchrun --nproc-per-node N $(which nvf-cli) train ...` uses N GPUs.
    """
    from model.people import free_model
    from model.train import train
    from model.training.config import load_config, with_train
    from model.training.runs import RUN_FILES
    from model.training.transfer import find_start
    from pipeline.outputs import claim_folder

    if steps is not None and minutes is not None:
        raise InputError("--steps and --minutes both say how long the run is; give one of them.")
    if part != "all" and not source:
        raise InputError(f"--from-part {part} says which weights of --from are taken; give --from, too.")
    if resume and source:
        raise InputError("--resume goes on with a run and --from starts one; give one of them.")
    if resume and (model or truth or seed is not None or workers is not None):
        raise InputError(
            "--resume goes on with the run's own settings; leave out --model, --ground-truth, --seed and --workers."
        )
    folders = [folder_and_weight(text) for text in also]
    if not resume:
        claim_folder(run, RUN_FILES, [shards, *(folder for folder, _ in folders)])
    start = find_start(free_model.folder() if source == free_model.NAME else Path(source), part) if source else None
    if source == free_model.NAME and not (config or model):  # the length of its own training is not what others want
        config = str(free_model.CONFIGURATION)
    settings = None
    if config is not None or not resume:
        settings = start.config() if start and not (config or model) else load_config(config or "small", model)
        settings = with_train(settings, seed=seed, workers=workers, ground_truth=truth)
    record = train(shards, run, settings, folders, resume, device, steps, minutes, start)
    if record is not None:  # of all processes, the first one speaks
        click.echo(f"{run}: {closing_line(record)}")


def closing_line(record: dict) -> str:
    """What a finished run says of itself: its length, what it learnt from, its best look at validation."""
    from model.training.overview import share_text

    best, truth = record["best"], record["config"]["train"]["ground_truth"]
    line = f"{record['step']} steps in {record['seconds']:.0f} s, ground truth: {truth}. "
    if best is None:
        return line + "No validation views: the last weights are kept."
    line += (
        f"Best on validation: MPJPE {best['mpjpe_mm']:.1f} mm at step {best['step']}"
        f"{share_text(best)} (mean pose {best['mean_pose_mpjpe_mm']:.1f} mm)."
    )
    if record["validation_truth"] != truth:
        line += " No validation view has all joints measured: those errors are against the fits."
    return line


def folder_and_weight(text: str) -> tuple[Path, float]:
    """ "shards:0.5" -> (shards, 0.5)."""
    path, colon, weight = text.rpartition(":")
    try:
        value = float(weight)
    except ValueError:
        value = -1.0
    if not colon or not path or not 0 < value < float("inf"):
        raise InputError(f"--also {text}: write SHARDS:WEIGHT with a weight above 0, for example shards-coco:0.5.")
    return Path(path), value
