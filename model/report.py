"""A run's page: one HTML file that holds its pictures and numbers, readable anywhere."""

import base64
import json
from html import escape
from pathlib import Path

from model.checkpoint import write_atomically
from pipeline.errors import InputError

PICTURES = (
    (
        "predictions.png",
        "Predictions",
        "From good to bad, evenly over the scored views. Left the crop; in the middle the skeletons on it (white: true; blue: "
        "left, orange: right, green: middle, as predicted); right the same skeletons from the side, where depth shows.",
    ),
    (
        "field.png",
        "A slice of the field",
        "The predicted distance to the body on two planes through the root. Dots are true samples within 2 cm of the plane in the "
        "same colours: a dot that cannot be told from its ground is a distance that is right.",
    ),
    ("joints.png", "Error by joint", ""),
    ("curves.png", "Training", ""),
)
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#22303c;max-width:1120px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin-bottom:.1em} h2{font-size:1.1em;margin-top:2em} p.note{color:#61707d;margin-top:.2em}
table{border-collapse:collapse;margin:.6em 0} td,th{padding:.25em .9em;text-align:right;border-bottom:1px solid #e6eaee}
td:first-child,th:first-child{text-align:left;padding-left:0} th{font-weight:600;color:#61707d}
.big{display:flex;gap:2.5em;margin:1em 0;flex-wrap:wrap} .big b{display:block;font-size:1.9em;font-weight:650}
.tables{display:flex;gap:3em;flex-wrap:wrap} img{max-width:100%} code{background:#f2f4f6;padding:0 .3em}
"""
SCALES = {"head": "predicted", "bones": "of mean bone lengths", "gt": "true (for comparison)"}


def write_report(run: Path) -> Path:
    """RUN/report.html from RUN/evaluation.json and RUN/figures. Raises InputError when the run was not evaluated."""
    source = run / "evaluation.json"
    try:
        report = json.loads(source.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"{source}: cannot be read ({error}). Evaluate first: `nvf-cli evaluate {run} SHARDS`."
        ) from error
    path = run / "report.html"
    write_atomically(path, page(report, run / "figures").encode())
    return path


def page(report: dict, figures: Path) -> str:
    """The whole page; pictures that a run does not have are left out."""
    mean = report["mean_pose"]
    big = [
        ("MPJPE", f"{report['mpjpe_mm']:.1f} mm", f"{report['mpjpe_mm'] / mean['mpjpe_mm']:.2f} of the mean pose's"),
        (
            "PA-MPJPE",
            f"{report['pa_mpjpe_mm']:.1f} mm",
            f"{report['pa_mpjpe_mm'] / mean['pa_mpjpe_mm']:.2f} of the mean pose's",
        ),
        ("views", str(report["n_views"]), f"{report['n_skipped']} skipped"),
    ]
    numbers = "".join(f"<div>{name}<b>{value}</b>{escape(note)}</div>" for name, value, note in big)
    parts = [
        f"<h1>{escape(report['model'])}: {escape(report['protocol']['describes'])}</h1>",
        f"<p class=note>Split {escape(report['split'])}; root: {report['root']}; boxes: {report['box']}; ground truth: "
        f"{report['ground_truth']}. Step {report['step']}, {report['parameters']:,} parameters, "
        f"{report['training_seconds']:.0f} s of training, seed {report['seed']}, commit <code>{report['commit'][:12]}</code>.</p>",
        f"<div class=big>{numbers}</div>",
        scale_table(report),
    ]
    for name, title, note in PICTURES:
        if (figures / name).is_file():
            data = base64.b64encode((figures / name).read_bytes()).decode()
            parts.append(
                f"<h2>{title}</h2><p class=note>{note}</p><img alt='{title}' src='data:image/png;base64,{data}'>"
            )
    groups = "".join(
        group_table(title, report[key]) for title, key in (("action", "per_action"), ("subject", "per_subject"))
    )
    parts.append(f"<h2>By action and subject</h2><div class=tables>{groups}</div>")
    if report["quoted"]:
        parts.append("<h2>Published (quoted, not measured here)</h2>" + quoted_table(report["quoted"]))
    return (
        f"<!doctype html><meta charset=utf-8><title>{escape(report['model'])}</title><style>{STYLE}</style>"
        + "\n".join(parts)
    )


def cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def scale_table(report: dict) -> str:
    """Headline numbers under each source of scale, and the mean pose's."""
    rows = [
        [
            SCALES[name],
            cell(row["mpjpe_mm"]),
            cell(row["pa_mpjpe_mm"]),
            cell(row["mrpe_mm"]),
            f"{100 * row['pck_150mm']:.1f} %",
        ]
        for name, row in report["scale"].items()
    ]
    mean = report["mean_pose"]
    rows.append(["mean training pose", cell(mean["mpjpe_mm"]), cell(mean["pa_mpjpe_mm"]), "-", "-"])
    return table(["scale", "MPJPE mm", "PA-MPJPE mm", "root (MRPE) mm", "PCK 150 mm"], rows)


def group_table(title: str, groups: dict[str, dict]) -> str:
    rows = [[name, str(row["n"]), cell(row["mpjpe_mm"]), cell(row["pa_mpjpe_mm"])] for name, row in groups.items()]
    return table([title, "views", "MPJPE mm", "PA-MPJPE mm"], rows)


def quoted_table(rows: list[dict]) -> str:
    return table(
        ["method", "MPJPE mm", "PA-MPJPE mm", "read in", "note"],
        [[row["method"], cell(row["mpjpe_mm"]), cell(row["pa_mpjpe_mm"]), row["source"], row["note"]] for row in rows],
    )
