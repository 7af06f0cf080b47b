"""A run's page: one HTML file that holds its pictures and numbers, readable anywhere."""

import json
from html import escape
from pathlib import Path

from model.scoring.reliability import BINS
from pipeline.errors import InputError, naming_damage
from pipeline.outputs import check_output, write_marked
from pipeline.page import big_numbers, facts_table, image, table
from pipeline.page import page as whole_page
from pipeline.skeletons import FIELD_JOINTS

PICTURES = (
    (
        "predictions.png",
        "Predictions",
        "From good to bad, evenly over the scored views. Left the crop; in the middle the skeletons on it (white: true; blue: "
        "left, orange: right, green: middle, as predicted); right the same skeletons from the side, where depth shows.",
    ),
    (
        "hypotheses.png",
        "Several bodies of one view",
        "The views in which the weights are most even. Left the crop and the true skeleton from the side; then the bodies that "
        "explain it, the likeliest first, over the crop and from the side about the root. White: the true skeleton.",
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
SCALES = {"head": "predicted", "bones": "of mean bone lengths", "gt": "true (for comparison)"}
TRUTHS = {
    "dataset": "dataset (joints that the dataset measured)",
    "fit": "fit (joints of the fitted bodies, where the fit is valid)",
}
ALIGNMENTS = {"similarity": "rotation, translation and scale", "rigid": "rotation and translation, no scale"}
HEADLINES = {"mpjpe_mm": "MPJPE", "pa_mpjpe_mm": "PA-MPJPE"}
GROUPS = {"action": "per_action", "subject": "per_subject", "joint": "per_joint"}
QUOTED = "Published (quoted, not measured here)"
NOT_RECORDED = "not recorded"
# Subjects that a line names before it counts the others (3DPW has 34 in its training split).
NAMED_SUBJECTS = 8


def write_report(run: Path) -> Path:
    """RUN/report.html from RUN/evaluation.json and RUN/figures. Raises InputError when the run was not evaluated, or by a
    version that recorded less."""
    source = run / "evaluation.json"
    try:
        report = json.loads(source.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{source}: cannot be read ({error}). Evaluate first: `nvf-cli evaluate {run} SHARDS`."
        ) from error
    if not isinstance(report, dict) or "trained_on" not in report:
        raise InputError(
            f"{source}: it has no 'trained_on', so another version wrote it. Evaluate again: `nvf-cli evaluate {run} SHARDS`."
        )
    path = run / "report.html"
    check_output(path, (".html",))
    with naming_damage(source, f"Evaluate again: `nvf-cli evaluate {run} SHARDS`."):
        whole = page(report, run / "figures").encode()
    write_marked(path, whole)
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
    parts = [
        f"<h1>{escape(report['model'])}, {escape(report['protocol']['name'])}</h1>",
        f"<p class=note>Step {report['step']}, {report['parameters']:,} parameters, "
        f"{report['training_seconds']:.0f} s of training, seed {report['seed']}, commit <code>{report['commit'][:12]}</code>.</p>",
        f"<p class=partial>{escape(report['partial'])}</p>" if report["partial"] else "",
        big_numbers(big),
        scale_table(report),
        direction_table(report["by_direction"]) if "by_direction" in report else "",
        "<h2>What was scored, and how</h2>",
        facts_table(facts(report)),
    ]
    for name, title, note in PICTURES:
        if (figures / name).is_file():
            shown = image((figures / name).read_bytes(), title)
            parts.append(f"<h2>{title}</h2><p class=note>{note}</p>{shown}")
    groups = "".join(group_table(title, report[key]) for title, key in GROUPS.items())
    parts.append(f"<h2>By action, subject and joint</h2><div class=tables>{groups}</div>")
    if "confidence" in report:  # evaluations of before 0.2 have none
        parts.append(confidence_table(report["confidence"]))
    if report["quoted"]:
        parts.append(
            f"<h2>{QUOTED}</h2><p class=note>{escape(comparability(report))}</p>{quoted_table(report['quoted'])}"
        )
    return whole_page(report["model"], parts)


# What the scored joints are, by the name of the decode.
DECODED = {
    "votes": "the joints that the model gives",
    "body": "the joints of the free body, fitted to those that the model gives",
}


def facts(report: dict) -> list[tuple[str, str]]:
    """What was scored and how, as (name, text): the same lines on the page and on the terminal."""
    protocol = report["protocol"]
    thorax = "; fitted with the thorax, scored without it" if protocol["aligned_with_thorax"] else ""
    rows = [
        ("protocol", f"{protocol['name']}: {protocol['describes']}"),
        ("views", views_text(report)),
        ("ground truth", TRUTHS[report["ground_truth"]]),
        ("joints", joints_text(protocol["joints"])),
        (
            "root",
            f"{protocol['root']}, prediction and truth each relative to its own; scale of the prediction: {report['root']}",
        ),
        ("alignment", f"of PA-MPJPE, a view: {protocol['alignment']} ({ALIGNMENTS[protocol['alignment']]}){thorax}"),
        (
            "average",
            f"{protocol['average']}; papers quote {' and '.join(HEADLINES[key] for key in protocol['headline'])}",
        ),
        ("boxes", report["box"]),
        ("decode", decode_text(report)),
        ("trained on", trained_text(report["trained_on"])),
    ]
    if protocol["source"] == "threedpw":
        rows.append(("3DPW's training split", threedpw_text(report["trained_on"])))
    return rows


def decode_text(report: dict) -> str:
    """What the scored joints are, why, and how the other decode did. Reports of older versions do not say it."""
    decode = report.get("decode", "votes")
    text = DECODED[decode]
    if "body" in report and decode == "body":
        body = report["body"]
        learnt = f"learnt from {body['poses']:,} poses of the run's own training fits"
        text += f" (pose prior: {learnt if body['prior'] == 'learnt' else 'of real people in motion'})"
    if report.get("test_time_augmentation"):
        text += ", from four looks at every view"
    several = report.get("hypotheses", {})
    if several.get("views"):
        text += (
            f"; of up to {several['asked']} bodies a view ({several['mean_count']:.1f} different ones) the best has "
            f"{several['min_of_k_mpjpe_mm']:.1f} / {several['min_of_k_pa_mpjpe_mm']:.1f} mm, the fitted one "
            f"{several['fitted_mpjpe_mm']:.1f} / {several['fitted_pa_mpjpe_mm']:.1f}"
        )
    others = {name: row for name, row in report.get("decodes", {}).items() if name != decode}
    text += "".join(f"; {name}: {row['mpjpe_mm']:.1f} / {row['pa_mpjpe_mm']:.1f} mm" for name, row in others.items())
    chosen = report.get("chosen_by")
    if chosen:
        rows = ", ".join(f"{name} {row['mpjpe_mm']:.1f} mm" for name, row in chosen.items() if name != "views")
        text += f"; the run chose on {chosen['views']} validation views: {rows}"
    return text


def views_text(report: dict) -> str:
    """How many views were scored, skipped and left out, and why."""
    recorded = "" if report["recorded"] else ", a synthetic capture"
    text = f"{report['n_views']:,} scored of the split '{report['split']}' ({report['source']}{recorded})"
    text += f"; {report['n_skipped']:,} skipped" + reasons_text(report["skipped"])
    return text + f"; {sum(report['left_out'].values()):,} not of the protocol" + reasons_text(report["left_out"])


def reasons_text(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{reason}: {count:,}' for reason, count in counts.items())})" if counts else ""


def joints_text(names: list[str]) -> str:
    """Which of the field's joints are scored."""
    without = [name.replace("_", " ") for name in FIELD_JOINTS.names if name not in names]
    return f"{len(names)} of {FIELD_JOINTS.name}" + (f", without {', '.join(without)}" if without else "")


def trained_text(trained: dict) -> str:
    """Datasets, subjects and shards that a run learnt from, and those of the weights that it started from."""
    text = f"{' and '.join(map(data_text, trained['data']))}; labels: {trained['ground_truth']}"
    before = trained.get("before")  # reports of before it was recorded have none
    return text + (
        f"; it started from weights that had learnt from {' and '.join(map(data_text, before))}" if before else ""
    )


def data_text(row: dict) -> str:
    """A folder of shards, as a run's record has it."""
    named = [name for name in row["subjects"] or () if name]
    more = f" and {len(named) - NAMED_SUBJECTS} more" if len(named) > NAMED_SUBJECTS else ""
    subjects = f" {', '.join(named[:NAMED_SUBJECTS])}{more}" if named else ""
    return (
        f"{row['source'] or f'dataset {NOT_RECORDED}'}{subjects} ({row['train_views']:,} views, weight "
        f"{row['weight']:g}, content {row['content_hash'][:12]})"
    )


def threedpw_text(trained: dict) -> str:
    """Whether a run, or the weights that it started from, saw 3DPW in training: that moves results there by several millimetres."""
    sources, before = ([row["source"] for row in trained.get(name, ())] for name in ("data", "before"))
    if "threedpw" in sources:
        return "used in training"
    if "threedpw" in before:
        return "used in the training of the weights that it started from"
    return NOT_RECORDED if None in (*sources, *before) else "not used in training"


def comparability(report: dict) -> str:
    """Whether published numbers may stand beside this result."""
    obstacles = [
        text
        for text, there in (
            ("these views are a synthetic capture", not report["recorded"]),
            ("views are missing", report["partial"]),
            ("the truth here is a fit", report["ground_truth"] == "fit"),
            ("the scale of this prediction is the true one", report["root"] != "predicted"),
        )
        if there
    ]
    said = f"This result is not comparable with them: {', '.join(obstacles)}. " if obstacles else ""
    return said + "Their authors' numbers on the real dataset, from the sources named."


def cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def scale_table(report: dict) -> str:
    """Headline numbers under each source of scale, and the mean pose's."""
    rows = [
        [
            SCALES[name],
            cell(row["mpjpe_mm"]),
            cell(row["pa_mpjpe_mm"]),
            cell(row["mrpe_mm"]),
            f"{100 * row['pck_150mm']:.1f} %",
            f"{row['auc']:.3f}",
        ]
        for name, row in report["scale"].items()
    ]
    mean = report["mean_pose"]
    rows.append(["mean training pose", cell(mean["mpjpe_mm"]), cell(mean["pa_mpjpe_mm"]), "-", "-", "-"])
    return table(["scale", "MPJPE mm", "PA-MPJPE mm", "root (MRPE) mm", "PCK 150 mm", "AUC 0-150 mm"], rows)


DIRECTIONS = ("across the image mm", "along the ray mm", "in the image px")


def direction_rows(found: dict[str, dict]) -> list[list[str]]:
    """Which joints, how many, and their errors under DIRECTIONS."""
    keys = ("across_mm", "along_mm", "image_px")
    return [[name, str(row["joints"]), *(cell(row[key]) for key in keys)] for name, row in found.items()]


def direction_table(found: dict[str, dict]) -> str:
    """Errors across the image and along the ray, of seen and of hidden joints."""
    note = (
        "Hidden: no evidence in the dataset, outside of the crop, or behind the person's own skin. What else is before people is not "
        "known. Pixels are those of the network's crop."
    )
    rows = table(["joints", "count", *DIRECTIONS], direction_rows(found))
    return f"<h2>Errors by direction</h2><p class=note>{note}</p>{rows}"


def confidence_table(reliability: dict) -> str:
    """What confidences were stated, and how often such joints were right."""
    rows = [
        [f"{row['from']:.1f} to {row['from'] + 1 / BINS:.1f}", str(row["joints"])]
        + [f"{100 * row[name]:.0f} %" for name in ("stated", "within_100mm")]
        for row in reliability["rows"]
    ]
    whose = "Of the network's own joints; bodies that are fitted to them state none. " if "of" in reliability else ""
    note = f"{whose}On average the two are {100 * reliability['expected_error']:.1f} percentage points apart."
    head = ["confidence", "joints", "stated", "within 100 mm"]
    return f"<h2>Stated confidence</h2><p class=note>{note}</p>{table(head, rows)}"


def group_table(title: str, groups: dict[str, dict]) -> str:
    """Errors by group; joints have no count of their own, every scored view has all of them."""
    counted = all("n" in row for row in groups.values())
    rows = [
        [name, *([str(row["n"])] if counted else []), cell(row["mpjpe_mm"]), cell(row["pa_mpjpe_mm"])]
        for name, row in groups.items()
    ]
    return table([title, *(["views"] if counted else []), "MPJPE mm", "PA-MPJPE mm"], rows)


def quoted_cells(row: dict) -> list[str]:
    """A published result as its source prints it: method, MPJPE, PA-MPJPE, source, note."""
    numbers = ("-" if row[key] is None else str(row[key]) for key in ("mpjpe_mm", "pa_mpjpe_mm"))
    return [row["method"], *numbers, row["source"], row["note"]]


def quoted_table(rows: list[dict]) -> str:
    return table(["method", "MPJPE mm", "PA-MPJPE mm", "read in", "note"], [quoted_cells(row) for row in rows])
