"""Who and what stands where in one picture: people on a floor who do not walk through one another, seats, things before them."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pipeline.camera import in_image, project, world_to_camera
from pipeline.records import Camera
from pipeline.skeletons import SMPLX_55
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
# A thing covers no more of the first person than this, roughly: the box about its picture is counted.
_MOST_COVERED = 0.7
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


@dataclass(frozen=True)
class Thing:
    """A box: furniture, or something in a hand. places: (24, 3) its corners in its own axes, four a side; world: (24, 3) the same in
    the world, metres. faces: (12, 3)."""

    places: np.ndarray
    world: np.ndarray
    faces: np.ndarray


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


def make_box(size: np.ndarray, centre: np.ndarray, turn: float) -> Thing:
    """A box of `size` (3,) metres about `centre` (3,), turned about the vertical by `turn` radians."""
    return box_at(size, centre, Rotation.from_euler("z", turn).as_matrix())


def box_at(size: np.ndarray, centre: np.ndarray, R: np.ndarray) -> Thing:
    """A box of `size` (3,) metres about `centre` (3,). R: (3, 3) from its axes to the world's."""
    corners: list[np.ndarray] = []
    faces: list[list[int]] = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            side = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
            square = np.insert(side, axis, sign, axis=1)
            n = 4 * len(corners)
            order = (0, 1, 2, 3) if (sign > 0) == (axis != 1) else (0, 3, 2, 1)  # outwards
            faces += [[n + order[0], n + order[1], n + order[2]], [n + order[0], n + order[2], n + order[3]]]
            corners.append(square)
    places = np.concatenate(corners) * size / 2
    return Thing(places, places @ R.T + centre, np.array(faces))


def outline(thing: Thing, camera: Camera, apart_px: float = 6.0) -> np.ndarray:
    """(N, 3) points on the sides of a box, world, that the camera sees no further than `apart_px` pixels apart."""
    step = apart_px * (thing.world @ camera.R[2] + camera.t[2]).min() / camera.K[0, 0]
    points = []
    for k in range(0, 24, 4):
        a, b, _, d = thing.world[k : k + 4]
        n, m = (int(np.ceil(np.linalg.norm(edge) / step)) + 1 for edge in (b - a, d - a))
        u, v = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, m))
        points.append(a + u.reshape(-1, 1) * (b - a) + v.reshape(-1, 1) * (d - a))
    return np.concatenate(points)


def draw_seat(rng: np.random.Generator, figure: Figure) -> Thing | None:
    """A box under who sits at the height of a seat; None for others."""
    names = ("pelvis", "spine3", "left_hip", "right_hip", "left_knee", "right_knee")
    at = {name: figure.motion.places[0, SMPLX_55.index(name)] for name in names}
    trunk = at["spine3"] - at["pelvis"]
    if trunk[2] < 0.5 * np.linalg.norm(trunk):
        return None
    for side in ("left", "right"):
        thigh = at[f"{side}_knee"] - at[f"{side}_hip"]
        if abs(thigh[2]) > 0.55 * np.linalg.norm(thigh):
            return None
    middle = (at["left_hip"] + at["right_hip"]) / 2
    ahead = (at["left_knee"] + at["right_knee"]) / 2 - middle
    near = np.linalg.norm(figure.naked[:, :2] - middle[:2], axis=1) < 0.16
    top = figure.naked[near, 2].min() - 0.005
    if not 0.22 < top < 0.85 or figure.motion.places[0, 0, 2] < top:
        return None
    wide = rng.uniform(0.34, 0.75)
    centre = np.array([*(middle + 0.05 * ahead)[:2], top / 2])
    return make_box(
        np.array([wide, rng.uniform(0.32, 0.42), top]), centre, float(np.arctan2(ahead[1], ahead[0]) + np.pi / 2)
    )


def draw_occluder(rng: np.random.Generator, subject: Subject, camera: Camera) -> Thing:
    """A table, a crate or a pillar between the camera and the subject, never nearer than a metre to the camera."""
    eye = -camera.R.T @ camera.t
    way = subject.centre - eye
    far = max(float(np.linalg.norm(way[:2])), 0.1)
    share = rng.uniform(max(0.45, min(1.2 / far, 0.8)), 0.85)
    across = np.array([-way[1], way[0]]) / far
    spot = eye[:2] + share * way[:2] + across * rng.normal(0, 0.35)
    if rng.random() < 0.3:
        size = np.array([rng.uniform(0.08, 0.25), rng.uniform(0.08, 0.25), 3.0])
    else:
        size = np.array([rng.uniform(0.3, 1.3), rng.uniform(0.25, 0.6), rng.uniform(0.25, 1.1)])
    return make_box(size, np.array([*spot, size[2] / 2]), rng.uniform(0, np.pi))


def leaves_in_sight(thing: Thing, figure: Figure, camera: Camera) -> bool:
    """Whether enough of a person is to be seen beside a thing that stands before it."""
    corners, points = (project(camera, world_to_camera(camera, a)) for a in (thing.world, figure.naked[::_EVERY]))
    covered = ((points > corners.min(0)) & (points < corners.max(0))).all(1)
    inside = in_image(points, camera.width, camera.height)
    return bool((covered & inside).sum() <= _MOST_COVERED * inside.sum())


def free_of(thing: Thing, figures: list[Figure], camera: Camera) -> bool:
    """Whether a box stands in nobody and not in the camera's way."""
    if not all(holds_none_of(thing, figure.naked[::_EVERY]) for figure in figures):
        return False
    return bool((thing.world @ camera.R[2] + camera.t[2] > 0.6).all())


def holds_none_of(thing: Thing, points: np.ndarray) -> bool:
    """Whether none of some points (N, 3), world metres, lies in a box or within a centimetre of it."""
    middle = thing.world.mean(0)
    R = np.linalg.lstsq(thing.places, thing.world - middle, rcond=None)[0]  # local = (world - middle) @ R.T
    half = np.abs(thing.places).max(0) + 0.01
    return not (np.abs((points - middle) @ R.T) < half).all(1).any()
