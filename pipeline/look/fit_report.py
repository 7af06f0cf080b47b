"""The page of `nvf-cli fit`: numbers, histograms, and the worst fits with pictures."""

import base64
import html
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from pipeline import camera as cameras
from pipeline.body.model import BodyModel
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.look.pictures import shade_mesh
from pipeline.outputs import write_marked
from pipeline.records import BodyFit, Instant, View

PICTURE_PX = 256
_BINS = 40
WORST = 20


@dataclass
class Tally:
    """What the report needs of every fit, and the worst of them whole."""

    errors_mm: list[float] = field(default_factory=list)
    reprojection_px: list[float] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    valid: int = 0
    converged: int = 0
    unseen: Counter = field(default_factory=Counter)
    joints_unseen: Counter = field(default_factory=Counter)
    starts: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    has_world: bool = False
    worst: list[tuple[float, Instant, BodyFit]] = field(default_factory=list)

    def add(self, instant: Instant, fit: BodyFit) -> None:
        quality = fit.quality
        pixels = quality.reprojection_px[np.isfinite(quality.reprojection_px)]
        self.errors_mm.append(quality.fit_error_mm)
        self.reprojection_px.append(float(pixels.mean()) if len(pixels) else np.nan)
        self.iterations.append(quality.iterations)
        self.valid += quality.valid
        self.converged += quality.converged
        self.unseen.update(quality.unseen)
        self.joints_unseen.update(quality.joints_unseen)
        self.starts[quality.start] += 1
        # fits with 3D are ranked by it, the others by how far they miss relative to the person's size
        crop = quality.reprojection_crop[np.isfinite(quality.reprojection_crop)]
        badness = quality.fit_error_mm / 1000 if np.isfinite(quality.fit_error_mm) else float(crop.max(initial=0))
        self.worst = sorted([*self.worst, (badness, instant, fit)], key=lambda item: -item[0])[:WORST]


def write_page(path: Path, report: dict, tally: Tally, body: BodyModel, root: Path) -> None:
    """root: where the source's images are; a picture whose image is missing is drawn on grey."""
    rows = [(name, report[name]) for name in ("source", "joint_set", "n", "valid", "converged", "fits_per_second")]
    rows += [("rejected", len(report["rejects"]))]
    table = "".join(f"<tr><th>{name}<td>{_short(value)}" for name, value in rows)
    quantities = [name for name in ("fit_error_mm", "reprojection_px", "iterations") if report[name]]
    head = "".join(f"<th>{key}" for key in report[quantities[0]]) if quantities else ""
    deviations = (
        f"<table><tr><th>{head}"
        + "".join(
            f"<tr><th>{name}" + "".join(f"<td>{value:.2f}" for value in report[name].values()) for name in quantities
        )
        + "</table>"
    )
    rejects = "".join(
        f"<tr><td>{count}<td>{html.escape(reason)}" for reason, count in report["rejects_by_reason"].items()
    )
    worst = "".join(_worst_row(instant, fit, body, root) for _, instant, fit in tally.worst)
    page = (
        "<!doctype html><meta charset=utf-8><title>Fits</title><style>body{font:14px sans-serif;margin:2em}td,th{padding:2px 10px;"
        "text-align:left}figure{display:inline-block;margin:6px}</style><h1>Fits</h1>"
        f"<table>{table}</table><h2>Errors</h2>{deviations}{_histograms(tally)}"
        f"<h2>Rejected</h2><table>{rejects or '<tr><td>nothing'}</table><h2>The worst {len(tally.worst)}</h2>{worst}"
    )
    write_marked(path, page.encode())


def _short(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else html.escape(str(value))


def _png(image: np.ndarray) -> str:
    """An RGB image as an HTML image element."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}">'


def _histograms(tally: Tally) -> str:
    with matplotlib.rc_context({"font.size": 8}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 2.6), layout="constrained")
        quantities: tuple[tuple[str, Sequence[float]], ...] = (
            ("3D error, mm", tally.errors_mm),
            ("reprojection, px", tally.reprojection_px),
            ("iterations", tally.iterations),
        )
        for axis, (name, values) in zip(figure.subplots(1, 3), quantities, strict=True):
            finite = [value for value in values if np.isfinite(value)]
            axis.set(xlabel=name, ylabel="fits")
            if finite:
                axis.hist(finite, bins=bin_edges(finite))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return f'<p><img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def bin_edges(values: list[float]) -> np.ndarray:
    """(41,) edges of a histogram of finite values; some width is left where all are equal, or so nearly that no float lies between."""
    low, high = min(values), max(values)
    least = 1e-6 * max(abs(low), abs(high), 1.0)
    if high - low < least:
        low, high = low - least, high + least
    return np.linspace(low, high, _BINS + 1)


def _worst_row(instant: Instant, fit: BodyFit, body: BodyModel, root: Path) -> str:
    quality, view = fit.quality, instant.views[0]
    pixels = ", ".join(f"{value:.1f}" for value in quality.reprojection_px)
    verdict = "valid" if quality.valid else "not valid"
    caption = f"{html.escape(instant.id)}<br>{quality.fit_error_mm:.0f} mm, {pixels} px, {quality.start}, {verdict}"
    try:
        picture = _png(fit_picture(body, fit, view, root))
    except (
        Exception
    ) as error:  # decoders and renderers raise what they like; the fit beside it is worth its numbers without
        picture = f"<p>no picture ({html.escape(f'{type(error).__name__}: {error}')})"
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def fit_picture(body: BodyModel, fit: BodyFit, view: View, root: Path) -> np.ndarray:
    """(256, 512, 3) uint8 RGB: the view's crop, and the same with the fitted mesh over it."""
    crop = cameras.make_crop(view.camera, view.box, PICTURE_PX, PICTURE_PX)
    try:
        image = cameras.warp_to_crop(read_image(root, view.image_path), view.camera, crop)
    except InputError:
        image = np.full((PICTURE_PX, PICTURE_PX, 3), 128, np.uint8)
    vertices, _ = body.mesh(fit.smplx)
    vertices = cameras.world_to_camera(view.camera, vertices.astype(float)) @ crop.R.T
    return np.concatenate([image, shade_mesh(image, vertices, body.faces, crop.K, scale=1)], 1)
