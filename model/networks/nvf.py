"""The Neural Voting Field for bodies, and what every network compared with it shares: encoder, scale head, losses, prediction."""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.data.batch import Batch
from model.networks import losses, voting
from model.networks.field import FieldConfig, FieldOutput, Prepared, VotingField
from model.networks.hourglass import EncoderConfig, Features, build_encoder
from model.networks.losses import LossConfig
from model.networks.targets import HALF, TargetConfig, Targets, make_targets, reference_depth, to_canonical
from model.networks.voting import VotingConfig
from pipeline.skeletons import FIELD_JOINTS, JOINT_SETS

MODELS = ("nvf", "nvf-published", "nosdf", "holistic", "heatmap25d", "volumetric", "mean_pose")


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that shapes a network. model: one of MODELS. crop_px: side of the images it takes, a multiple of 32.
    slices: depth slices of the volumetric baseline.
    """

    model: str = "nvf"
    joint_set: str = FIELD_JOINTS.name
    crop_px: int = 128
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    targets: TargetConfig = dataclasses.field(default_factory=TargetConfig)
    voting: VotingConfig = dataclasses.field(default_factory=VotingConfig)
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    slices: int = 16

    def __post_init__(self):
        if self.model not in MODELS:
            raise ValueError(f"model {self.model!r}: choose one of {', '.join(MODELS)}")
        if self.joint_set not in JOINT_SETS:
            raise ValueError(f"joint set {self.joint_set!r}: choose one of {', '.join(JOINT_SETS)}")
        if self.crop_px < 32 or self.crop_px % 32:
            raise ValueError(f"crop_px {self.crop_px}: the encoder halves the image five times; take a multiple of 32")
        joints = len(JOINT_SETS[self.joint_set])
        if len(self.targets.radius) not in (1, joints):
            raise ValueError(
                f"{len(self.targets.radius)} values of targets.radius: give one, or one for each of the {joints} joints"
            )
        need = voting.half_diagonal(self.voting.cells) + self.voting.gate + self.voting.margin
        if self.voting.use_distance and self.voting.levels > 1 and self.targets.truncation <= need:
            raise ValueError(
                f"truncation {self.targets.truncation} m: coarse-to-fine can drop a cell only beyond {need:.3f} m, so it must be "
                f"above that, or voting.cells ({self.voting.cells}) larger"
            )


@dataclass(frozen=True)
class Statistics:
    """What a network knows of its training split. mean_pose: (J, 3) m, root-relative, crop axes. bone_lengths: (J - 1,) m, in
    the order of the joint set's `bones`. log_scale_mean, log_scale_std: of log s (targets.py) over the training views.
    """

    mean_pose: Tensor
    bone_lengths: Tensor
    log_scale_mean: float
    log_scale_std: float


@dataclass(frozen=True)
class Prediction:
    """joints: (B, J, 3) m, root-relative, crop axes. scale: (B,) s_hat, or the true s where it was given.
    joints_canonical: (B, J, 3) m, crop-camera axes at canonical scale. root: (B, 3) m, crop-camera axes, absolute.
    confidence: (B, J) 0..1, 0.5 where the votes spread by 100 mm. diagnostics: scale_bones (B,) of the mean bone lengths,
    and for a field: spread (B, J) m, voters (B, J), fallback (B, J) bool, queries (B,).
    """

    joints: Tensor
    scale: Tensor
    joints_canonical: Tensor
    root: Tensor
    confidence: Tensor
    diagnostics: dict[str, Tensor]


def standardise(image: Tensor) -> Tensor:
    """(B, 3, S, S) with zero mean and unit deviation in every channel of every image: dark rooms and coloured light look alike."""
    deviation, mean = torch.std_mean(image, (2, 3), keepdim=True)
    return (image - mean) / (deviation + 0.05)


def axis_mean(probability: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and variance along one axis of (B, J, ...) probabilities whose cells share [-1, 1] evenly: (B, J) each."""
    others = [d for d in range(2, probability.ndim) if d != dim]
    marginal = probability.sum(others)
    n = marginal.shape[-1]
    centres = (torch.arange(n, device=probability.device) + 0.5) * (2 / n) - 1
    mean = (marginal * centres).sum(-1)
    return mean, (marginal * centres.square()).sum(-1) - mean.square()


class Look(NamedTuple):
    """What a network sees in images before its head is asked.

    features: of the encoder. maps: auxiliary log-heatmaps per stack. seen: (B, J, 3) float32 crop coordinates, their means at the
    depths of the mean pose. given: (B, context) the whole person: made of the encoder's context, of `seen`, and of log D0, which says
    how strong perspective is and cannot be read from a crop.
    """

    features: Features
    maps: list[Tensor]
    seen: Tensor
    given: Tensor


class PoseNetwork(nn.Module):
    """Encoder, scale head and auxiliary heatmaps. A subclass adds a head: `head_losses` and `decode`."""

    def __init__(self, config: NetworkConfig, statistics: Statistics):
        super().__init__()
        self.config = config
        self.joint_set = JOINT_SETS[config.joint_set]
        self.register_buffer("mean_pose", torch.as_tensor(statistics.mean_pose, dtype=torch.float32))
        self.register_buffer("bone_lengths", torch.as_tensor(statistics.bone_lengths, dtype=torch.float32))
        scale = torch.tensor([statistics.log_scale_mean, statistics.log_scale_std], dtype=torch.float32)
        self.register_buffer("log_scale", scale)
        self.encoder = build_encoder(config.encoder)
        self.heatmaps = nn.ModuleList(
            [nn.Conv2d(self.encoder.channels[0], len(self.joint_set), 1) for _ in range(config.encoder.stacks)]
        )
        seen = config.encoder.context + 1 + 3 * len(self.joint_set)
        self.whole = nn.Sequential(nn.Linear(seen, 256), nn.ReLU(), nn.Linear(256, config.encoder.context), nn.ReLU())
        self.scale_head = nn.Sequential(nn.Linear(config.encoder.context, 64), nn.ReLU(), nn.Linear(64, 1))

    def head_losses(
        self, features: Features, seen: Tensor, given: Tensor, targets: Targets, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Named losses of the head, summed over stacks. seen: (B, J, 3) and given: (B, context) of `look`."""
        raise NotImplementedError

    def decode(
        self, features: Features, seen: Tensor, given: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """joints (B, J, 3) in crop coordinates, spread (B, J) m, diagnostics."""
        raise NotImplementedError

    def look(self, image: Tensor, depth: Tensor) -> Look:
        """What the encoder and the auxiliary heads make of (B, 3, S, S) images; depth: (B,) D0."""
        features = self.encoder(standardise(image))
        maps = [conv(pyramid[0]) for conv, pyramid in zip(self.heatmaps, features.pyramids, strict=True)]
        p = maps[-1].float().flatten(2).softmax(-1).view(maps[-1].shape)
        seen = self.start(torch.stack([axis_mean(p, 3)[0], axis_mean(p, 2)[0]], -1))
        told = torch.cat([seen.flatten(1), depth.log()[:, None] - 1.5], -1).to(features.context)
        told = torch.cat([features.context, told], -1)
        return Look(features, maps, seen, self.whole(told))

    def start(self, xy: Tensor) -> Tensor:
        """(B, J, 3) crop coordinates: joints at (B, J, 2) and at the depths of the mean pose at the mean scale."""
        z = self.mean_pose[:, 2] * (self.log_scale[0].exp() / HALF)
        return torch.cat([xy, z.expand(len(xy), -1)[..., None]], -1)

    def outputs(self) -> list[nn.Module]:
        """Layers whose answers are losses' own: every other matrix is hidden."""
        return [*self.heatmaps, self.scale_head[-1]]

    def hidden_matrices(self) -> list[nn.Parameter]:
        """What Muon may orthogonalise."""
        last = {id(p) for layer in self.outputs() for p in layer.parameters()}
        return [p for p in self.parameters() if p.ndim > 1 and id(p) not in last]

    def predict_log_scale(self, given: Tensor) -> Tensor:
        return self.log_scale[0] + self.log_scale[1] * self.scale_head(given)[:, 0].float()

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """ "total" and its named parts, unweighted."""
        self._check(batch.image)
        targets = make_targets(batch, self.config.crop_px, generator)
        look = self.look(batch.image, targets.depth)
        parts = self.head_losses(look.features, look.seen, look.given, targets, generator)
        parts["heatmap"] = sum(losses.heatmap_loss(logits, targets) for logits in look.maps)
        parts["scale"] = losses.scale_loss(self.predict_log_scale(look.given), targets)
        total = sum(getattr(self.config.losses, name) * value for name, value in parts.items())
        return {"total": total, **parts}

    @torch.no_grad()
    def predict(self, image: Tensor, K: Tensor, scale: Tensor | None = None) -> Prediction:
        """Joints of crops (B, 3, S, S) in [-1, 1] with intrinsics (B, 3, 3) px; scale: (B,) true s, for comparison only."""
        self._check(image)
        depth = reference_depth(K, self.config.crop_px)
        look = self.look(image, depth)
        q, spread, diagnostics = self.decode(look.features, look.seen, look.given, depth)
        if scale is None:
            scale = self.predict_log_scale(look.given).exp()
        canonical = to_canonical(q.float(), depth)
        root = self.joint_set.root_index
        joints = (canonical - canonical[:, root : root + 1]) / scale[:, None, None]
        sure = voting.confidence(spread)
        rays = canonical[..., :2] / canonical[..., 2:]
        bones = voting.bone_scale(canonical, self.joint_set.bones, self.bone_lengths)
        return Prediction(
            joints=joints,
            scale=scale,
            joints_canonical=canonical,
            root=voting.absolute_root(rays, joints, sure),
            confidence=sure,
            diagnostics={"scale_bones": bones, **diagnostics},
        )

    def _check(self, image: Tensor) -> None:
        side = self.config.crop_px
        assert image.shape[1:] == (3, side, side), f"the network takes (B, 3, {side}, {side}), got {tuple(image.shape)}"


class NeuralVotingField(PoseNetwork):
    """One field per stack; the last one predicts."""

    def __init__(self, config: NetworkConfig, statistics: Statistics):
        super().__init__(config, statistics)
        self.fields = nn.ModuleList(
            [
                VotingField(config.field, self.encoder.channels, config.encoder.context, len(self.joint_set))
                for _ in range(config.encoder.stacks)
            ]
        )
        if config.targets.vote == "direct":
            for head in self.fields:
                head.start_at_what_is_seen()

    def outputs(self) -> list[nn.Module]:
        return [*super().outputs(), *(head.out for head in self.fields)]

    def head_losses(
        self, features: Features, seen: Tensor, given: Tensor, targets: Targets, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        for head, pyramid in zip(self.fields, features.pyramids, strict=True):
            prepared = head.prepare(pyramid, given, seen)
            for name, value in self._field_losses(head, prepared, targets, generator).items():
                parts[name] = parts.get(name, 0) + value
        return parts

    def _field_losses(
        self, head: VotingField, prepared: Prepared, targets: Targets, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Losses of one stack: what a mesh tells at the labelled points, and the votes where they are trained."""
        config, drawn = self.config, targets.points.shape[1]
        asked = self._ask_where(head, prepared, targets, generator)
        output = head(prepared, targets.points if asked is None else torch.cat([targets.points, asked], 1))
        labelled = FieldOutput(*(value[:, :drawn] for value in output))
        parts = {}
        if config.voting.use_distance:
            parts["distance"] = losses.distance_loss(labelled.distance, targets, config.targets, config.losses.surface)
        if config.losses.limb > 0:
            parts["limb"] = losses.limb_loss(labelled.limbs, targets, self.joint_set.bones)
        if asked is None:
            near = losses.voting_points(targets, config.targets)[..., None]
            voters = losses.decoding_points(targets, config.targets)[..., None]
            return parts | self._vote_losses(targets.points, labelled.votes, near, voters, targets)
        everywhere = torch.ones(asked.shape[:2], dtype=torch.bool, device=asked.device)
        voters = voting.of_each_joint(asked, prepared.seen[:, 0].detach(), everywhere, config.targets.neighbours)
        return parts | self._vote_losses(asked, output.votes[:, drawn:], voters, voters, targets)

    def _vote_losses(self, q: Tensor, raw: Tensor, near: Tensor, voters: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Losses of the votes (B, N, J, 4) at q (B, N, 3): of each vote where `near` holds, and of the joints that `voters`
        decode, both (B, N, J or 1) bool.
        """
        config, parts = self.config, {}
        positions, score = voting.vote_positions(q, raw, targets.depth, config.targets)
        if config.targets.vote == "direct":
            parts["vote"] = losses.direct_vote_loss(positions, score, targets, near)
        else:
            parts["vote"] = losses.published_vote_loss(q, raw, targets, config.targets, config.losses.beta)
        if config.losses.joint > 0:
            joints, _ = voting.combine(positions, score, voters, config.targets, config.voting)
            parts["joint"] = losses.joint_loss(joints, targets)
        return parts

    @torch.no_grad()
    def _ask_where(
        self, head: VotingField, prepared: Prepared, targets: Targets, generator: torch.Generator | None
    ) -> Tensor | None:
        """(B, about voters, 3) points at which votes are trained, chosen as prediction chooses them: near the predicted surface, and
        near where a joint is seen, as many for each joint. None for the labelled points.
        """
        config, seen = self.config.targets, prepared.seen[:, 0]
        if not config.candidates:
            return None
        voters = -(-config.voters // seen.shape[1])
        drawn = -(-config.candidates // seen.shape[1]) if self.config.voting.use_distance else voters
        noise = torch.randn((*seen.shape[:2], drawn, 3), generator=generator, device=seen.device)
        spread = torch.tensor([config.across, config.across, config.along], device=seen.device) / HALF
        q = (seen[:, :, None] + spread * noise).clamp(-1, 1)
        if not self.config.voting.use_distance:
            return q.flatten(1, 2)
        size = head.distance(prepared, q.flatten(1, 2)).abs().view(q.shape[:3])
        nearest = size.topk(voters, dim=2, largest=False).indices
        return q.gather(2, nearest[..., None].expand(-1, -1, -1, 3)).flatten(1, 2)

    def decode(
        self, features: Features, seen: Tensor, given: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        head = self.fields[-1]
        prepared = head.prepare(features.pyramids[-1], given, seen)
        votes = voting.vote(
            lambda q: head.distance(prepared, q),
            lambda q: head(prepared, q).votes,
            seen,
            depth,
            self.config.targets,
            self.config.voting,
        )
        found = {"spread": votes.spread, "voters": votes.voters, "fallback": votes.fallback, "queries": votes.queries}
        return votes.joints, votes.spread, found


def build_network(config: NetworkConfig, training_statistics: Statistics) -> nn.Module:
    """The network that config.model names."""
    from model.networks import baselines  # it builds on PoseNetwork

    if config.model in ("nvf", "nvf-published", "nosdf"):
        return NeuralVotingField(config, training_statistics)
    return baselines.HEADS[config.model](config, training_statistics)
