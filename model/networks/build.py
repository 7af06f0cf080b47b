"""The encoders and heads that there are, and how a configuration becomes a network.

These are the only lists: the checks of configurations, the choices of the command line and the tests all read them.
"""

from torch import nn

from model.networks.encoders.encoder import Encoder
from model.networks.encoders.hourglass import StackedHourglass
from model.networks.encoders.unet import UNet
from model.networks.heads.head import Head
from model.networks.heads.heatmap25d import Heatmap25D
from model.networks.heads.holistic import Holistic
from model.networks.heads.mean_pose import MeanPose
from model.networks.heads.nosdf import FieldWithoutDistance
from model.networks.heads.nvf import NeuralVotingField
from model.networks.heads.nvf_published import PublishedField
from model.networks.heads.volumetric import Volumetric
from model.networks.network import NetworkConfig, PoseNetwork
from model.networks.records import Statistics

# An encoder or head is named by the `kind` of its settings.
ENCODERS: dict[str, type[Encoder]] = {
    "unet": UNet,
    "hourglass": StackedHourglass,
}
HEADS: dict[str, type[Head]] = {
    "nvf": NeuralVotingField,
    "nvf-published": PublishedField,
    "nosdf": FieldWithoutDistance,
    "holistic": Holistic,
    "heatmap25d": Heatmap25D,
    "volumetric": Volumetric,
    "mean_pose": MeanPose,
}


def build_network(config: NetworkConfig, statistics: Statistics) -> nn.Module:
    """The network of a new run. An encoder that has learnt before reads its weights now. Raises InputError when it cannot."""
    head = HEADS[config.head.kind]
    if head.network is not None:
        return head.network(config, statistics)
    encoder = ENCODERS[config.encoder.kind].fresh(config.encoder, config.crop_px)
    return PoseNetwork(config, statistics, encoder, head)


def rebuild_network(config: NetworkConfig, statistics: Statistics, kept: dict) -> nn.Module:
    """The same network without its weights, for a checkpoint to fill. kept: what its encoder kept (`kept_of`)."""
    head = HEADS[config.head.kind]
    if head.network is not None:
        return head.network(config, statistics)
    encoder = ENCODERS[config.encoder.kind].rebuilt(config.encoder, kept)
    return PoseNetwork(config, statistics, encoder, head)


def kept_of(network: nn.Module) -> dict:
    """What the encoder needs to be built again, beside its settings and weights."""
    return network.encoder.kept if isinstance(network, PoseNetwork) else {}
