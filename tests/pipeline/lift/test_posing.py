"""Bodies in poses that are put together of others'."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.lift import posing
from pipeline.skeletons import COCO, FIELD_JOINTS, SMPLX_22

N = 40


@pytest.fixture(scope="module")
def shapes():
    body = load_body()
    rests = np.stack([body.v_template.numpy(), body.v_template.numpy() * [1.05, 0.95, 1.1]])
    return posing.hang(body, rests)


@pytest.fixture(scope="module")
def turns():
    """(N, 22, 3, 3), arms down and everything turned a little."""
    vectors = np.random.default_rng(0).normal(0, 0.15, (N, 22, 3))
    vectors[:, SMPLX_22.indices(("left_shoulder", "right_shoulder")), 2] += [-1.0, 1.0]
    R = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(N, 22, 3, 3)
    return torch.tensor(R, dtype=torch.float32)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_points_hang_where_the_whole_body_has_them(shapes, turns):
    body = load_body()
    vectors = Rotation.from_matrix(turns.reshape(-1, 3, 3).numpy()).as_rotvec().reshape(N, 22, 3)
    parameters = {
        "global_orient": torch.tensor(vectors[:, 0]).float(),
        "body_pose": torch.tensor(vectors[:, 1:].reshape(N, -1)).float(),
    }
    vertices, joints = body.pose(parameters)
    truth = torch.cat([keypoint_map(body, each)(joints, vertices) for each in (COCO, FIELD_JOINTS)], 1) - joints[:, :1]
    points, found = posing.pose(shapes, torch.zeros(N, dtype=torch.long), turns)
    assert (points - truth).abs().max() < 1e-4
    assert (found - (joints[:, :22] - joints[:, :1])).abs().max() < 1e-4


def test_varied_poses_are_turns_and_none_is_like_its_own(turns):
    who = torch.randint(N, (300,), generator=generator(1))
    varied = posing.vary(turns, who, generator())
    eye = varied @ varied.transpose(-1, -2)
    assert (eye - torch.eye(3)).abs().max() < 1e-4 and (torch.linalg.det(varied) > 0.99).all()
    assert not torch.isclose(varied, turns[who], atol=1e-3).flatten(1).all(1).any()
    assert torch.equal(varied, posing.vary(turns, who, generator()))


def test_hinges_do_not_bend_the_other_way(turns):
    """Limbs that are held anywhere bend as elbows and knees do, and those that are turned stay bent the way they were."""
    elbows, knees = posing._arm(500, generator())[:, 1], posing._leg(500, generator())[:, 1]
    assert (elbows[:, 1] <= 0).all() and (knees[:, 0] >= 0).all() and not elbows[:, [0, 2]].any()
    hinge = SMPLX_22.index("left_knee")
    bent = turns.clone()
    bent[:, hinge] = torch.tensor(Rotation.from_rotvec([0.8, 0, 0]).as_matrix(), dtype=torch.float32)
    posing._turn(bent, generator())
    found = Rotation.from_matrix(bent[:, hinge].double().numpy()).as_rotvec()
    assert (found[:, 0] > 0.1).all() and found[:, 0].std() > 0.1 and np.abs(found[:, 1:]).max() < 1e-4


def test_an_arm_through_the_trunk_is_seen_and_arms_beside_it_are_not(shapes):
    turns = torch.eye(3).repeat(3, 22, 1, 1)
    shoulder, elbow = SMPLX_22.index("left_shoulder"), SMPLX_22.index("left_elbow")
    down = Rotation.from_rotvec([0, 0, -1.1]).as_matrix()
    turns[1, shoulder] = torch.tensor(down, dtype=torch.float32)
    turns[2, shoulder] = torch.tensor(down, dtype=torch.float32)
    inwards = Rotation.from_rotvec([0, 0, -2.3]).as_matrix()
    turns[2, elbow] = torch.tensor(inwards, dtype=torch.float32)
    _, joints = posing.pose(shapes, torch.zeros(3, dtype=torch.long), turns)
    assert posing.overlaps(joints).tolist() == [False, False, True]
