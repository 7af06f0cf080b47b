"""The shipped body: anatomy, joints, skinning, and that plain smplx takes it."""

import hashlib
import json

import igl
import numpy as np
import pytest
import smplx
import torch
import trimesh

from pipeline.body.capture import capture_shapes
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import FREE_BODY
from pipeline.body.vertex_ids import VERTEX_IDS
from pipeline.skeletons import OPENPOSE_FACE, SMPLX_55

IDS = VERTEX_IDS


def posed(body, **rotations):
    """Vertices (V, 3), joints (55, 3) with some joints turned: degrees about x, y, z."""
    pose = torch.zeros(1, 21, 3)
    parameters = {}
    for name, degrees in rotations.items():
        rotvec = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
        if name == "jaw":
            parameters["jaw_pose"] = rotvec[None]
        else:
            pose[0, SMPLX_55.index(name) - 1] = rotvec
    vertices, joints = body.pose({"body_pose": pose.view(1, 63), **parameters})
    return vertices[0].numpy(), joints[0].numpy()


@pytest.fixture(scope="module")
def rest(body):
    return body.v_template.numpy(), body.joint_template.numpy()


def joint(rest, name):
    return rest[1][SMPLX_55.index(name)]


def test_plain_smplx_loads_it_from_a_model_folder(tmp_path):
    folder = tmp_path / "smplx"
    folder.mkdir()
    (folder / FREE_BODY.name).symlink_to(FREE_BODY)
    model = smplx.create(str(tmp_path), model_type="smplx", use_face_contour=True)
    out = model()
    assert model.num_betas == 10 and model.num_expression_coeffs == 10
    assert out.joints.shape == (1, 55 + len(IDS) + 51 + 17, 3)
    assert torch.isfinite(out.vertices).all()


def test_shipped_files_are_those_of_the_provenance():
    provenance = json.loads((FREE_BODY.parent / "provenance.json").read_text())
    for name, sha256 in provenance["sha256"].items():
        assert hashlib.sha256((FREE_BODY.parent / name).read_bytes()).hexdigest() == sha256, name
    measured = provenance["measured"]
    assert measured["held_out_bodies"] >= 100
    assert measured["regressor_mean_mm"] < 2 and measured["regressor_max_mm"] < 8


def test_surface_is_closed_and_of_human_size(body, rest):
    mesh = trimesh.Trimesh(rest[0], body.faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert 0.04 < mesh.volume < 0.09  # cubic metres; positive: faces look outwards
    assert 1.6 < np.ptp(rest[0][:, 1]) < 1.8
    assert len(np.unique(body.faces)) == body.n_vertices


def test_weights_and_regressor_are_partitions_of_one(body):
    torch.testing.assert_close(body.weights.sum(1), torch.ones(body.n_vertices), atol=1e-6, rtol=0)
    torch.testing.assert_close(body.J_regressor.sum(1), torch.ones(55), atol=1e-5, rtol=0)
    assert body.weights.min() >= 0


def test_joints_lie_inside_the_body(body, rest):
    inside = igl.winding_number(rest[0].astype(np.float64), body.faces, rest[1].astype(np.float64))
    assert (np.asarray(inside).ravel() > 0.5).all()


def test_regressor_finds_the_joints_of_people_it_has_not_seen(body):
    """These people are stored on a few directions only, so this errs more than the provenance's measurement."""
    shapes = capture_shapes()
    with np.load(FREE_BODY.with_name("capture_shapes.npz")) as archive:
        true = archive["joints"]
    picked = range(0, len(shapes), 8)
    found = np.stack([shapes.body(body, i).joint_template.numpy() for i in picked])
    error = np.linalg.norm(found - true[::8], axis=-1)
    assert error.mean() < 0.002 and np.percentile(error, 99) < 0.008


def test_shape_is_symmetric(rest):
    for name in SMPLX_55.names:
        if name.startswith("left_"):
            mirrored = joint(rest, "right_" + name[5:]) * [-1, 1, 1]
            assert np.linalg.norm(joint(rest, name) - mirrored) < 0.004, name


def test_vertex_ids_of_smplx_fall_on_their_features(rest):
    at = {name: rest[0][i] for name, i in IDS.items()}
    head = rest[0][rest[0][:, 1] > joint(rest, "jaw")[1]]
    assert at["nose"][2] > head[:, 2].max() - 0.002 and abs(at["nose"][0]) < 0.003
    for side, sign in (("l", 1), ("r", -1)):
        word = {"l": "left", "r": "right"}[side]
        eye = joint(rest, f"{word}_eye")
        assert np.linalg.norm(at[f"{side}eye"] - eye) < 0.02 and at[f"{side}eye"][2] > eye[2] + 0.01
        assert 0.06 < sign * at[f"{side}ear"][0] < 0.1 and abs(at[f"{side}ear"][1] - eye[1]) < 0.05
        for finger in ("thumb", "index", "middle", "ring", "pinky"):
            beyond = joint(rest, f"{word}_{finger}3") - joint(rest, f"{word}_{finger}2")
            tip = at[side + finger] - joint(rest, f"{word}_{finger}3")
            assert 0.01 < np.linalg.norm(tip) < 0.04 and tip @ beyond > 0
        big, small, heel = (at[f"{side.upper()}{part}"] for part in ("BigToe", "SmallToe", "Heel"))
        assert sign * small[0] > sign * big[0] + 0.04
        assert 0.2 < big[2] - heel[2] < 0.3 and max(big[1], small[1], heel[1]) < rest[0][:, 1].min() + 0.05


def test_landmarks_lie_on_the_face_in_their_order(body, rest):
    points = keypoint_map(body, OPENPOSE_FACE)(rest[1], rest[0])
    at = dict(zip(OPENPOSE_FACE.names, points, strict=True))
    assert points[:, 2].min() > joint(rest, "left_eye")[2] - 0.02
    np.testing.assert_allclose(points[OPENPOSE_FACE.flip] * [-1, 1, 1], points, atol=0.004)
    heights = [
        at[name][1]
        for name in (
            "left_brow3",
            "left_eye_top_inner",
            "left_eye_bottom_inner",
            "nose_ridge3",
            "nose_base",
            "lip_top",
            "inner_lip_top",
            "inner_lip_bottom",
            "lip_bottom",
        )
    ]
    assert all(np.diff(heights) < 0)
    assert at["nose_ridge4"][2] == max(p[2] for p in points)
    eye = joint(rest, "left_eye")
    assert at["left_eye_inner"][0] < eye[0] < at["left_eye_outer"][0]
    assert np.linalg.norm(points - rest[0][IDS["nose"]], axis=1).min() < 0.008


def test_jaw_opens_and_moves_nothing_above_the_mouth(body, rest):
    landmarks = keypoint_map(body, OPENPOSE_FACE)
    vertices, joints = posed(body, jaw=(20, 0, 0))
    before = dict(zip(OPENPOSE_FACE.names, landmarks(rest[1], rest[0]), strict=True))
    after = dict(zip(OPENPOSE_FACE.names, landmarks(joints, vertices), strict=True))
    assert after["inner_lip_top"][1] - after["inner_lip_bottom"][1] > 0.02
    assert before["lip_bottom"][1] - after["lip_bottom"][1] > 0.02
    for name in ("left_eye_inner", "nose_ridge1", "left_brow3"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-4)


@pytest.mark.parametrize(
    "at, pose, least",
    [
        ("left_elbow", {"left_elbow": (0, -120, 0)}, 0.6),
        ("left_knee", {"left_knee": (120, 0, 0)}, 0.6),
        ("left_shoulder", {"left_shoulder": (0, 0, -80)}, 0.6),
        ("left_hip", {"left_hip": (-100, 0, 0)}, 0.6),
    ],
)
def test_bent_joints_keep_their_flesh(body, rest, at, pose, least):
    """Around a joint, skin stays away from it (no pinched hose), and the body keeps its volume."""
    vertices, joints = posed(body, **pose)
    before = np.linalg.norm(rest[0] - joint(rest, at), axis=1)
    after = np.linalg.norm(vertices - joints[SMPLX_55.index(at)], axis=1)
    weights = body.weights.numpy()
    near = (before < np.sort(before)[60]) & (weights[:, SMPLX_55.index(at)] > 0.05)
    assert near.sum() > 20
    assert np.percentile(after[near] / before[near], 10) > least
    volume = [trimesh.Trimesh(v, body.faces, process=False).volume for v in (rest[0], vertices)]
    assert 0.97 < volume[1] / volume[0] < 1.05


def test_expressions_move_the_face_and_no_joint(body):
    _, joints = body.pose({"expression": 2 * torch.eye(10)})
    torch.testing.assert_close(joints, body.joint_template.expand(10, -1, -1), atol=1e-4, rtol=0)
    moved = body.exprdirs.norm(dim=1) > 1e-4
    assert (moved.sum(0) > 50).all()
    assert (body.weights[moved.any(1)][:, [SMPLX_55.index(j) for j in ("head", "jaw", "neck")]].sum(1) > 0.3).all()


def test_first_beta_is_stature(body):
    tall, _ = body.pose({"betas": torch.tensor([[-1.0] + 9 * [0.0], [1.0] + 9 * [0.0]])})
    stature = tall[..., 1].amax(1) - tall[..., 1].amin(1)
    assert 0.15 < stature[1] - stature[0] < 0.35


def test_capture_bodies_are_closed_people_beyond_ten_betas(body):
    shapes = capture_shapes()
    assert 0.7 < shapes.betas.std() < 1.3
    beyond = np.linalg.norm(shapes.directions @ shapes.coefficients[5], axis=1)
    assert 0.001 < beyond.mean() < 0.01
    person = shapes.body(body, 5)
    vertices, joints = person.pose({"transl": torch.zeros(1, 3)})
    expected, _ = body.pose({"betas": torch.from_numpy(shapes.betas[5:6])})
    np.testing.assert_allclose((vertices - expected)[0].norm(dim=1).numpy(), beyond, atol=1e-5)
    assert person.sha256 != body.sha256
    assert trimesh.Trimesh(vertices[0].numpy(), body.faces, process=False).volume > 0.03
