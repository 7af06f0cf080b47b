"""Somebody's movement over a video: gathered frame by frame, then evenly spaced, with one shape."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from model.people.meshes import name_of
from model.people.shown import Shown
from pipeline.body.model import POSE_ORDER, BodyModel

# Frames a second of a photograph's one frame.
STILL_FPS = 30.0


@dataclass(frozen=True)
class Motion:
    """T frames of one body, evenly spaced in time.

    name: SOURCE.track-N; of a photograph, and of a frame in which nothing follows somebody, STEM.person-N. fps: frames a second.
    frames: (T,) numbers in the video. filled: (T,) bool, nobody was seen there, and the pose is between those before and after.
    betas: (10,). rotations: (T, 55, 3) axis-angle of SMPL-X's joints. transl: (T, 3) m.
    """

    name: str
    fps: float
    frames: np.ndarray
    filled: np.ndarray
    betas: np.ndarray
    rotations: np.ndarray
    transl: np.ndarray

    def turned(self, body: BodyModel, R: np.ndarray) -> "Motion":
        """The same motion in other axes: `X -> R X`. R: (3, 3) rotation."""
        from scipy.spatial.transform import Rotation  # here, since predictions without motion need not wait for it

        pelvis = rest_joints(body, self.betas)[0]
        rotations = self.rotations.copy()
        rotations[:, 0] = (Rotation.from_matrix(R) * Rotation.from_rotvec(self.rotations[:, 0])).as_rotvec()
        return replace(self, rotations=rotations, transl=(self.transl + pelvis) @ R.T - pelvis)


def rest_joints(body: BodyModel, betas: np.ndarray) -> np.ndarray:
    """(55, 3) m: the joints of a shape before it is posed."""
    return (
        body.joint_template.numpy().astype(float)
        + body.joint_shapedirs[..., : len(betas)].numpy().astype(float) @ betas
    )


@dataclass(frozen=True)
class Seen:
    frame: int
    time_s: float
    betas: np.ndarray
    rotations: np.ndarray
    transl: np.ndarray


class Motions:
    """Gathers bodies picture by picture: about a kilobyte a person and frame."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Seen]] = defaultdict(list)

    def add(self, shown: Shown) -> None:
        picture = shown.picture
        for number, parameters in shown.embodied:
            # of frames in which nobody is followed the first people need not be the same
            source = shown.stem if shown.people[number].track is None else shown.source
            name = f"{source}.{name_of(shown, number)}"
            rotations = np.concatenate([getattr(parameters, part) for part in POSE_ORDER]).reshape(-1, 3)
            numbers = (np.asarray(value, np.float32) for value in (parameters.betas, rotations, parameters.transl))
            self._seen[name].append(Seen(picture.frame or 0, picture.time_s or 0.0, *numbers))

    def __iter__(self) -> Iterator[Motion]:
        for name, seen in self._seen.items():
            yield evenly(name, sorted(seen, key=lambda one: one.frame))


def evenly(name: str, seen: list[Seen]) -> Motion:
    """The frames of a track, and between them those at the widest even distance at which all that were seen have a place: where nobody
    was seen, the pose lies between those before and after."""
    frames = np.array([one.frame for one in seen])
    rotations, transl = np.stack([one.rotations for one in seen]).astype(float), np.stack([one.transl for one in seen])
    betas = np.mean([one.betas for one in seen], 0, dtype=float)
    if len(seen) == 1:
        return Motion(name, STILL_FPS, frames, np.zeros(1, bool), betas, rotations, transl.astype(float))
    step = int(np.gcd.reduce(np.diff(frames)))
    elapsed = seen[-1].time_s - seen[0].time_s
    fps = (frames[-1] - frames[0]) / elapsed / step if elapsed > 0 else STILL_FPS
    every = np.arange(frames[0], frames[-1] + 1, step)
    if not np.array_equal(every, frames):
        from scipy.spatial.transform import Rotation, Slerp

        turns = [
            Slerp(frames, Rotation.from_rotvec(rotations[:, joint]))(every).as_rotvec()
            for joint in range(rotations.shape[1])
        ]
        rotations = np.stack(turns, 1)
        transl = np.stack([np.interp(every, frames, transl[:, axis]) for axis in range(3)], 1)
    return Motion(name, float(fps), every, ~np.isin(every, frames), betas, rotations, transl.astype(float))
