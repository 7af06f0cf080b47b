import numpy as np
import pytest

from pipeline.body.model import load_body
from pipeline.body.vertex_ids import VERTEX_IDS
from pipeline.skeletons import SMPLX_55


@pytest.fixture(scope="session")
def body():
    return load_body()


@pytest.fixture(scope="session")
def licensed_arrays():
    """Random numbers in the layout of the published SMPL-X files: 400 directions, pose correctives, dictionaries among the arrays."""
    rng = np.random.default_rng(5)
    n, f = max(VERTEX_IDS.values()) + 1, 60
    tree = np.stack([SMPLX_55.parents, np.arange(55)]).astype(np.int64)
    tree[0, 0] = 2**32 - 1
    unit = lambda a: a / a.sum(-1, keepdims=True)  # noqa: E731
    return {
        "v_template": rng.normal(size=(n, 3)),
        "f": rng.integers(0, n, (f, 3)).astype(np.uint32),
        "shapedirs": rng.normal(0, 0.01, (n, 3, 400)).astype(np.float32),
        "posedirs": rng.normal(0, 0.01, (n, 3, 486)).astype(np.float32),
        "J_regressor": unit(rng.uniform(size=(55, n))),
        "weights": unit(rng.uniform(size=(n, 55)) ** 8),
        "kintree_table": tree.astype(np.uint32),
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
        "hands_meanl": rng.normal(size=45),
        "hands_meanr": rng.normal(size=45),
        "lmk_faces_idx": rng.integers(0, f, 51),
        "lmk_bary_coords": unit(rng.uniform(size=(51, 3))),
        "dynamic_lmk_faces_idx": rng.integers(0, f, (79, 17)),
        "dynamic_lmk_bary_coords": unit(rng.uniform(size=(79, 17, 3))),
        "joint2num": np.array({"pelvis": 0}, dtype=object),
        "part2num": np.array({"head": 1}, dtype=object),
    }
