"""A dataset small enough to preprocess in a second: two cameras, the free body in a few poses, images of noise."""

import functools
from pathlib import Path

import cv2
import numpy as np

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.camera import project, tight_box, world_to_camera
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.records import PARAMETER_SIZES, BodyParameters, Camera, Instant, View
from pipeline.sampling import SamplingSettings
from pipeline.skeletons import FIELD_JOINTS
from pipeline.sources.base import Source
from pipeline.threads import one_thread

SETTINGS = PreprocessSettings(crop_px=32, shard_instants=2, sampling=SamplingSettings(pool=300, voters=6))
SPLITS = {"S1": "train", "S5": "train", "S8": "validation", "S9": "test"}
SIZE = 100


def cameras() -> list[Camera]:
    K = np.array([[110.0, 0, 49.5], [0, 110.0, 49.5], [0, 0, 1]])
    upright = np.diag([1.0, -1, -1])
    side = np.array([[0.0, 0, -1], [0, -1, 0], [-1, 0, 0]])
    return [Camera(K, R, np.array([0, 0.2, 4.0]), SIZE, SIZE) for R in (upright, side)]


@one_thread()
def make_instant(subject: str, frame: int, joint_map, body) -> Instant:
    rng = np.random.default_rng([frame, int(subject[1:])])
    betas = np.random.default_rng(int(subject[1:])).normal(size=10)
    parameters = {name: np.zeros(size) for name, size in PARAMETER_SIZES.items()}
    parameters |= {"betas": betas, "body_pose": rng.normal(0, 0.15, 63)}
    vertices, joints = body.mesh(BodyParameters(**parameters))
    points = np.asarray(joint_map(joints, vertices), np.float64)
    key = f"{subject}/walk/{frame:06d}"
    views = []
    for number, camera in enumerate(cameras(), start=1):
        pixels = project(camera, world_to_camera(camera, points))
        views.append(
            View(
                f"{key}/{number}",
                str(number),
                camera,
                f"{subject}_{number}.jpg",
                tight_box(pixels, 0),
                pixels,
                np.ones(len(pixels)),
            )
        )
    return Instant(
        key,
        subject,
        "walk",
        frame,
        FIELD_JOINTS.name,
        tuple(views),
        points,
        np.ones(len(points), bool),
        True,
        split=SPLITS[subject],
    )


body_once = functools.cache(load_body)


class FakeSource(Source):
    """Reads what `write_source` wrote; stands in for human36m."""

    name = "fake"

    def __init__(self, root: Path, subjects: tuple[str, ...] | None = None):
        super().__init__(root)
        self.subjects = subjects or tuple(path.stem for path in sorted(root.glob("S*.txt")))

    def annotation_files(self):
        return [self.root / f"{subject}.txt" for subject in self.subjects]

    def joint_map(self):
        return keypoint_map(body_once(), FIELD_JOINTS)

    def parts(self):
        return {subject: self._subject(subject) for subject in self.subjects}

    def _subject(self, subject):
        for frame in range(int((self.root / f"{subject}.txt").read_text())):
            yield make_instant(subject, frame, self.joint_map(), body_once())


def write_source(root: Path, frames: dict[str, int]) -> Path:
    """frames: how many instants each subject has."""
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for subject, count in frames.items():
        (root / f"{subject}.txt").write_text(str(count))
        for number in (1, 2):
            cv2.imwrite(str(root / f"{subject}_{number}.jpg"), rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8))
    return root


def open_fake(_name: str, root: Path, **options) -> FakeSource:
    return FakeSource(root, options.get("subjects"))
