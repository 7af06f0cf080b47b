"""One filmed sequence: a motion, an appearance, a room, four cameras. The unit of work that processes share.

Everything random comes from generators seeded by (capture seed, what, subject, action, subaction): the result does not depend on
which process makes it, or when.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from pipeline.camera import in_image, project, tight_box, world_to_camera
from pipeline.outputs import write_file
from pipeline.records import Camera
from pipeline.sources.synthetic import dressing, furniture, motion, people, render, repertoire, scenery, things
from pipeline.sources.synthetic.cameras import draw_cameras
from pipeline.sources.synthetic.light import Light
from pipeline.sources.synthetic.settings import (
    ACTIONS,
    CAMERAS,
    FIRST_ACTION_IDX,
    SPLIT_OF,
    SUBACTIONS,
    CaptureSettings,
)

# First number of a generator's seed after the capture's: what it draws.
_PERSON, _CAMERAS, _MOTION, _LOOK, _BANK, _PIXELS, _BOX, _SEAT = range(8)
THUMB_PX = 128


@dataclass(frozen=True)
class SequencePlan:
    """What to film. kept: how many frames are rendered, `stride` apart from frame 0."""

    subject: int
    action: str
    subaction: int
    kept: int
    stride: int

    @property
    def action_idx(self) -> int:
        return FIRST_ACTION_IDX + ACTIONS.index(self.action)

    @property
    def frames(self) -> int:
        """Length at 50 Hz."""
        return (self.kept - 1) * self.stride + 1

    def instant_id(self, frame: int) -> str:
        """The id that the reader of Human3.6M's annotations gives the instant."""
        return f"S{self.subject}/{self.action}-{self.subaction}/{frame:06d}"

    def image_name(self, camera: int, frame: int) -> str:
        """File name in the annotation layout; the number is one more than the frame's."""
        folder = f"s_{self.subject:02d}_act_{self.action_idx:02d}_subact_{self.subaction:02d}_ca_{camera:02d}"
        return f"{folder}/{folder}_{frame + 1:06d}.jpg"


@dataclass(frozen=True)
class ImageNote:
    """What the annotations say of one image. box: (4,) pixels. visible: (17,) bool."""

    camera: int
    frame: int
    box: np.ndarray
    visible: np.ndarray


@dataclass(frozen=True)
class SequenceResult:
    """joints_mm: (F, 17, 3) world millimetres, every frame. images: notes by camera, then frame. truth: arrays (kept, k) of SMPL-X's
    parameters by name. thumbs: (4, THUMB_PX, THUMB_PX, 3) crops of the first rendered moment."""

    joints_mm: np.ndarray
    images: list[ImageNote]
    truth: dict[str, np.ndarray]
    thumbs: np.ndarray


@dataclass(frozen=True)
class Studio:
    """What all sequences share, made once a process."""

    rig: people.Rig
    settings: CaptureSettings
    bank: repertoire.ArmBank
    tailor: dressing.Tailor
    persons: dict[int, people.Person] = field(default_factory=dict)
    cameras: dict[int, tuple[Camera, ...]] = field(default_factory=dict)


def open_studio(rig: people.Rig, settings: CaptureSettings) -> Studio:
    """Bodies and cameras of every subject, and tables of the template."""
    studio = Studio(
        rig,
        settings,
        repertoire.make_arm_bank(np.random.default_rng([settings.seed, _BANK])),
        dressing.open_tailor(rig, settings.looks),
    )
    studio.persons.update(
        people.make_people(rig, (settings.seed, _PERSON), settings.shape_spread, settings.shape_warp_m)
    )
    for subject in settings.subjects:
        generator = np.random.default_rng([settings.seed, _CAMERAS, subject])
        studio.cameras[subject] = draw_cameras(generator, settings.image_px, SPLIT_OF[subject] == "test")
    return studio


def plan_sequences(settings: CaptureSettings) -> list[SequencePlan]:
    """Share the instants out: over splits by their share, over a split's sequences evenly, at least one a subject."""
    plans = []
    for split, instants in settings.shares().items():
        slots = [
            (subject, action, subaction)
            for subaction in SUBACTIONS
            for action in settings.actions
            for subject in settings.subjects
            if SPLIT_OF[subject] == split
        ]
        base, extra = divmod(instants, len(slots))
        for k, (subject, action, subaction) in enumerate(slots):
            kept = base + (k < extra)
            if kept:
                plans.append(SequencePlan(subject, action, subaction, kept, settings.stride(subject)))
    order = list(SPLIT_OF)
    return sorted(plans, key=lambda p: (order.index(p.subject), p.action_idx, p.subaction))


def film(studio: Studio, plan: SequencePlan, images: Path) -> SequenceResult:
    """Make a sequence and write its images below the folder `images`."""
    settings, rig = studio.settings, studio.rig
    person, cameras = studio.persons[plan.subject], studio.cameras[plan.subject]
    split = SPLIT_OF[plan.subject]
    key = (plan.subject, plan.action_idx, plan.subaction)
    moving = motion.make_motion(
        rig,
        person,
        studio.bank,
        np.random.default_rng([settings.seed, _MOTION, *key]),
        plan.action,
        plan.frames,
        split == "test",
        settings.penetration_m,
    )
    joints_mm = (1000 * people.field_joints(rig, person, moving)).round(3)
    kept = np.arange(plan.kept) * plan.stride
    seen = [see(camera, joints_mm[kept] / 1000) for camera in cameras]
    look = _draw_look(
        studio,
        person,
        np.random.default_rng([settings.seed, _LOOK, *key]),
        split,
        cameras,
        [boxes for boxes, _ in seen],
    )
    pixels = np.random.default_rng([settings.seed, _PIXELS, *key])
    jitter = np.random.default_rng([settings.seed, _BOX, *key])
    thumbs = []
    for k, frame in enumerate(kept.tolist()):
        seat = _seat(studio, plan, moving, frame)
        stuff = [] if seat is None else [seat.mesh]
        scene, painter, _ = render.compose([*dressing.pose(rig, person, look.parts, moving, frame), *stuff])
        for number, camera, backdrop, (boxes, _) in zip(CAMERAS, cameras, look.backdrops, seen, strict=True):
            shown = scene if seat is None else render.with_outline(scene, things.outline(seat.thing, camera))
            image, _ = render.draw_view(shown, camera, painter, look.light, backdrop, settings.supersampling, pixels)
            write_image(images / plan.image_name(number, frame), image, settings.jpeg_quality - backdrop.sensor.coarse)
            if k == 0:
                thumbs.append(_thumb(image, boxes[0]))
    notes = [
        ImageNote(number, int(frame), disturb_box(boxes[k], settings, jitter), visible[k])
        for number, (boxes, visible) in zip(CAMERAS, seen, strict=True)
        for k, frame in enumerate(kept)
    ]
    return SequenceResult(joints_mm, notes, motion.parameters(moving, person, kept), np.stack(thumbs))


@dataclass(frozen=True)
class Seat:
    """thing: where it stands; mesh: how it looks."""

    thing: things.Thing
    mesh: render.Mesh


def _seat(studio: Studio, plan: SequencePlan, moving: people.Motion, frame: int) -> Seat | None:
    """What somebody sits on at one moment. The first choice is the same all through a sequence; where it does not fit, a stool or a
    box."""
    if not furniture.sits(moving.places[frame]):
        return None
    person, cameras = studio.persons[plan.subject], studio.cameras[plan.subject]
    rng = np.random.default_rng([studio.settings.seed, _SEAT, plan.subject, plan.action_idx, plan.subaction])
    texture = scenery.make_texture(rng, 64)
    naked = people.skin(studio.rig, person, person.rest, moving, frame)
    seat = furniture.draw_seat(rng, moving.places[frame], naked, (), (), cameras)
    return None if seat is None else Seat(seat, things.painted(seat, texture))


@dataclass(frozen=True)
class Look:
    parts: tuple[dressing.Part, ...]
    light: Light
    backdrops: list[scenery.Backdrop]


def _draw_look(
    studio: Studio,
    person: people.Person,
    rng: np.random.Generator,
    split: str,
    cameras: Sequence[Camera],
    boxes: list[np.ndarray],
) -> Look:
    """New clothes, light and room; per camera perhaps something that stands before the person. boxes: per camera (K, 4)."""
    settings = studio.settings
    parts = dressing.dress(studio.tailor, person, rng, settings.garment_m)
    setting = scenery.draw_setting(rng, settings.looks, settings.seed, split)
    backdrops = []
    for camera, of_camera in zip(cameras, boxes, strict=True):
        occluded = rng.random() < settings.occluder_rate
        before = of_camera[rng.integers(len(of_camera))] if occluded else None
        backdrops.append(scenery.draw_backdrop(setting, camera, rng, before, settings.looks))
    return Look(parts, setting.light, backdrops)


def see(camera: Camera, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K, 17, 3) world metres -> 3DMPPE's boxes (K, 4) pixels, and which joints lie in the image (K, 17)."""
    local = world_to_camera(camera, joints)
    pixels = project(camera, local)
    return tight_box(pixels, subtract=1), in_image(pixels, camera.width, camera.height) & (local[..., 2] > 0)


def disturb_box(box: np.ndarray, settings: CaptureSettings, rng: np.random.Generator) -> np.ndarray:
    """(4,) the box moved and scaled by the settings' share of its size."""
    shift, scale = (
        np.clip(rng.normal(size=2), -2, 2) * settings.box_shift * box[2:].max(),
        np.clip(rng.normal(), -2, 2) * settings.box_scale,
    )
    size = box[2:] * (1 + scale)
    return np.concatenate([box[:2] + shift - (size - box[2:]) / 2, size])


def write_image(path: Path, image: np.ndarray, quality: int) -> None:
    """Raises InputError where it cannot be written. It is not flushed, which would take a tenth of the time: the sequence's own file
    knows the sizes of its pictures."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, path
    write_file(path, data.tobytes(), flush=False)


def _thumb(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The square about a box, for the contact sheet; white beside the image."""
    scale = THUMB_PX / (1.15 * box[2:].max())
    centre = box[:2] + box[2:] / 2
    move = np.array([[scale, 0, THUMB_PX / 2 - scale * centre[0]], [0, scale, THUMB_PX / 2 - scale * centre[1]]])
    white = (255, 255, 255)
    return cv2.warpAffine(image, move, (THUMB_PX, THUMB_PX), flags=cv2.INTER_LINEAR, borderValue=white)
