"""Joints of Human3.6M on SMPL meshes, for datasets whose ground truth is SMPL parameters.

Needs files that only the user can fetch: SMPL_MALE.pkl and SMPL_FEMALE.pkl (the originals hold chumpy objects; smplx's
tools/clean_ch.py turns those into plain arrays), and the 17 x 6890 regressor J_regressor_h36m_correct.npy.
"""

from pathlib import Path

import numpy as np
import torch
from smplx import SMPL
from smplx.utils import Struct

from pipeline.errors import InputError
from pipeline.skeletons import HUMAN36M
from pipeline.sources.plain_pickle import SparseMatrix, load_plain_pickle

FILES = {"male": "SMPL_MALE.pkl", "female": "SMPL_FEMALE.pkl"}
CHUNK = 256


class SmplJoints:
    """folder: holds FILES. regressor: (17, V) rows over the vertices, in the order of Human3.6M's 17 joints."""

    def __init__(self, folder: Path, regressor: Path):
        self.folder = Path(folder)
        self.regressor = _read_regressor(Path(regressor))
        self._layers: dict[str, SMPL] = {}

    def _layer(self, gender: str) -> SMPL:
        if gender not in self._layers:
            path = self.folder / FILES[gender]
            content = load_plain_pickle(path, sparse=True)
            needed = {"v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"}
            if not isinstance(content, dict) or not needed <= content.keys():
                raise InputError(
                    f"{path} is not an SMPL model of plain arrays (run smplx's tools/clean_ch.py on the original)."
                )
            if len(content["v_template"]) != self.regressor.shape[1]:
                raise InputError(
                    f"{path} has {len(content['v_template'])} vertices, the regressor is for {self.regressor.shape[1]}."
                )
            arrays = {key: _dense(value) for key, value in content.items()}
            self._layers[gender] = SMPL(str(path), data_struct=Struct(**arrays), gender=gender, num_betas=10)
        return self._layers[gender]

    def __call__(self, gender: str, poses: np.ndarray, betas: np.ndarray, trans: np.ndarray) -> np.ndarray:
        """(F, 17, 3) metres. poses: (F, 72) axis-angle, betas: (10,), trans: (F, 3) metres, all of one frame of
        reference."""
        layer = self._layer(gender)
        joints = []
        for start in range(0, len(poses), CHUNK):
            pose = torch.tensor(poses[start : start + CHUNK], dtype=torch.float32)
            shape = torch.tensor(betas, dtype=torch.float32).expand(len(pose), -1)
            with torch.no_grad():
                mesh = layer(betas=shape, global_orient=pose[:, :3], body_pose=pose[:, 3:]).vertices.numpy()
            joints.append(np.einsum("jv,fvk->fjk", self.regressor, mesh) + trans[start : start + CHUNK, None])
        return np.concatenate(joints) if joints else np.zeros((0, len(HUMAN36M), 3))


def _dense(value):
    return value.toarray() if isinstance(value, SparseMatrix) else value


def _read_regressor(path: Path) -> np.ndarray:
    try:
        regressor = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"The joint regressor {path} cannot be read as a plain .npy array ({error}).") from None
    if regressor.ndim != 2 or len(regressor) != len(HUMAN36M):
        raise InputError(
            f"The joint regressor {path} has the shape {regressor.shape}, expected ({len(HUMAN36M)}, vertices of SMPL)."
        )
    return regressor.astype(np.float64)
