"""How far a prediction can be trusted: each of its joints, and whether anybody is in the crop at all.

Both are logistic lines over what the network says of itself. Their numbers are calibrated on validation views
(`model.training.calibrate`) and travel in a checkpoint as buffers.
"""

import math

import torch
from torch import Tensor, nn

from model.networks.frame import HALF, axis_mean, spatial_softmax
from model.networks.records import Decoded, Encoded

# A joint is right when it lies within this of the truth, metres.
RIGHT_M = 0.1
JOINT_FEATURES, PRESENCE_FEATURES = 3, 7


class Certainty(nn.Module):
    """joint_line: weights of `joint_features`. presence_line: weights of `presence_features`. calibrated: whether they were
    fitted; until then a joint's confidence is 0.5 where its expected error is 0.1 m, and everybody is taken to be there.
    """

    joint_line: Tensor
    presence_line: Tensor
    calibrated: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("joint_line", torch.tensor([0.0, -2.0, 0.0]))
        self.register_buffer("presence_line", torch.zeros(PRESENCE_FEATURES))
        self.register_buffer("calibrated", torch.tensor(False))

    def forward(self, encoded: Encoded, decoded: Decoded) -> tuple[Tensor, Tensor]:
        """confidence (B, J), the probability that a joint is right, and presence (B,), that somebody is there."""
        joints = (joint_features(encoded, decoded) @ self.joint_line).sigmoid()
        presence = (presence_features(encoded, decoded) @ self.presence_line).sigmoid()
        return joints, torch.where(self.calibrated, presence, torch.ones_like(presence))


def heatmap_deviation(maps: Tensor) -> Tensor:
    """(B, J) m: how far the probability of a log-heatmap (B, J, h, w) lies about its mean, in the image."""
    p = spatial_softmax(maps)
    variance = axis_mean(p, 3)[1] + axis_mean(p, 2)[1]
    return HALF * variance.clamp(min=1e-8).sqrt()


def joint_features(encoded: Encoded, decoded: Decoded) -> Tensor:
    """(B, J, 3): one, and the logarithms of the error that the head expects and of the heatmap's deviation, over 0.1 m."""
    expected, deviation = _logs(encoded, decoded)
    return torch.stack([torch.ones_like(expected), expected, deviation], -1)


def presence_features(encoded: Encoded, decoded: Decoded) -> Tensor:
    """(B, 7): one; mean and largest heatmap deviation; mean expected error; how far heatmaps stand out from a flat one; and how
    high and wide the anchors lie in the crop.
    """
    expected, deviation = _logs(encoded, decoded)
    maps = encoded.maps[-1].float().flatten(2)
    peak = maps.log_softmax(-1).amax(-1).mean(1) + math.log(maps.shape[-1])
    size = (encoded.anchors[..., :2].amax(1) - encoded.anchors[..., :2].amin(1)).clamp(min=1e-3).log()
    columns = [
        torch.ones_like(peak),
        deviation.mean(1),
        deviation.amax(1),
        expected.mean(1),
        peak,
        size[:, 0],
        size[:, 1],
    ]
    return torch.stack(columns, -1)


def _logs(encoded: Encoded, decoded: Decoded) -> tuple[Tensor, Tensor]:
    # votes that lie further apart than they themselves expect to be wrong cannot all be as right as that
    expected = decoded.spread if decoded.expected_error is None else decoded.expected_error.maximum(decoded.spread)
    expected = (expected.clamp(min=1e-3) / RIGHT_M).log()
    return expected.float(), (heatmap_deviation(encoded.maps[-1]) / RIGHT_M).log()
