import pytest
import torch

from model.networks.build import ENCODERS
from model.networks.encoders.hourglass import HourglassSettings, StackedHourglass
from model.networks.encoders.unet import UNet, UNetSettings


@pytest.mark.parametrize(
    "settings",
    [
        UNetSettings(channels=16),
        HourglassSettings(channels=32, stacks=2),
        HourglassSettings(channels=32, stacks=1, depth=3),
    ],
)
def test_maps_are_at_a_quarter_an_eighth_and_a_sixteenth_for_every_stack(settings):
    encoder = ENCODERS[settings.kind].fresh(settings, 64)
    features = encoder(torch.randn(2, 3, 64, 64))
    assert len(features.pyramids) == encoder.stacks
    for pyramid in features.pyramids:
        assert [tuple(m.shape) for m in pyramid] == [
            (2, c, side, side) for c, side in zip(encoder.channels, (16, 8, 4), strict=True)
        ]
    assert features.context.shape == (2, settings.context)


def test_every_stack_learns_from_its_own_loss():
    encoder = StackedHourglass(HourglassSettings(channels=32, stacks=2))
    encoder(torch.randn(1, 3, 64, 64)).pyramids[0][0].square().sum().backward()
    assert all(p.grad is not None for p in encoder.hourglasses[0].up.parameters())
    assert all(p.grad is None for p in encoder.hourglasses[1].parameters())


@pytest.mark.parametrize("kind", ["unet", "hourglass"])
def test_maps_stay_over_the_pixels_they_describe(kind):
    """What a spot at pixel u changes in a map is centred on cell (u + 0.5) / stride - 0.5: no stage shifts what points read."""
    torch.manual_seed(0)
    encoder = ENCODERS[kind].fresh(ENCODERS[kind].Settings(channels=32), 128).eval()
    spots = torch.zeros(3, 3, 128, 128)
    spots[1, :, 60:68, 60:68] = 1  # centred on pixel 63.5
    spots[2, :, 60:68, 92:100] = 1  # centred on pixel 95.5
    with torch.no_grad():
        quarter = encoder(spots).pyramids[0][0]
    change = (quarter[1:] - quarter[:1]).square().sum(1)
    change = change * (change > 0.3 * change.amax((1, 2), keepdim=True))
    cells = torch.arange(32.0)
    across = (change.sum(1) * cells).sum(1) / change.sum((1, 2))
    down = (change.sum(2) * cells).sum(1) / change.sum((1, 2))
    torch.testing.assert_close(across, torch.tensor([15.5, 23.5]), atol=0.6, rtol=0)
    torch.testing.assert_close(down, torch.tensor([15.5, 15.5]), atol=0.6, rtol=0)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (UNetSettings, {"channels": 12}),
        (UNetSettings, {"context": 4}),
        (HourglassSettings, {"channels": 48}),
        (HourglassSettings, {"stacks": 5}),
        (HourglassSettings, {"depth": 1}),
    ],
)
def test_settings_out_of_range_are_refused(settings, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        settings(**wrong)


def test_light_does_not_change_what_the_encoder_sees():
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    normalise = UNet(UNetSettings()).normalise
    gain = torch.tensor([0.5, 0.9, 0.7])[:, None, None]
    dark = image * gain - 0.2
    torch.testing.assert_close(normalise(dark), normalise(image), atol=0.15, rtol=0)
    assert torch.isfinite(normalise(torch.zeros(1, 3, 32, 32))).all()
