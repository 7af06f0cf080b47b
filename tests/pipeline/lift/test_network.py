import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial.transform import Rotation

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.lift.network import ASSET, POINTS, canonical, lift, load_lifter
from pipeline.skeletons import COCO, FIELD_JOINTS

MARKED, OURS = slice(0, len(COCO)), slice(len(COCO), POINTS)
PELVIS = np.array([0.1, -0.2, 4.0])


@pytest.fixture(scope="module")
def points():
    """(8, 34, 3) m, camera axes: people who stand upright, lean towards the camera or away from it, and lift a knee."""
    body = load_body()
    lean = np.radians([0, 35, -35, 0, 20, -20, 0, 0])
    pose = np.zeros((8, 21, 3))
    pose[:, [15, 16], 2] = [-1.1, 1.1]  # arms down
    pose[3, 0, 0], pose[3, 3, 0] = -1.2, 1.0
    upright = Rotation.from_euler("x", np.pi)
    headings = np.array([0, 0, 0, 0.6, 0.4, 2.8, 1.5, -2.2])
    turns = Rotation.from_euler("x", lean[:, None]) * upright * Rotation.from_euler("y", headings[:, None])
    parameters = {"global_orient": turns.as_rotvec(), "body_pose": pose.reshape(8, -1)}
    vertices, joints = body.pose(
        {name: torch.as_tensor(value, dtype=torch.float32) for name, value in parameters.items()}
    )
    found = [keypoint_map(body, name)(joints.numpy(), vertices.numpy()) for name in (COCO, FIELD_JOINTS)]
    found = np.concatenate(found, 1).astype(float)
    return found - found[:, [len(COCO) + FIELD_JOINTS.root_index]] + PELVIS


def rays_of(points):
    return points[..., :2] / points[..., 2:]


def told(points, names=MARKED, metres=0.01):
    deviation = np.full(points.shape[:2], np.inf)
    deviation[:, names] = metres / PELVIS[2]
    return deviation


def about_root(points):
    ours = points[:, len(COCO) :]
    return ours - ours[:, [FIELD_JOINTS.root_index]]


def error(joints, truth):
    return float(np.linalg.norm(joints - truth, axis=-1).mean())


@pytest.mark.parametrize("names", [MARKED, OURS])
def test_points_of_the_image_tell_where_joints_are(points, names):
    found = lift(load_lifter(), rays_of(points), told(points, names))
    truth = about_root(points)
    flat = truth * [1, 1, 0]  # who knew the image alone
    assert found.known.all() and error(found.joints, truth) < 0.09
    assert error(found.joints, truth) < 0.75 * error(flat, truth)


def test_a_trunk_that_leans_to_the_camera_or_away_is_seen_to(points):
    found = lift(load_lifter(), rays_of(points), told(points))
    neck = FIELD_JOINTS.index("neck")
    truth = about_root(points)[:, neck, 2]
    assert (np.sign(found.joints[1:3, neck, 2]) == np.sign(truth[1:3])).all() and abs(truth[1]) > 0.2


def test_what_is_less_sure_is_said_to_be(points):
    network = load_lifter()
    sharp, blurred = (lift(network, rays_of(points), told(points, metres=metres)) for metres in (0.01, 0.06))
    assert blurred.deviation[:, 1:].mean() > 1.15 * sharp.deviation[:, 1:].mean()
    assert 0.02 < sharp.deviation[:, 1:].mean() < 0.2


def test_the_answer_turns_with_the_camera_s_axes(points):
    network = load_lifter()
    turn = Rotation.from_euler("y", 0.3).as_matrix()
    seen = told(points)
    here, there = lift(network, rays_of(points), seen), lift(network, rays_of(points @ turn.T), seen)
    assert error(here.joints @ turn.T, there.joints) < 0.01


def test_what_was_not_seen_counts_for_nothing(points):
    network, rays, deviation = load_lifter(), rays_of(points), told(points)
    deviation[:, 3:6] = np.nan
    other = rays.copy()
    other[:, 3:6] = 7.0
    other[:, 20:] = np.nan
    assert np.array_equal(lift(network, rays, deviation).joints, lift(network, other, deviation).joints)


def test_too_few_points_are_no_body_and_nothing_is_ever_not_finite(points):
    rays, deviation = rays_of(points), told(points)
    deviation[0, 5:] = np.inf
    deviation[1] = np.inf
    rays[2] = 0.01  # all in one place
    deviation[3] = 1e-12
    found = lift(load_lifter(), rays, deviation)
    assert found.known.tolist() == [False, False] + [True] * 6
    assert np.isfinite(found.joints).all() and np.isfinite(found.deviation[2:, 1:]).all()
    assert not found.joints[:2].any() and np.isinf(found.deviation[:2]).all() and (found.deviation >= 0).all()
    assert not found.joints[:, 0].any() and np.isinf(found.deviation[:, 0]).all(), "nothing is said of the root"


def test_canonical_axes_look_at_the_person_without_roll():
    rays = torch.tensor([[[0.5, 0.1], [0.7, 0.5]]]).repeat(1, POINTS // 2, 1)
    _, turns = canonical(rays, torch.full((1, POINTS), 0.01))
    ahead = turns[0] @ torch.nn.functional.normalize(torch.tensor([0.6, 0.3, 1.0]), dim=0)
    assert torch.allclose(ahead, torch.tensor([0.0, 0, 1]), atol=1e-6)
    assert abs(float(turns[0, 0, 1])) < 1e-6 and torch.linalg.det(turns[0]) > 0.99


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_lifter(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(InputError, match="no safetensors file"):
        load_lifter(tmp_path / "text.safetensors")
    save_file({"first.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="other weights"):
        load_lifter(tmp_path / "other.safetensors")


def test_the_shipped_weights_are_those_of_their_record():
    import hashlib
    import json

    record = json.loads(ASSET.with_suffix(".provenance.json").read_text())
    assert hashlib.sha256(ASSET.read_bytes()).hexdigest() == record["sha256"]
    assert {"what", "made_from", "licence", "made_by", "commit"} <= set(record)
