"""`nvf-cli fit`: SMPL-X bodies for every instant of a dataset."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.options import FOCAL, JOINT_REGRESSOR, SOURCE_OPTIONS

if TYPE_CHECKING:
    from pipeline.fit.predicted import PredictedBodies


@click.command()
@click.argument("source")
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--body", "body_file", type=click.Path(path_type=Path), help="A licensed SMPLX_*.npz in place of the free body."
)
@JOINT_REGRESSOR
@click.option("--limit", type=click.IntRange(min=1), help="Fit at most N instants, spread evenly over the source.")
@click.option(
    "--prior", default="motion", show_default=True, help="Pose prior: motion, anatomical, l2, angle, gmm, vposer."
)
@click.option("--prior-file", type=click.Path(path_type=Path), help="gmm_08.pkl or a VPoser checkpoint.")
@click.option("--hands", is_flag=True, help="Fit fingers where hand keypoints are given.")
@click.option("--face", is_flag=True, help="Fit jaw and expression where face keypoints are given.")
@click.option("--interpenetration", is_flag=True, help="Push apart limbs that run into the body (slower).")
@click.option(
    "--people",
    "predictions",
    type=click.Path(path_type=Path),
    metavar="PREDICTIONS",
    help="Take the bodies that `nvf-cli predict` found in the pictures, in place of fits to the keypoints alone.",
)
@FOCAL
@SOURCE_OPTIONS
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--threads", default=0, show_default="all cores", help="CPU threads.")
@click.option("--vertices", is_flag=True, help="Also write every fit's vertices.")
@click.option("--pkl", is_flag=True, help="Also write SMPLify-X's own result files.")
@click.option("--overwrite", is_flag=True, help="Replace fits that are already in OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON and nothing else.")
@click.pass_context
def command(
    context: click.Context,
    /,
    source: str,
    root: Path,
    out: Path,
    body_file: Path | None,
    joint_regressor: Path | None,
    limit: int | None,
    predictions: Path | None,
    focal: float | None,
    options: tuple[str, ...],
    threads: int,
    vertices: bool,
    pkl: bool,
    overwrite: bool,
    as_json: bool,
    **fit_options: Any,
) -> None:
    """Fit the body model to every instant of SOURCE in ROOT; write OUT/fits.h5, OUT/report.json and OUT/report.html.

    Exit code 1 when instants were rejected (OUT/report.json lists them), or no fit is valid.
    """
    import torch

    from model.networks.keypoint_network import KeypointNetwork
    from pipeline.body.keypoints import with_joint_regressor
    from pipeline.body.model import load_body
    from pipeline.fit.settings import FitSettings
    from pipeline.fit_source import fit_source
    from pipeline.sources import open_source, parse_options

    settings = FitSettings(**fit_options)
    people = predicted_bodies(predictions, context) if predictions else None
    with claimed(out, root, overwrite):
        if threads:
            torch.set_num_threads(threads)
        reader = open_source(source, root, **({"focal": focal} | parse_options(source, options)))
        body = with_joint_regressor(load_body(body_file), joint_regressor)
        make_writable(out)
        with shown(as_json) as show:
            witness = KeypointNetwork("lightning")
            report = fit_source(reader, body, settings, out, limit, vertices, pkl, show, witness, people)
    click.echo((out / "report.json").read_text() if as_json else summary(report, out), nl=not as_json)
    if report["rejects"] or not report["valid"] or "page_error" in report:
        sys.exit(1)


@contextmanager
def shown(silent: bool) -> Iterator[Callable[[int, int], None]]:
    """Takes how many instants are fitted, and of how many, and draws a bar."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=silent) as bar:
        task = bar.add_task("fitting", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# What shapes a fit, or the body that is fitted: bodies that were predicted are what they are.
OF_A_FIT = {"body_file": "--body"} | {
    name: "--" + name.replace("_", "-")
    for name in ("joint_regressor", "prior", "prior_file", "hands", "face", "interpenetration")
}


def predicted_bodies(path: Path, context: click.Context) -> "PredictedBodies":
    """The bodies of a predictions.json, or of the folder that it lies in. Raises InputError for a file without any, and for
    options that would say nothing."""
    from model.people.predictions import FILE, read_predictions
    from pipeline.body.model import load_body
    from pipeline.errors import InputError
    from pipeline.fit.predicted import PredictedBodies, PredictedBody

    asked = [name for name in OF_A_FIT if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if asked:
        option = OF_A_FIT[asked[0]]
        raise InputError(f"--people takes bodies as they were predicted, of the free body; leave out {option}.")
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"--people {path}: there is no {FILE}. `nvf-cli predict PICTURES --out {path}` writes it.")
    said = read_predictions(file)
    body = load_body().sha256
    if said.about.get("body", body) != body:  # files of before do not say
        raise InputError(f"{file} has bodies of another body model than the free body of this version. Predict again.")
    pictures = said.pictures
    found = [
        PredictedBody(one.name, person.box, one.camera, person.body, person.doubts)
        for one in pictures
        if one.camera is not None
        for person in one.people
        if person.body is not None
    ]
    if not found:
        raise InputError(f"{file} has nobody with a body. Predict again with another --decode than votes.")
    return PredictedBodies(file, found, [one.name for one in pictures])


@contextmanager
def claimed(out: Path, root: Path, overwrite: bool) -> Iterator[None]:
    """The folder, which no other run writes meanwhile. Raises InputError where it holds something else, or fits that are to stay."""
    from pipeline.errors import InputError
    from pipeline.fit.fits_file import NAME
    from pipeline.outputs import claim_folder, run_lock

    with run_lock(out):
        if (out / NAME).exists() and not overwrite:
            raise InputError(f"{out / NAME} exists already; give another folder, or --overwrite to replace it.")
        claim_folder(out, (NAME,), [root])
        yield


def make_writable(out: Path) -> None:
    """Makes the folder, and tries to write there, before hours are spent."""
    from pipeline.outputs import write_file

    write_file(out / "fits.h5.tmp", b"")


def summary(report: dict, out: Path) -> str:
    """What a terminal is told of the report."""
    lines = [
        f"{report['n']} fits ({report['valid']} valid), {len(report['rejects'])} rejected, "
        f"{report['fits_per_second'] or 0:.0f} fits/s."
    ]
    if "people" in report:
        people = report["people"]
        doubtful = f"; of {people['doubtful']} predict says that joints may be far off" if people["doubtful"] else ""
        lines.append(f"{people['taken']} of the {people['found']} people of {people['file']} were taken{doubtful}.")
    if report["ambiguous"]:
        lines.append(f"{report['ambiguous']} could as well be another body (quality/ambiguous in fits.h5).")
    if not report["valid"]:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in list(report["rejects_by_reason"].items())[:3])
        lines.append(f"No fit is valid{': ' + reasons if reasons else '; report.json has their errors'}.")
    lines += [f"Warning: {doubt}." for doubt in report["doubts"]]
    if "page_error" in report:
        lines.append(f"The page could not be drawn ({report['page_error']}); the fits and report.json are whole.")
    else:
        lines.append(f"Look at {out / 'report.html'}.")
    return "\n".join(lines)
