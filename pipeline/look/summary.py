"""What `pipeline.look.overview` counted, as lines that a person reads: the same on the terminal and on the page."""

import shlex


def facts(summary: dict) -> list[tuple[str, str]]:
    """(what, text) of a shard or a folder: what it is, how much, from where, how good."""
    made, fits, joints = summary["provenance"], summary["fits"], summary["joints"]
    return [
        ("dataset", dataset_text(summary)),
        ("splits", counts_text(summary["splits"])),
        ("subjects", counts_text(summary["subjects"])),
        ("actions", counts_text(summary["actions"])),
        ("cameras", counts_text(summary["cameras"])),
        ("3D joints", f"measured in {summary['views_3d']} of {summary['views']} views{unseen_text(joints)}"),
        ("fits", fits_text(summary)),
        ("3D error", distribution_text(fits["error_mm"], "mm")),
        ("reprojection", distribution_text(fits["reprojection_px"], "px")),
        ("pictures", f"{made['crop_px']} px, stored with their margin as {made['size']} px"),
        ("points", f"{made['pool']} a view, {made['voters']} voters a joint, offsets: {made['offsets']}"),
        ("distances", histogram_text(summary["distance_mm"])),
        ("body", f"{made['body_model']}; distances by {made['sdf_backend']} ({made['sdf_sign_rule']})"),
        ("made by", f"{made['code_commit']}, run {made['run_id']}, format version {made['version']}"),
        ("content hash", summary["content_hash"] or "none yet: the run has not ended"),
    ]


def title(summary: dict) -> str:
    """One line: where, in which state, how much."""
    return (
        f"{summary['path']} ({summary['state']}): {summary['views']} views of {summary['instants']} instants in "
        f"{summary['shards']} {'shard' if summary['shards'] == 1 else 'shards'}, {summary['bytes'] / 1e6:.1f} MB"
    )


def dataset_text(summary: dict) -> str:
    """The source, whether it was recorded, and where it was read."""
    name = summary["provenance"]["source"]
    recorded = {True: "", False: ", a synthetic capture", None: ""}[summary["recorded"]]
    focal = f"; {summary['camera_assumed']} views with an assumed camera" if summary["camera_assumed"] else ""
    return f"{name}{recorded}" + (f", read from {summary['root']}" if summary["root"] else "") + focal


def fits_text(summary: dict) -> str:
    """How many fits are valid, and whose meshes they are."""
    fits, n = summary["fits"], max(1, summary["views"])
    text = f"{fits['valid']} of {summary['views']} views valid ({100 * fits['valid'] / n:.0f} %)"
    text += f", {fits['without_mesh']} views without a mesh" if fits["without_mesh"] else ""
    text += f", {fits['ambiguous']} could as well be another body" if fits["ambiguous"] else ""
    smpl = fits["mesh_models"].get("smpl", 0)
    return text + (f", {smpl} meshes are the dataset's own SMPL" if smpl else "")


def unseen_text(joints: dict[str, int]) -> str:
    if not joints["unseen"]:
        return ""
    return f"; {joints['unseen']} joints of fits have no evidence of their own and supervise nothing"


def rejects_text(summary: dict) -> str:
    return "; ".join(f"{n} x {reason}" for reason, n in summary["rejects"].items()) or "nothing"


def counts_text(counts: dict[str, int], most: int = 12) -> str:
    """ "S1: 12, S9: 8", the first `most` of them."""
    named = [f"{name or 'unknown'}: {count}" for name, count in list(counts.items())[:most]]
    more = sum(list(counts.values())[most:])
    return (", ".join(named) or "none") + (f" and {len(counts) - most} more with {more}" if more else "")


def distribution_text(distribution: dict | None, unit: str) -> str:
    """Of a quantity that some views have."""
    if distribution is None:
        return "no view has one"
    percentiles = {"p5": "5 %", "p50": "half", "p95": "95 %"}
    spread = ", ".join(f"{said} below {distribution[name]:.1f}" for name, said in percentiles.items())
    return f"mean {distribution['mean']:.1f} {unit}; {spread}, the worst {distribution['p100']:.1f} ({distribution['n']} views)"


def histogram_text(histogram: dict) -> str:
    """One bar character an interval."""
    share = histogram["share"]
    if not any(share):
        return "none: no view has a mesh"
    bars = "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * s / max(share)))] for s in share)
    inside = sum(s for s, edge in zip(share, histogram["edges"], strict=False) if edge < 0)
    return f"{bars} from {histogram['edges'][0]} to {histogram['edges'][-1]} mm, {100 * inside:.0f} % inside"


def page_advice(summary: dict) -> str:
    """The command that checks what a page shows."""
    return f"nvf-cli inspect --verify {shlex.quote(summary['path'])}"
