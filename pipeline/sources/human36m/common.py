"""Human3.6M: what its two layouts share. One `Instant` is one frame of one sequence, seen by up to four cameras.

Layouts: the annotation JSON of 3DMPPE / I2L-MeshNet (`annotations.py`), and the official release of videos and
CDF files (`release.py`). Both give the same instants: ids, joints, boxes and projections.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.camera import in_image, project, tight_box, world_to_camera
from pipeline.errors import InputError
from pipeline.plausible import calibration_of_another, odd_bones, odd_calibration, odd_sides_of_all
from pipeline.plausible_names import odd_names_of_all
from pipeline.records import BodyParameters, Camera, Instant, Reject, SmplParameters, View
from pipeline.skeletons import HUMAN36M
from pipeline.sources.base import Annotated, Findings, Found, Implausible, Item, Skipped, Source
from pipeline.sources.doubts import doubt_stature
from pipeline.sources.human36m.counts import compare_counts
from pipeline.sources.parsing import box_problem

SUBJECTS = (1, 5, 6, 7, 8, 9, 11)
TRAIN, VALIDATION, TEST = (1, 5, 6, 7), (8,), (9, 11)
TRAIN_STEP, TEST_STEP = 5, 64
# Actions 2..16 of the release; action 1 is _ALL. The names of 3DMPPE's annotations, which are most subjects' own.
ACTIONS = {
    2: "Directions",
    3: "Discussion",
    4: "Eating",
    5: "Greeting",
    6: "Phoning",
    7: "Posing",
    8: "Purchases",
    9: "Sitting",
    10: "SittingDown",
    11: "Smoking",
    12: "Photo",
    13: "Waiting",
    14: "Walking",
    15: "WalkDog",
    16: "WalkTogether",
}
CAMERA_NAMES = {1: "54138969", 2: "55011271", 3: "58860488", 4: "60457274"}
# fx fy cx cy (pixels) k1 k2 k3 p1 p2 of the four cameras, from metadata.xml of the release. The annotation layout has
# only the first four numbers, though its images are distorted by the last five.
INTRINSICS = {
    1: (
        1145.04940458804,
        1143.78109572365,
        512.541504956548,
        515.4514869776,
        -0.207098910824901,
        0.247775183068982,
        -0.00307515035078854,
        -0.00142447157470321,
        -0.000975698859470499,
    ),
    2: (
        1149.67569986785,
        1147.59161666764,
        508.848621645943,
        508.064917088557,
        -0.194213629607385,
        0.240408539138292,
        0.00681997559022603,
        -0.0027408943961907,
        -0.001619026613787,
    ),
    3: (
        1149.14071676148,
        1148.7989685676,
        519.815837182153,
        501.402658888552,
        -0.208338188251856,
        0.255488007488945,
        -0.00246049749891915,
        -0.000759999321030303,
        0.00148438698385668,
    ),
    4: (
        1145.51133842318,
        1144.77392807652,
        514.968197319863,
        501.882018537695,
        -0.198384093827848,
        0.218323676298049,
        -0.00894780704152122,
        -0.00181336200488089,
        -0.000587205583421232,
    ),
}
# Views whose video is corrupt in the release: (subject, action, subaction, camera).
CORRUPT = {(11, 2, 2, 1)}
# Sequences whose ground truth is shifted against the video: (subject, action, subaction).
SHIFTED = {(9, 5, 2), (9, 10, 2), (9, 13, 1)}


@dataclass(frozen=True)
class Human36mOptions:
    """subjects: numbers to read, None for all that are there; other subjects' files are not opened. every_train,
    every_test: keep frames whose number is a multiple. final: subject 8 joins the training set. drop_shifted: leave
    out the three sequences of subject 9 with shifted ground truth (3DMPPE and its successors keep them)."""

    subjects: tuple[int, ...] | None = None
    every_train: int = TRAIN_STEP
    every_test: int = TEST_STEP
    final: bool = False
    drop_shifted: bool = False

    def __post_init__(self) -> None:
        for name in ("every_train", "every_test"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; every how many frames to keep is 1 or more.")
        for subject in self.subjects or ():
            if subject not in SUBJECTS:
                raise InputError(
                    f"Human3.6M has no subject S{subject} with published poses; choose among "
                    f"{', '.join(f'S{s}' for s in SUBJECTS)}."
                )

    def split(self, subject: int) -> str:
        if subject in TEST:
            return "test"
        return "validation" if subject in VALIDATION and not self.final else "train"

    def step(self, subject: int) -> int:
        return self.every_test if subject in TEST else self.every_train


@dataclass(frozen=True)
class ImageRecord:
    """One image as a layout describes it. size: (width, height), pixels. box: (4,) pixels or None to compute it from
    the joints. visible: (17,) bool or None to compute it. problem: why the image cannot be used, None when it can."""

    path: str
    size: tuple[int, int]
    box: np.ndarray | None = None
    visible: np.ndarray | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Recording:
    """The sampled frames of one (subject, action, subaction).

    frames: F frame numbers from 0, ascending. joints: (F, 17, 3) metres, world; NaN where there are none. images: one
    dict a frame, camera number -> ImageRecord. cameras: camera number -> Camera, as large as the images should be.
    supplied: frame -> fit that came with the dataset.
    """

    subject: int
    action: int
    subaction: int
    frames: list[int]
    joints: np.ndarray
    images: list[dict[int, ImageRecord]]
    cameras: dict[int, Camera]
    supplied: dict[int, BodyParameters | SmplParameters]

    @property
    def name(self) -> str:
        return sequence_name(self.subject, self.action, self.subaction)


def sequence_name(subject: int, action: int, subaction: int) -> str:
    """'S9/Directions-1': the front of the ids of its instants."""
    return f"S{subject}/{ACTIONS[action]}-{subaction}"


class Human36m(Source):
    """Shared part of the two layouts: a subclass gives the items of a subject."""

    name = "human36m"

    def __init__(self, root: Path, options: Human36mOptions):
        super().__init__(root)
        self.options = options
        self.subjects = self._choose(self.available_subjects())

    def available_subjects(self) -> list[int]:
        """Numbers of the subjects that lie under the root. Raises InputError where it is not this layout."""
        raise NotImplementedError

    def recordings(self, subject: int) -> Iterator[Recording | Reject | Skipped | Annotated]:
        """A subject's recordings in the order of their names, and what was left out. Raises InputError naming file and
        key for a damaged annotation."""
        raise NotImplementedError

    def findings(self, found: Found) -> Findings:
        if not self.recorded:
            return Findings()
        o = self.options
        return compare_counts(found, o.every_train, o.every_test, o.drop_shifted, o.subjects)

    def _choose(self, available: list[int]) -> list[int]:
        """Subjects to read, in the order of their names as strings (which is the order of ids)."""
        wanted = self.options.subjects or available
        missing = [f"S{s}" for s in wanted if s not in available]
        if missing:
            raise InputError(
                f"{self.root} has no files of {', '.join(missing)}; it has {', '.join(f'S{s}' for s in available)}. "
                "Complete the download or leave the subject out."
            )
        return sorted(wanted, key=str)

    def left_out(self, subject: int, action: int, subaction: int, camera: int) -> Skipped | None:
        """What the release is known to have broken; None for what is kept."""
        if not self.recorded:
            return None
        if (subject, action, subaction, camera) in CORRUPT:
            return Skipped("video corrupt in the release")
        if self.options.drop_shifted and (subject, action, subaction) in SHIFTED:
            return Skipped("shifted ground truth")
        return None

    def parts(self) -> dict[str, Iterator[Item]]:
        return {f"S{subject}": self._subject_items(subject) for subject in self.subjects}

    def _subject_items(self, subject: int) -> Iterator[Item]:
        """A subject is read before its first instant: only all views of a camera together tell that it is wrong."""
        recordings = []
        for item in self.recordings(subject):
            if isinstance(item, Recording):
                recordings.append(item)
            else:
                yield item
        odd = odd_cameras(recordings)
        poses = np.concatenate([np.zeros((0, len(HUMAN36M), 3)), *(recording.joints for recording in recordings)])
        exchanged = odd_sides_of_all(HUMAN36M.name, poses) or odd_names_of_all(HUMAN36M.name, poses)
        yield from doubt_stature(HUMAN36M.name, poses, f"S{subject}")
        for recording in recordings:
            for found in self._instants(recording, odd):
                if exchanged is not None and isinstance(found, Instant):
                    yield Implausible(Reject(found.id, "read", exchanged), found)
                else:
                    yield found

    def _instants(self, recording: Recording, odd: dict[int, str]) -> Iterator[Item]:
        """odd: why the views of a camera are rejected."""
        split = self.options.split(recording.subject)
        seen = {number: _see(camera, recording.joints) for number, camera in recording.cameras.items()}
        finite = np.isfinite(recording.joints).all((1, 2))
        for k, frame in enumerate(recording.frames):
            key = f"{recording.name}/{frame:06d}"
            if not finite[k]:
                yield Reject(key, "read", "no finite 3D joints for this frame")
                continue
            views = []
            for number, image in sorted(recording.images[k].items()):
                pixels, box, inside = (values[k] for values in seen[number])
                view = _view(f"{key}/{number}", number, recording.cameras[number], image, pixels, box, inside)
                if not isinstance(view, View):
                    yield view
                else:
                    views.append(view)
            instant = Instant(
                id=key,
                subject=f"S{recording.subject}",
                action=ACTIONS[recording.action],
                frame=frame,
                joint_set=HUMAN36M.name,
                views=tuple(view for view in views if int(view.camera_id) not in odd),
                joints_3d=recording.joints[k],
                joints_3d_valid=np.ones(len(HUMAN36M), bool),
                has_world=True,
                supplied=recording.supplied.get(frame),
                split=split,
            )
            for view in views:
                if int(view.camera_id) in odd:
                    reject = Reject(view.id, "read", f"{view.image_path}: {odd[int(view.camera_id)]}")
                    yield Implausible(reject, replace(instant, views=(view,)))
            if instant.views:
                yield instant


# Of a camera, so many views say whose calibration it has.
FEWEST_VIEWS = 3


def odd_cameras(recordings: list[Recording]) -> dict[int, str]:
    """Cameras of a subject that do not belong to its boxes, and why; all of them where most are odd. Boxes that were computed
    tell nothing, and joints in another unit tell nothing of cameras."""
    joints, boxes = defaultdict(list), defaultdict(list)
    cameras: dict[int, Camera] = {}
    for recording in recordings:
        cameras |= recording.cameras
        if not len(recording.joints) or odd_bones(HUMAN36M.name, recording.joints[0]) is not None:
            continue
        for images, frame in zip(recording.images, recording.joints, strict=True):
            given = [(n, image.box) for n, image in images.items() if image.box is not None and image.problem is None]
            for number, box in given:
                joints[number].append(frame)
                boxes[number].append(box)
    found = {n: odd_calibration(cameras[n], np.array(joints[n]), np.array(boxes[n])) for n in joints}
    odd = {number: reason for number, reason in found.items() if reason is not None}
    if 2 * len(odd) >= max(3, len(found)):
        usual = Counter(odd.values()).most_common(1)[0][0]
        odd = {number: usual for number in found} | odd
    for number, reason in found.items():
        if reason is not None and ", as if" not in odd[number] and len(joints[number]) >= FEWEST_VIEWS:
            other = calibration_of_another(cameras, number, np.array(joints[number]), np.array(boxes[number]))
            odd[number] += "" if other is None else f", as if its calibration were camera {other}'s"
    return odd


def _view(
    key: str,
    number: int,
    camera: Camera,
    image: ImageRecord,
    pixels: np.ndarray,
    box: np.ndarray,
    inside: np.ndarray,
) -> View | Reject | Skipped:
    """pixels: (17, 2) and inside: (17,) of the projected joints; box: (4,) about them. A view that the annotation says shows no joint
    is skipped."""
    box = box if image.box is None else image.box
    visible = inside if image.visible is None else image.visible
    problem = image.problem or box_problem(box)
    if problem is None and not visible.any():
        if image.visible is not None:
            return Skipped("no visible joint in the view")
        problem = "no visible joint"
    if problem is None and image.size != (camera.width, camera.height):
        size = f"{image.size[0]} x {image.size[1]}"
        problem = f"{size} pixels, the camera's other images have {camera.width} x {camera.height}"
    if problem is not None:
        return Reject(key, "read", f"{image.path}: {problem}")
    return View(
        id=key,
        camera_id=str(number),
        camera=camera,
        image_path=image.path,
        box=box,
        joints_2d=np.where(visible[:, None], pixels, 0.0),
        confidence=visible.astype(np.float64),
    )


def _see(camera: Camera, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """joints: (F, 17, 3) world -> (F, 17, 2) source pixels; (F, 4) 3DMPPE's box; (F, 17) bool in the image.

    The box is of the joints projected without distortion, minus 1, times 1.2: what the annotations hold, bit for bit.
    """
    local = world_to_camera(camera, joints)
    with np.errstate(invalid="ignore", divide="ignore"):
        pixels = project(camera, local)
        plain = local[..., :2] / local[..., 2:] @ camera.K[:2, :2].T + camera.K[:2, 2]
    inside = in_image(plain, camera.width, camera.height) & (local[..., 2] > 0)
    return pixels, tight_box(plain, subtract=1), inside


def known_distortion(number: int, K: np.ndarray) -> np.ndarray:
    """(5,) k1 k2 k3 p1 p2 of camera `number` when K is that camera's own calibration, else zeros."""
    fx, fy, cx, cy, *distortion = INTRINSICS[number]
    same = np.allclose([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], [fx, fy, cx, cy], rtol=0, atol=0.01)
    return np.array(distortion) if same else np.zeros(5)
