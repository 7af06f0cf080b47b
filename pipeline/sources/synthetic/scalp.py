"""The head that hair grows on: its skull by directions from the middle, its hairline, and what lies below it.

Directions: azimuth from the face to the person's left, and polar angle from straight above.
"""

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from scipy import sparse
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.spatial import cKDTree

from pipeline.skeletons import SMPLX_55
from pipeline.sources.synthetic.appearance import Landmarks, Outfit, hair_mask
from pipeline.sources.synthetic.people import Person, Rig
from pipeline.sources.synthetic.render import unit, vertex_normals

# Columns and rows of the skull's grid of directions, and the polar angle that it reaches down to.
AROUND, DOWN, LOWEST = 64, 33, np.radians(128)
# The middle of the skull lies so far above the eyes, and the chin below the tip of the nose (metres).
ABOVE_EYES_M, CHIN_M = 0.02, 0.065
# How many of the body's vertices a point of the skull follows.
NEIGHBOURS = 6


@dataclass(frozen=True)
class Scalp:
    """The skull of the template. points: (AROUND, DOWN, 3) metres where rays from its middle leave the head; near: (AROUND DOWN,
    NEIGHBOURS) vertices beside each, share: how much each counts. upper: (N,) vertices of the head and the trunk, and their normals
    (N, 3)."""

    points: np.ndarray
    near: np.ndarray
    share: np.ndarray
    upper: np.ndarray
    normals: np.ndarray


@dataclass(frozen=True)
class Head:
    """A person's own, in zero pose; lengths in metres.

    middle: (3,) of the skull. eyes, chin, shoulder: heights. skull: (AROUND + 1, DOWN, 3) and inside: (AROUND + 1, DOWN) above the
    hairline, by direction; the first column again at the end. upper: (N,) vertices of head and trunk; skin: (N, 3) where they
    lie, with normals (N, 3) and skinning weights (N, 55).
    """

    middle: np.ndarray
    eyes: float
    chin: float
    shoulder: float
    skull: np.ndarray
    inside: np.ndarray
    upper: np.ndarray
    skin: np.ndarray
    normals: np.ndarray
    weights: sparse.csr_array

    def at(self, rays: np.ndarray) -> np.ndarray:
        """(U, V, 3) unit directions -> (U, V, 3) metres on the skull."""
        place = _place(rays)
        return np.stack([map_coordinates(self.skull[..., k], place, order=1, mode="nearest") for k in range(3)], -1)

    def spot(self, ray: np.ndarray) -> np.ndarray:
        """(3,) unit direction -> (3,) metres on the skull."""
        return self.at(ray[None, None])[0, 0]

    def line(self, rays: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """(U,) the angle at which each fan of directions (U, N, 3), at angles (N,), crosses the hairline; a closed fan, smooth."""
        place = _place(rays)
        beyond = map_coordinates(self.inside, place, order=1, mode="nearest") < 0
        beyond |= place[1] > DOWN - 1
        first = np.where(beyond.any(1), beyond.argmax(1), len(angles) - 1)
        return gaussian_filter1d(angles[first], 1.5, mode="wrap")


def _place(rays: np.ndarray) -> np.ndarray:
    """(2, ...) column and row of directions in the skull's grid."""
    column = (np.arctan2(rays[..., 0], rays[..., 2]) / (2 * np.pi)) % 1 * AROUND
    return np.stack([column, np.arccos(np.clip(rays[..., 1], -1, 1)) / LOWEST * (DOWN - 1)])


def make_scalp(rig: Rig, marks: Landmarks) -> Scalp:
    """Where rays from the middle of the template's skull leave it: behind the ears, not through them."""
    azimuth, polar = np.meshgrid(np.arange(AROUND) * 2 * np.pi / AROUND, np.linspace(0, LOWEST, DOWN), indexing="ij")
    rays = direction(azimuth, polar)
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(rig.template, np.float32), np.ascontiguousarray(rig.faces, np.int32))
    flat, middle = np.ascontiguousarray(rays.reshape(-1, 3), np.float32), _middle(marks)
    found = scene.run(np.tile(middle.astype(np.float32), (len(flat), 1)), flat, output=1)
    far = np.clip(found["tfar"], 0.03, 0.2).reshape(AROUND, DOWN)
    far[:, 0] = far[:, 0].mean()
    far = gaussian_filter1d(gaussian_filter1d(far, 1.2, axis=0, mode="wrap"), 1.2, axis=1, mode="nearest")
    points = middle + far[..., None] * rays
    distance, near = cKDTree(rig.template).query(points.reshape(-1, 3), k=NEIGHBOURS)
    share = 1 / (distance + 0.01)
    above = (rig.template[:, 1] > marks.waist) & (np.abs(rig.template[:, 0]) < marks.shoulder_x + 0.05)
    upper = np.flatnonzero(above)
    normals = vertex_normals(rig.template, rig.faces)[upper]
    return Scalp(points, near, share / share.sum(1, keepdims=True), upper, normals)


def head_of(scalp: Scalp, rig: Rig, person: Person, marks: Landmarks, outfit: Outfit, rest: np.ndarray) -> Head:
    """The head of a person whose body, with what is painted on it, is at rest: (V, 3) metres."""
    shift = np.einsum("gk,gkc->gc", scalp.share, (rest - rig.template)[scalp.near]).reshape(scalp.points.shape)
    moved = shift.mean((0, 1))
    inside = hair_mask(outfit, marks, scalp.points.reshape(-1, 3)).reshape(AROUND, DOWN)
    return Head(
        middle=_middle(marks) + moved,
        eyes=float(marks.eyes[:, 1].mean() + moved[1]),
        chin=float(marks.nose[1] - CHIN_M + moved[1]),
        shoulder=float(person.rest_joints[SMPLX_55.index("left_shoulder"), 1] + 0.03),
        skull=np.concatenate([scalp.points + shift, (scalp.points + shift)[:1]]),
        inside=np.concatenate([inside, inside[:1]]),
        upper=scalp.upper,
        skin=rest[scalp.upper],
        normals=scalp.normals,
        weights=rig.weights[scalp.upper],
    )


def _middle(marks: Landmarks) -> np.ndarray:
    return marks.head + [0, ABOVE_EYES_M, 0]


def direction(azimuth: np.ndarray | float, polar: np.ndarray | float) -> np.ndarray:
    """(..., 3) unit vectors of angles in radians."""
    return np.stack([np.sin(azimuth) * np.sin(polar), np.cos(polar), np.cos(azimuth) * np.sin(polar)], -1)


def fan(axis: np.ndarray, around: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """(U, V, 3) directions at angles (U, V) from an axis (3,), `around` (U, V) radians about it from its upper side."""
    up = unit(np.array([[0.0, 1.0, 0.0]]) - axis[1] * axis)[0] if abs(axis[1]) < 0.99 else np.array([0.0, 0.0, 1.0])
    across = np.cos(around)[..., None] * up + np.sin(around)[..., None] * np.cross(up, axis)
    return np.cos(angle)[..., None] * axis + np.sin(angle)[..., None] * across


def ease(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth in between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
