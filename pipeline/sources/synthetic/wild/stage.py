"""Who stands where in one picture: people on a floor who do not walk through one another."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pipeline.camera import in_image, project, world_to_camera
from pipeline.records import Camera
from pipeline.sources.synthetic.motion import UPRIGHT
from pipeline.sources.synthetic.people import Motion, Person, Rig, chain, skin
from pipeline.sources.synthetic.wild.cameras import Subject
from pipeline.sources.synthetic.wild.pose import Pose

# How many people a picture has, and how often.
CROWDS = (0.50, 0.27, 0.14, 0.09)
# Share of people who look roughly at the camera.
FACING = 0.55
# Two people come no closer than this, and nobody stands nearer to the camera, metres.
_APART_M, _NEAREST_M = 0.03, 1.0
_EVERY = 23  # of the vertices, for the distance of two people
# Whoever's pelvis is lower than this lies or sits on the floor and comes to rest there, metres.
_ON_FLOOR_M = 0.34


@dataclass(frozen=True)
class Figure:
    """A person in the picture. number: among the studio's people. motion: of one moment. naked: (V, 3) world metres."""

    number: int
    person: Person
    pose: Pose
    motion: Motion
    naked: np.ndarray


def stand(rig: Rig, number: int, person: Person, pose: Pose, heading: float, spot: np.ndarray) -> Figure:
    """Put a pose on the floor. spot: (2,) metres, where the middle of the body's box is. heading: radians, 0 looks along -y."""
    rotations = pose.rotations[None].copy()
    rotations[0, 0] = Rotation.from_euler("z", heading).as_matrix() @ UPRIGHT @ rotations[0, 0]
    turned, places, vertices = _posed(rig, person, rotations)
    if not pose.lift and places[0, 0, 2] - vertices[:, 2].min() < _ON_FLOOR_M:
        rotations[0, 0] = settle(vertices[::_EVERY] - places[0, 0]) @ rotations[0, 0]
        turned, places, vertices = _posed(rig, person, rotations)
    low, high = vertices.min(0), vertices.max(0)
    shift = np.array([*(spot - (low + high)[:2] / 2), pose.lift - low[2]])
    return Figure(number, person, pose, Motion(rotations, shift[None], turned, places + shift), vertices + shift)


def _posed(rig: Rig, person: Person, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `chain` makes of rotations (1, 55, 3, 3), and the naked vertices (V, 3), before the person is moved anywhere."""
    nowhere = np.zeros((1, 3))
    turned, places = chain(rig, person, rotations, nowhere)
    return turned, places, skin(rig, person, person.rest, Motion(rotations, nowhere, turned, places), 0)


def settle(points: np.ndarray) -> np.ndarray:
    """(3, 3) the turn by which a stiff body of points (N, 3), z up, rolls to where its middle lies lowest above the floor."""

    def height(turn: np.ndarray) -> float:
        up = Rotation.from_rotvec([*turn, 0.0]).as_matrix()[2]
        along = points @ up
        return float(along.mean() - along.min())

    start = np.array([[0.0, 0], [0.15, 0], [0, 0.15]])
    options = {"initial_simplex": start, "xatol": 0.01, "fatol": 5e-4, "maxfev": 80}
    found = minimize(height, start[0], method="Nelder-Mead", options=options)
    return Rotation.from_rotvec([*found.x, 0.0]).as_matrix()


def subject_of(figure: Figure) -> Subject:
    low, high = figure.naked.min(0), figure.naked.max(0)
    return Subject((low + high) / 2, float((high - low).max()))


def draw_heading(rng: np.random.Generator, azimuth: float) -> float:
    """Radians: towards a camera in the direction `azimuth`, more or less, or anywhere."""
    return float(azimuth + np.pi / 2 + (rng.vonmises(0, 2.0) if rng.random() < FACING else rng.uniform(-np.pi, np.pi)))


def draw_spot(rng: np.random.Generator, azimuth: float, camera: Camera) -> np.ndarray:
    """(2,) metres beside, before or behind the first person, who stands at the origin, as the camera sees it: people who are in the
    same picture stand further apart the more of the place it shows."""
    shown = np.linalg.norm(camera.t) * camera.width / camera.K[0, 0]  # metres across the picture at the origin
    beside, behind = rng.normal(0, max(0.6, 0.3 * shown)), rng.normal(0.4, 1.0)
    towards = np.array([np.cos(azimuth), np.sin(azimuth)])
    return beside * np.array([-towards[1], towards[0]]) - behind * towards


def fits_in(figure: Figure, others: list[Figure], camera: Camera) -> bool:
    """Whether a person stands free of the others and not in the camera's way."""
    depth = figure.naked[::_EVERY] @ camera.R[2] + camera.t[2]
    if depth.min() < _NEAREST_M:
        return False
    mine = cKDTree(figure.naked[::_EVERY])
    return all(mine.query(other.naked[::_EVERY])[0].min() > _APART_M for other in others)


def wholly_in(figure: Figure, camera: Camera) -> bool:
    """Whether no part of a person lies outside the picture."""
    points = world_to_camera(camera, figure.naked[::_EVERY])
    inside = in_image(project(camera, points), camera.width, camera.height)
    return bool((inside & (points[:, 2] > _NEAREST_M)).all())
