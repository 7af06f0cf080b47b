"""The field's MLP written as the publication describes it: a slow twin of `model.networks.field.mlp.VotingField`.

Every point reads the encoder's maps themselves, and what it read is concatenated again at every layer. Ours applies the first layer
to whole maps, so that a point reads its answer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.networks.field.mlp import Prepared, VotingField, position_code
from model.networks.network import Network


class FieldAsPublished(VotingField):
    """Takes the place of a field of the same settings, with weights of its own."""

    def __init__(self, field: VotingField):
        nn.Module.__init__(self)
        hidden, anchored = field.config.hidden, field.anchored
        self.config, self.joints, self.vote_channels, self.anchored = (
            field.config,
            field.joints,
            field.vote_channels,
            anchored,
        )
        read = sum(layer.in_features for layer in field.maps) + field.given.in_features + 3 + 2 * field.config.octaves
        self.layers = nn.ModuleList([nn.Linear(a + read, b) for a, b in zip((0, *hidden[:-1]), hidden, strict=True)])
        self.out = nn.Linear(hidden[-1] + read, field.out.out_features)

    def prepare(self, pyramid: list[Tensor], person: Tensor, anchors: Tensor) -> Prepared:
        return Prepared(pyramid, person[:, None], anchors[:, None])

    def hidden(self, prepared: Prepared, q: Tensor) -> Tensor:
        place = q[:, :, None, :2].float()
        read = [
            F.grid_sample(features.float(), place, padding_mode="border", align_corners=False)[..., 0].transpose(1, 2)
            for features in prepared.maps
        ]
        person = prepared.person.expand(-1, q.shape[1], -1)
        given = torch.cat([*read, person.float(), position_code(q, self.config.octaves)], -1)
        x = given[..., :0]
        for layer in self.layers:
            x = F.leaky_relu(layer(torch.cat([x, given], -1)), 0.1)
        return torch.cat([x, given], -1)


def written_as_published(network: Network) -> Network:
    """The network with its fields exchanged, in place."""
    stacks = network.head.stacks
    for number, field in enumerate(stacks):
        stacks[number] = FieldAsPublished(field)
    return network
