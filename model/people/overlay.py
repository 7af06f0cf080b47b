"""What was found, drawn: boxes and skeletons on the picture, bodies on it, and both from the side."""

import cv2
import numpy as np

from model.people.records import Person
from model.people.shown import Shown
from model.scoring.skeleton import draw_skeleton
from pipeline.camera import project, resized, side_camera, world_to_camera
from pipeline.records import Camera
from pipeline.shading import draw_meshes

# Longest side of a panel, px.
PICTURE_PX, FRAME_PX = 1024, 640
GROUND, LINES, INK = (246, 247, 249), (226, 229, 234), (20, 20, 20)
ROOM, LINE = 0.25, 0.5  # metres about the people, and between lines
LETTERS, SMALLEST = 0.55, 0.35  # size of letters on a picture of PICTURE_PX, and the least one, in OpenCV's measure


def draw_people(shown: Shown, longest: int = PICTURE_PX, window: np.ndarray | None = None) -> np.ndarray:
    """(h, w, 3) uint8: panels beside one another. Where bodies are fitted these are on a second copy of the picture. window: (2, 2) m
    of the side view, as `side_window` gives it."""
    picture = shown.picture
    scale = longest / max(picture.pixels.shape[:2])
    filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = cv2.resize(picture.pixels, None, fx=scale, fy=scale, interpolation=filter_)
    camera = resized(picture.camera, canvas.shape[1], canvas.shape[0])
    samples = 1 if longest <= FRAME_PX else 2
    panels = [with_skeletons(shown, canvas.copy(), scale)]
    if shown.fitted:
        panels.append(with_bodies(shown, canvas, camera, 0.9, samples))
    panels.append(from_the_side(shown, canvas.shape[0], side_window(shown) if window is None else window, samples))
    return np.concatenate(panels, 1)


def with_bodies(shown: Shown, canvas: np.ndarray, camera: Camera, opacity: float, samples: int) -> np.ndarray:
    """The canvas, as the camera sees it, with the bodies over it."""
    colours = np.array([shown.colour(number) for number, _ in shown.embodied])
    bodies, faces = list(shown.vertices), shown.body.faces
    return draw_meshes(canvas, camera, bodies, faces, colours, opacity, samples, shown.normals)


def with_skeletons(shown: Shown, canvas: np.ndarray, scale: float) -> np.ndarray:
    """Boxes and skeletons drawn on the picture, which is `scale` times as large as the one that was read."""
    for number, person in enumerate(shown.people):
        colour = tuple(shown.colour(number).tolist())
        corners = np.stack([person.box[:2], person.box[:2] + person.box[2:] - 1]) * scale
        first, second = ((int(x), int(y)) for x, y in np.round(corners).clip(-30000, 30000))
        cv2.rectangle(canvas, first, second, INK, 4, cv2.LINE_AA)
        cv2.rectangle(canvas, first, second, colour, 2, cv2.LINE_AA)
    for person in reversed(shown.people):  # the surest last, on top
        flat = (person.joints_2d + 0.5) * scale - 0.5
        size = np.ptp(flat, 0).max()
        draw_skeleton(canvas, flat, shown.joint_set, INK, max(3, int(size / 50)))
        draw_skeleton(canvas, flat, shown.joint_set, None, max(2, int(size / 90)))
    for number, person in enumerate(shown.people):
        write_doubt(canvas, person, shown.colour(number), scale)
    return canvas


def write_doubt(canvas: np.ndarray, person: Person, colour: np.ndarray, scale: float) -> None:
    """Says at the top of a doubtful body's box what speaks against it."""
    if not person.doubts:
        return
    text, size = f"doubtful: {person.doubts}", max(LETTERS * max(canvas.shape[:2]) / PICTURE_PX, SMALLEST)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    most = np.maximum([canvas.shape[1] - width - 2, canvas.shape[0] - below - 2], [2, height + 2])
    x, y = np.clip(person.box[:2] * scale + [3, height + 4], [2, height + 2], most).astype(int).tolist()
    cv2.rectangle(canvas, (x - 2, y - height - 2), (x + width + 2, y + below), INK, -1)
    shade = tuple(colour.tolist())
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, shade, 1, cv2.LINE_AA)


def side_window(shown: Shown) -> np.ndarray:
    """(2, 2) m: least and most of depth and height that hold the people in front, with some room."""
    if shown.reach is None:
        return np.array([[0.0, -1.0], [1.0, 1.0]])
    return shown.reach[:, [2, 1]] + [[-ROOM], [ROOM]]


def from_the_side(shown: Shown, height: int, window: np.ndarray, samples: int = 2) -> np.ndarray:
    """(height, w, 3): people from the right of the camera, nearly without perspective; lines are half a metre apart."""
    width = int(np.clip(height * 0.6, 200, None))
    (near, top), (far, low) = window
    zoom = min(width / (far - near), height / (low - top))
    centre = np.array([0.0, (top + low) / 2, (near + far) / 2])
    camera = side_camera(centre, zoom, width, height)
    canvas = np.full((height, width, 3), GROUND, np.uint8)
    if zoom * LINE > 4:
        for axis, middle in ((1, (near + far) / 2), (0, (top + low) / 2)):
            most = (canvas.shape[axis] - 1) / 2
            first = np.ceil((middle - most / zoom) / LINE)
            for line in np.arange(first, (middle + most / zoom) / LINE):
                at = round(most + (line * LINE - middle) * zoom)
                canvas[(slice(None), at) if axis == 1 else at] = LINES
    canvas = with_bodies(shown, canvas, camera, 0.55, samples)
    for person in shown.people:
        points = person.joints + person.root
        flat = project(camera, world_to_camera(camera, points))
        draw_skeleton(canvas, flat, shown.joint_set, None, max(2, int(np.ptp(flat, 0).max() / 110)))
    beyond = sum(person.root[2] > centre[2] + width / zoom / 2 for person in shown.people)
    if beyond:
        size = max(LETTERS * height / PICTURE_PX, SMALLEST)
        words, place = f"{beyond} more further away", (6, height - 8)
        cv2.putText(canvas, words, place, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
    return canvas
