import hashlib
import pickle

import numpy as np
import pytest
import torch

from benchmarks.body_joints import differences, posed_joints
from pipeline.body.keypoints import keypoint_map, with_joint_regressor
from pipeline.errors import InputError
from pipeline.skeletons import COCO, HUMAN36M, IMAGE_JOINTS, JOINT_SETS, OPENPOSE_FACE
from tests.pipeline.oracle import smplx_layer


@pytest.fixture(scope="module")
def posed(body):
    generator = torch.Generator().manual_seed(2)
    return body.pose(
        {"body_pose": 0.3 * torch.randn(2, 63, generator=generator), "betas": torch.randn(2, 10, generator=generator)}
    )


@pytest.mark.parametrize("name", JOINT_SETS)
def test_every_set_is_an_affine_combination_of_the_body(body, posed, name):
    points = keypoint_map(body, name)
    assert points.defined.all()
    np.testing.assert_allclose(points.joint_weights.sum(1) + points.vertex_weights.sum(1), 1, atol=1e-5)
    vertices, joints = posed
    ours = points(joints, vertices)
    assert ours.shape == (2, len(JOINT_SETS[name]), 3)
    np.testing.assert_allclose(points(joints.numpy(), vertices.numpy()), ours, atol=1e-6)
    np.testing.assert_allclose(points(joints + 1, vertices + 1), ours + 1, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in JOINT_SETS if "hand_21" not in n])
def test_left_and_right_mirror_each_other(body, name):
    points = keypoint_map(body, name)(body.joint_template.numpy(), body.v_template.numpy())
    np.testing.assert_allclose(points[JOINT_SETS[name].flip] * [-1, 1, 1], points, atol=0.005)


def test_openpose_follows_smplx_joint_selector(body):
    """smplx's own layer appends its named vertices to the 55 joints: the indices that SMPLify-X takes for OpenPose."""
    with torch.no_grad():
        out = smplx_layer()(body_pose=torch.full((1, 63), 0.1))
    theirs, vertices = out.joints[0].numpy(), out.vertices[0].numpy()
    for name, indices in {
        "openpose_25": [55, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65],
        "openpose_left_hand_21": [20, 37, 38, 39, 66, 25, 26, 27, 67, 28, 29, 30, 68, 34, 35, 36, 69, 31, 32, 33, 70],
        "openpose_right_hand_21": [21, 52, 53, 54, 71, 40, 41, 42, 72, 43, 44, 45, 73, 49, 50, 51, 74, 46, 47, 48, 75],
        "openpose_face_51": list(range(76, 127)),
    }.items():
        np.testing.assert_allclose(
            keypoint_map(body, name, as_annotated=False)(theirs[:55], vertices),
            theirs[indices],
            atol=1e-6,
            err_msg=name,
        )


def test_human36m_has_the_proportions_of_its_skeleton(body):
    """Bone lengths of Human3.6M's first subject (stature about 1.70 m), in millimetres."""
    vertices = body.v_template.numpy()
    points = keypoint_map(body, HUMAN36M)(body.joint_template.numpy(), vertices) * 1700 / np.ptp(vertices[:, 1])
    for bone, length in {
        ("pelvis", "left_hip"): 133,
        ("left_hip", "left_knee"): 443,
        ("left_knee", "left_ankle"): 454,
        ("pelvis", "spine"): 233,
        ("spine", "neck"): 257,
        ("neck", "nose"): 121,
        ("neck", "left_shoulder"): 151,
        ("left_shoulder", "left_elbow"): 279,
        ("left_elbow", "left_wrist"): 252,
    }.items():
        a, b = (points[HUMAN36M.index(name)] for name in bone)
        assert abs(np.linalg.norm(a - b) - length) < 30, bone
    np.testing.assert_allclose(
        (points[HUMAN36M.index("left_hip")] + points[HUMAN36M.index("right_hip")]) / 2, points[0], atol=1
    )


def test_the_systematic_difference_to_the_bodys_own_joints_is_as_documented(body):
    """docs/body.md has the table; here a few bodies of it."""
    table = differences(*posed_joints(body, 32))
    documented = {
        "pelvis": (52.8, 4.7),
        "left_hip": (69.3, 4.9),
        "neck": (13.0, 4.3),
        "left_shoulder": (28.2, 8.3),
        "left_knee": (0, 0),
    }
    for joint, (constant, rest) in documented.items():
        assert abs(table[joint]["constant"] - constant) < 3 and abs(table[joint]["rest_mean"] - rest) < 2, joint
    assert abs(table["mean"]["root_relative_mean"] - 45.7) < 3


def test_users_regressor_replaces_the_definition(body, posed, tmp_path):
    rng = np.random.default_rng(0)
    regressor = np.zeros((17, body.n_vertices))
    rows = rng.integers(0, body.n_vertices, (17, 4))
    np.put_along_axis(regressor, rows, 0.25, 1)
    regressor /= regressor.sum(1, keepdims=True)
    vertices, joints = (part.numpy() for part in posed)
    np.save(tmp_path / "r.npy", regressor)
    np.savez(tmp_path / "r.npz", J_regressor=regressor)
    for name in ("r.npy", "r.npz"):
        with_file = with_joint_regressor(body, tmp_path / name)
        np.testing.assert_allclose(
            keypoint_map(with_file, "human36m_17")(joints, vertices), regressor @ vertices, atol=1e-5
        )
        assert with_file.joint_regressor_sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert keypoint_map(with_file, "coco_17").joint_weights.any(), "other sets stay as they are"
    assert with_joint_regressor(body, None) is body


@pytest.mark.parametrize(
    "regressor, words",
    [
        (np.ones((17, 6890)) / 6890, r"\(17, 6890\).*needs \(17, 13492\)"),
        (np.zeros((17, 13492)), "sum to"),
        (np.full((17, 13492), np.nan), "sum to"),
        (np.array(["a"]), "array of numbers"),
        (np.array({"a": 1}, dtype=object), "plain .npy"),
    ],
)
def test_wrong_regressors(body, tmp_path, regressor, words):
    np.save(tmp_path / "r.npy", regressor)
    with pytest.raises(InputError, match=words):
        with_joint_regressor(body, tmp_path / "r.npy")


def test_a_regressor_that_is_missing_pickled_or_no_array_is_refused(body, tmp_path):
    (tmp_path / "r.pkl").write_bytes(pickle.dumps(np.ones((17, 13492))))
    np.savez(tmp_path / "other.npz", regressor=np.ones((17, 13492)))
    np.savez(tmp_path / "object.npz", J_regressor=np.array({"a": 1}, dtype=object))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:200])
    with pytest.raises(InputError, match="no joint regressor at"):
        with_joint_regressor(body, tmp_path / "none.npy")
    for name in ("r.pkl", "other.npz", "object.npz", "cut.npz", "."):
        with pytest.raises(InputError, match="cannot be read as a plain .npy array, or an .npz with J_regressor"):
            with_joint_regressor(body, tmp_path / name)


def test_unknown_joint_set_lists_the_known(body):
    with pytest.raises(InputError, match="human36m_17"):
        keypoint_map(body, "nonesuch")


def test_face_set_is_openposes_inner_face():
    names = OPENPOSE_FACE.names  # OpenPose's keypoint 17 + index
    assert len(names) == 51
    ends = [names[k] for k in (0, 13, 31, 50)]
    assert ends == ["right_brow1", "nose_ridge4", "right_mouth_corner", "right_inner_lip_bottom"]


@pytest.mark.parametrize("name", ["coco_17", "openpose_25", "image_joints"])
def test_joints_of_annotators_are_where_bodies_have_them(body, name):
    """Thigh and shank of one length, knees at 0.285 of stature and shoulders at 0.818 (Drillis and Contini 1966), OpenPose's neck
    between them; nothing else moves."""
    joints, vertices = body.joint_template.numpy(), body.v_template.numpy()
    now, before = (keypoint_map(body, name, as_annotated=new)(joints, vertices) for new in (True, False))
    names = JOINT_SETS[name].names
    at = {joint: now[k] for k, joint in enumerate(names)}
    for side in ("left", "right"):
        hip, knee, ankle, elbow, wrist = (at[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle", "elbow", "wrist"))
        thigh, shank, forearm = (np.linalg.norm(a - b) for a, b in ((hip, knee), (knee, ankle), (elbow, wrist)))
        assert thigh == pytest.approx(shank, rel=0.01) and forearm == pytest.approx(0.3 * (thigh + shank), rel=0.01)
        stature, floor = np.ptp(vertices[:, 1]), vertices[:, 1].min()
        assert (knee[1] - floor) / stature == pytest.approx(0.285, abs=0.01)
        assert (at[f"{side}_shoulder"][1] - floor) / stature == pytest.approx(0.818, abs=1e-3)
    if "neck" in at:
        assert np.allclose(at["neck"], (at["left_shoulder"] + at["right_shoulder"]) / 2, atol=1e-6)
    moved = [joint for k, joint in enumerate(names) if np.abs(now[k] - before[k]).max() > 1e-6]
    assert {joint.split("_")[-1] for joint in moved} == {"knee", "wrist", "shoulder"} | ({"neck"} & at.keys())


def test_a_detectors_joints_lie_alike_in_every_order_that_it_is_read_in(body):
    """AlphaPose's and BODY_25B's first 17 are MSCOCO's, as the same person has them."""
    joints, vertices = body.joint_template.numpy(), body.v_template.numpy()
    coco, more = (keypoint_map(body, found)(joints, vertices) for found in (COCO, IMAGE_JOINTS))
    np.testing.assert_allclose(more[IMAGE_JOINTS.indices(COCO.names)], coco, atol=1e-6)
