"""A 3D view of shards in the browser, with viser."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.body.model import BodyModel
from pipeline.errors import InputError
from pipeline.lattice import LATTICE_M
from pipeline.look.overview import find_target
from pipeline.shards.store import ShardReader
from pipeline.skeletons import FIELD_JOINTS, SIDE_COLOURS, side_of

if TYPE_CHECKING:
    import viser  # an extra, opened late so that one line can say what to install

# Distances are coloured from -RANGE (red, inside) over white to RANGE (blue): metres.
RANGE = 0.25
ALL, NONE = "all", "none"


def distance_colours(distance: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 for distances (N,) in metres."""
    part = np.clip(distance / RANGE, -1, 1)[:, None]
    end = np.where(part < 0, (178, 24, 43), (33, 102, 172))
    return np.round(255 + np.abs(part) * (end - 255.0)).astype(np.uint8)


def serve(path: Path, body: BodyModel, host: str, port: int) -> "viser.ViserServer":
    """Starts the server and returns it. InputError when viser is not installed."""
    try:
        import viser
    except ImportError as error:
        raise InputError("`nvf-cli view` needs viser: pip install 'neural-voting-field-body[view]'") from error
    readers = [ShardReader(shard) for shard in find_target(path).shards]
    rows = [(reader, row) for reader in readers for row in range(len(reader))]
    if not rows:
        raise InputError(f"{path} has no views to show")
    server = viser.ViserServer(host=host, port=port, verbose=False)
    server.scene.set_up_direction("-y")
    server.initial_camera.position, server.initial_camera.look_at = (0.8, -0.6, -2.8), (0.0, 0.0, 0.0)
    number = server.gui.add_slider("view", 0, max(1, len(rows) - 1), 1, 0)
    parts = {
        name: server.gui.add_checkbox(name, shown)
        for name, shown in (("mesh", True), ("points", True), ("joints", True), ("fitted joints", False))
    }
    limit = server.gui.add_slider("points within, m", 0.01, 1.5, 0.01, 0.05)
    joint = server.gui.add_dropdown("voters of", (NONE, ALL, *FIELD_JOINTS.names), initial_value="left_wrist")
    text = server.gui.add_markdown("")

    def show(_: Any = None) -> None:
        reader, row = rows[min(number.value, len(rows) - 1)]
        text.content = draw_view(
            server.scene, body, reader, row, {name: box.value for name, box in parts.items()}, limit.value, joint.value
        )

    for slider in (number, limit):
        slider.on_update(show)
    for box in parts.values():
        box.on_update(show)
    joint.on_update(show)
    show()
    return server


def draw_view(
    scene: "viser.SceneApi",
    body: BodyModel,
    reader: ShardReader,
    row: int,
    parts: dict[str, bool],
    limit: float,
    voters_of: str,
) -> str:
    """Draws one view, root at the origin, crop axes, metres; returns a line about it."""
    view, samples = reader.read_view(row), reader.read_samples(row)
    points, distance = samples.points * LATTICE_M, samples.sdf * LATTICE_M
    known = reader.has_parameters(row)
    vertices = (
        body.mesh(reader.read_body(row))[0] if known else np.zeros((len(body.v_template), 3))
    )  # replaces the last view's
    scene.add_mesh_simple(
        "/mesh", vertices, body.faces, color=(200, 190, 180), opacity=0.6, visible=known and parts["mesh"]
    )
    shown = np.abs(distance) <= limit
    scene.add_point_cloud(
        "/points",
        points[shown].astype(np.float32),
        distance_colours(distance[shown]),
        point_size=0.006,
        visible=parts["points"],
    )
    paints = [SIDE_COLOURS[side_of(name)] for name in FIELD_JOINTS.names]
    for name, joints in (("joints", view["joints"]), ("fitted joints", view["fit_joints"])):
        bones = np.array([[joints[a], joints[b]] for a, b in FIELD_JOINTS.bones])
        colours = np.array([[paints[b]] * 2 for _, b in FIELD_JOINTS.bones], np.uint8)
        scene.add_line_segments(f"/{name}", bones, colours, thickness=4, thickness_units="screen", visible=parts[name])
    chosen = [k for k, name in enumerate(FIELD_JOINTS.names) if voters_of in (name, ALL)]
    starts = points[samples.voters[chosen]].reshape(-1, 3)
    lines = np.stack([starts, np.repeat(view["joints"][chosen], samples.voters.shape[1], 0)], 1)
    scene.add_line_segments(
        "/voters",
        lines,
        np.full((len(lines), 2, 3), 90, np.uint8),
        thickness=1,
        thickness_units="screen",
        visible=bool(chosen),
    )
    error = f"{view['fit_error_mm']:.1f} mm" if np.isfinite(view["fit_error_mm"]) else "no 3D"
    return f"**{view['id']}** ({view['split']})  \nfit {'valid' if view['fit_valid'] else 'NOT VALID'}, {error}"
