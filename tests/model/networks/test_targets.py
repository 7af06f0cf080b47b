"""Labels. Several of these are the known causes of a field whose loss falls while its joints stay at the mean pose."""

from dataclasses import replace

import pytest
import torch

from model.networks.field.surface import nearest_bone, truncate
from model.networks.frame import CANONICAL_SIDE, HALF, pixels_to_crop, reference_depth, to_canonical, to_crop
from model.networks.heads.nvf import AskedSettings, NvfSettings
from model.networks.heads.nvf_published import PublishedSettings, PublishedVotes
from model.networks.targets import make_targets
from pipeline.skeletons import FIELD_JOINTS
from tests.model.field_scenes import body_distance, make_batch


def test_crop_coordinates_are_the_projection():
    batch = make_batch(4, 100)
    targets = make_targets(batch, 64)
    torch.testing.assert_close(targets.joints[..., :2], pixels_to_crop(batch.joints_2d, 64), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        targets.points.abs().amax(-1) <= 1, batch.point_valid & (targets.points[..., 2].abs() <= 1)
    )


def test_crop_coordinates_have_an_inverse():
    q = torch.rand(3, 50, 3) * 2 - 1
    depth = torch.tensor([2.0, 5.0, 30.0])
    torch.testing.assert_close(to_crop(to_canonical(q, depth), depth), q, atol=1e-5, rtol=1e-5)


def test_the_root_is_at_the_reference_depth_whatever_the_camera():
    targets = make_targets(make_batch(8, 10), 64)
    torch.testing.assert_close(targets.joints[:, 0, 2], torch.zeros(8), atol=1e-5, rtol=0)


def test_a_scene_twice_as_large_and_as_far_has_the_same_labels():
    """What makes the field possible without the root: the image does not tell the two apart."""
    batch = make_batch(3, 200)
    grown = replace(batch, points=2 * batch.points, sdf=2 * batch.sdf, joints=2 * batch.joints, root=2 * batch.root)
    one, other = make_targets(batch, 64), make_targets(grown, 64)
    for name in ("points", "distance", "joints", "depth"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.scale, 2 * other.scale)


def test_distance_is_the_distance_in_the_canonical_frame():
    batch = make_batch(2, 300)
    targets = make_targets(batch, 64)
    joints = to_canonical(targets.joints, targets.depth)
    points = to_canonical(targets.points, targets.depth)
    s = targets.scale[:, None, None]
    torch.testing.assert_close(
        targets.distance, targets.scale[:, None] * body_distance(points / s, joints / s), atol=1e-4, rtol=1e-3
    )


def test_labels_fill_the_range_of_the_tanh_and_only_labels_are_clamped():
    targets = make_targets(make_batch(4, 1000), 64)
    label = truncate(targets.distance, NvfSettings().truncation)
    assert label.min() < -0.2
    assert label.max() == 1
    assert 0.2 < (label.abs() < 1).float().mean() < 0.8


def test_view_without_a_mesh_keeps_its_joints_and_loses_its_points():
    batch = make_batch(2, 50)
    targets = make_targets(replace(batch, mesh_valid=torch.tensor([True, False])), 64)
    assert targets.point_valid[0].any()
    assert not targets.point_valid[1].any()
    assert targets.joints_valid[1].all()
    assert (targets.points[1].abs() <= 1).all()


def test_view_known_in_2d_only_has_no_scale_and_no_depth():
    batch = make_batch(1, 50)
    targets = make_targets(replace(batch, mesh_valid=~batch.mesh_valid, is_3d=~batch.is_3d, root=0 * batch.root), 64)
    assert not targets.scale_valid.any()
    assert not targets.joints_valid.any()
    assert targets.joints_2d_valid.all()
    assert all(torch.isfinite(getattr(targets, name)).all() for name in ("points", "distance", "joints", "scale"))


RADII = tuple(0.2 + 0.02 * joint for joint in range(17))


@pytest.mark.parametrize("radius", [(0.3,), RADII])
def test_published_votes_are_zero_outside_the_radius_and_point_at_the_joint_inside(radius):
    targets = make_targets(make_batch(2, 400), 64)
    rule = PublishedVotes(radius, nearest=0)
    points, joints = to_canonical(targets.points, targets.depth), to_canonical(targets.joints, targets.depth)
    weight, direction, votes = rule.labels(points, joints, targets.point_valid)
    _, _, back, said = rule.say(targets.points, torch.cat([direction, weight[..., None]], -1), targets.depth)
    length, reach = (joints[:, None] - points[:, :, None]).norm(dim=-1), torch.tensor(radius)
    assert 0.02 < votes.float().mean() < 0.5
    assert torch.equal(votes, (length < reach) & targets.point_valid[..., None])
    torch.testing.assert_close(weight, said)
    torch.testing.assert_close(weight[votes], (1 - length / reach)[votes])
    torch.testing.assert_close(back[votes], targets.joints[:, None].expand_as(back)[votes], atol=1e-5, rtol=1e-5)
    assert (weight[~votes] == 0).all()
    assert (direction[~votes] == 0).all()


def test_only_the_nearest_points_keep_a_published_vote_and_no_joint_is_without():
    targets = make_targets(make_batch(3, 600), 64)
    points, joints = to_canonical(targets.points, targets.depth), to_canonical(targets.joints, targets.depth)
    votes = PublishedVotes(nearest=12).labels(points, joints, targets.point_valid)[2]
    assert (votes.sum(1) == 12).all()


def test_reference_depth_is_where_the_crop_spans_the_volume():
    K = torch.tensor([[[500.0, 0, 63.5], [0, 500, 63.5], [0, 0, 1]]])
    depth = reference_depth(K, 128)
    corner = to_canonical(torch.tensor([[[1.0, 1.0, 0.0]]]), depth)
    torch.testing.assert_close(corner[0, 0], torch.tensor([HALF, HALF, depth.item()]))
    assert depth.item() == pytest.approx(500 * CANONICAL_SIDE / 128)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (PublishedSettings, {"radius": (0.4, 0.0)}),
        (PublishedSettings, {"nearest": -1}),
        (PublishedSettings, {"beta": 0.0}),
        (NvfSettings, {"truncation": -1.0}),
        (NvfSettings, {"truncation": 0.05}),
        (NvfSettings, {"band": 0.0}),
        (NvfSettings, {"best": 0.0}),
        (NvfSettings, {"neighbours": -1}),
        (NvfSettings, {"temperature": -1.0}),
        (AskedSettings, {"neighbours": -1}),
        (AskedSettings, {"points": 5000}),
    ],
)
def test_settings_out_of_range_are_refused(settings, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        settings(**wrong)


def test_nearest_bone_is_that_of_a_search_along_every_bone():
    """The slow twin walks along each segment in small steps."""
    generator = torch.Generator().manual_seed(0)
    joints, points = torch.randn(2, 17, 3, generator=generator), torch.randn(2, 40, 3, generator=generator)
    valid = torch.ones(2, 17, dtype=torch.bool)
    valid[1, 3] = False
    limb, known = nearest_bone(points, joints, valid, FIELD_JOINTS.bones)
    for b in range(2):
        for n in range(40):
            distances = []
            for parent, child in FIELD_JOINTS.bones:
                along = torch.linspace(0, 1, 2001)[:, None]
                segment = joints[b, parent] * (1 - along) + joints[b, child] * along
                far = not (valid[b, parent] and valid[b, child])
                distances.append(torch.inf if far else (segment - points[b, n]).norm(dim=-1).min().item())
            assert distances[limb[b, n]] <= min(distances) + 1e-3
    assert known.all()
    assert not nearest_bone(points, joints, torch.zeros_like(valid), FIELD_JOINTS.bones)[1].any()
