import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from benchmarks.fit_collisions import CROSSED_ARMS, penetrating_volume
from model.body_fit import BodyDecoder, BodyFitSettings, Keypoints
from model.body_fit.decoder import STRANGE
from model.body_fit.evidence import LEAST_KEYPOINTS, made_usable, weigh_in
from model.body_fit.uncertainty import KEYPOINTS_SPREAD, likely_right
from model.decoding import fitted
from model.scoring.evaluation import Predictions
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.lift.network import Lifted
from pipeline.skeletons import COCO, FIELD_JOINTS, SMPLX_22


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def posed(body):
    """(12, J, 3) joints of posed bodies about their roots, COCO's keypoints (12, 17, 3) of the same, and roots (12, 3), metres."""
    rng = np.random.default_rng(0)
    pose = np.zeros((12, 21, 3), np.float32)
    pose[:, [0, 1, 3, 4, 15, 16, 17, 18]] = rng.normal(0, 0.3, (12, 8, 3))
    parameters = {
        "betas": rng.normal(0, 1, (12, 10)),
        "global_orient": np.tile([np.pi, 0, 0], (12, 1)),
        "body_pose": pose.reshape(12, -1),
    }
    vertices, joints = body.pose({name: torch.as_tensor(value) for name, value in parameters.items()})
    points, marked = (keypoint_map(body, name)(joints.numpy(), vertices.numpy()) for name in (FIELD_JOINTS, COCO))
    root = points[:, [FIELD_JOINTS.root_index]]
    return points - root, marked - root, rng.uniform(-0.3, 0.3, (12, 3)) + [0, 0, 4]


@pytest.fixture(scope="module")
def people(posed):
    """Joints about the roots, and the roots."""
    return posed[0], posed[2]


def mean_error(joints, truth):
    return float(np.linalg.norm(joints - truth, axis=-1).mean())


def without_lifter(decoder):
    decoder.lifter = None
    return decoder


def test_a_body_s_own_joints_are_found_again(body, people):
    joints, root = people
    found = BodyDecoder(body, FIELD_JOINTS, BodyFitSettings(along=0.005, across=0.002))(joints, root)
    assert mean_error(found.joints, joints) < 0.005
    assert len(found.parameters) == 12 and np.abs(found.root - root).max() < 0.1


def test_a_body_takes_away_part_of_the_noise(body, people):
    joints, root = people
    noisy = joints + np.random.default_rng(1).normal(0, [0.02, 0.02, 0.1], joints.shape)
    noisy -= noisy[:, FIELD_JOINTS.root_index, None]
    found = BodyDecoder(body, FIELD_JOINTS)(noisy, root)
    assert mean_error(found.joints, joints) < 0.9 * mean_error(noisy, joints)


def test_a_body_does_not_depend_on_those_beside_it(body, people):
    joints, root = people
    decoder = BodyDecoder(body, FIELD_JOINTS)
    together, alone = decoder(joints, root), decoder(joints[3:4], root[3:4])
    assert np.abs(together.joints[3] - alone.joints[0]).max() < 1e-5


def test_the_same_body_alone_and_in_any_batch_to_a_hundredth_of_a_millimetre(body, people):
    joints, root = (part.copy() for part in people)
    confidence = np.random.default_rng(2).uniform(0.05, 0.95, joints.shape[:2])
    joints[5] += 0.4 * np.random.default_rng(3).normal(size=joints[5].shape)  # beside one that is hard to fit
    joints[7] = np.nan  # and one that is nobody
    keypoints = seen_exactly(people)
    decoder = BodyDecoder(body, FIELD_JOINTS)
    together = decoder(joints, root, keypoints, confidence)
    for row in (0, 6, 7, 11):
        one = slice(row, row + 1)
        alone = decoder(joints[one], root[one], keypoints.take(one), confidence[one])
        assert np.abs(together.joints[row] - alone.joints[0]).max() < 1e-5
        assert np.abs(together.spread[row] - alone.spread[0]).max() < 1e-5
        assert together.doubts[row] == alone.doubts[0]
        for name, values in alone.table().items():
            assert np.abs(values[0] - together.table()[name][row]).max() < 1e-4, name


@pytest.fixture(scope="module")
def crossed(body):
    """(4, J, 3) joints about their roots of two people with crossed arms and of two who stand, and roots (4, 3), metres."""
    pose = np.zeros((4, 21, 3))
    for name, turn in CROSSED_ARMS.items():
        pose[:2, SMPLX_22.index(name) - 1] = 1.15 * np.array(turn)
    pose[1] *= 0.9
    parameters = {"global_orient": np.tile([np.pi, 0, 0], (4, 1)), "body_pose": pose.reshape(4, -1)}
    vertices, joints = body.pose({name: torch.as_tensor(value) for name, value in parameters.items()})
    points = keypoint_map(body, FIELD_JOINTS)(joints.numpy(), vertices.numpy())
    root = points[:, FIELD_JOINTS.root_index]
    return points - root[:, None], np.tile([0.0, 0.0, 4.0], (4, 1))


def test_limbs_are_moved_out_of_each_other_and_other_bodies_stay_as_they_are(body, crossed, monkeypatch):
    decoder = BodyDecoder(body, FIELD_JOINTS)
    parted = decoder(*crossed)
    monkeypatch.setattr("model.body_fit.decoder.part_limbs", lambda objective, penalty, state: state)
    left = decoder(*crossed)
    before, after = (
        [penetrating_volume(body.mesh(one)[0], body.faces) for one in bodies.parameters[:2]]
        for bodies in (left, parted)
    )
    assert all(after[k] < 0.6 * before[k] and before[k] > 0.1 for k in (0, 1)), (before, after)
    assert mean_error(parted.joints, crossed[0]) < 0.04
    assert np.array_equal(parted.joints[2:], left.joints[2:])


def test_a_body_that_runs_into_itself_is_the_same_alone_and_in_a_batch(body, crossed):
    joints, root = crossed
    decoder = BodyDecoder(body, FIELD_JOINTS)
    together, alone = decoder(joints, root), decoder(joints[1:2], root[1:2])
    assert np.abs(together.joints[1] - alone.joints[0]).max() < 1e-5


def seen_exactly(people):
    """Where a camera sees COCO's keypoints of the same bodies that lie on joints of the field's set."""
    joints, root = people
    rays = np.zeros((len(joints), 17, 2))
    confidence = np.zeros((len(joints), 17))
    for k, name in enumerate(COCO.names):
        if name.split("_")[-1] in ("elbow", "ankle"):
            points = joints[:, FIELD_JOINTS.index(name)] + root
            rays[:, k], confidence[:, k] = points[:, :2] / points[:, 2:], 1.0
    return Keypoints(rays, confidence)


def test_keypoints_correct_joints_that_are_wrong_in_the_image(body, people):
    joints, root = people
    wrong = joints.copy()
    elbows = FIELD_JOINTS.indices(("left_elbow", "right_elbow"))
    wrong[:, elbows, 0] += 0.08
    decoder = BodyDecoder(body, FIELD_JOINTS)
    without, seen = decoder(wrong, root), decoder(wrong, root, seen_exactly(people))
    assert mean_error(seen.joints[:, elbows], joints[:, elbows]) < 0.85 * mean_error(
        without.joints[:, elbows], joints[:, elbows]
    )


def all_keypoints(people, seen):
    """Where a camera sees COCO's joints that bear a name of the field's set; `seen` of them a person, (N,)."""
    joints, root = people
    named = [k for k, name in enumerate(COCO.names) if name in FIELD_JOINTS.names]
    points = joints[:, FIELD_JOINTS.indices([COCO.names[k] for k in named])] + root[:, None]
    rays, confidence = np.zeros((len(joints), 17, 2)), np.zeros((len(joints), 17))
    rays[:, named] = points[..., :2] / points[..., 2:]
    for row, count in enumerate(seen):
        confidence[row, named[:count]] = 1.0
    return Keypoints(rays, confidence)


def test_people_with_keypoints_are_placed_in_the_image_by_these_above_all(body, people):
    """From LEAST_KEYPOINTS on; beside them others keep the image positions of their votes, which are believed as before."""
    settings, decoder = BodyFitSettings(), without_lifter(BodyDecoder(body, FIELD_JOINTS))
    joints, root = people[0][:3], people[1][:3]
    told = made_usable(joints, root, decoder.filler)
    keypoints = all_keypoints((joints, root), [LEAST_KEYPOINTS, LEAST_KEYPOINTS - 1, 0])
    found = decoder.objective(told, keypoints).evidence
    J = len(FIELD_JOINTS)
    image = found.pixels_weight[:, 0, :J].numpy()
    assert image[0] == pytest.approx((settings.across / settings.across_beside) ** 2) and image[1:] == pytest.approx(1)
    assert (found.pixels_weight[:, 1] > 0).sum(1).tolist() == [LEAST_KEYPOINTS, LEAST_KEYPOINTS - 1, 0]
    believed = found.points_weight[:, :J].numpy()
    assert believed[0] == pytest.approx(settings.beside_keypoints**-2)
    assert believed[1:] == pytest.approx(settings.along**-2)


def test_keypoints_of_somebody_else_are_not_heard(body, posed):
    """Moved by a metre. The body is that of the joints alone, its doubts say so, and those of others do not change."""
    joints, marked, root = posed
    decoder = BodyDecoder(body, FIELD_JOINTS)
    where = marked + root[:, None]
    rays, sure = where[..., :2] / where[..., 2:], np.full(where.shape[:2], 0.9)
    wrong = rays.copy()
    wrong[0] += 1.0 / root[0, 2]
    alone, right, found = (
        decoder(joints, root),
        decoder(joints, root, Keypoints(rays, sure)),
        decoder(joints, root, Keypoints(wrong, sure)),
    )
    assert [STRANGE in said for said in found.doubts] == [True] + [False] * (len(root) - 1)
    assert not any(STRANGE in said for said in right.doubts)
    assert (
        np.abs(found.joints[:1] - alone.joints[:1]).max() < 1e-5
        and np.abs(found.spread[:1] - alone.spread[:1]).max() < 1e-5
    )
    assert np.abs(found.joints[1:] - right.joints[1:]).max() < 1e-5
    assert np.abs(right.joints - alone.joints).max() > 1e-3


def test_keypoints_are_heard_where_the_network_errs_about_a_limb_or_does_not_know_the_place(body, posed):
    joints, marked, root = posed
    decoder = BodyDecoder(body, FIELD_JOINTS)
    where = marked + root[:, None]
    keypoints = Keypoints(where[..., :2] / where[..., 2:], np.full(where.shape[:2], 0.9))
    arm = FIELD_JOINTS.indices(("left_elbow", "left_wrist"))
    wrong = joints.copy()
    wrong[:, arm, 1] += 0.7
    far = keypoints.rays.copy()
    far[:, [9, 10, 13, 14, 15, 16, 7, 8, 5]] += 1.0 / root[:, None, 2:]  # more than half, and hardly sure
    unsure = Keypoints(
        far, np.where(np.isin(np.arange(17), [9, 10, 13, 14, 15, 16, 7, 8, 5]), 0.1, 0.9) * np.ones((len(root), 1))
    )
    for told, place, said in (
        (wrong, root, keypoints),
        (joints, np.full_like(root, np.nan), keypoints),
        (joints, root, unsure),
    ):
        assert not any(STRANGE in doubt for doubt in decoder(told, place, said).doubts)
    heard, alone = decoder(wrong, root, keypoints), decoder(wrong, root)
    assert mean_error(heard.joints[:, arm], joints[:, arm]) < 0.7 * mean_error(alone.joints[:, arm], joints[:, arm])


def test_a_wrong_distance_of_the_root_does_not_bend_the_body(body, posed):
    """Keypoints say how large the person is in the image; joints that may all have shifted leave the distance to them."""
    joints, marked, root = posed
    marked = marked + root[:, None]
    keypoints = Keypoints(marked[..., :2] / marked[..., 2:], np.ones(marked.shape[:2]))
    told = root + np.array([0.0, 0.0, 0.5])
    free = without_lifter(BodyDecoder(body, FIELD_JOINTS))(joints, told, keypoints)
    held = without_lifter(BodyDecoder(body, FIELD_JOINTS, BodyFitSettings(shift=1e-3)))(joints, told, keypoints)
    assert np.abs(free.root - root)[:, 2].mean() < 0.5 * np.abs(held.root - root)[:, 2].mean()
    assert mean_error(free.joints, joints) < mean_error(held.joints, joints)


def test_keypoints_come_from_pixels_of_a_camera():
    K = np.array([[500.0, 0, 100], [0, 400, 80], [0, 0, 1]])
    found = Keypoints.from_pixels(np.full((2, 17, 2), [150.0, 60.0]), np.ones((2, 17)), K)
    assert np.allclose(found.rays, [0.1, -0.05])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e9])
def test_a_joint_without_a_place_is_left_to_the_prior_and_said(body, people, bad):
    joints, root = (part.copy() for part in people)
    joints[2, FIELD_JOINTS.index("left_wrist")] = bad
    found = BodyDecoder(body, FIELD_JOINTS)(joints, root)
    assert found.doubts[2] == "1 of 17 joints have no place" and found.doubts[3] == ""
    assert mean_error(found.joints[2], people[0][2]) < 0.1
    wrist = FIELD_JOINTS.index("left_wrist")
    assert found.spread[2, wrist] > 1.2 * found.spread[2, FIELD_JOINTS.index("right_wrist")]


def test_nobody_is_a_body_with_doubts_and_never_a_nan(body, people):
    joints, root = (part.copy() for part in people)
    joints[1], root[2], root[3, 2], joints[4, 5:] = np.nan, np.nan, -3.0, np.nan
    joints[6], root[6], root[7, 2] = np.nan, np.nan, 1e9
    keypoints = Keypoints(np.full((12, 17, 2), np.nan), np.full((12, 17), np.nan))
    found = BodyDecoder(body, FIELD_JOINTS)(joints, root, keypoints, np.full((12, 17), np.nan))
    assert all(np.isfinite(part).all() for part in (found.joints, found.root, found.spread, *found.table().values()))
    assert "fewer than 6 joints" in found.doubts[1] and "is not known" in found.doubts[2]
    assert "is not known" in found.doubts[3] and "fewer than 6 joints" in found.doubts[4]
    assert "is not known; fewer than 6" in found.doubts[6] and "is not known" in found.doubts[7]
    assert (found.root[:, 2] > 0).all()


def test_no_view_is_no_body(body):
    found = BodyDecoder(body, FIELD_JOINTS)(np.zeros((0, 17, 3)), np.zeros((0, 3)))
    assert found.joints.shape == (0, 17, 3) and found.table()["body_pose"].shape == (0, 63)


def test_the_spread_grows_with_what_is_not_known(body, people):
    joints, root = people
    decoder = BodyDecoder(body, FIELD_JOINTS)
    sure, unsure = (decoder(joints, root, confidence=np.full(joints.shape[:2], p)).spread for p in (0.9, 0.1))
    assert (sure[:, FIELD_JOINTS.root_index] == 0).all()
    assert (unsure[:, 1:] > sure[:, 1:]).all() and unsure.mean() > 1.5 * sure.mean()
    decoder = BodyDecoder(body, FIELD_JOINTS, spread_factor=2.3)
    scattered = decoder(joints, root, confidence=np.full(joints.shape[:2], 0.001))
    assert all("mm off" in said for said in scattered.doubts)


def test_where_keypoints_say_where_a_person_is_the_spread_says_how_sure_a_joint_is(body, people):
    joints, root = people[0][:3], people[1][:3]
    told = np.linspace(0.1, 0.9, 3 * 17).reshape(3, 17)
    keypoints = all_keypoints((joints, root), [LEAST_KEYPOINTS, LEAST_KEYPOINTS - 1, 0])
    found = BodyDecoder(body, FIELD_JOINTS, spread_factor=3.6)(joints, root, keypoints, told)
    plain = BodyDecoder(body, FIELD_JOINTS)(joints, root, keypoints, told)
    np.testing.assert_allclose(found.spread[0], KEYPOINTS_SPREAD * plain.spread[0], rtol=1e-6)
    np.testing.assert_allclose(found.spread[1:], 3.6 * plain.spread[1:], rtol=1e-6)
    np.testing.assert_array_equal(found.confidence[1:], told[1:])
    np.testing.assert_array_equal(found.confidence[0], likely_right(found.spread[0]))
    order = np.argsort(found.spread[0])
    assert (np.diff(found.confidence[0][order]) <= 0).all() and found.confidence[0].min() < found.confidence[
        0
    ].max() == 1
    # by the definition: of points that scatter as stated, so many lie within 100 mm
    scattered = np.random.default_rng(0).normal(0, 0.09 / np.sqrt(3), (200_000, 3))
    assert abs((np.linalg.norm(scattered, axis=1) < 0.1).mean() - likely_right(np.array([0.09]))[0]) < 0.005


def test_settings_that_mean_nothing_are_refused():
    for name in ("along", "across", "robust", "keypoints", "prior", "shape", "batch"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            BodyFitSettings(**{name: 0})


def test_bodies_in_an_evaluation_take_the_place_of_votes(body, people):
    joints, root = people
    none = np.full(12, np.nan)
    predicted = Predictions(
        np.arange(12), joints, root, none, none, none, np.full((12, 17), 0.8), None, None, None, seconds=1.0
    )
    found, bodies = fitted(predicted, BodyDecoder(body, FIELD_JOINTS))
    assert (found.joints == bodies.joints).all() and found.seconds > 1.0
    assert np.abs(found.joints - joints).max() > 0


def test_hypotheses_are_different_bodies_and_the_fitted_one_comes_first(body, people):
    joints, root = people
    decoder = BodyDecoder(body, FIELD_JOINTS)
    fitted_ones, found = decoder(joints, root), decoder.hypotheses(joints, root, 4)
    assert np.abs(found.joints[:, 0] - fitted_ones.joints).max() < 1e-9
    assert np.allclose(found.weights.sum(1), 1) and (found.weights[:, 0] > 0).all()
    assert (found.weights > 0).sum(1).mean() > 1.5
    centred = found.joints - found.joints.mean(2, keepdims=True)
    for row, weights in enumerate(found.weights):
        there = np.flatnonzero(weights)
        for k in there:
            for other in there[there < k]:
                assert np.linalg.norm(centred[row, k] - centred[row, other], axis=-1).mean() >= 0.025
    none = found.weights == 0
    assert np.abs(found.joints - found.joints[:, :1])[none].max(initial=0) < 1e-9
    alone = decoder.hypotheses(joints[3:4], root[3:4], 4)
    assert np.abs(alone.joints[0] - found.joints[3]).max() < 1e-5
    assert np.abs(alone.weights[0] - found.weights[3]).max() < 1e-5


def test_hypotheses_of_nobody_and_of_no_view_are_numbers(body, people):
    joints, root = (part.copy() for part in people)
    joints[1], root[2] = np.nan, np.nan
    found = BodyDecoder(body, FIELD_JOINTS).hypotheses(joints, root, 3)
    assert np.isfinite(found.joints).all() and np.isfinite(found.weights).all()
    assert BodyDecoder(body, FIELD_JOINTS).hypotheses(joints[:0], root[:0], 3).joints.shape == (0, 3, 17, 3)
    for count in (0, 7):
        with pytest.raises(ValueError, match=f"{count} hypotheses"):
            BodyDecoder(body, FIELD_JOINTS).hypotheses(joints[:1], root[:1], count)


def test_the_lifter_tells_how_a_body_lies_in_depth(body):
    """People who stand with their arms down, lean, or lift a knee: keypoints that are right, beside votes for somebody who stands
    upright before the camera."""
    lean, heading = np.radians([0, 30, -30, 15, -20, 25])[:, None], np.array([0, 0.5, 0, -0.7, 2.6, 1.2])[:, None]
    turns = Rotation.from_euler("x", np.pi + lean) * Rotation.from_euler("y", heading)
    pose = np.zeros((6, 21, 3))
    pose[:, [15, 16], 2] = [-1.1, 1.1]
    pose[3:, 0, 0], pose[3:, 3, 0] = -1.0, 1.0
    parameters = {"global_orient": turns.as_rotvec(), "body_pose": pose.reshape(6, -1)}
    vertices, places = body.pose({name: torch.as_tensor(value).float() for name, value in parameters.items()})
    points, marked = (keypoint_map(body, name)(places.numpy(), vertices.numpy()) for name in (FIELD_JOINTS, COCO))
    root = np.tile([0.1, 0.0, 4.0], (6, 1))
    joints, marked = (part - points[:, [FIELD_JOINTS.root_index]] for part in (points, marked))
    told, blind = BodyDecoder(body, FIELD_JOINTS), without_lifter(BodyDecoder(body, FIELD_JOINTS))
    upright = np.tile(told.filler, (6, 1, 1))
    marked = marked + root[:, None]
    keypoints = Keypoints(marked[..., :2] / marked[..., 2:], np.full(marked.shape[:2], 0.8))
    with_both, without = (decoder(upright, root, keypoints).joints for decoder in (told, blind))
    assert mean_error(with_both, joints) < 0.7 * mean_error(without, joints)


def test_what_the_lifter_says_is_weighed_by_how_sure_it_is():
    points, weight = np.zeros((1, 3, 3)), np.array([[100.0, 100.0, 0.0]])
    root = np.array([[0.0, 0.0, 4.0]])
    points += root
    lifted = Lifted(np.ones((1, 3, 3)), np.array([[0.1, 0.2, 0.1]]), np.array([True]))
    weigh_in(points, weight, lifted, root, np.ones(3, bool), np.ones((1, 3)))
    assert np.allclose(points[0, :, 0], [0.5, 0.2, 1.0]) and np.allclose(weight, [[200, 125, 100]])
    weigh_in(
        points, weight, Lifted(np.ones((1, 3, 3)), np.full((1, 3), 0.1), np.array([False])), root, np.ones(3, bool), 1.0
    )
    assert np.allclose(weight, [[200, 125, 100]])


def test_where_votes_are_in_the_image_stays_their_own(body, people):
    joints, root = people
    decoders = BodyDecoder(body, FIELD_JOINTS), without_lifter(BodyDecoder(body, FIELD_JOINTS))
    told, blind = (decoder.objective(made_usable(joints, root, decoder.filler)).evidence for decoder in decoders)
    assert torch.equal(told.pixels, blind.pixels) and torch.equal(told.pixels_weight, blind.pixels_weight)
    assert (told.points - blind.points).abs().max() > 0.01
    assert torch.equal(told.points[:, FIELD_JOINTS.root_index], blind.points[:, FIELD_JOINTS.root_index])
