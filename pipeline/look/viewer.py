"""A 3D view of shards in the browser, with viser: the body on a ground, its points and joints, the crop beside them."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.body.model import BodyModel
from pipeline.errors import InputError
from pipeline.lattice import LATTICE_M
from pipeline.look.overview import find_target, length
from pipeline.shards.store import ShardReader
from pipeline.skeletons import FIELD_JOINTS, SIDE_COLOURS, JointSet, side_of

if TYPE_CHECKING:
    import viser  # an extra, opened late so that one line can say what to install

# Distances are coloured from one end over the surface to the other; all three can be told from the ground.
INSIDE, SURFACE, OUTSIDE = (255, 92, 77), (255, 236, 153), (77, 171, 255)
GROUND, LINES = (24, 30, 38), (74, 85, 99)
VOTERS, PREDICTED = (190, 200, 210), (255, 255, 255)
ALL, NONE = "all", "none"
PREDICTIONS = "predictions.npz"


@dataclass(frozen=True)
class Shown:
    """What is to be drawn of a view. parts: what is switched on, by name. limit: metres from the surface within which points are
    drawn. voters_of: a joint's name, ALL or NONE."""

    parts: Mapping[str, bool]
    limit: float = 0.05
    voters_of: str = NONE


def distance_colours(distance: np.ndarray, most: float) -> np.ndarray:
    """(N, 3) uint8 for distances (N,) in metres, from -most to most."""
    part = np.clip(distance / most, -1, 1)[:, None]
    end = np.where(part < 0, INSIDE, OUTSIDE)
    return np.round(SURFACE + np.abs(part) * (end - np.array(SURFACE, float))).astype(np.uint8)


def read_predictions(run: Path) -> dict[str, np.ndarray]:
    """View id -> joints (J, 3), metres relative to the root in the source camera's axes, as a run was last evaluated."""
    path = run / PREDICTIONS
    try:
        with np.load(path, allow_pickle=False) as file:
            ids, joints, names = (np.asarray(file[name]) for name in ("id", "joints", "joint_names"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; evaluate the run first: `nvf-cli evaluate {run} SHARDS`") from error
    except Exception as error:  # a damaged archive fails in any of zip's, zlib's and numpy's ways
        raise InputError(f"{path} cannot be read ({error}); evaluate the run again") from error
    same = tuple(names.ravel().tolist()) == FIELD_JOINTS.names and joints.shape[1:] == (len(FIELD_JOINTS), 3)
    if not same or ids.shape != joints.shape[:1] or joints.dtype.kind != "f" or ids.dtype.kind != "U":
        raise InputError(f"{path} holds other joints than {FIELD_JOINTS.name}; evaluate the run again")
    return dict(zip(ids.tolist(), joints, strict=True))


def serve(
    path: Path, body: BodyModel, host: str, port: int, predictions: Mapping[str, np.ndarray] | None = None
) -> "viser.ViserServer":
    """Starts the server and returns it. predictions: as `read_predictions`; the first view is then one that has one. A shard is
    open while one of its views is drawn, and no longer. InputError when viser is not installed or there is no view."""
    rows = [(shard, row) for shard in find_target(path).shards for row in range(length(shard))]
    if not rows:
        raise InputError(f"{path} has no views to show; `nvf-cli inspect` says what was left out, and why")
    first = first_predicted(rows, predictions or {})
    server = open_server(host, port)
    set_stage(server)
    number = server.gui.add_slider("view", 0, max(1, len(rows) - 1), 1, first)
    text, crop = server.gui.add_markdown(""), server.gui.add_image(np.zeros((8, 8, 3), np.uint8), label="crop")
    switches = {"mesh": True, "points": True, "joints": True, "fitted joints": False}
    switches |= {"prediction": True} if predictions is not None else {}
    boxes = {name: server.gui.add_checkbox(name, on) for name, on in switches.items()}
    limit = server.gui.add_slider("points within, m", 0.01, 1.5, 0.01, 0.05)
    joint = server.gui.add_dropdown("voters of", (NONE, ALL, *FIELD_JOINTS.names), initial_value="left_wrist")
    server.gui.add_markdown(legend(predictions is not None))

    def show(_: Any = None) -> None:
        shard, row = rows[min(number.value, len(rows) - 1)]
        shown = Shown({name: box.value for name, box in boxes.items()}, limit.value, joint.value)
        with closing(ShardReader(shard, keep_chunks=False)) as reader:
            crop.image = reader.read_image(row)
            text.content = draw_view(server.scene, body, reader, row, shown, predictions or {})

    for slider in (number, limit):
        slider.on_update(show)
    for box in boxes.values():
        box.on_update(show)
    joint.on_update(show)
    show()
    return server


def open_server(host: str, port: int) -> "viser.ViserServer":
    """InputError when viser is not installed."""
    try:
        import viser
    except ImportError as error:
        raise InputError("`nvf-cli view` needs viser: pip install 'neural-voting-field-body[view]'") from error
    return viser.ViserServer(host=host, port=port, verbose=False)


def first_predicted(rows: list[tuple[Path, int]], predictions: Mapping[str, np.ndarray]) -> int:
    """The first view that has a prediction. InputError where there are predictions, but of other views."""
    if not predictions:
        return 0
    for number, (shard, row) in enumerate(rows):
        if row == 0:
            with closing(ShardReader(shard)) as reader:
                ids = reader.ids()
        if ids[row] in predictions:
            return number
    raise InputError(f"none of the {len(rows)} views has a prediction; give the shards on which the run was evaluated")


def set_stage(server: "viser.ViserServer") -> None:
    """A dark room with the root at its origin: x right, y down, z away from the camera."""
    server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
    server.scene.set_background_image(np.full((2, 2, 3), GROUND, np.uint8), format="png")
    server.scene.set_up_direction("-y")
    server.scene.world_axes.visible = True
    server.scene.world_axes.axes_length, server.scene.world_axes.axes_radius = 0.2, 0.004
    server.initial_camera.position, server.initial_camera.look_at = (1.1, -0.7, -2.9), (0.0, 0.1, 0.0)


def draw_view(
    scene: "viser.SceneApi",
    body: BodyModel,
    reader: ShardReader,
    row: int,
    shown: Shown,
    predictions: Mapping[str, np.ndarray],
) -> str:
    """Draws one view, root at the origin, crop axes, metres; returns a line about it."""
    view = reader.read_view(row)
    known = reader.has_parameters(row)
    vertices = (
        body.mesh(reader.read_body(row))[0] if known else np.zeros((len(body.v_template), 3))
    )  # replaces the last one
    scene.add_mesh_simple(
        "/mesh", vertices, body.faces, color=(205, 200, 190), opacity=0.4, visible=known and shown.parts["mesh"]
    )
    feet = float((vertices if known else view["joints"])[:, 1].max())
    scene.add_grid(
        "/ground", 3.0, 3.0, plane="xz", cell_size=0.25, cell_color=LINES, section_color=LINES, position=(0, feet, 0)
    )
    draw_points(scene, reader, row, view, shown)
    draw_skeleton(scene, "joints", view["joints"], shown.parts["joints"])
    draw_skeleton(scene, "fitted joints", view["fit_joints"], shown.parts["fitted joints"])
    predicted = predictions.get(view["id"])
    if predicted is not None:  # source-camera axes -> crop axes
        draw_skeleton(scene, "prediction", predicted @ view["R_crop"].T, shown.parts["prediction"], PREDICTED)
    elif predictions:
        draw_skeleton(scene, "prediction", view["joints"], False)
    return said_of(view, predicted)


def draw_points(scene: "viser.SceneApi", reader: ShardReader, row: int, view: dict, shown: Shown) -> None:
    """The points near the surface by their distance, and lines from voters to their joints."""
    samples = reader.read_samples(row)
    points, distance = samples.points * LATTICE_M, samples.sdf * LATTICE_M
    near = np.abs(distance) <= shown.limit
    scene.add_point_cloud(
        "/points",
        points[near].astype(np.float32),
        distance_colours(distance[near], shown.limit),
        point_size=0.006,
        visible=shown.parts["points"],
    )
    chosen = [k for k, name in enumerate(FIELD_JOINTS.names) if shown.voters_of in (name, ALL)]
    starts = points[samples.voters[chosen]].reshape(-1, 3)
    lines = np.stack([starts, np.repeat(view["joints"][chosen], samples.voters.shape[1], 0)], 1)
    colours = np.broadcast_to(np.array(VOTERS, np.uint8), (len(lines), 2, 3)).copy()
    scene.add_line_segments("/voters", lines, colours, thickness=1, thickness_units="screen", visible=bool(chosen))


def draw_skeleton(
    scene: "viser.SceneApi",
    name: str,
    joints: np.ndarray,
    visible: bool,
    colour: tuple[int, int, int] | None = None,
    joint_set: JointSet = FIELD_JOINTS,
) -> "viser.LineSegmentsHandle":
    """joints: (J, 3) m. colour: of all bones; those of the sides without."""
    sides = [colour or SIDE_COLOURS[side_of(joint_set.names[child])] for _, child in joint_set.bones]
    bones = np.array([[joints[a], joints[b]] for a, b in joint_set.bones])
    colours = np.repeat(np.array(sides, np.uint8)[:, None], 2, 1)
    return scene.add_line_segments(f"/{name}", bones, colours, thickness=4, thickness_units="screen", visible=visible)


def said_of(view: dict, predicted: np.ndarray | None) -> str:
    """A line about the view, in markdown."""
    error = f"{view['fit_error_mm']:.1f} mm" if np.isfinite(view["fit_error_mm"]) else "no 3D"
    lines = [f"**{view['id']}** ({view['split']})", f"fit {'valid' if view['fit_valid'] else 'NOT VALID'}, {error}"]
    lines += ["ambiguous: another body explains the image about as well"] if view["ambiguous"] else []
    unseen = [name for name, flag in zip(FIELD_JOINTS.names, view["joints_unseen"], strict=True) if flag]
    lines += [f"no evidence for {', '.join(unseen)}"] if unseen else []
    valid = view["joints_valid"] & ~view["joints_unseen"]
    if predicted is not None and valid.any():
        away = np.linalg.norm(predicted @ view["R_crop"].T - view["joints"], axis=1)[valid]
        lines.append(f"prediction {1000 * away.mean():.0f} mm away on average")
    return "  \n".join(lines)


def legend(with_prediction: bool) -> str:
    """What the colours mean, in markdown."""
    white = "; white: the prediction" if with_prediction else ""
    return (
        "Points: red inside of the body, yellow at its surface, blue outside. Skeleton: blue left, orange right, "
        f"green middle{white}. Axes, 0.2 m: red x, right; green y, down; blue z, away. A square of the ground is 0.25 m wide."
    )
