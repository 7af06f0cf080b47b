"""Confidence that means something: the lines of `model.networks.certainty` are fitted to validation views.

A joint's confidence is fitted to how often such joints, the root left out, lie within 100 mm of the truth, on views as they are
and on the same views framed badly, half out of the crop, recoloured and covered. Presence is fitted to tell these views from
pictures without a person in the box: black, flat and noisy ones, crops in shuffled pieces, and crops in which the person is far
too small.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from model.data.augment import AugmentConfig
from model.data.loading import ViewDataset, evaluation_batches
from model.data.views import Views
from model.device import fast_bf16
from model.networks.certainty import RIGHT_M, joint_features, presence_features
from model.networks.frame import reference_depth, to_canonical
from model.networks.network import PoseNetwork
from pipeline.skeletons import JOINT_SETS
from pipeline.spread import spread_evenly

# Views that are looked at, as they are and framed badly.
VIEWS = 32
BADLY_FRAMED = AugmentConfig(
    scale=0.6, shift=0.45, roll_degrees=30.0, flip=0.5, colour=0.3, occlusion=0.3, occlusion_size=0.5
)
# Pull of a line's weights towards zero, in units of one sample.
RIDGE = 1.0


@torch.no_grad()
def calibrate(
    network: PoseNetwork, views: Views, index: Sequence[int] | np.ndarray, device: torch.device, bf16: bool = False
) -> dict:
    """Fits a network's certainty to some views whose joints are known. Returns what the fit says of itself, JSON-able.

    bf16: see them in that precision where it is faster, as `predict_views` does; it takes half of the time then. Uses no random
    state of the run: the same weights and views give the same lines.
    """
    network.eval()
    some = np.asarray(index)[spread_evenly(len(index), VIEWS)]
    generator = torch.Generator().manual_seed(0)
    joint_set = JOINT_SETS[network.config.joint_set]
    moves = torch.arange(len(joint_set), device=device) != joint_set.root_index  # the root is right by definition
    joints, right, present, absent = [], [], [], []
    for augment in (None, BADLY_FRAMED):
        dataset = ViewDataset(views, network.config.crop_px, draw=None, augment=augment)
        for keys in evaluation_batches(some, 16):
            batch = dataset.__getitems__(keys).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16 and fast_bf16(device)):
                features, presence, found = look(network, batch.image, batch.K)
                absent.append(look(network, nobody(batch.image, generator), batch.K)[1])
            error = (found - batch.joints).norm(dim=-1)
            joints.append(features[batch.joints_valid & moves])
            right.append((error < RIGHT_M)[batch.joints_valid & moves])
            present.append(presence)
    known, labels = _table(joints), _table(right)
    person, nothing = _table(present), _table(absent)
    network.certainty.joint_line.copy_(_line(known, labels))
    both = np.concatenate([person, nothing])
    network.certainty.presence_line.copy_(_line(both, np.arange(len(both)) < len(person)))
    network.certainty.calibrated.fill_(True)
    return {
        "joints": len(labels),
        "within_100mm": float(labels.mean()),
        "stated": float(_probability(known, network.certainty.joint_line).mean()),
        "people_seen": float((_probability(person, network.certainty.presence_line) > 0.5).mean()),
        "nobody_seen": float((_probability(nothing, network.certainty.presence_line) <= 0.5).mean()),
    }


def look(network: PoseNetwork, image: Tensor, K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What certainty is made of, (B, J, F) and (B, F), and the predicted joints (B, J, 3) m, root-relative."""
    depth = reference_depth(K, network.config.crop_px)
    encoded = network.encode(image, depth)
    decoded = network.head.decode(encoded, depth)
    scale = network.predict_log_scale(encoded.person).exp()
    joints = network.relative(to_canonical(decoded.joints.float(), depth), scale)
    return joint_features(encoded, decoded), presence_features(encoded, decoded), joints


def nobody(image: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 3, S, S) pictures made of crops in [-1, 1], in which no person fills the box; one kind after the other."""
    kinds = (_black, _flat, _noise, _clouds, _shuffled, _shuffled, _far_away, _far_away)
    return torch.stack([kinds[k % len(kinds)](picture, generator) for k, picture in enumerate(image)])


def _black(picture: Tensor, generator: torch.Generator) -> Tensor:
    return torch.full_like(picture, -1.0)


def _flat(picture: Tensor, generator: torch.Generator) -> Tensor:
    colour = torch.rand(3, 1, 1, generator=generator) * 2 - 1
    return colour.to(picture).expand_as(picture)


def _noise(picture: Tensor, generator: torch.Generator) -> Tensor:
    return (torch.rand(picture.shape, generator=generator) * 2 - 1).to(picture)


def _clouds(picture: Tensor, generator: torch.Generator) -> Tensor:
    coarse = torch.rand(1, 3, 6, 6, generator=generator) * 2 - 1
    return (
        F.interpolate(coarse, size=picture.shape[-2:], mode="bicubic", align_corners=False)[0].clamp(-1, 1).to(picture)
    )


def _shuffled(picture: Tensor, generator: torch.Generator) -> Tensor:
    """The crop in 8 x 8 pieces, in another order: the same colours and textures, nobody."""
    side = picture.shape[-1] // 8
    pieces = picture.unfold(1, side, side).unfold(2, side, side).reshape(3, 64, side, side)
    pieces = pieces[:, torch.randperm(64, generator=generator)]
    return pieces.view(3, 8, 8, side, side).permute(0, 1, 3, 2, 4).reshape(picture.shape)


def _far_away(picture: Tensor, generator: torch.Generator) -> Tensor:
    """The whole crop in a fifth of its side, somewhere on a cloudy picture: a box that is far too large."""
    canvas, small = _clouds(picture, generator), F.interpolate(picture[None], scale_factor=0.2, mode="area")[0]
    room = canvas.shape[-1] - small.shape[-1]
    y, x = torch.randint(0, room + 1, (2,), generator=generator).tolist()
    canvas[:, y : y + small.shape[-1], x : x + small.shape[-1]] = small
    return canvas


def _table(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).double().cpu().numpy()


def _probability(features: np.ndarray, line: Tensor) -> np.ndarray:
    return expit(features @ line.double().cpu().numpy())


def _line(features: np.ndarray, labels: np.ndarray) -> Tensor:
    """(F,) weights of a logistic line: the likeliest under a weak pull to zero. features: (N, F), the first is one."""
    sign = np.where(labels, 1.0, -1.0)
    spread = np.r_[1.0, features[:, 1:].std(0) + 1e-6]

    def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (features @ (w / spread))
        gradient = -(features / spread).T @ (sign * expit(-margin))
        return np.logaddexp(0, -margin).sum() + 0.5 * RIDGE * (w[1:] ** 2).sum(), gradient + RIDGE * np.r_[0, w[1:]]

    found = minimize(cost, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B")
    return torch.from_numpy(found.x / spread).float()
