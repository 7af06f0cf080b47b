"""What travels between the parts of a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from model.networks.encoders.encoder import Features


@dataclass(frozen=True)
class Statistics:
    """What a network knows of its training split. mean_pose: (J, 3) m, root-relative, crop axes. bone_lengths: (J - 1,) m, in
    the order of the joint set's `bones`. log_scale_mean, log_scale_std: of log s (`frame.py`) over the training views.
    """

    mean_pose: Tensor
    bone_lengths: Tensor
    log_scale_mean: float
    log_scale_std: float


class Encoded(NamedTuple):
    """What a network makes of images before its head is asked.

    features: of the encoder. maps: auxiliary log-heatmaps (B, J, h, w), one a stack. anchors: (B, J, 3) float32 crop
    coordinates: where the image shows each joint, at the depth of the mean pose or at one that was learnt (`anchors.py`).
    person: (B, C) one vector for the whole person, made of the encoder's context, of the anchors, and of log D0, which says how
    strong perspective is and cannot be read from a crop. mean_pose: (J, 3) crop coordinates, at the mean scale.
    """

    features: Features
    maps: list[Tensor]
    anchors: Tensor
    person: Tensor
    mean_pose: Tensor


class PredictedDistance(NamedTuple):
    """A predicted signed distance. at: (B, N, 3) crop coordinates -> (B, N) canonical metres. limit: metres at which it saturates."""

    at: Callable[[Tensor], Tensor]
    limit: float


class Decoded(NamedTuple):
    """A head's answer. joints: (B, J, 3) crop coordinates. spread: (B, J) m, how far apart the evidence lies. diagnostics:
    further (B,) or (B, J) tensors by name, for reports. expected_error: (B, J) m, how wrong the head takes itself to be, up to a
    factor; None where the spread is all it knows.
    """

    joints: Tensor
    spread: Tensor
    diagnostics: dict[str, Tensor]
    expected_error: Tensor | None = None


@dataclass(frozen=True)
class Prediction:
    """joints: (B, J, 3) m, root-relative, crop axes. scale: (B,) s_hat, or the true s where it was given.
    joints_canonical: (B, J, 3) m, crop-camera axes at canonical scale. root: (B, 3) m, crop-camera axes, absolute.
    confidence: (B, J) 0..1, the probability that a joint lies within 100 mm of the truth. presence: (B,) 0..1, the probability
    that a person fills the crop as a box should be filled. diagnostics: scale_bones (B,) of the mean bone lengths, and for a
    field: spread (B, J) m, effective_votes (B, J), fallback (B, J) bool, queries (B,).
    """

    joints: Tensor
    scale: Tensor
    joints_canonical: Tensor
    root: Tensor
    confidence: Tensor
    presence: Tensor
    diagnostics: dict[str, Tensor]
