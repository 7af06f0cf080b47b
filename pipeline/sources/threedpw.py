"""3DPW: `sequenceFiles/{train,validation,test}/<sequence>.pkl` and `imageFiles/<sequence>/image_<number>.jpg`.

One `Instant` is one person in one image, in the world that the sequence's frames share. Its joints are SMPL's 24
(`jointPositions`); with the user's SMPL files they are Human3.6M's 17 regressed from the gendered ground-truth mesh,
which is what papers score, and that mesh is the body.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.body.plain_pickle import load_plain_pickle
from pipeline.camera import in_image, project_pinhole, tight_box, world_to_camera
from pipeline.errors import InputError
from pipeline.images import image_size
from pipeline.plausible import odd_sides_of_all
from pipeline.plausible_names import odd_names_of_all
from pipeline.plausible_tracks import odd_absence, odd_posing, odd_turning
from pipeline.records import SPLITS, BodyParameters, Camera, Instant, Reject, SmplParameters, View
from pipeline.skeletons import HUMAN36M, SMPL_24
from pipeline.sources.base import (
    MISSING_IMAGE,
    Annotated,
    Doubt,
    Findings,
    Found,
    Implausible,
    Item,
    Skipped,
    Source,
    smpl_files,
)
from pipeline.sources.doubts import doubt_stature
from pipeline.sources.parsing import Kind, array, load_json, member, neural_annot, typed

GENDERS = {"m": "male", "f": "female"}
# Sequences of the whole dataset.
SEQUENCES = {"train": 24, "validation": 12, "test": 24}
ABSENT = Skipped("no joint in the image")


@dataclass(frozen=True)
class Track:
    """One sequence as its file holds it. N images at 30 Hz, P people; the arrays at 60 Hz are not read.

    K: (3, 3) pixels. extrinsics: (N, 4, 4) world -> camera, metres. usable: (P, N) bool, `campose_valid`. joints: (P,
    N, 24, 3) metres, world. poses: (P, N, 72), betas: (P, 10), trans: (P, N, 3): SMPL in the world. genders: P of
    "male", "female".
    """

    name: str
    K: np.ndarray
    extrinsics: np.ndarray
    usable: np.ndarray
    joints: np.ndarray
    poses: np.ndarray
    betas: np.ndarray
    trans: np.ndarray
    genders: list[str]


@dataclass(frozen=True)
class Options:
    """smpl, regressor: folder of SMPL_MALE.pkl and SMPL_FEMALE.pkl, and the 17 x 6890 regressor file; both or neither.
    every_train, every_test: keep images whose number is a multiple (validation goes with train)."""

    smpl: Path | None = None
    regressor: Path | None = None
    every_train: int = 1
    every_test: int = 1

    def __post_init__(self) -> None:
        if self.every_train < 1 or self.every_test < 1:
            raise InputError(
                f"every_train is {self.every_train} and every_test {self.every_test}; every how many images to keep is "
                "1 or more."
            )


class ThreeDPW(Source):
    """See the module."""

    name = "threedpw"

    def __init__(self, root: Path, options: Options):
        super().__init__(root)
        self.every = {"train": options.every_train, "validation": options.every_train, "test": options.every_test}
        self.smpl = smpl_files(options.smpl, options.regressor)
        self.files: dict[str, tuple[str, Path]] = {}
        for split in SPLITS:
            for path in sorted((self.root / "sequenceFiles" / split).glob("*.pkl")):
                if path.stem in self.files:
                    raise InputError(
                        f"{path} and {self.files[path.stem][1]} are the same sequence. Remove one of them."
                    )
                self.files[path.stem] = split, path
        if not self.files:
            raise InputError(
                f"{self.root} has no sequenceFiles/{{train,validation,test}}/*.pkl. Give the folder that holds 3DPW's "
                "sequenceFiles and imageFiles."
            )
        if not (self.root / "imageFiles").is_dir():
            raise InputError(f"{self.root} has no imageFiles folder. Extract 3DPW's imageFiles.zip there.")

    def annotation_files(self) -> list[Path]:
        files = [path for _, path in self.files.values()]
        files += self.smpl.files if self.smpl else [path for split in SPLITS for path in self._fit_files(split)]
        return sorted(path for path in files if path.exists())

    def _fit_files(self, split: str) -> tuple[Path, Path]:
        """3DMPPE's annotations of a split, and NeuralAnnot's fits by their ids."""
        return self.root / f"3DPW_{split}.json", self.root / f"3DPW_{split}_SMPLX_NeuralAnnot.json"

    def notices(self) -> list[str]:
        if self.smpl is not None:
            return []
        return [
            "Without SMPL files the ground truth is jointPositions (SMPL's 24 joints); the 3dpw-14j protocol needs smpl "
            "and regressor."
        ]

    def findings(self, found: Found) -> Findings:
        """Another number of sequences than 3DPW has is no fault: the folder may be a part of it on purpose."""
        there = Counter(split for split, _ in self.files.values())
        if there == SEQUENCES:
            return Findings()
        counts = ", ".join(f"{there[split]} of {known} {split}" for split, known in SEQUENCES.items())
        return Findings(notices=[f"Not all of 3DPW: {counts} sequences are there."])

    def parts(self) -> dict[str, Iterator[Item]]:
        fits: dict[str, dict] = {}
        return {name: self._sequence(name, fits) for name in sorted(self.files, key=lambda name: f"{name}/")}

    def _sequence(self, name: str, fits: dict[str, dict]) -> Iterator[Item]:
        """fits: of the splits that were read so far."""
        split, path = self.files[name]
        if split not in fits:
            fits[split] = {} if self.smpl else read_fits(*self._fit_files(split))
        track = read_track(path, name)
        size = self._image_size(name)
        for person in sorted(range(len(track.genders)), key=str):  # as their ids sort
            yield from self._person(track, person, split, size, fits[split])

    def _image_size(self, name: str) -> tuple[int, int]:
        """(width, height) of a sequence, from its first image that can be read; (0, 0) where it has none."""
        folder = self.root / "imageFiles" / name
        images = sorted(folder.glob("image_*.jpg")) if folder.is_dir() else []
        for k, image in enumerate(images):
            try:
                header = image_size(image)
            except InputError:
                if k + 1 == len(images):
                    raise
            else:
                return header.width, header.height
        return 0, 0

    def _person(self, track: Track, person: int, split: str, size: tuple[int, int], fits: dict) -> Iterator[Item]:
        subject = f"{track.name}/{person}"
        n_frames = len(track.extrinsics)
        yield Annotated(subject, n_frames, n_frames)
        sampled = np.arange(0, n_frames, self.every[split])
        frames = sampled[track.usable[person, sampled]]
        if len(sampled) > len(frames):
            yield Skipped("camera pose not valid (campose_valid)", len(sampled) - len(frames))
        theirs, poses = track.joints[person, frames], track.poses[person, frames]
        joints, odd = theirs, odd_turning(theirs, poses)
        if self.smpl is not None:
            trans = track.trans[person, frames]
            joints, posed = self.smpl.joints(track.genders[person], poses, track.betas[person], trans)
            odd = odd or odd_posing(theirs, posed, poses)
        joint_set = (HUMAN36M if self.smpl else SMPL_24).name
        odd = odd or odd_sides_of_all(joint_set, joints) or odd_names_of_all(joint_set, joints)
        yield from doubt_stature(joint_set, joints, subject)
        absent = 0
        for k, frame in enumerate(frames):
            item = self._instant(track, person, int(frame), joints[k], split, size)
            absent += item == ABSENT
            if isinstance(item, Instant):
                supplied = self._supplied(track, person, int(frame), fits)
                item = replace(item, supplied=supplied, supplied_in_camera=isinstance(supplied, BodyParameters))
                yield item if odd is None else Implausible(Reject(item.id, "read", odd), item)
            else:
                yield item
        if absent and absent == len(frames):
            cause = odd_absence(track.joints[person, frames], track.extrinsics[frames], track.K, size)
            yield Doubt(f"{subject} is in none of its {absent} pictures{cause}")

    def _supplied(self, track: Track, person: int, frame: int, fits: dict) -> SmplParameters | BodyParameters | None:
        """The ground truth (world) where there are SMPL files to pose it, else NeuralAnnot's fit (camera axes) if any."""
        if self.smpl is None:
            return fits.get((track.name, person, f"image_{frame:05d}.jpg"))
        poses, trans = track.poses[person, frame], track.trans[person, frame]
        return SmplParameters(track.genders[person], poses, track.betas[person], trans)

    def _instant(
        self, track: Track, person: int, frame: int, joints: np.ndarray, split: str, size: tuple[int, int]
    ) -> Instant | Reject | Skipped:
        """The person in one image; skipped when no joint lies in it.

        joints: (J, 3) metres, world. Box and presence are of SMPL's 24 joints, whatever the instant's own are, as in
        3DMPPE's annotations: other joints would give other boxes and another number of people.
        """
        subject = f"{track.name}/{person}"
        key = f"{subject}/{frame:05d}"
        image_path = f"imageFiles/{track.name}/image_{frame:05d}.jpg"
        smpl_joints, matrix = track.joints[person, frame], track.extrinsics[frame]
        if not all(np.isfinite(numbers).all() for numbers in (joints, smpl_joints, matrix)):
            return Reject(key, "read", f"{image_path}: joints or camera pose are not finite")
        if not is_rotation(matrix[:3, :3]):
            return Reject(key, "read", f"{image_path}: its camera pose is no rotation (mirrored, or scaled)")
        if not os.path.exists(f"{self.root}/{image_path}"):
            return Reject(key, "read", f"{image_path}: {MISSING_IMAGE}")
        camera = Camera(track.K, matrix[:3, :3], matrix[:3, 3], *size)
        about, present = _see(camera, smpl_joints)
        if not present.any():
            return ABSENT
        box = tight_box(about[present], subtract=0)
        if not (box[2] > 0 and box[3] > 0):
            return Reject(key, "read", f"{image_path}: the box has no area")
        pixels, inside = _see(camera, joints)
        view = View(
            id=f"{key}/0",
            camera_id="0",
            camera=camera,
            image_path=image_path,
            box=box,
            joints_2d=np.where(inside[:, None], pixels, 0.0),
            confidence=inside.astype(np.float64),
        )
        return Instant(
            id=key,
            subject=subject,
            action=track.name,
            frame=frame,
            joint_set=(HUMAN36M if self.smpl else SMPL_24).name,
            views=(view,),
            joints_3d=joints,
            joints_3d_valid=np.ones(len(joints), bool),
            has_world=True,
            split=split,
        )


def is_rotation(R: np.ndarray) -> np.ndarray:
    """(...,) bool of finite (..., 3, 3)."""
    close = (np.abs(R @ R.swapaxes(-1, -2) - np.eye(3)) < 1e-2).all((-1, -2))
    return np.asarray(close & (np.linalg.det(R) > 0))


def _see(camera: Camera, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """joints: (J, 3) world -> (J, 2) pixels, and (J,) bool in the image."""
    local = world_to_camera(camera, joints)
    pixels = project_pinhole(camera.K, local)
    return pixels, in_image(pixels, camera.width, camera.height) & (local[:, 2] > 0)


def read_track(path: Path, name: str) -> Track:
    """One sequence file; InputError naming file and key when it is not in 3DPW's layout."""
    data = load_plain_pickle(path)
    extrinsics = member(data, "cam_poses", path)
    n = len(extrinsics) if isinstance(extrinsics, list) or np.ndim(extrinsics) else 0
    extrinsics = array(extrinsics, (n, 4, 4), path, "cam_poses")
    genders = typed(member(data, "genders", path), list, path, "genders")
    people = range(len(genders))
    if unknown := [gender for gender in genders if str(gender) not in GENDERS]:
        raise InputError(f"{path}: genders holds {unknown[0]!r}; expected 'm' or 'f'.")

    def each(key: str, shape: tuple[int, ...]) -> np.ndarray:
        values = member(data, key, path)
        return np.array([array(member(values, p, path, key), shape, path, f"{key}/{p}") for p in people])

    betas = member(data, "betas", path)  # (10,), in some files (300,)
    betas = [list(np.atleast_1d(member(betas, p, path, "betas")))[:10] for p in people]
    K = array(member(data, "cam_intrinsics", path), (3, 3), path, "cam_intrinsics")
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
        raise InputError(
            f"{path}: cam_intrinsics {K.tolist()} needs finite numbers and focal lengths above 0. Fetch it again."
        )
    if not np.allclose([K[1, 0], *K[2]], [0, 0, 0, 1], atol=1e-6):
        raise InputError(f"{path}: cam_intrinsics {K.tolist()} is no camera matrix; is it transposed? Fetch it again.")
    usable = each("campose_valid", (n,)) > 0
    R = extrinsics[usable.any(0) & np.isfinite(extrinsics).all((1, 2))][:, :3, :3]
    if is_rotation(R).sum() < len(R) / 2:
        raise InputError(
            f"{path}: cam_poses holds something that is no rotation (mirrored, or scaled). Fetch it again."
        )
    return Track(
        name=name,
        K=K,
        extrinsics=extrinsics,
        usable=usable,
        joints=each("jointPositions", (n, 72)).reshape(-1, n, 24, 3),
        poses=each("poses", (n, 72)),
        betas=np.array([array(b, (10,), path, "betas") for b in betas]),
        trans=each("trans", (n, 3)),
        genders=[GENDERS[str(gender)] for gender in genders],
    )


def read_fits(annotations: Path, fits: Path) -> dict[tuple[str, int, str], BodyParameters]:
    """(sequence, person, image file) -> SMPL-X fit in the axes of that image's camera; empty without the file of fits.

    annotations: 3DMPPE's 3DPW_<split>.json, which alone says whom an id of the fits means.
    """
    if not fits.exists():
        return {}
    by_id, listed, found = load_json(fits), load_json(annotations), {}

    def read(entry: Any, key: str, kind: type[Kind], where: str) -> Kind:
        return typed(member(entry, key, annotations, where), kind, annotations, f"{where}/{key}")

    images = {read(image, "id", int, "images"): image for image in _entries(listed, "images", annotations)}
    for person in _entries(listed, "annotations", annotations):
        identity = str(read(person, "id", int, "annotations"))
        if identity not in by_id:
            continue
        where = f"annotations/{identity}"
        image_id = read(person, "image_id", int, where)
        image = member(images, image_id, annotations, "images")
        sequence, name = (read(image, key, str, f"images/{image_id}") for key in ("sequence", "file_name"))
        key = (sequence, read(person, "person_id", int, where), name)
        found[key] = neural_annot(by_id[identity], fits, identity)
    return found


def _entries(listed: dict, key: str, path: Path) -> list:
    return typed(member(listed, key, path), list, path, key)


def open_root(root: Path, options: Options) -> ThreeDPW:
    return ThreeDPW(root, options)
