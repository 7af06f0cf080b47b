"""Where the joints of each joint set lie on a body model.

Every joint is a weighted sum of the model's 55 joints and of some of its vertices, with weights that sum to one. Datasets do not agree
on where a hip is, so a joint set's joints are not simply those of the model with the same name.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from pipeline.body.model import BodyModel
from pipeline.body.vertex_ids import VERTEX_IDS
from pipeline.errors import InputError
from pipeline.skeletons import HUMAN36M, JOINT_SETS, OPENPOSE_FACE, SMPLX_55, JointSet

# Joints that lie on one vertex of smplx's table (the same vertices as SMPLify-X takes).
LANDMARK_VERTICES = {
    "nose": "nose",
    "left_eye": "leye",
    "right_eye": "reye",
    "left_ear": "lear",
    "right_ear": "rear",
    "left_big_toe": "LBigToe",
    "left_small_toe": "LSmallToe",
    "left_heel": "LHeel",
    "right_big_toe": "RBigToe",
    "right_small_toe": "RSmallToe",
    "right_heel": "RHeel",
} | {
    f"{side}_{finger}_tip": side[0] + finger
    for side in ("left", "right")
    for finger in ("thumb", "index", "middle", "ring", "pinky")
}

# Human3.6M's joints as (weight, SMPL-X joint or feature) sums. Their skeleton (bone lengths in its metadata: hips 133 mm to each side,
# thigh 443, shank 454, pelvis to spine 233, to neck 257, to head 121, to its top 115, neck to shoulder 151) differs from a body
# model's: hips above and outside the thigh bones' heads, shoulders inside the arm's. These sums give its proportions on the free
# body and nearly so on SMPL-X. For published numbers use the field's usual regressor file instead (`with_joint_regressor`).
HUMAN36M_JOINTS = {
    "pelvis": ((0.3, "left_hip"), (0.3, "right_hip"), (0.4, "spine1")),
    "spine": ((0.5, "spine2"), (0.5, "spine3")),
    "neck": ((0.85, "neck"), (0.075, "left_shoulder"), (0.075, "right_shoulder")),
    "nose": ((0.65, "head"), (0.35, "nose")),
    "head_top": ((1.0, "crown"),),
    "left_shoulder": ((0.85, "left_shoulder"), (0.15, "neck")),
    "right_shoulder": ((0.85, "right_shoulder"), (0.15, "neck")),
}
# Joints that annotators of images name and a body model does not.
IMAGE_LANDMARKS = {
    "head_top": HUMAN36M_JOINTS["head_top"],
    "upper_neck": ((0.5, "neck"), (0.5, "head")),
    "spine": HUMAN36M_JOINTS["spine"],
}
Array = TypeVar("Array", np.ndarray, torch.Tensor)
# Annotators of MSCOCO, and detectors that learnt from them (OpenPose's and AlphaPose's bodies too), put knees where thigh and
# shank are of one length, wrists at the end of a forearm of this share of the leg, hip to ankle, and shoulders so high, a
# share of stature: on the shoulder's bone and not in its joint. Drillis and Contini's proportions (1966: knee at 0.285 of
# stature, hip at 0.530, ankle at 0.039, shoulder at 0.818, forearm 0.146) and MoveNet on a walker filmed from the side agree
# on all three to 3 % (docs/log.md).
ANNOTATED = ("coco_17", "openpose_25", "image_joints")
FOREARM_OF_LEG = 0.30
SHOULDER_OF_STATURE = 0.818
HUMAN36M_HIP_WIDTH = 2 * 0.133 / 1.70  # distance between its hips over stature


@dataclass(frozen=True)
class KeypointMap:
    """A joint set on a body: `keypoints = joint_weights @ joints + vertex_weights @ vertices[vertex_ids]`.

    joint_weights: (J, 55). vertex_ids: (M,) int64 vertices. vertex_weights: (J, M). Each row of the two sums to one where
    defined: (J,) bool, and is zero elsewhere.
    """

    joint_set: JointSet
    joint_weights: np.ndarray
    vertex_ids: np.ndarray
    vertex_weights: np.ndarray
    defined: np.ndarray

    def __call__(self, joints: Array, vertices: Array) -> Array:
        """(..., J, 3) metres from joints (..., 55, 3) and vertices (..., V, 3); numpy in, numpy out, torch in, torch out."""
        if isinstance(joints, torch.Tensor):
            by_joint, by_vertex, ids = self._tensors
            return by_joint.to(joints) @ joints + by_vertex.to(joints) @ vertices[..., ids.to(joints.device), :]
        return self.joint_weights @ joints + self.vertex_weights @ vertices[..., self.vertex_ids, :]

    @cached_property
    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return (
            torch.from_numpy(self.joint_weights),
            torch.from_numpy(self.vertex_weights),
            torch.from_numpy(self.vertex_ids),
        )


def keypoint_map(body: BodyModel, joint_set: str | JointSet, as_annotated: bool = True) -> KeypointMap:
    """Where each joint of a set lies on this body. joint_set: a set of `skeletons.JOINT_SETS` or its name. as_annotated: knees,
    wrists and shoulders of MSCOCO and OpenPose lie where annotators put them, not at the body's own joints."""
    if isinstance(joint_set, str):
        if joint_set not in JOINT_SETS:
            raise InputError(f"Unknown joint set '{joint_set}'; choose one of {', '.join(JOINT_SETS)}.")
        joint_set = JOINT_SETS[joint_set]
    if joint_set is HUMAN36M and body.joint_regressor is not None:
        return regressor_map(body.joint_regressor)
    if joint_set is OPENPOSE_FACE:
        return face_map(body)
    rows = [joint_row(body, joint_set, name) for name in joint_set.names]
    if joint_set.name in ANNOTATED and as_annotated:
        moved = annotated_rows(body)
        rows = [moved.get(name, row) for name, row in zip(joint_set.names, rows, strict=True)]
    return compose(joint_set, rows)


def compose(joint_set: JointSet, rows: list[dict[str | int, float]]) -> KeypointMap:
    """rows: for each joint of the set, weights by SMPL-X joint name (str) or vertex (int); empty where the body has no such joint."""
    ids = sorted({key for row in rows for key in row if isinstance(key, int)})
    column = {vertex: m for m, vertex in enumerate(ids)}
    by_joint = np.zeros((len(rows), len(SMPLX_55)), np.float32)
    by_vertex = np.zeros((len(rows), len(ids)), np.float32)
    for j, row in enumerate(rows):
        for key, weight in row.items():
            if isinstance(key, int):
                by_vertex[j, column[key]] += weight
            else:
                by_joint[j, SMPLX_55.index(key)] += weight
    defined = np.array([bool(row) for row in rows])
    return KeypointMap(joint_set, by_joint, np.array(ids, np.int64), by_vertex, defined)


def joint_row(body: BodyModel, joint_set: JointSet, name: str) -> dict[str | int, float]:
    """Weights of one joint of a set."""
    if joint_set is HUMAN36M and name in HUMAN36M_JOINTS | {"left_hip": (), "right_hip": ()}:
        return human36m_row(body, name)
    if name in IMAGE_LANDMARKS and name not in SMPLX_55.names:
        return {crown_vertex(body) if key == "crown" else key: weight for weight, key in IMAGE_LANDMARKS[name]}
    if name in ("left_hand", "right_hand"):
        return {f"{name.removesuffix('hand')}middle1": 1.0}  # SMPL ends there
    # In SMPL-X, left_eye is an eyeball's joint; in image sets it is a point of the face.
    if name in LANDMARK_VERTICES and joint_set is not SMPLX_55:
        return {VERTEX_IDS[LANDMARK_VERTICES[name]]: 1.0}
    return {name: 1.0} if name in SMPLX_55.names else {}


def annotated_rows(body: BodyModel) -> dict[str, dict[str | int, float]]:
    """Weights of knees, wrists and shoulders as annotators have them: on the shank, on the forearm's line, and along the spine above
    the joint."""
    rows: dict[str, dict[str | int, float]] = {}
    height = body.v_template[:, 1]
    target = float(height.min() + SHOULDER_OF_STATURE * (height.max() - height.min()))
    low, high = (float(body.joint_template[SMPLX_55.index(name), 1]) for name in ("spine2", "neck"))
    for side in ("left", "right"):
        hip, knee, ankle, elbow, wrist = (
            body.joint_template[SMPLX_55.index(f"{side}_{joint}")].numpy()
            for joint in ("hip", "knee", "ankle", "elbow", "wrist")
        )
        thigh, shank, forearm = (float(np.linalg.norm(a - b)) for a, b in ((hip, knee), (knee, ankle), (elbow, wrist)))
        along = (shank - thigh) / (2 * shank)
        rows[f"{side}_knee"] = {f"{side}_knee": 1 - along, f"{side}_ankle": along}
        beyond = FOREARM_OF_LEG * (thigh + shank) / forearm - 1
        rows[f"{side}_wrist"] = {f"{side}_wrist": 1 + beyond, f"{side}_elbow": -beyond}
        above = (target - float(body.joint_template[SMPLX_55.index(f"{side}_shoulder"), 1])) / (high - low)
        rows[f"{side}_shoulder"] = {f"{side}_shoulder": 1.0, "neck": above, "spine2": -above}
    both = [rows[f"{side}_shoulder"] for side in ("left", "right")]  # OpenPose's neck is their middle
    rows["neck"] = {key: sum(row.get(key, 0.0) for row in both) / 2 for row in both for key in row}
    return rows


def human36m_row(body: BodyModel, name: str) -> dict[str | int, float]:
    """Weights of a Human3.6M joint. Its hips lie beside its pelvis, along the line of the model's hips, at its own width."""
    if name in ("left_hip", "right_hip"):
        left, right = (body.joint_template[SMPLX_55.index(f"{side}_hip")] for side in ("left", "right"))
        y = body.v_template[:, 1]
        spread = 0.5 * HUMAN36M_HIP_WIDTH * float(y.max() - y.min()) / float((left - right).norm())
        other = "right_hip" if name == "left_hip" else "left_hip"
        row = human36m_row(body, "pelvis")
        return row | {name: row[name] + spread, other: row[other] - spread}
    vertices = {"crown": crown_vertex(body), "nose": VERTEX_IDS["nose"]}
    return {vertices.get(key, key): weight for weight, key in HUMAN36M_JOINTS[name]}


def crown_vertex(body: BodyModel) -> int:
    """The topmost vertex of the template: the crown of the head."""
    return int(body.v_template[:, 1].argmax())


def face_map(body: BodyModel) -> KeypointMap:
    """The 51 face landmarks, by the model's own faces and barycentric coordinates."""
    corners = body.faces[body.landmark_faces]
    rows = []
    for triangle, bary in zip(corners, body.landmark_weights, strict=True):
        row: dict[str | int, float] = {}
        for vertex, weight in zip(triangle, bary, strict=True):
            row[int(vertex)] = row.get(int(vertex), 0.0) + float(weight)
        rows.append(row)
    return compose(OPENPOSE_FACE, rows)


def regressor_map(regressor: np.ndarray) -> KeypointMap:
    """Human3.6M's joints by a regressor (17, V) over the vertices."""
    ids = np.flatnonzero(np.abs(regressor).max(0) > 0)
    zeros = np.zeros((len(HUMAN36M), len(SMPLX_55)), np.float32)
    return KeypointMap(HUMAN36M, zeros, ids, regressor[:, ids].astype(np.float32), np.ones(len(HUMAN36M), bool))


def with_joint_regressor(body: BodyModel, path: Path | None) -> BodyModel:
    """The body with a user's regressor of Human3.6M's joints: one row a joint over all vertices, rows summing to one, as .npy or
    an .npz with `J_regressor`. None leaves the body as it is."""
    if path is None:
        return body
    regressor = read_regressor(path)
    wanted = (len(HUMAN36M), body.n_vertices)
    if regressor.shape != wanted:
        raise InputError(
            f"The joint regressor {path} has shape {regressor.shape}, but {HUMAN36M.name} on this body ({body.name}) needs {wanted}. "
            "A regressor made for SMPL (6890 vertices) does not fit SMPL-X (10475), nor either the free body."
        )
    sums = regressor.sum(1)
    if not np.isfinite(regressor).all() or np.abs(sums - 1).max() > 0.05:
        raise InputError(
            f"The rows of the joint regressor {path} sum to {sums.min():.3f} .. {sums.max():.3f}; each must sum to one."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(body, joint_regressor=regressor / sums[:, None], joint_regressor_sha256=digest)


def read_regressor(path: Path) -> np.ndarray:
    """(J, V) float64 from an .npy, or from `J_regressor` of an .npz. Nothing is unpickled."""
    try:
        regressor = np.load(path, allow_pickle=False)
        if isinstance(regressor, np.lib.npyio.NpzFile):
            with regressor as archive:
                regressor = archive["J_regressor"]
    except FileNotFoundError:
        raise InputError(f"There is no joint regressor at {path}; name the file, or leave the option out.") from None
    except Exception as error:  # as for a body's file
        raise InputError(
            f"The joint regressor {path} cannot be read as a plain .npy array, or an .npz with J_regressor ({error})."
        ) from error
    if regressor.dtype.kind not in "fiu" or regressor.ndim != 2:
        raise InputError(
            f"The joint regressor {path} is {regressor.dtype} {regressor.shape}; it must be a (joints, vertices) array of numbers."
        )
    return regressor.astype(np.float64)
