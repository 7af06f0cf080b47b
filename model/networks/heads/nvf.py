"""The Neural Voting Field for bodies: every point near the predicted surface says where each joint is, and how sure it is.

A vote is a correction of the joint's anchor and a score, the two parts of a likelihood; votes are trained where prediction will
ask for them.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.device import draw_rows
from model.networks.field.head import Asked, FieldHead, FieldHeadSettings
from model.networks.field.mlp import Prepared, VotingField
from model.networks.field.votes import Said, VoteRule, of_each_joint
from model.networks.frame import HALF
from model.networks.heads.head import HeadInputs
from model.networks.losses import masked_mean
from model.networks.targets import Targets


@dataclass(frozen=True)
class AskedSettings:
    """Votes are trained where prediction will ask for them: of `candidates` points drawn about the joints' anchors, at the
    `points` of smallest *predicted* |distance|, as many for each joint. across, along: their deviation across the image and
    along the ray, metres. Points drawn about the true surface give the pose away by where they are, which no query at test time
    does. neighbours: points that vote for a joint in training, those that appear nearest to its anchor (0 is all).
    candidates = 0 trains votes at the labelled points near the true surface, as published.
    """

    candidates: int = 1024
    points: int = 128
    across: float = 0.165
    along: float = 0.4125
    neighbours: int = 32

    def __post_init__(self) -> None:
        for name in ("across", "along"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a length in metres above 0")
        if self.neighbours < 0 or self.candidates < 0:
            raise ValueError(
                f"asked.neighbours is {self.neighbours} and candidates {self.candidates}; give counts, 0 or more"
            )
        if self.candidates and not 1 <= self.points <= self.candidates:
            raise ValueError(f"asked.points is {self.points}; it must be 1 to candidates ({self.candidates})")


@dataclass(frozen=True)
class NvfSettings(FieldHeadSettings):
    """temperature: of the softmax over the scores."""

    kind: str = "nvf"
    temperature: float = 1.0
    asked: AskedSettings = field(default_factory=AskedSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0:
            raise ValueError(f"temperature {self.temperature} must be above 0")


class DirectVotes(VoteRule):
    """A vote is an offset and a score, -2 log of the width b that it expects its error to have."""

    channels, anchored = 4, True

    def __init__(self, temperature: float = 1.0):
        self.temperature = temperature

    def say(self, q: Tensor, raw: Tensor, depth: Tensor) -> Said:
        return Said(q, raw, q[:, :, None] + raw[..., :3], raw[..., 3])

    def weights(self, score: Tensor, selected: Tensor) -> Tensor:
        return (score / self.temperature).masked_fill(~selected, -torch.inf).softmax(1)

    def silence(self, score: Tensor, silent: Tensor) -> Tensor:
        return score.masked_fill(silent, -torch.inf)

    def expected_error(self, score: Tensor, weights: Tensor) -> Tensor:
        return 0.1 * (weights * (-score / 2).exp()).sum(1)

    def unheard(self, score: Tensor, selected: Tensor) -> Tensor:
        return torch.zeros_like(score[:, 0], dtype=torch.bool)

    def loss(self, said: Said, targets: Targets, near: Tensor) -> Tensor:
        return direct_vote_loss(said.positions, said.score, targets, near)


def direct_vote_loss(positions: Tensor, score: Tensor, targets: Targets, voters: Tensor) -> Tensor:
    """Negative log-likelihood of offsets with a predicted Laplace width: |error|_1 / b + 3 log b, where score = -2 log b.

    The softmax of the scores then weighs votes by 1 / b^2. positions: (B, N, J, 3), score: (B, N, J), voters: (B, N, J) bool.
    """
    error = (positions - targets.joints[:, None]).abs().sum(-1) * (HALF / 0.1)  # in tenths of a metre
    return masked_mean(error * (score / 2).exp() - 1.5 * score, voters & targets.joints_valid[:, None])


class NeuralVotingField(FieldHead):
    """The field with direct votes."""

    Settings = NvfSettings
    settings: NvfSettings

    def __init__(self, settings: NvfSettings, inputs: HeadInputs):
        super().__init__(settings, inputs, DirectVotes(settings.temperature))

    @staticmethod
    def preset(configuration: str) -> dict:
        """What a configuration of that name sets for this head."""
        return {"network": {"head": SIZES.get(configuration, {})}}

    @torch.no_grad()
    def ask_where(
        self, stack: VotingField, prepared: Prepared, targets: Targets, generator: torch.Generator | None
    ) -> Asked | None:
        """About `asked.points` points, chosen as prediction chooses them: near the predicted surface, and near a joint's
        anchor, as many for each joint.
        """
        asked, anchors = self.settings.asked, prepared.anchors[:, 0]
        if not asked.candidates:
            return None
        kept = -(-asked.points // anchors.shape[1])
        drawn = -(-asked.candidates // anchors.shape[1]) if self.settings.use_distance else kept
        noise = draw_rows(torch.randn, (*anchors.shape[:2], drawn, 3), generator, anchors.device)
        deviation = torch.tensor([asked.across, asked.across, asked.along], device=anchors.device) / HALF
        q = (anchors[:, :, None] + deviation * noise).clamp(-1, 1)
        if self.settings.use_distance:
            size = stack.distance(prepared, q.flatten(1, 2)).abs().view(q.shape[:3])
            nearest = size.topk(kept, dim=2, largest=False).indices
            q = q.gather(2, nearest[..., None].expand(-1, -1, -1, 3))
        q = q.flatten(1, 2)
        anywhere = torch.ones(q.shape[:2], dtype=torch.bool, device=q.device)
        return Asked(q, of_each_joint(q, anchors, anywhere, asked.neighbours))


# For minutes on two cores. A third of the default's points in prediction, 23 ms a view instead of 89, the same joints to 0.2 mm
# (docs/log.md).
QUICK = {
    "asked": {"candidates": 256, "points": 64, "neighbours": 16},
    "search": {"cells": 24, "most": 1024},
}
# What the named configurations take for this head.
SIZES: dict[str, dict] = {
    "small": QUICK,
    "scratch": QUICK,
    "base": {"mlp": {"hidden": [512, 256, 128]}},
}
