"""Pictures of other moments than their joints: late ones, and those of another frame rate."""

import json

import cv2
import numpy as np
import pytest

from pipeline.camera import assumed_camera
from pipeline.fit_source import _look_through
from pipeline.moments import FEWEST, HELD, Films, of_films, other_moments, sequence_of
from pipeline.records import Instant, View
from pipeline.skeletons import COCO
from pipeline.sources import open_source
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
        films.add(instant)
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


def test_few_films_of_many_are_held_evenly():
    view = View("", "0", assumed_camera(WIDTH, HEIGHT), "a.png", np.zeros(4), somebody(0), np.ones(17))
    films = of_films(
        Instant(f"film{n}/{frame:06d}", None, "", frame, COCO.name, (view,)) for n in range(300) for frame in (0, 1)
    )
    assert list(films.found) == [f"film{n}/#, camera 0" for n in range(0, 300, 8)] and len(films.found) <= HELD
    assert all(len(film.joints) == 2 for film in films.found.values())


@pytest.mark.parametrize(
    ("name", "sequence", "frame"),
    [
        ("S1/Walking-1/000012", "S1/Walking-1/#", 12),
        ("courtyard_00/0/00012", "courtyard_00/0/#", 12),
        ("film_000000000012_keypoints/0", "film_000000000012_keypoints/#", 0),
        ("film_000000000012/0", "film_#/0", 12),
        ("000000012", "#", 12),
        ("a/b", "a/b", None),
    ],
)
def test_an_instant_names_its_sequence(name, sequence, frame):
    assert sequence_of(name) == (sequence, frame)
