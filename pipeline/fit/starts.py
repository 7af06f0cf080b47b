"""Where the search begins: orientation and depth from 2D, Procrustes from 3D, and limbs placed by two-bone inverse kinematics.

From one image every limb bone b seen along the ray v has a twin `b - 2 (b . v) v` with the same picture, one bent towards the camera
and one away. A local search does not cross from one to the other, so both are tried.
"""

import math
from dataclasses import dataclass

import torch

from pipeline.fit import rotations
from pipeline.fit.kinematics import Chain, Posed, State
from pipeline.fit.objective import Evidence, Objective
from pipeline.skeletons import SMPLX_22, JointSet

# upper joint, hinge joint, end joint, and the axis about which the hinge bends in the T-pose.
_LIMB_NAMES = (
    ("left_shoulder", "left_elbow", "left_wrist", (0.0, -1.0, 0.0)),
    ("right_shoulder", "right_elbow", "right_wrist", (0.0, 1.0, 0.0)),
    ("left_hip", "left_knee", "left_ankle", (1.0, 0.0, 0.0)),
    ("right_hip", "right_knee", "right_ankle", (1.0, 0.0, 0.0)),
)
MOST_BEND = 2.6
# How much the likely twist of an almost straight limb counts against the plane of its two bones.
LIKELY_PLANE = 0.15
YAWS = (0.0, 0.5 * math.pi, math.pi, 1.5 * math.pi)
PITCHES = (0.0, math.radians(50), math.radians(-50))


@dataclass(frozen=True)
class Limb:
    """A two-bone limb. upper, hinge: indices into the chain's joints. rest: (2, 3) unit directions of its bones in the T-pose, length:
    metres of the lower one. axis: (3,) about which the hinge bends. likely: (3, 3) likely rotation of the upper joint."""

    upper: int
    hinge: int
    length: float
    likely: torch.Tensor
    rest: torch.Tensor
    axis: torch.Tensor


def limbs_of(chain: Chain, likely: torch.Tensor) -> list[Limb]:
    """likely: (A, 3, 3) rotations of the likely pose."""
    limbs = []
    for upper, hinge, end, axis in _LIMB_NAMES:
        joints = chain.rest_joints[[SMPLX_22.index(name) for name in (upper, hinge, end)]]
        rest = joints[1:] - joints[:-1]
        i, j = (chain.joints.index(SMPLX_22.index(name)) for name in (upper, hinge))
        limbs.append(Limb(i, j, float(rest[1].norm()), likely[i], _unit(rest), rest.new_tensor(axis)))
    return limbs


def place_limb(
    limb: Limb, parent: torch.Tensor, upper: torch.Tensor, lower: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotations (B, 3, 3) of the upper and the hinge joint that point the bones along `upper` and `lower`, (B, 3) unit.

    The hinge only bends about its own axis; the twist of the upper bone follows from the plane of the two, and in a straight limb
    from the likely pose. parent: (B, 3, 3) world rotation of the upper joint's parent.
    """
    bend = torch.acos((upper * lower).sum(-1).clamp(-1, 1)).clamp_max(MOST_BEND)
    likely = parent @ limb.likely
    likely = rotations.smallest((likely @ limb.rest[0]), upper) @ likely
    normal = torch.linalg.cross(upper, lower) + LIKELY_PLANE * (likely @ limb.axis)
    world = _frame(upper, normal) @ _frame(limb.rest[0], limb.axis).transpose(-1, -2)
    return parent.transpose(1, 2) @ world, rotations.exp(bend[:, None] * limb.axis)


def _frame(direction: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    """(..., 3, 3) with columns direction, normal made orthogonal to it, and their cross product."""
    normal = normal - (normal * direction).sum(-1, keepdim=True) * direction
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    return torch.stack([direction, normal, torch.linalg.cross(direction, normal)], -1)


def orientation_starts(
    chain: Chain, prior_mean: torch.Tensor, evidence: Evidence, joint_set: JointSet
) -> list[tuple[str, State]]:
    """Bodies in the likely pose facing several ways, placed where the first view with enough points sees them.

    Upright in y-down camera axes is diag(1, -1, -1). The roll about the optical axis comes from the torso's direction in the image,
    the depth from `z = f L / l` as evidence.scale holds it already.
    """
    view = (evidence.pixels_weight > 0).sum(2).argmax(1)
    rows = torch.arange(len(view), device=view.device)
    uv, weight = evidence.pixels[rows, view], evidence.pixels_weight[rows, view]
    Rc, tc = evidence.R[rows, view], evidence.t[rows, view]
    up = _image_up(uv, weight, joint_set)
    roll = torch.atan2(up[:, 0], -up[:, 1])
    z = _depth(chain, uv, weight, joint_set)
    upright = torch.diag(uv.new_tensor([1.0, -1.0, -1.0]))
    starts = []
    for pitch in PITCHES:
        for yaw in YAWS:
            in_camera = _about(2, roll) @ _about(0, uv.new_tensor(pitch)) @ upright @ _about(1, uv.new_tensor(yaw))
            R = prior_mean.expand(len(uv), -1, -1, -1).clone()
            R[:, 0] = in_camera
            state = State(R, uv.new_zeros(len(uv), chain.n_shape), uv.new_zeros(len(uv), 3))
            centre = _centre(chain.points(state), uv, weight, z)
            # the camera's axes -> the instant's frame; the pelvis turns in place
            pelvis = (Rc.transpose(1, 2) @ (centre + chain.J0[0] - tc)[..., None])[..., 0] - chain.J0[0]
            R[:, 0] = Rc.transpose(1, 2) @ in_camera
            starts.append(
                (f"yaw{round(math.degrees(yaw))}_pitch{round(math.degrees(pitch))}", State(R, state.shape, pelvis))
            )
    return starts


def _about(axis: int, angle: torch.Tensor) -> torch.Tensor:
    vector = torch.zeros(*angle.shape, 3, dtype=angle.dtype, device=angle.device)
    vector[..., axis] = angle
    return rotations.exp(vector)


def _image_up(uv: torch.Tensor, weight: torch.Tensor, joint_set: JointSet) -> torch.Tensor:
    """(B, 2) direction in the image from the hips to the shoulders (or the next best pair); up where nothing tells."""
    pairs = (
        (("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")),
        (("pelvis",), ("neck",)),
        (("left_shoulder", "right_shoulder"), ("nose", "left_eye", "right_eye", "left_ear", "right_ear")),
        (("left_knee", "right_knee"), ("left_hip", "right_hip")),
    )
    up = uv.new_tensor([0.0, -1.0]).expand(len(uv), 2).clone()
    known = torch.zeros(len(uv), dtype=torch.bool, device=uv.device)
    for low, high in pairs:
        means, there = [], []
        for names in (low, high):
            index = [joint_set.index(name) for name in names if name in joint_set.names]
            w = (weight[:, index] > 0).to(uv.dtype)
            means.append((w[..., None] * uv[:, index]).sum(1) / w.sum(1, keepdim=True).clamp_min(1))
            there.append(w.sum(1) > 0)
        use = ~known & there[0] & there[1] & ((means[1] - means[0]).norm(dim=1) > 1e-9)
        up = torch.where(use[:, None], means[1] - means[0], up)
        known |= use
    return up


def _depth(chain: Chain, uv: torch.Tensor, weight: torch.Tensor, joint_set: JointSet) -> torch.Tensor:
    """(B,) metres: a low quantile over bones of L / l, each the most that the bone's distance can be."""
    template = chain.points(
        State(
            torch.eye(3, dtype=uv.dtype, device=uv.device).expand(1, len(chain.joints), 3, 3),
            uv.new_zeros(1, chain.n_shape),
            uv.new_zeros(1, 3),
        )
    )[0]
    i, j = (torch.tensor(end, device=uv.device) for end in zip(*joint_set.bones, strict=True))
    lengths = (template[i] - template[j]).norm(dim=1)
    i, j, lengths = i[lengths > 0.12], j[lengths > 0.12], lengths[lengths > 0.12]
    ratio = (uv[:, i] - uv[:, j]).norm(dim=-1) / lengths
    ratio = torch.where((weight[:, i] > 0) & (weight[:, j] > 0), ratio, torch.nan)
    inverse = ratio.nanquantile(0.8, dim=1)
    # fewer than two bones with both ends in sight: the spread of all points against that of a body
    seen = (weight > 0).to(uv.dtype)[..., None]
    mean = (seen * uv).sum(1, keepdim=True) / seen.sum(1, keepdim=True)
    spread = ((seen * (uv - mean) ** 2).sum((1, 2)) / seen.sum((1, 2))).sqrt() / 0.5
    return 1 / torch.where(inverse.isnan(), spread, inverse).clamp(1e-3, 10)


def _centre(P: torch.Tensor, uv: torch.Tensor, weight: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """(B, 3) translation at depth z that puts the points P (B, N, 3) over their pixels, in the mean."""
    w = weight / weight.sum(1, keepdim=True)
    z = z.clamp_min(0.5) - (w * P[..., 2]).sum(1)
    xy = (w[..., None] * (uv * (z[:, None] + P[..., 2])[..., None].clamp_min(0.1) - P[..., :2])).sum(1)
    return torch.cat([xy, z[:, None]], 1)


def triangulate(evidence: Evidence) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (B, N, 3) nearest to the rays of all views that see them, and which of them (B, N) the rays pin down.

    Minimises `sum_v w |(I - d d^T) (X - o)|^2` over X, with eye o and unit direction d of each ray.
    """
    R, w = evidence.R, evidence.pixels_weight
    d = torch.cat([evidence.pixels, torch.ones_like(evidence.pixels[..., :1])], -1) @ R
    d = _unit(d)
    eye = -(R.transpose(2, 3) @ evidence.t[..., None])[..., 0]
    across = torch.eye(3, dtype=d.dtype, device=d.device) - d[..., :, None] * d[..., None, :]
    A = (w[..., None, None] * across).sum(1)
    b = (w[..., None] * (across @ eye[:, :, None, :, None])[..., 0]).sum(1)
    # parallel rays leave one direction open: its eigenvalue is near zero
    values = torch.linalg.eigvalsh(A)
    known = (values[..., 0] > 1e-3 * values[..., 2]) & (values[..., 2] > 0)
    A = torch.where(known[..., None, None], A, torch.eye(3, dtype=d.dtype, device=d.device))
    return torch.linalg.solve(A, b[..., None])[..., 0], known


def procrustes_start(
    chain: Chain,
    limbs: list[Limb],
    prior_mean: torch.Tensor,
    targets: torch.Tensor,
    known: torch.Tensor,
    shape: torch.Tensor,
    joint_set: JointSet,
) -> State:
    """A body turned onto 3D points by its torso, limbs pointed along theirs.

    targets: (B, N, 3) metres, known: (B, N) bool; shape: (B, S).
    """
    B = len(targets)
    R = prior_mean.expand(B, -1, -1, -1).clone()
    state = State(R, shape, targets.new_zeros(B, 3))
    P = chain.points(state)
    torso = [
        joint_set.index(n)
        for n in joint_set.names
        if n in ("pelvis", "left_hip", "right_hip", "spine", "spine3", "neck", "left_shoulder", "right_shoulder")
    ]
    w = known.to(P.dtype)
    inside = torch.zeros_like(w)
    inside[:, torso] = 1
    # a torso with fewer than three points leaves it to the whole body
    w = torch.where(((w * inside).sum(1) >= 3)[:, None], w * inside, w)
    turn, centre_to, centre_from = rotations.rigid_motion(P, targets, w)
    R[:, 0] = turn
    pelvis = chain.J0[0] + (chain.JS[0] @ shape[..., None])[..., 0]
    transl = centre_to + (turn @ (pelvis - centre_from)[..., None])[..., 0] - pelvis
    state = State(R, shape, transl)
    posed = chain.pose(state)
    names = [name for limb in _LIMB_NAMES for name in limb[:3]]
    for k, limb in enumerate(limbs):
        if not all(name in joint_set.names for name in names[3 * k : 3 * k + 3]):
            continue
        a, b, c = (joint_set.index(name) for name in names[3 * k : 3 * k + 3])
        use = known[:, a] & known[:, b] & known[:, c]
        upper, lower = _unit(targets[:, b] - targets[:, a]), _unit(targets[:, c] - targets[:, b])
        placed = place_limb(limb, posed.G[:, chain.parents[limb.upper]], upper, lower)
        for joint, rotation in zip((limb.upper, limb.hinge), placed, strict=True):
            R[:, joint] = torch.where(use[:, None, None], rotation, R[:, joint])
    return State(R, shape, transl)


def _unit(v: torch.Tensor) -> torch.Tensor:
    return v / v.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def other_limbs(objective: Objective, limbs: list[Limb], state: State) -> list[State]:
    """For each limb the state with that limb alone in the cheapest of its depth twins that is not its own."""
    chain, evidence = objective.chain, objective.evidence
    posed = chain.pose(state)
    eye = -(evidence.R[:, 0].transpose(1, 2) @ evidence.t[:, 0, :, None])[..., 0]
    rows = torch.arange(len(state.transl), device=eye.device)
    others = []
    for limb in limbs:
        twins = torch.stack(_twins(chain, limb, state, posed, eye)[1:])
        flat = State.cat([State(R, state.shape, state.transl) for R in twins])
        cheapest = objective.repeat(len(twins)).cost(flat).view(len(twins), -1).argmin(0)
        others.append(State(twins[cheapest, rows], state.shape, state.transl))
    return others


def mirrored_limbs(objective: Objective, limbs: list[Limb], states: list[State]) -> list[State]:
    """The states with every limb replaced by whichever of its depth twins costs least, each limb on its own.

    Needs one view only to matter; rays are those of the first view.
    """
    state = State.cat(states)
    objective = objective.repeat(len(states))
    chain, evidence = objective.chain, objective.evidence
    posed = chain.pose(state)
    eye = -(evidence.R[:, 0].transpose(1, 2) @ evidence.t[:, 0, :, None])[..., 0]
    twins = [_twins(chain, limb, state, posed, eye) for limb in limbs]
    options = [State(R, state.shape, state.transl) for of_limb in twins for R in of_limb]
    costs = objective.repeat(1 + len(options)).cost(State.cat([state, *options])).view(1 + len(options), -1)
    best = state.R.clone()
    for limb, of_limb, theirs in zip(limbs, twins, costs[1:].chunk(len(limbs)), strict=True):
        choice = torch.cat([costs[:1], theirs]).argmin(0)
        for k, R in enumerate(of_limb):
            for joint in (limb.upper, limb.hinge):
                best[:, joint] = torch.where((choice == k + 1)[:, None, None], R[:, joint], best[:, joint])
    return State(best, state.shape, state.transl).split(len(states))


def _twins(chain: Chain, limb: Limb, state: State, posed: Posed, eye: torch.Tensor) -> list[torch.Tensor]:
    """Rotations (B, A, 3, 3) with this limb's upper, lower or both bones mirrored in depth, and with neither but placed anew."""
    hinge = posed.p[:, limb.hinge]
    upper, lower = hinge - posed.p[:, limb.upper], posed.G[:, limb.hinge] @ limb.rest[1]
    flipped_upper = _unit(_mirror(upper, hinge - eye))
    flipped_lower = _mirror(lower, hinge + limb.length * lower - eye)
    upper = _unit(upper)
    parent = posed.G[:, chain.parents[limb.upper]].repeat(4, 1, 1)
    first = torch.cat([upper, flipped_upper, upper, flipped_upper])
    second = torch.cat([lower, lower, flipped_lower, flipped_lower])
    R = state.R.repeat(4, 1, 1, 1)
    R[:, limb.upper], R[:, limb.hinge] = place_limb(limb, parent, first, second)
    return list(R.chunk(4))


def _mirror(bone: torch.Tensor, ray: torch.Tensor) -> torch.Tensor:
    ray = _unit(ray)
    return bone - 2 * (bone * ray).sum(-1, keepdim=True) * ray


def reversed_torso(chain: Chain, limbs: list[Limb], state: State, evidence: Evidence) -> State:
    """The depth twin of the whole body, limbs with their mirrored directions.

    A flat torso has the same picture when mirrored in depth; chest and back are exchanged with it, so that it stays a rotation.
    """
    posed = chain.pose(state)
    eye = -(evidence.R[:, 0].transpose(1, 2) @ evidence.t[:, 0, :, None])[..., 0]
    ray = _unit(posed.p[:, 0] - eye)
    M = torch.eye(3, dtype=ray.dtype, device=ray.device) - 2 * ray[:, :, None] * ray[:, None]
    R = state.R.clone()
    R[:, 0] = M @ posed.G[:, 0] @ torch.diag(ray.new_tensor([1.0, 1.0, -1.0]))
    there = chain.pose(State(R, state.shape, state.transl))
    for limb in limbs:
        upper = _unit(_mirror(posed.p[:, limb.hinge] - posed.p[:, limb.upper], ray))
        lower = _mirror(posed.G[:, limb.hinge] @ limb.rest[1], ray)
        R[:, limb.upper], R[:, limb.hinge] = place_limb(limb, there.G[:, chain.parents[limb.upper]], upper, lower)
    return State(R, state.shape, state.transl)
