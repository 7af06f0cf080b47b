"""Bodies in poses that nobody drew: limbs of several people put together, joints turned, arms and legs held anywhere.

What the lifter is trained on, many at once and quickly: no skin, only the points that it may be told. The free body's hands and faces
keep still here, and go with the wrists and the head.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.body import turns as turning
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel
from pipeline.skeletons import COCO, FIELD_JOINTS, SMPLX_22

_SIDES = ("left", "right")
_ARMS = tuple([SMPLX_22.index(f"{s}_{j}") for j in ("collar", "shoulder", "elbow", "wrist")] for s in _SIDES)
_LEGS = tuple([SMPLX_22.index(f"{s}_{j}") for j in ("hip", "knee", "ankle", "foot")] for s in _SIDES)
_TRUNK = list(SMPLX_22.indices(("spine1", "spine2", "spine3", "neck", "head")))
# How often a body takes both legs, its trunk, or either arm from another one; how often both arms are the same one's.
TAKEN, TOGETHER = (0.25, 0.25, 0.35), 0.5
# Radians that joints are turned by, and of the whole body's lean: deviations in a middling body, and of their logarithm among bodies.
TURNED = {
    "collar": 0.08,
    "shoulder": 0.25,
    "wrist": 0.2,
    "hip": 0.18,
    "ankle": 0.12,
    "foot": 0.1,
    "spine": 0.08,
    "neck": 0.12,
    "head": 0.15,
}
LEAN, SPREAD = 0.12, 0.6
# Elbows and knees are bent by so much more or less, logarithms: neither bends the other way.
BENT = 0.3
# How often an arm or a leg is held anywhere that it reaches, and how often both are then held alike.
FREE, ALIKE = (0.15, 0.08), 0.5
# How deep limbs may overlap, metres: of thin rods about their bones.
OVERLAP_M = 0.03


@dataclass(frozen=True)
class Shapes:
    """S bodies in zero pose, as the points hang on their bones.

    bones: (S, 22, 3) m from the parent's joint, of the first one zero. weights: (34, 22) and offsets: (S, 34, 22, 3) m: a point is the
    sum over joints of weight * place + turn @ offset. parents: of each joint.
    """

    bones: Tensor
    weights: Tensor
    offsets: Tensor
    parents: tuple[int, ...]


def hang(body: BodyModel, rests: np.ndarray) -> Shapes:
    """rests: (S, V, 3) m, bodies in zero pose."""
    v = torch.as_tensor(rests, dtype=torch.float32)
    places = body.J_regressor @ v
    maps = [keypoint_map(body, joint_set) for joint_set in (COCO, FIELD_JOINTS)]
    weights = torch.cat([torch.as_tensor(each.joint_weights, dtype=torch.float32) for each in maps])
    ids = [torch.as_tensor(each.vertex_ids) for each in maps]
    shares = [
        torch.as_tensor(each.vertex_weights, dtype=torch.float32)[..., None] * body.weights[own]
        for each, own in zip(maps, ids, strict=True)
    ]
    held = torch.cat([share.sum(1) for share in shares])
    offsets = torch.cat(
        [torch.einsum("nmk,smc->snkc", share, v[:, own]) for share, own in zip(shares, ids, strict=True)], 1
    )
    offsets = offsets - held[..., None] * places[:, None]
    weights = weights + held
    for k in range(len(body.parents) - 1, len(SMPLX_22) - 1, -1):
        q = int(body.parents[k])
        offsets[:, :, q] += offsets[:, :, k] + weights[:, k, None] * (places[:, k] - places[:, q])[:, None]
        weights[:, q] += weights[:, k]
    parents = tuple(int(q) for q in body.parents[: len(SMPLX_22)])
    bones = places[:, : len(parents)] - places[:, [max(q, 0) for q in parents]]
    return Shapes(bones, weights[:, : len(parents)], offsets[:, :, : len(parents)], parents)


def pose(shapes: Shapes, which: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """The points (n, 34, 3) and joints (n, 22, 3) m about the pelvis of bodies `which` (n,), turned by (n, 22, 3, 3) local."""
    bones = shapes.bones[which]
    world, places = [turns[:, 0]], [torch.zeros(len(which), 3)]
    for k, parent in list(enumerate(shapes.parents))[1:]:
        world.append(world[parent] @ turns[:, k])
        places.append(places[parent] + (world[parent] @ bones[:, k, :, None])[..., 0])
    joints = torch.stack(places, 1)
    points = shapes.weights @ joints
    points = points + torch.einsum("nkab,npkb->npa", torch.stack(world, 1), shapes.offsets[which])
    return points, joints


def vary(turns: Tensor, who: Tensor, rng: torch.Generator) -> Tensor:
    """(n, 22, 3, 3) poses that begin with those of bodies `who` (n,) among all (N, 22, 3, 3), the first in a world of z up."""
    out = turns[who]
    _take(out, turns, rng)
    _turn(out, rng)
    for limbs, held, often in ((_ARMS, _arm, FREE[0]), (_LEGS, _leg, FREE[1])):
        _hold(out, limbs, held, often, rng)
    return out


def _chance(n: int, often: float, rng: torch.Generator) -> Tensor:
    return torch.rand(n, generator=rng) < often


def _take(out: Tensor, turns: Tensor, rng: torch.Generator) -> None:
    """Parts of others', in place."""
    n = len(out)
    arms = torch.randint(len(turns), (2, n), generator=rng)
    arms[1] = torch.where(_chance(n, TOGETHER, rng), arms[0], arms[1])
    others = (*torch.randint(len(turns), (2, n), generator=rng), *arms)
    parts = (sum(_LEGS, []), _TRUNK, *_ARMS)
    for part, other, often in zip(parts, others, (*TAKEN, TAKEN[2]), strict=True):
        rows = _chance(n, often, rng).nonzero()[:, 0]
        out[rows[:, None], part] = turns[other[rows][:, None], part]


def _turn(out: Tensor, rng: torch.Generator) -> None:
    """Joints turned a little or more, and the whole body leant, in place."""
    n = len(out)
    spread = torch.zeros(len(SMPLX_22))
    for k, name in enumerate(SMPLX_22.names):
        spread[k] = TURNED.get(name.rstrip("123").split("_")[-1], 0.0)
    level = (SPREAD * torch.randn(n, 1, 1, generator=rng)).exp()
    by = level * spread[:, None] * torch.randn(n, len(SMPLX_22), 3, generator=rng)
    by[:, 0] = 0.0
    hinges = list(SMPLX_22.indices(tuple(f"{s}_{j}" for s in _SIDES for j in ("elbow", "knee"))))
    bent = turning.vectors(out[:, hinges])
    more = (level * BENT * torch.randn(n, len(hinges), 1, generator=rng)).exp()
    most = 2.6 / bent.norm(dim=-1, keepdim=True).clamp_min(1e-3)
    out[:, hinges] = turning.matrices(bent * torch.minimum(more, most.clamp_min(1.0)))
    out[:] = out @ turning.matrices(by)
    lean = LEAN * level[:, 0] * torch.randn(n, 3, generator=rng) * torch.tensor([1.0, 1.0, 0.0])
    out[:, 0] = turning.matrices(lean) @ out[:, 0]


def _hold(out: Tensor, limbs: tuple, held, often: float, rng: torch.Generator) -> None:
    """Some limbs of either side anywhere, in place."""
    n = len(out)
    alike = _chance(n, ALIKE, rng)
    mirror = torch.tensor([1.0, -1.0, -1.0])
    first, chosen = None, None
    for k, joints in enumerate(limbs):
        mine = held(n, rng)  # (n, 2, 3) rotation vectors of a left limb
        here = _chance(n, often, rng)
        if first is not None:
            mine = torch.where(alike[:, None, None], first, mine)
            here = torch.where(alike, chosen, here)
        first, chosen = mine, here
        vectors = mine * mirror if k else mine
        out[:, joints[1:3]] = torch.where(here[:, None, None, None], turning.matrices(vectors), out[:, joints[1:3]])


def _uniform(n: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=rng)


def _arm(n: int, rng: torch.Generator) -> Tensor:
    """(n, 2, 3) radians, shoulder and elbow of a left arm: the upper arm anywhere but behind the trunk or across it."""
    way = torch.nn.functional.normalize(torch.randn(n, 3, generator=rng), dim=-1)
    x, y, z = way.unbind(-1)
    x = torch.where((x < 0) & ((z < 0) | (x < -0.6)), -x, x)
    z = torch.where((z < -0.6) & (y.abs() < 0.8), -z, z)
    way = torch.stack([x, y, z], -1)
    across = torch.stack([torch.zeros(n), -way[:, 2], way[:, 1]], -1)  # from where the arm is in zero pose, along x
    angle = torch.atan2(across.norm(dim=-1, keepdim=True), way[:, :1])
    swing = turning.matrices(angle * torch.nn.functional.normalize(across, dim=-1))
    zero = torch.zeros(n)
    twist = turning.matrices(torch.stack([_uniform(n, -1.0, 1.0, rng), zero, zero], -1))
    bend = 2.4 * torch.rand(n, generator=rng) ** 1.5
    elbow = torch.stack([zero, -bend, zero], -1)
    return torch.stack([turning.vectors(swing @ twist), elbow], 1)


def _leg(n: int, rng: torch.Generator) -> Tensor:
    """(n, 2, 3) radians, hip and knee of a left leg."""
    zero = torch.zeros(n)
    flex, outwards, twist = _uniform(n, -0.5, 1.8, rng), _uniform(n, -0.15, 0.8, rng), _uniform(n, -0.4, 0.4, rng)
    turns = [torch.stack(v, -1) for v in ((zero, zero, outwards), (-flex, zero, zero), (zero, twist, zero))]
    hip = turning.matrices(turns[0]) @ turning.matrices(turns[1]) @ turning.matrices(turns[2])
    knee = torch.stack([2.1 * torch.rand(n, generator=rng) ** 1.5, zero, zero], -1)
    return torch.stack([turning.vectors(hip), knee], 1)


# Points on the rods: (joint, joint, how far along, radius in metres, what they belong to).
_RODS = (
    *((f"{s}_shoulder", f"{s}_elbow", 0.75, 0.04, f"{s} arm") for s in _SIDES),
    *((f"{s}_elbow", f"{s}_wrist", a, 0.035, f"{s} arm") for s in _SIDES for a in (0.0, 0.35, 0.7, 1.0, 1.3)),
    *((f"{s}_hip", f"{s}_knee", a, 0.065, f"{s} thigh") for s in _SIDES for a in (0.4, 0.7, 1.0)),
    *((f"{s}_knee", f"{s}_ankle", a, 0.048, f"{s} shank") for s in _SIDES for a in (0.25, 0.5, 0.75, 1.0)),
    *(("pelvis", "neck", a, 0.115, "trunk") for a in (0.0, 0.25, 0.5, 0.75, 0.95)),
    *((f"{s}_hip", f"{s}_collar", a, 0.095, "trunk") for s in _SIDES for a in (0.25, 0.5, 0.75)),
    ("neck", "head", 1.6, 0.09, "trunk"),
)


def _apart() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which joints the points lie between, how far along, and the least distance of each two that may not overlap (zero: may)."""
    ends = torch.tensor([[SMPLX_22.index(a), SMPLX_22.index(b)] for a, b, *_ in _RODS])
    along = torch.tensor([each[2] for each in _RODS])
    least = torch.zeros(len(_RODS), len(_RODS))
    for i, (*_, ri, a) in enumerate(_RODS):
        for j, (*_, rj, b) in enumerate(_RODS):
            legs = all("thigh" in each or "trunk" in each for each in (a, b))
            own = a.split()[0] == b.split()[0]
            if not legs and not own:
                least[i, j] = ri + rj - OVERLAP_M
    return ends[:, 0], ends[:, 1], along, least


_FIRST, _SECOND, _ALONG, _LEAST = _apart()


def overlaps(joints: Tensor) -> Tensor:
    """(n,) bool: whether a limb of joints (n, 22, 3) m runs into another or the trunk."""
    points = torch.lerp(joints[:, _FIRST], joints[:, _SECOND], _ALONG[:, None])
    return (torch.cdist(points, points) < _LEAST).flatten(1).any(1)
