"""What poses alone tell: how deep joints lie that an image shows, before any vote; and which of the voted poses people take.

Neither needs a picture: a pose seen by another camera is another example, and costs a thousandth of an image. So every
pose of a batch is shown under `copies` cameras, all about the person, with the errors that heatmaps and votes make at that step, and
what the encoder has to learn from pictures is the rest. (Martinez et al. 2017 lift 2D joints by such a network; random cameras for its
training go back to Fang et al. 2018.)
"""

import math
from dataclasses import dataclass

import roma
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.targets import Targets, to_canonical, to_crop
from pipeline.skeletons import JointSet


@dataclass(frozen=True)
class LiftConfig:
    """hidden: width of the two residual blocks. copies: cameras a step for each pose of the batch, its own among them.
    pitch_degrees, roll_degrees: deviation of the others' tilt from the mean camera's. They stand all about the direction in which the
    mean person of the training set stands: about the image's vertical, a camera that looks down would look up from behind.
    bend_degrees: deviation, about each axis, of a turn of every joint in half of the poses that others see: poses nobody has shown.
    """

    hidden: int = 192
    copies: int = 12
    pitch_degrees: float = 6.0
    roll_degrees: float = 5.0
    bend_degrees: float = 10.0

    def __post_init__(self):
        if self.hidden < 1 or self.copies < 1:
            raise ValueError(f"lift.hidden {self.hidden} and lift.copies {self.copies} must be above 0")
        for name in ("pitch_degrees", "roll_degrees", "bend_degrees"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"lift.{name} is {getattr(self, name)}; it must not be negative")


class Lifter(nn.Module):
    """Where something saw the joints, how sure it was of each, and log D0 -> what to add to each joint.

    dims: 2 for heatmaps, whose joints get a depth; 3 for votes, whose joints get a pose that could be.
    """

    def __init__(self, config: LiftConfig, joints: int, dims: int):
        super().__init__()
        c = config.hidden
        self.enter = nn.Linear((dims + 1) * joints + 1, c)
        self.blocks = nn.ModuleList([nn.ModuleList([nn.Linear(c, c), nn.Linear(c, c)]) for _ in range(2)])
        self.out = nn.Linear(c, 3 * joints)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, place: Tensor, doubt: Tensor, depth: Tensor) -> Tensor:
        """(B, J, 3) crop coordinates. place: (B, J, dims) crop coordinates, doubt: (B, J) their deviation, depth: (B,) D0."""
        x = self.enter(torch.cat([place.flatten(1), doubt, depth.log()[:, None] - 1.5], -1))
        for first, second in self.blocks:
            x = x + second(F.relu(first(F.relu(x))))
        return self.out(F.relu(x)).float().unflatten(1, (-1, 3))


@dataclass(frozen=True)
class PosesElsewhere:
    """A batch's poses as cameras could show them. joints: (M, J, 3) crop coordinates, the truth. depth: (M,) D0. valid: (M, J) bool.
    eye: (M,) the view of the batch that each pose is seen as well as. known: (B, J) and true: (B, J, 3) are joints_valid and joints
    of the batch's `Targets`.
    """

    joints: Tensor
    depth: Tensor
    valid: Tensor
    eye: Tensor
    known: Tensor
    true: Tensor

    def seen(self, place: Tensor, doubt: Tensor) -> tuple[Tensor, Tensor]:
        """(M, J, dims) and (M, J): where joints would be seen there, and the doubt, given (B, J, dims) crop coordinates and (B, J) of
        the batch's own views: with the errors and the doubt of `eye`, noise as it is at this step.
        """
        dims = place.shape[-1]
        error = torch.where(self.known[..., None], place - self.true[..., :dims], 0.0)
        return self.joints[..., :dims] + error[self.eye], doubt[self.eye]


def camera_turns(count: int, up: Tensor, config: LiftConfig, generator: torch.Generator | None) -> Tensor:
    """(count, 3, 3) rotations of the person: any yaw about `up` (3,), then a little pitch and roll."""
    yaw = torch.rand(count, generator=generator, device=up.device) * (2 * math.pi)
    tilt = torch.randn(count, 2, generator=generator, device=up.device)
    zero = torch.zeros_like(yaw)
    turns = [
        yaw[:, None] * up,
        torch.stack([tilt[:, 0] * math.radians(config.pitch_degrees), zero, zero], -1),
        torch.stack([zero, zero, tilt[:, 1] * math.radians(config.roll_degrees)], -1),
    ]
    about, pitch, roll = (roma.rotvec_to_rotmat(turn) for turn in turns)
    return roll @ pitch @ about


def bend(pose: Tensor, degrees: float, bones: tuple[tuple[int, int], ...], generator: torch.Generator | None) -> Tensor:
    """(M, J, 3) root-relative poses with a small random turn at every joint; bones keep their lengths. bones: parents first."""
    turns = torch.randn(len(pose), len(bones), 3, generator=generator, device=pose.device) * math.radians(degrees)
    local = roma.rotvec_to_rotmat(turns)
    joints, frames = list(pose.unbind(1)), {bones[0][0]: torch.eye(3, device=pose.device).expand(len(pose), 3, 3)}
    for k, (parent, child) in enumerate(bones):
        frames[child] = frames[parent] @ local[:, k]
        along = (pose[:, child] - pose[:, parent])[..., None]
        joints[child] = joints[parent] + (frames[child] @ along)[..., 0]
    return torch.stack(joints, 1)


def draw_whole(joints_valid: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """(2, count) indices of views whose every joint is known in 3D; of any view where there is none. joints_valid: (B, J)."""
    whole = joints_valid.all(1).float()
    share = torch.where(whole.any(), whole, 1.0).cumsum(0)
    u = torch.rand(2, count, generator=generator, device=share.device)
    return torch.searchsorted(share / share[-1], u, right=True).clamp(max=len(share) - 1)


def under_other_cameras(
    pose: Tensor, targets: Targets, up: Tensor, joint_set: JointSet, config: LiftConfig, generator: torch.Generator | None
) -> PosesElsewhere:
    """A batch's poses (B, J, 3) m, root-relative, each under `copies` cameras, its own first. Another camera looks from another
    direction; its distance, its focal length and the person's place in the crop are those of another view of the batch. What is not
    known in 3D is not valid. up: (3,) unit vector, crop axes.
    """
    views, known = len(pose), targets.joints_valid
    others = views * (config.copies - 1)
    own = torch.arange(views, device=pose.device)
    camera, eye = torch.cat([own.expand(2, -1), draw_whole(known, others, generator)], 1)

    turns = torch.eye(3, device=pose.device).expand(views, 3, 3)
    turns = torch.cat([turns, camera_turns(others, up, config, generator)])
    pose = torch.where(known[..., None], pose, 0.0).repeat(config.copies, 1, 1)
    plain = views * ((config.copies + 1) // 2)
    pose = torch.cat([pose[:plain], bend(pose[plain:], config.bend_degrees, joint_set.bones, generator)])

    depth, place = targets.depth[camera], targets.joints[camera, joint_set.root_index]
    turned = targets.scale[camera, None, None] * (pose @ turns.transpose(1, 2))
    whole = (known.all(1).repeat(config.copies) & known.all(1)[camera] & known.all(1)[eye])[views:, None]
    return PosesElsewhere(
        joints=to_crop(turned + to_canonical(place[:, None], depth), depth),
        depth=depth,
        valid=torch.cat([known & known[:, joint_set.root_index, None], whole.expand(-1, known.shape[1])]),
        eye=eye,
        known=known,
        true=targets.joints,
    )
