"""True bodies of a capture, for tests and reports only: nothing that trains may import this module.

`truth.h5`: `instant_id` (N,) str; one dataset (N, k) float64 for each of `records.PARAMETER_SIZES`, in the capture's world (metres, z
up); `subject` (N,) int; `subjects/<n>/warp` (V, 3) float32 metres, added to the shaped template of that subject.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.errors import InputError
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.sources.synthetic.people import Motion, Rig, chain, make_rig, shape_person, skin

if TYPE_CHECKING:
    from pipeline.body.model import BodyModel

TRUTH_FILE = "truth.h5"
POSE_PARTS = ("global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose", "right_hand_pose")


def write_truth(
    path: Path, ids: list[str], subjects: list[int], parameters: dict[str, np.ndarray], warps: dict[int, np.ndarray]
) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "synthetic truth 1"
        file["instant_id"] = ids
        file["subject"] = np.array(subjects)
        for name in PARAMETER_SIZES:
            file[name] = parameters[name]
        for subject, warp in warps.items():
            file.create_dataset(
                f"subjects/{subject}/warp", data=warp.astype(np.float32), compression="gzip", shuffle=True
            )


@dataclass(frozen=True)
class TrueBodies:
    """The bodies behind a capture's images. index: instant id -> row of the arrays in `parameters`."""

    rig: Rig
    index: dict[str, int]
    subjects: np.ndarray
    arrays: dict[str, np.ndarray]
    warps: dict[int, np.ndarray]

    def parameters(self, instant_id: str) -> BodyParameters:
        """SMPL-X parameters in the world; without the warp they give the body only to within a few millimetres."""
        return BodyParameters(**{name: values[self.index[instant_id]] for name, values in self.arrays.items()})

    def mesh(self, instant_id: str) -> tuple[np.ndarray, np.ndarray]:
        """(V, 3) vertices and (55, 3) joints of the naked body, world metres."""
        row = self.index[instant_id]
        person = shape_person(self.rig, self.arrays["betas"][row], self.warps[int(self.subjects[row])])
        vectors = np.concatenate([self.arrays[name][row] for name in POSE_PARTS]).reshape(55, 3)
        rotations = Rotation.from_rotvec(vectors).as_matrix()[None]
        translations = self.arrays["transl"][row][None]
        moment = Motion(rotations, translations, *chain(self.rig, person, rotations, translations))
        return skin(self.rig, person, person.rest, moment, 0), moment.places[0]


def read_truth(root: Path, body: "BodyModel") -> TrueBodies:
    """The true bodies of the capture in `root`. body: the one that it was made with."""
    path = Path(root) / TRUTH_FILE
    if not path.is_file():
        raise InputError(f"{path} does not exist: only captures written by `nvf-cli synthesize` have true bodies.")
    with h5py.File(path) as file:
        ids = [name.decode() for name in file["instant_id"][:]]
        arrays = {name: file[name][:] for name in PARAMETER_SIZES}
        warps = {int(subject): group["warp"][:].astype(float) for subject, group in file["subjects"].items()}
        subjects = file["subject"][:]
    rig = make_rig(body)
    for warp in warps.values():
        if warp.shape != rig.template.shape:
            raise InputError(
                f"{path} was made with a body of {len(warp)} vertices, but {body.name} has {len(rig.template)}; "
                "name the body that the capture's synthetic.json names."
            )
    return TrueBodies(rig, {name: k for k, name in enumerate(ids)}, subjects, arrays, warps)
