"""Pictures of single cameras of a rig that are not those cameras', by the word of a witness who sees the person in them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.camera import assumed_camera, project
from pipeline.misplaced import Look, misplaced, told_of_some
from pipeline.records import Instant, View
from pipeline.skeletons import COCO
from pipeline.witness import CUT_OUT, ELSEWHERE, EXCHANGED, NOBODY, THERE_ALREADY, Mistake
from tests.pipeline.people import TO_CAMERA, standing

WIDTH, HEIGHT, CAMERAS, FRAMES = 400, 300, 4, 13
CAMERA = assumed_camera(WIDTH, HEIGHT)


def turned(k: int) -> np.ndarray:
    """(17, 2) pixels of somebody with the arms out, as camera k sees them."""
    person = standing(COCO.names)
    for side, sign in (("left", 1), ("right", -1)):
        for part, away in (("elbow", 0.5), ("wrist", 0.75)):
            person[COCO.index(f"{side}_{part}")] = [sign * away, 0.5 + 0.05 * k, 0]
    c, s = np.cos(1.57 * k + 0.4), np.sin(1.57 * k + 0.4)
    seen = person @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return project(CAMERA, seen @ TO_CAMERA + [0.3 * k - 0.5, 0.1, 3.5])


def witness(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sees in a picture of this brightness what camera k sees, if the person is in the square about the box; of a dark one nothing."""
    points = turned(round(image.mean() / 40) - 1)
    side, middle = 1.25 * box[2:].max(), box[:2] + box[2:] / 2
    seen = (np.abs(points - middle) < 0.75 * side).all(1) & (image.mean() > 20)
    return np.where(seen[:, None], points + 1.5, middle), np.where(seen, 0.9, 0.1)


@pytest.fixture
def told(tmp_path):
    """Of a rig whose cameras have the pictures of these ones, what is told."""

    def tell(shown, frames=FRAMES, refutable=()):
        for k, of in enumerate(shown):
            cv2.imwrite(str(tmp_path / f"{k}.png"), np.full((HEIGHT, WIDTH, 3), 40 * (of + 1), np.uint8))
        points = [turned(k) for k in range(CAMERAS)]
        views = [
            View("", f"cam{k}", CAMERA, f"{k}.png", np.r_[p.min(0), np.ptp(p, 0)], p, np.ones(len(p)))
            for k, p in enumerate(points)
        ]
        instants = [
            Instant(f"{f}", None, "", f, COCO.name, tuple(replace(v, id=f"{f}/{v.camera_id}") for v in views))
            for f in range(frames)
        ]
        return misplaced(tmp_path, instants, witness, refutable)

    return tell


def test_pictures_of_two_cameras_that_were_exchanged_are_told(told):
    assert told([0, 1, 2, 3]) == []
    for shown, (one, other) in {(1, 0, 2, 3): (0, 1), (0, 3, 2, 1): (1, 3), (0, 1, 3, 2): (2, 3)}.items():
        assert told(shown) == [
            f"in 12 of 12 pictures of cam{a} a network that sees people finds them where cam{b} sees them: were the pictures "
            "exchanged?"
            for a, b in ((one, other), (other, one))
        ]
    assert len(told([3, 0, 1, 2])) == 4


def test_a_camera_whose_pictures_show_nobody_is_told(told):
    assert told([0, 1, -1, 3]) == [
        "of camera cam2: in 12 of 12 pictures a network that sees people sees nobody where the joints are (first: 0/cam2)"
    ]


def test_every_camera_is_looked_at_however_many_frames_there_are(told):
    for frames in (3, 4, 6, 8, 25):
        assert len(told([0, 1, 3, 2], frames)) == 2
    assert told([0, 1, 3, 2], 2) == []


def test_a_doubt_about_sides_is_refuted_by_pictures_that_show_people_as_marked(told):
    assert told([0, 1, 2, 3], refutable=["left and right?"]) == []
    assert told([-1, -1, -1, -1], refutable=["left and right?"])[0] == "left and right?"


def test_a_mistake_in_some_of_the_pictures_is_told():
    def looks(*kinds):
        return [Look(f"{k}", "", found) for k, found in enumerate(kinds)]

    there, mirrored = THERE_ALREADY, Mistake("the pictures were mirrored")
    assert told_of_some(looks(*[mirrored] * 3, *[there] * 9)) == (
        "in 3 of 12 pictures a network that sees people finds them as if the pictures were mirrored (first: 0)"
    )
    assert told_of_some(looks(*[mirrored] * 2, *[there] * 10)) is None
    for chance in (ELSEWHERE, NOBODY, Mistake(CUT_OUT, (1.0, 2.0, 3.0)), *list(EXCHANGED)[1:]):
        assert told_of_some(looks(*[chance] * 4, *[there] * 8)) is None
    assert told_of_some([]) is None
