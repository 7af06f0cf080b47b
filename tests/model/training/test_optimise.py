"""Optimisers: Muon against the plain iteration, singular vectors and torch's own, and who steps what."""

import pytest
import torch

from model.networks.build import HEADS, build_network
from model.training.optimise import Muon, TrainConfig, make_optimizers, orthogonalise
from tests.model.field_scenes import make_batch, small_config, statistics

STATISTICS = statistics(make_batch(4, 10))


def plain_newton_schulz(x: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """The slow twin: the quintic as Jordan et al. give it, in double precision."""
    x = x.double() / x.double().norm()
    for _ in range(iterations):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(16, 16), (32, 288), (96, 40)])
def test_orthogonalise_equals_the_plain_iteration(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -3, shape[1])
    torch.testing.assert_close(orthogonalise(matrix).double(), plain_newton_schulz(matrix), atol=1e-3, rtol=0)


def test_orthogonalise_keeps_directions_and_makes_singular_values_alike():
    matrix = torch.randn(24, 60, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ orthogonalise(matrix) @ right.T
    assert turned.diagonal().min() > 0.6 and turned.diagonal().max() < 1.25
    assert (turned - turned.diagonal().diag()).abs().max() < 1e-3


def test_muon_steps_like_torchs_own():
    start = torch.randn(20, 30, generator=torch.Generator().manual_seed(2))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = [
        Muon([ours], lr=1e-2, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    for k in range(5):
        gradient = torch.randn(20, 30, generator=torch.Generator().manual_seed(k))
        for p, optimizer in zip((ours, theirs), optimizers, strict=True):
            p.grad = gradient.clone()
            optimizer.step()
    step = (theirs - start).abs().mean()
    assert (ours - theirs).abs().mean() < 0.05 * step  # torch's own iterates in bf16


def test_a_kernel_steps_as_the_matrix_of_its_filters():
    start = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(3))
    kernel, matrix = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.flatten(1).clone())
    kernel.grad = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(4))
    matrix.grad = kernel.grad.flatten(1)
    for p in (kernel, matrix):
        Muon([p], lr=1e-2).step()
    torch.testing.assert_close(kernel.flatten(1), matrix)


@pytest.mark.parametrize("model", [name for name in HEADS if name != "mean_pose"])
@pytest.mark.parametrize("kind", ["muon", "adamw", "rmsprop"])
def test_every_parameter_has_one_optimiser(model, kind):
    network = build_network(small_config(model), STATISTICS)
    optimizers = make_optimizers(network, TrainConfig(optimizer=kind))
    stepped = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, stepped)) == sorted(map(id, network.parameters()))
    assert len(optimizers) == (2 if kind == "muon" else 1)


def test_outputs_are_not_orthogonalised():
    network = build_network(small_config("nvf"), STATISTICS)
    hidden = {id(p) for p in network.hidden_matrices()}
    assert id(network.encoder.stem.weight) in hidden
    assert (
        not {id(network.head.stacks[0].out.weight), id(network.heatmaps[0].weight), id(network.scale_head[-1].weight)}
        & hidden
    )
