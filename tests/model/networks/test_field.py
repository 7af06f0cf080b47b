from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from model.networks.build import build_network
from model.networks.field.mlp import MlpSettings, VotingField, position_code, read_pixels
from model.networks.field.search import in_slices
from model.networks.frame import pixels_to_crop
from model.training.config import load_config
from tests.model.field_scenes import make_batch, statistics


def test_reading_is_grid_sample():
    features = torch.randn(3, 5, 8, 12, requires_grad=True)
    xy = torch.rand(3, 40, 2) * 2.4 - 1.2
    fast = read_pixels(features.permute(0, 2, 3, 1), xy)
    slow = F.grid_sample(features, xy[:, :, None], align_corners=False, padding_mode="border")[..., 0].transpose(1, 2)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)
    pull = torch.randn_like(fast)
    one, other = (torch.autograd.grad((y * pull).sum(), features)[0] for y in (fast, slow))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_features_are_read_at_the_pixel_of_the_point(stride):
    """Cell i of a stride-k map describes pixel k (i + 0.5) - 0.5: a map of its own pixel coordinates reads back the pixel."""
    side = 128
    cells = stride * (torch.arange(side // stride) + 0.5) - 0.5
    ramp = torch.stack(torch.meshgrid(cells, cells, indexing="xy"))[None]
    pixels = torch.rand(1, 100, 2) * (side - 2 * stride) + stride
    torch.testing.assert_close(
        read_pixels(ramp.permute(0, 2, 3, 1), pixels_to_crop(pixels, side)), pixels, atol=1e-3, rtol=0
    )


def test_depth_code_tells_depths_apart_at_every_octave():
    """In metres of camera space the depth would be a nearly constant input; here each feature has unit size."""
    q = torch.zeros(1000, 3)
    q[:, 2] = torch.linspace(-1, 1, 1000)
    code = position_code(q, 5)
    assert code.shape == (1000, 13)
    assert (code[:, 2:].std(0) > 0.4).all()
    slow, fast = code[1:, 3] - code[:-1, 3], code[1:, 7] - code[:-1, 7]
    assert fast.abs().mean() > 10 * slow.abs().mean()


@pytest.mark.parametrize(
    "config", [MlpSettings(), MlpSettings(hidden=(32,), film=False), MlpSettings(skip="all", film=False)]
)
def test_field_has_a_bounded_distance_and_a_vote_for_each_joint(config):
    field = VotingField(config, (8, 16, 32), person=5, joints=17, vote_channels=4, anchored=False)
    pyramid = [torch.randn(2, c, s, s) for c, s in ((8, 16), (16, 8), (32, 4))]
    prepared = field.prepare(pyramid, torch.randn(2, 5), torch.zeros(2, 17, 3))
    q = torch.rand(2, 30, 3) * 2 - 1
    output = field(prepared, q)
    assert output.votes.shape == (2, 30, 17, 4)
    assert output.distance.abs().max() < 1
    torch.testing.assert_close(field.distance(prepared, q), output.distance, atol=1e-6, rtol=1e-5)
    output.distance.sum().backward()
    assert field.maps[2].weight.grad.abs().sum() > 0


def test_a_point_sees_its_own_depth():
    field = VotingField(MlpSettings(), (8, 16, 32), person=5, joints=17, vote_channels=4, anchored=False)
    pyramid = [torch.randn(1, c, s, s) for c, s in ((8, 16), (16, 8), (32, 4))]
    prepared = field.prepare(pyramid, torch.randn(1, 5), torch.zeros(1, 17, 3))
    q = torch.tensor([[[0.1, 0.2, -0.3], [0.1, 0.2, 0.3]]])
    near, far = field.hidden(prepared, q)[0]
    assert (near - far).abs().mean() > 0.1 * near.abs().mean()


@pytest.mark.parametrize("wrong", [{"hidden": ()}, {"octaves": 0}, {"skip": "none"}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"widths|octaves|skip"):
        MlpSettings(**wrong)


@pytest.mark.slow
def test_the_published_configuration_predicts():
    """Four stacked hourglasses of 256 channels on 224 px, each with a field of its own that is trained."""
    config = load_config("published").network
    assert (config.encoder.kind, config.encoder.channels, config.encoder.stacks, config.crop_px) == (
        "hourglass",
        256,
        4,
        224,
    )
    assert (config.head.kind, config.head.mlp.hidden) == ("nvf-published", (1024, 512, 256, 128))
    head = replace(config.head, search=replace(config.head.search, cells=12, levels=1, most=512))
    config = replace(config, head=head)
    network = build_network(config, statistics(make_batch(4, 10), 224)).eval()
    assert len(network.head.stacks) == 4
    K = torch.tensor([[[500.0, 0, 111.5], [0, 500, 111.5], [0, 0, 1]]])
    found = network.predict(torch.rand(1, 3, 224, 224) * 2 - 1, K)
    assert found.joints.shape == (1, 17, 3) and found.joints.isfinite().all()


def test_a_device_with_memory_of_its_own_is_asked_at_many_points_at_a_time():
    """Every question costs it the same launches, whatever the number of points."""
    asked = {"cpu": 0, "meta": 0}

    def ask(q):
        asked[q.device.type] += 1
        return q[..., 0]

    for device in asked:
        assert in_slices(ask, torch.zeros(32, 2000, 3, device=device)).shape == (32, 2000)
    assert asked == {"cpu": 16, "meta": 1}
