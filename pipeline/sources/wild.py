"""The pictures of `nvf-cli synthesize --wild`: one `Instant` is one person in one picture, with true 3D joints and the true camera.

All is read from `annotations/people_3d.h5`; the keypoint files beside it say the same in 2D for other programs. The true body's
parameters are the supplied fit of a run that uses the body of the capture; they leave out what ten betas cannot say of a shape.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pipeline.camera import camera_to_world, project
from pipeline.errors import InputError
from pipeline.hdf5 import stored_columns
from pipeline.records import PARAMETER_SIZES, SYNTHETIC_MARK, BodyParameters, Camera, Instant, Reject, View
from pipeline.skeletons import FIELD_JOINTS
from pipeline.sources.base import MISSING_IMAGE, Annotated, Item, Skipped, Source
from pipeline.sources.parsing import box_problem, load_json, member, typed
from pipeline.sources.synthetic.wild.columns import (
    BEHIND_ITSELF,
    FORMAT,
    PERSON_COLUMNS,
    PICTURE_COLUMNS,
    TRUTH_FILE,
    image_path,
)
from pipeline.sources.synthetic.wild.settings import FOLDERS, split_of


@dataclass(frozen=True)
class Options:
    """least_seen: people with fewer of the 17 joints to be seen are left out (behind the own body counts as seen, behind
    something else or outside the picture does not). least_px: so are those whose box's longer side is shorter."""

    least_seen: int = 6
    least_px: float = 40.0

    def __post_init__(self) -> None:
        if not 1 <= self.least_seen <= len(FIELD_JOINTS):
            raise InputError(f"least_seen is {self.least_seen}; give 1 to {len(FIELD_JOINTS)} joints.")
        if not self.least_px >= 0:
            raise InputError(f"least_px is {self.least_px}; give pixels, 0 or more.")


class Wild(Source):
    """See the module."""

    name = "wild"
    recorded = False

    def __init__(self, root: Path, options: Options):
        super().__init__(root)
        self.options, self.path, mark = options, self.root / TRUTH_FILE, self.root / SYNTHETIC_MARK
        if not mark.is_file() or not self.path.is_file():
            raise InputError(
                f"{root} is no complete capture of `nvf-cli synthesize --wild`: it lacks {SYNTHETIC_MARK} or {TRUTH_FILE}. "
                "The same command again completes one that was interrupted."
            )
        body = member(load_json(mark), "body", mark)
        self.body = typed(member(body, "sha256", mark, "body"), str, mark, "body/sha256")

    def annotation_files(self) -> list[Path]:
        return [self.path, self.root / SYNTHETIC_MARK]

    def film_of(self, instant: Instant) -> None:
        """Pictures are each of its own."""

    def group(self, instant: Instant) -> str:
        return instant.id.split("/")[0]

    def parts(self) -> dict[str, Iterator[Item]]:
        return {FOLDERS[split]: self._part(split) for split in FOLDERS}  # "train2017" sorts before "val2017"

    def _part(self, split: str) -> Iterator[Item]:
        pictures, people = self._columns()
        row_of = {number: k for k, number in enumerate(pictures["number"].tolist())}
        mine = [k for k, number in enumerate(people["picture"].tolist()) if split_of(number) == split]
        yield Annotated(FOLDERS[split], len(mine), len(mine))
        for k in mine:
            number = int(people["picture"][k])
            if number not in row_of:
                raise InputError(
                    f"{self.path}: person {k} is in picture {number}, which it does not have. It is damaged."
                )
            yield self._instant(split, k, people, pictures, row_of[number])

    def _instant(self, split: str, k: int, people: dict, pictures: dict, row: int) -> Instant | Reject | Skipped:
        number, path = int(people["picture"][k]), image_path(int(people["picture"][k]))
        key = f"{FOLDERS[split]}/{number:012d}/{k:09d}"
        seen, box = people["seen"][k] >= BEHIND_ITSELF, people["box"][k].astype(float)
        if seen.sum() < self.options.least_seen:
            return Skipped(f"fewer than {self.options.least_seen} joints to be seen")
        if max(box[2:]) < self.options.least_px:
            return Skipped(f"box shorter than {self.options.least_px:g} pixels")
        width, height = (int(side) for side in pictures["size"][row])
        camera = Camera(pictures["K"][row], pictures["R"][row], pictures["t"][row], width, height)
        joints = people["joints_mm"][k].astype(float) / 1000
        parameters = {name: people[name][k].astype(float) for name in PARAMETER_SIZES}
        finite = all(np.isfinite(a).all() for a in (joints, camera.K, camera.R, camera.t, *parameters.values()))
        problem = box_problem(box) or (None if finite else "joints, camera or body are not finite")
        if problem is None and not os.path.isfile(self.root / path):
            problem = MISSING_IMAGE
        if problem is not None:
            return Reject(key, "read", f"{path}: {problem}")
        view = View(
            id=f"{key}/0",
            camera_id="0",
            camera=camera,
            image_path=path,
            box=box,
            joints_2d=np.where(seen[:, None], project(camera, joints), 0.0),
            confidence=seen.astype(float),
        )
        return Instant(
            id=key,
            subject=f"body{int(people['body'][k]):03d}",
            action=people["kind"][k].decode(),
            frame=number,
            joint_set=FIELD_JOINTS.name,
            views=(view,),
            joints_3d=camera_to_world(camera, joints),
            joints_3d_valid=np.ones(len(joints), bool),
            has_world=True,
            supplied=BodyParameters(**parameters),
            supplied_body=self.body,
            split=split,
        )

    def _columns(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The columns of pictures and of people that are needed; InputError for another file."""
        try:
            with h5py.File(self.path) as file:
                if file.attrs.get("format") != FORMAT:
                    raise InputError(f"{self.path} says that it is {file.attrs.get('format')!r}, expected {FORMAT!r}.")
                found, problems = stored_columns(file)
                if problems:
                    raise InputError(f"{self.path}: {problems[0]}.")
                pictures = {name: _read(found, f"picture/{name}", *PICTURE_COLUMNS[name]) for name in PICTURE_COLUMNS}
                needed = ("picture", "body", "kind", "joints_mm", "seen", "box", *PARAMETER_SIZES)
                people = {name: _read(found, f"person/{name}", *PERSON_COLUMNS[name]) for name in needed}
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"{self.path} cannot be read ({error}). Write the capture again.") from error
        for columns in (pictures, people):
            if len({len(values) for values in columns.values()}) > 1:
                raise InputError(f"{self.path}: its columns are of different lengths. Write the capture again.")
        return pictures, people


def _read(found: dict[str, h5py.Dataset], name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    dataset = found[name]
    if dataset.shape[1:] != shape or dataset.dtype != np.dtype(kind):
        raise ValueError(f"{name} holds {dataset.dtype} of shape {dataset.shape[1:]}, expected {kind} of {shape}")
    return dataset[:]


def open_root(root: Path, options: Options) -> Wild:
    return Wild(root, options)
