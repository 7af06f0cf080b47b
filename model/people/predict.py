"""Pictures in, people out: boxes are found or given, their crops go through a network in batches, and every picture gets its people.

Pictures come one after the other and leave in the same order; they are read and looked at while those before them go through the
network, and only as many are held as a few batches of crops need.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from model.networks.network import Network
from model.networks.test_time import predict_augmented
from model.people.ahead import ahead
from model.people.given import check_box
from model.people.records import Box, Person, Picture, PicturePeople, Refusal, pixels_of
from model.people.smooth import smooth_tracks
from model.training.runs import BEST, load_run
from pipeline.camera import Crop, in_image, make_crop, project, warp_to_crop
from pipeline.errors import InputError
from pipeline.records import Camera
from pipeline.skeletons import JOINT_SETS, JointSet

# A box whose presence is below this is said to hold nobody.
SOMEBODY = 0.5
# Crops that go through the network at once, and how many pictures and pixels may wait for that.
BATCH, MOST_WAITING, MOST_PIXELS = 16, 32, 64_000_000
BOX_HINT = (
    "A box holds one person, head to feet, with little room about them: give it with --box x,y,width,height or --boxes."
)
FOUND_BY = {"detector": "the detector's box", "keypoints": "the box about keypoints", "track": "a track's box"}
ELSEWHERE = "Where there is one, give the box with --box or --boxes."
Finder = Callable[[Picture], Sequence[Box]]


@dataclass(frozen=True)
class Model:
    """A run that predicts. folder, step: which weights. record: of the run (`model.training.runs.load_run`). augmented: whether it is
    asked about several looks at every crop (`model.networks.test_time`).
    """

    network: Network
    joint_set: JointSet
    folder: Path
    step: int
    record: dict
    augmented: bool = False

    @property
    def side(self) -> int:
        """Of the crops that it takes, px."""
        return self.network.config.crop_px


def load_model(folder: Path, device: torch.device | str = "cpu", augmented: bool = False) -> Model:
    """Raises InputError for a folder that holds no run which can predict."""
    if folder.is_file():
        raise InputError(f"{folder} is a file, and a run is a folder with {BEST} in it. Name that folder with --run.")
    network, config, record = load_run(folder, device)
    return Model(network, JOINT_SETS[config.network.joint_set], folder, record["step"], record, augmented)


@dataclass
class Waiting:
    """A picture whose crops have not been through the network yet, or not all. people: by number of its box."""

    picture: Picture | None
    found: PicturePeople
    boxes: list[Box] = field(default_factory=list)
    crops: list[Crop] = field(default_factory=list)
    pixels: list[np.ndarray] = field(default_factory=list)
    people: list[Person | str] = field(default_factory=list)


def predict_people(
    model: Model, pictures: Iterable[Picture | Refusal], find: Finder, batch: int = BATCH
) -> Iterator[tuple[Picture | None, PicturePeople]]:
    """The people of each picture, in order; the picture is None where it could not be read. Tracks of a video are smoothed.

    find: boxes of a picture; an InputError of its becomes the picture's refusal. Raises InputError when the run's weights give values
    that are not finite.
    """
    yield from smooth_tracks(_predicted(model, pictures, find, batch))


def _predicted(
    model: Model, pictures: Iterable[Picture | Refusal], find: Finder, batch: int
) -> Iterator[tuple[Picture | None, PicturePeople]]:
    """Frame by frame, batch by batch."""
    waiting: list[Waiting] = []
    for one in ahead((_looked_at(model, picture, find) for picture in pictures), lambda one: pixels_of(one.picture)):
        waiting.append(one)
        crops = sum(len(one.crops) for one in waiting)
        pixels = sum(pixels_of(one.picture) for one in waiting)
        if crops >= batch or crops == 0 or len(waiting) >= MOST_WAITING or pixels >= MOST_PIXELS:
            yield from _answered(model, waiting, batch)
            waiting = []
    yield from _answered(model, waiting, batch)


def _looked_at(model: Model, picture: Picture | Refusal, find: Finder) -> Waiting:
    """The picture with the crops of its boxes."""
    if isinstance(picture, Refusal):
        return Waiting(None, PicturePeople(picture.name, 0, 0, None, refusal=picture.reason))
    height, width = picture.pixels.shape[:2]
    answer = PicturePeople(picture.name, width, height, picture.camera, frame=picture.frame, time_s=picture.time_s)
    one = Waiting(picture, answer)
    try:
        boxes = find(picture)
    except InputError as error:
        one.found = replace(answer, refusal=str(error))
        return one
    for box in boxes:
        try:
            check_box(box.box, width, height)
            crop = make_crop(picture.camera, box.box, model.side, model.side)
        except InputError as error:
            one.people.append(str(error))
            continue
        one.boxes.append(box)
        one.crops.append(crop)
        one.pixels.append(warp_to_crop(picture.pixels, picture.camera, crop))
    return one


def _answered(model: Model, waiting: list[Waiting], batch: int) -> Iterator[tuple[Picture | None, PicturePeople]]:
    """Through the network, batch after batch, and back to the pictures."""
    crops = [crop for one in waiting for crop in one.crops]
    pixels = [pixels for one in waiting for pixels in one.pixels]
    predicted: list[dict[str, np.ndarray]] = []
    for first in range(0, len(crops), batch):
        predicted += predict_crops(model, crops[first : first + batch], pixels[first : first + batch])
    left = iter(predicted)
    for one in waiting:
        refused = [text for text in one.people if isinstance(text, str)]
        people = []
        for box, crop in zip(one.boxes, one.crops, strict=True):
            assert one.picture is not None
            person = make_person(one.picture, box, crop, next(left))
            if person.presence >= SOMEBODY:
                people.append(person)
            else:
                refused.append(_says_of_an_empty(box, person.presence))
        yield one.picture, with_people(one.found, people, refused)


def _says_of_an_empty(box: Box, presence: float) -> str:
    where, why = box.box.round(1).tolist(), f"(presence {presence:.2f}, {SOMEBODY} is needed)"
    if box.source in FOUND_BY:
        return f"the network sees nobody in {FOUND_BY[box.source]} {where} {why}. {ELSEWHERE}"
    return f"nobody is found in the box {where} {why}. {BOX_HINT}"


def predict_crops(model: Model, crops: Sequence[Crop], pixels: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What the network says of each crop, in the crop's axes: joints (J, 3), root (3,), confidence (J,), presence ()."""
    device = next(model.network.buffers()).device
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).to(device).float().mul(2 / 255).sub(1)
    K = torch.from_numpy(np.stack([crop.K for crop in crops])).float().to(device)
    said = predict_augmented(model.network, images, K) if model.augmented else model.network.predict(images, K)
    values = {name: getattr(said, name).double().cpu().numpy() for name in ("joints", "root", "confidence", "presence")}
    if not all(np.isfinite(value).all() for value in values.values()):
        raise InputError(
            f"the prediction is not finite: the weights of {model.folder} are damaged, or were trained until they had no "
            "finite values."
        )
    return [{name: value[k] for name, value in values.items()} for k in range(len(crops))]


def make_person(picture: Picture, box: Box, crop: Crop, said: dict[str, np.ndarray]) -> Person:
    """From the crop's axes to the picture's camera."""
    joints, root, confidence = said["joints"] @ crop.R, said["root"] @ crop.R, said["confidence"]
    joints_2d = project(picture.camera, joints + root)
    return Person(
        box=box.box,
        score=box.score,
        box_source=box.source,
        joints=joints,
        root=root,
        joints_2d=joints_2d,
        confidence=confidence,
        visible=shows(picture.camera, joints_2d, confidence),
        presence=float(said["presence"]),
        track=box.track,
        keypoints=box.keypoints,
    )


def shows(camera: Camera, joints_2d: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(J,) bool, of joints (J, 2) px: they lie in the picture and are more likely right than wrong."""
    return in_image(joints_2d, camera.width, camera.height) & (confidence >= 0.5)


def with_people(found: PicturePeople, people: list[Person], left_out: list[str]) -> PicturePeople:
    """The picture's answer. A photograph with nobody in it is refused; a frame of a video may well have nobody."""
    refusal = found.refusal
    if not refusal and not people and found.frame is None:
        why = left_out[0] if left_out else f"no person is found in it. {ELSEWHERE}"
        refusal = f"{found.name}: {why}"
    return PicturePeople(
        found.name,
        found.width,
        found.height,
        found.camera,
        tuple(people),
        found.frame,
        found.time_s,
        refusal,
        tuple(left_out),
    )
