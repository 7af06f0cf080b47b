"""`nvf-cli model`: make the free model again, from nothing but this program."""

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from cli.options import POSITIVE, usable_cores
from cli.stages import run_stages

# Processes that load batches for the training; more gain nothing, even beside a GPU.
MOST_LOADERS = 8
# Of the weights that a build leaves: this program's, and those of the encoder's that have learnt since.
LICENCE = (
    "Apache-2.0; of MoveNet (Google, movenet_LICENSE.txt) what published_and_trained_on names, changed by training"
)
# What measures on photographs of a real person, and where it lies.
REAL_VIEWS, CHECKOUT = "benchmarks.real_views", Path(__file__).resolve().parent.parent


@click.group(name="model")
def command() -> None:
    """The free model: build it again, or say what the shipped one was made of."""


def stage_arguments(
    out: Path, instants: int, minutes: float, workers: int, seed: int, before: Sequence[Path] = ()
) -> dict[str, list[str]]:
    """nvf-cli's arguments for every stage, in order. before: earlier builds; each one's people
    weigh as much as this one's own, and the training starts from the weights of the first."""
    from model.people import free_model
    from model.training.config import load_config

    config = str(free_model.AFTER if before else free_model.CONFIGURATION)
    crop_px = str(load_config(config).network.crop_px)
    capture, shards, run = str(out / "capture"), str(out / "shards"), str(out / "run")
    several = ["--workers", str(workers)]
    after = ["--from", str(before[0] / "run")] if before else []
    for earlier in before:
        after += ["--also", f"{earlier / 'shards'}:1"]
    return {
        "synthesize": ["synthesize", capture, "--wild", "--instants", str(instants), "--seed", str(seed), *several],
        "preprocess": ["preprocess", "wild", capture, shards, "--crop-px", crop_px, *several],
        "train": [
            "train",
            shards,
            run,
            "--config",
            config,
            *after,
            "--minutes",
            f"{minutes:g}",
            "--seed",
            str(seed),
            "--workers",
            str(max(1, min(MOST_LOADERS, workers - 1))),
        ],
        "evaluate": ["evaluate", run, shards, "--split", "validation"],
    }


@command.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--instants", default=10000, show_default=True, help="Pictures of people, one to four in each.")
@click.option("--minutes", type=POSITIVE, default=120.0, show_default=True, help="Of training.")
@click.option(
    "--workers",
    type=int,
    default=usable_cores,
    show_default="number of cores",
    help="Processes that make and load the data.",
)
@click.option("--seed", default=0, show_default=True, help="Of the pictures and the training.")
@click.option(
    "--after",
    "before",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="BUILD",
    help="Go on from the model that this command left in BUILD, with its people beside new ones; give another --seed. "
    "Given again, the people of that build come in, too.",
)
@click.option(
    "--real-views",
    "wheel",
    type=click.Path(path_type=Path),
    metavar="WHEEL",
    help="Measure it on photographs, too: pose2sim's wheel (docs/real-views.md); from a checkout of this program.",
)
def build(
    out: Path, instants: int, minutes: float, workers: int, seed: int, before: tuple[Path, ...], wheel: Path | None
) -> None:
    """Free bodies -> pictures of people -> shards -> a trained field in OUT/run, and packed for shipping in OUT/free.

    The same command goes on with an interrupted one.
    """
    from model.training.pack import pack_run
    from pipeline.version import code_commit

    if wheel is not None:
        require_real_views(wheel)
    require_builds(before, seed)
    stages = partial(stage_arguments, instants=instants, minutes=minutes, workers=workers, seed=seed, before=before)
    seconds = run_stages(out, stages, out / "run")
    after = "".join(f" --after {earlier.resolve().name}" for earlier in before)
    made_by = f"nvf-cli model build --instants {instants} --minutes {minutes:g} --seed {seed}{after}"
    notes = {"made_by": made_by, "licence": LICENCE, "commit": code_commit(), "seconds": seconds}
    record = pack_run(out / "run", out / "free", notes)
    best = record["best"]
    click.echo(
        f"{out / 'free'}: step {record['step']}, weights {record['packed']['weights_sha256'][:12]}, "
        f"validation {best['mpjpe_mm']:.1f} / {best['pa_mpjpe_mm']:.1f} mm. "
        f"nvf-cli predict --run {out / 'free'} uses it."
    )
    if wheel is not None:
        measured = subprocess.run([sys.executable, "-m", REAL_VIEWS, *of_real_views(out, wheel)], cwd=CHECKOUT)
        sys.exit(measured.returncode)


def require_builds(before: Sequence[Path], seed: int) -> None:
    """Raises InputError, before hours are spent, where one is no finished build with its run and its shards, or where two of them, or
    one and the new one, have the same seed."""
    from pipeline.errors import InputError

    whose = {seed: "this build"}
    for earlier in before:
        its = seed_of(earlier)
        if its in whose:
            raise InputError(
                f"--after {earlier}: its people were drawn with --seed {its}, as those of {whose[its]}, and would come again. "
                "Name every build once, and give another seed."
            )
        whose[its] = str(earlier)


def seed_of(before: Path) -> int:
    """The seed of a build's people. Raises InputError where it is not finished or lacks its run or its shards."""
    from model.training.transfer import find_start
    from pipeline.errors import InputError
    from pipeline.shards.run_json import read_run

    if not (before / "free").is_dir():
        raise InputError(
            f"--after {before}: no `nvf-cli model build` has finished there (there would be {before / 'free'})."
        )
    for name in ("run", "shards"):
        if not (before / name).is_dir():
            raise InputError(f"--after {before}: {before / name} is not there any more, and this build needs it.")
    read_run(before / "shards")
    return find_start(before / "run", "all").config().train.seed


def require_real_views(wheel: Path) -> None:
    """Raises InputError, before hours are spent, where the photographs or what measures on them are not there."""
    from pipeline.errors import InputError

    if not (CHECKOUT / f"{REAL_VIEWS.replace('.', '/')}.py").exists():
        raise InputError(
            "--real-views: the benchmarks are not part of the wheel of this program; run it from a checkout."
        )
    if not wheel.is_file():
        raise InputError(f"--real-views {wheel}: there is no such file. docs/real-views.md says how it is fetched.")


def of_real_views(out: Path, wheel: Path) -> list[str]:
    """The benchmark's arguments."""
    return [
        str((out / "free").resolve()),
        "--wheel",
        str(wheel.resolve()),
        "--out",
        str((out / "real-views").resolve()),
    ]


@command.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
def info(run: Path | None) -> None:
    """What the free model was made of; with RUN, what that run was."""
    from model.people import free_model
    from model.training.runs import MEND, find_weights, read_weights
    from pipeline.errors import naming_damage

    path = find_weights(run or free_model.folder())
    record = read_weights(path).record
    with naming_damage(path, MEND):
        rows = facts(record)
    for name, value in rows.items():
        click.echo(f"{name:14} {value if value is not None else 'not recorded'}")


def facts(record: dict) -> dict[str, object]:
    """What a run's record says it was made of; None for what it does not say."""
    best, packed, network = record["best"], record.get("packed", {}), record["config"]["network"]
    rows = {
        "head, encoder": f"{network['head']['kind']}, {network['encoder']['kind']}, crops of {network['crop_px']} px",
        "steps": f"{record['step']} of {record['config']['train']['batch_size']} people",
        "code": record["commit"],
        "made by": packed.get("made_by"),
        "licence": packed.get("licence"),
        "weights": packed.get("weights_sha256"),
        "validation": best and f"{best['mpjpe_mm']:.1f} / {best['pa_mpjpe_mm']:.1f} mm on {best['n_views']} views",
    }
    for number, data in enumerate(record["data"], 1):
        rows[f"data {number}"] = f"{data['train_views']} people of {data['source']}, content {data['content_hash']}"
    return rows
