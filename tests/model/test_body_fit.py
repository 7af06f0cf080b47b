import numpy as np
import pytest
import torch

from model.body_fit import BodyDecoder, BodyFitSettings
from model.evaluate import fitted
from model.scoring.evaluation import Predictions
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.skeletons import FIELD_JOINTS


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def people(body):
    """(12, J, 3) joints of posed bodies about their roots, and the roots (12, 3), metres."""
    rng = np.random.default_rng(0)
    pose = np.zeros((12, 21, 3), np.float32)
    pose[:, [0, 1, 3, 4, 15, 16, 17, 18]] = rng.normal(0, 0.3, (12, 8, 3))
    parameters = {
        "betas": rng.normal(0, 1, (12, 10)),
        "global_orient": np.tile([np.pi, 0, 0], (12, 1)),
        "body_pose": pose.reshape(12, -1),
    }
    vertices, joints = body.pose({name: torch.as_tensor(value) for name, value in parameters.items()})
    points = keypoint_map(body, FIELD_JOINTS)(joints.numpy(), vertices.numpy())
    root = points[:, FIELD_JOINTS.root_index]
    return points - root[:, None], rng.uniform(-0.3, 0.3, (12, 3)) + [0, 0, 4]


def mean_error(joints, truth):
    return float(np.linalg.norm(joints - truth, axis=-1).mean())


def test_a_body_s_own_joints_are_found_again(body, people):
    joints, root = people
    found = BodyDecoder(body, FIELD_JOINTS, BodyFitSettings(along=0.005, across=0.002))(joints, root)
    assert mean_error(found.joints, joints) < 0.005
    assert len(found.parameters) == 12 and np.abs(found.root - root).max() < 0.1


def test_a_body_takes_away_part_of_the_noise(body, people):
    joints, root = people
    noisy = joints + np.random.default_rng(1).normal(0, [0.02, 0.02, 0.1], joints.shape)
    noisy -= noisy[:, FIELD_JOINTS.root_index, None]
    found = BodyDecoder(body, FIELD_JOINTS)(noisy, root)
    assert mean_error(found.joints, joints) < 0.9 * mean_error(noisy, joints)


def test_a_body_does_not_depend_on_those_beside_it(body, people):
    joints, root = people
    decoder = BodyDecoder(body, FIELD_JOINTS)
    together, alone = decoder(joints, root), decoder(joints[3:4], root[3:4])
    assert np.abs(together.joints[3] - alone.joints[0]).max() < 1e-5


def test_what_is_not_finite_is_refused_and_left_as_it_is_in_an_evaluation(body, people):
    joints, root = (part.copy() for part in people)
    joints[2, 5] = np.nan
    with pytest.raises(ValueError, match="not a finite number"):
        BodyDecoder(body, FIELD_JOINTS)(joints, root)
    none = np.full(12, np.nan)
    predicted = Predictions(
        np.arange(12), joints, root, none, none, none, np.ones((12, 17)), None, None, None, seconds=1.0
    )
    found = fitted(predicted, FIELD_JOINTS)
    assert np.isnan(found.joints[2, 5]).all() and np.isfinite(np.delete(found.joints, 2, 0)).all()
    assert np.abs(found.joints[0] - joints[0]).max() > 0
