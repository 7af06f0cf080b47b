"""What `nvf-cli predict` does: a question about pictures becomes a folder with predictions."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import torch

from model.networks.keypoint_network import KeypointNetwork
from model.people import free_model
from model.people.ahead import ahead
from model.people.bodies import AUTO, VOTES, BodyFits, find_people
from model.people.detector import Detector
from model.people.given import GivenBoxes, read_boxes, read_keypoints
from model.people.outputs import FORMATS, Outputs, Place
from model.people.pictures import Given, find_given, read_given
from model.people.predict import Finder, Model, load_model
from model.people.predictions import PredictionsFile, results_folder
from model.people.records import Answered, Box, PicturePeople, pixels_of
from model.people.shown import Shown, Stems
from model.people.tracks import VideoFinder
from model.people.watched import Watched
from pipeline.errors import InputError
from pipeline.outputs import run_lock


@dataclass(frozen=True)
class Question:
    """images: files, folders, patterns, videos, or the number of a webcam. run: None is the model that is shipped. box: of people in
    one image, x, y, width, height px; boxes, keypoints: files with them (`given`); without any the detector looks. every: of a video's
    frames. focal: px. decode: as of `BodyFits`. formats: of `outputs.FORMATS`, besides predictions.json.
    augmented: as of `Model`.
    """

    images: Sequence[str]
    run: Path | None = None
    box: Sequence[Sequence[float]] = ()
    boxes: Path | None = None
    keypoints: Path | None = None
    every: int = 1
    focal: float | None = None
    decode: str = AUTO
    formats: Sequence[str] = ()
    augmented: bool = False

    def __post_init__(self) -> None:
        lacking = [name for name in self.formats if FORMATS[name].bodies] if self.decode == VOTES else []
        if lacking:
            raise InputError(
                f"--write {lacking[0]} is of bodies, and --decode {VOTES} fits none. Leave one of them out."
            )
        if sum((bool(self.box), self.boxes is not None, self.keypoints is not None)) > 1:
            raise InputError("--box, --boxes and --keypoints each say where people are. Give one of them.")

    def said(self) -> dict:
        """What tells it from another question."""
        paths = {name: str(getattr(self, name) or "") for name in ("run", "boxes", "keypoints")}
        return paths | {
            "box": [list(box) for box in self.box],
            "images": list(self.images),
            "every": self.every,
            "focal": self.focal,
            "decode": self.decode,
            **({"augmented": True} if self.augmented else {}),
        }


@dataclass(frozen=True)
class Answer:
    """path: of predictions.json. written: the other files. people: how many were found. refused: why pictures were refused. remarks:
    what of a file of boxes was not used.
    """

    path: Path
    written: Sequence[Path]
    people: int
    refused: tuple[str, ...]
    remarks: tuple[str, ...]


def answer(
    question: Question,
    out: Path,
    device: torch.device | str = "cpu",
    begin: Callable[[int | None], None] = lambda total: None,
    tell: Callable[[PicturePeople], None] = lambda found: None,
) -> Answer:
    """Predict, and write into `out` or, where that holds the answer to another question, a folder beside it.

    begin: is told how many pictures there will be, None where nobody knows. tell: is told of every picture. Raises InputError when
    nobody was found in any of them; nothing is left then.
    """
    work = Work.of(question, device)
    begin(work.pictures)
    with claimed_folder(out, work.asked) as folder:
        return work.write(folder, tell)


@dataclass(frozen=True)
class Work:
    """A question with what answers it: the pictures, who says where people are in them, and the network."""

    question: Question
    given: Sequence[Given]
    find: Finder
    model: Model

    @classmethod
    def of(cls, question: Question, device: torch.device | str) -> "Work":
        """Opens all that the question names. Raises InputError for what is not there or cannot be used."""
        given = find_given(question.images, question.every)
        model = load_model(question.run or free_model.folder(), device, question.augmented)
        return cls(question, given, finder(question, given), model)

    @property
    def asked(self) -> dict:
        """What tells its answer from others."""
        return self.question.said() | {"step": self.model.step}

    @property
    def pictures(self) -> int | None:
        """How many there will be, None where nobody knows."""
        counts = [one.pictures for one in self.given if one.kind != "nothing"]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of a file of boxes or keypoints was not used so far."""
        return tuple(self.find.remarks()) if isinstance(self.find, GivenBoxes | Watched) else ()

    def answers(self, fits: BodyFits) -> Iterator[Answered]:
        """Every picture with its people. A webcam's end when Ctrl-C is pressed."""
        pictures = read_given(self.given, self.question.focal, self.question.every)
        answers = ahead(find_people(self.model, pictures, self.find, fits), lambda answer: pixels_of(answer[0]))
        return until_interrupted(answers) if any(one.pictures is None for one in self.given) else answers

    def write(self, folder: Path, tell: Callable[[PicturePeople], None]) -> Answer:
        """Answers into `folder`. Leaves nothing there, and raises InputError, when nobody was found."""
        outputs, stems, fits = (
            Outputs(Place(folder), self.question.formats),
            Stems(),
            BodyFits(self.model, self.question.decode),
        )
        about = {"asked": self.asked, "body": fits.body.sha256}
        file = PredictionsFile(folder, self.model.joint_set, about)
        people, refused = 0, []
        try:
            for picture, found in self.answers(fits):
                file.add(found)
                if picture is not None:
                    outputs.add(Shown.of(picture, found, stems, self.model.joint_set, fits))
                tell(found)
                people += len(found.people)
                refused += [found.refusal] if found.refusal else []
            if not people:
                why = refused[0] if refused else "no frame of the video shows a person."
                raise InputError(" ".join([f"nobody was found: {why}", *self.remarks]))
            written = outputs.close()
            path = file.close()
        except BaseException:
            outputs.drop()
            file.drop()
            raise
        return Answer(path, written, people, tuple(refused), self.remarks)


@contextmanager
def claimed_folder(out: Path, asked: dict) -> Iterator[Path]:
    """The folder for the answer (`results_folder`), which nobody else writes meanwhile: two would fill one predictions.json."""
    folder = results_folder(out, asked)
    with run_lock(folder):
        if results_folder(out, asked) != folder:
            raise InputError(f"another run has just written {folder}; type the same command again")
        yield folder


def until_interrupted(answers: Iterator[Answered]) -> Iterator[Answered]:
    """The answers until Ctrl-C is pressed, which is how a webcam ends: what was found is kept. Pressed again it interrupts."""
    pressed = Event()

    def stop(*_: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        for answer in answers:
            yield answer
            if pressed.is_set():
                break
    finally:
        signal.signal(signal.SIGINT, before)


def finder(question: Question, given: Sequence[Given]) -> Finder:
    """Who says where people are."""
    if question.box and (len(given) > 1 or given[0].kind != "picture"):
        raise InputError(
            f"--box is a person's box in one image, and {len(given)} images or a video are given. Predict one image at a time, each "
            "with its own boxes, or give all boxes in a file with --boxes."
        )
    if question.box:
        return lambda picture: [Box(np.array(box, float), None, "given") for box in question.box]
    if question.boxes is not None:
        boxes = read_boxes(question.boxes)
        boxes.require_frames(one.name for one in given if one.kind == "video")
        return boxes
    if question.keypoints is not None:
        return Watched(read_keypoints(question.keypoints), KeypointNetwork("lightning"))
    return VideoFinder(Detector())
