"""The page of `nvf-cli fit`: numbers, histograms, and the worst fits with pictures."""

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pipeline import camera as cameras
from pipeline.body.model import BodyModel
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.look.pictures import bin_edges, picture, shade_mesh
from pipeline.outputs import encode_picture, write_marked
from pipeline.page import big_numbers, facts_table, image, page, table
from pipeline.records import BodyFit, Instant, View

PICTURE_PX = 256
QUANTITIES = {"fit_error_mm": "3D error, mm", "reprojection_px": "reprojection, px", "iterations": "iterations"}
WORST = 20


@dataclass
class Tally:
    """What the report needs of every fit, and the worst of them whole."""

    errors_mm: list[float] = field(default_factory=list)
    reprojection_px: list[float] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    valid: int = 0
    converged: int = 0
    ambiguous: int = 0
    unseen: Counter = field(default_factory=Counter)
    joints_unseen: Counter = field(default_factory=Counter)
    starts: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    has_world: bool = False
    worst: list[tuple[float, Instant, BodyFit]] = field(default_factory=list)

    def add(self, instant: Instant, fit: BodyFit) -> None:
        """Counts one fit and keeps it where it is among the worst."""
        quality = fit.quality
        pixels = quality.reprojection_px[np.isfinite(quality.reprojection_px)]
        self.errors_mm.append(quality.fit_error_mm)
        self.reprojection_px.append(float(pixels.mean()) if len(pixels) else np.nan)
        self.iterations.append(quality.iterations)
        self.valid += quality.valid
        self.converged += quality.converged
        self.ambiguous += quality.ambiguous
        self.unseen.update(quality.unseen)
        self.joints_unseen.update(quality.joints_unseen)
        self.starts[quality.start] += 1
        # fits with 3D are ranked by it, the others by how far they miss relative to the person's size
        crop = quality.reprojection_crop[np.isfinite(quality.reprojection_crop)]
        badness = quality.fit_error_mm / 1000 if np.isfinite(quality.fit_error_mm) else float(crop.max(initial=0))
        self.worst = sorted([*self.worst, (badness, instant, fit)], key=lambda item: -item[0])[:WORST]


def write_page(path: Path, report: dict, tally: Tally, body: BodyModel, root: Path) -> None:
    """root: where the source's images are; a picture whose image is missing is drawn on grey."""
    n, quantities = report["n"], [name for name in QUANTITIES if report[name]]
    numbers = [
        ("fits", f"{n:,}", f"{report['fits_per_second']:.1f} a second"),
        ("valid", f"{100 * report['valid'] / n:.0f} %" if n else "-", f"{report['valid']:,} fits"),
        *((QUANTITIES[name], f"{report[name]['mean']:.1f}", "on average") for name in quantities),
        ("ambiguous", f"{report['ambiguous']:,}", "fits that could as well be another body"),
        ("left out", f"{len(report['rejects']):,}", "instants"),
    ]
    head = ["", *(report[quantities[0]] if quantities else ())]
    spread = [[QUANTITIES[name], *(f"{value:.2f}" for value in report[name].values())] for name in quantities]
    reasons = [[str(count), reason] for reason, count in report["rejects_by_reason"].items()]
    facts = [(name.replace("_", " "), str(report[name])) for name in ("source", "joint_set", "converged")]
    worst = "".join(_worst_row(instant, fit, body, root) for _, instant, fit in tally.worst)
    parts = [
        f"<h1>Fits of {html.escape(str(report['source']))}</h1>",
        big_numbers(numbers),
        facts_table(facts),
        "<h2>Errors</h2>" + table(head, spread) + _histograms(tally),
        "<h2>Left out, and why</h2>"
        + (table(["", "reason"], reasons, "said") if reasons else "<p>Nothing was left out.</p>"),
        f"<h2>The worst {len(tally.worst)}</h2>{worst}",
    ]
    write_marked(path, page("Fits", parts).encode())


def _histograms(tally: Tally) -> str:
    """Of what the fits have: without 3D joints there is no 3D error."""
    values: tuple[Sequence[float], ...] = (tally.errors_mm, tally.reprojection_px, tally.iterations)
    finite = [[one for one in found if np.isfinite(one)] for found in values]
    known = [(name, found) for name, found in zip(QUANTITIES.values(), finite, strict=True) if found]
    if not known:
        return ""
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    for axis, (name, found) in zip(figure.subplots(1, len(known), squeeze=False)[0], known, strict=True):
        axis.set_xlabel(name, fontsize=8)
        axis.set_ylabel("fits", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.hist(found, bins=bin_edges(found))
    return picture(figure, "histograms of the errors")


def _worst_row(instant: Instant, fit: BodyFit, body: BodyModel, root: Path) -> str:
    quality, view = fit.quality, instant.views[0]
    said = [f"{quality.fit_error_mm:.0f} mm"] if np.isfinite(quality.fit_error_mm) else []
    pixels = ", ".join(f"{value:.1f}" for value in quality.reprojection_px if np.isfinite(value))
    said += [f"{pixels} px"] if pixels else []
    said += [f"start {quality.start}", "valid" if quality.valid else "not valid"] + ["ambiguous"] * quality.ambiguous
    caption = f"{html.escape(instant.id)}<br>{html.escape(', '.join(said))}"
    try:
        shown = image(encode_picture(fit_picture(body, fit, view, root), ".jpg"), instant.id, "jpeg")
    except (
        Exception
    ) as error:  # decoders and renderers raise what they like; the fit beside it is worth its numbers without
        shown = f"<p>no picture ({html.escape(f'{type(error).__name__}: {error}')})"
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def fit_picture(body: BodyModel, fit: BodyFit, view: View, root: Path) -> np.ndarray:
    """(256, 512, 3) uint8 RGB: the view's crop, and the same with the fitted mesh over it."""
    crop = cameras.make_crop(view.camera, view.box, PICTURE_PX, PICTURE_PX)
    try:
        shown = cameras.warp_to_crop(read_image(root, view.image_path), view.camera, crop)
    except InputError:
        shown = np.full((PICTURE_PX, PICTURE_PX, 3), 128, np.uint8)
    vertices, _ = body.mesh(fit.smplx)
    vertices = cameras.world_to_camera(view.camera, vertices.astype(float)) @ crop.R.T
    return np.concatenate([shown, shade_mesh(shown, vertices, body.faces, crop.K, scale=1)], 1)
