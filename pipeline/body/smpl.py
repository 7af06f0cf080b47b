"""SMPL bodies, for datasets whose ground truth or fits are SMPL parameters: their meshes, and joints on those.

Needs files that only the user can fetch: SMPL_MALE.pkl, SMPL_FEMALE.pkl, SMPL_NEUTRAL.pkl as far as the dataset uses them
(the originals hold chumpy objects; smplx's tools/clean_ch.py turns those into plain arrays), and the 17 x 6890 regressor
J_regressor_h36m_correct.npy.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.body.keypoints import LANDMARK_VERTICES
from pipeline.body.plain_pickle import SparseMatrix, load_plain_pickle
from pipeline.errors import InputError, naming_damage
from pipeline.records import BodyMesh, SmplParameters
from pipeline.skeletons import FIELD_JOINTS, HUMAN36M, SMPL_24, JointSet
from pipeline.triangles import opening_caps, triangle_areas

if TYPE_CHECKING:
    from smplx import SMPL  # under a licence of its own: imported where somebody brings SMPL files, and nowhere else

FILES = {"neutral": "SMPL_NEUTRAL.pkl", "male": "SMPL_MALE.pkl", "female": "SMPL_FEMALE.pkl"}
CHUNK = 256


class SmplBodies:
    """folder: holds FILES. regressor: (17, V) rows over the vertices, in the order of Human3.6M's 17 joints."""

    def __init__(self, folder: Path, regressor: Path):
        self.folder = Path(folder)
        self.files = [Path(regressor), *(self.folder / name for name in FILES.values())]
        self.regressor = _read_regressor(Path(regressor))
        self._layers: dict[str, SMPL] = {}
        self._surfaces: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def _layer(self, gender: str) -> "SMPL":
        from smplx import SMPL
        from smplx.utils import Struct

        if gender not in self._layers:
            path = self.folder / FILES[gender]
            content = load_plain_pickle(path, sparse=True)
            needed = {"v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"}
            if not isinstance(content, dict) or not needed <= content.keys():
                raise InputError(
                    f"{path} is not an SMPL model of plain arrays (run smplx's tools/clean_ch.py on the original)."
                )
            with naming_damage(path, "Fetch it again."):
                vertices = len(content["v_template"])
                if vertices != self.regressor.shape[1]:
                    raise InputError(f"{path} has {vertices} vertices, the regressor is for {self.regressor.shape[1]}.")
                arrays = {key: _dense(value) for key, value in content.items()}
                layer = SMPL(str(path), data_struct=Struct(**arrays), gender=gender, num_betas=10)
                layer()  # arrays of another shape are found now
            self._layers[gender] = layer
        return self._layers[gender]

    def _surface(self, gender: str) -> tuple[np.ndarray, np.ndarray]:
        """Faces (F, 3) int64, and their areas (F,) in the rest pose, square metres."""
        if gender not in self._surfaces:
            layer = self._layer(gender)
            faces = np.asarray(layer.faces, np.int64)
            faces = np.concatenate([faces, *opening_caps(faces)])
            self._surfaces[gender] = faces, triangle_areas(layer.v_template.numpy().astype(np.float64), faces)
        return self._surfaces[gender]

    def _pose(
        self, gender: str, poses: np.ndarray, betas: np.ndarray, trans: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (F, V, 3) and SMPL's joints (F, 24, 3), metres. Arguments as in `joints`."""
        pose = torch.tensor(poses, dtype=torch.float32)
        shape = torch.tensor(betas, dtype=torch.float32).expand(len(pose), -1)
        with torch.no_grad():
            found = self._layer(gender)(betas=shape, global_orient=pose[:, :3], body_pose=pose[:, 3:])
        shift = np.asarray(trans, np.float64)[:, None]
        return found.vertices.numpy() + shift, found.joints[:, : len(SMPL_24)].numpy() + shift

    def joints(
        self, gender: str, poses: np.ndarray, betas: np.ndarray, trans: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(F, 17, 3) metres: Human3.6M's joints, and (F, 24, 3) SMPL's own. poses: (F, 72) axis-angle, betas: (10,), trans: (F, 3)
        metres, all of one frame of reference."""
        found, own = [np.zeros((0, len(HUMAN36M), 3))], [np.zeros((0, len(SMPL_24), 3))]
        for start in range(0, len(poses), CHUNK):
            rows = slice(start, start + CHUNK)
            vertices, joints = self._pose(gender, poses[rows], betas, trans[rows])
            found.append(np.einsum("jv,fvk->fjk", self.regressor, vertices))
            own.append(joints)
        return np.concatenate(found), np.concatenate(own)

    def mesh(self, instant_id: str, body: SmplParameters) -> BodyMesh:
        """The mesh of one body, metres, in the frame of its parameters."""
        vertices, joints = self._pose(body.gender, body.pose[None], body.betas, body.trans[None])
        faces, areas = self._surface(body.gender)
        return BodyMesh(instant_id, vertices[0], faces, joints[0], self.regressor @ vertices[0], areas)

    def keypoints(self, joint_set: JointSet, mesh: BodyMesh) -> np.ndarray:
        """(J, 3) metres: where a joint set lies on one of these meshes."""
        from smplx.vertex_ids import vertex_ids

        if joint_set is FIELD_JOINTS:
            return mesh.field_joints
        return np.array(
            [
                mesh.vertices[vertex_ids["smplh"][LANDMARK_VERTICES[name]]]
                if name in LANDMARK_VERTICES
                else mesh.joints[SMPL_24.index(name)]
                for name in joint_set.names
            ]
        )


def open_smpl(folder: Path | None, regressor: Path | None) -> SmplBodies | None:
    """The user's SMPL files; None where no option names any, InputError where only one of the two is given."""
    if (folder is None) != (regressor is None):
        raise InputError(
            "Give both smpl (folder of SMPL_MALE.pkl, SMPL_FEMALE.pkl, SMPL_NEUTRAL.pkl) and regressor (17 x 6890 .npy), "
            "or neither."
        )
    return None if folder is None or regressor is None else SmplBodies(folder, regressor)


def _dense(value: Any) -> Any:
    return value.toarray() if isinstance(value, SparseMatrix) else value


def _read_regressor(path: Path) -> np.ndarray:
    try:
        regressor = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file fails in any of numpy's ways
        raise InputError(f"The joint regressor {path} cannot be read as a plain .npy array ({error}).") from None
    if not isinstance(regressor, np.ndarray) or regressor.dtype.kind not in "fiu":
        raise InputError(f"The joint regressor {path} is no array of numbers.")
    if regressor.ndim != 2 or len(regressor) != len(HUMAN36M):
        raise InputError(
            f"The joint regressor {path} has the shape {regressor.shape}, expected ({len(HUMAN36M)}, vertices of SMPL)."
        )
    return regressor.astype(np.float64)
