"""Human3.6M as released: videos, poses in CDF files, and metadata.xml of the official MATLAB code.

    metadata.xml
    S{n}/Videos/<Sequence>.<camera>.mp4
    S{n}/MyPoseFeatures/D3_Positions/<Sequence>.cdf      variable Pose, (1, N, 96) mm, world

`<Sequence>` ("Directions 1", "TakingPhoto") is another name for every subject; metadata.xml maps it to action and
subaction. Frames are read straight from the videos, which run one to three frames longer than the poses.
"""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cdflib
import cdflib.cdfread
import numpy as np

from pipeline.errors import InputError
from pipeline.images import VideoReader, frame_path
from pipeline.records import Camera, Reject
from pipeline.sources.base import MISSING_IMAGE, Annotated, Skipped
from pipeline.sources.human36m.common import (
    ACTIONS,
    CAMERA_NAMES,
    SUBJECTS,
    Human36m,
    Human36mOptions,
    ImageRecord,
    Recording,
    sequence_name,
)
from pipeline.sources.parsing import load_xml

JOINTS_RELEASED = 32
# Of anything in a CDF file: variables, attributes, dimensions, blocks.
MOST_ENTRIES = 100_000
# The official 'body' part: 17 of the 32 joints, in the order of `skeletons.HUMAN36M`.
BODY_17 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
# metadata.xml lists the cameras of subjects 1 to 11 as six numbers each, then nine of each camera.
_SUBJECTS_LISTED, _EXTRINSICS, _INTRINSICS = 11, 6, 9
# Bytes of a sequence's or a camera's name, two of which make the name of a video.
_LONGEST_NAME = 100
_W0 = len(CAMERA_NAMES) * (_SUBJECTS_LISTED * _EXTRINSICS + _INTRINSICS)


@dataclass(frozen=True)
class Metadata:
    """What metadata.xml says. sequences: subject -> (action, subaction) -> name of its files. cameras: number -> file
    name part. numbers: (300,) the calibration as it lies there. frames: (subject, action, subaction) -> how many frames
    the sequence has, where the file counts them."""

    path: Path
    sequences: dict[int, dict[tuple[int, int], str]]
    cameras: dict[int, str]
    numbers: np.ndarray
    frames: dict[tuple[int, int, int], int]

    def camera(self, subject: int, number: int, size: tuple[int, int]) -> Camera:
        """One camera of one subject, metres. Its numbers are Euler angles x, y, z of world -> camera, then the
        camera's place in the world in mm."""
        start = _EXTRINSICS * (_SUBJECTS_LISTED * (number - 1) + subject - 1)
        x, y, z, *centre = self.numbers[start : start + _EXTRINSICS]
        R = _rotation_x(x) @ _rotation_y(y) @ _rotation_z(z)
        start = len(CAMERA_NAMES) * _SUBJECTS_LISTED * _EXTRINSICS + _INTRINSICS * (number - 1)
        fx, fy, cx, cy, *distortion = self.numbers[start : start + _INTRINSICS]
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        return Camera(K, R, -R @ np.array(centre) / 1000, *size, np.array(distortion))


def _rotation_x(a: float) -> np.ndarray:
    return np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])


def _rotation_y(a: float) -> np.ndarray:
    return np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])


def _rotation_z(a: float) -> np.ndarray:
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])


def read_metadata(path: Path) -> Metadata:
    """metadata.xml; InputError naming the file and what it lacks."""
    if not path.exists():
        raise InputError(
            f"{path} does not exist. It comes with the dataset's official MATLAB code, not with the videos; put it "
            "there or name it with the option metadata."
        )
    tree = load_xml(path)
    found = {name: tree.find(name) for name in ("mapping", "w0", "dbcameras/index2id")}
    parts = {name: part for name, part in found.items() if part is not None}
    if missing := [name for name in found if name not in parts]:
        raise InputError(f"{path} has no {', '.join(missing)}. Use metadata.xml of the official Human3.6M code.")
    try:
        numbers = np.array((parts["w0"].text or "").strip().strip("[]").split(), np.float64)
    except ValueError:
        numbers = np.zeros(0)
    if numbers.shape != (_W0,) or not np.isfinite(numbers).all():
        raise InputError(
            f"{path}: w0 holds {len(numbers)} readable numbers, expected {_W0} (calibration of all cameras)."
        )
    names = [(element.text or "").strip() for element in parts["dbcameras/index2id"]]
    if len(names) < len(CAMERA_NAMES):
        raise InputError(f"{path}: dbcameras/index2id names {len(names)} cameras, expected {len(CAMERA_NAMES)}.")
    cameras = {c: _file_name(names[c - 1], path, f"camera {c}") for c in CAMERA_NAMES}
    return Metadata(
        path, _read_mapping(parts["mapping"], path), cameras, numbers, _read_frame_counts(tree.find("frames"))
    )


def _file_name(name: str, path: Path, of: str) -> str:
    """The name, which is to be a part of a file's; InputError where no file can be called so, or where it leads to another folder."""
    if "/" in name or "\\" in name or len(os.fsencode(name)) > _LONGEST_NAME:
        shown = name if len(name) < 100 else f"{name[:100]}..."
        raise InputError(
            f"{path} calls {of} {shown!r}, which is no part of a file's name. Use metadata.xml of the official Human3.6M code."
        )
    return name


def _number(text: str) -> bool:
    """Whether it is a whole number that can be read: Python refuses thousands of digits."""
    return text.isdecimal() and len(text) < 10


def _read_mapping(mapping: ElementTree.Element, path: Path) -> dict[int, dict[tuple[int, int], str]]:
    rows = [[(cell.text or "").strip() for cell in row] for row in mapping]
    subjects = rows[0][2:] if rows else []
    known = {f"S{subject}" for subject in SUBJECTS}
    sequences: dict[int, dict[tuple[int, int], str]] = {}
    for row in rows[1:]:
        if len(row) < 3 or not (_number(row[0]) and _number(row[1])) or int(row[0]) not in ACTIONS:
            continue  # action 1 is _ALL; further rows are no sequences
        for subject, name in zip(subjects, row[2:], strict=False):
            if subject in known and name:
                key = int(row[0]), int(row[1])
                sequences.setdefault(int(subject[1:]), {})[key] = _file_name(name, path, f"a sequence of {subject}")
    if not sequences:
        raise InputError(f"{path}: mapping names no sequence of {', '.join(f'S{s}' for s in SUBJECTS)}.")
    return sequences


def _read_frame_counts(table: ElementTree.Element | None) -> dict[tuple[int, int, int], int]:
    """Frames of every sequence that the table knows, as the official getNumFrames computes them.

    Row s, column 2 action + subaction - 1 (both from 1) holds "[v1 v2 v3 v4 vicon]": the frames of the four videos at 50 Hz
    and those of the motion capture at 200 Hz.
    """
    counts = {}
    rows = [] if table is None else [list(row) for row in table]
    for subject in SUBJECTS:
        row = rows[subject - 1] if subject <= len(rows) else []
        for action, subaction in ((a, s) for a in ACTIONS for s in (1, 2)):
            column = 2 * action + subaction - 2
            texts = re.findall(r"\d+", row[column].text or "") if column < len(row) else []
            numbers = [text for text in texts if _number(text)]
            if len(numbers) == len(CAMERA_NAMES) + 1:
                *videos, vicon = map(int, numbers)
                counts[subject, action, subaction] = min(*videos, vicon // 4)
    return counts


class ReleasedHuman36m(Human36m):
    """See the module."""

    def __init__(self, root: Path, options: Human36mOptions, metadata: Path | None = None):
        self.metadata = read_metadata(Path(metadata) if metadata is not None else Path(root) / "metadata.xml")
        super().__init__(root, options)

    def available_subjects(self) -> list[int]:
        """As of the base; InputError where no subject has joints."""
        found = [s for s in SUBJECTS if (self.root / f"S{s}" / "MyPoseFeatures" / "D3_Positions").is_dir()]
        if not found:
            raise InputError(
                f"{self.root} has no S*/MyPoseFeatures/D3_Positions. Extract the poses (D3 positions) of the release "
                "there."
            )
        for subject in found:
            if not (self.root / f"S{subject}" / "Videos").is_dir():
                raise InputError(
                    f"{self.root / f'S{subject}' / 'Videos'} does not exist. Extract that subject's videos there."
                )
        return found

    def pose_file(self, subject: int, name: str) -> Path:
        return self.root / f"S{subject}" / "MyPoseFeatures" / "D3_Positions" / f"{name}.cdf"

    def annotation_files(self) -> list[Path]:
        files = [self.pose_file(s, name) for s in self.subjects for name in self.metadata.sequences.get(s, {}).values()]
        return [self.metadata.path, *sorted(path for path in files if path.exists())]

    def notices(self) -> list[str]:
        if self.metadata.frames:
            return []
        name = self.metadata.path.name
        return [f"{name} has no frames that can be read: the numbers of poses are not compared with the known ones."]

    def recordings(self, subject: int) -> Iterator[Recording | Reject | Skipped | Annotated]:
        """As of the base, from the CDF files and videos of a subject."""
        names = self.metadata.sequences.get(subject, {})
        if not any(self.pose_file(subject, name).exists() for name in names.values()):
            raise InputError(
                f"{self.root / f'S{subject}' / 'MyPoseFeatures' / 'D3_Positions'} holds none of the sequences that "
                f"{self.metadata.path} names for S{subject}. Extract that subject's poses again."
            )
        instants = views = 0
        for action, subaction in sorted(names, key=lambda key: sequence_name(subject, *key)):
            path = self.pose_file(subject, names[action, subaction])
            key = str(path.relative_to(self.root))
            if not os.path.exists(path):
                name = sequence_name(subject, action, subaction)
                yield Reject(key, "read", f"{name}: the pose file does not exist")
                continue
            reasons = {number: self.left_out(subject, action, subaction, number) for number in CAMERA_NAMES}
            yield from (reason for reason in reasons.values() if reason is not None)
            numbers = [number for number, reason in reasons.items() if reason is None]
            if not numbers:
                continue
            joints = read_poses(path)
            known = self.metadata.frames.get((subject, action, subaction))
            if known is not None and len(joints) != known:
                reason = f"the file has {len(joints)} poses, {self.metadata.path.name} counts {known} frames"
                yield Reject(key, "read", reason)
            joints = joints[:known]
            instants, views = instants + len(joints), views + len(joints) * len(numbers)
            yield self._recording(subject, action, subaction, names[action, subaction], joints, numbers)
        yield Annotated(f"S{subject}", instants, views)

    def _recording(
        self, subject: int, action: int, subaction: int, name: str, joints: np.ndarray, numbers: list[int]
    ) -> Recording:
        frames = list(range(0, len(joints), self.options.step(subject)))
        images: list[dict[int, ImageRecord]] = [{} for _ in frames]
        cameras = {}
        for number in numbers:
            video = f"S{subject}/Videos/{name}.{self.metadata.cameras[number]}.mp4"
            size, count, problem = _video_facts(self.root / video)
            cameras[number] = self._camera(subject, number, size)
            for k, frame in enumerate(frames):
                fault = problem
                if fault is None and frame >= count:
                    fault = f"the video has {count} frames, the poses {len(joints)}"
                images[k][number] = ImageRecord(frame_path(video, frame), size, problem=fault)
        return Recording(subject, action, subaction, frames, joints[frames], images, cameras, {})

    @cache  # noqa: B019 (the views of a camera share one record; a reader lives as long as the process)
    def _camera(self, subject: int, number: int, size: tuple[int, int]) -> Camera:
        return self.metadata.camera(subject, number, size)


def _video_facts(path: Path) -> tuple[tuple[int, int], int, str | None]:
    """(width, height), number of frames, and why the video cannot be used (None when it can)."""
    if not os.path.exists(path):
        return (0, 0), 0, MISSING_IMAGE
    try:
        reader = VideoReader(path)
    except InputError:
        return (0, 0), 0, "the video cannot be opened"
    reader.close()
    return (reader.width, reader.height), reader.frames, None


def _counted(*bounds: int) -> range:
    """`range`, of no more than a file of poses can have."""
    counted = range(*bounds)
    if len(counted) > MOST_ENTRIES:
        raise OSError(f"it announces {len(counted)} entries")
    return counted


# cdflib counts as far as a damaged file says, which may be 2^31: gigabytes, and minutes.
setattr(cdflib.cdfread, "range", _counted)  # noqa: B010 (the module has no such name)


def read_poses(path: Path) -> np.ndarray:
    """(N, 17, 3) metres, world, of a D3_Positions file."""
    try:
        file = cdflib.CDF(path)
        names = file.cdf_info().zVariables + file.cdf_info().rVariables
        poses = np.asarray(file.varget("Pose")) if "Pose" in names else None
    except Exception as error:  # cdflib believes what a damaged file says, and fails in any way
        raise InputError(
            f"{path} cannot be read as a CDF file ({type(error).__name__}: {error}). Fetch it again."
        ) from None
    if poses is None:
        raise InputError(
            f"{path} has no variable Pose (it has {', '.join(names) or 'none'}). Use the release's D3_Positions files."
        )
    # One record of (N, 96); some readers drop the record axis.
    if poses.ndim not in (2, 3) or poses.shape[-1] != 3 * JOINTS_RELEASED or (poses.ndim == 3 and len(poses) != 1):
        raise InputError(
            f"{path}: Pose has the shape {poses.shape}, expected (1, N, {3 * JOINTS_RELEASED}) of D3_Positions."
        )
    return poses.reshape(-1, JOINTS_RELEASED, 3)[:, BODY_17].astype(np.float64) / 1000
