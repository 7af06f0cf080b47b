"""A 3D view of predictions in the browser: everybody of a picture before its camera, picture after picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.people.predictions import FILE, Predictions, read_predictions
from model.people.records import PicturePeople
from model.people.shown import colour_of, in_front
from model.people.words import about
from pipeline.body.model import BodyModel
from pipeline.errors import InputError
from pipeline.look.viewer import LINES, draw_skeleton, open_server, set_stage
from pipeline.skeletons import JointSet

if TYPE_CHECKING:
    import viser

# Where somebody stands who looks at the people, as a multiple of how far they reach about their middle.
FROM = np.array([1.4, -0.8, -2.2])
# People who are this far, m, from those that were looked at are turned to.
STEP = 1.0


def find_predictions(path: Path) -> Path | None:
    """predictions.json, where a path means one: the file, or the folder that `predict` wrote. None for a shard or its folder."""
    if path.is_dir() and (path / FILE).is_file():
        return path / FILE
    return path if path.suffix == ".json" else None


def serve_predictions(path: Path, body: BodyModel, host: str, port: int) -> "viser.ViserServer":
    """Starts the server and returns it. InputError when viser is not installed or nobody was found."""
    predictions = read_predictions(path)
    pictures = [picture for picture in predictions.pictures if picture.people]
    if not pictures:
        raise InputError(f"{path} has nobody to show")
    server = open_server(host, port)
    set_stage(server)
    number = server.gui.add_slider("picture", 0, max(1, len(pictures) - 1), 1, 0)
    text = server.gui.add_markdown("")
    shown: list[Any] = []
    looked_at = np.zeros(3)

    def show(_: Any = None) -> None:
        nonlocal looked_at
        for handle in shown:
            handle.remove()
        shown.clear()
        picture = pictures[min(number.value, len(pictures) - 1)]
        low, high = place_of(picture)
        moved = (low + high) / 2 - looked_at
        if np.linalg.norm(moved) > STEP:  # else it is a video, or as good as one
            looked_at = looked_at + moved
            server.initial_camera.look_at = looked_at
            server.initial_camera.position = looked_at + FROM * float(np.linalg.norm(high - low)) / 2
            for client in server.get_clients().values():  # looks on from the same side, at the people of this picture
                client.camera.position = client.camera.position + moved
        text.content = said_of(picture, predictions.joint_set)
        shown.extend(draw_people(server.scene, body, predictions, picture))

    number.on_update(show)
    show()
    return server


def place_of(picture: PicturePeople) -> np.ndarray:
    """(2, 3) m, camera axes: least and most of the joints of the people in front."""
    people = [picture.people[k] for k in in_front(picture.people)]
    points = np.concatenate([person.joints + person.root for person in people])
    return np.stack([points.min(0), points.max(0)])


def draw_people(
    scene: "viser.SceneApi", body: BodyModel, predictions: Predictions, picture: PicturePeople
) -> list[Any]:
    """Everybody's skeleton, and the body where one was fitted, in the camera's axes, metres; what was drawn."""
    drawn: list[Any] = []
    for k, person in enumerate(picture.people):
        joints = person.joints + person.root
        drawn.append(draw_skeleton(scene, f"person {k}", joints, True, joint_set=predictions.joint_set))
        if person.body is not None:
            vertices = body.mesh(person.body)[0]
            colour = tuple(colour_of(person, k).tolist())
            drawn.append(scene.add_mesh_simple(f"/body {k}", vertices, body.faces, color=colour, opacity=0.7))
    low, high = place_of(picture)
    position = ((low[0] + high[0]) / 2, high[1], (low[2] + high[2]) / 2)
    drawn.append(
        scene.add_grid(
            "/ground", 6.0, 6.0, plane="xz", cell_size=0.5, cell_color=LINES, section_color=LINES, position=position
        )
    )
    return drawn


def said_of(picture: PicturePeople, joint_set: JointSet) -> str:
    """A line about the picture and one about everybody, in markdown."""
    return "  \n".join(
        [f"**{picture.name}**", *(about(person, k, joint_set) for k, person in enumerate(picture.people))]
    )
