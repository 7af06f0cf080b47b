"""Whether a picture shows anything where somebody is said to be."""

import cv2
import numpy as np
import pytest

from pipeline.camera import assumed_camera, project, tight_box
from pipeline.plausible_pictures import odd_picture
from pipeline.records import View
from pipeline.skeletons import COCO
from tests.pipeline.people import TO_CAMERA, standing, striped

WIDTH, HEIGHT = 400, 300
CAMERA = assumed_camera(WIDTH, HEIGHT)
POINTS = project(CAMERA, standing(COCO.names) @ TO_CAMERA + [0.5, 0.1, 3.5])
VIEW = View("a/0/0", "0", CAMERA, "a.png", tight_box(POINTS, 0), POINTS, np.ones(len(POINTS)))


def plain(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def figure(background: int, level: int) -> np.ndarray:
    """A person drawn with thick lines of one level."""
    image = plain(background)
    for parent, child in COCO.bones:
        ends = (tuple(int(v) for v in POINTS[k].round()) for k in (parent, child))
        cv2.line(image, *ends, (level,) * 3, 6)
    return image


def lost_from(row: int) -> np.ndarray:
    image = striped(HEIGHT, WIDTH)
    image[row:] = 128
    return image


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_frame_of_a_single_colour_shows_nobody(level):
    noise = np.random.default_rng(0).integers(0, 4, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for image in (plain(level), np.maximum(plain(level), noise)):
        assert "of a single colour" in odd_picture(image, VIEW)


def test_rows_that_a_file_lost_are_told_where_joints_lie_in_them():
    assert "a part of the image is missing" in odd_picture(lost_from(HEIGHT // 2), VIEW)
    assert odd_picture(lost_from(int(POINTS[:, 1].max()) - 2), VIEW) is None
    assert odd_picture(np.concatenate([plain(0)[:30], striped(HEIGHT - 30, WIDTH)]), VIEW) is None  # a film's black bar


def test_whoever_is_seen_at_all_is_somebody():
    """Shadows against the light, people cut out of their surroundings, and the dark."""
    for background, level in ((255, 0), (0, 255), (0, 12), (250, 240)):
        assert odd_picture(figure(background, level), VIEW) is None
    assert odd_picture(striped(HEIGHT, WIDTH), VIEW) is None


def test_a_box_that_the_border_cuts_and_joints_outside_are_looked_at_as_far_as_they_go():
    view = View("a/0/0", "0", CAMERA, "a.png", np.array([-50.0, -80, 90, 200]), POINTS - [300, 200], np.ones(17))
    assert odd_picture(striped(HEIGHT, WIDTH), view) is None and odd_picture(plain(7), view) is not None
