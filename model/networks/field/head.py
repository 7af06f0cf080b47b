"""What every head that asks a field has in common: one field a stack, a surface, votes, and where the votes are trained."""

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from model.networks.field.mlp import FieldOutput, MlpSettings, Prepared, VotingField
from model.networks.field.search import Near, SearchSettings, everywhere, in_slices, refine_grid
from model.networks.field.surface import distance_loss, limb_loss
from model.networks.field.votes import VoteRule, Votes, combine, decode, of_each_joint
from model.networks.heads.head import Head, HeadInputs, HeadSettings
from model.networks.losses import Term, joint_loss, require_weights
from model.networks.records import Decoded, Encoded, PredictedDistance
from model.networks.targets import Targets


@dataclass(frozen=True)
class FieldLosses:
    """Weights of the parts. surface: weight of a distance label on the surface; it rises with |distance| to 1 at the
    truncation. Labelled points crowd about the surface, so that with 1 the field calls everything near that the body covers in
    the image, however far before or behind it.
    """

    distance: float = 0.5
    limb: float = 0.3
    vote: float = 0.1
    joint: float = 5.0
    surface: float = 0.07

    def __post_init__(self) -> None:
        require_weights(self)
        if not 0 < self.surface <= 1:
            raise ValueError(
                f"surface is {self.surface}; it is the weight of a label on the surface, above 0 and up to 1"
            )


@dataclass(frozen=True)
class FieldHeadSettings(HeadSettings):
    """truncation: metres at which |distance| saturates; it must exceed the half diagonal of a coarse cell, else coarse-to-fine
    cannot drop anything. use_distance: False is the field without its distance: every point of the coarse grid votes.
    band: metres about the surface within which labelled points are trained to vote. neighbours: points that vote for a joint in
    prediction, those that appear nearest to its anchor; 0 is all. best: of them, those of highest score that count: a count
    above 1, or a part of them up to 1.
    """

    truncation: float = 0.12
    use_distance: bool = True
    band: float = 0.15
    neighbours: int = 64
    best: float = 1.0
    mlp: MlpSettings = field(default_factory=MlpSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    losses: FieldLosses = field(default_factory=FieldLosses)

    def __post_init__(self) -> None:
        for name in ("truncation", "band"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a length in metres above 0")
        if self.neighbours < 0:
            raise ValueError(f"neighbours is {self.neighbours}; give a count, or 0 for all points")
        if self.best <= 0:
            raise ValueError(f"best {self.best} must be above 0")
        if self.use_distance:
            self.search.require_truncation(self.truncation)


class Asked(NamedTuple):
    """Where votes are trained beside the labelled points. q: (B, M, 3) crop coordinates. voters: (B, M, J) bool, which of them
    vote for which joint.
    """

    q: Tensor
    voters: Tensor


class FieldHead(Head):
    """One field per stack; the last one predicts. rule: what a vote is."""

    rule: VoteRule

    def __init__(self, settings: FieldHeadSettings, inputs: HeadInputs, rule: VoteRule):
        super().__init__(settings, inputs)
        self.settings, self.rule, self.joint_set = settings, rule, inputs.joint_set
        fields = [
            VotingField(settings.mlp, inputs.channels, inputs.person, len(self.joint_set), rule.channels, rule.anchored)
            for _ in range(inputs.stacks)
        ]
        self.stacks = nn.ModuleList(fields)

    def fields(self) -> list[VotingField]:
        """The field of each stack."""
        return [cast(VotingField, stack) for stack in self.stacks]

    @abstractmethod
    def ask_where(
        self, stack: VotingField, prepared: Prepared, targets: Targets, generator: torch.Generator | None
    ) -> Asked | None:
        """Where the votes of a stack are trained; None for the labelled points."""

    def outputs(self) -> list[nn.Module]:
        return [field.out for field in self.fields()]

    def losses(self, encoded: Encoded, targets: Targets, generator: torch.Generator | None) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        for stack, pyramid in zip(self.fields(), encoded.features.pyramids, strict=True):
            prepared = stack.prepare(pyramid, encoded.person, encoded.anchors)
            for name, term in self._stack_losses(stack, prepared, targets, generator).items():
                value = terms[name].value + term.value if name in terms else term.value
                terms[name] = Term(value, term.weight)
        return terms

    def _stack_losses(
        self, stack: VotingField, prepared: Prepared, targets: Targets, generator: torch.Generator | None
    ) -> dict[str, Term]:
        """Losses of one stack: what a mesh tells at the labelled points, and the votes where they are trained."""
        drawn = targets.points.shape[1]
        asked = self.ask_where(stack, prepared, targets, generator)
        output = stack(prepared, targets.points if asked is None else torch.cat([targets.points, asked.q], 1))
        labelled = FieldOutput(*(value[:, :drawn] for value in output))
        terms = self._surface_losses(labelled, targets)
        if asked is not None:
            return terms | self._vote_losses(asked.q, output.votes[:, drawn:], asked.voters, asked.voters, targets)
        near = targets.point_valid & (targets.distance.abs() < self.settings.band)
        # a view without a mesh has no point in the band: all of its points then decode its joints
        decoding = near | ~near.any(1, keepdim=True)
        return terms | self._vote_losses(targets.points, labelled.votes, near[..., None], decoding[..., None], targets)

    def _surface_losses(self, labelled: FieldOutput, targets: Targets) -> dict[str, Term]:
        weights = self.settings.losses
        terms: dict[str, Term] = {}
        if self.settings.use_distance:
            value = distance_loss(labelled.distance, targets, self.settings.truncation, weights.surface)
            terms["distance"] = Term(value, weights.distance)
        if weights.limb > 0:
            terms["limb"] = Term(limb_loss(labelled.limbs, targets, self.joint_set.bones), weights.limb)
        return terms

    def _vote_losses(self, q: Tensor, raw: Tensor, near: Tensor, voters: Tensor, targets: Targets) -> dict[str, Term]:
        """Losses of the votes (B, N, J, C) at q (B, N, 3): of each vote where `near` holds, and of the joints that `voters`
        decode, both (B, N, J or 1) bool.
        """
        weights = self.settings.losses
        said = self.rule.say(q, raw, targets.depth)
        terms = {"vote": Term(self.rule.loss(said, targets, near), weights.vote)}
        if weights.joint > 0:
            joints, _ = combine(self.rule, said.positions, said.score, voters)
            terms["joint"] = Term(joint_loss(joints, targets), weights.joint)
        return terms

    def decode(self, encoded: Encoded, depth: Tensor) -> Decoded:
        votes = self.vote(self.prepare(encoded), encoded.anchors, depth)
        diagnostics = {
            "spread": votes.spread,
            "effective_votes": votes.effective_votes,
            "fallback": votes.fallback,
            "queries": votes.queries,
        }
        return Decoded(votes.joints, votes.spread, diagnostics, votes.expected_error)

    def prepare(self, encoded: Encoded) -> Prepared:
        """What points of the last stack read."""
        return self.fields()[-1].prepare(encoded.features.pyramids[-1], encoded.person, encoded.anchors)

    def points_that_vote(self, prepared: Prepared, depth: Tensor) -> Near:
        """The points near the predicted surface, or every point of the coarse grid. depth: (B,) D0."""
        settings = self.settings
        if not settings.use_distance:
            return everywhere(len(depth), settings.search.cells, depth.device)
        distance = partial(self.fields()[-1].distance, prepared)
        return refine_grid(
            lambda q: in_slices(distance, q) * settings.truncation, len(depth), settings.search, depth.device
        )

    def vote(self, prepared: Prepared, anchors: Tensor, depth: Tensor) -> Votes:
        """Asks the last stack coarse to fine and combines the votes of the points near the surface, for each joint those near
        its anchor. anchors: (B, J, 3) crop coordinates. depth: (B,) D0.
        """
        near = self.points_that_vote(prepared, depth)
        selected = of_each_joint(near.q, anchors, near.real, self.settings.neighbours)
        raw = in_slices(lambda q: self.stacks[-1](prepared, q).votes, near.q)
        found = decode(self.rule, near.q, raw, selected, depth, near.queries, self.settings.best)
        return found._replace(fallback=found.fallback | ~(selected & near.gated[..., None]).any(1))

    def distance(self, encoded: Encoded) -> PredictedDistance | None:
        if not self.settings.use_distance:
            return None
        prepared, truncation = self.prepare(encoded), self.settings.truncation
        last = self.fields()[-1]
        return PredictedDistance(lambda q: last.distance(prepared, q) * truncation, truncation)
