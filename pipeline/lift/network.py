"""The lifter: image points of one person, with how far each may be off, to joints in space about the root, with the same.

It knows how people hold themselves, how cameras look at them, and how perspective shows which of two limbs is nearer. It has never
seen a picture: it was trained on posed bodies alone (`pipeline.build_lifter`), and so it goes with points of any detector.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import load
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.skeletons import COCO, FIELD_JOINTS

ASSET = Path(__file__).parent / "assets" / "lifter.safetensors"
# The points that it may be told: MSCOCO's keypoints, then the field's joints. What it says is about the field's joints.
POINTS, JOINTS = len(COCO) + len(FIELD_JOINTS), len(FIELD_JOINTS)
# Fewer points than this say too little of a body.
LEAST_POINTS = 6
# Nothing that is lifted is surer than this, metres.
SUREST = 1e-3
# Width of its layers, and how many pairs of them.
WIDTH, BLOCKS = 512, 3
# Stated deviations (of a Laplace distribution) relative to how far a joint is from its mean in training, logarithms.
_LEAST, _MOST = -5.0, 2.0


@dataclass(frozen=True)
class Lifted:
    """joints: (N, 17, 3) m of FIELD_JOINTS about the root, in the axes that the rays were given in. deviation: (N, 17) m an axis, how
    far each is expected to be off (root of the mean square), infinite for the root, of which nothing is said. known: (N,) bool, False
    where too few points were given: joints are 0 then, and deviations infinite."""

    joints: np.ndarray
    deviation: np.ndarray
    known: np.ndarray

    def weights(self, defined: np.ndarray, trust: np.ndarray | float) -> np.ndarray:
        """(N, 17) 1 / m^2, what each joint weighs as evidence. defined: (17,) bool, the others weigh nothing. trust: factor on the
        stated deviations, one or (N, 17)."""
        return (self.known[:, None] & defined) / np.maximum(trust * self.deviation, SUREST) ** 2


class Lifter(nn.Module):
    """A multilayer perceptron with residual blocks."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4 * POINTS + 1, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
            for _ in range(BLOCKS)
        )
        self.last = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 6 * JOINTS))
        self.register_buffer("mean", torch.zeros(JOINTS, 3))
        self.register_buffer("deviation", torch.ones(JOINTS, 3))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 17, 3) m about the root in canonical axes, and (N, 17, 3) m, the mean absolute error that is expected of each."""
        x = self.first(features)
        for block in self.blocks:
            x = x + block(x)
        where, spread = self.last(x).unflatten(1, (JOINTS, 6)).split(3, dim=-1)
        return self.mean + where * self.deviation, spread.clamp(_LEAST, _MOST).exp() * self.deviation


def canonical(rays: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """What the network is given, and in which axes it answers.

    rays: (N, 34, 2) X/Z and Y/Z of POINTS; deviation: (N, 34) of each ray, infinite for a point that was not seen (its ray may be
    anything finite). Returns features (N, F), and turns (N, 3, 3) from the rays' axes to those in which the middle of the seen points
    lies straight ahead, without roll.
    """
    seen = torch.isfinite(deviation)
    low, high = _bounds(rays, seen)
    ahead = nn.functional.normalize(nn.functional.pad((low + high) / 2, (0, 1), value=1.0), dim=-1)
    down = torch.tensor([0.0, 1.0, 0.0]).to(ahead).expand_as(ahead)
    right = nn.functional.normalize(torch.linalg.cross(down, ahead), dim=-1)
    turns = torch.stack([right, torch.linalg.cross(ahead, right), ahead], 1)
    turned = nn.functional.pad(rays, (0, 1), value=1.0) @ turns.transpose(1, 2)
    flat = turned[..., :2] / turned[..., 2:].clamp_min(0.1)
    low, high = _bounds(flat, seen)
    size = (high - low).amax(-1, keepdim=True).clamp_min(1e-4)
    placed = torch.where(seen[..., None], 2 * flat / size[..., None], 0.0)
    sure = torch.where(seen, (deviation / size).clamp(1e-4, 1.0).log() + 4.0, 0.0)
    return torch.cat([placed.flatten(1), seen.to(flat), sure, size.log() + 1.0], 1), turns


def _bounds(points: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 2) least and greatest coordinates of the seen points; zeros where there are none."""
    far = points.new_tensor(1e6)
    low = torch.where(seen[..., None], points, far).amin(1)
    high = torch.where(seen[..., None], points, -far).amax(1)
    any_seen = seen.any(1, keepdim=True)
    return torch.where(any_seen, low, 0.0), torch.where(any_seen, high, 0.0)


@torch.no_grad()
def lift(network: Lifter, rays: np.ndarray, deviation: np.ndarray) -> Lifted:
    """rays: (N, 34, 2) of POINTS; deviation: (N, 34), of each ray, not finite for a point that was not seen."""
    seen = np.isfinite(deviation) & np.isfinite(rays).all(-1)
    known = seen.sum(1) >= LEAST_POINTS
    given = torch.tensor(np.where(seen[..., None], rays, 0.0), dtype=torch.float32)
    features, turns = canonical(given, torch.tensor(np.where(seen, deviation, np.inf), dtype=torch.float32))
    joints, off = network(features)
    joints = (joints @ turns).double().numpy()
    joints[:, FIELD_JOINTS.root_index] = 0.0
    # the mean square of a Laplace distribution is twice the square of its mean absolute error
    off = (2 * off.square().mean(-1)).sqrt().double().numpy()
    off[:, FIELD_JOINTS.root_index] = np.inf
    return Lifted(np.where(known[:, None, None], joints, 0.0), np.where(known[:, None], off, np.inf), known)


@functools.cache
def load_lifter(path: Path = ASSET) -> Lifter:
    """The network that comes with this program, or of a file that `pipeline.build_lifter` wrote. Raises InputError when it is none."""
    try:
        state = {name: value.float() for name, value in load(path.read_bytes()).items()}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). Install the program again.") from error
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is no safetensors file ({error}). Install the program again.") from error
    network = Lifter().eval().requires_grad_(False)
    have, wanted = (
        {name: tuple(value.shape) for name, value in each.items()} for each in (state, network.state_dict())
    )
    if have != wanted:
        raise InputError(f"{path} holds other weights than the lifter's. Make it: python -m pipeline.build_lifter OUT.")
    network.load_state_dict(state)
    return network
