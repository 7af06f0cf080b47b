"""Votes become joints: which points vote for a joint, and how what they say is combined.

Everything here is float32 and in crop coordinates (`frame.py`).
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from model.networks.frame import HALF
from model.networks.targets import Targets


class Said(NamedTuple):
    """The votes of points. q: (B, N, 3), the points. raw: (B, N, J, C), as the field gives them. positions: (B, N, J, 3), where
    each point puts each joint. score: (B, N, J), higher for a vote that counts more.
    """

    q: Tensor
    raw: Tensor
    positions: Tensor
    score: Tensor


class VoteRule(Protocol):
    """What a vote says and how much it counts: the part of a field head that tells one head from another.

    channels: raw numbers that a point gives for a joint. anchored: whether the first three correct the joint's anchor.
    """

    channels: int
    anchored: bool

    def say(self, q: Tensor, raw: Tensor, depth: Tensor) -> Said:
        """What raw (B, N, J, channels) at q (B, N, 3) means. depth: (B,) D0."""
        ...

    def weights(self, score: Tensor, selected: Tensor) -> Tensor:
        """(B, N, J) weights of the selected votes; they sum to 1 over the points. selected: (B, N, J) bool."""
        ...

    def silence(self, score: Tensor, silent: Tensor) -> Tensor:
        """The scores with the votes of `silent` (B, N, J) bool taken out of the weighing."""
        ...

    def expected_error(self, score: Tensor, weights: Tensor) -> Tensor | None:
        """(B, J) m, up to a factor: how wrong the weighted votes expect to be; None where a vote does not say."""
        ...

    def unheard(self, score: Tensor, selected: Tensor) -> Tensor:
        """(B, J) bool: no selected vote has any weight of its own, so that all of them count alike."""
        ...

    def loss(self, said: Said, targets: Targets, near: Tensor) -> Tensor:
        """Mean loss of the votes where `near` (B, N, J or 1) bool holds."""
        ...


class Votes(NamedTuple):
    """joints: (B, J, 3) crop coordinates. spread: (B, J) m, weighted deviation of the votes. expected_error: (B, J) m, how wrong
    they expect to be, None where a vote does not say. effective_votes: (B, J) as how many equal votes they count, 1 / sum w^2.
    fallback: (B, J) bool, none of the joint's votes comes from within the gate, or none has a weight of its own. queries: (B,)
    points asked.
    """

    joints: Tensor
    spread: Tensor
    expected_error: Tensor | None
    effective_votes: Tensor
    fallback: Tensor
    queries: Tensor


def of_each_joint(q: Tensor, anchors: Tensor, selected: Tensor, count: int) -> Tensor:
    """(B, N, J) bool: the `count` selected points that appear nearest to each joint in the image, or all (0), which vote for it.

    q: (B, N, 3), anchors: (B, J, 2 or 3) crop coordinates, selected: (B, N) bool.
    """
    if not count:
        return selected[..., None].expand(-1, -1, anchors.shape[1])
    far = torch.cdist(q[..., :2], anchors[..., :2]).masked_fill(~selected[..., None], torch.inf)
    limit = far.topk(min(count, q.shape[1]), dim=1, largest=False).values[:, -1:]
    return (far <= limit) & selected[..., None]


def best_of(score: Tensor, selected: Tensor, best: float) -> Tensor:
    """(B, N, J) bool: of the selected points (B, N, J), those whose score is among the best of their joint."""
    count = selected.sum(1)
    keep = torch.full_like(count, int(best)) if best > 1 else (count * best).ceil().long()
    keep = keep.clamp(min=1).minimum(count)
    ranked = score.masked_fill(~selected, -torch.inf).sort(1, descending=True).values
    lowest = ranked.gather(1, (keep - 1)[:, None])
    return (score >= lowest) & selected


def combine(rule: VoteRule, positions: Tensor, score: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean of the votes of the selected points: joints (B, J, 3), weights (B, N, J).

    positions: (B, N, J, 3), score: (B, N, J), selected: (B, N, J) bool with at least one point a joint.
    """
    weights = rule.weights(score, selected)
    return (weights[..., None] * positions).sum(1), weights


def decode(
    rule: VoteRule, q: Tensor, raw: Tensor, selected: Tensor, depth: Tensor, queries: Tensor, best: float = 1.0
) -> Votes:
    """Joints from the votes raw (B, N, J, channels) at q (B, N, 3) of the selected points (B, N, J) bool.

    best: votes that count for each joint, those of highest score: a count above 1, or a part of them up to 1.
    """
    _, _, positions, score = rule.say(q, raw, depth)
    if best != 1:
        score = rule.silence(score, ~best_of(score, selected, best))
    joints, weights = combine(rule, positions, score, selected)
    spread = (weights * ((positions - joints[:, None]) * HALF).square().sum(-1)).sum(1).sqrt()
    said = rule.expected_error(score, weights)
    unheard = rule.unheard(score, selected)
    effective = (1 / weights.square().sum(1)).masked_fill(unheard, 0.0)
    return Votes(joints, spread, said, effective, unheard, queries)
