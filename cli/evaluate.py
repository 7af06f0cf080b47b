"""`nvf-cli evaluate`: what a run is worth on a split it was not trained on."""

import json
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
@click.option("--device", default=None, help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON and nothing else.")
def command(run, shards, split, protocol_name, root, truth, allow_partial, device, as_json):
    """Evaluate RUN's best weights on SHARDS. Writes RUN/evaluation.json, RUN/predictions.npz and RUN/figures/."""
    from model.evaluate import evaluate_run

    report = evaluate_run(run, shards, split, protocol_name, root, truth, allow_partial, device)
    click.echo(json.dumps(report, indent=1, allow_nan=False) if as_json else describe(report))
    if not as_json:
        click.echo(f"Written: {run / 'evaluation.json'}, {run / 'predictions.npz'}, {run / 'figures'}")


def describe(report: dict) -> str:
    """The table that a person reads."""
    mean = report["mean_pose"]
    lines = [
        f"{report['model']} on {report['n_views']} views of '{report['split']}' ({report['protocol']['name']}), "
        f"{report['n_skipped']} skipped; root: {report['root']}, boxes: {report['box']}, ground truth: {report['ground_truth']}",
        f"{'':28}{'MPJPE':>10}{'PA-MPJPE':>10}{'MRPE':>10}  mm",
    ]
    names = {"head": "predicted scale", "bones": "scale of mean bone lengths", "gt": "true scale"}
    for key, row in report["scale"].items():
        root = "-" if row["mrpe_mm"] is None else f"{row['mrpe_mm']:.1f}"
        lines.append(f"{names[key]:28}{row['mpjpe_mm']:10.1f}{row['pa_mpjpe_mm']:10.1f}{root:>10}")
    lines.append(f"{'mean training pose':28}{mean['mpjpe_mm']:10.1f}{mean['pa_mpjpe_mm']:10.1f}{'-':>10}")
    lines += ["", "per joint (MPJPE mm)"]
    lines += [f"  {name:16}{row['mpjpe_mm']:8.1f}" for name, row in report["per_joint"].items()]
    for group in ("per_subject", "per_action"):
        lines += ["", f"{group.replace('_', ' ')} (views, MPJPE, PA-MPJPE mm)"]
        lines += [f"  {n:16}{r['n']:6}{r['mpjpe_mm']:9.1f}{r['pa_mpjpe_mm']:9.1f}" for n, r in report[group].items()]
    if report["facing_flips"] is not None:
        lines += ["", f"facing flips {100 * report['facing_flips']:.1f} %, distal ratio {report['distal_ratio']}"]
    if "fallback" in report:
        lines.append(
            f"{report['queries']:.0f} points asked a view; joints without voters {100 * report['fallback']['share']:.2f} %"
        )
    if report["partial"]:
        lines.append(report["partial"])
    return "\n".join(lines)
