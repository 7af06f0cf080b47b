"""People get the bodies that their joints and keypoints speak of, whoever is fitted beside them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from model.body_fit import BodyDecoder
from model.people.bodies import embody, keypoints_of, with_bodies
from model.people.records import Keypoints, PicturePeople
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.camera import project
from pipeline.skeletons import COCO, FIELD_JOINTS
from tests.model.people.scenes import shown, standing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fits():
    body = load_body()
    return SimpleNamespace(decoder=BodyDecoder(body, FIELD_JOINTS), own_joints=True, body=body)


def without_bodies(one):
    people = tuple(replace(person, body=None, spread=None) for person in one.people)
    return one.picture, replace(one.found, people=people)


def test_pictures_keep_their_order_and_people_their_bodies(fits):
    """A picture that was refused lies between; a body is the same alone and in a batch, and where the joints are."""
    answers = [
        without_bodies(shown(fits.body, [standing(0, -0.5), standing(1, 0.6, 4.0)], "a.jpg")),
        (None, PicturePeople("b.jpg", 0, 0, None, refusal="not there")),
        without_bodies(shown(fits.body, [standing(2)], "c.jpg")),
    ]
    found = [found for _, found in with_bodies(answers, fits)]
    assert [one.name for one in found] == ["a.jpg", "b.jpg", "c.jpg"] and [len(one.people) for one in found] == [
        2,
        0,
        1,
    ]
    for (_, before), after in zip(answers, found, strict=True):
        for given, person in zip(before.people, after.people, strict=True):
            assert np.linalg.norm(person.joints - given.joints, axis=1).mean() < 0.04
            # how far away a body is depends on how tall it is
            assert np.linalg.norm(person.root - given.root) < 0.04 * given.root[2]
            vertices, joints = fits.body.mesh(person.body)
            own = keypoint_map(fits.body, FIELD_JOINTS)(joints, vertices)
            np.testing.assert_allclose(own, person.joints + person.root, atol=1e-4)
            np.testing.assert_allclose(person.joints_2d, project(after.camera, person.joints + person.root), atol=1e-9)
            alone = embody([given], [after.camera], fits)[0]
            np.testing.assert_allclose(alone.joints, person.joints, atol=1e-5)
            assert (person.spread[1:] > 0).all()


def test_keypoints_of_some_are_evidence_for_them_alone(fits):
    one = shown(fits.body, [standing(0, -0.5), standing(1, 0.6, 4.0)])
    camera, (first, second) = one.picture.camera, one.people
    vertices, joints = fits.body.mesh(first.body)
    flat = project(camera, keypoint_map(fits.body, COCO)(joints, vertices).astype(float))
    sure = np.full(17, 0.8)
    sure[3] = 0
    first = replace(first, keypoints=Keypoints(COCO.name, flat, sure))
    taken = keypoints_of([first, second], [camera, camera])
    assert not taken.confidence[1].any() and taken.confidence[0, 3] == 0 and taken.confidence[0, 4] == 0.8
    np.testing.assert_allclose(taken.rays[0, 4] * camera.K[0, 0] + camera.K[:2, 2], flat[4], atol=1e-9)
    assert keypoints_of([second], [camera]) is None
    other = replace(first, keypoints=Keypoints("openpose_25", np.zeros((25, 2)), np.ones(25)))
    assert keypoints_of([other], [camera]) is None
    plain = embody([second], [camera], fits)[0]
    beside = embody([first, second], [camera, camera], fits)[1]
    np.testing.assert_allclose(beside.joints, plain.joints, atol=1e-4)


def test_without_a_decoder_people_stay_as_they_are():
    one = shown(load_body(), [standing(0)])
    fits = SimpleNamespace(decoder=None)
    assert embody(list(one.people), [one.picture.camera], fits) == list(one.people)
