"""`nvf-cli preprocess`: a dataset to shards."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from cli.options import FINAL, FOCAL, JOINT_REGRESSOR, SCHEDULER, SOURCE_OPTIONS, SUBJECTS, WORKERS


@click.command()
@click.argument("source")
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--body", type=click.Path(path_type=Path), help="A licensed SMPLX_*.npz in place of the free body.")
@JOINT_REGRESSOR
@WORKERS
@SCHEDULER
@click.option(
    "--offsets",
    type=click.Choice(["voters", "dense", "derive"]),
    default="voters",
    show_default=True,
    help="Joint offsets to keep: of each joint's voters, of all points, or none (the reader computes them).",
)
@SUBJECTS
@click.option("--limit", type=click.IntRange(1), help="At most N instants, spread evenly over the plan.", metavar="N")
@click.option("--every-test", type=click.IntRange(1), help="Keep every N-th test frame (human36m: 64; SPIN: 5).")
@FINAL
@FOCAL
@SOURCE_OPTIONS
@click.option("--fits-from", type=click.Path(path_type=Path), help="Take the fits of an `nvf-cli fit` run.")
@click.option(
    "--prior",
    default="motion",
    show_default=True,
    help="Pose prior of the fits: motion, anatomical (the fits of version 0.1.0), l2 or angle.",
)
@click.option("--crop-px", default=256, show_default=True, help="Side of the nominal crop; a quarter more is stored.")
@click.option("--jpeg-quality", default=90, show_default=True, help="Of the stored crops.")
@click.option("--pool", default=8192, show_default=True, help="Field points a view, about 4 times what a step draws.")
@click.option("--shard-instants", default=64, show_default=True, help="Instants a shard.")
@click.option("--seed", default=0, show_default=True, help="Of the field points.")
@click.option("--overwrite", is_flag=True, help="Remove the run that OUT holds.")
@click.option("--append", is_flag=True, help="Add the subjects that the run in OUT lacks.")
def command(
    source: str,
    root: Path,
    out: Path,
    subjects: str | None,
    options: tuple[str, ...],
    every_test: int | None,
    final: bool,
    focal: float | None,
    workers: int,
    scheduler: str | None,
    **values: Any,
) -> None:
    """Turn the dataset in ROOT into shards of training data in OUT.

    SOURCE is human36m, threedpw, coco, openpose, multiview or wild. The same command again continues an interrupted run.
    Exit code 1 when a shard failed or nothing usable came out, 2 when the run was refused.
    """
    from pipeline.threads import cap_native_threads

    cap_native_threads()
    from rich.console import Console

    from model.networks.keypoint_network import KeypointNetwork
    from pipeline.fit import FitSettings
    from pipeline.preprocess.progress import RunProgress, summary, usable
    from pipeline.preprocess.settings import PreprocessSettings, Request
    from pipeline.run import Workers, preprocess
    from pipeline.sampling import SamplingSettings
    from pipeline.sources import parse_options

    settings = PreprocessSettings(
        **named_like(PreprocessSettings, values),
        sampling=SamplingSettings(**named_like(SamplingSettings, values)),
        fit=FitSettings(**named_like(FitSettings, values)),
    )
    request = Request(
        **named_like(Request, values),
        source=source,
        root=root,
        out=out,
        subjects=tuple(subjects.split(",")) if subjects else None,
        options={"every_test": every_test, "final": final, "focal": focal} | parse_options(source, options),
        settings=settings,
    )
    with RunProgress(Console(stderr=True)) as progress:
        run = preprocess(request, Workers(workers, scheduler), progress, KeypointNetwork("lightning"))
    click.echo(summary(out, run, progress.seconds))
    sys.exit(1 if run.failed or not usable(run) else 0)


def named_like(record: type, values: dict) -> dict:
    """Those of the values that are named like a field of the record: an option that has a setting's name is that setting."""
    return {field.name: values[field.name] for field in fields(record) if field.name in values}
