"""What travels when people are found in pictures: Picture -> Box -> Person -> PicturePeople.

Pixels count from the middle of the top left pixel; metres; axes of the picture's camera: x right, y down, z forward. Nothing is
changed after it was made.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.records import BodyParameters, Camera
from pipeline.skeletons import HUMAN36M, HUMAN36M_ELSEWHERE, JOINT_SETS, JointSet, match_joints

# Who says where a person is: a detector of ours, the user, keypoints of the user's, or nobody: the whole picture was taken.
SOURCES = ("detector", "given", "keypoints", "whole picture", "track")


@dataclass(frozen=True)
class Picture:
    """A photograph, or a frame of a video, as it is to be looked at.

    name: its path; of a frame "FILE#frame=N". pixels: (H, W, 3) uint8 RGB, turned upright. camera: of the upright picture. frame: its
    number in the video, time_s: when it is shown; None of a photograph.
    """

    name: str
    pixels: np.ndarray
    camera: Camera
    frame: int | None = None
    time_s: float | None = None


def pixels_of(picture: Picture | None) -> int:
    """How many it holds; of one that could not be read none."""
    return 0 if picture is None else picture.pixels.size // 3


@dataclass(frozen=True)
class Refusal:
    """A picture, or a video from some frame on, that could not be read. name: as Picture.name. reason: a sentence with the remedy."""

    name: str
    reason: str


@dataclass(frozen=True)
class Keypoints:
    """2D evidence of one person. joint_set: name in `pipeline.skeletons.JOINT_SETS`. points: (N, 2) px of the picture. confidence:
    (N,) 0..1, 0 where a point was not seen.
    """

    joint_set: str
    points: np.ndarray
    confidence: np.ndarray

    def of(self, joint_set: JointSet) -> "Keypoints | None":
        """The same as another set's: joints are matched by name, others were not seen, nor those of Human3.6M that lie elsewhere than
        annotators of images put them. None where nothing of it was seen."""
        if self.joint_set == joint_set.name:
            return self if self.confidence.any() else None
        theirs, ours = match_joints(JOINT_SETS[self.joint_set], joint_set)
        points, confidence = np.zeros((len(joint_set), 2)), np.zeros(len(joint_set))
        points[ours], confidence[ours] = self.points[theirs], self.confidence[theirs]
        if self.joint_set == HUMAN36M.name:
            confidence[[joint_set.index(name) for name in HUMAN36M_ELSEWHERE if name in joint_set.names]] = 0.0
        return Keypoints(joint_set.name, points, confidence) if confidence.any() else None


@dataclass(frozen=True)
class Box:
    """Where somebody is. box: (4,) x, y, width, height px. score: 0..1 of the detector, None of a box that was given. source: who
    says so, a word of `SOURCES`. keypoints: that came with it. track: of a video, the same number in every frame.
    """

    box: np.ndarray
    score: float | None
    source: str
    keypoints: Keypoints | None = None
    track: int | None = None


@dataclass(frozen=True)
class Person:
    """Somebody in a picture.

    box: (4,) x, y, width, height px. score, box_source, track: as of `Box`. joints: (J, 3) m relative to the root, in the run's joint
    set. root: (3,) m. joints_2d: (J, 2) px. confidence: (J,) 0..1, that a joint lies within 100 mm. visible: (J,) bool, it lies in the
    picture and is more likely right than wrong. presence: 0..1, that a person fills the box. body: fitted to the joints, absolute, in
    the camera's axes. spread: (J,) m, how far each joint is expected to be off after the fit. doubts: why the person, or
    the body, is not to be trusted, "" where nothing speaks against it. keypoints: of the person in the picture.
    """

    box: np.ndarray
    score: float | None
    box_source: str
    joints: np.ndarray
    root: np.ndarray
    joints_2d: np.ndarray
    confidence: np.ndarray
    visible: np.ndarray
    presence: float
    track: int | None = None
    body: BodyParameters | None = None
    spread: np.ndarray | None = None
    doubts: str = ""
    keypoints: Keypoints | None = None


@dataclass(frozen=True)
class PicturePeople:
    """The people of one picture.

    name, frame, time_s: as of `Picture`. width, height: px. camera: in whose axes the people are; None where the picture could not be
    read. people: from the surest to the least sure, or as their boxes were given. refusal: why there are none; empty where it was
    answered. left_out: of boxes that were refused, why.
    """

    name: str
    width: int
    height: int
    camera: Camera | None
    people: tuple[Person, ...] = ()
    frame: int | None = None
    time_s: float | None = None
    refusal: str = ""
    left_out: tuple[str, ...] = ()


# A picture, None where it could not be read, and its people.
Answered = tuple[Picture | None, PicturePeople]


def clipped(box: np.ndarray, picture: Picture) -> np.ndarray:
    """A box (4,) cut at the border of the picture; at least two pixels of it stay."""
    height, width = picture.pixels.shape[:2]
    low = np.clip(box[:2], 0, [width - 2, height - 2])
    return np.r_[low, np.clip(box[:2] + box[2:] - low, 2, [width - low[0], height - low[1]])]
