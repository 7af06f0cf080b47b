"""The network around a head: encoder, auxiliary maps, scale, and the prediction in metres. It knows no head and no encoder."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.data.batch import Batch
from model.networks.anchors import ANCHORS
from model.networks.certainty import Certainty
from model.networks.encoders.encoder import Encoder, EncoderSettings, ParameterGroup
from model.networks.frame import HALF, absolute_root, bone_scale, reference_depth, to_canonical
from model.networks.heads.head import Head, HeadInputs, HeadSettings
from model.networks.losses import Term, added, heatmap_loss, joint_loss, require_weights, scale_loss
from model.networks.records import Encoded, PredictedDistance, Prediction, Statistics
from model.networks.targets import make_targets
from pipeline.skeletons import FIELD_JOINTS, JOINT_SETS, JointSet

# Larger crops would fill the memory before anything says why, pixels a side.
LARGEST_CROP = 1024


@dataclass(frozen=True)
class SharedLosses:
    """Weights of the losses that every network has: of the auxiliary heatmaps, of the scale, and of anchors that learn depth."""

    heatmap: float = 0.5
    scale: float = 1.0
    anchor: float = 5.0

    def __post_init__(self) -> None:
        require_weights(self)


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that shapes a network. crop_px: side of the images it takes, a multiple of 32. encoder, head: settings of one
    of `build.ENCODERS` and of one of `build.HEADS`. anchors: where heads start, one of `anchors.ANCHORS`.
    """

    encoder: EncoderSettings
    head: HeadSettings
    joint_set: str = FIELD_JOINTS.name
    crop_px: int = 128
    anchors: str = "heatmaps"
    losses: SharedLosses = dataclasses.field(default_factory=SharedLosses)

    def __post_init__(self) -> None:
        if self.joint_set not in JOINT_SETS:
            raise ValueError(f"joint set {self.joint_set!r}: choose one of {', '.join(JOINT_SETS)}")
        if self.crop_px < 32 or self.crop_px % 32:
            raise ValueError(f"crop_px {self.crop_px}: the encoder halves the image five times; take a multiple of 32")
        if self.crop_px > LARGEST_CROP:
            raise ValueError(
                f"crop_px {self.crop_px}: images of a person have at most {LARGEST_CROP} px a side; usual are 128 to 384"
            )
        if self.anchors not in ANCHORS:
            raise ValueError(f"anchors {self.anchors!r}: choose one of {', '.join(ANCHORS)}")
        self.head.require_joints(len(JOINT_SETS[self.joint_set]))


class Network(nn.Module):
    """What a run trains and predicts with. mean_pose: (J, 3) m of the training split."""

    config: NetworkConfig
    joint_set: JointSet
    mean_pose: Tensor

    def relative(self, canonical: Tensor, scale: Tensor) -> Tensor:
        """(B, J, 3) m root-relative, of canonical joints (B, J, 3) at scale (B,)."""
        root = self.joint_set.root_index
        return (canonical - canonical[:, root : root + 1]) / scale[:, None, None]

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weighted "total" and its named parts, unweighted."""
        raise NotImplementedError

    def predict(self, image: Tensor, K: Tensor, scale: Tensor | None = None) -> Prediction:
        """Joints of crops (B, 3, S, S) in [-1, 1] with intrinsics (B, 3, 3) px; scale: (B,) true s, for comparison only."""
        raise NotImplementedError

    def distance(self, image: Tensor, K: Tensor) -> PredictedDistance | None:
        """The signed distance that it predicts for crops (B, 3, S, S); None for a network without one."""
        return None

    def parameter_groups(self) -> list[ParameterGroup]:
        """How its parameters are trained; none of a network without parameters."""
        return []

    def hidden_matrices(self) -> list[nn.Parameter]:
        """What Muon may orthogonalise."""
        return []


class PoseNetwork(Network):
    """Encoder, auxiliary heatmaps, scale head and the head that gives the joints."""

    bone_lengths: Tensor
    log_scale: Tensor

    def __init__(self, config: NetworkConfig, statistics: Statistics, encoder: Encoder, head: type[Head]):
        super().__init__()
        self.config, self.joint_set = config, JOINT_SETS[config.joint_set]
        joints, context = len(self.joint_set), config.encoder.context
        self.register_buffer("mean_pose", torch.as_tensor(statistics.mean_pose, dtype=torch.float32).clone())
        self.register_buffer("bone_lengths", torch.as_tensor(statistics.bone_lengths, dtype=torch.float32))
        scale = torch.tensor([statistics.log_scale_mean, statistics.log_scale_std], dtype=torch.float32)
        self.register_buffer("log_scale", scale)
        self.encoder = encoder
        self.heatmaps = ANCHORS[config.anchors](encoder.channels, context, encoder.stacks, joints)
        told = context + 1 + 3 * joints
        self.whole = nn.Sequential(nn.Linear(told, 256), nn.ReLU(), nn.Linear(256, context), nn.ReLU())
        self.scale_head = nn.Sequential(nn.Linear(context, 64), nn.ReLU(), nn.Linear(64, 1))
        self.head = head(config.head, HeadInputs(encoder.channels, context, encoder.stacks, self.joint_set))
        self.certainty = Certainty()
        for group in encoder.parameter_groups():
            for parameter in group.parameters:
                parameter.requires_grad_(not group.frozen)

    def encode(self, image: Tensor, depth: Tensor) -> Encoded:
        """What the encoder and the auxiliary maps make of (B, 3, S, S) pixels in [-1, 1]; depth: (B,) D0."""
        features = self.encoder(self.encoder.normalise(image))
        mean_pose = self.mean_pose * (self.log_scale[0].exp() / HALF)
        maps, anchors = self.heatmaps(features, mean_pose[:, 2])
        told = torch.cat([anchors.flatten(1), depth.log()[:, None] - 1.5], -1).to(features.context)
        person = self.whole(torch.cat([features.context, told], -1))
        return Encoded(features, maps, anchors, person, mean_pose)

    def predict_log_scale(self, person: Tensor) -> Tensor:
        """(B,) log s_hat of the person's vector (B, C)."""
        return self.log_scale[0] + self.log_scale[1] * self.scale_head(person)[:, 0].float()

    def losses(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weighted "total" and its named parts, unweighted."""
        self._check(batch.image)
        targets = make_targets(batch, self.config.crop_px, generator)
        encoded, weights = self.encode(batch.image, targets.depth), self.config.losses
        terms = self.head.losses(encoded, targets, generator)
        if self.heatmaps.learns_depth:
            terms["anchor"] = Term(joint_loss(encoded.anchors, targets), weights.anchor)
        terms["heatmap"] = Term(added(heatmap_loss(logits, targets) for logits in encoded.maps), weights.heatmap)
        terms["scale"] = Term(scale_loss(self.predict_log_scale(encoded.person), targets), weights.scale)
        total = added(term.weight * term.value for term in terms.values())
        return {"total": total, **{name: term.value for name, term in terms.items()}}

    @torch.no_grad()
    def predict(self, image: Tensor, K: Tensor, scale: Tensor | None = None) -> Prediction:
        """Joints of crops (B, 3, S, S) in [-1, 1] with intrinsics (B, 3, 3) px; scale: (B,) true s, for comparison only."""
        self._check(image)
        depth = reference_depth(K, self.config.crop_px)
        encoded = self.encode(image, depth)
        decoded = self.head.decode(encoded, depth)
        if scale is None:
            scale = self.predict_log_scale(encoded.person).exp()
        canonical = to_canonical(decoded.joints.float(), depth)
        joints = self.relative(canonical, scale)
        confidence, presence = self.certainty(encoded, decoded)
        rays = canonical[..., :2] / canonical[..., 2:]
        bones = bone_scale(canonical, self.joint_set.bones, self.bone_lengths)
        return Prediction(
            joints=joints,
            scale=scale,
            joints_canonical=canonical,
            root=absolute_root(rays, joints, agreement(decoded.spread)),
            confidence=confidence,
            presence=presence,
            diagnostics={"scale_bones": bones, **decoded.diagnostics},
        )

    @torch.no_grad()
    def distance(self, image: Tensor, K: Tensor) -> PredictedDistance | None:
        """The signed distance that the head predicts for crops (B, 3, S, S); None for a head without one."""
        return self.head.distance(self.encode(image, reference_depth(K, self.config.crop_px)))

    def parameter_groups(self) -> list[ParameterGroup]:
        """How its parameters are trained: the encoder's groups, and one of everything else."""
        groups = self.encoder.parameter_groups()
        theirs = {id(p) for group in groups for p in group.parameters}
        return [*groups, ParameterGroup(tuple(p for p in self.parameters() if id(p) not in theirs))]

    def hidden_matrices(self) -> list[nn.Parameter]:
        """What Muon may orthogonalise: matrices and kernels that are trained from nothing and lie before an output layer."""
        outputs = [*self.heatmaps.outputs(), self.scale_head[-1], *self.head.outputs()]
        out = {id(p) for layer in outputs for p in layer.parameters()}
        out |= {id(p) for group in self.parameter_groups() if group.pretrained for p in group.parameters}
        return [p for p in self.parameters() if p.ndim > 1 and p.requires_grad and id(p) not in out]

    def _check(self, image: Tensor) -> None:
        side = self.config.crop_px
        assert image.shape[1:] == (3, side, side), f"the network takes (B, 3, {side}, {side}), got {tuple(image.shape)}"


def agreement(spread: Tensor) -> Tensor:
    """(B, J) weights of joints whose evidence spreads by so many metres: 1 for none, 0.5 for 100 mm."""
    return 1 / (1 + (spread / 0.1).square())
