"""Each loss is a mean over what is valid; what is invalid has no gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.networks import losses
from model.networks.build import build_network
from model.networks.field.head import FieldLosses
from model.networks.field.surface import distance_loss, limb_loss, nearest_bone
from model.networks.frame import to_canonical
from model.networks.heads.nvf import DirectVotes, direct_vote_loss
from model.networks.heads.nvf_published import PublishedVotes
from model.networks.targets import make_targets
from pipeline.skeletons import FIELD_JOINTS
from tests.model.field_scenes import make_batch, small_config, statistics


def test_masked_mean_ignores_what_is_masked_even_when_it_is_not_finite():
    values = torch.tensor([1.0, torch.nan, 3.0])
    assert losses.masked_mean(values, torch.tensor([True, False, True])) == 2
    assert losses.masked_mean(values, torch.zeros(3, dtype=torch.bool)) == 0


@pytest.mark.parametrize("rule", [DirectVotes(), PublishedVotes(nearest=0)])
def test_true_votes_beat_perturbed_ones(rule):
    targets = make_targets(make_batch(2, 300), 64)
    points, joints = to_canonical(targets.points, targets.depth), to_canonical(targets.joints, targets.depth)
    near = (targets.point_valid & (targets.distance.abs() < 0.15))[..., None]
    if isinstance(rule, DirectVotes):
        raw = torch.cat([targets.joints[:, None] - targets.points[:, :, None], torch.zeros(2, 300, 17, 1)], -1)
    else:
        offset = joints[:, None] - points[:, :, None]
        length = offset.norm(dim=-1, keepdim=True)
        raw = torch.cat([offset / length, (1 - length / torch.tensor(rule.radius)[:, None]).clamp(min=0)], -1)
    shaken = raw + 0.05 * torch.randn_like(raw)
    true, perturbed = (rule.loss(rule.say(targets.points, r, targets.depth), targets, near) for r in (raw, shaken))
    assert true < 1e-5
    assert perturbed > true + 1e-3


def test_likelihood_prefers_the_width_that_fits_the_error():
    targets = make_targets(make_batch(2, 300), 64)
    error, seen = 0.05 * torch.randn(2, 300, 17, 3), targets.point_valid[..., None]
    positions = targets.joints[:, None] + error
    loss = [direct_vote_loss(positions, torch.full((2, 300, 17), s), targets, seen) for s in (-6.0, 1.2, 6.0)]
    assert loss[1] < min(loss[0], loss[2])


def test_published_votes_are_supervised_within_the_band_only():
    targets = make_targets(make_batch(2, 300), 64)
    raw = torch.randn(2, 300, 17, 4, requires_grad=True)
    near = targets.point_valid & (targets.distance.abs() < 0.05)
    rule = PublishedVotes(nearest=0)
    rule.loss(rule.say(targets.points, raw, targets.depth), targets, near[..., None]).backward()
    assert near.any()
    assert (raw.grad.abs().sum((2, 3)) > 0).equal(near)


def test_where_votes_are_trained_does_not_tell_the_pose():
    """Points drawn about the true surface give the joints away: a network fed on them fails on a grid. So the points follow the
    network's own distance, and another body in the labels does not move them."""
    network = build_network(small_config(), statistics(make_batch(4, 10)))
    asked = []
    for seed in (0, 1):
        batch = make_batch(2, 64, seed=seed)
        batch = replace(batch, image=torch.zeros_like(batch.image), K=make_batch(2, 64).K)
        targets = make_targets(batch, 64)
        encoded, stack = network.encode(batch.image, targets.depth), network.head.stacks[0]
        prepared = stack.prepare(encoded.features.pyramids[0], encoded.person, encoded.anchors)
        asked.append(network.head.ask_where(stack, prepared, targets, torch.Generator().manual_seed(0)).q)
    assert torch.equal(*asked)
    spread = torch.rand(2, 4096, 3) * 2 - 1
    chosen, anywhere = (stack.distance(prepared, q).abs().mean() for q in (asked[1], spread))
    assert chosen < anywhere


def test_distance_keeps_its_gradient_where_the_sign_is_wrong_far_outside():
    targets = make_targets(make_batch(1, 300), 64)
    predicted = torch.full((1, 300), -0.99, requires_grad=True)
    distance_loss(predicted, targets, 0.12, 0.07).backward()
    far = targets.point_valid & (targets.distance > 0.5)
    assert far.any()
    assert (predicted.grad[far] < 0).all()


def test_labels_off_the_surface_are_heard_among_many_on_it():
    """One place in the image that cannot be told from another in depth: 30 labels say surface, 3 say far before or behind it."""
    distance = torch.cat([torch.zeros(1, 30), torch.full((1, 3), 0.5), torch.full((1, 5), torch.nan)], 1)
    targets = replace(make_targets(make_batch(1, 38), 64), distance=distance, point_valid=torch.isfinite(distance))
    answers = torch.linspace(0, 1, 101)
    for surface, best in ((1.0, 0.0), (0.07, 1.0)):
        loss = [distance_loss(a.expand(1, 38), targets, 0.12, surface) for a in answers]
        assert answers[int(torch.stack(loss).argmin())] == best
        weight = np.array([surface] * 30 + [1.0] * 3)
        expected = np.average([0.25] * 30 + [0.75] * 3, weights=weight)
        assert loss[25].item() == pytest.approx(expected, rel=1e-5)


def test_a_2d_view_supervises_only_the_image_coordinates_of_its_joints():
    batch = make_batch(1, 50)
    targets = make_targets(replace(batch, mesh_valid=~batch.mesh_valid, is_3d=~batch.is_3d), 64)
    joints = torch.randn(1, 17, 3, requires_grad=True)
    losses.joint_loss(joints, targets).backward()
    assert (joints.grad[..., :2].abs() > 0).all()
    assert (joints.grad[..., 2] == 0).all()


def test_heatmap_is_best_where_the_joint_is():
    batch = make_batch(2, 10)
    targets = make_targets(batch, 64)
    logits = torch.zeros(2, 17, 16, 16)
    cell = ((batch.joints_2d + 0.5) / 4 - 0.5).round().long().clamp(0, 15)
    b, j = torch.meshgrid(torch.arange(2), torch.arange(17), indexing="ij")
    right, mirrored = logits.clone(), logits.clone()
    right[b, j, cell[..., 1], cell[..., 0]] = 5
    mirrored[b, j, cell[..., 0], cell[..., 1]] = 5
    assert losses.heatmap_loss(right, targets) < losses.heatmap_loss(mirrored, targets) - 0.5


@pytest.mark.parametrize("model", ["nvf", "nosdf", "heatmap25d"])
def test_batch_with_nothing_valid_gives_zero_and_no_gradient_that_is_not_a_number(model):
    batch = make_batch(2, 64)
    nothing = torch.zeros(2, dtype=torch.bool)
    batch = replace(
        batch,
        is_3d=nothing,
        mesh_valid=nothing,
        joints_valid=nothing[:, None].expand(-1, 17),
        joints_2d_valid=nothing[:, None].expand(-1, 17),
        point_valid=nothing[:, None].expand(-1, 64),
    )
    network = build_network(small_config(model), statistics(make_batch(4, 10)))
    parts = network.losses(batch, torch.Generator().manual_seed(0))
    assert ("distance" in parts) == ("limb" in parts) == (model == "nvf")
    parts["total"].backward()
    assert all(value == 0 for value in parts.values())
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in network.parameters() if p.grad is not None)


def test_a_bad_fit_removes_what_came_from_the_mesh_and_keeps_the_joints():
    network = build_network(small_config(), statistics(make_batch(4, 10)))
    batch = make_batch(1, 64)
    parts = network.losses(replace(batch, mesh_valid=~batch.mesh_valid), torch.Generator().manual_seed(0))
    assert parts["distance"] == parts["limb"] == 0
    assert parts["joint"] > 0
    assert parts["scale"] > 0


@pytest.mark.parametrize("wrong", [{"distance": -1.0}, {"surface": 0.0}, {"surface": 1.5}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FieldLosses(**wrong)


def test_limbs_are_told_at_the_body_only():
    batch = make_batch(3, 200)
    targets = make_targets(batch, 64)
    points, joints = (to_canonical(q, targets.depth) for q in (targets.points, targets.joints))
    limb, _ = nearest_bone(points, joints, targets.joints_valid, FIELD_JOINTS.bones)
    right = 20.0 * torch.nn.functional.one_hot(limb, 16).float()
    assert limb_loss(right, targets, FIELD_JOINTS.bones) < 1e-6
    wrong_far_away = torch.where((targets.distance > 0.03)[..., None], -right, right)
    assert limb_loss(wrong_far_away, targets, FIELD_JOINTS.bones) < 1e-6
    assert limb_loss(-right, targets, FIELD_JOINTS.bones) > 10
    meshless = make_targets(replace(batch, mesh_valid=~batch.mesh_valid), 64)
    assert limb_loss(right, meshless, FIELD_JOINTS.bones) == 0
