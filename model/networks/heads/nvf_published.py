"""The hand recipe rescaled to a body (docs/field.md): a vote is a weight and a unit vector, defined within a radius.

Everything is concatenated again at every layer, the labelled points nearest to a joint vote for it in training, and nothing is
lost on decoded joints.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from model.networks.field.head import FieldHead, FieldHeadSettings, FieldLosses
from model.networks.field.mlp import MlpSettings, Prepared, VotingField
from model.networks.field.votes import Said, VoteRule
from model.networks.frame import to_canonical, to_crop
from model.networks.heads.head import HeadInputs
from model.networks.losses import masked_mean
from model.networks.targets import Targets


@dataclass(frozen=True)
class PublishedSettings(FieldHeadSettings):
    """radius: metres within which a vote is defined: one for all joints, or one for each, in the order of the joint set.
    nearest: labelled points that vote for a joint in training, those that are nearest to it; 0 is all within the radius.
    beta: where the Huber loss of votes turns from squared to absolute.
    """

    kind: str = "nvf-published"
    neighbours: int = 0
    best: float = 0.5
    radius: tuple[float, ...] = (0.4,)
    nearest: int = 64
    beta: float = 0.1
    mlp: MlpSettings = field(default_factory=lambda: MlpSettings(skip="all", film=False))
    losses: FieldLosses = field(
        default_factory=lambda: FieldLosses(distance=1.0, limb=0.0, vote=1.0, joint=0.0, surface=1.0)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.radius or not all(radius > 0 for radius in self.radius):
            raise ValueError(
                f"radius is {self.radius}; give lengths in metres above 0, one for all joints or one for each"
            )
        if self.nearest < 0:
            raise ValueError(f"nearest is {self.nearest}; give a count, or 0 for all points")
        if not self.beta > 0:
            raise ValueError(f"beta of the Huber loss is {self.beta}; it must be above 0")

    def require_joints(self, joints: int) -> None:
        if len(self.radius) not in (1, joints):
            raise ValueError(f"{len(self.radius)} values of radius: give one, or one for each of the {joints} joints")


class PublishedVotes(VoteRule):
    """A vote is a unit vector to the joint and a weight max(0, 1 - d / R), which also tells the distance d."""

    channels, anchored = 4, False

    def __init__(self, radius: tuple[float, ...] = (0.4,), nearest: int = 64, beta: float = 0.1):
        self.radius, self.nearest, self.beta = radius, nearest, beta

    def say(self, q: Tensor, raw: Tensor, depth: Tensor) -> Said:
        weight = raw[..., 3].clamp(0, 1)
        length = (1 - weight) * torch.tensor(self.radius, device=q.device)
        X = to_canonical(q, depth)[:, :, None] + length[..., None] * raw[..., :3]
        return Said(q, raw, to_crop(X, depth), weight)

    def weights(self, score: Tensor, selected: Tensor) -> Tensor:
        weights = score.masked_fill(~selected, 0.0)
        # No weight anywhere: every selected point counts the same, and `unheard` says so.
        weights = torch.where(weights.sum(1, keepdim=True) > 1e-6, weights, selected.float())
        return weights / weights.sum(1, keepdim=True)

    def silence(self, score: Tensor, silent: Tensor) -> Tensor:
        return score.masked_fill(silent, 0.0)

    def expected_error(self, score: Tensor, weights: Tensor) -> None:
        return None

    def unheard(self, score: Tensor, selected: Tensor) -> Tensor:
        return score.masked_fill(~selected, 0.0).sum(1) <= 1e-6

    def labels(self, points: Tensor, joints: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For canonical points (B, N, 3) and joints (B, J, 3) in metres; valid: (B, N) bool, points that may vote.

        Returns weight (B, N, J), direction (B, N, J, 3) and voters (B, N, J) bool: inside R, and among the `nearest` of the draw.
        """
        offset = joints[:, None] - points[:, :, None]
        length = offset.norm(dim=-1)
        radius = torch.tensor(self.radius, device=points.device)
        voters = (length < radius) & valid[..., None]
        if self.nearest:
            k = min(self.nearest, points.shape[1])
            far = torch.where(voters, length, torch.inf)
            voters &= far <= far.topk(k, dim=1, largest=False).values[:, -1:]
        weight = torch.where(voters, 1 - length / radius, 0.0)
        direction = torch.where(voters[..., None], offset / length.clamp(min=1e-6)[..., None], 0.0)
        return weight, direction, voters

    def loss(self, said: Said, targets: Targets, near: Tensor) -> Tensor:
        """Huber on weight and unit vector. Weights are supervised at every point of `near` (B, N, 1), zeros too; vectors where
        a vote is defined.
        """
        points, joints = to_canonical(said.q, targets.depth), to_canonical(targets.joints, targets.depth)
        weight, direction, voters = self.labels(points, joints, near[..., 0])
        known = targets.joints_valid[:, None]
        of_weight = F.smooth_l1_loss(said.raw[..., 3], weight, reduction="none", beta=self.beta)
        of_vector = F.smooth_l1_loss(said.raw[..., :3], direction, reduction="none", beta=self.beta).sum(-1)
        return masked_mean(of_weight, near & known) + masked_mean(of_vector, voters & known)


class PublishedField(FieldHead):
    """The field with published votes, trained at the labelled points near the surface."""

    Settings = PublishedSettings

    def __init__(self, settings: PublishedSettings, inputs: HeadInputs):
        super().__init__(settings, inputs, PublishedVotes(settings.radius, settings.nearest, settings.beta))

    @staticmethod
    def preset(configuration: str) -> dict:
        """What a configuration of that name sets for this head."""
        quick = {"search": {"cells": 24, "most": 1024}}
        sizes = {
            "small": quick,
            "scratch": quick,
            "base": {"mlp": {"hidden": [512, 256, 128]}},
            "published": {"mlp": {"hidden": [1024, 512, 256, 128]}},
        }
        recipe = {
            "optimizer": "rmsprop",
            "learning_rate": 1e-4,
            "weight_decay": 0.0,
            "schedule": "steps",
            "average": 0.0,
        }
        return {"network": {"head": sizes.get(configuration, {})}, "train": recipe}

    def ask_where(
        self, stack: VotingField, prepared: Prepared, targets: Targets, generator: torch.Generator | None
    ) -> None:
        """Nowhere but at the labelled points."""
        return None
