"""`nvf-cli inspect`: what shards hold, whether they are right, and how they look."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline.look.overview import Target


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
    from pipeline.look.overview import compare, describe, find_target
    from pipeline.outputs import check_output

    check_output(picture, (".png",), [path, other, body])
    check_output(page, (".html",), [path, other, body])
    trained = describe_training(path)
    if trained is not None and other is None and not holds_shards(path):
        click.echo(json.dumps(trained, indent=1) if as_json else training_text(path, trained))
        return
    target = find_target(path)
    if other is not None:
        difference = compare(target, find_target(other))
        click.echo(json.dumps(difference, indent=1) if as_json else comparison_text(difference))
        sys.exit(0 if difference["same"] else 1)
    summary = describe(target) | ({} if trained is None else {"training": trained})
    if summary["unfinished"]:
        click.echo(f"{target.path}: {summary['unfinished']}.", err=True)
    problems = look(target, summary, verify, body, picture, page, views)
    if as_json:
        click.echo(json.dumps(summary, indent=1, allow_nan=False))
    else:
        click.echo(("" if trained is None else training_text(path, trained) + "\n\n") + summary_text(summary))
    sys.exit(1 if problems else 0)


def look(
    target: "Target",
    summary: dict,
    verify: bool,
    body: Path | None,
    picture: Path | None,
    page: Path | None,
    views: int,
) -> list[str] | None:
    """Verifies and draws what is asked for. The problems that were found, None where nobody asked; the summary takes them too."""
    from pipeline.body.model import load_body

    model = load_body(None if body is None or str(body) == "free" else body) if body or picture or page else None
    problems = None
    if verify:
        from pipeline.shards.verify import verify_path

        findings = verify_path(target.path, model if body else None)
        problems = findings.problems
        summary["verify"] = {"problems": problems, "notes": findings.notes, "counts": findings.counts}
    if model is not None:
        from pipeline.look.pictures import save_picture
        from pipeline.look.shard_page import save_page

        if picture:
            save_picture(target, model, picture, views)
        if page:
            save_page(target, summary, model, page, problems)
    return problems


def describe_training(path: Path) -> dict | None:
    """What `train` left in the folder; None where it is no run."""
    if not (path / "last.json").is_file():
        return None
    from model.training.overview import describe_run

    return describe_run(path)


def holds_shards(path: Path) -> bool:
    from pipeline.shards.run_json import RUN_FILE
    from pipeline.shards.store import shard_folder

    return (shard_folder(path) / RUN_FILE).exists()


def training_text(path: Path, trained: dict) -> str:
    from model.training.overview import RECORD, run_facts
    from pipeline.errors import naming_damage

    with naming_damage(
        path / RECORD, "It is no run of this version of `nvf-cli train`, or a file beside it is damaged."
    ):
        return lines_text(f"{path}: a training run", run_facts(trained))


def summary_text(summary: dict) -> str:
    from pipeline.look.summary import facts, rejects_text, title

    lines = [lines_text(title(summary), [*facts(summary), ("left out", rejects_text(summary))])]
    lines += [f"FAILED {name}: {error}" for name, error in summary["failed"]]
    if "verify" in summary:
        counts = ", ".join(f"{v:g} {k.replace('_', ' ')}" for k, v in summary["verify"]["counts"].items())
        lines.append(lines_text("", [("checked", counts), *(("note", note) for note in summary["verify"]["notes"])]))
        lines += [f"PROBLEM {problem}" for problem in summary["verify"]["problems"]] or ["no problem found"]
    return "\n".join(lines)


def lines_text(title: str, facts: list[tuple[str, str]]) -> str:
    """A title and a line for each fact, their names in a column."""
    return "\n".join([*([title] if title else []), *(f"{name:<14}{text}" for name, text in facts)])


def comparison_text(difference: dict) -> str:
    lines = [f"{a}: {n} views" for a, n in zip(difference["paths"], difference["views"], strict=True)]
    lines.append(f"{difference['shared']} views in both")
    lines += [f"{key}: {a} -> {b}" for key, (a, b) in difference["settings"].items()]
    for name, number in difference["views_that_differ_by_dataset"].items():
        lines.append(f"{name} differs in {number} views")
    return "\n".join(lines + ["the same content" if difference["same"] else "other content"])
