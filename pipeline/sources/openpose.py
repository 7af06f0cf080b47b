"""OpenPose's output, or any 2D keypoints written like it: the way in for a user's own pictures.

    images/NAME.jpg                   or .jpeg, .png, .bmp, .webp
    keypoints/NAME_keypoints.json     BODY_25; hands and face where they are there
    camera.json                       optional: {"fx": , "fy": , "cx": , "cy": } in pixels, one camera for all pictures

One `Instant` is one person in one picture, id NAME/k for entry k of `people`. Names sort as strings, so number them
with leading zeros. All are of one split, "test" unless another is asked for: a folder of pictures is usually there to
be predicted on.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.camera import assumed_camera, tight_box
from pipeline.errors import InputError
from pipeline.images import image_size
from pipeline.records import Camera, Instant, Reject, View
from pipeline.skeletons import OPENPOSE_25, OPENPOSE_FACE, OPENPOSE_LEFT_HAND, OPENPOSE_RIGHT_HAND
from pipeline.sources.base import Annotated, Item, Source
from pipeline.sources.options import check_focal
from pipeline.sources.parsing import array, load_json, member, typed

_KEYPOINTS = re.compile(r"^(.+)_keypoints\.json$")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
# The pictures of one moment are too few to name a subject or an action; a person needs this many joints to be fitted.
LEAST_JOINTS = 4
# Further keypoints by OpenPose's key: how many it writes, the set they become and which of them the set holds.
EXTRAS = {
    "hand_left_keypoints_2d": (21, OPENPOSE_LEFT_HAND, slice(0, 21)),
    "hand_right_keypoints_2d": (21, OPENPOSE_RIGHT_HAND, slice(0, 21)),
    "face_keypoints_2d": (70, OPENPOSE_FACE, slice(17, 68)),
}


@dataclass(frozen=True)
class Options:
    """confidence: joints below it count as not seen. focal: pixels, where there is no camera.json. split: of all
    pictures."""

    confidence: float = 0.1
    focal: float | None = None
    split: Literal["train", "validation", "test"] = "test"

    def __post_init__(self) -> None:
        check_focal(self.focal)
        if not 0 <= self.confidence < 1:
            raise InputError(
                f"confidence is {self.confidence}; the least confidence of a joint is from 0 up to, not including, 1."
            )


class OpenPose(Source):
    """See the module."""

    name = "openpose"

    def __init__(self, root: Path, options: Options):
        super().__init__(root)
        self.options = options
        for folder in ("images", "keypoints"):
            if not (self.root / folder).is_dir():
                raise InputError(
                    f"{self.root} has no folder {folder}/. Give a folder with images/NAME.jpg and "
                    "keypoints/NAME_keypoints.json (docs/own-data.md makes one step by step)."
                )
        self.camera = _read_camera(self.root / "camera.json")
        self.names = sorted(m[1] for m in map(_KEYPOINTS.match, os.listdir(self.root / "keypoints")) if m)
        if not self.names:
            raise InputError(
                f"{self.root / 'keypoints'} has no file NAME_keypoints.json. Run OpenPose with --write_json."
            )
        self.images = self._find_images()

    def annotation_files(self) -> list[Path]:
        files = [self._path(name) for name in self.names]
        camera = self.root / "camera.json"
        return [camera, *files] if camera.exists() else files

    def _path(self, name: str) -> Path:
        return self.root / "keypoints" / f"{name}_keypoints.json"

    def _find_images(self) -> dict[str, str]:
        """NAME -> file name of its picture."""
        images: dict[str, str] = {}
        for file_name in sorted(os.listdir(self.root / "images")):
            name, suffix = os.path.splitext(file_name)
            if suffix.lower() in IMAGE_SUFFIXES:
                if name in images:
                    raise InputError(
                        f"{self.root / 'images'} has both {images[name]} and {file_name}; keypoints are matched by "
                        "name, so keep one."
                    )
                images[name] = file_name
        return images

    def parts(self) -> dict[str, Iterator[Item]]:
        return {self.name: self._items()}

    def _items(self) -> Iterator[Item]:
        n_people = 0
        for name in sorted(self.names, key=lambda name: f"{name}/"):
            people = self._people(name)
            n_people += len(people)
            yield Annotated("", n_people, n_people)
            if not people:
                continue
            try:
                camera = self._camera(name)
            except InputError as error:
                yield Reject(name, "read", str(error))
                continue
            for k, person in sorted(enumerate(people), key=lambda item: str(item[0])):
                yield self._instant(name, k, person, camera)

    def _people(self, name: str) -> list[dict]:
        path = self._path(name)
        return typed(member(load_json(path), "people", path), list, path, "people")

    def _camera(self, name: str) -> Camera:
        """The camera of a picture; InputError when the picture cannot be used."""
        if name not in self.images:
            raise InputError(f"images/{name}.*: the image does not exist")
        path = self.root / "images" / self.images[name]
        width, height, orientation = image_size(path)
        if orientation != 1:
            raise InputError(
                f"{path} is stored turned (orientation tag {orientation}); save it upright and run OpenPose on that."
            )
        if self.camera is None:
            return assumed_camera(width, height, self.options.focal)
        K = self.camera
        if not (0 < K[0, 2] < width and 0 < K[1, 2] < height):
            raise InputError(
                f"{path} has {width} x {height} pixels, but camera.json has its centre at {K[0, 2]}, {K[1, 2]}."
            )
        return Camera(K, np.eye(3), np.zeros(3), width, height)

    def _instant(self, name: str, k: int, person: dict, camera: Camera) -> Instant | Reject:
        path, where, key = self._path(name), f"people/{k}", f"{name}/{k}"
        joints = member(person, "pose_keypoints_2d", path, where)
        joints = _keypoints(joints, len(OPENPOSE_25), path, f"{where}/pose_keypoints_2d")
        if not np.isfinite(joints).all():
            return Reject(key, "read", "a keypoint is not finite")
        seen = joints[:, 2] > self.options.confidence
        if seen.sum() < LEAST_JOINTS:
            few = f"{seen.sum()} joints above confidence {self.options.confidence}, at least {LEAST_JOINTS} are needed"
            return Reject(key, "read", few)
        box = tight_box(joints[seen, :2], subtract=0)
        if not (box[2] > 0 and box[3] > 0):
            return Reject(key, "read", "the box has no area")
        view = View(
            id=f"{key}/0",
            camera_id="0",
            camera=camera,
            image_path=f"images/{self.images[name]}",
            box=box,
            joints_2d=np.where(seen[:, None], joints[:, :2], 0.0),
            confidence=np.where(seen, joints[:, 2].clip(0, 1), 0.0),
            keypoints_2d=self._extras(person, path, where),
        )
        return Instant(
            id=key,
            subject=None,
            action="",
            frame=0,
            joint_set=OPENPOSE_25.name,
            views=(view,),
            split=self.options.split,
        )

    def _extras(self, person: dict, path: Path, where: str) -> dict[str, np.ndarray]:
        """Hands and face that are there, (N, 3) x, y, confidence by joint-set name."""
        found = {}
        for key, (count, joint_set, part) in EXTRAS.items():
            if typed(person, dict, path, where).get(key):
                points = _keypoints(person[key], count, path, f"{where}/{key}")[part]
                seen = np.isfinite(points).all(1) & (points[:, 2] > self.options.confidence)
                points = np.where(seen[:, None], points, 0.0)
                if points.any():
                    found[joint_set.name] = points
        return found


def _keypoints(values: Any, count: int, path: Path, where: str) -> np.ndarray:
    """(count, 3) x, y, confidence."""
    return array(values, (3 * count,), path, where).reshape(count, 3)


def _read_camera(path: Path) -> np.ndarray | None:
    """(3, 3) K of camera.json, None without one."""
    if not path.exists():
        return None
    data = load_json(path)
    fx, fy, cx, cy = array([member(data, key, path) for key in ("fx", "fy", "cx", "cy")], (4,), path, "fx, fy, cx, cy")
    if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 0 and fy > 0):
        raise InputError(f"{path} has fx, fy, cx, cy = {fx}, {fy}, {cx}, {cy}; give pixels, the focal lengths above 0.")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def open_root(root: Path, options: Options) -> OpenPose:
    return OpenPose(root, options)
