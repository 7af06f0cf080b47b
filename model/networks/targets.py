"""The canonical frame of the field, and the labels of a batch in it.

Scaling a scene leaves its image unchanged, so the field fixes the scale by the crop: side S px, focal length f px,
`D0 = f L0 / S`. The scene times `s = D0 / z_root` has its root at depth D0 exactly, and the crop spans L0 there. Nothing about
the root is needed to place a query.

Two coordinates of one point: *canonical* X (m, crop-camera axes), and *crop* q = (x, y, t): x and y in [-1, 1] across the crop,
t = (Z - D0) / (L0 / 2). Times L0 / 2 both are metres near the root, so q is the canonical frame without its perspective.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.data.batch import Batch

# Side of the canonical volume at the root's depth, metres. A person whose box fills 1 / 1.25 of the crop keeps about its size.
CANONICAL_SIDE = 2.2
HALF = CANONICAL_SIDE / 2


def reference_depth(K: Tensor, side: int) -> Tensor:
    """(B,) D0 in metres for intrinsics (B, 3, 3) px of crops of `side` px whose principal point is their centre."""
    return K[:, 0, 0] * (CANONICAL_SIDE / side)


def to_crop(X: Tensor, depth: Tensor) -> Tensor:
    """Canonical (B, ..., 3) m -> crop coordinates (B, ..., 3). depth: (B,) D0. Points behind the camera have no image."""
    d = depth.view(-1, *[1] * (X.ndim - 2))
    z = X[..., 2]
    xy = X[..., :2] * (d / (HALF * z.clamp(min=0.05)))[..., None]
    return torch.cat([xy, ((z - d) / HALF)[..., None]], -1)


def to_canonical(q: Tensor, depth: Tensor) -> Tensor:
    """Inverse of `to_crop`."""
    d = depth.view(-1, *[1] * (q.ndim - 2))
    z = d + HALF * q[..., 2]
    return torch.cat([q[..., :2] * (HALF * z / d)[..., None], z[..., None]], -1)


def pixels_to_crop(pixels: Tensor, side: int) -> Tensor:
    """(..., 2) crop pixels (centres are integers) -> the first two crop coordinates; also what `grid_sample` takes."""
    return (2 * pixels + 1) / side - 1


@dataclass(frozen=True)
class TargetConfig:
    """truncation: metres at which |distance| saturates; it must exceed the half diagonal of a coarse cell, else
    coarse-to-fine cannot drop anything. vote: "direct" (offset + confidence) or "published" (weight + unit vector).
    candidates, voters: votes are trained where prediction will ask for them: of `candidates` points drawn about where the image shows
    the joints, at the `voters` of smallest *predicted* |distance|, as many for each joint. across, along: their deviation, metres.
    Points drawn about the true surface give the pose away by where they are, which no query at test time does. candidates = 0 is the
    published way: the labelled points within `band` metres of the surface. neighbours: points that vote for a joint, those that appear
    nearest to it in the image, and in the published recipe those that are (0 is all).
    radius: metres within which a published vote is defined: one for all joints, or one for each, in the order of the joint set.
    """

    truncation: float = 0.12
    vote: str = "direct"
    candidates: int = 1024
    voters: int = 128
    across: float = 0.165
    along: float = 0.4125
    neighbours: int = 32
    radius: tuple[float, ...] = (0.4,)
    band: float = 0.15

    def __post_init__(self):
        if self.vote not in ("direct", "published"):
            raise ValueError(f"vote {self.vote!r}: choose direct or published")
        for name in ("truncation", "across", "along", "band"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a length in metres above 0")
        if not self.radius or not all(radius > 0 for radius in self.radius):
            raise ValueError(
                f"radius is {self.radius}; give lengths in metres above 0, one for all joints or one for each"
            )
        if self.neighbours < 0:
            raise ValueError(f"neighbours is {self.neighbours}; give a count, or 0 for all points")
        if self.candidates and not 1 <= self.voters <= self.candidates:
            raise ValueError(f"voters is {self.voters}; it must be 1 to candidates ({self.candidates})")
        if self.candidates and self.vote == "published":
            raise ValueError("candidates must be 0 for published votes: they are supervised at labelled points")


@dataclass(frozen=True)
class Targets:
    """Labels of a batch in the canonical frame.

    depth: (B,) D0. scale: (B,) s, 1 where unknown. scale_valid: (B,). points: (B, N, 3) crop coordinates.
    point_valid: (B, N) bool, the point carries labels. distance: (B, N) m, canonical, not truncated.
    joints: (B, J, 3) crop coordinates. joints_valid: (B, J) bool, 3D is known. joints_2d: (B, J, 2) crop coordinates.
    joints_2d_valid: (B, J) bool.
    """

    depth: Tensor
    scale: Tensor
    scale_valid: Tensor
    points: Tensor
    point_valid: Tensor
    distance: Tensor
    joints: Tensor
    joints_valid: Tensor
    joints_2d: Tensor
    joints_2d_valid: Tensor


def make_targets(batch: Batch, side: int, generator: torch.Generator | None = None) -> Targets:
    """A batch's labels at canonical scale, each view by its own s.

    A view without a usable mesh gets points drawn uniformly in the volume: they carry no distance, but the joints decoded
    from them can be supervised. Without measured joints and without a mesh the scale is unknown too.
    """
    depth = reference_depth(batch.K, side)
    known = batch.is_3d | batch.mesh_valid
    scale = torch.where(known, depth / torch.where(known, batch.root[:, 2], depth), 1.0)
    canonical = scale[:, None, None] * (batch.points + batch.root[:, None])
    meshed = batch.mesh_valid[:, None]
    anywhere = torch.rand(batch.points.shape, generator=generator, device=batch.points.device) * 2 - 1
    points = torch.where(meshed[..., None], to_crop(canonical, depth), anywhere)
    inside = (points.abs() <= 1).all(-1)
    joints = to_crop(scale[:, None, None] * (batch.joints + batch.root[:, None]), depth)
    return Targets(
        depth=depth,
        scale=scale,
        scale_valid=known,
        points=points,
        point_valid=batch.point_valid & meshed & inside,
        distance=scale[:, None] * batch.sdf,
        joints=torch.where(known[:, None, None], joints, 0.0),
        joints_valid=batch.joints_valid & known[:, None],
        joints_2d=pixels_to_crop(batch.joints_2d, side),
        joints_2d_valid=batch.joints_2d_valid,
    )


def truncate(distance: Tensor, truncation: float) -> Tensor:
    """(...) m -> [-1, 1], the scale of the field's tanh. Only labels are clamped: clamping a prediction would kill its
    gradient where its sign is wrong.
    """
    return (distance / truncation).clamp(-1, 1)


def nearest_bone(
    points: Tensor, joints: Tensor, valid: Tensor, bones: tuple[tuple[int, int], ...]
) -> tuple[Tensor, Tensor]:
    """(B, N) index of the bone nearest to each canonical point (B, N, 3), as a segment between canonical joints (B, J, 3), metres; and
    (B, N) bool, whether one is known. valid: (B, J).
    """
    parents, children = (list(side) for side in zip(*bones, strict=True))
    start, along = joints[:, None, parents], (joints[:, children] - joints[:, parents])[:, None]
    offset = points[:, :, None] - start
    part = ((offset * along).sum(-1) / along.square().sum(-1).clamp(min=1e-8)).clamp(0, 1)
    known = (valid[:, parents] & valid[:, children])[:, None]
    distance = (offset - part[..., None] * along).norm(dim=-1).masked_fill(~known, torch.inf)
    return distance.argmin(-1), known.any(-1).expand(distance.shape[:2])


def published_votes(
    points: Tensor, joints: Tensor, valid: Tensor, config: TargetConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels of the hand original: weight max(0, 1 - d / R) and unit vector, for canonical points and joints in metres.

    points: (B, N, 3), joints: (B, J, 3), valid: (B, N) bool, points that may vote. Returns weight (B, N, J), direction
    (B, N, J, 3) and votes (B, N, J) bool: inside R, and among the `neighbours` nearest of the draw.
    """
    offset = joints[:, None] - points[:, :, None]
    length = offset.norm(dim=-1)
    radius = torch.tensor(config.radius, device=points.device)
    votes = (length < radius) & valid[..., None]
    if config.neighbours:
        k = min(config.neighbours, points.shape[1])
        far = torch.where(votes, length, torch.inf)
        votes &= far <= far.topk(k, dim=1, largest=False).values[:, -1:]
    weight = torch.where(votes, 1 - length / radius, 0.0)
    direction = torch.where(votes[..., None], offset / length.clamp(min=1e-6)[..., None], 0.0)
    return weight, direction, votes
