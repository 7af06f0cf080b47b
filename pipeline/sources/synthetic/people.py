"""True bodies: shapes beyond ten betas, and a plain-array body that poses them without torch.

Worker processes get a `Rig`, so that they need neither torch nor the body file. It poses a body as SMPL-X does (linear blend
skinning of the shaped template); a test holds the two equal.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from pipeline.skeletons import FIELD_JOINTS, SMPLX_55
from pipeline.sources.synthetic.settings import SPLIT_OF, SUBJECTS

if TYPE_CHECKING:
    from pipeline.body.model import BodyModel  # loads torch, which workers do without

# The name of the body that the people of `pipeline.body.capture` belong to.
FREE_BODY = "free body"
# So many of them are of validation and test subjects alone: neither training subjects nor the wild capture have their bodies.
HELD_OUT = 16
_JOINT = {name: k for k, name in enumerate(SMPLX_55.names)}


@dataclass(frozen=True)
class Rig:
    """A body model as plain arrays.

    template: (V, 3) metres, zero pose, y up. shapedirs: (V, 3, 10) metres. posedirs: (486, 3 V) or None where they are all
    zero. regressor: (55, V) and weights: (V, 55) sparse. faces: (F, 3). parents: (55,). key_joints: (J, 55),
    key_vertices: (J, V) sparse: where the joints of FIELD_JOINTS lie. nose: vertex at its tip.
    people_betas: (N, 10), people_warps: (N, K) and warp_directions: (V, 3, K): people that come with the free body, whose shapes
    ten betas express only roughly; None for another body.
    """

    template: np.ndarray
    shapedirs: np.ndarray
    posedirs: np.ndarray | None
    regressor: sparse.csr_array
    weights: sparse.csr_array
    faces: np.ndarray
    parents: np.ndarray
    key_joints: np.ndarray
    key_vertices: sparse.csr_array
    nose: int
    people_betas: np.ndarray | None
    people_warps: np.ndarray | None
    warp_directions: np.ndarray | None
    name: str
    sha256: str


@dataclass(frozen=True)
class Motion:
    """A motion at 50 Hz in the capture's world (metres, z up, the floor at z = 0).

    rotations: (N, 55, 3, 3) local rotations of SMPL-X, the pelvis' in the world.
    translations: (N, 3) metres, SMPL-X's transl. turned, places: what `chain` makes of them.
    """

    rotations: np.ndarray
    translations: np.ndarray
    turned: np.ndarray
    places: np.ndarray


def make_rig(body: "BodyModel") -> Rig:
    """The arrays of a body model with the field's joints on it."""
    from pipeline.body.capture import capture_shapes
    from pipeline.body.keypoints import keypoint_map
    from pipeline.body.vertex_ids import VERTEX_IDS

    keys = keypoint_map(body, FIELD_JOINTS)
    n_joints, n = len(FIELD_JOINTS), body.n_vertices
    rows, columns = np.repeat(np.arange(n_joints), len(keys.vertex_ids)), np.tile(keys.vertex_ids, n_joints)
    key_vertices = sparse.csr_array((keys.vertex_weights.ravel().astype(float), (rows, columns)), shape=(n_joints, n))
    key_vertices.eliminate_zeros()
    shapes = capture_shapes() if body.name == FREE_BODY else None
    return Rig(
        template=body.v_template.numpy().astype(float),
        shapedirs=body.shapedirs.numpy().astype(float),
        posedirs=None if body.posedirs is None else body.posedirs.numpy(),
        regressor=sparse.csr_array(body.J_regressor.numpy().astype(float)),
        weights=sparse.csr_array(body.weights.numpy().astype(float)),
        faces=body.faces.astype(np.int32),
        parents=body.parents.astype(int),
        key_joints=keys.joint_weights.astype(float),
        key_vertices=key_vertices,
        nose=VERTEX_IDS["nose"],
        people_betas=None if shapes is None else shapes.betas.astype(float),
        people_warps=None if shapes is None else shapes.coefficients.astype(float),
        warp_directions=None if shapes is None else shapes.directions,
        name=body.name,
        sha256=body.sha256,
    )


@dataclass(frozen=True)
class Person:
    """A true body in zero pose. betas: (10,). warp: (V, 3) metres added to what the betas give: outside their span.

    rest: (V, 3) metres, the shaped body. rest_joints: (55, 3) metres.
    """

    betas: np.ndarray
    warp: np.ndarray
    rest: np.ndarray
    rest_joints: np.ndarray


def held_out(count: int) -> np.ndarray:
    """(count,) bool: which of the people that come with the free body are held out: those that follow on the training subjects in
    the order that seed 0 draws."""
    first = len(SUBJECTS["train"])
    numbers = np.random.default_rng((0, 0)).permutation(count)[first : first + HELD_OUT]
    return np.isin(np.arange(count), numbers)


def make_people(rig: Rig, seed: tuple[int, int], spread: float, warp_m: float) -> dict[int, Person]:
    """The body of each subject: people that come with the free body, in an order drawn from the seed; validation and test subjects
    have those that are held out.

    For another body: betas of standard deviation `spread`, and a smooth random warp of `warp_m` metres that they cannot express.
    """
    subjects = list(SPLIT_OF)
    rng = np.random.default_rng(seed)
    if rig.people_betas is not None and rig.people_warps is not None and rig.warp_directions is not None:
        order = rng.permutation(len(rig.people_betas))
        out, training = held_out(len(order))[order], len(SUBJECTS["train"])
        chosen = [*order[~out][:training], *order[out][: len(subjects) - training]]
        shapes = [(rig.people_betas[k], rig.warp_directions @ rig.people_warps[k]) for k in chosen]
    else:
        shapes = [random_shape(rig, rng, spread, warp_m) for _ in subjects]
    return {subject: shape_person(rig, *shape) for subject, shape in zip(subjects, shapes, strict=True)}


def random_shape(rig: Rig, rng: np.random.Generator, spread: float, warp_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Betas (10,) of a standard deviation, and a smooth warp (V, 3) metres that they cannot express."""
    return (
        np.clip(rng.normal(0, spread, 10), -2, 2),
        warp_m * smooth_field(rig.template, rng, waves=12, wavelength=(0.35, 1.2), channels=3),
    )


def shape_person(rig: Rig, betas: np.ndarray, warp: np.ndarray) -> Person:
    rest = rig.template + rig.shapedirs @ betas + warp
    return Person(betas, warp, rest, rig.regressor @ rest)


def smooth_field(
    points: np.ndarray, rng: np.random.Generator, waves: int, wavelength: tuple[float, float], channels: int = 1
) -> np.ndarray:
    """(N, 3) points -> (N, channels) smooth random values of unit variance: a sum of cosines in random directions."""
    directions = rng.normal(size=(3, waves))
    directions *= 2 * np.pi / (np.linalg.norm(directions, axis=0) * rng.uniform(*wavelength, waves))
    # Half the digits are enough for a field that is smooth by design, and take a third of the time.
    phases = np.cos((points @ directions + rng.uniform(0, 2 * np.pi, waves)).astype(np.float32))
    return phases @ (rng.normal(size=(waves, channels)) * np.sqrt(2 / waves))


def chain(rig: Rig, person: Person, rotations: np.ndarray, translations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 55, 3, 3) local rotations, (N, 3) metres -> (N, 55, 3, 3) rotations and (N, 55, 3) positions in the world."""
    turned = np.empty_like(rotations)
    places = np.empty(rotations.shape[:2] + (3,))
    bones = person.rest_joints - person.rest_joints[np.maximum(rig.parents, 0)]
    turned[:, 0], places[:, 0] = rotations[:, 0], person.rest_joints[0] + translations
    for joint, parent in enumerate(rig.parents):
        if joint:
            turned[:, joint] = turned[:, parent] @ rotations[:, joint]
            places[:, joint] = places[:, parent] + turned[:, parent] @ bones[joint]
    return turned, places


def skin(
    rig: Rig, person: Person, rest: np.ndarray, motion: Motion, frame: int, weights: sparse.csr_array | None = None
) -> np.ndarray:
    """Linear blend skinning of one moment of a motion: (V, 3) zero-pose vertices -> (V, 3) metres in the world.

    `rest` is the person's own body or a clothed version of it; or anything else in zero pose with skinning `weights` of its own.
    """
    if rig.posedirs is not None and weights is None:
        feature = (motion.rotations[frame, 1:] - np.eye(3)).reshape(-1).astype(np.float32)
        rest = rest + (feature @ rig.posedirs).reshape(-1, 3)
    blended = (rig.weights if weights is None else weights) @ _moves(person, motion.turned[frame], motion.places[frame])
    return np.einsum("vab,vb->va", blended[:, :9].reshape(-1, 3, 3), rest) + blended[:, 9:]


def _moves(person: Person, turned: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(..., 55, 12): each joint's rotation and translation that take the zero pose to the posed body."""
    shifts = places - np.einsum("...jab,jb->...ja", turned, person.rest_joints)
    return np.concatenate([turned.reshape(*turned.shape[:-2], 9), shifts], -1)


def field_joints(rig: Rig, person: Person, motion: Motion) -> np.ndarray:
    """(N, J, 3) metres: the joints of FIELD_JOINTS on the naked body, at every moment of a motion."""
    joints = rig.key_joints @ motion.places
    rows = np.unique(rig.key_vertices.indices)
    if len(rows):
        rest = person.rest[rows]
        if rig.posedirs is not None:
            columns = (3 * rows[:, None] + np.arange(3)).ravel()
            features = (motion.rotations[:, 1:] - np.eye(3)).reshape(len(joints), -1)
            rest = rest + (features @ rig.posedirs[:, columns]).reshape(len(joints), -1, 3)
        blended = rig.weights[rows].toarray() @ _moves(person, motion.turned, motion.places)
        placed = (blended[..., :9].reshape(*blended.shape[:2], 3, 3) @ rest[..., None])[..., 0]
        joints += rig.key_vertices[:, rows].toarray() @ (placed + blended[..., 9:])
    return joints


# Capsules of the body for the test of self-penetration: name -> (joint, joint, along, along, radius in metres for a body
# 1.7 m tall). Ends are `along` the way from the first joint to the second.
_CAPSULES = {
    "trunk_left": ("left_hip", "left_collar", 0.0, 1.0, 0.095),
    "trunk_right": ("right_hip", "right_collar", 0.0, 1.0, 0.095),
    "trunk": ("pelvis", "neck", 0.0, 0.95, 0.115),
    "head": ("head", "head_top", 0.45, 0.75, 0.090),
    "left_upper_arm": ("left_shoulder", "left_elbow", 0.45, 1.0, 0.040),
    "right_upper_arm": ("right_shoulder", "right_elbow", 0.45, 1.0, 0.040),
    "left_forearm": ("left_elbow", "left_wrist", 0.0, 1.0, 0.033),
    "right_forearm": ("right_elbow", "right_wrist", 0.0, 1.0, 0.033),
    "left_hand": ("left_wrist", "left_middle1", 0.3, 1.3, 0.030),
    "right_hand": ("right_wrist", "right_middle1", 0.3, 1.3, 0.030),
    "left_thigh": ("left_hip", "left_knee", 0.35, 1.0, 0.068),
    "right_thigh": ("right_hip", "right_knee", 0.35, 1.0, 0.068),
    "left_lap": ("left_hip", "left_knee", 0.6, 1.0, 0.060),
    "right_lap": ("right_hip", "right_knee", 0.6, 1.0, 0.060),
    "left_shin": ("left_knee", "left_ankle", 0.1, 1.0, 0.048),
    "right_shin": ("right_knee", "right_ankle", 0.1, 1.0, 0.048),
    "left_sole": ("left_ankle", "left_foot", 0.0, 1.2, 0.040),
    "right_sole": ("right_ankle", "right_foot", 0.0, 1.2, 0.040),
}
_NAMES = tuple(_CAPSULES)


def _pairs() -> np.ndarray:
    """Pairs of capsules that must stay apart: those of different limbs, and limbs against trunk, head and each other."""
    trunk = ("trunk_left", "trunk_right", "trunk")
    pairs = []
    for i, first in enumerate(_NAMES):
        for second in _NAMES[i + 1 :]:
            side = first.split("_")[0] == second.split("_")[0] and first not in trunk
            arm = all(name.split("_", 1)[-1] in ("upper_arm", "forearm", "hand") for name in (first, second))
            leg = all(name.split("_", 1)[-1] in ("thigh", "lap", "shin", "sole") for name in (first, second))
            attached = first in trunk and second in (*trunk, "head", "left_thigh", "right_thigh")
            touching = all(name.endswith(("_thigh", "_lap")) for name in (first, second))
            if not (side and (arm or leg)) and not attached and not touching:
                pairs.append((i, _NAMES.index(second)))
    return np.array(pairs)


_PAIRS = _pairs()


def penetration(person: Person, places: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """(N,) metres: how deep the two capsules of the body overlap that overlap most, at each moment of `chain`."""
    height = np.ptp(person.rest[:, 1])
    head_top = places[:, _JOINT["head"]] + turned[:, _JOINT["head"]] @ (0.125 * height * np.array([0, 1.0, 0.1]))
    get = {"head_top": head_top} | {name: places[:, k] for name, k in _JOINT.items()}
    starts, ends = (
        np.stack([get[a] + (get[b] - get[a]) * (lo, hi)[k] for a, b, lo, hi, _ in _CAPSULES.values()], 1)
        for k in (0, 1)
    )
    radii = np.array([c[-1] for c in _CAPSULES.values()]) * height / 1.7
    i, j = _PAIRS.T
    return (radii[i] + radii[j] - segment_distance(starts[:, i], ends[:, i], starts[:, j], ends[:, j])).max(1)


def segment_distance(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """(...,) least distance of the segments a-b and c-d, each (..., 3). Ericson, Real-Time Collision Detection, 5.1.9."""
    u, v, w = b - a, d - c, a - c
    uu, vv = np.maximum((u * u).sum(-1), 1e-12), np.maximum((v * v).sum(-1), 1e-12)
    uv, uw, vw = (u * v).sum(-1), (u * w).sum(-1), (v * w).sum(-1)
    s = np.clip((uv * vw - uw * vv) / np.maximum(uu * vv - uv * uv, 1e-12), 0, 1)
    t = (uv * s + vw) / vv
    clipped = np.clip(t, 0, 1)
    s = np.where(t == clipped, s, np.clip((clipped * uv - uw) / uu, 0, 1))
    return np.linalg.norm(w + s[..., None] * u - clipped[..., None] * v, axis=-1)
