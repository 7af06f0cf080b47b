"""A real person before four calibrated cameras: the single-person demo of PyPI's pose2sim (BSD-3-Clause), read from its wheel.

The wheel is never installed: that would bring OpenSim and Qt. Nothing of it is kept in this repository.
"""

import hashlib
import xml.etree.ElementTree as ET
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from pipeline.camera import from_opencv
from pipeline.errors import InputError
from pipeline.images import frame_path
from pipeline.outputs import make_folder, write_file
from pipeline.records import Camera, Instant, View

VERSION = "0.10.49"
SHA256 = "403e0dc4065898ba6a595e72a8970950310979253d60e24c2e00b16b36bf21e1"
HOW = f"pip download --no-deps pose2sim=={VERSION} -d DIR"
INSIDE = "Pose2Sim/Demo_SinglePerson/"
CALIBRATION = "calibration/Calib.qca.txt"
VIDEOS = tuple(f"videos/cam0{k}.mp4" for k in range(1, 5))
FRAMES, EVERY = 100, 4
# Where the person stands in the first frame of each video: left, top, right, bottom, px.
FIRST_BOXES = ((61, 415, 776, 1194), (137, 476, 760, 1115), (253, 416, 730, 1240), (221, 543, 1033, 1256))
# The calibration counts in 64ths of a pixel, and in millimetres.
SUBPIXELS, MILLIMETRES = 64, 1000


def unpack(wheel: Path, folder: Path) -> None:
    """The demo's videos and calibration in `folder`. Raises InputError when the file is not the known version's wheel."""
    try:
        data = wheel.read_bytes()
    except OSError as error:
        raise InputError(f"{wheel} cannot be read ({error.strerror}). Fetch it: {HOW}.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise InputError(
            f"{wheel} is not the wheel of pose2sim {VERSION} (its sha256 is {found[:12]}..., not {SHA256[:12]}...). "
            f"Fetch that: {HOW}."
        )
    with ZipFile(wheel) as archive:
        for name in (CALIBRATION, *VIDEOS):
            make_folder((folder / name).parent)
            write_file(folder / name, archive.read(INSIDE + name))


def cameras(calibration: Path) -> list[Camera]:
    """The cameras of a file of Qualisys' kind. Their axes there are x right, y up, z backwards."""
    found = []
    for node in ET.parse(calibration).getroot().iter("camera"):
        place, lens, video = (
            {key: float(value) for key, value in part.attrib.items()}
            for part in (node.find("transform"), node.find("intrinsic"), node.find("fov_video"))
        )
        rows = [[place[f"r{a}{b}"] for b in (1, 2, 3)] for a in (1, 2, 3)]
        R = np.diag([1.0, -1.0, -1.0]) @ np.array(rows)
        t = -R @ np.array([place[axis] for axis in "xyz"]) / MILLIMETRES
        K = np.eye(3)
        K[[0, 1], [0, 1]] = lens["focalLengthU"] / SUBPIXELS, lens["focalLengthV"] / SUBPIXELS
        K[:2, 2] = lens["centerPointU"] / SUBPIXELS, lens["centerPointV"] / SUBPIXELS
        width, height = int(video["right"]) + 1, int(video["bottom"]) + 1
        radial = [lens["radialDistortion1"], lens["radialDistortion2"]]
        opencv = np.array([*radial, lens["tangentalDistortion1"], lens["tangentalDistortion2"], 0.0])
        found.append(Camera(K, R, t, width, height, from_opencv(opencv, K, width, height)[0]))
    return found


def instants(folder: Path) -> list[Instant]:
    """Every EVERY-th moment of the unpacked demo. Only the first one's views have a box; the others' are not finite."""
    rig = cameras(folder / CALIBRATION)
    found = []
    for frame in range(0, FRAMES, EVERY):
        views = []
        for camera, video, (left, top, right, bottom) in zip(rig, VIDEOS, FIRST_BOXES, strict=True):
            name = Path(video).stem
            box = np.array([left, top, right - left, bottom - top], float) if frame == 0 else np.full(4, np.nan)
            views.append(
                View(
                    f"{frame:03d}/{name}", name, camera, frame_path(video, frame), box, np.zeros((17, 2)), np.zeros(17)
                )
            )
        found.append(Instant(f"{frame:03d}", None, "demo", frame, "coco_17", tuple(views), has_world=True))
    return found
