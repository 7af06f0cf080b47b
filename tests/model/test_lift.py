"""Poses under other cameras are the same poses; lifting learns depth from them alone."""

from dataclasses import replace

import pytest
import torch

from model.lift import LiftConfig, Lifter, bend, camera_turns, under_other_cameras
from model.nvf import Found, Look, build_network, pose_loss
from model.targets import HALF, make_targets, to_canonical
from pipeline.skeletons import FIELD_JOINTS
from tests.model.field_scenes import make_batch, small_config, statistics

BATCH = make_batch(4, 16)
TARGETS = make_targets(BATCH, 64)
CONFIG = LiftConfig(copies=3)
UP = torch.tensor([0.0, -1.0, 0.0])


def elsewhere(targets=TARGETS, copies=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return under_other_cameras(BATCH.joints, targets, UP, FIELD_JOINTS, replace(CONFIG, copies=copies), generator)


def second_view_off(by, dims=2):
    """The batch's joints, off by something in the second view, and a doubt that says so."""
    place, doubt = TARGETS.joints[..., :dims].clone(), torch.full((4, 17), 0.1)
    place[1] += by
    doubt[1] = by
    return place, doubt


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
    poses = elsewhere()
    torch.testing.assert_close(poses.joints[:4], TARGETS.joints, atol=1e-5, rtol=1e-5)
    place, _ = poses.seen(*second_view_off(0.2))
    torch.testing.assert_close(place[1], TARGETS.joints[1, :, :2] + 0.2, atol=1e-5, rtol=1e-5)


def test_a_pose_under_another_camera_keeps_its_bones_but_for_scale():
    poses = elsewhere()
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


@pytest.mark.parametrize("dims", [2, 3])
def test_errors_and_doubt_come_together_from_a_view_of_the_batch(dims):
    poses = elsewhere()
    place, doubt = poses.seen(*second_view_off(0.2, dims))
    off = (place - poses.joints[..., :dims]).mean((1, 2))
    assert 2 <= (off > 0.1).sum() <= 10
    torch.testing.assert_close(off, torch.where(doubt[:, 0] > 0.15, 0.2, 0.0), atol=1e-5, rtol=0)


def test_joints_that_are_not_known_are_not_lifted_from():
    valid = TARGETS.joints_valid.clone()
    valid[1, 5] = False
    valid[2] = False
    poses = elsewhere(replace(TARGETS, joints_valid=valid))
    assert poses.valid[1].tolist() == [j != 5 for j in range(17)]  # its own camera: what is known counts
    assert not poses.valid[[2, 5, 6, 9, 10]].any()  # other cameras see whole poses only
    assert poses.valid[[0, 3, 4, 7, 8, 11]].all()


def test_views_in_2d_alone_lend_nothing_and_spoil_nothing():
    """Cameras, errors and poses come from views known in 3D; what stands in for unknown joints does not matter."""
    valid = TARGETS.joints_valid.clone()
    valid[3] = False
    joints = TARGETS.joints.clone()
    joints[3] = torch.nan
    poses = elsewhere(replace(TARGETS, joints=joints, joints_valid=valid), copies=9)
    place, _ = poses.seen(joints[..., :2].nan_to_num(), torch.full((4, 17), 0.1))
    assert torch.equal(poses.valid.all(1), torch.tensor([True, True, True, False]).repeat(9))
    assert place[poses.valid].isfinite().all() and poses.joints[poses.valid].isfinite().all()


def test_geometry_stays_in_float32_under_autocast():
    network = build_network(small_config("nvf"), statistics(make_batch(16, 10)))
    look = Look([], [], TARGETS.joints[..., :2], torch.full((4, 17), 0.1), TARGETS.joints, torch.zeros(4, 32))
    found, each = Found(TARGETS.joints + 0.1, torch.full((4, 17), 0.1)), []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            each.append(network.pose_losses(look, found, BATCH, TARGETS, torch.Generator().manual_seed(0)))
    # untrained they add nothing, so that the losses are of the geometry alone
    torch.testing.assert_close(*each, atol=1e-6, rtol=1e-6)
    assert each[0]["refine"].item() == pytest.approx(0.3 * 1.1, rel=1e-4)


def test_lifting_is_learnt_without_pictures():
    """Under cameras never shown, error falls well below that of the mean."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    batch = make_batch(64, 16)
    targets = make_targets(batch, 64)
    generator, config = torch.Generator().manual_seed(0), LiftConfig(hidden=64, copies=8, bend_degrees=0.0)
    lifter = Lifter(config, 17, dims=2)
    optimizer = torch.optim.Adam(lifter.parameters(), 3e-3)

    def depth_error():
        poses = under_other_cameras(batch.joints, targets, UP, FIELD_JOINTS, config, generator)
        xy, blur = poses.seen(targets.joints[..., :2], torch.zeros(64, 17))
        return (lifter(xy, blur, poses.depth)[..., 2] - poses.joints[..., 2]).abs().mean(), poses

    for _ in range(300):
        loss, _ = depth_error()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error, poses = depth_error()
    assert error < 0.5 * poses.joints[..., 2].abs().mean()


def test_poses_that_nobody_takes_are_put_right():
    """Depths voted with noise come nearer to the truth, places in the image that are right stay."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    batch = make_batch(64, 16)
    targets = make_targets(batch, 64)
    generator, config = torch.Generator().manual_seed(0), LiftConfig(hidden=64, copies=4, bend_degrees=0.0)
    refiner = Lifter(config, 17, dims=3)
    optimizer = torch.optim.Adam(refiner.parameters(), 3e-3)
    place, doubt = targets.joints.clone(), torch.full((64, 17), 0.3)
    place[..., 2] += 0.3 * torch.randn(64, 17, generator=generator)
    for _ in range(300):
        poses = under_other_cameras(batch.joints, targets, UP, FIELD_JOINTS, config, generator)
        seen, doubts = poses.seen(place, doubt)
        loss = pose_loss(seen + refiner(seen, doubts, poses.depth), poses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error = (place + refiner(place, doubt, targets.depth) - targets.joints).abs().mean((0, 1))
    assert error[2] < 0.5 * (place - targets.joints)[..., 2].abs().mean()
    assert error[:2].max() < 0.03


def test_the_encoder_learns_nothing_from_poses_alone():
    """What is lifted and refined of a view's own joints does not pull on heatmaps or votes."""
    for loss, own in (("lift", "lifter"), ("refine", "refiner")):
        torch.manual_seed(0)
        network = build_network(small_config("nvf"), statistics(make_batch(16, 10)))
        network.losses(BATCH, torch.Generator().manual_seed(0))[loss].backward()
        pulled = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert pulled == {own}


def test_without_a_lifter_the_mean_depth_is_seen():
    batch = make_batch(16, 10)
    network = build_network(small_config("nvf", lifted=False), statistics(batch)).eval()
    look = network.look(batch.image, make_targets(batch, 64).depth)
    torch.testing.assert_close(look.seen, network.start(look.xy))


def test_what_is_predicted_is_refined():
    torch.manual_seed(0)
    batch = make_batch(16, 10)
    network = build_network(small_config("nvf"), statistics(batch)).eval()
    plain = network.predict(batch.image, batch.K)
    network.refiner.out.bias.data[2::3] = 0.25
    found = network.predict(batch.image, batch.K)
    torch.testing.assert_close(found.joints_canonical[..., 2] - plain.joints_canonical[..., 2], torch.full((16, 17), 0.25 * HALF))


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"copies": 0}, {"roll_degrees": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="lift"):
        LiftConfig(**wrong)
