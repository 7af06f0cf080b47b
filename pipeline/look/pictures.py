"""Pictures of what a shard holds: the crop with joints and mesh, and a slice through the signed distance."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.body.model import BodyModel
from pipeline.camera import project_pinhole, resized
from pipeline.lattice import LATTICE_M
from pipeline.look.overview import Target, length, rejects_of
from pipeline.mesh import body_surface
from pipeline.outputs import write_marked
from pipeline.page import image
from pipeline.preprocess.rejects import RejectCounts
from pipeline.records import Camera
from pipeline.sdf import SignedDistance
from pipeline.shading import draw_meshes
from pipeline.shards.store import ShardReader
from pipeline.shards.table import FIT_ERRORS, read_table
from pipeline.skeletons import FIELD_JOINTS, SIDE_COLOURS, side_of
from pipeline.spread import spread_evenly

# Half side of the slice, metres, and its cells a side.
SLICE, CELLS = 1.1, 121
SLAB = 0.03
MESH_COLOUR, MESH_OPACITY = np.array([[120, 190, 255]]), 0.72


def chosen_views(target: Target, count: int) -> Iterator[tuple[ShardReader, int]]:
    """Views spread evenly over the target, one shard open at a time."""
    lengths = [length(path) for path in target.shards]
    ends = np.cumsum(lengths)
    for k in spread_evenly(int(sum(lengths)), count):
        shard = int(np.searchsorted(ends, k, "right"))
        with closing(ShardReader(target.shards[shard])) as reader:
            yield reader, int(k - ends[shard] + lengths[shard])


def draw_picture(target: Target, body: BodyModel, count: int = 3) -> Figure:
    """One row a view: crop with joints, crop with mesh, slice through the body at the root's depth."""
    number = min(count, sum(length(path) for path in target.shards))
    if not number:
        return nothing_to_draw(target)
    figure = Figure(figsize=(13.5, 4.5 * number), layout="constrained")
    axes = figure.subplots(number, 3, squeeze=False)
    for line, (reader, row) in zip(axes, chosen_views(target, number), strict=True):
        draw_view(figure, line, reader, row, body)
    return figure


def view_panels(target: Target, body: BodyModel, count: int) -> Iterator[dict[str, Figure]]:
    """The three pictures of each view by what they show, each a figure of its own, so that a page can set them one below another."""
    for reader, row in chosen_views(target, count):
        figures = [Figure(figsize=(4.5, 4.5), layout="constrained") for _ in range(3)]
        draw_view(figures[2], [figure.subplots() for figure in figures], reader, row, body)
        says = ("the crop with its joints", "the fitted mesh", "signed distance at the root's depth")
        yield dict(zip(says, figures, strict=True))


def draw_view(figure: Figure, axes: Sequence[Axes], reader: ShardReader, row: int, body: BodyModel) -> None:
    """A view on three axes. figure: that of the last one, which gets a scale of colours."""
    view, crop = reader.read_view(row), reader.read_image(row)
    draw_joints(axes[0], crop, view, int(reader.attributes["crop_px"]))
    draw_mesh(axes[1], crop, reader, row, view, body)
    draw_slice(axes[2], figure, reader, row, view, body)


def nothing_to_draw(target: Target) -> Figure:
    """A picture that says why there is none."""
    figure = Figure(figsize=(8, 2), layout="constrained")
    why = str(RejectCounts(rejects_of(target))) or "no reject says why"
    text = f"{target.path} holds no view.\n" + textwrap.fill(f"Left out: {why}", 90)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=10, parse_math=False)
    return figure


def _show(axis: Axes, image: np.ndarray, title: str) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=9, parse_math=False)
    axis.set_xlim(-0.5, image.shape[1] - 0.5)
    axis.set_ylim(image.shape[0] - 0.5, -0.5)
    axis.set_axis_off()


def draw_joints(axis: Axes, image: np.ndarray, view: dict, crop_px: int) -> None:
    """The dataset's 2D joints as rings, the 3D joints as a skeleton, the nominal crop as a frame."""
    _show(axis, image, f"{view['id']}  ({view['split']})")
    pixels = project_pinhole(view["K"], view["joints"] + view["root"])
    for parent, child in FIELD_JOINTS.bones:
        if view["joints_valid"][parent] and view["joints_valid"][child]:
            colour = np.array(SIDE_COLOURS[side_of(FIELD_JOINTS.names[child])]) / 255
            axis.plot(*pixels[[parent, child]].T, color=colour, lw=2, alpha=0.9)
    known = view["joints_2d_valid"]
    axis.scatter(
        view["joints_2d"][known, 0],
        view["joints_2d"][known, 1],
        s=34,
        facecolors="none",
        edgecolors="white",
        linewidths=1.1,
    )
    edge = (len(image) - crop_px) / 2 - 0.5
    axis.add_patch(Rectangle((edge, edge), crop_px, crop_px, fill=False, ec="white", lw=0.8, ls=":"))


def draw_mesh(axis: Axes, image: np.ndarray, reader: ShardReader, row: int, view: dict, body: BodyModel) -> None:
    """The fitted mesh over the crop, shaded by its normals."""
    if not reader.has_parameters(row):
        _show(axis, image, "the dataset's SMPL mesh, not stored" if view["has_mesh"] else "no mesh")
        return
    vertices = body.mesh(reader.read_body(row))[0] + view["root"]
    shaded = shade_mesh(image, np.asarray(vertices, np.float64), body.faces, view["K"])
    valid = "valid" if view["fit_valid"] else "NOT VALID"
    error = f"{view['fit_error_mm']:.1f} mm" if np.isfinite(view["fit_error_mm"]) else "no 3D"
    _show(axis, shaded, f"fit {valid}: {error}, {view['reprojection_px']:.1f} px")


def shade_mesh(image: np.ndarray, vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, scale: int = 4) -> np.ndarray:
    """The image (H, W, 3), `scale` times as large, with a body over it. vertices: (V, 3) metres in crop axes of the camera."""
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    camera = resized(Camera(K, np.eye(3), np.zeros(3), image.shape[1], image.shape[0]), large.shape[1], large.shape[0])
    return draw_meshes(large, camera, [vertices], faces, MESH_COLOUR, MESH_OPACITY)


def draw_slice(axis: Axes, figure: Figure, reader: ShardReader, row: int, view: dict, body: BodyModel) -> None:
    """The signed distance in the plane through the root that faces the camera, and the stored points near it.

    Both have the same colours: a point that stands out from its ground has a wrong label.
    """
    axis.set_title("distance at the root's depth, points on it", fontsize=9)
    axis.set_aspect("equal")
    if not reader.has_parameters(row):
        axis.set_axis_off()
        return
    line = np.linspace(-SLICE, SLICE, CELLS)
    grid = np.stack([*np.meshgrid(line, line), np.zeros((CELLS, CELLS))], -1).reshape(-1, 3)
    surface = body_surface(body)
    vertices = body.mesh(reader.read_body(row))[0]
    distance = 100 * SignedDistance(vertices, surface.faces)(grid).reshape(CELLS, CELLS)
    style: dict[str, Any] = {"cmap": matplotlib.colormaps["RdBu"], "vmin": -25, "vmax": 25}
    picture = axis.imshow(distance, extent=(-SLICE, SLICE, SLICE, -SLICE), interpolation="bilinear", **style)
    axis.contour(line, line, distance, levels=[0], colors="black", linewidths=1.2)
    samples = reader.read_samples(row)
    points = samples.points * LATTICE_M
    near = (np.abs(points[:, 2]) < SLAB) & (np.abs(points[:, :2]).max(1) < SLICE)
    axis.scatter(
        points[near, 0], points[near, 1], c=samples.sdf[near] * (100 * LATTICE_M), s=16, ec="black", lw=0.35, **style
    )
    axis.set_xlabel("x, m", fontsize=8)
    axis.set_ylabel("y, m", fontsize=8)
    axis.tick_params(labelsize=7)
    figure.colorbar(picture, ax=axis, shrink=0.8, label="cm, negative inside")


def save_picture(target: Target, body: BodyModel, path: Path, count: int = 3) -> None:
    data = io.BytesIO()
    draw_picture(target, body, count).savefig(data, format="png", dpi=110)
    write_marked(path, data.getvalue())


def histogram_panels(target: Target, summary: dict) -> dict[str, Figure]:
    """Field points by distance, and views by the two errors of their fits, as far as there are any; by what they show."""
    errors, _ = read_table(target.shards, FIT_ERRORS)
    says = {
        "fit_error_mm": "views by the 3D error of their fit, mm",
        "reprojection_px": "views by the reprojection error of their fit, px",
    }
    distances = summary["distance_mm"]
    panels = {"field points by their signed distance, mm": distance_bars(distances)} if any(distances["share"]) else {}
    for name, title in says.items():
        known = errors[name][np.isfinite(errors[name])].astype(float)
        if not len(known):
            continue
        panels[title] = figure = Figure(figsize=(4.5, 3.2), layout="constrained")
        worst = np.percentile(known, 99.5)  # the few beyond it would hide the others
        figure.subplots().hist(np.clip(known, None, worst), bins=bin_edges(known, 99.5).tolist(), color="#4f81bd")
    for title, figure in panels.items():
        figure.axes[0].set_title(title, fontsize=9)
        figure.axes[0].tick_params(labelsize=8)
    return panels


def distance_bars(histogram: dict) -> Figure:
    """Shares of the field points, red inside of the body."""
    edges, share = histogram["edges"], histogram["share"]
    figure = Figure(figsize=(4.5, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.bar(range(len(share)), [100 * s for s in share], color=["#c0504d" if e < 0 else "#4f81bd" for e in edges[:-1]])
    axis.set_xticks(np.arange(len(edges)) - 0.5, edges, rotation=60)
    axis.set_ylabel("%", fontsize=8)
    return figure


def bin_edges(values: Sequence[float], most: float = 100.0, bins: int = 40) -> np.ndarray:
    """(bins + 1,) edges of a histogram of finite values up to the percentile `most`; some width is left where all are equal, or so
    nearly that no float lies between."""
    low, high = float(np.min(values)), float(np.percentile(values, most))
    least = 0.01 * max(abs(low), abs(high), 1e-3)
    if high - low < least:
        low, high = low - least, high + least
    return np.linspace(low, high, bins + 1)


def picture(figure: Figure, says: str) -> str:
    """A figure as an element of a page. says: what it shows, for those who cannot see it."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=85)
    return image(data.getvalue(), says)
