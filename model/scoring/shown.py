"""What a run's pictures show: some of the views that were scored, and the predicted distance through one of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy import ndarray

from model.data.augment import NO_AUGMENTATION
from model.data.loading import DrawConfig, ViewDataset
from model.data.views import Views
from model.networks.frame import HALF
from model.networks.network import Network
from model.networks.targets import make_targets

# Samples that a slice shows lie within so many metres of its plane.
SLAB_M = 0.02


@dataclass(frozen=True)
class ShownView:
    """A view as the network saw it. crop: (S, S, 3) uint8. K: (3, 3) px. predicted, joints: (J, 3) m, root-relative crop axes;
    predicted_root, root: (3,) m, absolute. text: under the picture.
    """

    crop: ndarray
    K: ndarray
    predicted: ndarray
    predicted_root: ndarray
    joints: ndarray
    root: ndarray
    text: str


@dataclass(frozen=True)
class DistancePlane:
    """A plane through the root. values: (cells, cells) predicted distance, metres. samples: (n, 2) metres, true samples near the
    plane. distance: (n,) their distance, metres.
    """

    title: str
    values: ndarray
    samples: ndarray
    distance: ndarray


@dataclass(frozen=True)
class DistanceSlices:
    """Predicted distance through a view. crop: (S, S, 3) uint8. limit: metres at which the prediction saturates."""

    crop: ndarray
    planes: Sequence[DistancePlane]
    limit: float


def shown_views(
    joints: ndarray, roots: ndarray, index: ndarray, views: Views, size: int, errors: ndarray | None = None
) -> list[ShownView]:
    """Views with what was predicted of them. index: (n,) of the views. joints: (n, J, 3) and roots: (n, 3) m, predicted. size: side
    of the network's crops, px. errors: (n,) m, for the texts.
    """
    dataset, found = ViewDataset(views, size, draw=None, augment=None), []
    for k, number in enumerate(index):
        view = dataset.view(0, int(number))
        text = str(views["id"][number]) + ("" if errors is None else f"   {1000 * errors[k]:.0f} mm")
        crop = view["image"].transpose(1, 2, 0)
        found.append(ShownView(crop, view["K"], joints[k], roots[k], view["joints"], view["root"], text))
    return found


@torch.no_grad()
def slice_distance(network: Network, views: Views, index: int, cells: int = 96) -> DistanceSlices | None:
    """The predicted distance on two planes through the root of a view: at the root's depth, and of the optical axis and the image's
    vertical. None for a network without a distance.
    """
    device, side = next(network.buffers()).device, network.config.crop_px
    pool = len(ViewDataset(views, side, None, None).reader(index).read_samples(int(views["row"][index])).points)
    everything = ViewDataset(views, side, DrawConfig(points=pool, voter_share=0), NO_AUGMENTATION)
    batch = everything.__getitems__([(0, index)])
    moved = batch.to(device)
    predicted = network.distance(moved.image, moved.K)
    if predicted is None:
        return None
    targets = make_targets(batch, side)
    points, distance = targets.points[0].numpy() * HALF, targets.distance[0].numpy()
    axis = (torch.arange(cells) + 0.5) * (2 / cells) - 1
    down, across = torch.meshgrid(axis, axis, indexing="ij")
    still = torch.zeros_like(across)
    planes = []
    for title, asked, u, off in (
        ("front, at the root's depth", [across, down, still], 0, 2),
        ("side, along the optical axis", [still, down, across], 2, 0),
    ):
        values = predicted.at(torch.stack(asked, -1).view(1, -1, 3).to(device)).view(cells, cells).cpu().numpy()
        near = (np.abs(points[:, off]) < SLAB_M) & targets.point_valid[0].numpy()
        planes.append(DistancePlane(title, values, points[near][:, [u, 1]], distance[near]))
    return DistanceSlices(batch.image[0].permute(1, 2, 0).numpy(), planes, predicted.limit)
