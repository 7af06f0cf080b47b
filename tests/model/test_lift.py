"""Poses under other cameras are the same poses; lifting learns depth from them alone."""

from dataclasses import replace

import pytest
import torch

from model.lift import LiftConfig, Lifter, bend, camera_turns, under_other_cameras
from model.nvf import Look, build_network
from model.targets import make_targets, to_canonical
from pipeline.skeletons import FIELD_JOINTS
from tests.model.field_scenes import make_batch, small_config, statistics

BATCH = make_batch(4, 16)
TARGETS = make_targets(BATCH, 64)
CONFIG = LiftConfig(copies=3)
UP = torch.tensor([0.0, -1.0, 0.0])


def shown(targets=TARGETS, error=0.0, seed=0):
    """The batch's poses, with heatmaps that are off by `error` in the second view and blurred by it."""
    off = torch.zeros(4, 17, 2)
    off[1] = error
    blur = torch.full((4, 17), 0.1)
    blur[1] = error
    generator = torch.Generator().manual_seed(seed)
    return under_other_cameras(BATCH.joints, targets.joints[..., :2] + off, blur, targets, UP, FIELD_JOINTS, CONFIG, generator)


def test_turns_are_rotations_about_the_whole_circle():
    R = camera_turns(500, UP, LiftConfig(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(R @ R.transpose(1, 2), torch.eye(3).expand(500, -1, -1), atol=1e-5, rtol=0)
    assert torch.linalg.det(R).min() > 0.99
    facing = torch.atan2(R[:, 0, 2], R[:, 2, 2])
    assert torch.histc(facing, 8, -torch.pi, torch.pi).min() > 30
    assert R[:, 1, 1].min() > 0.7  # upright stays upright


def test_whoever_leans_as_the_mean_person_does_goes_on_leaning_so():
    """A camera that looks down looks down from behind too."""
    lean = torch.nn.functional.normalize(torch.tensor([0.0, -1.0, -0.3]), dim=0)
    R = camera_turns(500, lean, LiftConfig(pitch_degrees=0.0, roll_degrees=0.0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(R @ lean, lean.expand(500, 3), atol=1e-5, rtol=0)


def test_the_first_camera_of_a_pose_is_its_own():
    poses = shown(error=0.2)
    torch.testing.assert_close(poses.joints[:4], TARGETS.joints, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(poses.xy[1], TARGETS.joints[1, :, :2] + 0.2, atol=1e-5, rtol=1e-5)


def test_a_pose_under_another_camera_keeps_its_bones_but_for_scale():
    poses = shown()
    X = to_canonical(poses.joints, poses.depth)
    parents, children = (list(side) for side in zip(*FIELD_JOINTS.bones, strict=True))
    lengths = (X[:, children] - X[:, parents]).norm(dim=-1)
    true = (BATCH.joints[:, children] - BATCH.joints[:, parents]).norm(dim=-1).repeat(3, 1)
    ratio = lengths / true
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-4, rtol=1e-4)
    assert (ratio[:, :1] - TARGETS.scale).abs().min(1).values.max() < 1e-4  # the scale of a view of the batch
    assert (poses.joints[4:] - TARGETS.joints.repeat(2, 1, 1)).abs().mean() > 0.1


def test_bent_poses_keep_their_bones_and_their_root():
    bent = bend(BATCH.joints, 20.0, FIELD_JOINTS.bones, torch.Generator().manual_seed(0))
    parents, children = (list(side) for side in zip(*FIELD_JOINTS.bones, strict=True))
    lengths = [(pose[:, children] - pose[:, parents]).norm(dim=-1) for pose in (bent, BATCH.joints)]
    torch.testing.assert_close(*lengths, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(bent[:, 0], BATCH.joints[:, 0])
    assert 0.02 < (bent - BATCH.joints)[:, 1:].norm(dim=-1).mean() < 0.4
    torch.testing.assert_close(bend(BATCH.joints, 0.0, FIELD_JOINTS.bones, None), BATCH.joints, atol=1e-6, rtol=1e-6)


def test_errors_and_blur_come_together_from_a_view_of_the_batch():
    poses = shown(error=0.2)
    off = (poses.xy - poses.joints[..., :2]).mean((1, 2))
    assert 2 <= (off > 0.1).sum() <= 10
    torch.testing.assert_close(off, torch.where(poses.blur[:, 0] > 0.15, 0.2, 0.0), atol=1e-5, rtol=0)


def test_joints_that_are_not_known_are_not_lifted_from():
    valid = TARGETS.joints_valid.clone()
    valid[1, 5] = False
    valid[2] = False
    poses = shown(replace(TARGETS, joints_valid=valid))
    assert poses.valid[1].tolist() == [j != 5 for j in range(17)]  # its own camera: what is known counts
    assert not poses.valid[[2, 5, 6, 9, 10]].any()  # other cameras see whole poses only
    assert poses.valid[[0, 3, 4, 7, 8, 11]].all()


def test_views_in_2d_alone_lend_nothing_and_spoil_nothing():
    """Cameras, errors and poses come from views known in 3D; what stands in for unknown joints does not matter."""
    valid = TARGETS.joints_valid.clone()
    valid[3] = False
    joints = TARGETS.joints.clone()
    joints[3] = torch.nan
    poses = under_other_cameras(
        BATCH.joints, joints[..., :2].nan_to_num(), torch.full((4, 17), 0.1), replace(TARGETS, joints=joints, joints_valid=valid),
        UP, FIELD_JOINTS, LiftConfig(copies=9), torch.Generator().manual_seed(0),
    )
    assert torch.equal(poses.valid.all(1), torch.tensor([True, True, True, False]).repeat(9))
    assert poses.xy[poses.valid].isfinite().all() and poses.joints[poses.valid].isfinite().all()


def test_geometry_of_lifting_stays_in_float32_under_autocast():
    network = build_network(small_config("nvf"), statistics(make_batch(16, 10)))
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            look = Look([], [], TARGETS.joints[..., :2], torch.full((4, 17), 0.1), TARGETS.joints, torch.zeros(4, 32))
            found.append(network.lift_loss(look, BATCH, TARGETS, torch.Generator().manual_seed(0)))
    # an untrained lifter adds nothing, so that the loss is of the geometry alone
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-6)


def test_lifting_is_learnt_without_pictures():
    """Under cameras never shown, error falls well below that of the mean."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    batch = make_batch(64, 16)
    targets = make_targets(batch, 64)
    generator, config = torch.Generator().manual_seed(0), LiftConfig(hidden=64, copies=8, bend_degrees=0.0)
    lifter = Lifter(config, 17)
    optimizer = torch.optim.Adam(lifter.parameters(), 3e-3)

    def depth_error():
        xy, blur = targets.joints[..., :2], torch.zeros(64, 17)
        poses = under_other_cameras(batch.joints, xy, blur, targets, UP, FIELD_JOINTS, config, generator)
        return (lifter(poses.xy, poses.blur, poses.depth)[..., 2] - poses.joints[..., 2]).abs().mean(), poses

    for _ in range(300):
        loss, _ = depth_error()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error, poses = depth_error()
    assert error < 0.5 * poses.joints[..., 2].abs().mean()


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
    look = network.look(batch.image, make_targets(batch, 64).depth)
    torch.testing.assert_close(look.seen, network.start(look.xy))


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"copies": 0}, {"roll_degrees": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="lift"):
        LiftConfig(**wrong)
