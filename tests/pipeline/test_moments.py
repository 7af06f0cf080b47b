"""Pictures of other moments than their joints: late ones, and those of another frame rate."""

import json

import cv2
import numpy as np
import pytest

from pipeline import moments
from pipeline.camera import assumed_camera
from pipeline.fit_source import _look_through
from pipeline.moments import FEWEST, HELD, Films, _hypotheses, other_moments
from pipeline.records import Instant, View
from pipeline.skeletons import COCO
from pipeline.sources import open_source
from pipeline.sources.base import Source
from pipeline.sources.check import check_source
from tests.pipeline.people import standing

WIDTH, HEIGHT, FRAMES, LEVEL = 320, 240, 60, 4


def somebody(frame: float) -> np.ndarray:
    """(17, 2) pixels of somebody who walks to the right and waves."""
    person = standing(COCO.names)
    for side, sign in (("left", 1), ("right", -1)):
        person[COCO.index(f"{side}_wrist")] = [sign * (0.4 + 0.3 * np.sin(frame / 3)), 0.5 + 0.3 * np.cos(frame / 3), 0]
    return person[:, :2] * [90, -90] + [60 + 3 * frame, 120]


def witness(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sees who is in a picture of this brightness."""
    return somebody(round(float(image.mean()) / LEVEL)) + 1.0, np.full(17, 0.9)


@pytest.fixture
def recorded(tmp_path):
    """A folder of OpenPose's keypoints and pictures; frame f shows what was at frame shown(f), and its keypoints are of joints(f)."""

    def record(shown=lambda f: f, joints=lambda f: f, frames=FRAMES, every=1):
        for folder in ("images", "keypoints"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for f in range(0, frames * every, every):
            picture = np.full((HEIGHT, WIDTH, 3), LEVEL * shown(f), np.uint8)
            cv2.imwrite(str(tmp_path / "images" / f"film_{f:06d}.png"), picture)
            points = np.c_[somebody(joints(f)), np.full(17, 0.9)]
            text = json.dumps({"people": [{"pose_keypoints_2d": points.ravel().tolist()}]})
            (tmp_path / "keypoints" / f"film_{f:06d}_keypoints.json").write_text(text)
        return open_source("openpose", tmp_path, layout="coco17")

    return record


def told(source) -> list[str]:
    films = Films()
    for instant in source.read()[0]:
        films.add(instant, source.film_of(instant))
    return other_moments(source.root, films, witness)


def test_pictures_of_their_own_moments_pass(recorded):
    assert told(recorded()) == []


@pytest.mark.parametrize("late", [-9, -3, 3, 9])
def test_late_pictures_are_told_by_how_much(recorded, late):
    (said,) = told(recorded(shown=lambda f: min(max(f + late, 0), FRAMES - 1)))
    way = "later" if late > 0 else "earlier"
    assert f"pictures show what the joints have {abs(late)} frames {way}" in said


def test_late_pictures_of_which_every_third_is_annotated_are_told(recorded):
    (said,) = told(recorded(shown=lambda f: min(f + 6, 59), frames=20, every=3))
    assert "pictures show what the joints have 6 frames later" in said


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_pictures_of_another_rate_are_told(recorded, rate):
    (said,) = told(recorded(shown=lambda f: min(round(f * rate), 59)))
    assert f"pictures seem to run {rate:g} times as fast as the joints" in said


def test_who_stands_still_and_few_frames_tell_nothing(recorded):
    assert told(recorded(shown=lambda f: 5, joints=lambda f: 5)) == []


def test_few_frames_tell_nothing(recorded):
    assert told(recorded(shown=lambda f: f + 3, frames=FEWEST - 1)) == []


def test_every_command_that_looks_tells(recorded):
    """check-data has a problem, fit a doubt; preprocess shares the fit's way."""
    source = recorded(shown=lambda f: min(f + 9, FRAMES - 1))
    report = check_source(source, None, witness)
    assert any("9 frames later" in problem for problem in report["problems"])

    class Fitter:
        def tells(self, instant):
            return None

    read, _, _ = _look_through(source, Fitter(), witness)
    assert any("9 frames later" in doubt for doubt in read.doubts)


def test_few_films_of_many_are_held_evenly_and_the_beginning_of_each(monkeypatch):
    monkeypatch.setattr(moments, "LONGEST", 3)
    view = View("", "0", assumed_camera(WIDTH, HEIGHT), "a.png", np.zeros(4), somebody(0), np.ones(17))
    films = Films()
    for n in range(300):
        for frame in range(5):
            films.add(Instant(f"{n}/{frame}", None, "", frame, COCO.name, (view,)), (f"film{n}", frame))
    assert list(films.found) == [f"film{n}, camera 0" for n in range(0, 300, 32)] and len(films.found) <= HELD
    assert all(list(film.joints) == [0, 1, 2] for film in films.found.values())


def test_a_film_of_hours_is_judged_in_little_memory():
    frames = np.arange(0, 300_000, 3)
    found = dict(_hypotheses(frames, frames[::5000]))
    at_rate = next(other for text, other in found.items() if " 2 times" in text)
    assert at_rate[15_000] == 30_000 and 150_000 not in at_rate  # there is no frame 300,000
    late = next(other for text, other in found.items() if "have 6 frames later" in text)
    assert late[0] == 6 and late[15_000] == 15_006


@pytest.mark.parametrize(
    ("name", "name_of_picture", "frame"),
    [
        ("film_000000000012/0", "film_#/0", 12),
        ("take_000012_out/1", "take_#/1", 12),
        ("clip2/3", "clip#/3", 2),
        ("portrait/0", None, None),
    ],
)
def test_a_picture_of_openpose_is_a_frame_by_the_last_number_of_its_name(recorded, name, name_of_picture, frame):
    told_of = recorded(frames=1).film_of(Instant(name, None, "", 0, COCO.name, ()))
    assert told_of == (None if frame is None else (name_of_picture, frame))


@pytest.mark.parametrize(
    ("name", "frame", "film"),
    [
        ("S1/Walking-1/000012", 12, "S1/Walking-1/#"),
        ("S1/Walking-1/000001", 1, "S1/Walking-1/#"),
        ("courtyard_00/0/00012", 12, "courtyard_00/0/#"),
        ("000000012", 12, "#"),
        ("a/b", 3, None),
    ],
)
def test_an_instant_is_a_frame_of_a_film(tmp_path, name, frame, film):
    told_of = Source(tmp_path).film_of(Instant(name, None, "", frame, COCO.name, ()))
    assert told_of == (None if film is None else (film, frame))
