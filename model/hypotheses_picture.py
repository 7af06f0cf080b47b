"""The bodies that explain one view about as well, over the crop and from the side, with their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from model.body_fit import Hypotheses
from model.data.views import Views
from model.networks.frame import CANONICAL_SIDE
from model.scoring.evaluation import ground_truth
from model.scoring.figures import caption, from_the_side, grid
from model.scoring.shown import ShownView, shown_views
from model.scoring.skeleton import draw_skeleton
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel, as_tensors, load_body
from pipeline.camera import project, resized, side_camera, world_to_camera
from pipeline.outputs import encode_picture, write_file
from pipeline.records import Camera
from pipeline.shading import draw_meshes
from pipeline.skeletons import JointSet

# Views in a picture.
VIEWS = 6
# The bodies of a view, in their order; told apart also by those who see fewer colours.
COLOURS = np.array([(86, 180, 233), (230, 159, 0), (0, 178, 130), (224, 130, 180), (240, 228, 66), (213, 94, 0)], float)
TRUE, BEHIND = (255, 255, 255), (20, 20, 20)


@dataclass(frozen=True)
class ShownBodies:
    """A view and the bodies that explain it, the likeliest first. vertices: (n, V, 3) and roots: (n, 3) m, absolute, crop axes.
    weights: (n,). errors: (n,) m, NaN where the truth is not known."""

    view: ShownView
    vertices: np.ndarray
    roots: np.ndarray
    weights: np.ndarray
    errors: np.ndarray


def draw_hypotheses(path: Path, found: Hypotheses | None, views: Views, index: np.ndarray, size: int) -> None:
    """A picture of the most ambiguous views; that of an earlier evaluation goes away where there is nothing to show."""
    body = load_body()
    shown = [] if found is None else shown_hypotheses(found, body, views, index, size)
    if not shown:
        path.unlink(missing_ok=True)
        return
    write_file(path, encode_picture(hypotheses_picture(shown, body.faces, views.joint_set)))


def most_ambiguous(weights: np.ndarray, count: int = VIEWS) -> np.ndarray:
    """Rows of (N, K) weights whose likeliest body is the least likely, those with several bodies alone."""
    several = np.flatnonzero((weights > 0).sum(1) > 1)
    return several[np.argsort(weights[several].max(1), kind="stable")][:count]


def shown_hypotheses(
    found: Hypotheses, body: BodyModel, views: Views, index: np.ndarray, size: int
) -> list[ShownBodies]:
    """The views in which the weights are most even. index: (N,) of the views of `found`. size: side of the network's crops, px."""
    truth, known = ground_truth(views, index)
    root, points = views.joint_set.root_index, keypoint_map(body, views.joint_set)
    shown = []
    for row in most_ambiguous(found.weights):
        there = np.flatnonzero(found.weights[row])
        there = there[np.argsort(-found.weights[row, there], kind="stable")]
        off = found.joints[row, there] - (truth[row] - truth[row, root])
        errors = np.linalg.norm(off, axis=-1).mean(1) if known[row].all() else np.full(len(there), np.nan)
        vertices, joints = (part.numpy() for part in body.pose(as_tensors([found.parameters[k][row] for k in there])))
        roots = points(joints, vertices)[:, root]
        (view,) = shown_views(found.joints[row, there[:1]], roots[:1], index[row : row + 1], views, size)
        shown.append(ShownBodies(view, vertices, roots, found.weights[row, there], errors))
    return shown


def hypotheses_picture(
    shown: Sequence[ShownBodies], faces: np.ndarray, joint_set: JointSet, side: int = 240
) -> np.ndarray:
    """(H, W, 3) uint8: a row for each view, with the crop first, then its bodies beside one another: over the crop, and under
    that from the side about the root, each with the true skeleton in white."""
    most = max(len(one.weights) for one in shown)
    return grid([_row(one, faces, joint_set, most, side) for one in shown], 1)


def _row(one: ShownBodies, faces: np.ndarray, joint_set: JointSet, most: int, side: int) -> np.ndarray:
    size = one.view.crop.shape[0]
    crop = cv2.resize(one.view.crop, (side, side), interpolation=cv2.INTER_CUBIC)
    camera = resized(Camera(one.view.K, np.eye(3), np.zeros(3), size, size), side, side)
    beside = side_camera(one.view.root, side / CANONICAL_SIDE, side, side)
    true, paper = one.view.joints + one.view.root, np.full_like(crop, 247)
    columns = [caption(np.concatenate([crop, from_the_side(one.view.joints, None, joint_set, side)]), one.view.text)]
    for k, vertices in enumerate(one.vertices):
        pictures = []
        # from the side about the root, since what is asked there is how deep each limb is
        at_root = vertices - one.roots[k] + one.view.root
        for seen_by, ground, mesh in ((camera, crop, vertices), (beside, paper, at_root)):
            picture = draw_meshes(ground, seen_by, [mesh], faces, COLOURS[k : k + 1], 0.75)
            pixels = project(seen_by, world_to_camera(seen_by, true))
            draw_skeleton(picture, pixels, joint_set, BEHIND, 4)
            draw_skeleton(picture, pixels, joint_set, TRUE, 2)
            pictures.append(picture)
        error = f", {1000 * one.errors[k]:.0f} mm off" if np.isfinite(one.errors[k]) else ""
        columns.append(caption(np.concatenate(pictures), f"weight {one.weights[k]:.2f}{error}"))
    columns += [np.full_like(columns[0], 255)] * (most - len(one.weights))
    return np.concatenate(columns, 1)
