"""The field without its signed distance: every point of the coarse grid votes, and nothing that comes from a mesh is learnt."""

from dataclasses import dataclass, field

from model.networks.field.head import FieldLosses
from model.networks.heads.nvf import NeuralVotingField, NvfSettings


@dataclass(frozen=True)
class NoSdfSettings(NvfSettings):
    """The field's settings, without a distance and without limbs."""

    kind: str = "nosdf"
    use_distance: bool = False
    losses: FieldLosses = field(default_factory=lambda: FieldLosses(limb=0.0))


class FieldWithoutDistance(NeuralVotingField):
    """What the field loses when its geometry is taken away."""

    Settings = NoSdfSettings
