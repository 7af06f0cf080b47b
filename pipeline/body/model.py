"""The body model: SMPL-X parameters in, vertices and joints out.

Without a path this is the free body of `assets/`; a licensed SMPL-X file takes its place. SMPL-X's own axes: x to the body's left,
y up, z forward; arms stretched sideways when every parameter is zero.
"""

import contextlib
import copy
import hashlib
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import roma
import smplx
import torch
from scipy.spatial.transform import Rotation

from pipeline.body.reader import read_smplx
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

    layer: the same body as an `smplx.SMPLX` (hands flat at zero, no PCA). faces: (F, 3) int64. parents: (55,) int, -1 at the root.
    v_template: (V, 3) metres. shapedirs, exprdirs: (V, 3, 10) metres per unit. posedirs: (486, 3 V) metres, None when all zero.
    J_regressor: (55, V). weights: (V, 55). Tensors are float32 on the CPU and must not be changed. joint_regressor: (17, V) float64,
    the user's, for Human3.6M's joints in place of the built-in definition; joint_regressor_sha256: of its file.
    """

    name: str
    sha256: str
    layer: smplx.SMPLX
    faces: np.ndarray
    parents: np.ndarray
    v_template: torch.Tensor
    shapedirs: torch.Tensor
    exprdirs: torch.Tensor
    posedirs: torch.Tensor | None
    J_regressor: torch.Tensor
    weights: torch.Tensor
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
        `layer(**params)` to rounding (a test compares them), and several times faster: smplx multiplies by the pose directions
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
        rotations = roma.rotvec_to_rotmat(torch.cat([params[name] for name in POSE_ORDER], 1).view(n, -1, 3))
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
    layer = copy.deepcopy(body.layer)
    layer.v_template = v_template
    return replace(
        body,
        name=name,
        sha256=hashlib.sha256(v_template.numpy().tobytes()).hexdigest(),
        layer=layer,
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
    p = body.rest_pelvis(parameters)
    orient = Rotation.from_matrix(R) * Rotation.from_rotvec(np.asarray(parameters.global_orient, np.float64))
    return replace(parameters, global_orient=orient.as_rotvec(), transl=R @ (p + parameters.transl) + t - p)


@one_thread()
def load_body(path: Path | None = None, gender: str = "neutral") -> BodyModel:
    """The free body, or the licensed SMPL-X model at `path`.

    path: an SMPLX_*.npz file, or a folder that holds one per gender (`SMPLX_NEUTRAL.npz`, also under `smplx/`). A user's file is never
    unpickled: its plain arrays are rewritten into a temporary file, and smplx opens that one.
    """
    if gender not in GENDERS:
        raise InputError(f"Unknown gender '{gender}' of a body model; choose one of {', '.join(GENDERS)}.")
    if path is None:
        if gender != "neutral":
            raise InputError(
                f"The free body is gender-neutral; a {gender} body needs a licensed SMPLX_{gender.upper()}.npz: give its path."
            )
        return build_body("free body", FREE_BODY, open_layer(FREE_BODY))
    path = find_model(Path(path), gender)
    arrays = read_smplx(path)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "SMPLX_NEUTRAL.npz"
        np.savez(plain, allow_pickle=False, **arrays)
        return build_body(path.stem, path, open_layer(plain))


def find_model(path: Path, gender: str) -> Path:
    """The file of this gender where `path` is a folder laid out as smplx expects, else `path` itself."""
    if not path.is_dir():
        return path
    name = f"SMPLX_{gender.upper()}.npz"
    for candidate in (path / name, path / "smplx" / name):
        if candidate.is_file():
            return candidate
    raise InputError(f"The folder {path} holds neither {name} nor smplx/{name}: name the SMPL-X file itself.")


def open_layer(path: Path) -> smplx.SMPLX:
    """Plain `smplx.create`, without its warnings on standard output (that is where `--json` prints)."""
    with contextlib.redirect_stdout(io.StringIO()):
        layer = smplx.create(
            str(path),
            model_type="smplx",
            ext="npz",
            use_pca=False,
            flat_hand_mean=True,
            num_betas=10,
            num_expression_coeffs=10,
            batch_size=1,
        )
    return layer.eval().requires_grad_(False)


def build_body(name: str, source: Path, layer: smplx.SMPLX) -> BodyModel:
    """What `layer` holds, as a body: metres, SMPL-X's axes, shapes as in `BodyModel`. source: the file whose bytes sha256 stands for.
    An all-zero posedirs of the layer is replaced in place. Raises OSError when the file cannot be read.
    """
    posedirs = layer.posedirs
    if not posedirs.any():
        # Zeros that fill 80 MB: keep their shape, so that the layer still works, but one number.
        layer.posedirs = torch.zeros(1, 1).expand(posedirs.shape)
        posedirs = None
    regressor = layer.J_regressor
    directions = torch.cat([layer.shapedirs, layer.expr_dirs], 2)
    return BodyModel(
        name=name,
        sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        layer=layer,
        faces=layer.faces_tensor.numpy(),
        parents=layer.parents.numpy(),
        v_template=layer.v_template,
        shapedirs=layer.shapedirs,
        exprdirs=layer.expr_dirs,
        posedirs=posedirs,
        J_regressor=regressor,
        weights=layer.lbs_weights,
        joint_template=regressor @ layer.v_template,
        joint_shapedirs=torch.einsum("jv,vak->jak", regressor, directions),
    )
