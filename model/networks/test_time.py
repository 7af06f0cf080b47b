"""Test-time augmentation: a network is asked about several looks at a crop, and what it says of them is averaged.

The looks are the crop as it is and its middle enlarged by a tenth, each mirrored as well. A person's mirror image is as likely as the
person, and a box is never quite the right one; a network errs in other ways about each look. It takes four times the time.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.networks.network import Network
from model.networks.records import Prediction
from pipeline.skeletons import JOINT_SETS

# How much each look enlarges the crop about its middle. Smaller, turned and more looks gained nothing (docs/log.md).
ENLARGED = (1.0, 1.1)


def predict_augmented(network: Network, image: Tensor, K: Tensor) -> Prediction:
    """As `Network.predict`. Mirrored crops get the mirrored answer, to the rounding. diagnostics: of the crops as they are, but the
    points that all looks asked, and no scale of mean bone lengths, which is each look's own."""
    looks, flip = [], JOINT_SETS[network.config.joint_set].flip
    for factor in ENLARGED:
        pixels, camera = enlarged(image, K, factor)
        own = network.predict(pixels, camera)
        other = mirrored(network.predict(pixels.flip(-1), mirrored_camera(camera, image.shape[-1])), flip)
        looks += [at_first_size(own, factor), at_first_size(other, factor)]

    def mean(name: str) -> Tensor:
        return torch.stack([getattr(look, name) for look in looks]).mean(0)

    names = ("joints", "joints_canonical", "root", "confidence")
    scale = torch.stack([look.scale.log() for look in looks]).mean(0).exp()
    presence = (looks[0].presence + looks[1].presence) / 2  # a box is filled as it should be in the first alone
    kept = {name: value for name, value in looks[0].diagnostics.items() if name != "scale_bones"}
    if "queries" in kept:
        kept["queries"] = torch.stack([look.diagnostics["queries"] for look in looks]).sum(0)
    return Prediction(**{name: mean(name) for name in names}, scale=scale, presence=presence, diagnostics=kept)


def at_first_size(said: Prediction, factor: float) -> Prediction:
    """What is said of an enlarged crop, at the canonical scale of the crop as it was: that follows the focal length."""
    return replace(said, scale=said.scale / factor, joints_canonical=said.joints_canonical / factor)


def enlarged(image: Tensor, K: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """The middle of crops (B, 3, S, S), enlarged to the same size, and its intrinsics (B, 3, 3) px."""
    if factor == 1:
        return image, K
    grid = functional.affine_grid(
        torch.eye(2, 3).mul(1 / factor).expand(len(image), 2, 3), list(image.shape), align_corners=True
    )
    pixels = functional.grid_sample(image, grid.to(image), align_corners=True)
    middle = (image.shape[-1] - 1) / 2
    camera = K.clone()
    camera[:, :2, :2] *= factor
    camera[:, :2, 2] = middle + factor * (K[:, :2, 2] - middle)
    return pixels, camera


def mirrored(said: Prediction, flip: np.ndarray) -> Prediction:
    """What is said of a crop, from what is said of its mirror image. flip: (J,) the joint of the other side, of each joint."""
    mirror, other = said.joints.new_tensor([-1.0, 1.0, 1.0]), list(flip)
    return replace(
        said,
        joints=(said.joints * mirror)[:, other],
        joints_canonical=(said.joints_canonical * mirror)[:, other],
        root=said.root * mirror,
        confidence=said.confidence[:, other],
    )


def mirrored_camera(K: Tensor, width: int) -> Tensor:
    """Intrinsics (B, 3, 3) px of the mirror images of crops of so many columns."""
    camera = K.clone()
    camera[:, 0, 2] = width - 1 - K[:, 0, 2]
    return camera
