"""Rotations and kinematics against smplx, autodiff and torchgeometry's conventions."""

import numpy as np
import pytest
import torch

from pipeline.body.keypoints import keypoint_map
from pipeline.fit import parts, rotations
from pipeline.fit.kinematics import BODY_JOINTS, COARSE_JOINTS, Chain, State
from pipeline.skeletons import OPENPOSE_FACE, OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND
from tests.pipeline.oracle import smplx_layer


def random_state(chain: Chain, rows: int, seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return State(rotations.exp(0.5 * normal(rows, len(chain.joints), 3)), normal(rows, chain.n_shape), normal(rows, 3))


def test_exp_and_log_are_inverse_also_at_180_degrees():
    axis = torch.nn.functional.normalize(
        torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=1
    )
    for angle in (0.0, 1e-9, 1e-4, 1.0, np.pi - 1e-7, np.pi):
        R = rotations.exp(angle * axis)
        assert torch.allclose(rotations.exp(rotations.log(R)), R, atol=1e-7)
        assert torch.allclose(rotations.log(R).norm(dim=1), torch.tensor(angle, dtype=torch.float64), atol=1e-7)


def test_log_of_an_upright_body_facing_any_way_is_180_degrees():
    yaw = torch.zeros(36, 3, dtype=torch.float64)
    yaw[:, 1] = torch.linspace(-3, 3, 36, dtype=torch.float64)
    R = torch.diag(torch.tensor([1.0, -1, -1], dtype=torch.float64)) @ rotations.exp(yaw)
    assert torch.allclose(rotations.log(R).norm(dim=1), torch.tensor(torch.pi, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("angle", [1e-5, 0.7, 2.5, np.pi - 1e-3, np.pi - 1e-6])
def test_left_jacobian_inverse_against_autodiff(angle):
    v = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)
    v = v / v.norm() * angle
    step = 1e-7 if angle > 3.14 else 1e-6
    numeric = torch.stack(
        [
            (rotations.log(rotations.exp(d) @ rotations.exp(v)) - rotations.log(rotations.exp(-d) @ rotations.exp(v)))
            / (2 * step)
            for d in step * torch.eye(3, dtype=torch.float64)
        ],
        1,
    )
    if angle > np.pi - 1e-5:  # a finite step crosses to the other side of 180 degrees: only finiteness can be asked for
        assert rotations.left_jacobian_inverse(v).isfinite().all()
    else:
        assert torch.allclose(rotations.left_jacobian_inverse(v), numeric, atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.5, np.pi])
def test_gradcheck_of_exp(angle):
    v = torch.tensor([[0.6, 0.0, 0.8]], dtype=torch.float64) * angle
    assert torch.autograd.gradcheck(rotations.exp, (v.requires_grad_(),), atol=1e-6)


def test_smallest_rotation():
    generator = torch.Generator().manual_seed(1)
    a, b = (
        torch.nn.functional.normalize(torch.randn(50, 3, generator=generator, dtype=torch.float64), dim=1)
        for _ in range(2)
    )
    for target in (b, a, -a):
        assert torch.allclose((rotations.smallest(a, target) @ a[..., None])[..., 0], target, atol=1e-9)


@pytest.mark.parametrize("joint_set", ["human36m_17", "openpose_25", "coco_17"])
def test_points_are_those_of_smplx(free_body, joint_set):
    chain = Chain(free_body, [keypoint_map(free_body, joint_set)], BODY_JOINTS, expression=False)
    state = random_state(chain, 3)
    full = {
        "betas": state.shape,
        "transl": state.transl,
        "global_orient": rotations.log(state.R[:, 0]),
        "body_pose": rotations.log(state.R[:, 1:]).flatten(1),
    }
    output = smplx_layer()(
        **{k: v.float() for k, v in full.items()},
        **{
            name: torch.zeros(3, size)
            for name, size in (
                ("expression", 10),
                ("jaw_pose", 3),
                ("leye_pose", 3),
                ("reye_pose", 3),
                ("left_hand_pose", 45),
                ("right_hand_pose", 45),
            )
        },
    )
    expected = keypoint_map(free_body, joint_set)(output.joints[:, :55], output.vertices)
    assert (chain.points(state) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    "joints,sets",
    [
        (BODY_JOINTS, ()),
        (COARSE_JOINTS, ()),
        (
            parts.fitted_joints((OPENPOSE_LEFT_HAND.name, OPENPOSE_RIGHT_HAND.name, OPENPOSE_FACE.name)),
            (OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND, OPENPOSE_FACE),
        ),
    ],
)
@pytest.mark.parametrize("free_shape", [True, False])
def test_analytic_jacobian_against_autodiff(free_body, joints, sets, free_shape):
    chain = Chain(
        free_body, [keypoint_map(free_body, s) for s in ("openpose_25", *sets)], joints, OPENPOSE_FACE in sets
    )
    state = random_state(chain, 1)
    state.R[0, 0] = torch.diag(torch.tensor([1.0, -1, -1], dtype=torch.float64))  # upright before a camera: 180 degrees
    posed = chain.pose(state)
    J = chain.jacobian(state, posed, chain.parts(state, posed), free_shape)
    zero = torch.zeros(1, J.shape[-1], dtype=torch.float64)
    twin = torch.func.jacfwd(lambda step: chain.points(chain.retract(state, posed, step))[0])(zero)[..., 0, :]
    assert torch.allclose(J[0], twin, atol=1e-10)


def test_pose_blendshapes_of_a_licensed_body(free_body):
    """A body with pose blendshapes: points as the body model poses them."""
    from dataclasses import replace

    generator = torch.Generator().manual_seed(0)
    posedirs = 1e-3 * torch.randn(486, 3 * free_body.n_vertices, generator=generator)
    body = replace(free_body, posedirs=posedirs)
    keypoints = keypoint_map(body, "openpose_25")
    chain = Chain(body, [keypoints], BODY_JOINTS, expression=False)
    state = random_state(chain, 2)
    vertices, joints = body.pose(
        {
            "betas": state.shape,
            "transl": state.transl,
            "global_orient": rotations.log(state.R[:, 0]),
            "body_pose": rotations.log(state.R[:, 1:]).flatten(1),
        }
    )
    assert (chain.points(state) - keypoints(joints, vertices)).abs().max() < 1e-5
