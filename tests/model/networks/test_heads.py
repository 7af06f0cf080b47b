"""Every network behind the same two calls; the field can learn a handful of images by heart."""

from dataclasses import replace

import pytest
import torch

from model.networks.build import HEADS, build_network
from model.networks.encoders.hourglass import HourglassSettings
from model.networks.field.head import FieldHead
from model.networks.field.search import SearchSettings
from model.networks.frame import axis_mean, reference_depth
from tests.model.field_scenes import make_batch, small_config, statistics

BATCH = make_batch(2, 128)


def network_for(kind, encoder=None, **head):
    """A network on a coarse grid."""
    if issubclass(HEADS[kind], FieldHead):
        head = {"search": SearchSettings(cells=16, most=512, levels=1)} | head
    return build_network(small_config(kind, encoder, **head), statistics(make_batch(16, 10)))


@pytest.mark.parametrize("model", [m for m in HEADS if m != "mean_pose"])
def test_every_parameter_of_every_network_gets_a_finite_gradient(model):
    torch.manual_seed(0)
    network = network_for(model)
    network.losses(BATCH, torch.Generator().manual_seed(0))["total"].backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert missing == []


@pytest.mark.parametrize("model", HEADS)
def test_prediction_is_root_relative_and_true_scale_only_rescales_it(model):
    network = network_for(model).eval()
    found = network.predict(BATCH.image, BATCH.K)
    assert found.joints.shape == (2, 17, 3)
    torch.testing.assert_close(found.joints[:, 0], torch.zeros(2, 3))
    torch.testing.assert_close(found.confidence.clamp(0, 1), found.confidence)
    halved = network.predict(BATCH.image, BATCH.K, scale=2 * found.scale)
    if model != "mean_pose":
        torch.testing.assert_close(halved.joints, found.joints / 2, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(halved.root, found.root / 2, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(
            found.joints_canonical,
            (found.joints + found.root[:, None]) * found.scale[:, None, None],
            atol=2e-2,
            rtol=2e-2,
        )


def test_the_mean_pose_needs_no_image():
    batch = make_batch(16, 10)
    found = network_for("mean_pose").predict(batch.image[:2], batch.K[:2])
    torch.testing.assert_close(found.joints, batch.joints.mean(0).expand(2, -1, -1))


def test_networks_share_everything_but_the_head():
    torch.manual_seed(0)
    names = {
        m: {n for n, _ in network_for(m).named_parameters() if not n.startswith("head.")}
        for m in HEADS
        if m != "mean_pose"
    }
    assert all(shared == names["nvf"] for shared in names.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nvf", "heatmap25d"])
def test_anchors_that_learn_depth_have_a_loss_and_move_what_starts_at_them(kind):
    torch.manual_seed(0)
    config = replace(small_config(kind), anchors="pose")
    network = build_network(config, statistics(make_batch(16, 10)))
    parts = network.losses(BATCH, torch.Generator().manual_seed(0))
    assert parts["anchor"] > 0
    parts["total"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    depth = reference_depth(BATCH.K, 64)
    before = network.eval().encode(BATCH.image, depth).anchors
    with torch.no_grad():
        network.heatmaps[0].out.bias[17:] += 0.3  # the depth maps of all joints
    after = network.encode(BATCH.image, depth)
    torch.testing.assert_close(after.anchors, before + torch.tensor([0.0, 0.0, 0.3]), atol=1e-5, rtol=1e-5)
    if kind == "nvf":
        joints = network.head.decode(after, depth).joints
        torch.testing.assert_close(joints[..., 2], after.anchors[..., 2], atol=0.1, rtol=0)


def test_every_stack_is_supervised():
    network = network_for("nvf", encoder=HourglassSettings(channels=32, stacks=2, context=32))
    network.losses(BATCH, torch.Generator().manual_seed(0))["total"].backward()
    assert all(p.grad is not None for p in network.head.stacks[0].parameters())
    assert all(p.grad is not None for p in network.heatmaps[0].parameters())


def test_axis_mean_is_the_expected_coordinate():
    p = torch.zeros(1, 1, 4, 8, 8)
    p[0, 0, 1, 2, 5] = 1
    means = [axis_mean(p, dim)[0].item() for dim in (2, 3, 4)]
    assert means == pytest.approx([2 * 1.5 / 4 - 1, 2 * 2.5 / 8 - 1, 2 * 5.5 / 8 - 1])


@pytest.mark.slow
def test_the_field_learns_sixteen_images_by_heart():
    """New points every step: what is learnt is the field, not the points, so the grid decodes it."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    batch, generator, steps = make_batch(16, 4096), torch.Generator().manual_seed(5), 300
    network = network_for("nvf", search=SearchSettings(cells=24, levels=1, gate=0.06))
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(steps):
        drawn = torch.randint(4096, (192,), generator=generator)
        fresh = replace(
            batch, points=batch.points[:, drawn], sdf=batch.sdf[:, drawn], point_valid=batch.point_valid[:, drawn]
        )
        optimizer.zero_grad()
        network.losses(fresh)["total"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    found = network.eval().predict(batch.image, batch.K)
    assert 1000 * (found.joints - batch.joints).norm(dim=-1).mean() < 15
    torch.testing.assert_close(found.root, batch.root, atol=0.2, rtol=0.05)


def test_every_point_votes_for_the_anchor_at_the_start():
    """A field that must first learn to subtract its own position spends its first thousand steps on it."""
    network = network_for("nvf").eval()
    depth = reference_depth(BATCH.K, 64)
    encoded = network.encode(BATCH.image, depth)
    joints = network.head.decode(encoded, depth).joints
    torch.testing.assert_close(joints[..., :2], encoded.anchors[..., :2], atol=0.05, rtol=0)
    torch.testing.assert_close(joints[..., 2], encoded.anchors[..., 2], atol=0.08, rtol=0)


@pytest.mark.parametrize("wrong", [{"crop_px": 100}, {"joint_set": "lsp"}, {"anchors": "3d"}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_set", " set")):
        replace(small_config(), **wrong)
