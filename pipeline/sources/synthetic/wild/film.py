"""One picture of the wild capture and all that is known of it. Everything random comes from the capture's seed and its number."""

import functools
import itertools
from collections.abc import Collection
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.body.keypoints import KeypointMap, keypoint_map
from pipeline.body.model import BodyModel
from pipeline.camera import in_image, project, world_to_camera
from pipeline.records import Camera
from pipeline.skeletons import COCO, FIELD_JOINTS
from pipeline.sources.synthetic import dressing, furniture, motion, people, render, repertoire, scenery, things
from pipeline.sources.synthetic.wild import stage
from pipeline.sources.synthetic.wild.cameras import Subject, draw_camera
from pipeline.sources.synthetic.wild.clips import Clips, load_clips
from pipeline.sources.synthetic.wild.columns import BEHIND_ITSELF, HIDDEN, OUTSIDE, SEEN
from pipeline.sources.synthetic.wild.held import draw_held
from pipeline.sources.synthetic.wild.pose import draw_pose
from pipeline.sources.synthetic.wild.settings import TRAIN_PEOPLE_SHARE, WildSettings, split_of
from pipeline.sources.synthetic.wild.shutter import EXPOSURES, draw_motion

# First number of a generator's seed after the capture's: what it draws. Those of the other capture are below 10.
_POSE, _LOOK, _PIXELS, _PEOPLE, _BANK, _SHUTTER = 11, 12, 13, 14, 15, 16
# A joint lies at most so deep under the skin that its own ray meets first, metres.
_DEEP_M = 0.15
# People that a body that comes without any is given.
_SHAPES = 60
# How often a place is looked for, for somebody beside others, before the picture does without.
_TRIES = 6


@dataclass(frozen=True)
class WildStudio:
    """What all pictures share, made once a process. persons: in the order of their numbers, the first ones for training."""

    settings: WildSettings
    rig: people.Rig
    bank: repertoire.ArmBank
    clips: Clips | None
    tailor: dressing.Tailor
    persons: tuple[people.Person, ...]
    field: KeypointMap
    coco: KeypointMap


@dataclass(frozen=True)
class PersonNote:
    """What is known of a person in a picture. Camera axes, metres; pixels.

    number: of the body. joints: (17, 3) of FIELD_JOINTS. seen: (17,) OUTSIDE to SEEN. coco: (17, 2) pixels, coco_seen: (17,).
    box: (4,) about the pixels that show the person. pixels: how many. parameters: SMPL-X's in the world, by name. kind: of the pose.
    """

    number: int
    joints: np.ndarray
    seen: np.ndarray
    coco: np.ndarray
    coco_seen: np.ndarray
    box: np.ndarray
    pixels: int
    parameters: dict[str, np.ndarray]
    kind: str


@dataclass(frozen=True)
class Shot:
    """A picture. image: (H, W, 3) uint8 RGB. coarse: as the sensor's. people: those of whom at least a pixel is to be seen."""

    number: int
    image: np.ndarray
    camera: Camera
    coarse: int
    people: tuple[PersonNote, ...]


@dataclass(frozen=True)
class Dressed:
    """Everything that is there at the moment of the labels. scene, painter: of all of it. owners: (F,) the figure that each face is
    of; things count on after the figures.

    clothed, posed: each figure's parts and their meshes. stuff: the things' meshes, outline: (N, 3) points on them.
    """

    scene: render.Scene
    painter: render.Painter
    owners: np.ndarray
    clothed: list[tuple[dressing.Part, ...]]
    posed: list[list[render.Mesh]]
    stuff: list[render.Mesh]
    outline: np.ndarray


def open_studio(body: BodyModel, settings: WildSettings) -> WildStudio:
    rig = people.make_rig(body)
    return WildStudio(
        settings,
        rig,
        repertoire.make_arm_bank(np.random.default_rng([settings.seed, _BANK])),
        load_clips() if settings.variety.motion_capture else None,
        dressing.open_tailor(rig, settings.looks),
        _people(rig, settings),
        keypoint_map(body, FIELD_JOINTS),
        keypoint_map(body, COCO),
    )


def _people(rig: people.Rig, settings: WildSettings) -> tuple[people.Person, ...]:
    """The people that come with the free body, without those held out for the other capture, in an order drawn from the seed; for
    another body, random shapes."""
    rng = np.random.default_rng([settings.seed, _PEOPLE])
    if rig.people_betas is not None and rig.people_warps is not None and rig.warp_directions is not None:
        order = rng.permutation(np.flatnonzero(~people.held_out(len(rig.people_betas))))
        shapes = [(rig.people_betas[k], rig.warp_directions @ rig.people_warps[k]) for k in order]
    else:
        shapes = [people.random_shape(rig, rng, settings.shape_spread, settings.shape_warp_m) for _ in range(_SHAPES)]
    return tuple(people.shape_person(rig, *shape) for shape in shapes)


def film(studio: WildStudio, number: int) -> Shot:
    """Makes picture `number`."""
    settings, split = studio.settings, split_of(number)
    rng = np.random.default_rng([settings.seed, _POSE, number])
    figures, camera, around = _arrange(studio, rng, split)
    held = _hold(studio.settings, rng, figures, around, camera)
    look = np.random.default_rng([settings.seed, _LOOK, number])
    dressed = _dress(studio, look, figures, [*around, *held.values()], camera)
    shutter = np.random.default_rng([settings.seed, _SHUTTER, number])
    exposures = _exposures(studio, shutter, figures, dressed, camera, held)
    setting = _setting(studio, look, split, camera)
    backdrop = scenery.draw_backdrop(setting, camera, look, None, settings.looks)
    pixels = np.random.default_rng([settings.seed, _PIXELS, number])
    image, _ = render.draw_view(
        dressed.scene, camera, dressed.painter, setting.light, backdrop, settings.supersampling, pixels, exposures
    )
    shown = _who_is_where(dressed.scene, camera, dressed.owners)
    notes = [_note(studio, dressed.scene, camera, dressed.owners, shown, k, figure) for k, figure in enumerate(figures)]
    return Shot(number, image, camera, backdrop.sensor.coarse, tuple(note for note in notes if note is not None))


# --- what stands there -----------------------------------------------------------------------------------------------


def _arrange(
    studio: WildStudio, rng: np.random.Generator, split: str
) -> tuple[list[stage.Figure], Camera, list[things.Thing]]:
    """One to four people, the camera, seats and perhaps a thing before the first person."""
    settings, held_out = studio.settings, round(TRAIN_PEOPLE_SHARE * len(studio.persons))
    variety = settings.variety
    bodies = range(held_out) if split == "train" else range(held_out, len(studio.persons))
    count = 1 + int(rng.choice(len(stage.CROWDS), p=stage.CROWDS)) * variety.occluders
    chosen = rng.choice(list(bodies), size=count, replace=False).tolist()
    azimuth = rng.uniform(0, 2 * np.pi)
    draw = functools.partial(_draw_figure, studio, rng, azimuth)
    figures = [draw(chosen[0], None)]
    subject = stage.subject_of(figures[0])

    def may_see(camera: Camera, figure: stage.Figure) -> bool:
        return variety.cuts or stage.wholly_in(figure, camera)

    cameras = (draw_camera(rng, subject, azimuth, settings.image_px, not variety.roll) for _ in itertools.count())
    camera = next(camera for camera in cameras if may_see(camera, figures[0]))
    for number in chosen[1:]:
        tried = (draw(number, camera) for _ in range(_TRIES))
        good = (f for f in tried if stage.fits_in(f, figures, camera) and may_see(camera, f))
        figures += itertools.islice(good, 1)
    return figures, camera, _things(settings, rng, figures, camera, subject)


def _draw_figure(
    studio: WildStudio, rng: np.random.Generator, azimuth: float, number: int, camera: Camera | None
) -> stage.Figure:
    """A person in a pose: the first one at the origin, others beside it where the camera may see them."""
    person = studio.persons[number]
    pose = draw_pose(rng, studio.rig, person, studio.bank, studio.clips, studio.settings.penetration_m)
    spot = np.zeros(2) if camera is None else stage.draw_spot(rng, azimuth, camera)
    return stage.stand(studio.rig, number, person, pose, stage.draw_heading(rng, azimuth), spot)


def _things(
    settings: WildSettings, rng: np.random.Generator, figures: list[stage.Figure], camera: Camera, subject: Subject
) -> list[things.Thing]:
    found: list[things.Thing] = []
    skins = [figure.naked for figure in figures]
    for k, figure in enumerate(figures):
        others = skins[:k] + skins[k + 1 :]
        found += _one(furniture.draw_seat(rng, figure.motion.places[0], figure.naked, others, found, [camera]))
    if rng.random() < settings.occluder_rate * settings.variety.occluders:
        tried = (furniture.draw_occluder(rng, subject.centre, camera) for _ in range(5))
        free = (thing for thing in tried if furniture.free_of(thing, skins, found, [camera]))
        good = (thing for thing in free if furniture.leaves_in_sight(thing, skins[0], camera))
        found += _one(next(good, None))
    return found


def _hold(
    settings: WildSettings,
    rng: np.random.Generator,
    figures: list[stage.Figure],
    around: list[things.Thing],
    camera: Camera,
) -> dict[int, things.Thing]:
    """What some of the figures, by their place in the list, hold in a hand."""
    found: dict[int, things.Thing] = {}
    if settings.variety.occluders:
        for k, figure in enumerate(figures):
            thing = draw_held(rng, figure, figures, [*around, *found.values()], camera)
            if thing is not None:
                found[k] = thing
    return found


def _one(thing: things.Thing | None) -> list[things.Thing]:
    return [] if thing is None else [thing]


def _setting(studio: WildStudio, rng: np.random.Generator, split: str, camera: Camera) -> scenery.Setting:
    """A place or a room of the split's own; a room is made as large as it must be to hold the camera, or larger."""
    setting = scenery.draw_setting(rng, studio.settings.looks, studio.settings.seed, split)
    if setting.room is None:
        return setting
    eye = -camera.R.T @ camera.t
    half = np.maximum(np.abs(eye[:2]) + 0.4, rng.uniform(3.0, 9.0, 2))
    room = replace(setting.room, half=half, height=max(rng.uniform(2.4, 4.5), eye[2] + 0.2))
    return replace(setting, room=room)


def _dress(
    studio: WildStudio,
    rng: np.random.Generator,
    figures: list[stage.Figure],
    around: list[things.Thing],
    camera: Camera,
) -> Dressed:
    clothed = [dressing.dress(studio.tailor, figure.person, rng, studio.settings.garment_m) for figure in figures]
    posed = [
        dressing.pose(studio.rig, figure.person, parts, figure.motion, 0)
        for figure, parts in zip(figures, clothed, strict=True)
    ]
    stuff = [things.painted(thing, scenery.make_texture(rng, 64)) for thing in around]
    groups = [*posed, *([mesh] for mesh in stuff)]
    scene, painter, owners = render.compose([mesh for group in groups for mesh in group])
    of_mesh = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    shape = np.concatenate([np.empty((0, 3)), *(things.outline(thing, camera) for thing in around)])
    return Dressed(render.with_outline(scene, shape), painter, of_mesh[owners], clothed, posed, stuff, shape)


def _exposures(
    studio: WildStudio,
    rng: np.random.Generator,
    figures: list[stage.Figure],
    dressed: Dressed,
    camera: Camera,
    holding: Collection[int],
) -> list[render.Scene]:
    """What the camera sees while its shutter is open, where somebody moves; nothing where nobody does. Who holds something keeps
    still."""
    settings = studio.settings
    if not settings.looks.camera_effects or settings.supersampling**2 < EXPOSURES:
        return []
    drawn = [draw_motion(rng, studio.rig, figure, camera) for figure in figures]
    moving = [None if k in holding else motion for k, motion in enumerate(drawn)]
    if all(motion is None for motion in moving):
        return []
    scenes = []
    for k in range(EXPOSURES):
        posed = [
            still if motion is None else dressing.pose(studio.rig, figure.person, parts, motion, k)
            for figure, parts, still, motion in zip(figures, dressed.clothed, dressed.posed, moving, strict=True)
        ]
        scene, _, _ = render.compose([*(mesh for meshes in posed for mesh in meshes), *dressed.stuff])
        scenes.append(render.with_outline(scene, dressed.outline))
    return scenes


# --- what is known of it ---------------------------------------------------------------------------------------------


def _who_is_where(scene: render.Scene, camera: Camera, owners: np.ndarray) -> np.ndarray:
    """(H, W) int16: which figure or thing each pixel's middle shows, -1 for none."""
    shown = np.full((camera.height, camera.width), -1, np.int16)
    pixels = render.candidate_pixels(scene, camera)
    if len(pixels):
        found = _cast(scene, camera, pixels.astype(float))["primID"]
        shown[pixels[:, 1], pixels[:, 0]] = np.where(found >= 0, owners[found], -1)
    return shown


def _cast(scene: render.Scene, camera: Camera, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What rays of unit length through pixels (M, 2) meet first: embree's answer."""
    plane = (pixels - camera.K[:2, 2]) / [camera.K[0, 0], camera.K[1, 1]]
    directions = render.unit(plane @ camera.R[:2] + camera.R[2]).astype(np.float32)
    origins = np.tile((-camera.R.T @ camera.t).astype(np.float32), (len(pixels), 1))
    return scene.rays.run(origins, directions, output=1)


def _note(
    studio: WildStudio,
    scene: render.Scene,
    camera: Camera,
    owners: np.ndarray,
    shown: np.ndarray,
    k: int,
    figure: stage.Figure,
) -> PersonNote | None:
    """None for who is not to be seen at all."""
    rows, columns = np.nonzero(shown == k)
    if not len(rows):
        return None
    points = [
        world_to_camera(camera, mapped(figure.motion.places[0], figure.naked)) for mapped in (studio.field, studio.coco)
    ]
    seen = [_seen(scene, camera, owners, k, joints) for joints in points]
    box = np.array([columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1], float)
    parameters = {
        name: values[0] for name, values in motion.parameters(figure.motion, figure.person, np.array([0])).items()
    }
    return PersonNote(
        figure.number,
        points[0],
        seen[0],
        project(camera, points[1]),
        seen[1],
        box,
        len(rows),
        parameters,
        figure.pose.kind,
    )


def _seen(scene: render.Scene, camera: Camera, owners: np.ndarray, k: int, joints: np.ndarray) -> np.ndarray:
    """(J,) OUTSIDE to SEEN of the joints (J, 3) of figure k, camera axes."""
    pixels = project(camera, joints)
    inside = in_image(pixels, camera.width, camera.height) & (joints[:, 2] > 0.1)
    codes = np.full(len(joints), OUTSIDE, np.uint8)
    if inside.any():
        found = _cast(scene, camera, pixels[inside])
        short = np.linalg.norm(joints[inside], axis=1) - found["tfar"]  # how far before the joint the ray ends
        hit = found["primID"] >= 0
        own = hit & (owners[found["primID"]] == k)
        codes[inside] = np.where(
            hit & ~own & (short > 0), HIDDEN, np.where(own & (short > _DEEP_M), BEHIND_ITSELF, SEEN)
        )
    return codes


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()
