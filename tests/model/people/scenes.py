"""People who stand before a camera, with known bodies."""

import numpy as np

from model.people.records import Person, Picture, PicturePeople
from model.people.shown import Shown
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel
from pipeline.camera import assumed_camera, project
from pipeline.records import PARAMETER_SIZES, BodyParameters, Camera
from pipeline.skeletons import FIELD_JOINTS

WIDTH, HEIGHT = 320, 240


def standing(seed: int, x: float = 0.0, depth: float = 3.0) -> BodyParameters:
    """Upright before a camera, in some pose."""
    rng = np.random.default_rng(seed)
    values = {name: np.zeros(size, np.float32) for name, size in PARAMETER_SIZES.items()}
    values["body_pose"] = rng.normal(0, 0.25, 63).astype(np.float32)
    values["betas"] = rng.normal(0, 0.5, 10).astype(np.float32)
    values["global_orient"] = np.array([np.pi * 0.95, 0.1, 0.2 * seed], np.float32)
    values["transl"] = np.array([x, 0.3, depth], np.float32)
    return BodyParameters(**values)


def person(body: BodyModel, parameters: BodyParameters, camera: Camera, track: int | None = None) -> Person:
    vertices, joints = body.mesh(parameters)
    points = keypoint_map(body, FIELD_JOINTS)(joints, vertices).astype(float)
    flat, root = project(camera, points), points[FIELD_JOINTS.root_index]
    low, high = flat.min(0) - 5, flat.max(0) + 5
    sure = np.full(len(points), 0.9)
    return Person(
        box=np.concatenate([low, high - low]),
        score=0.9,
        box_source="detector",
        joints=points - root,
        root=root,
        joints_2d=flat,
        confidence=sure,
        visible=sure > 0,
        presence=0.99,
        track=track,
        body=parameters,
        spread=0.03 * sure,
    )


def shown(
    body: BodyModel,
    parameters: list[BodyParameters],
    name: str = "street.jpg",
    frame: int | None = None,
    tracks: list[int] | None = None,
    fps: float = 20.0,
) -> Shown:
    """A grey picture with these people in it."""
    camera = assumed_camera(WIDTH, HEIGHT)
    time_s = None if frame is None else frame / fps
    picture = Picture(name, np.full((HEIGHT, WIDTH, 3), 90, np.uint8), camera, frame, time_s)
    people = tuple(
        person(body, one, camera, track)
        for one, track in zip(parameters, tracks or [None] * len(parameters), strict=True)
    )
    source = name.split(".")[0]
    stem = source if frame is None else f"{source}.frame{frame:06d}"
    return Shown(
        picture, PicturePeople(name, WIDTH, HEIGHT, camera, people, frame, time_s), stem, source, FIELD_JOINTS, body
    )
