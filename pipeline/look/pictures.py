"""Pictures of what a shard holds: the crop with joints and mesh, and a slice through the signed distance."""

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.body.model import BodyModel
from pipeline.camera import project_pinhole
from pipeline.lattice import LATTICE_M
from pipeline.look.overview import Target, rejects_of
from pipeline.mesh import body_surface
from pipeline.outputs import write_marked
from pipeline.sdf import SignedDistance
from pipeline.shards.store import ShardReader
from pipeline.skeletons import FIELD_JOINTS, SIDE_COLOURS, side_of
from pipeline.spread import spread_evenly

# Half side of the slice, metres, and its cells a side.
SLICE, CELLS = 1.1, 121
SLAB = 0.03


def choose_rows(target: Target, count: int) -> list[tuple[ShardReader, int]]:
    """Views spread evenly over the target."""
    readers = [ShardReader(path) for path in target.shards]
    rows = [(reader, row) for reader in readers for row in range(len(reader))]
    return [rows[k] for k in spread_evenly(len(rows), count)]


def draw_picture(target: Target, body: BodyModel, count: int = 3) -> Figure:
    """One row a view: crop with joints, crop with mesh, slice through the body at the root's depth."""
    rows = choose_rows(target, count)
    figure = Figure(figsize=(13.5, 4.5 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for line, (reader, row) in zip(axes, rows, strict=True):
        view = reader.read_view(row)
        image = reader.read_image(row)
        draw_joints(line[0], image, view, int(reader.attributes["crop_px"]))
        draw_mesh(line[1], image, reader, row, view, body)
        draw_slice(line[2], figure, reader, row, view, body)
    return figure


def _show(axis: Axes, image: np.ndarray, title: str) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=9)
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
    """The image, `scale` times as large, with the faces that look at the camera painted over it from far to near.

    vertices: (V, 3) metres in crop axes of the camera.
    """
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    facing = ((normals * corners.mean(1)).sum(1) < 0) & (corners[..., 2].min(1) > 0.1)
    order = np.flatnonzero(facing)[np.argsort(-corners[facing, :, 2].mean(1))]
    pixels = np.round(((project_pinhole(K, corners) + 0.5) * scale - 0.5) * 16).astype(np.int32)
    layer = large.copy()
    light = np.array([0.35, -0.5, -0.8]) / np.linalg.norm([0.35, -0.5, -0.8])
    for face in order:
        brightness = 0.45 + 0.55 * max(0.0, float(normals[face] @ light))
        colour = tuple(int(brightness * c) for c in (120, 190, 255))
        cv2.fillConvexPoly(layer, pixels[face], colour, shift=4)
    return cv2.addWeighted(layer, 0.72, large, 0.28, 0)


def draw_slice(axis: Axes, figure: Figure, reader: ShardReader, row: int, view: dict, body: BodyModel) -> None:
    """The signed distance in the plane through the root that faces the camera, and the stored points near it.

    Both have the same colours: a point that stands out from its ground has a wrong label.
    """
    axis.set_title("signed distance at the root's depth, stored points on it", fontsize=9)
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


def draw_histograms(target: Target, summary: dict) -> Figure:
    """Distances, fit errors, reprojection, and where joints are valid."""
    figure = Figure(figsize=(13.5, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    edges, share = summary["distance_mm"]["edges"], summary["distance_mm"]["share"]
    axes[0].bar(range(len(share)), share, color=["#c0504d" if e < 0 else "#4f81bd" for e in edges[:-1]])
    axes[0].set_xticks(np.arange(len(edges)) - 0.5, edges, rotation=60, fontsize=7)
    axes[0].set_title("share of field points by signed distance, mm", fontsize=9)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("fit_error_mm", "reprojection_px")}
    for path in target.shards:
        reader = ShardReader(path)
        for name, values in columns.items():
            values.append(reader.file[f"fits/{name}"][()])
        reader.close()
    for axis, (name, parts) in zip(axes[1:], columns.items(), strict=True):
        known = np.concatenate(parts)
        known = known[np.isfinite(known)]
        axis.hist(known, bins=50, range=(0, float(np.percentile(known, 99.5))) if len(known) else None, color="#4f81bd")
        axis.set_title(f"{name} ({len(known)} views)", fontsize=9)
    return figure


def save_page(target: Target, summary: dict, body: BodyModel, path: Path, problems: list[str] | None) -> None:
    """A page that needs no other file. problems: of a verification, None when none was made."""
    facts = {
        k: summary[k]
        for k in (
            "state",
            "views",
            "instants",
            "shards",
            "bytes",
            "content_hash",
            "splits",
            "subjects",
            "views_3d",
            "fits",
            "rejects",
            "provenance",
            "config",
        )
    }
    cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{_cell(v)}</td></tr>" for k, v in facts.items())
    rejects = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(text)}</td>" for text in (reject.key, reject.stage, reject.reason))
        + "</tr>"
        for reject in rejects_of(target)[:500]
    )
    verified = (
        "not verified" if problems is None else "; ".join(map(html.escape, problems)) or "verified: no problem found"
    )
    text = f"""<!doctype html><meta charset="utf-8"><title>{html.escape(str(target.path))}</title>
<style>body{{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1200px;color:#222}}img{{max-width:100%}}
table{{border-collapse:collapse;font-size:13px}}td,th{{border:1px solid #ddd;padding:3px 8px;text-align:left;vertical-align:top}}
pre{{margin:0;white-space:pre-wrap}}</style>
<h1>{html.escape(str(target.path))}</h1><p>{verified}</p><table>{cells}</table>
<h2>Distances and fits</h2>{_image(draw_histograms(target, summary))}
<h2>Views</h2><p>Rings: the dataset's 2D joints. Skeleton: 3D joints, blue left, orange right. Dotted: the nominal crop.
Points of the slice carry their stored distance on the distance computed now.</p>{_image(draw_picture(target, body, 6))}
<h2>Left out</h2><table><tr><th>what</th><th>stage</th><th>why</th></tr>{rejects}</table>
"""
    write_marked(path, text.encode())


def _cell(value: object) -> str:
    text = json.dumps(value, indent=1) if isinstance(value, dict | list) else str(value)
    return f"<pre>{html.escape(text)}</pre>"


def _image(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=85)
    return f'<img src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'
