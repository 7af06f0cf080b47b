"""`nvf-cli evaluate`: what a run is worth on a split it was not trained on."""

import json
import textwrap
from pathlib import Path

import click


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("shards", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test", show_default=True)
@click.option(
    "--protocol", "protocol_name", default="all-17j", show_default=True, help="Which views and joints, which alignment."
)
@click.option(
    "--root",
    type=click.Choice(["predicted", "gt"]),
    default="predicted",
    show_default=True,
    help="Whose scale the headline takes; the report has both.",
)
@click.option("--ground-truth", "truth", type=click.Choice(["dataset", "fit"]), default="dataset", show_default=True)
@click.option("--allow-partial", is_flag=True, help="Score a recorded dataset that lacks views; the report says so.")
@click.option(
    "--decode",
    type=click.Choice(["auto", "votes", "body"]),
    default="auto",
    show_default=True,
    help="Score the joints that the model gives, or those of the free body fitted to them; auto: what the run chose on validation.",
)
@click.option(
    "--hypotheses",
    type=click.IntRange(0, 6),
    default=0,
    help="Also fit up to so many bodies that explain a view, and score the best of them.",
)
@click.option(
    "--tta", "augmented", is_flag=True, help="Test-time augmentation, as of predict: four looks at every view."
)
@click.option("--device", default=None, help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON and nothing else.")
def command(
    run: Path,
    shards: Path,
    split: str,
    protocol_name: str,
    root: str,
    truth: str,
    allow_partial: bool,
    decode: str,
    hypotheses: int,
    augmented: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Evaluate RUN's best weights on SHARDS. Writes RUN/evaluation.json, RUN/predictions.npz, RUN/figures/ and, where bodies are
    fitted, RUN/bodies.npz with their SMPL-X parameters."""
    from model.evaluate import evaluate_run

    report = evaluate_run(
        run,
        shards,
        split,
        protocol_name,
        root,
        truth,
        allow_partial,
        device,
        decode,
        hypotheses=hypotheses,
        augmented=augmented,
    )
    click.echo(json.dumps(report, indent=1, allow_nan=False) if as_json else describe(report))
    if not as_json:
        bodies = f", {run / 'bodies.npz'}" if "body" in report else ""
        click.echo(f"Written: {run / 'evaluation.json'}, {run / 'predictions.npz'}{bodies}, {run / 'figures'}")


def describe(report: dict) -> str:
    """What a person reads."""
    from model.scoring.report import facts

    lines = [f"{report['model']} of {report['run']}, step {report['step']}"]
    if report["partial"]:
        lines.append(report["partial"])
    lines += [wrapped(f"{name:22}", text) for name, text in facts(report)]
    lines += [
        "",
        *scale_lines(report),
        "",
        *direction_lines(report["by_direction"]),
        "",
        "per joint (MPJPE, PA-MPJPE mm)",
    ]
    lines += [f"  {n:16}{r['mpjpe_mm']:9.1f}{r['pa_mpjpe_mm']:9.1f}" for n, r in report["per_joint"].items()]
    for group in ("per_subject", "per_action"):
        lines += ["", f"{group.replace('_', ' ')} (views, MPJPE, PA-MPJPE mm)"]
        lines += [f"  {n:16}{r['n']:6}{r['mpjpe_mm']:9.1f}{r['pa_mpjpe_mm']:9.1f}" for n, r in report[group].items()]
    if report["facing_flips"] is not None:
        lines += ["", f"facing flips {100 * report['facing_flips']:.1f} %, distal ratio {report['distal_ratio']}"]
    if "fallback" in report:
        lines.append(
            f"{report['queries']:.0f} points asked a view; "
            f"joints that no point within the gate votes for {100 * report['fallback']['share']:.2f} %"
        )
    return "\n".join(lines + quoted_lines(report))


def wrapped(name: str, text: str) -> str:
    """A name and its text, the text's further lines under its first."""
    return textwrap.fill(text, 120, initial_indent=name, subsequent_indent=" " * len(name))


def scale_lines(report: dict) -> list[str]:
    """The headline's numbers under each source of scale, and the mean pose's."""
    names = {"head": "predicted scale", "bones": "scale of mean bone lengths", "gt": "true scale"}
    lines = [f"{'':28}{'MPJPE':>10}{'PA-MPJPE':>10}{'MRPE':>10}  mm {'PCK@150 %':>12}{'AUC':>8}"]
    for key, row in report["scale"].items():
        root = "-" if row["mrpe_mm"] is None else f"{row['mrpe_mm']:.1f}"
        lines.append(
            f"{names[key]:28}{row['mpjpe_mm']:10.1f}{row['pa_mpjpe_mm']:10.1f}{root:>10}"
            f"{100 * row['pck_150mm']:17.1f}{row['auc']:8.3f}"
        )
    mean = report["mean_pose"]
    return [*lines, f"{'mean training pose':28}{mean['mpjpe_mm']:10.1f}{mean['pa_mpjpe_mm']:10.1f}{'-':>10}"]


def direction_lines(found: dict[str, dict]) -> list[str]:
    """Errors across the image and along the ray, of seen and of hidden joints."""
    from model.scoring.report import DIRECTIONS, direction_rows

    head = f"{'joints':12}{'count':>10}" + "".join(f"{title:>22}" for title in DIRECTIONS)
    return [head, *(f"{row[0]:12}{row[1]:>10}" + "".join(f"{v:>22}" for v in row[2:]) for row in direction_rows(found))]


def quoted_lines(report: dict) -> list[str]:
    """What others published by this protocol, marked as theirs."""
    from model.scoring.report import QUOTED, comparability, quoted_cells

    if not report["quoted"]:
        return []
    rows = [
        f"  {method:30}{mpjpe:>8}{pa:>9}  {source}" + (f"; {note}" if note else "")
        for method, mpjpe, pa, source, note in map(quoted_cells, report["quoted"])
    ]
    return ["", f"{QUOTED}: method, MPJPE, PA-MPJPE mm, read in", wrapped("  ", comparability(report)), *rows]
