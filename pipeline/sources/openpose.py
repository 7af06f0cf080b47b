"""OpenPose's output, or any 2D keypoints written like it: the way in for a user's own pictures.

    images/NAME.jpg                   or .jpeg, .png, .webp, .bmp, .tif, .tiff, .gif; or one video beside keypoints/, whose
                                      frame is the last number of NAME
    keypoints/NAME_keypoints.json     BODY_25, or another layout; hands and face where they are there
    camera.json                       optional: {"fx": , "fy": , "cx": , "cy": } in pixels, one camera for all pictures

One `Instant` is one person in one picture, id NAME/k for entry k of `people`. Names sort as strings, so number them
with leading zeros. All are of one split, "test" unless another is asked for: a folder of pictures is usually there to
be predicted on.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.camera import assumed_camera, from_opencv, tight_box
from pipeline.errors import InputError
from pipeline.image_header import Header
from pipeline.images import MIRRORED, SIDEWAYS, VideoReader, frame_path, image_size, turn_points, upright_path
from pipeline.plausible import odd_lens
from pipeline.plausible_people import LEAST_JOINTS, odd_people
from pipeline.records import Camera, Instant, Reject, View
from pipeline.sources.base import MISSING_IMAGE, Annotated, Implausible, Item, Source
from pipeline.sources.doubts import (
    doubt_border,
    doubt_confidence,
    doubt_frozen,
    doubt_hands,
    doubt_order,
    doubt_percent,
    doubt_sides,
    doubt_twice,
    doubt_upright,
)
from pipeline.sources.joint_names import LAYOUTS, Layout, odd_order, place
from pipeline.sources.keypoint_files import FoundPerson, read_people
from pipeline.sources.options import check_focal
from pipeline.sources.parsing import array, load_json, member

_KEYPOINTS = re.compile(r"^(.+)_keypoints\.json$")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
_NUMBER = re.compile(r"(\d+)\D*$")
# So many digits a number in a name may have: it is stored in 64 bits.
DIGITS = 18
CAMERA_KEYS, LENS_KEYS = ("fx", "fy", "cx", "cy"), ("k1", "k2", "p1", "p2", "k3")
# A lens whose distortion cannot be told this well is refused.
MOST_APART_PX = 0.5


@dataclass(frozen=True)
class Options:
    """confidence: joints below it count as not seen. layout: the joints of `pose_keypoints_2d` and their order. focal: pixels,
    where there is no camera.json. orientation: of pictures that carry an orientation flag, "upright" where the keypoints are
    of the picture as viewers show it, "stored" where they are of the pixels as they lie in the file, "refuse" to leave such
    pictures out. split: of all pictures."""

    confidence: float = 0.1
    layout: Layout = "body25"
    focal: float | None = None
    orientation: Literal["upright", "stored", "refuse"] = "upright"
    split: Literal["train", "validation", "test"] = "test"

    def __post_init__(self) -> None:
        check_focal(self.focal)
        if not 0 <= self.confidence < 1:
            raise InputError(
                f"confidence is {self.confidence}; the least confidence of a joint is from 0 up to, not including, 1."
            )


class Film:
    """A video whose frames keypoint files number. Raises InputError when it cannot be opened."""

    def __init__(self, path: Path):
        self.path, reader = path, VideoReader(path)
        self.frames = reader.frames
        turned = reader.orientation in SIDEWAYS
        stored = (reader.height, reader.width) if turned else (reader.width, reader.height)
        self.header = Header(*stored, reader.orientation)
        reader.close()

    def picture(self, name: str) -> str:
        """Path of the frame that a NAME means. InputError where there is none."""
        number = frame_number(name)
        if number is None:
            raise InputError(f"{name} has no number of a frame of {self.path}")
        if number >= self.frames:
            raise InputError(
                f"{self.path}: the video has {self.frames} frames, the keypoints go to {number}; are their frames numbered from 0?"
            )
        return frame_path(self.path.name, number)


def frame_number(name: str) -> int | None:
    """The last number in a name, a time in microseconds, too; None where a shard could not store it."""
    found = _NUMBER.search(name)
    return int(found[1]) if found and len(found[1]) <= DIGITS else None


@dataclass(frozen=True)
class Picture:
    """A picture and how its keypoints get there. path: of its view. camera: of the upright picture. turned: the stored size and
    orientation by which keypoints are turned, None where they are of the picture already."""

    path: str
    camera: Camera
    turned: tuple[int, int, int] | None = None

    def placed(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) x, y, confidence as a file has them -> in the picture."""
        if self.turned is None:
            return points
        width, height, orientation = self.turned
        xy = turn_points(points[:, :2], orientation, width, height)
        return np.where(points[:, 2:] > 0, np.c_[xy, points[:, 2]], 0.0)


class OpenPose(Source):
    """See the module."""

    name = "openpose"

    def __init__(self, root: Path, options: Options):
        super().__init__(root)
        self.options = options
        videos = sorted(path.name for path in self.root.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
        self.video = videos[0] if len(videos) == 1 and not (self.root / "images").is_dir() else None
        for folder in ("keypoints",) if self.video else ("images", "keypoints"):
            if not (self.root / folder).is_dir():
                many = f", and {len(videos)} videos: {', '.join(videos[:4])}" if len(videos) > 1 else ""
                raise InputError(
                    f"{self.root} has no folder {folder}/{many}. Give a folder with images/NAME.jpg (or one video in its place) "
                    "and keypoints/NAME_keypoints.json (docs/own-data.md makes one step by step)."
                )
        self.lens = read_lens(self.root / "camera.json")
        self.names = sorted(
            (m[1] for m in map(_KEYPOINTS.match, os.listdir(self.root / "keypoints")) if m), key=lambda name: f"{name}/"
        )
        if not self.names:
            raise InputError(
                f"{self.root / 'keypoints'} has no file NAME_keypoints.json. Run OpenPose with --write_json."
            )
        self.images = {} if self.video else find_images(self.root / "images")
        self.frames = Film(self.root / self.video) if self.video else None
        self.placing = place(LAYOUTS[options.layout], options.layout)

    def annotation_files(self) -> list[Path]:
        files = [self._path(name) for name in self.names]
        camera = self.root / "camera.json"
        return [camera, *files] if camera.exists() else files

    def _path(self, name: str) -> Path:
        return self.root / "keypoints" / f"{name}_keypoints.json"

    def film_of(self, instant: Instant) -> tuple[str, int] | None:
        """By the last number of the picture's name; each person's place in the file is a film of its own."""
        name, _, person = instant.id.rpartition("/")
        number, found = frame_number(name), _NUMBER.search(name)
        return None if number is None or found is None else (f"{name[: found.start()]}#/{person}", number)

    def parts(self) -> dict[str, Iterator[Item]]:
        return {self.name: self._items()}

    def _items(self) -> Iterator[Item]:
        """Everything is read before the first person: only all together tell of another layout or resolution."""
        found = {n: read_people(self._path(n), self.options.layout, self.options.confidence) for n in self.names}
        count = sum(map(len, found.values()))
        yield Annotated("", count, count)
        pictures, left_out = self._open_pictures([name for name, people in found.items() if people])
        people = {
            f"{name}/{k}": (pictures[name], _placed(person, pictures[name]))
            for name in self.names
            for k, person in sorted(enumerate(found[name]), key=lambda item: str(item[0]))
            if name in pictures
        }
        yield from left_out
        reasons = self._odd([picture for picture, _ in people.values()], [person for _, person in people.values()])
        everyone, names = _stacked([person for _, person in people.values()]), LAYOUTS[self.options.layout]
        yield from (
            *doubt_sides(everyone, names, detected=True),
            *doubt_upright(everyone, names),
            *doubt_confidence(everyone),
        )
        yield from (*doubt_order(everyone, names), *doubt_hands([person for _, person in people.values()], names))
        sizes = np.array([(p.camera.width, p.camera.height) for p, _ in people.values()]).reshape(-1, 2)
        yield from (*doubt_border(everyone, sizes), *doubt_percent(everyone, sizes))
        if self.video:
            frames = {
                (self.video, frame_number(name) or 0): [person.body for person in found[name]] for name in self.names
            }
            yield from doubt_frozen(frames)
        yield from doubt_twice(
            (picture.path, body) for (picture, _), body in zip(people.values(), everyone, strict=True)
        )
        for (key, (picture, person)), odd in zip(people.items(), reasons, strict=True):
            for text in person.left_out:
                yield Reject(key, "read", f"{text} The person is kept without it")
            yield self._instant(key, picture, person, odd)

    def _open_pictures(self, names: list[str]) -> tuple[dict[str, Picture], list[Reject]]:
        pictures, left_out = {}, []
        for name in names:
            try:
                pictures[name] = self._picture(name)
            except InputError as error:
                left_out.append(Reject(name, "read", str(error)))
        return pictures, left_out

    def _odd(self, pictures: list[Picture], people: list[FoundPerson]) -> list[str | None]:
        """What is wrong with each person, seen among all."""
        if not people:
            return []
        everyone = _stacked(people)
        order = odd_order(everyone, self.options.layout)
        if order is not None:
            return [order] * len(people)
        index = {path: k for k, path in enumerate(dict.fromkeys(picture.path for picture in pictures))}
        sizes = {index[picture.path]: (picture.camera.width, picture.camera.height) for picture in pictures}
        picture = np.array([index[picture.path] for picture in pictures])
        return odd_people(
            everyone[..., :2], everyone[..., 2] > 0, picture, np.array([sizes[k] for k in range(len(sizes))])
        )

    def _picture(self, name: str) -> Picture:
        """InputError when the picture cannot be used."""
        if self.frames is not None:  # whose frames are upright, however they are stored
            shown = self.frames.picture(name)
            return self._turned(self.frames.path, shown, shown, self.frames.header)
        if name not in self.images:
            raise InputError(f"images/{name}.*: {MISSING_IMAGE}")
        path = self.root / "images" / self.images[name]
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(f"{path} is of a kind that is not read; save it as JPEG or PNG")
        image_path = f"images/{self.images[name]}"
        return self._turned(path, image_path, upright_path(image_path), image_size(path))

    def _turned(self, path: Path, stored: str, upright: str, header: Header) -> Picture:
        """The picture of a file with this header, as the option orientation wants it. stored, upright: what its view calls it."""
        orientation = header.orientation
        if orientation == 1:
            return Picture(stored, self._camera(path, header.width, header.height))
        if self.options.orientation == "refuse":
            raise InputError(f"{path} is stored turned (orientation flag {orientation}); save it upright")
        as_stored = self.options.orientation == "stored"
        if as_stored and orientation in MIRRORED:
            raise InputError(f"{path} is stored mirrored (orientation flag {orientation}); save it upright")
        size = (header.height, header.width) if orientation in SIDEWAYS else (header.width, header.height)
        turned = (header.width, header.height, orientation) if as_stored else None
        return Picture(upright, self._camera(path, *size), turned)

    def _camera(self, path: Path, width: int, height: int) -> Camera:
        if self.lens is None:
            return assumed_camera(width, height, self.options.focal)
        K, coefficients = self.lens
        if not (0 < K[0, 2] < width and 0 < K[1, 2] < height):
            raise InputError(
                f"{path} has {width} x {height} pixels, but camera.json has its centre at {K[0, 2]}, {K[1, 2]}."
            )
        distortion, apart = from_opencv(coefficients, K, width, height)
        if apart > MOST_APART_PX:
            raise InputError(
                f"{self.root / 'camera.json'}: its distortion is off by {apart:.1f} pixels in the model used here; undistort "
                "the pictures first"
            )
        camera = Camera(K, np.eye(3), np.zeros(3), width, height, distortion)
        if problem := odd_lens(camera):
            raise InputError(
                f"{self.root / 'camera.json'}: {problem}; calibrate again, or undistort the pictures first"
            )
        return camera

    def _instant(
        self, key: str, picture: Picture, person: FoundPerson, odd: str | None
    ) -> Instant | Reject | Implausible:
        joints = self.placing(person.body)
        seen = joints[:, 2] > 0
        problem = person.problem
        if problem is None and seen.sum() < LEAST_JOINTS:
            limit = self.options.confidence
            problem = f"{seen.sum()} joints above confidence {limit}, at least {LEAST_JOINTS} are needed"
        if problem is not None:
            return Reject(key, "read", problem)
        box = tight_box(joints[seen, :2], subtract=0)
        if not (box[2] > 0 and box[3] > 0):
            return Reject(key, "read", odd or "the box has no area")
        view = View(
            id=f"{key}/0",
            camera_id="0",
            camera=picture.camera,
            image_path=picture.path,
            box=box,
            joints_2d=joints[:, :2],
            confidence=joints[:, 2].clip(0, 1),
            keypoints_2d=person.extras,
        )
        instant = Instant(
            id=key,
            subject=None,
            action="",
            frame=0 if self.frames is None else frame_number(key.rpartition("/")[0]) or 0,
            joint_set=self.placing.joint_set.name,
            views=(view,),
            split=self.options.split,
        )
        return instant if odd is None else Implausible(Reject(key, "read", odd), instant)


def _placed(person: FoundPerson, picture: Picture) -> FoundPerson:
    extras = {name: picture.placed(points) for name, points in person.extras.items()}
    return replace(person, body=picture.placed(person.body), extras=extras)


def _stacked(people: list[FoundPerson]) -> np.ndarray:
    """(P, N, 3), zeros where a file has fewer joints than others."""
    stacked = np.zeros((len(people), max((len(person.body) for person in people), default=1), 3))
    for row, person in zip(stacked, people, strict=True):
        row[: len(person.body)] = person.body
    return stacked


def find_images(folder: Path) -> dict[str, str]:
    """NAME -> file name of its picture. A file of a kind that is not read is taken where there is no other."""
    images: dict[str, str] = {}
    for file_name in sorted(os.listdir(folder)):
        name, suffix = os.path.splitext(file_name)
        known = name in images and os.path.splitext(images[name])[1].lower() in IMAGE_SUFFIXES
        if suffix.lower() in IMAGE_SUFFIXES and known:
            raise InputError(
                f"{folder} has both {images[name]} and {file_name}; keypoints are matched by name, so keep one."
            )
        if suffix.lower() in IMAGE_SUFFIXES or name not in images:
            images[name] = file_name
    return images


def read_lens(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """(3, 3) K of camera.json and OpenCV's k1 k2 p1 p2 k3, zeros where it has none; None without the file."""
    if not path.exists():
        return None
    data = load_json(path)
    unknown = [key for key in data if key not in CAMERA_KEYS + LENS_KEYS]
    if unknown:
        raise InputError(
            f"{path} has {', '.join(unknown)}, which is not read; it holds {', '.join(CAMERA_KEYS)} and, where the lens "
            f"distorts, OpenCV's {', '.join(LENS_KEYS)}."
        )
    fx, fy, cx, cy = array([member(data, key, path) for key in CAMERA_KEYS], (4,), path, "fx, fy, cx, cy")
    coefficients = array([data.get(key, 0) for key in LENS_KEYS], (5,), path, ", ".join(LENS_KEYS))
    if not (np.isfinite([fx, fy, cx, cy, *coefficients]).all() and fx > 0 and fy > 0):
        raise InputError(f"{path} has fx, fy, cx, cy = {fx}, {fy}, {cx}, {cy}; give pixels, the focal lengths above 0.")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), coefficients


def open_root(root: Path, options: Options) -> OpenPose:
    return OpenPose(root, options)
