"""The body model: SMPL-X parameters in, vertices and joints out.

Without a path this is the free body of `assets/`; a licensed SMPL-X file takes its place. SMPL-X's own axes: x to the body's left,
y up, z forward; arms stretched sideways when every parameter is zero.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from pipeline.body import turns
from pipeline.body.reader import BETAS, EXPRESSIONS, read_smplx
from pipeline.errors import InputError
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.threads import one_thread

FREE_BODY = Path(__file__).parent / "assets" / "SMPLX_NEUTRAL.npz"
GENDERS = ("neutral", "male", "female")
# smplx's order of the 55 joints' rotations.
POSE_ORDER = (
    "global_orient",
    "body_pose",
    "jaw_pose",
    "leye_pose",
    "reye_pose",
    "left_hand_pose",
    "right_hand_pose",
)
CHUNK = 64  # bodies posed at once: about 200 MB of temporary arrays


@dataclass(frozen=True)
class BodyModel:
    """An SMPL-X-layout body, ready to pose.

    Hands are flat at zero, without PCA. faces: (F, 3) int64. parents: (55,) int, -1 at the root.
    v_template: (V, 3) metres. shapedirs, exprdirs: (V, 3, 10) metres per unit. posedirs: (486, 3 V) metres, None when all zero.
    J_regressor: (55, V). weights: (V, 55). landmark_faces: (51,) int64, where the face's landmarks lie; landmark_weights: (51, 3)
    of their corners. Tensors are float32 on the CPU and must not be changed. joint_regressor: (17, V) float64,
    the user's, for Human3.6M's joints in place of the built-in definition; joint_regressor_sha256: of its file.
    """

    name: str
    sha256: str
    faces: np.ndarray
    parents: np.ndarray
    v_template: torch.Tensor
    shapedirs: torch.Tensor
    exprdirs: torch.Tensor
    posedirs: torch.Tensor | None
    J_regressor: torch.Tensor
    weights: torch.Tensor
    landmark_faces: np.ndarray
    landmark_weights: np.ndarray
    joint_template: torch.Tensor  # (55, 3) metres, rest joints at zero betas
    joint_shapedirs: torch.Tensor  # (55, 3, 20) metres per unit of beta or expression
    joint_regressor: np.ndarray | None = None
    joint_regressor_sha256: str | None = None

    @property
    def n_vertices(self) -> int:
        return len(self.v_template)

    @torch.no_grad()
    def pose(self, params: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (B, V, 3) and joints (B, 55, 3), metres, of a batch of bodies.

        params: tensors (B, k) named and sized as `records.PARAMETER_SIZES`; those left out are zero. Equal to
        the package smplx to rounding (a test compares them), and several times faster: smplx multiplies by the pose directions
        also where all are zero, and regresses joints from every vertex.
        """
        params = {name: value.to(torch.float32) for name, value in params.items()}
        unknown = set(params) - set(PARAMETER_SIZES)
        assert params and not unknown, unknown
        n = len(next(iter(params.values())))
        full = {name: params.get(name, torch.zeros(n, size)) for name, size in PARAMETER_SIZES.items()}
        parts = [
            self._pose_chunk({name: value[i : i + CHUNK] for name, value in full.items()}) for i in range(0, n, CHUNK)
        ]
        return torch.cat([v for v, _ in parts]), torch.cat([j for _, j in parts])

    def _pose_chunk(self, params: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        n = len(params["betas"])
        shape = torch.cat([params["betas"], params["expression"]], 1)
        directions = torch.cat([self.shapedirs, self.exprdirs], 2)
        if not params["expression"].any():
            shape, directions = params["betas"], self.shapedirs
        shaped = self.v_template + (shape @ directions.reshape(-1, directions.shape[2]).T).view(n, -1, 3)
        rest = self.joint_template + torch.einsum("bk,jak->bja", shape, self.joint_shapedirs[..., : shape.shape[1]])
        rotations = turns.matrices(torch.cat([params[name] for name in POSE_ORDER], 1).view(n, -1, 3))
        if self.posedirs is not None:
            feature = (rotations[:, 1:] - torch.eye(3)).reshape(n, -1)
            shaped = shaped + (feature @ self.posedirs).view(n, -1, 3)
        world, joints = self.chain(rotations, rest)
        offsets = joints - (world @ rest[..., None])[..., 0]
        transforms = torch.cat([world, offsets[..., None]], -1).view(n, -1, 12)
        blended = (self.weights @ transforms).view(n, -1, 3, 4)
        vertices = (blended[..., :3] * shaped[:, :, None]).sum(-1) + blended[..., 3]
        transl = params["transl"][:, None]
        return vertices + transl, joints + transl

    def chain(self, rotations: torch.Tensor, rest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Forward kinematics: local rotations (B, 55, 3, 3) and rest joints (B, 55, 3) -> world rotations, joints (B, 55, 3)."""
        world, joints = [rotations[:, 0]], [rest[:, 0]]
        for j in range(1, len(self.parents)):
            parent = self.parents[j]
            world.append(world[parent] @ rotations[:, j])
            bone = (rest[:, j] - rest[:, parent])[..., None]
            joints.append(joints[parent] + (world[parent] @ bone)[..., 0])
        return torch.stack(world, 1), torch.stack(joints, 1)

    def mesh(self, parameters: BodyParameters) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (V, 3) float32 and joints (55, 3) float32, metres, of one body."""
        vertices, joints = self.pose(as_tensors([parameters]))
        return vertices[0].numpy(), joints[0].numpy()

    def rest_pelvis(self, parameters: BodyParameters) -> np.ndarray:
        """(3,) float64 metres: where the root joint of this shape lies before posing. global_orient turns about it."""
        shape = np.concatenate([parameters.betas, parameters.expression]).astype(np.float64)
        return (
            self.joint_template[0].numpy().astype(np.float64)
            + self.joint_shapedirs[0].numpy().astype(np.float64) @ shape
        )


@one_thread()
def with_template(body: BodyModel, name: str, v_template: torch.Tensor) -> BodyModel:
    """The same body with another mean shape. v_template: (V, 3) metres; its bytes are what sha256 then stands for."""
    return replace(
        body,
        name=name,
        sha256=hashlib.sha256(v_template.numpy().tobytes()).hexdigest(),
        v_template=v_template,
        joint_template=body.J_regressor @ v_template,
    )


def as_tensors(bodies: list[BodyParameters]) -> dict[str, torch.Tensor]:
    """Parameters of several bodies as the (B, k) float32 tensors that `BodyModel.pose` takes."""
    return {
        f.name: torch.from_numpy(np.stack([np.asarray(getattr(body, f.name), np.float32) for body in bodies]))
        for f in fields(BodyParameters)
    }


def move_body(body: BodyModel, parameters: BodyParameters, R: np.ndarray, t: np.ndarray) -> BodyParameters:
    """Parameters of the same body after `X -> R X + t`: its mesh is `mesh(parameters) @ R.T + t`.

    R: (3, 3) rotation, t: (3,) metres. SMPL-X turns a body about its rest pelvis p, not the origin: `X = R_g (v - p) + p + transl`, so
    the moved translation is `R (p + transl) + t - p`.
    """
    from scipy.spatial.transform import Rotation  # here, since predictions pose bodies without it

    p = body.rest_pelvis(parameters)
    # a copy: what another process sent may be read-only, which scipy does not take
    orient = Rotation.from_matrix(R) * Rotation.from_rotvec(np.array(parameters.global_orient, np.float64))
    return replace(parameters, global_orient=orient.as_rotvec(), transl=R @ (p + parameters.transl) + t - p)


@one_thread()
def load_body(path: Path | None = None, gender: str = "neutral") -> BodyModel:
    """The free body, or the licensed SMPL-X model at `path`.

    path: an SMPLX_*.npz file, or a folder that holds one per gender (`SMPLX_NEUTRAL.npz`, also under `smplx/`). A user's file is never
    unpickled.
    """
    if gender not in GENDERS:
        raise InputError(f"Unknown gender '{gender}' of a body model; choose one of {', '.join(GENDERS)}.")
    if path is None:
        if gender != "neutral":
            raise InputError(
                f"The free body is gender-neutral; a {gender} body needs a licensed SMPLX_{gender.upper()}.npz: give its path."
            )
        return build_body("free body", FREE_BODY, read_free_body())
    path = find_model(Path(path), gender)
    return build_body(path.stem, path, read_smplx(path))


def find_model(path: Path, gender: str) -> Path:
    """The file of this gender where `path` is a folder laid out as smplx expects, else `path` itself."""
    if not path.is_dir():
        return path
    name = f"SMPLX_{gender.upper()}.npz"
    for candidate in (path / name, path / "smplx" / name):
        if candidate.is_file():
            return candidate
    raise InputError(f"The folder {path} holds neither {name} nor smplx/{name}: name the SMPL-X file itself.")


def read_free_body() -> dict[str, np.ndarray]:
    """The free body's arrays as `read_smplx` gives those of a file, without the pose directions, which are all zero."""
    names = (
        "v_template",
        "f",
        "shapedirs",
        "J_regressor",
        "weights",
        "kintree_table",
        "lmk_faces_idx",
        "lmk_bary_coords",
    )
    with np.load(FREE_BODY, allow_pickle=False) as archive:
        return {name: archive[name] for name in names}


def build_body(name: str, source: Path, arrays: Mapping[str, np.ndarray]) -> BodyModel:
    """The arrays of an SMPL-X file as a body: metres, SMPL-X's axes, shapes as in `BodyModel`. source: the file whose bytes sha256
    stands for. Raises OSError when it cannot be read.
    """
    directions = torch.from_numpy(arrays["shapedirs"])
    template, regressor = torch.from_numpy(arrays["v_template"]), torch.from_numpy(arrays["J_regressor"])
    posedirs = arrays.get("posedirs")
    if posedirs is not None:
        posedirs = posedirs.reshape(-1, posedirs.shape[2]).T if posedirs.any() else None
    return BodyModel(
        name=name,
        sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        faces=arrays["f"].astype(np.int64),
        parents=np.append(-1, arrays["kintree_table"][0, 1:]).astype(np.int64),
        v_template=template,
        shapedirs=directions[..., :BETAS].contiguous(),
        exprdirs=directions[..., BETAS : BETAS + EXPRESSIONS].contiguous(),
        posedirs=None if posedirs is None else torch.tensor(posedirs),
        J_regressor=regressor,
        weights=torch.from_numpy(arrays["weights"]),
        landmark_faces=arrays["lmk_faces_idx"],
        landmark_weights=arrays["lmk_bary_coords"],
        joint_template=regressor @ template,
        joint_shapedirs=torch.einsum("jv,vak->jak", regressor, directions),
    )
