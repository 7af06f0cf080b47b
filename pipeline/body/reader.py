"""Reading a user's SMPL-X file without running anything that may hide in it.

The package smplx opens an .npz with `allow_pickle=True`, which executes whatever a crafted file asks for. Here only the named plain
numeric arrays are read (`allow_pickle=False`); object arrays, such as the dictionaries in the published files, are never touched.
"""

import zipfile
from pathlib import Path
from typing import Never

import numpy as np

from pipeline.body.vertex_ids import VERTEX_IDS
from pipeline.errors import InputError
from pipeline.skeletons import SMPLX_55

DOWNLOAD = (
    "Download the SMPL-X model in .npz form (SMPLX_NEUTRAL.npz, SMPLX_MALE.npz or SMPLX_FEMALE.npz) from smpl-x.is.tue.mpg.de, "
    "or leave the option out to use the free body."
)

# What a complete file has, and the number of dimensions of each array.
DIMENSIONS = {
    "v_template": 2,
    "f": 2,
    "shapedirs": 3,
    "posedirs": 3,
    "J_regressor": 2,
    "weights": 2,
    "kintree_table": 2,
    "hands_componentsl": 2,
    "hands_componentsr": 2,
    "hands_meanl": 1,
    "hands_meanr": 1,
    "lmk_faces_idx": 1,
    "lmk_bary_coords": 2,
    "dynamic_lmk_faces_idx": 2,
    "dynamic_lmk_bary_coords": 3,
}
INTEGERS = ("f", "kintree_table", "lmk_faces_idx", "dynamic_lmk_faces_idx")
# The number of joints tells the models of this family apart.
OTHER_MODELS = {24: "an SMPL", 52: "an SMPL-H", 16: "a MANO", 5: "a FLAME"}
BETAS, EXPRESSIONS = 10, 10
PUBLISHED_BETAS = 300  # in the published files, expression directions start here


def read_plain_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The named arrays of an .npz file, none of them unpickled. InputError for a file that is no archive of plain arrays."""
    if path.suffix.lower() == ".pkl":
        raise InputError(
            f"{path} is a pickle, and opening a pickle runs any code inside it, so it is refused. {DOWNLOAD}"
        )
    if not path.is_file():
        raise InputError(f"There is no body model at {path}. {DOWNLOAD}")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not an .npz archive. {DOWNLOAD}")
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            refuse_other_models(path, archive)
            missing = [name for name in names if name not in archive.files]
            if missing:
                raise InputError(f"{path} lacks {', '.join(missing)}, so it is no complete SMPL-X model. {DOWNLOAD}")
            for name in names:
                arrays[name] = archive[name]
    except InputError:
        raise
    except Exception as error:  # a damaged archive fails in any of zip's, zlib's and numpy's ways
        raise InputError(f"{path} cannot be read as plain numeric arrays ({error}). {DOWNLOAD}") from error
    return arrays


def refuse_other_models(path: Path, archive: np.lib.npyio.NpzFile) -> None:
    """An SMPL, SMPL-H, MANO or FLAME file is named as such, whatever else it lacks."""
    if "weights" not in archive.files:
        return
    n_joints = archive["weights"].shape[-1]
    if n_joints in OTHER_MODELS:
        kind = OTHER_MODELS[n_joints]
        raise InputError(
            f"{path} is {kind} model ({n_joints} joints); this program needs SMPL-X (55 joints). {DOWNLOAD}"
        )


def read_smplx(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an SMPL-X file, checked, cut to ten betas and ten expressions: float32, indices int64."""
    raw = read_plain_arrays(path, tuple(DIMENSIONS))
    arrays = {}
    for name, array in raw.items():
        if array.dtype.kind not in "fiu" or array.ndim != DIMENSIONS[name]:
            raise InputError(
                f"In {path}, {name} is {array.dtype} {array.shape}, but SMPL-X has a numeric array of "
                f"{DIMENSIONS[name]} dimensions there. {DOWNLOAD}"
            )
        arrays[name] = array.astype(np.int64 if name in INTEGERS else np.float32)
    check_smplx(path, arrays)
    arrays["shapedirs"] = ten_and_ten(arrays["shapedirs"])
    return arrays


def ten_and_ten(shapedirs: np.ndarray) -> np.ndarray:
    """(V, 3, 20): the first ten shape and expression directions, where a file has 10 + 10, 10 alone or 300 + 100 of them."""
    first = PUBLISHED_BETAS if shapedirs.shape[2] >= PUBLISHED_BETAS + EXPRESSIONS else BETAS
    kept = np.zeros((*shapedirs.shape[:2], BETAS + EXPRESSIONS), np.float32)
    kept[..., :BETAS] = shapedirs[..., :BETAS]
    expressions = shapedirs[..., first : first + EXPRESSIONS]
    kept[..., BETAS : BETAS + expressions.shape[2]] = expressions
    return kept


def check_smplx(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """InputError naming the first array whose shape or values are not SMPL-X's."""
    n_joints, n_vertices, n_faces = len(SMPLX_55), len(arrays["v_template"]), len(arrays["f"])
    wanted = {
        "v_template": (n_vertices, 3),
        "f": (n_faces, 3),
        "posedirs": (n_vertices, 3, 9 * (n_joints - 1)),
        "J_regressor": (n_joints, n_vertices),
        "weights": (n_vertices, n_joints),
        "kintree_table": (2, n_joints),
        "hands_meanl": (45,),
        "hands_meanr": (45,),
        "lmk_faces_idx": (51,),
        "lmk_bary_coords": (51, 3),
    }

    def refuse(name: str, fault: str) -> Never:
        raise InputError(f"In {path}, {name} {fault}; this is not SMPL-X's layout. {DOWNLOAD}")

    for name, shape in wanted.items():
        if arrays[name].shape != shape:
            refuse(name, f"has shape {arrays[name].shape} instead of {shape}")
    if arrays["shapedirs"].shape[:2] != (n_vertices, 3) or arrays["shapedirs"].shape[2] < BETAS:
        refuse("shapedirs", f"has shape {arrays['shapedirs'].shape} instead of ({n_vertices}, 3, {BETAS} or more)")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            refuse(name, "holds values that are not finite")
    if n_vertices <= max(VERTEX_IDS.values()):
        refuse("v_template", f"has only {n_vertices} vertices")
    if not n_faces:
        refuse("f", "has no face")
    if arrays["f"].min() < 0 or arrays["f"].max() >= n_vertices:
        refuse("f", f"points outside the {n_vertices} vertices")
    if arrays["lmk_faces_idx"].min() < 0 or arrays["lmk_faces_idx"].max() >= n_faces:
        refuse("lmk_faces_idx", f"points outside the {n_faces} faces")
    if tuple(arrays["kintree_table"][0, 1:]) != SMPLX_55.parents[1:]:
        refuse("kintree_table", "describes another tree of joints")
    if np.abs(arrays["weights"].sum(1) - 1).max() > 1e-2:
        refuse("weights", "has rows that do not sum to one")
    if np.abs(arrays["J_regressor"].sum(1) - 1).max() > 1e-2:
        refuse("J_regressor", "has rows that do not sum to one")
