"""Priors that users bring: SMPLify's mixture of Gaussians and VPoser; and SMPLify-X's bending term, which goes with all but ours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.body.plain_pickle import load_plain_pickle
from pipeline.errors import InputError
from pipeline.fit import rotations
from pipeline.fit.prior_terms import N_POSED, Prior, PriorTerms, row_of

# SMPLify-X's bending weight is 3.17 times its pose weight, unsquared; here relative to an L2 prior of 0.3 rad.
BENDING_WEIGHT = 7.4
_BENDS = (("left_elbow", 1, 1.0), ("right_elbow", 1, -1.0), ("left_knee", 0, -1.0), ("right_knee", 0, -1.0))
# How far (radians) a pose may lie from what VPoser makes of it.
MANIFOLD_SIGMA = 0.2


class BendingPrior:
    """`w exp(+-theta_k)^2` for elbows and knees: bending the wrong way is dear (Bogo et al. 2016, eq. 5)."""

    n_joints = N_POSED

    def __init__(self, dtype: torch.dtype, weight: float = BENDING_WEIGHT, device: torch.device | str = "cpu"):
        self.weight = weight
        self.rows = torch.tensor([row_of(name) for name, _, _ in _BENDS], device=device)
        self.axes = torch.zeros(len(_BENDS), 3, dtype=dtype, device=device)
        for k, (_, axis, sign) in enumerate(_BENDS):
            self.axes[k, axis] = sign

    def to(self, device: torch.device) -> "BendingPrior":
        return BendingPrior(self.axes.dtype, self.weight, device)

    def _residual(self, y: torch.Tensor) -> torch.Tensor:
        return self.weight**0.5 * (y * self.axes).sum(-1).exp()

    def cost(self, R: torch.Tensor) -> torch.Tensor:
        return self._residual(rotations.log(R[:, self.rows])).square().sum(1)

    def linearise(self, R: torch.Tensor, parents: torch.Tensor) -> PriorTerms:
        y = rotations.log(R[:, self.rows])
        r = self._residual(y)
        T = rotations.left_jacobian_inverse(y) @ parents[:, self.rows].transpose(2, 3)
        J = r[..., None] * (self.axes[:, None] @ T)[..., 0, :]
        gradient = R.new_zeros(len(R), N_POSED, 3)
        blocks = R.new_zeros(len(R), N_POSED, 3, 3)
        gradient[:, self.rows] = r[..., None] * J
        blocks[:, self.rows] = J[..., :, None] * J[..., None, :]
        none = self.rows[:0]
        return PriorTerms(r.square().sum(1), gradient, blocks, R.new_zeros(len(R), 0, 3, 3), (none, none))


class MixturePrior:
    """SMPLify's mixture of Gaussians over axis-angle: the component that is likeliest, as -2 log of its density.

    means (K, 63), covariances (K, 63, 63), weights (K,). The constants only choose the component and shift the cost, which is zero at
    the best component's mean.
    """

    n_joints = N_POSED

    def __init__(self, means: torch.Tensor, covariances: torch.Tensor, weights: torch.Tensor):
        self.means, self.covariances, self.weights = means, covariances, weights
        self.precisions = torch.linalg.inv(covariances)
        constants = torch.logdet(covariances) - 2 * weights.log()
        self.constants = constants - constants.min()

    def to(self, device: torch.device) -> "MixturePrior":
        return MixturePrior(*(a.to(device) for a in (self.means, self.covariances, self.weights)))

    def _components(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-2 log density (B, K) up to a constant, and the offsets (B, K, 63)."""
        offsets = y.flatten(1)[:, None] - self.means
        squares = torch.einsum("bki,kij,bkj->bk", offsets, self.precisions, offsets)
        return squares + self.constants, offsets

    def cost(self, R: torch.Tensor) -> torch.Tensor:
        return self._components(rotations.log(R))[0].amin(1)

    def linearise(self, R: torch.Tensor, parents: torch.Tensor) -> PriorTerms:
        y = rotations.log(R)
        values, offsets = self._components(y)
        cost, best = values.min(1)
        rows = torch.arange(len(R), device=R.device)
        precision = self.precisions[best]
        pull = (precision @ offsets[rows, best][..., None]).view_as(y)
        T = rotations.left_jacobian_inverse(y) @ parents.transpose(2, 3)
        gradient = (T.transpose(2, 3) @ pull[..., None])[..., 0]
        half = torch.einsum("biajc,bjcd->biajd", precision.view(-1, N_POSED, 3, N_POSED, 3), T)
        dense = torch.einsum("biac,biajd->bicjd", T, half)
        return PriorTerms(cost, gradient, dense=dense)


class SumPrior:
    """Several priors about the same joints."""

    def __init__(self, *priors: Prior):
        self.priors = priors
        self.n_joints = priors[0].n_joints

    def to(self, device: torch.device) -> "SumPrior":
        return SumPrior(*(prior.to(device) for prior in self.priors))

    def cost(self, R: torch.Tensor) -> torch.Tensor:
        return torch.stack([prior.cost(R) for prior in self.priors]).sum(0)

    def linearise(self, R: torch.Tensor, parents: torch.Tensor) -> PriorTerms:
        terms = [prior.linearise(R, parents) for prior in self.priors]
        cost, gradient, dense = (
            torch.stack(parts).sum(0)
            for parts in zip(*((term.cost, term.gradient, _dense(term)) for term in terms), strict=True)
        )
        return PriorTerms(cost, gradient, dense=dense)


def _dense(terms: PriorTerms) -> torch.Tensor:
    """(B, n, 3, n, 3), whatever form the terms have."""
    if terms.dense is not None:
        return terms.dense
    B, n = terms.gradient.shape[:2]
    dense = terms.gradient.new_zeros(B, n, 3, n, 3)
    blocks, coupled, pairs = terms.by_joints()
    dense.diagonal(dim1=1, dim2=3)[...] = blocks.permute(0, 2, 3, 1)
    dense[:, pairs[0], :, pairs[1]] = coupled.transpose(0, 1)
    return dense


class VPoserPrior:
    """VPoser (Pavlakos et al. 2019): `|z|^2` of the pose's code, and how far the pose lies from what the code decodes to.

    The pose keeps its own angles, so evidence may take it off VPoser's manifold, at a price. encode: (B, 63) -> (B, 32), decode:
    (B, 32) -> (B, 21, 3, 3).
    """

    n_joints = N_POSED

    def __init__(self, weights: dict[str, torch.Tensor]):
        self.weights = weights
        self.encode, self.decode = vposer_networks(weights)

    def to(self, device: torch.device) -> "VPoserPrior":
        return VPoserPrior({name: tensor.to(device) for name, tensor in self.weights.items()})

    def _residual(self, y: torch.Tensor, R: torch.Tensor) -> torch.Tensor:
        """(B, 32 + 189). |R - R'|^2 is twice the squared angle between them, for small ones."""
        code = self.encode(y.flatten(1))
        return torch.cat([code, (R - self.decode(code)).flatten(1) / (2**0.5 * MANIFOLD_SIGMA)], 1)

    def cost(self, R: torch.Tensor) -> torch.Tensor:
        return self._residual(rotations.log(R), R).square().sum(1)

    def linearise(self, R: torch.Tensor, parents: torch.Tensor) -> PriorTerms:
        y = rotations.log(R)
        T = rotations.left_jacobian_inverse(y)

        def moved(
            d: Tensor, y: Tensor, R: Tensor, T: Tensor
        ) -> Tensor:  # log(exp(d) R) = y + T d to first order, which is all that a derivative sees
            y, R = y + (T @ d[..., None])[..., 0], R + rotations.skew(d) @ R
            return self._residual(y[None], R[None])[0]

        zero = torch.zeros_like(y)
        r = self._residual(y, R)
        local = torch.func.vmap(torch.func.jacfwd(moved))(zero, y, R, T)  # (B, 221, 21, 3)
        flat = torch.einsum("brja,bjca->brjc", local, parents).flatten(2)
        dense = (flat.transpose(1, 2) @ flat).unflatten(1, (N_POSED, 3)).unflatten(3, (N_POSED, 3))
        return PriorTerms(r.square().sum(1), (r[:, None] @ flat)[:, 0].unflatten(1, (N_POSED, 3)), dense=dense)


def vposer_networks(w: dict[str, torch.Tensor]) -> tuple[Callable, Callable]:
    """Encoder (its mean) and decoder from the weights of VPoser 1 or 2, in evaluation mode."""
    if "bodyprior_enc_fc1.weight" in w:
        norm1, norm2, slope = "bodyprior_enc_bn1", "bodyprior_enc_bn2", 0.2
        enc: tuple[str, ...] = ("bodyprior_enc_fc1", "bodyprior_enc_fc2", "bodyprior_enc_mu")
        dec = ("bodyprior_dec_fc1", "bodyprior_dec_fc2", "bodyprior_dec_out")
    else:
        norm1, norm2, slope = "encoder_net.1", "encoder_net.4", 0.01
        enc = ("encoder_net.2", "encoder_net.6", "encoder_net.7", "encoder_net.8.mu")
        dec = ("decoder_net.0", "decoder_net.3", "decoder_net.5")

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        scale = w[f"{name}.weight"] / (w[f"{name}.running_var"] + 1e-5).sqrt()
        return (x - w[f"{name}.running_mean"]) * scale + w[f"{name}.bias"]

    def encode(x: Tensor) -> Tensor:
        x = norm(F.leaky_relu(linear(norm(x, norm1), enc[0]), slope), norm2)
        x = linear(x, enc[1])
        # VPoser 1 has a nonlinearity here, VPoser 2 a second linear layer
        x = F.leaky_relu(x, slope) if len(enc) == 3 else linear(x, enc[2])
        return linear(x, enc[-1])

    def decode(z: Tensor) -> Tensor:
        x = F.leaky_relu(linear(F.leaky_relu(linear(z, dec[0]), slope), dec[1]), slope)
        six = linear(x, dec[2]).unflatten(-1, (N_POSED, 3, 2))
        # two columns made orthonormal, the third their cross product (Zhou et al. 2019)
        a = F.normalize(six[..., 0], dim=-1)
        b = F.normalize(six[..., 1] - (a * six[..., 1]).sum(-1, keepdim=True) * a, dim=-1)
        return torch.stack([a, b, torch.linalg.cross(a, b)], -1)

    return encode, decode


def read_mixture(path: Path, dtype: torch.dtype) -> MixturePrior:
    """SMPLify's gmm_08.pkl: `means` (K, 69), `covars` (K, 69, 69), `weights` (K,); read without running what a pickle may hide.

    SMPL's two hands, the last six numbers, are not joints of SMPL-X's body: they are marginalised out.
    """
    content = load_plain_pickle(Path(path))
    try:
        means, covariances, weights = (np.asarray(content[name], np.float64) for name in ("means", "covars", "weights"))
        K, D = means.shape
        fits = covariances.shape == (K, D, D) and weights.shape == (K,) and D in (63, 69)
    except (KeyError, TypeError, ValueError, IndexError):
        fits = False
    if not fits:
        raise InputError(
            f"{path} does not hold SMPLify's mixture: means (K, 69), covars (K, 69, 69) and weights (K,); give its gmm_08.pkl."
        )
    tensors = (torch.as_tensor(a, dtype=dtype) for a in (means[:, :63], covariances[:, :63, :63], weights))
    return MixturePrior(*tensors)


def read_vposer(path: Path, dtype: torch.dtype) -> VPoserPrior:
    """The weights of VPoser 1 (.pt) or 2 (.ckpt), as tensors only."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give VPoser's checkpoint (snapshots/*.pt or *.ckpt).") from None
    except Exception as error:  # torch raises many kinds, for cut files as for refused contents
        raise InputError(
            f"{path} cannot be read as weights only ({str(error).splitlines()[0]}). A checkpoint may hold code; save its state dict "
            "alone with torch.save(checkpoint['state_dict'], FILE) on a machine you can spare."
        ) from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else {}
    weights = {
        name.removeprefix("vp_model."): tensor.to(dtype)
        for name, tensor in weights.items()
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    }
    prior = None
    try:
        prior = VPoserPrior(weights)
        decoded = prior.decode(prior.encode(torch.zeros(1, 3 * N_POSED, dtype=dtype)))
        if decoded.shape != (1, N_POSED, 3, 3):
            prior = None
    except (KeyError, RuntimeError):
        prior = None
    if prior is None:
        raise InputError(
            f"{path} does not hold the weights of VPoser 1 or 2 for 21 joints; give its checkpoint (snapshots/*.pt or *.ckpt)."
        )
    return prior
