"""A 2D network marks one person in a box, and of two who stand before one another it may be the same one twice."""

import numpy as np

from model.people.marking import marking, of_others, those_seen
from model.people.records import Box, Keypoints, Picture
from pipeline.camera import assumed_camera
from pipeline.skeletons import COCO

PICTURE = Picture("a.jpg", np.zeros((400, 600, 3), np.uint8), assumed_camera(600, 400))
RNG = np.random.default_rng(0)
SHAPE = RNG.random((17, 2)) * [80, 200]
SHAPE[:2] = [0, 0], [80, 200]  # as large as the box about it
FRONT, BEHIND = np.array([100.0, 100, 80, 200]), np.array([130.0, 90, 90, 210])


def box(values, keypoints=None):
    return Box(np.asarray(values, float), 0.8, "detector", keypoints)


def front(noise=0.0):
    return SHAPE + FRONT[:2] + RNG.normal(0, noise, (17, 2))


def test_whoever_s_box_fits_the_keypoints_worse_has_none_of_his_own():
    """In whatever order the two come; somebody who stands elsewhere keeps his."""
    answers = {tuple(FRONT): front(), tuple(BEHIND): front(3.0), (400.0, 100, 80, 200): SHAPE + [400, 100]}

    def network(pixels, where):
        return answers[tuple(where)], np.full(17, 0.7)

    for order in (list(answers), list(answers)[::-1]):
        found = marking(lambda _, order=order: [box(one) for one in order], network)(PICTURE)
        has = {tuple(one.box): one.keypoints is not None for one in found}
        assert has == {tuple(FRONT): True, tuple(BEHIND): False, (400.0, 100, 80, 200): True}


def test_keypoints_that_come_with_a_box_are_the_users_and_stay():
    own = Keypoints(COCO.name, front(), np.ones(17))
    boxes = [box(FRONT, own), box(BEHIND)]
    found = marking(lambda _: boxes, lambda *_: (front(), np.full(17, 0.7)))(PICTURE)
    assert found[0].keypoints is own and found[1].keypoints is not None


def test_half_of_what_is_seen_must_be_alike():
    boxes = [box(FRONT), box(BEHIND)]
    for same, others in ((8, False), (9, True)):
        apart = front() + [60, 0]
        apart[:same] = front()[:same]
        scores = np.full(17, 0.7)
        found = [those_seen(front(), scores), those_seen(apart, scores)]
        assert of_others(boxes, found).tolist() == [False, others]
    nobody = those_seen(front(), np.zeros(17))
    assert not of_others(boxes, [nobody, nobody]).any() and of_others([], []).shape == (0,)
