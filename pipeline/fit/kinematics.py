"""From rotations, shape and translation to the points that evidence speaks of, with analytic Jacobians.

The joints and surface points that a joint set names are linear in the skinned vertices, so regressor and skinning are
collapsed once: point n is `P_n = sum_k G_k M_nk(shape) + A_nk p_k`, with G_k and p_k the world rotation and position of joint
k and `M_nk` linear in the shape. Joints that a fit does not turn (fingers, say) are folded into the joint they are fixed to.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.body.keypoints import KeypointMap
from pipeline.body.model import BodyModel
from pipeline.fit import rotations

BODY_JOINTS = tuple(range(22))
# Pelvis, hips, knees, spine2, neck, shoulders, elbows: enough to tell poses apart while several are raced.
COARSE_JOINTS = (0, 1, 2, 4, 5, 6, 12, 16, 17, 18, 19)
JAW = 22
LEFT_HAND = tuple(range(25, 40))
RIGHT_HAND = tuple(range(40, 55))
N_BETAS = 10


@dataclass(frozen=True)
class State:
    """A batch of bodies. R: (B, A, 3, 3) rotations of the active joints relative to their parents. shape: (B, S) betas, then
    expression. transl: (B, 3) metres, added to everything, in the instant's frame."""

    R: torch.Tensor
    shape: torch.Tensor
    transl: torch.Tensor

    def take(self, rows: torch.Tensor) -> "State":
        return State(self.R[rows], self.shape[rows], self.transl[rows])

    def put(self, rows: torch.Tensor, other: "State") -> None:
        """Overwrites the given rows."""
        self.R[rows], self.shape[rows], self.transl[rows] = other.R, other.shape, other.transl

    def where(self, keep: torch.Tensor, other: "State") -> "State":
        """Rows of self where `keep` (B,) bool, else of other."""
        return State(
            torch.where(keep[:, None, None, None], self.R, other.R),
            torch.where(keep[:, None], self.shape, other.shape),
            torch.where(keep[:, None], self.transl, other.transl),
        )

    def clone(self) -> "State":
        return State(self.R.clone(), self.shape.clone(), self.transl.clone())

    @staticmethod
    def cat(states: list["State"]) -> "State":
        return State(*(torch.cat([getattr(s, name) for s in states]) for name in ("R", "shape", "transl")))

    def split(self, count: int) -> list["State"]:
        """Inverse of `cat` of `count` states of the same size."""
        return [State(*part) for part in zip(*(x.chunk(count) for x in (self.R, self.shape, self.transl)), strict=True)]


@dataclass(frozen=True)
class Posed:
    """A state's joints. G: (B, A, 3, 3) rotations to the instant's frame; p: (B, A, 3) positions, metres."""

    G: torch.Tensor
    p: torch.Tensor


class Chain:
    """The kinematic tree of the active joints and the points to be explained.

    joints: indices into the 55 joints of SMPL-X; parents: (A,) indices into `joints`, -1 for the pelvis. rest_joints: (55, 3) metres,
    all joints at zero betas in the T-pose; J0 (A, 3), JS (A, 3, S): the active ones and their shape directions. Evidence points:
    `weights` (N, A) is A_nk, `offsets` (N, A, 3) and `offset_dirs` (N, A, 3, S) are M_nk(shape). All of `device` and `dtype`.
    """

    def __init__(
        self,
        body: BodyModel,
        maps: list[KeypointMap],
        joints: tuple[int, ...],
        expression: bool,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
    ):
        self.joints = joints
        self.dtype, self.device = dtype, torch.device(device)
        self.n_shape = N_BETAS + (10 if expression else 0)
        arrays = _BodyArrays(body, self.n_shape, dtype)
        weights, offsets, dirs, pose_dirs = arrays.fold(arrays.collapse(maps), joints)
        self.parents = [_active_parent(body.parents, joints, j) for j in joints]
        self.rest_joints = arrays.J0.to(device)
        self.J0 = arrays.J0[list(joints)].to(device)
        self.JS = arrays.JS[list(joints)].to(device)
        self.weights = weights.to(device)
        self.offsets = offsets.to(device)
        self.offset_dirs = dirs.to(device)
        # (9 (A - 1), N A 3): pose blendshapes of the active joints, None for a body without
        self.pose_dirs = None if pose_dirs is None else pose_dirs.flatten(0, 2).T.contiguous().to(device)
        self.n_points = len(weights)
        self._prepare()

    def _prepare(self) -> None:
        A = len(self.joints)
        moves = torch.eye(A, dtype=self.dtype)  # moves[i, k]: turning i moves what hangs on k
        for k in range(A):
            i = self.parents[k]
            while i >= 0:
                moves[i, k] = 1
                i = self.parents[i]
        self.moves = moves.to(self.device)
        self.subtree_weights = (self.weights @ self.moves.T).contiguous()
        depth = [0] * A
        for k in range(1, A):
            depth[k] = depth[self.parents[k]] + 1
        self.levels = []
        for level in range(1, max(depth) + 1):
            members = [k for k in range(A) if depth[k] == level]
            self.levels.append(
                (
                    torch.tensor(members, device=self.device),
                    torch.tensor([self.parents[k] for k in members], device=self.device),
                )
            )
        parent = torch.tensor([max(k, 0) for k in self.parents], device=self.device)
        self.parent = parent
        bones, bone_dirs = self.J0 - self.J0[parent], self.JS - self.JS[parent]
        bones[0], bone_dirs[0] = self.J0[0], self.JS[0]
        self.bones, self.bone_dirs = bones, bone_dirs
        # paths[k, i]: joint i lies on the way from the pelvis to k; summing bones along it gives p_k
        self.paths = self.moves.T.contiguous()
        self._flat_offset_dirs = self.offset_dirs.permute(1, 2, 0, 3).reshape(A * 3, -1).contiguous()

    @property
    def n_parameters(self) -> int:
        """Rotations (3 A, ordered axis-major: x of every joint, then y, then z), shape (S), translation (3)."""
        return 3 * len(self.joints) + self.n_shape + 3

    def rest(self, rows: int) -> State:
        """Bodies in the T-pose at the origin with zero shape."""
        zeros = torch.zeros(rows, 3, dtype=self.dtype, device=self.device)
        eye = torch.eye(3, dtype=self.dtype, device=self.device)
        return State(eye.expand(rows, len(self.joints), 3, 3).clone(), zeros.new_zeros(rows, self.n_shape), zeros)

    def adopt(self, state: State, other: "Chain") -> State:
        """A state of another chain with fewer joints as one of this; joints that it lacks stay as in the T-pose."""
        R = self.rest(len(state.transl)).R
        R[:, [self.joints.index(joint) for joint in other.joints]] = state.R
        return State(R, state.shape, state.transl)

    def pose(self, state: State) -> Posed:
        G = state.R.clone()
        for members, parents in self.levels:
            G[:, members] = G[:, parents] @ state.R[:, members]
        bones = self.bones + (state.shape @ self.bone_dirs.reshape(-1, self.n_shape).T).unflatten(1, (-1, 3))
        turned = (self.parent_rotations(G) @ bones[..., None])[..., 0]
        p = (self.paths @ turned) + state.transl[:, None]
        return Posed(G, p)

    def parent_rotations(self, G: torch.Tensor) -> torch.Tensor:
        """(B, A, 3, 3) world rotation of each joint's parent; the identity for the pelvis."""
        P = G[:, self.parent]
        P[:, 0] = torch.eye(3, dtype=self.dtype, device=self.device)
        return P

    def parts(self, state: State, posed: Posed) -> torch.Tensor:
        """(B, N, 3, A): what each joint contributes to each point, G_k M_nk + A_nk p_k."""
        N, A = self.weights.shape
        M = self.offsets + (state.shape @ self.offset_dirs.reshape(-1, self.n_shape).T).reshape(-1, N, A, 3)
        if self.pose_dirs is not None:
            features = state.R[:, 1:] - torch.eye(3, dtype=self.dtype, device=self.device)
            M = M + (features.flatten(1) @ self.pose_dirs).reshape(M.shape)
        turned = torch.matmul(M.transpose(1, 2), posed.G.transpose(2, 3))  # (B, A, N, 3)
        parts = turned.permute(0, 2, 3, 1) + self.weights[:, None] * posed.p.transpose(1, 2)[:, None]
        return parts

    def points(self, state: State, posed: Posed | None = None) -> torch.Tensor:
        """(B, N, 3) metres, in the instant's frame."""
        return self.parts(state, posed or self.pose(state)).sum(-1)

    def arms(self, posed: Posed, parts: torch.Tensor) -> torch.Tensor:
        """(B, N, 3, A): what hangs on joint i of each point, from the joint; a turn w of i moves the point by w x arm."""
        return parts @ self.moves.T - self.subtree_weights[:, None] * posed.p.transpose(1, 2)[:, None]

    def jacobian(self, state: State, posed: Posed, parts: torch.Tensor, free_shape: bool) -> torch.Tensor:
        """(B, N, 3, P): derivative of the points for a step (see `retract`); without free_shape the S columns of the shape are
        left out.

        A turn w of joint i about axes of the instant's frame moves what hangs on it by w x (P - p_i). The change of a licensed
        body's pose blendshapes with the pose (about a millimetre a radian) is left out; their value is in the points.
        """
        B, N, _, A = parts.shape
        S = self.n_shape if free_shape else 0
        arm = self.arms(posed, parts)
        J = parts.new_zeros(B, N, 3, 3 * A + S + 3)
        turn = J[..., : 3 * A].unflatten(-1, (3, A))
        turn[:, :, 0, 1], turn[:, :, 0, 2] = arm[:, :, 2], -arm[:, :, 1]
        turn[:, :, 1, 0], turn[:, :, 1, 2] = -arm[:, :, 2], arm[:, :, 0]
        turn[:, :, 2, 0], turn[:, :, 2, 1] = arm[:, :, 1], -arm[:, :, 0]
        if free_shape:
            J[..., 3 * A : 3 * A + S] = self.shape_jacobian(posed)
        J[..., 3 * A + S :] = self.weights.sum(1)[:, None, None] * torch.eye(3, dtype=self.dtype, device=self.device)
        return J

    def shape_jacobian(self, posed: Posed) -> torch.Tensor:
        """(B, N, 3, S): sum_k G_k dM_nk + A_nk dp_k."""
        B, A = posed.p.shape[:2]
        S, N = self.n_shape, self.n_points
        turned = self.parent_rotations(posed.G) @ self.bone_dirs  # (B, A, 3, S)
        dp = self.paths @ turned.reshape(B, A, 3 * S)
        dP = (self.weights @ dp).unflatten(-1, (3, S))
        rows = posed.G.transpose(1, 2).reshape(B * 3, A * 3)
        return dP + (rows @ self._flat_offset_dirs).reshape(B, 3, N, S).transpose(1, 2)

    def retract(self, state: State, posed: Posed, step: torch.Tensor) -> State:
        """Takes a step (B, P): every joint is turned about axes of the instant's frame, `R <- exp(Gp^T w) R` with Gp its
        parent's rotation before the step."""
        A = len(self.joints)
        shape = step[:, 3 * A : -3] if step.shape[1] == self.n_parameters else step.new_zeros(())
        turn = step[:, : 3 * A].unflatten(1, (3, A)).transpose(1, 2)
        local = (self.parent_rotations(posed.G).transpose(2, 3) @ turn[..., None])[..., 0]
        R = torch.matmul(rotations.exp(local), state.R)
        return State(R, state.shape + shape, state.transl + step[:, -3:])


def _active_parent(parents: np.ndarray, joints: tuple[int, ...], joint: int) -> int:
    """Index into `joints` of the nearest joint above that is active; -1 for the pelvis."""
    while joint > 0:
        joint = int(parents[joint])
        if joint in joints:
            return joints.index(joint)
    return -1


# Of some points: A_nk (N, K), the offsets M_nk (N, K, 3), their shape directions (N, K, 3, S), and their pose directions or None.
_Collapsed = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]


class _BodyArrays:
    """A body model's arrays in one precision, and the sums over its vertices that a chain is made of."""

    def __init__(self, body: BodyModel, n_shape: int, dtype: torch.dtype):
        self.parents = [int(j) for j in body.parents]
        self.v = body.v_template.to(dtype)
        self.dirs = body.shapedirs.to(dtype)
        if n_shape > N_BETAS:
            self.dirs = torch.cat([self.dirs, body.exprdirs.to(dtype)], -1)
        regressor = body.J_regressor.to(dtype)
        self.J0 = regressor @ self.v
        self.JS = torch.einsum("jv,vcs->jcs", regressor, self.dirs)
        self.skinning = body.weights.to(dtype)
        self.pose_dirs = None if body.posedirs is None else body.posedirs.to(dtype).unflatten(1, (-1, 3))

    def collapse(self, maps: list[KeypointMap]) -> _Collapsed:
        """A_nk (N, 55), M_nk: offsets (N, 55, 3), their shape directions (N, 55, 3, S) and pose directions (or None)."""
        collapsed = [self._collapse_one(m) for m in maps]
        weights, offsets, dirs = (torch.cat(part) for part in zip(*(each[:3] for each in collapsed), strict=True))
        pose_dirs = [each[3] for each in collapsed if each[3] is not None]
        return weights, offsets, dirs, torch.cat(pose_dirs) if pose_dirs else None

    def _collapse_one(self, keypoints: KeypointMap) -> _Collapsed:
        ids = torch.as_tensor(keypoints.vertex_ids, dtype=torch.long)
        on_vertices = torch.as_tensor(keypoints.vertex_weights, dtype=self.v.dtype)
        skinning = self.skinning[ids]
        share = torch.einsum("nm,mk->nmk", on_vertices, skinning)
        weights = share.sum(1)
        offsets = torch.einsum("nmk,mc->nkc", share, self.v[ids]) - weights[..., None] * self.J0
        dirs = torch.einsum("nmk,mcs->nkcs", share, self.dirs[ids]) - weights[..., None, None] * self.JS
        pose_dirs = None
        if self.pose_dirs is not None:
            pose_dirs = torch.einsum("nmk,fmc->nkcf", share, self.pose_dirs[:, ids])
        weights = weights + torch.as_tensor(keypoints.joint_weights, dtype=self.v.dtype)
        return weights, offsets, dirs, pose_dirs

    def fold(self, collapsed: _Collapsed, joints: tuple[int, ...]) -> _Collapsed:
        """Adds the shares of joints that are not turned to the joint they are fixed to, and drops them."""
        weights, offsets, dirs, pose_dirs = collapsed
        for k in range(len(self.parents) - 1, 0, -1):
            if k in joints:
                continue
            q = self.parents[k]
            offsets[:, q] += offsets[:, k] + weights[:, k, None] * (self.J0[k] - self.J0[q])
            dirs[:, q] += dirs[:, k] + weights[:, k, None, None] * (self.JS[k] - self.JS[q])
            weights[:, q] += weights[:, k]
            if pose_dirs is not None:
                pose_dirs[:, q] += pose_dirs[:, k]
        keep = list(joints)
        if pose_dirs is not None:
            features = [9 * (j - 1) + e for j in joints[1:] for e in range(9)]
            pose_dirs = pose_dirs[:, keep][..., features]
        return weights[:, keep], offsets[:, keep], dirs[:, keep], pose_dirs
