"""A person in a box that somebody gave, hardly a joint of whom is sure, is doubted where the detector sees nobody either."""

from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest

from model.people.predictions import person_entry
from model.people.records import Picture, PicturePeople
from model.people.second_look import EMPTY, with_second_look
from pipeline.body.model import load_body
from pipeline.camera import assumed_camera
from pipeline.skeletons import FIELD_JOINTS
from tests.model.people.scenes import person, standing

WIDTH, HEIGHT = 640, 300
SOMEBODY, NOBODY = np.array([10.0, 10, 256, 280]), np.array([360.0, 10, 256, 280])


@pytest.fixture(scope="module")
def picture():
    """A photograph of one person that comes with matplotlib on the left, a wall on the right."""
    pixels = np.full((HEIGHT, WIDTH, 3), (150, 160, 170), np.uint8)
    hopper = cv2.imread(str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"))[..., ::-1]
    pixels[:, :256] = cv2.resize(hopper, (256, 300), interpolation=cv2.INTER_AREA)
    return Picture("a.jpg", pixels, assumed_camera(WIDTH, HEIGHT))


@pytest.mark.parametrize(
    ("box", "sure", "source", "doubted"),
    [
        (NOBODY, 0.1, "given", True),
        (NOBODY, 0.1, "whole picture", True),
        (NOBODY, 0.5, "given", False),  # sure joints are evidence enough
        (NOBODY, 0.1, "detector", False),  # it has looked already
        (SOMEBODY, 0.1, "given", False),
    ],
)
def test_a_box_that_may_be_empty_is_doubted(picture, box, sure, source, doubted):
    one = person(load_body(), standing(0), picture.camera)
    one = replace(one, body=None, spread=None, box=box, box_source=source, confidence=np.full(len(one.joints), sure))
    found = PicturePeople(picture.name, WIDTH, HEIGHT, picture.camera, (one,))
    [(same, answer)] = with_second_look([(picture, found)])
    assert same is picture and answer.people[0].doubts == (EMPTY if doubted else "")
    assert person_entry(answer, answer.people[0], FIELD_JOINTS)["doubts"] == (EMPTY if doubted else "")
