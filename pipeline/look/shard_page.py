"""The page of `nvf-cli inspect --html`: what shards hold, how good it is, what was left out and why; the rest folded away."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from pipeline.body.model import BodyModel
from pipeline.look import pictures
from pipeline.look.overview import Target, rejects_of
from pipeline.look.summary import counts_text, facts, page_advice
from pipeline.outputs import write_marked
from pipeline.page import big_numbers, facts_table, folded, page, table
from pipeline.preprocess.description import flatten
from pipeline.shards.run_json import RUN_FILE

# Views that are drawn, and rejects that are listed one by one.
VIEWS, LISTED = 6, 500
CAPTION = (
    "First the crop: rings are the dataset's 2D joints, the skeleton its 3D joints (blue left, orange right), dotted the crop that "
    "training sees unmoved. Then the fitted mesh. Last a cut through the body at the depth of the root: stored points on "
    "the distance as it is computed now, so that a point which stands out from its ground has a wrong label."
)


def save_page(target: Target, summary: dict, body: BodyModel, path: Path, problems: Sequence[str] | None) -> None:
    """A page that needs no other file. problems: of a verification, None when none was made."""
    write_marked(path, page(target.path.name, parts(target, summary, body, problems)).encode())


def parts(target: Target, summary: dict, body: BodyModel, problems: Sequence[str] | None) -> list[str]:
    """The page from its top."""
    return [
        f"<h1>{escape(target.path.name)}</h1><p class=note>{escape(str(target.path))} ({summary['state']})</p>",
        *warnings(summary, problems),
        big_numbers(headline(summary)),
        "<h2>What is in it</h2>" + facts_table(facts(summary)),
        "<h2>Fits and distances</h2>" + panels_part(pictures.histogram_panels(target, summary)),
        "<h2>Left out, and why</h2>" + rejects_part(target, summary),
        "<h2>Views</h2>" + views_part(target, body, summary["views"]),
        "<h2>How it was made</h2>" + made_part(summary),
    ]


def warnings(summary: dict, problems: Sequence[str] | None) -> list[str]:
    """What a reader must know before the numbers."""
    failed = [f"FAILED {name}: {error}" for name, error in summary["failed"]]
    found = (
        failed if problems is None else [f"PROBLEM {problem}" for problem in problems]
    )  # which has the failed ones too
    if summary["unfinished"]:
        found.append(f"Not all is here: {summary['unfinished']}.")
    if summary["views"] and not summary["fits"]["valid"]:
        found.append("No view has a valid fit: nothing of a mesh may supervise.")
    said = [f"<p class=partial>{escape(text)}</p>" for text in found]
    if problems is None:
        advice = page_advice(summary)
        return [*said, f"<p class=note>Not verified: <code>{escape(advice)}</code> checks every byte.</p>"]
    return [*said, "" if problems else "<p class=right>Verified: no problem found.</p>"]


def headline(summary: dict) -> list[tuple[str, str, str]]:
    fits, n = summary["fits"], summary["views"]
    left_out = sum(summary["rejects"].values())
    numbers = [
        ("views", f"{n:,}", f"of {summary['instants']:,} instants"),
        ("valid fits", f"{100 * fits['valid'] / n:.0f} %" if n else "-", f"{fits['valid']:,} views"),
    ]
    for name, key, unit in (("3D error", "error_mm", "mm"), ("reprojection", "reprojection_px", "px")):
        if fits[key] is not None:
            numbers.append((name, f"{fits[key]['mean']:.1f} {unit}", f"half below {fits[key]['p50']:.1f}"))
    return [*numbers, ("left out", f"{left_out:,}", "counted below" if left_out else "nothing")]


def rejects_part(target: Target, summary: dict) -> str:
    if not summary["rejects"]:
        return "<p>Nothing was left out.</p>"
    counted = table(["", "reason"], [[str(count), reason] for reason, count in summary["rejects"].items()], "said")
    rejects = rejects_of(target)
    rows = [(reject.key, reject.stage, reject.reason) for reject in rejects[:LISTED]]
    more = "" if len(rejects) <= LISTED else f", the first {LISTED}; {RUN_FILE} and the shards list all"
    return counted + folded(f"One by one ({len(rejects)}{more})", table(["what", "stage", "why"], rows, "said"))


def views_part(target: Target, body: BodyModel, views: int) -> str:
    if not views:
        return "<p>There is no view to show.</p>"
    rows = [panels_part(panels) for panels in pictures.view_panels(target, body, VIEWS)]
    return f"<p class=note>{escape(CAPTION)}</p>" + "".join(rows)


def panels_part(panels: dict[str, Figure]) -> str:
    """Pictures beside one another, one below another where the window is narrow. panels: by what they show."""
    if not panels:
        return "<p>There is nothing to draw.</p>"
    return "<div class=panels>" + "".join(pictures.picture(panel, says) for says, panel in panels.items()) + "</div>"


def made_part(summary: dict) -> str:
    """Settings and provenance, for those who want to make it again."""
    settings = [(name, str(value)) for name, value in flatten(summary["config"]).items()]
    made = [(name.replace("_", " "), str(value)) for name, value in summary["provenance"].items()]
    people = [(name, counts_text(summary[name], most=10**6)) for name in ("subjects", "actions", "cameras")]
    return (
        folded("All settings", facts_table(settings))
        + folded("Program, body and format", facts_table(made))
        + folded("All subjects, actions and cameras", facts_table(people))
    )
