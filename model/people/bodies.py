"""People get bodies: SMPL-X parameters fitted to their joints and keypoints."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from model.body_fit import BodyDecoder, Keypoints
from model.decoding import AUTO, BODY, VOTES, decode_of, run_decoder
from model.networks.keypoint_network import KeypointNetwork
from model.people.marking import marking
from model.people.predict import Finder, Model, predict_people, shows
from model.people.records import Answered, Person, Picture, Refusal, pixels_of
from model.people.second_look import with_second_look
from model.people.shapes import TrackShapes, track_of
from model.people.smooth import smooth_tracks, steadied
from pipeline.body.model import BodyModel, load_body
from pipeline.camera import pixel_rays, project
from pipeline.errors import InputError
from pipeline.records import Camera
from pipeline.skeletons import COCO

# People that are fitted at once, and how many pictures and pixels may wait for that.
BATCH, MOST_PICTURES, MOST_PIXELS = 32, 32, 64_000_000
DECODES = (AUTO, VOTES, BODY)


class BodyFits:
    """How a model's people get bodies. decode: VOTES for none; BODY, and the joints are those of the bodies; AUTO, and they are those
    that were better when the run was validated. body: the model of the bodies, also where there are none. keypoints: the 2D network
    that comes with this program, whose keypoints are evidence; None where no bodies are fitted.
    """

    def __init__(self, model: Model, decode: str = AUTO):
        if decode not in DECODES:
            raise InputError(f"decode {decode!r}: choose from {', '.join(DECODES)}.")
        self.decoder: BodyDecoder | None = None
        self.own_joints = decode_of(decode, model.record) == BODY
        if decode != VOTES:
            self.decoder = run_decoder(model.folder, model.record, model.joint_set).decoder
        self.body: BodyModel = load_body() if self.decoder is None else self.decoder.body
        self.keypoints = None if self.decoder is None else KeypointNetwork(augmented=model.augmented)


def find_people(
    model: Model, pictures: Iterable[Picture | Refusal], find: Finder, fits: BodyFits
) -> Iterator[Answered]:
    """The people of each picture, in order, with all that is known of them: what the command and the Python API give.

    find: as of `predict_people`, which this calls. Boxes without COCO's keypoints get those of the 2D network where bodies are fitted.
    """
    look = find if fits.keypoints is None else marking(find, fits.keypoints)
    return steady(with_bodies(with_second_look(predict_people(model, pictures, look)), fits), fits)


def steady(answers: Iterator[Answered], fits: BodyFits) -> Iterator[Answered]:
    """The same, the bodies of a track moving steadily. Where the joints are not those of the bodies nothing is done: the network's
    own are smoothed already."""
    return smooth_tracks(answers, smoothing=steadied) if fits.own_joints and fits.decoder is not None else answers


def with_bodies(answers: Iterable[Answered], fits: BodyFits) -> Iterator[Answered]:
    """The same pictures in the same order, their people with bodies in the axes of the picture's camera. A body does not depend on
    those that are fitted beside it; those of a track have one shape."""
    if fits.decoder is None:
        yield from answers
        return
    shapes = TrackShapes()
    waiting: list[Answered] = []
    for answer in answers:
        waiting.append(answer)
        people = sum(len(found.people) for _, found in waiting)
        pixels = sum(pixels_of(picture) for picture, _ in waiting)
        if people >= BATCH or not people or len(waiting) >= MOST_PICTURES or pixels >= MOST_PIXELS:
            count = shapes.ripe([found for _, found in waiting])
            yield from _embodied(waiting[:count], fits, shapes)
            waiting = waiting[count:]
    yield from _embodied(waiting, fits, shapes)


def _embodied(waiting: Sequence[Answered], fits: BodyFits, shapes: TrackShapes) -> Iterator[Answered]:
    cameras = [found.camera for _, found in waiting for _ in found.people]
    everybody = [person for _, found in waiting for person in found.people]
    tracks = [track_of(found, person) for _, found in waiting for person in found.people]
    new = [k for k, track in enumerate(tracks) if shapes.new(track)]
    shapes.settle([tracks[k] for k in new], embody([everybody[k] for k in new], [cameras[k] for k in new], fits))
    people = iter(embody(everybody, cameras, fits, [shapes.of(track) for track in tracks]))
    for picture, found in waiting:
        yield picture, replace(found, people=tuple(next(people) for _ in found.people))


def embody(
    people: Sequence[Person],
    cameras: Sequence[Camera | None],
    fits: BodyFits,
    betas: Sequence[np.ndarray | None] | None = None,
) -> list[Person]:
    """The people with bodies. cameras: one a person, in whose axes it is. betas: (10,) of those whose shape is known."""
    if fits.decoder is None:
        return list(people)
    shapes = [None] * len(people) if betas is None else list(betas)
    fitted: dict[int, Person] = {}
    for known in (True, False):
        rows = [k for k, shape in enumerate(shapes) if (shape is not None) == known]
        if rows:
            given = np.stack([shape for shape in shapes if shape is not None]) if known else None
            bodies = _fitted([people[k] for k in rows], [cameras[k] for k in rows], fits, given)
            fitted |= dict(zip(rows, bodies, strict=True))
    return [fitted[k] for k in range(len(people))]


def _fitted(
    people: Sequence[Person], cameras: Sequence[Camera | None], fits: BodyFits, betas: np.ndarray | None
) -> list[Person]:
    """betas: (n, 10) of all of them, or of none."""
    assert fits.decoder is not None
    joints, root, confidence = (
        np.stack([getattr(one, name) for one in people]) for name in ("joints", "root", "confidence")
    )
    bodies = fits.decoder(joints, root, keypoints_of(people, cameras), confidence, betas)
    found = []
    for k, (person, camera) in enumerate(zip(people, cameras, strict=True)):
        assert camera is not None
        doubts = "; ".join(filter(None, (person.doubts, bodies.doubts[k])))
        person = replace(person, body=bodies.parameters[k], spread=bodies.spread[k], doubts=doubts)
        if fits.own_joints:
            flat, sure = project(camera, bodies.joints[k] + bodies.root[k]), bodies.confidence[k]
            person = replace(
                person,
                joints=bodies.joints[k],
                root=bodies.root[k],
                joints_2d=flat,
                confidence=sure,
                visible=shows(camera, flat, sure),
            )
        found.append(person)
    return found


def keypoints_of(people: Sequence[Person], cameras: Sequence[Camera | None]) -> Keypoints | None:
    """COCO's keypoints of the people that have them, whatever their set is called, as evidence; None where nobody has any."""
    rays, sure = np.zeros((len(people), len(COCO), 2)), np.zeros((len(people), len(COCO)))
    for k, (person, camera) in enumerate(zip(people, cameras, strict=True)):
        keypoints = person.keypoints and person.keypoints.of(COCO)
        if keypoints is not None and camera is not None:
            seen = keypoints.confidence > 0
            rays[k, seen] = pixel_rays(camera, keypoints.points[seen])
            sure[k] = keypoints.confidence
    return Keypoints(rays, sure) if sure.any() else None
