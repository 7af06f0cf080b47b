"""Poses under other cameras are the same poses; lifting learns depth from them alone."""

import pytest
import torch

from model.lift import LiftConfig, Lifter, camera_turns, under_other_cameras
from model.nvf import build_network
from model.targets import make_targets, to_canonical
from pipeline.skeletons import FIELD_JOINTS
from tests.model.field_scenes import make_batch, small_config, statistics

BATCH = make_batch(4, 16)
EXACT = LiftConfig(copies=3, noise=0.0)


def shown(config: LiftConfig, seed: int = 0):
    targets = make_targets(BATCH, 64)
    return under_other_cameras(BATCH.joints, targets, 0, 0.1, config, torch.Generator().manual_seed(seed)), targets


def test_turns_are_rotations_about_the_whole_circle():
    R = camera_turns(500, LiftConfig(), torch.Generator().manual_seed(0), torch.device("cpu"))
    torch.testing.assert_close(R @ R.transpose(1, 2), torch.eye(3).expand(500, -1, -1), atol=1e-5, rtol=0)
    assert torch.linalg.det(R).min() > 0.99
    facing = torch.atan2(R[:, 0, 2], R[:, 2, 2])
    assert torch.histc(facing, 8, -torch.pi, torch.pi).min() > 30
    assert R[:, 1, 1].min() > 0.7  # upright stays upright


def test_a_pose_under_another_camera_keeps_its_bones_but_for_scale():
    poses, targets = shown(EXACT)
    q = torch.cat([poses.xy, poses.z[..., None]], -1)
    X = to_canonical(q, poses.depth)
    parents, children = (list(side) for side in zip(*FIELD_JOINTS.bones, strict=True))
    lengths = (X[:, children] - X[:, parents]).norm(dim=-1)
    true = (BATCH.joints[:, children] - BATCH.joints[:, parents]).norm(dim=-1).repeat(3, 1)
    ratio = lengths / true
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-4, rtol=1e-4)
    assert (ratio[:, :1] - targets.scale).abs().min(1).values.max() < 1e-4  # the scale of a view of the batch
    torch.testing.assert_close(poses.z[:, 0], torch.zeros(12), atol=1e-6, rtol=0)


def test_noise_moves_the_image_and_says_how_much():
    exact, noisy = shown(EXACT)[0], shown(LiftConfig(copies=3, noise=0.05))[0]
    torch.testing.assert_close(exact.z, noisy.z)
    moved = (noisy.xy - exact.xy).norm(dim=-1)
    assert 0.03 < moved.median() < 0.12
    torch.testing.assert_close(exact.blur, torch.full_like(exact.blur, 0.1))
    wide = noisy.blur > noisy.blur.median()
    assert moved[wide].mean() > 1.5 * moved[~wide].mean()


def test_joints_that_are_not_known_are_not_lifted_from():
    targets = make_targets(BATCH, 64)
    valid = targets.joints_valid.clone()
    valid[1, 5] = False
    targets = type(targets)(**{**vars(targets), "joints_valid": valid})
    poses = under_other_cameras(BATCH.joints, targets, 0, 0.1, EXACT, None)
    assert (~poses.valid).nonzero().tolist() == [[1, 5], [5, 5], [9, 5]]


def test_lifting_is_learnt_without_pictures():
    """Foreshortening tells depth where perspective and bones do: on the poses' own cameras, never shown, error falls well below
    that of the mean depth."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    batch = make_batch(64, 16)
    targets, other = make_targets(batch, 64), make_targets(make_batch(64, 16, seed=1), 64)
    generator, config = torch.Generator().manual_seed(0), LiftConfig(hidden=64, copies=4, noise=0.005)
    lifter = Lifter(config, 17)
    optimizer = torch.optim.Adam(lifter.parameters(), 3e-3)
    for _ in range(300):
        poses = under_other_cameras(batch.joints, targets, 0, 0.1, config, generator)
        loss = (lifter(poses.xy, poses.blur, poses.depth) - poses.z).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        poses = under_other_cameras(batch.joints, other, 0, 0.1, config, generator)
        error = (lifter(poses.xy, poses.blur, poses.depth) - poses.z).abs().mean()
    assert error < 0.5 * poses.z.abs().mean()


def test_the_image_learns_nothing_from_lifting_poses():
    """What is lifted from a view's own joints does not pull on the heatmaps."""
    torch.manual_seed(0)
    network = build_network(small_config("nvf"), statistics(make_batch(16, 10)))
    network.losses(BATCH, torch.Generator().manual_seed(0))["lift"].backward()
    pulled = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert pulled == {"lifter"}


def test_without_a_lifter_the_mean_depth_is_seen():
    batch = make_batch(16, 10)
    network = build_network(small_config("nvf", lifted=False), statistics(batch)).eval()
    depth = make_targets(batch, 64).depth
    seen = network.look(batch.image, depth).seen
    torch.testing.assert_close(seen[..., 2], network.mean_depths().expand(16, -1))


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"copies": 0}, {"noise": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="lift"):
        LiftConfig(**wrong)
