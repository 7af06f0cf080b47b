"""What a network is trained on: views of a step, cropped and drawn, as tensors."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True)
class Batch:
    """B views, cropped and drawn. Metres are root-relative in (augmented) crop axes; pixels are the crop's, whose
    principal point is its centre (S-1)/2.

    image: (B, 3, S, S) float32 in [-1, 1] (uint8 until `to` moves it to a device). K: (B, 3, 3) px. points: (B, N, 3)
    m. sdf: (B, N) m, negative inside. point_valid: (B, N) bool, inside the crop. joints: (B, J, 3) m. joints_valid:
    (B, J) bool. root: (B, 3) m in crop axes, for targets only. joints_2d: (B, J, 2) px. joints_2d_valid: (B, J) bool.
    is_3d: (B,) bool, the joints were measured, or are a valid fit's where the fit is the truth. mesh_valid: (B,) bool,
    the fit is good enough for points and distances to supervise. view: (B,) int64 index into the `Views`.
    """

    image: torch.Tensor
    K: torch.Tensor
    points: torch.Tensor
    sdf: torch.Tensor
    point_valid: torch.Tensor
    joints: torch.Tensor
    joints_valid: torch.Tensor
    root: torch.Tensor
    joints_2d: torch.Tensor
    joints_2d_valid: torch.Tensor
    is_3d: torch.Tensor
    mesh_valid: torch.Tensor
    view: torch.Tensor

    def __len__(self) -> int:
        return len(self.view)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        return Batch(**{field.name: change(getattr(self, field.name)) for field in fields(self)})

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader when it feeds a GPU."""
        return self._map(torch.Tensor.pin_memory)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device, the image as float32 in [-1, 1]."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=True))
        if moved.image.dtype == torch.uint8:
            moved = Batch(**{**vars(moved), "image": moved.image.float().mul_(2 / 255).sub_(1)})
        return moved

    def rows(self, index: slice) -> "Batch":
        """Some of the views."""
        return self._map(lambda tensor: tensor[index])
