"""Rotation vectors and matrices: ours against roma's, to the last bit, and what must hold of them."""

import pytest
import roma
import torch
from scipy.spatial.transform import Rotation

from pipeline.body import turns


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def vectors(request):
    """(N, 3) turns of all sizes, none, tiny and half ones among them."""
    drawn = torch.randn(6000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn[:100] = 0
    drawn[100:2000] *= 10 ** torch.linspace(-9, 0, 1900, dtype=torch.float64)[:, None]
    drawn[2000:3000] *= torch.pi / drawn[2000:3000].norm(dim=1, keepdim=True)
    return drawn.to(request.param)


def test_matrices_are_romas(vectors):
    assert torch.equal(turns.matrices(vectors), roma.rotvec_to_rotmat(vectors))
    assert turns.matrices(vectors.view(60, 100, 3)).shape == (60, 100, 3, 3)


def test_vectors_are_romas(vectors):
    R = roma.rotvec_to_rotmat(vectors)
    R[3000:4000] += 1e-4 * torch.sin(torch.arange(9000, dtype=R.dtype)).view(1000, 3, 3)  # hardly rotations any more
    R[4000] = torch.diag(torch.tensor([1.0, -1, -1]))
    assert torch.equal(turns.vectors(R), roma.rotmat_to_rotvec(R))
    assert turns.vectors(R).norm(dim=1).max() <= torch.pi + 1e-5


def test_matrices_and_vectors_are_each_others_inverse():
    R = torch.from_numpy(Rotation.random(500, random_state=1).as_matrix())
    assert torch.allclose(turns.matrices(turns.vectors(R)), R, atol=1e-12)


def test_gradients_are_finite_at_no_turn_and_right_elsewhere(vectors):
    given = [vectors.clone().requires_grad_() for _ in range(2)]
    for vector, matrices in zip(given, (turns.matrices, roma.rotvec_to_rotmat), strict=True):
        (matrices(vector) * torch.arange(9.0).view(3, 3)).sum().backward()
    assert torch.isfinite(given[0].grad).all()
    assert torch.allclose(given[0].grad, given[1].grad, rtol=1e-5, atol=1e-5)
    R = turns.matrices(vectors).detach().requires_grad_()
    turns.vectors(R).sum().backward()
    assert torch.isfinite(R.grad).all()
