"""`nvf-cli inspect`: what shards hold, whether they are right, and how they look."""

import json
import sys
from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path), required=False)
@click.option(
    "--verify", is_flag=True, help="Check hashes, schema, ranges, cameras, images; with --body also distances."
)
@click.option("--body", type=click.Path(path_type=Path), help="The body the shards were made with; 'free' for ours.")
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Write crops with joints and mesh, and distance slices."
)
@click.option(
    "--html", "page", type=click.Path(path_type=Path), help="Write a page with pictures, histograms, rejects."
)
@click.option("--views", default=3, show_default=True, help="Views in the picture.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def command(
    path: Path,
    other: Path | None,
    verify: bool,
    body: Path | None,
    picture: Path | None,
    page: Path | None,
    views: int,
    as_json: bool,
) -> None:
    """Tell what PATH holds: a shard, a folder of shards, or a training run. With OTHER, in what the two differ.

    Exit code 1 when --verify finds a problem, or OTHER has other content.
    """
    from pipeline.body.model import load_body
    from pipeline.look.overview import compare, describe, find_target
    from pipeline.outputs import check_output

    check_output(picture, (".png",), [path, other, body])
    check_output(page, (".html",), [path, other, body])
    if holds_training_only(path):
        record = json.loads((path / "last.json").read_text())
        click.echo(json.dumps(record, indent=1) if as_json else training_text(path, record))
        return
    target = find_target(path)
    if other is not None:
        difference = compare(target, find_target(other))
        click.echo(json.dumps(difference, indent=1) if as_json else comparison_text(difference))
        sys.exit(0 if difference["same"] else 1)
    summary = describe(target)
    model = load_body(None if body is None or str(body) == "free" else body) if body or picture or page else None
    problems = None
    if verify:
        from pipeline.shards.verify import verify_path

        findings = verify_path(target.path, model if body else None)
        problems = findings.problems
        summary["verify"] = {"problems": problems, "notes": findings.notes, "counts": findings.counts}
    if model is not None:
        from pipeline.look.pictures import save_page, save_picture

        if picture:
            save_picture(target, model, picture, views)
        if page:
            save_page(target, summary, model, page, problems)
    click.echo(json.dumps(summary, indent=1, allow_nan=False) if as_json else summary_text(summary))
    sys.exit(1 if problems else 0)


def holds_training_only(path: Path) -> bool:
    """A run folder of `train`, without shards in it or in its `shards`."""
    return (path / "last.json").is_file() and not any((path / name).exists() for name in ("run.json", "shards"))


def training_text(path: Path, record: dict) -> str:
    train, best, network = record["config"]["train"], record["best"], record["config"]["network"]
    head = network["head"]["kind"] if "head" in network else network["model"]  # so runs of version 3 called it
    found = (
        "none"
        if best is None
        else f"MPJPE {best['mpjpe_mm']} mm at step {best['step']} (mean pose {best['mean_pose_mpjpe_mm']})"
    )
    truth = train.get("ground_truth", "dataset")  # runs of older versions had no choice
    lines = [
        f"{path}: {head}, {record['parameters']:,} parameters, step {record['step']} of "
        f"{train['steps']}, {record['seconds']:.0f} s",
        f"validation    {found}",
        f"training      {train['optimizer']} {train['learning_rate']:g}, {train['batch_size']} views a step, seed {train['seed']}, "
        f"ground truth: {truth}",
        *(
            f"data          {d['path']}: {d['train_views']} views, content {d['content_hash'][:12]}"
            for d in record["data"]
        ),
        f"made by       {record['commit']}, torch {record['torch']} on {record['device']}; whole configuration: {path / 'last.json'}",
    ]
    return "\n".join(lines)


def summary_text(summary: dict) -> str:
    fits, config = summary["fits"], summary["config"]
    lines = [
        f"{summary['path']} ({summary['state']}): {summary['views']} views of {summary['instants']} instants in "
        f"{summary['shards']} shards, {summary['bytes'] / 1e6:.1f} MB",
        f"content hash  {summary['content_hash']}",
        "splits        " + count_line(summary["splits"]),
        "subjects      " + count_line(summary["subjects"]),
        "cameras       " + count_line(summary["cameras"]),
        f"3D            {summary['views_3d']} views; {summary['camera_assumed']} with an assumed camera",
        f"fits          {fits['valid']} valid, {fits['without_mesh']} views without a mesh",
        f"  error mm    {distribution_line(fits['error_mm'])}",
        f"  reproj. px  {distribution_line(fits['reprojection_px'])}",
        f"offsets       {config['offsets']}; {summary['provenance']['pool']} points and "
        f"{summary['provenance']['voters']} voters a joint; crop {summary['provenance']['crop_px']} px stored as "
        f"{summary['provenance']['size']} px",
        f"made by       {summary['provenance']['code_commit']}, body {summary['provenance']['body_model']}, distances "
        "by "
        f"{summary['provenance']['sdf_backend']} ({summary['provenance']['sdf_sign_rule']})",
        "rejects       " + (count_line(summary["rejects"]) if summary["rejects"] else "none"),
        "distances     " + histogram_line(summary["distance_mm"]),
    ]
    lines += [f"FAILED {name}: {error}" for name, error in summary["failed"]]
    if "verify" in summary:
        lines.append(
            "checked       " + ", ".join(f"{v:g} {k.replace('_', ' ')}" for k, v in summary["verify"]["counts"].items())
        )
        lines += [f"note          {note}" for note in summary["verify"]["notes"]]
        lines += [f"PROBLEM {problem}" for problem in summary["verify"]["problems"]] or ["no problem found"]
    return "\n".join(lines)


def count_line(counts: dict[str, int]) -> str:
    return ", ".join(f"{name or 'unknown'} {count}" for name, count in counts.items())


def distribution_line(distribution: dict | None) -> str:
    if distribution is None:
        return "none"
    return ", ".join(f"{name} {value:g}" for name, value in distribution.items())


def histogram_line(histogram: dict) -> str:
    """One bar character an interval."""
    share = histogram["share"]
    bars = "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * s / max(max(share), 1e-9)))] for s in share)
    inside = sum(s for s, edge in zip(share, histogram["edges"], strict=False) if edge < 0)
    return f"{bars} from {histogram['edges'][0]} to {histogram['edges'][-1]} mm, {100 * inside:.0f} % inside"


def comparison_text(difference: dict) -> str:
    lines = [f"{a}: {n} views" for a, n in zip(difference["paths"], difference["views"], strict=True)]
    lines.append(f"{difference['shared']} views in both")
    lines += [f"{key}: {a} -> {b}" for key, (a, b) in difference["settings"].items()]
    for name, number in difference["views_that_differ_by_dataset"].items():
        lines.append(f"{name} differs in {number} views")
    return "\n".join(lines + ["the same content" if difference["same"] else "other content"])
