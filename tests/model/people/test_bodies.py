"""People get the bodies that their joints and keypoints speak of, whoever is fitted beside them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from model.body_fit import BodyDecoder
from model.people import free_model
from model.people.bodies import BodyFits, embody, keypoints_of, with_bodies
from model.people.marking import marking
from model.people.predict import load_model
from model.people.records import Box, Keypoints, Picture, PicturePeople
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.camera import assumed_camera, project
from pipeline.skeletons import COCO, FIELD_JOINTS, IMAGE_JOINTS, OPENPOSE_25, OPENPOSE_FACE
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
    plain = embody([second], [camera], fits)[0]
    beside = embody([first, second], [camera, camera], fits)[1]
    np.testing.assert_allclose(beside.joints, plain.joints, atol=1e-4)


@pytest.mark.parametrize("joint_set", [OPENPOSE_25, IMAGE_JOINTS], ids=lambda found: found.name)
def test_keypoints_of_any_image_set_are_the_same_evidence(joint_set):
    """As OpenPose and other detectors write them, beside joints that COCO does not have."""
    camera, rng = assumed_camera(320, 240), np.random.default_rng(0)
    flat, sure = rng.uniform(50, 200, (17, 2)), rng.uniform(0.3, 0.9, 17)
    sure[3] = 0
    points, confidence = np.full((len(joint_set), 2), 30.0), np.full(len(joint_set), 0.5)
    at = joint_set.indices(COCO.names)
    points[at], confidence[at] = flat, sure
    taken, other = (
        keypoints_of([SimpleNamespace(keypoints=keypoints)], [camera])
        for keypoints in (Keypoints(COCO.name, flat, sure), Keypoints(joint_set.name, points, confidence))
    )
    np.testing.assert_array_equal(other.rays, taken.rays)
    np.testing.assert_array_equal(other.confidence, taken.confidence)


def test_joints_of_human36m_that_lie_elsewhere_are_no_keypoints_of_coco():
    points = np.arange(34.0).reshape(17, 2)
    found = Keypoints(FIELD_JOINTS.name, points, np.ones(17)).of(COCO)
    seen = {name for name, sure in zip(COCO.names, found.confidence, strict=True) if sure}
    limbs = {f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist", "knee", "ankle")}
    assert seen == limbs
    assert np.allclose(found.points[COCO.index("left_knee")], points[FIELD_JOINTS.index("left_knee")])


def test_who_has_no_joint_of_coco_is_marked_by_the_network():
    """Given keypoints count where they are COCO's, whatever the set; feet alone, a face or unseen joints are none."""
    of_network = np.arange(34.0).reshape(17, 2), np.full(17, 0.9)
    feet, face = np.zeros(25), np.ones(len(OPENPOSE_FACE))
    feet[19:] = 0.8
    nose = np.eye(25)[0]
    sets = [(OPENPOSE_25.name, nose), (OPENPOSE_25.name, feet), (COCO.name, np.zeros(17)), (OPENPOSE_FACE.name, face)]
    boxes = [
        Box(np.array([5.0, 5, 60, 90]), None, "keypoints", Keypoints(name, np.ones((len(sure), 2)), sure))
        for name, sure in sets
    ]
    picture = Picture("a.jpg", np.zeros((120, 90, 3), np.uint8), assumed_camera(90, 120))
    found = [marking(lambda _, box=box: [box], lambda *_: of_network)(picture)[0] for box in boxes]
    assert found[0] is boxes[0]
    assert all(box.keypoints.joint_set == COCO.name and box.keypoints.confidence[16] == 0.9 for box in found[1:])


@pytest.mark.parametrize("augmented", [False, True])
def test_the_keypoint_network_looks_as_often_as_the_model(augmented):
    model = load_model(free_model.folder(), augmented=augmented)
    assert BodyFits(model).keypoints.augmented == augmented


def test_without_a_decoder_people_stay_as_they_are():
    one = shown(load_body(), [standing(0)])
    fits = SimpleNamespace(decoder=None)
    assert embody(list(one.people), [one.picture.camera], fits) == list(one.people)
