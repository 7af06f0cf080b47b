"""From where the image shows the joints to how deep they lie, learnt from poses alone.

Lifting needs no picture: a pose seen by another camera is another example of it, and costs a thousandth of an image. So every
pose of a batch is shown to the lifter under `copies` further cameras, all about the person, and what the network has to learn
from pictures is what the 2D pose does not tell. (Martinez et al. 2017 lift 2D joints by such a network; random cameras for its
training go back to Fang et al. 2018.)
"""

import math
from dataclasses import dataclass

import roma
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.targets import HALF, Targets, to_crop


@dataclass(frozen=True)
class LiftConfig:
    """hidden: width of the two residual blocks. copies: cameras a step for each pose of the batch. pitch_degrees, roll_degrees:
    deviation of their tilt from that of the pose's own camera; they stand all about the person. noise: median error of the 2D
    joints they are shown with, as a part of the crop's half; noise_spread: deviation of its logarithm.
    """

    hidden: int = 256
    copies: int = 12
    pitch_degrees: float = 12.0
    roll_degrees: float = 5.0
    noise: float = 0.03
    noise_spread: float = 0.7

    def __post_init__(self):
        if self.hidden < 1 or self.copies < 1:
            raise ValueError(f"lift.hidden {self.hidden} and lift.copies {self.copies} must be above 0")
        for name in ("pitch_degrees", "roll_degrees", "noise", "noise_spread"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"lift.{name} is {getattr(self, name)}; it must not be negative")


class Lifter(nn.Module):
    """2D joints, how blurred each is, and log D0 -> the depth of each joint, as a change of its mean depth."""

    def __init__(self, config: LiftConfig, joints: int):
        super().__init__()
        c = config.hidden
        self.enter = nn.Linear(3 * joints + 1, c)
        self.blocks = nn.ModuleList([nn.ModuleList([nn.Linear(c, c), nn.Linear(c, c)]) for _ in range(2)])
        self.out = nn.Linear(c, joints)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, xy: Tensor, blur: Tensor, depth: Tensor) -> Tensor:
        """(B, J) crop depth beyond the mean. xy: (B, J, 2) crop coordinates, blur: (B, J) of the same unit, depth: (B,) D0."""
        x = self.enter(torch.cat([xy.flatten(1), blur, depth.log()[:, None] - 1.5], -1))
        for first, second in self.blocks:
            x = x + second(F.relu(first(F.relu(x))))
        return self.out(F.relu(x)).float()


@dataclass(frozen=True)
class SeenPoses:
    """Poses as other cameras would show them. xy: (M, J, 2) crop coordinates with noise. blur: (M, J). depth: (M,) D0.
    z: (M, J) crop depth. valid: (M, J) bool.
    """

    xy: Tensor
    blur: Tensor
    depth: Tensor
    z: Tensor
    valid: Tensor


def camera_turns(count: int, config: LiftConfig, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """(count, 3, 3) rotations of the person: any yaw about the image's vertical, then a little pitch and roll."""
    yaw = torch.rand(count, generator=generator, device=device) * (2 * math.pi)
    tilt = torch.randn(count, 2, generator=generator, device=device)
    zero = torch.zeros_like(yaw)
    turns = [
        torch.stack([zero, yaw, zero], -1),
        torch.stack([tilt[:, 0] * math.radians(config.pitch_degrees), zero, zero], -1),
        torch.stack([zero, zero, tilt[:, 1] * math.radians(config.roll_degrees)], -1),
    ]
    about, pitch, roll = (roma.rotvec_to_rotmat(turn) for turn in turns)
    return roll @ pitch @ about


def under_other_cameras(
    joints: Tensor, targets: Targets, root: int, blur: float, config: LiftConfig, generator: torch.Generator | None
) -> SeenPoses:
    """A batch's poses (B, J, 3) m, root-relative, each under `copies` other cameras: another direction, and distance, focal
    length and place in the crop of another view of the batch.

    root: its index. blur: spread in crop coordinates of a heatmap that is sure.
    """
    count, device = len(joints) * config.copies, joints.device
    pose = joints.repeat(config.copies, 1, 1) @ camera_turns(count, config, generator, device).transpose(1, 2)
    other = torch.randint(len(joints), (count,), generator=generator, device=device)
    depth, scale, place = targets.depth[other], targets.scale[other], targets.joints[other, root, :2]
    centre = torch.cat([HALF * place, depth[:, None]], -1)
    q = to_crop(scale[:, None, None] * pose + centre[:, None], depth)
    noise = torch.randn(q.shape, generator=generator, device=device)
    error = config.noise * (config.noise_spread * noise[..., 2]).exp()
    direction = torch.randn(q[..., :2].shape, generator=generator, device=device)
    return SeenPoses(
        xy=q[..., :2] + error[..., None] * direction,
        blur=(error.square() + blur**2).sqrt(),
        depth=depth,
        z=q[..., 2],
        valid=targets.joints_valid.repeat(config.copies, 1),
    )
