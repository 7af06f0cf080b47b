"""The pieces of the builder that need no anny, and the command."""

import importlib.util

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli.body import command
from pipeline.body.build import on_grid, partition
from pipeline.body.build.anatomy import vertex_order
from pipeline.body.build.rest_pose import STRAIGHTENED, stretch_one
from pipeline.body.build.shapes import principal_shapes, weighted_sum
from pipeline.errors import InputError
from pipeline.skeletons import SMPLX_55

RNG = np.random.default_rng(1)


def test_stretched_arms_are_horizontal_and_skin_back_to_where_they_were(body):
    """Lowering the arms by linear blend skinning, with the rotations that stretched them undone, returns the first mesh."""
    pose = torch.zeros(1, 21, 3)
    pose[0, SMPLX_55.index("left_shoulder") - 1, 2] = -0.7
    pose[0, SMPLX_55.index("right_shoulder") - 1, 2] = 0.5
    vertices, joints = (part[0].double().numpy() for part in body.pose({"body_pose": pose.view(1, 63)}))
    weights = body.weights.numpy().astype(np.float64)
    stretched, stretched_joints = stretch_one(vertices, joints, weights)
    for name, (child, axis) in STRAIGHTENED.items():
        bone = stretched_joints[SMPLX_55.index(child)] - stretched_joints[SMPLX_55.index(name)]
        np.testing.assert_allclose(bone / np.linalg.norm(bone), axis, atol=1e-6)
    np.testing.assert_allclose(stretched, body.v_template.numpy(), atol=0.002)


def test_principal_shapes_recover_a_linear_model():
    directions = np.linalg.qr(RNG.normal(size=(60, 3)))[0] * [3, 2, 1]
    people = (RNG.normal(size=(500, 3)) @ directions.T).reshape(500, 20, 3) + 1
    space = principal_shapes(people, 3)
    assert space.explained == pytest.approx(1)
    coefficients = space.coefficients(people)
    np.testing.assert_allclose(coefficients.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(space.bodies(coefficients), people, atol=1e-6)


def test_weighted_sum_finds_the_weights_that_made_a_joint():
    vertices = RNG.normal(size=(200, 5, 3))
    weights = np.array([0.5, 0.2, 0.1, -0.1, 0.3])
    found = weighted_sum(vertices, np.einsum("k,nka->na", weights, vertices))
    np.testing.assert_allclose(found, weights, atol=1e-4)
    assert found.sum() == pytest.approx(1)


def test_partition_sums_to_exactly_one():
    weights = RNG.dirichlet(np.full(55, 0.1), 300)
    rounded = partition(weights)
    assert (rounded.sum(1, dtype=np.float64) == 1).all()
    np.testing.assert_allclose(rounded, weights, atol=55 * 2.0**-14)


def test_grid_keeps_values_to_half_a_step():
    values = RNG.normal(size=100)
    assert np.abs(on_grid(values, 17) - values).max() <= 2.0**-18 + 1e-7


def test_vertex_order_is_a_permutation_onto_smplx_ids():
    from pipeline.body.vertex_ids import VERTEX_IDS

    features = {name: i for i, name in enumerate(VERTEX_IDS)}
    order = vertex_order(features, 12000)
    assert (np.sort(order) == np.arange(12000)).all()
    assert all(order[place] == features[name] for name, place in VERTEX_IDS.items())
    assert (order != np.arange(12000)).sum() <= 2 * len(features)


def test_info_describes_the_free_body():
    out = CliRunner().invoke(command, ["info"], catch_exceptions=False)
    assert out.exit_code == 0
    assert "13492, 26972" in out.output and "watertight           yes, 3 closed parts" in out.output


def test_info_of_a_missing_file_is_the_users_mistake(tmp_path):
    out = CliRunner().invoke(command, ["info", str(tmp_path / "none.npz")])
    assert isinstance(out.exception, InputError)


@pytest.mark.skipif(importlib.util.find_spec("anny") is not None, reason="anny is installed")
def test_building_without_anny_says_how_to_get_it(tmp_path):
    out = CliRunner().invoke(command, ["build", str(tmp_path)])
    assert isinstance(out.exception, InputError) and "pip install" in str(out.exception)
