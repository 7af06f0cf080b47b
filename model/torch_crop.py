"""The crop of a person in torch alone, so that an exported program makes it by itself: what `pipeline.camera.make_crop` and
`warp_to_crop` do, for a pinhole camera and a photograph of any size.

No shape and no branch depends on a value: halving the photograph some times is the mean over square blocks of it, and the sums
of all blocks come from one table.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.camera import BOX_MARGIN


def crop_people(photograph: Tensor, K: Tensor, boxes: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """The people in `boxes` as the network sees them.

    photograph: (H, W, 3) uint8 RGB. K: (3, 3) px, of its pinhole camera. boxes: (B, 4) x, y, width, height px. Returns crops
    (B, 3, side, side) in [-1, 1], black outside the photograph; their K (B, 3, 3) px; and R (B, 3, 3), photograph axes -> crop axes.
    """
    K, boxes = K.double(), boxes.double()
    crop_K, R = crop_cameras(K, boxes, side)
    line = torch.arange(side, dtype=torch.float64, device=boxes.device)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    pixels = torch.stack([columns, rows], -1).flatten(0, 1) - (side - 1) / 2
    rays = F.pad(pixels / crop_K[:, :1, :1], (0, 1), value=1.0) @ R  # (B, side^2, 3), photograph axes
    seen = (rays[..., :2] / rays[..., 2:]) @ K[:2, :2].T + K[:2, 2]
    shrink = (K[0, 0] / crop_K[:, 0, 0]).clamp(min=1)
    block = (
        2 ** shrink.log2().floor()
    ).long()  # px of the photograph, the largest power of two within a pixel of the crop
    sampled = sample_blocks(photograph, seen, block[:, None])
    crops = sampled.unflatten(2, (side, side)).transpose(0, 1) * (2 / 255) - 1
    return crops, crop_K.float(), R.float()


def crop_cameras(K: Tensor, boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """K (B, 3, 3) px and R (B, 3, 3) of the cameras that are turned to the boxes (B, 4). Float64, as `pipeline.camera.make_crop`."""
    centre = boxes[:, :2] + (boxes[:, 2:] - 1) / 2
    half = BOX_MARGIN / 2 * boxes[:, 2:].amax(1)
    ends = torch.tensor([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], dtype=torch.float64, device=boxes.device)
    rays = pixel_rays(K, centre[:, None] + half[:, None, None] * ends)
    x, y, z = F.normalize(rays[:, 0], dim=1).unbind(1)
    none = torch.zeros_like(x)
    turn = torch.stack([none, none, -x, none, none, -y, x, y, none], 1).unflatten(1, (3, 3))
    # the smallest rotation that takes the ray through the box's centre to z
    R = torch.eye(3, dtype=torch.float64, device=boxes.device) + turn + turn @ turn / (1 + z)[:, None, None]
    edges = rays[:, 1:] @ R.mT
    flat = edges[..., :2] / edges[..., 2:]
    f = 2 * side / ((flat[:, 1, 0] - flat[:, 0, 0]).abs() + (flat[:, 3, 1] - flat[:, 2, 1]).abs())
    c, one = torch.full_like(f, (side - 1) / 2), torch.ones_like(f)
    return torch.stack([f, none, c, none, f, c, none, none, one], 1).unflatten(1, (3, 3)), R


def pixel_rays(K: Tensor, pixels: Tensor) -> Tensor:
    """(..., 2) px -> (..., 3) rays of length one along z. In closed form: ONNX cannot invert a matrix."""
    y = (pixels[..., 1] - K[1, 2]) / K[1, 1]
    x = (pixels[..., 0] - K[0, 2] - K[0, 1] * y) / K[0, 0]
    return torch.stack([x, y, torch.ones_like(x)], -1)


def sample_blocks(image: Tensor, at: Tensor, block: Tensor) -> Tensor:
    """Bilinear values of the image that consists of the means of `block` x `block` pixels, 0 outside: (3, B, N) float32.

    image: (H, W, 3) uint8. at: (B, N, 2) px of the image. block: (B, 1) px.
    """
    # int32 may run over, and the differences are right all the same: a block has fewer than 2^31 levels of grey
    table = F.pad(image.permute(2, 0, 1).int(), (1, 0, 1, 0)).cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
    place = (at + 0.5) / block[..., None] - 0.5
    first = place.floor()
    part = (place - first).float()
    total = torch.zeros((), device=image.device)
    for dx in (0, 1):
        for dy in (0, 1):
            weight = (1 - dx + (2 * dx - 1) * part[..., 0]) * (1 - dy + (2 * dy - 1) * part[..., 1])
            total = total + weight * block_means(table, first[..., 0].long() + dx, first[..., 1].long() + dy, block)
    return total


def block_means(table: Tensor, x: Tensor, y: Tensor, block: Tensor) -> Tensor:
    """(3, B, N) means of the blocks number x, y (B, N), of their part inside the image; 0 for those outside of it.

    table: (3, H + 1, W + 1) sums of all pixels above and to the left.
    """
    height, width = table.shape[1] - 1, table.shape[2] - 1
    left, right = ((x + k).mul(block).clamp(0, width) for k in (0, 1))
    top, low = ((y + k).mul(block).clamp(0, height) for k in (0, 1))
    total = table[:, low, right] - table[:, top, right] - table[:, low, left] + table[:, top, left]
    return total / ((right - left) * (low - top)).clamp(min=1)
