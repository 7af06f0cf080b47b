"""Human3.6M in the annotation layout of 3DMPPE, I2L-MeshNet, Pose2Mesh and Hand4Whole.

    annotations/Human36M_subject{S}_data.json, _camera.json, _joint_3d.json [, _SMPLX_NeuralAnnot.json, _smpl_param.json]
    images/<file_name>

World coordinates are millimetres, `X_cam = R X + t`, camera keys "1".."4". A subject's files are read whole (the
largest hold 250,000 images), reduced to the sampled frames, and dropped before the next subject is opened.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import InputError
from pipeline.images import resolve
from pipeline.records import SYNTHETIC_MARK, BodyParameters, Camera, Reject, SmplParameters
from pipeline.skeletons import HUMAN36M
from pipeline.sources.base import MISSING_IMAGE, Annotated, Skipped
from pipeline.sources.human36m.common import (
    ACTIONS,
    CAMERA_NAMES,
    SUBJECTS,
    Human36m,
    Human36mOptions,
    ImageRecord,
    Recording,
    known_distortion,
    sequence_name,
)
from pipeline.sources.parsing import (
    array,
    image_shape,
    load_json,
    member,
    neural_annot,
    smpl_parameters,
    typed,
)

if TYPE_CHECKING:
    from pipeline.body.smpl import SmplBodies

_DATA_FILE = re.compile(r"^Human36M_subject(\d+)_data\.json$")

# Frames of a sequence: the six digits that ids have, five hours at 50 Hz.
MOST_FRAMES = 10**6

# One sequence: (action, subaction) -> frame -> camera -> ImageRecord.
_Frames = dict[tuple[int, int], dict[int, dict[int, ImageRecord]]]


@dataclass(frozen=True)
class _Images:
    """A subject's `_data.json`: sampled frames, each camera's image size (that of its first image), what was left out."""

    frames: _Frames
    sizes: dict[int, tuple[int, int]]
    left_out: list[Reject | Skipped | Annotated]


class AnnotatedHuman36m(Human36m):
    """See the module. Subjects are found by their `_data.json`. smpl: SMPL files of the user, with which the SMPL fits are
    taken in place of NeuralAnnot's."""

    def __init__(self, root: Path, options: Human36mOptions, smpl: "SmplBodies | None" = None):
        self.smpl = smpl
        self.recorded = not (Path(root) / SYNTHETIC_MARK).exists()
        super().__init__(root, options)

    def path(self, subject: int, part: str) -> Path:
        return self.root / "annotations" / f"Human36M_subject{subject}_{part}.json"

    @property
    def _fits_part(self) -> str:
        return "smpl_param" if self.smpl else "SMPLX_NeuralAnnot"

    def available_subjects(self) -> list[int]:
        """As of the base; InputError without images or a complete subject."""
        if not (self.root / "images").is_dir():
            raise InputError(
                f"{self.root} has no folder images. Put the images of the annotations there (a link will do)."
            )
        found = sorted(int(m[1]) for m in map(_DATA_FILE.match, os.listdir(self.root / "annotations")) if m)
        if not found:
            raise InputError(
                f"{self.root / 'annotations'} has no Human36M_subject*_data.json. Put 3DMPPE's Human3.6M annotations "
                "there."
            )
        if unknown := [s for s in found if s not in SUBJECTS]:
            raise InputError(
                f"{self.path(unknown[0], 'data')} is of subject S{unknown[0]}, which Human3.6M has no poses of "
                f"(it has {', '.join(f'S{s}' for s in SUBJECTS)}). Remove or rename the file."
            )
        return found

    def annotation_files(self) -> list[Path]:
        parts = ("camera", "data", "joint_3d", self._fits_part)
        files = [self.path(subject, part) for subject in self.subjects for part in parts]
        files += self.smpl.files if self.smpl else []
        return sorted(path for path in [*files, self.root / SYNTHETIC_MARK] if path.exists())

    def notices(self) -> list[str]:
        return [
            f"{path.name} holds parameters of SMPL, not of SMPL-X: they are not read without the options smpl and "
            "regressor."
            for path in (self.path(subject, "smpl_param") for subject in self.subjects)
            if path.exists() and not self.smpl
        ]

    def recordings(self, subject: int) -> Iterator[Recording | Reject | Skipped | Annotated]:
        """As of the base, from the four JSON files of a subject."""
        cameras = read_cameras(self.path(subject, "camera"))
        images = self._read_images(subject, self.path(subject, "data"))
        yield from images.left_out
        frames = images.frames
        used = {number: self._sized(subject, number, cameras, size) for number, size in images.sizes.items()}
        joints = _read_joints(self.path(subject, "joint_3d"), frames)
        read_fit = smpl_parameters if self.smpl else neural_annot
        supplied = _read_fits(self.path(subject, self._fits_part), frames, read_fit)
        for action, subaction in sorted(frames, key=lambda s: sequence_name(subject, *s)):
            sampled = frames.pop((action, subaction))
            numbers = sorted(sampled)
            yield Recording(
                subject,
                action,
                subaction,
                numbers,
                joints.pop((action, subaction)),
                [_check_exist(self.root, sampled[number]) for number in numbers],
                used,
                supplied.pop((action, subaction), {}),
            )

    def _sized(self, subject: int, number: int, cameras: dict[int, Camera], size: tuple[int, int]) -> Camera:
        if number not in cameras:
            raise InputError(
                f"{self.path(subject, 'camera')} has no camera {number}, which images of {self.path(subject, 'data')} "
                "name."
            )
        camera = cameras[number]
        distortion = known_distortion(number, camera.K) if self.recorded else np.zeros(5)
        return Camera(camera.K, camera.R, camera.t, *size, distortion)

    def _read_images(self, subject: int, path: Path) -> _Images:
        data = load_json(path)
        images, annotations = (typed(member(data, key, path), list, path, key) for key in ("images", "annotations"))
        by_image = _index_annotations(annotations, path)
        step = self.options.step(subject)
        frames: _Frames = defaultdict(dict)
        sizes: dict[int, tuple[int, int]] = {}
        ids: set[int] = set()
        moments: set[tuple[int, int, int]] = set()
        skipped: Counter[Skipped] = Counter()
        views = 0
        for image in images:
            identity, action, subaction, number, frame = _image_numbers(image, path)
            _check_image(subject, image, ids, path)
            ids.add(identity)
            reason = self.left_out(subject, action, subaction, number)
            if reason is not None:
                skipped[reason] += 1
                continue
            views += 1
            moments.add((action, subaction, frame))
            if frame % step:
                continue
            at = frames[action, subaction].setdefault(frame, {})
            if number in at:
                raise InputError(
                    f"{path}: frame {frame} of {sequence_name(subject, action, subaction)} occurs twice for camera "
                    f"{number}."
                )
            at[number] = _image_record(self.root, image, by_image.get(identity), path)
            sizes.setdefault(number, at[number].size)
        stray = f"{path.name}: an annotation names an image that is not listed"
        strays = sorted(by_image.keys() - ids, key=str)
        left_out: list[Reject | Skipped | Annotated] = [Annotated(f"S{subject}", len(moments), views)]
        left_out += [Skipped(skip.reason, count) for skip, count in skipped.items()]
        left_out += [Reject(f"{path.name}/annotations/{identity}", "read", stray) for identity in strays]
        return _Images(frames, sizes, left_out)


def _check_image(subject: int, image: dict, known: set[int], path: Path) -> None:
    """InputError for an image whose id is known already, or that is another subject's."""
    if image["id"] in known:
        raise InputError(f"{path}: the image id {image['id']} occurs twice. The file is damaged; fetch it again.")
    if image.get("subject", subject) != subject:
        raise InputError(
            f"{path}: the image {image['id']} is of subject {image['subject']}, the file of S{subject}. One of the "
            "files was renamed; fetch them again."
        )


def _image_numbers(image: dict, path: Path) -> tuple[int, int, int, int, int]:
    """id, action, subaction, camera and frame of an entry of `images`."""
    try:
        numbers = [image[key] for key in ("id", "action_idx", "subaction_idx", "cam_idx", "frame_idx")]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: an entry of images has no {error}: {str(image)[:120]}.") from None
    if (
        not all(type(number) is int for number in numbers)
        or numbers[1] not in ACTIONS
        or not 0 <= numbers[4] < MOST_FRAMES
    ):
        raise InputError(
            f"{path}: the image {numbers[0]} has action_idx, subaction_idx, cam_idx, frame_idx {tuple(numbers[1:])}; "
            f"expected whole numbers, an action of 2..16 and a frame from 0 to {MOST_FRAMES - 1}."
        )
    identity, action, subaction, number, frame = numbers
    return identity, action, subaction, number, frame


def _index_annotations(annotations: list, path: Path) -> dict[int, dict]:
    """image id -> its annotation."""
    try:
        by_image = {annotation["image_id"]: annotation for annotation in annotations}
    except (KeyError, TypeError):
        raise InputError(f"{path}: an entry of annotations is no object with an image_id.") from None
    if len(by_image) != len(annotations):
        raise InputError(
            f"{path}: two annotations name the same image_id; Human3.6M has one person an image. Fetch the file again."
        )
    return by_image


def _image_record(root: Path, image: dict, annotation: dict | None, path: Path) -> ImageRecord:
    where = f"images/{image['id']}"
    file_name = f"images/{member(image, 'file_name', path, where)}"
    resolve(root, file_name)
    size = image_shape(image, path, where)
    if annotation is None:
        return ImageRecord(file_name, size, np.zeros(4), np.zeros(len(HUMAN36M), bool), "the image has no annotation")
    where = f"annotations/{annotation.get('id')}"
    box = array(member(annotation, "bbox", path, where), (4,), path, f"{where}/bbox")
    visible = array(member(annotation, "keypoints_vis", path, where), (len(HUMAN36M),), path, f"{where}/keypoints_vis")
    return ImageRecord(file_name, size, box, visible > 0)


def read_cameras(path: Path) -> dict[int, Camera]:
    """Cameras of one subject, metres, without image size and distortion (the file has neither)."""
    cameras, known = {}, {str(number): number for number in CAMERA_NAMES}
    for number, camera in load_json(path).items():
        if number not in known:
            raise InputError(f"{path}: {number!r} is not a camera number; expected '1' to '4'.")
        R = array(member(camera, "R", path, number), (3, 3), path, f"{number}/R")
        t = array(member(camera, "t", path, number), (3,), path, f"{number}/t")
        f = array(member(camera, "f", path, number), (2,), path, f"{number}/f")
        c = array(member(camera, "c", path, number), (2,), path, f"{number}/c")
        rotation = np.allclose(R @ R.T, np.eye(3), atol=1e-4) and np.linalg.det(R) > 0
        if not (rotation and (f > 0).all() and np.isfinite([*f, *c, *t]).all()):
            raise InputError(
                f"{path}: camera {number} is not a calibrated camera (R must be a rotation, f above 0, t finite)."
            )
        K = np.array([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1]])
        cameras[known[number]] = Camera(K, R, t / 1000, 0, 0)
    return cameras


def _read_joints(path: Path, frames: _Frames) -> dict[tuple[int, int], np.ndarray]:
    """(action, subaction) -> (F, 17, 3) metres of the sampled frames in order, NaN for a frame that the file lacks."""
    data = load_json(path)
    joints = {}
    shape = (len(HUMAN36M), 3)
    for (action, subaction), sampled in frames.items():
        where = f"{action}/{subaction}"
        of_sequence = typed(
            member(member(data, str(action), path), str(subaction), path, str(action)), dict, path, where
        )
        found = np.full((len(sampled), *shape), np.nan)
        for k, frame in enumerate(sorted(sampled)):
            if str(frame) in of_sequence:
                found[k] = array(of_sequence[str(frame)], shape, path, f"{action}/{subaction}/{frame}")
        joints[action, subaction] = found / 1000
    return joints


def _read_fits(
    path: Path, frames: _Frames, read: Callable
) -> dict[tuple[int, int], dict[int, BodyParameters | SmplParameters]]:
    """Fits of the sampled frames where the file is there: world, metres, hands and face at zero. read: one of them."""
    if not path.exists():
        return {}
    data = load_json(path)
    fits = {}
    for (action, subaction), sampled in frames.items():
        of_action = typed(data.get(str(action), {}), dict, path, str(action))
        of_sequence = typed(of_action.get(str(subaction), {}), dict, path, f"{action}/{subaction}")
        fits[action, subaction] = {
            frame: read(of_sequence[str(frame)], path, f"{action}/{subaction}/{frame}")
            for frame in sampled
            if str(frame) in of_sequence
        }
    return fits


def _check_exist(root: Path, images: dict[int, ImageRecord]) -> dict[int, ImageRecord]:
    """Marks images that are not on disk."""
    return {
        number: image
        if image.problem or os.path.exists(f"{root}/{image.path}")
        else replace(image, problem=MISSING_IMAGE)
        for number, image in images.items()
    }
