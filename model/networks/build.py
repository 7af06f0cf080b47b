"""The encoders and heads that there are, and how a configuration becomes a network.

These are the only lists: the checks of configurations, the choices of the command line and the tests all read them.
"""

from torch import Tensor

from model.networks.encoders.backbone import BackboneEncoder
from model.networks.encoders.body import BodyEncoder
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
from model.networks.network import Network, NetworkConfig, PoseNetwork
from model.networks.records import Statistics

# An encoder or head is named by the `kind` of its settings.
ENCODERS: dict[str, type[Encoder]] = {
    "unet": UNet,
    "hourglass": StackedHourglass,
    "body": BodyEncoder,
    "backbone": BackboneEncoder,
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


def make_encoder(config: NetworkConfig, kept: dict | None = None) -> Encoder | None:
    """The encoder of a network, None for a head without one. kept: what an earlier one kept (`kept_of`), for a checkpoint to fill;
    without it, an encoder that has learnt before reads its weights now. Raises InputError when it cannot.
    """
    if HEADS[config.head.kind].network is not None:
        return None
    kind = ENCODERS[config.encoder.kind]
    return kind.fresh(config.encoder, config.crop_px) if kept is None else kind.rebuilt(config.encoder, kept)


def build_network(config: NetworkConfig, statistics: Statistics, encoder: Encoder | None = None) -> Network:
    """The network of a new run, around an encoder that `make_encoder` has made already, or makes now."""
    head = HEADS[config.head.kind]
    if head.network is not None:
        return head.network(config, statistics)
    encoder = encoder or make_encoder(config)
    assert encoder is not None  # `make_encoder` and this function ask the same
    return PoseNetwork(config, statistics, encoder, head)


def rebuild_network(config: NetworkConfig, statistics: Statistics, kept: dict) -> Network:
    """The same network without its weights, for a checkpoint to fill. kept: what its encoder kept (`kept_of`)."""
    return build_network(config, statistics, make_encoder(config, kept))


def published_weights(config: NetworkConfig, kept: dict) -> dict[str, Tensor]:
    """Weights of the network's encoder that come with this program, by name in the network. kept: what the encoder kept."""
    if HEADS[config.head.kind].network is not None:
        return {}
    return {
        f"encoder.{name}": value
        for name, value in ENCODERS[config.encoder.kind].published(config.encoder, kept).items()
    }


def kept_of(network: Network) -> dict:
    """What the encoder needs to be built again, beside its settings and weights."""
    return network.encoder.kept if isinstance(network, PoseNetwork) else {}
