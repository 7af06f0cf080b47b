"""What all encoders share: the global context that stays alive."""

import pytest
import torch

from model.networks.build import ENCODERS
from model.networks.encoders.encoder import rectified
from model.networks.encoders.pretrained import Neck


@pytest.mark.parametrize("shape", [(3, 16), (3, 16, 5, 5)])
def test_units_learn_whatever_their_bias(shape):
    """Without the norm, a bias that has drifted below all that images say leaves nothing above zero, and no gradient."""
    below = torch.randn(shape, generator=torch.Generator().manual_seed(0)) - 50
    for norm, alive in ((True, True), (False, False)):
        x = below.clone().requires_grad_()
        out = rectified(x, norm)
        (out * torch.linspace(0.5, 1.5, out.numel()).view(shape)).sum().backward()
        assert (x.grad.abs().sum() > 1e-3) == alive
        assert ((out > 0).float().mean() > 0.3) == alive


@pytest.mark.parametrize("encoder", [kind for kind in ENCODERS if kind in ("unet", "hourglass")])
def test_the_context_of_an_encoder_is_alive(encoder):
    small = {"unet": {"channels": 8}, "hourglass": {"channels": 32, "stacks": 1, "depth": 2}}[encoder]
    for norm in (True, False):
        torch.manual_seed(0)
        network = ENCODERS[encoder](ENCODERS[encoder].Settings(context=16, context_norm=norm, **small))
        torch.nn.init.constant_(network.context.bias, -50.0)
        torch.nn.init.constant_(network.context.weight, 0.01)
        network.context.weight.data += 0.01 * torch.randn(network.context.weight.shape)
        context = network(torch.randn(2, 3, 64, 64)).context
        assert bool((context > 0).any()) == norm


def test_the_context_of_a_neck_is_alive():
    for norm in (True, False):
        torch.manual_seed(0)
        neck = Neck([8, 8, 8, 8], 8, 16, norm)
        torch.nn.init.constant_(neck.pool.bias, -50.0)
        torch.nn.init.constant_(neck.context.bias, -50.0)
        found = neck([torch.randn(2, 8, side, side) for side in (16, 8, 4, 2)], 64)
        assert bool((found.context > 0).any()) == norm
