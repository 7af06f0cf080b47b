"""Smoothing takes noise away and leaves movements where they are; nobody waits for ever, and everybody keeps his order."""

from dataclasses import replace

import numpy as np
import pytest

from model.people.photographs import photograph_camera
from model.people.records import Person, Picture, PicturePeople
from model.people.smooth import MOST_WAITING, on_curve, smooth_tracks, steadied
from pipeline.records import PARAMETER_SIZES, BodyParameters

CAMERA = photograph_camera(80, 60, None)
PIXELS = np.zeros((60, 80, 3), np.uint8)
ROOT = np.array([0.1, 0.2, 4.0])


def person(joints, track, confidence=0.9, root=ROOT) -> Person:
    joints = np.asarray(joints, float)
    count = len(joints)
    sure = np.full(count, confidence)
    return Person(
        np.array([0, 0, 9, 9.0]), 0.9, "detector", joints, root, np.zeros((count, 2)), sure, sure > 0.5, 1.0, track
    )


def video(people: list[list[Person]], fps=25.0, name="v.mp4"):
    for k, here in enumerate(people):
        shown = f"{name}#frame={k}"
        picture = Picture(shown, PIXELS, CAMERA, k, k / fps)
        yield picture, PicturePeople(shown, 80, 60, CAMERA, tuple(here), k, k / fps)


def test_noise_shrinks_and_a_movement_does_not_lag():
    """A wrist that swings once a second, with 30 mm of noise."""
    rng, times = np.random.default_rng(0), np.arange(100) / 25
    true = np.stack([0.3 * np.sin(2 * np.pi * times), 0.2 * np.cos(2 * np.pi * times), 0.5 * times], 1)[:, None]
    noisy = true + rng.normal(0, 0.03, true.shape)
    found = list(smooth_tracks(video([[person(joints, 1)] for joints in noisy])))
    smooth = np.stack([people.people[0].joints for _, people in found])
    before, after = (np.linalg.norm(values - true, axis=-1)[8:-8].mean() for values in (noisy, smooth))
    assert after < 0.65 * before
    jitter = [np.diff(values, 2, axis=0).std() for values in (noisy, smooth)]
    assert jitter[1] < 0.25 * jitter[0]
    clean = list(smooth_tracks(video([[person(joints, 1)] for joints in true])))
    kept = np.stack([people.people[0].joints for _, people in clean])
    delays = range(-3, 4)
    off = [np.linalg.norm(kept[10:-10] - true[10 + d : len(true) - 10 + d], axis=-1).mean() for d in delays]
    assert delays[int(np.argmin(off))] == 0 and np.linalg.norm(kept - true, axis=-1)[8:-8].max() < 0.01


def test_people_of_other_tracks_and_photographs_stay_as_they_are():
    rng = np.random.default_rng(0)
    frames = [[person(rng.normal(size=(2, 3)), k % 2 + 1), person(rng.normal(size=(2, 3)), None)] for k in range(6)]
    alone = list(smooth_tracks(video([[one[1]] for one in frames])))
    together = list(smooth_tracks(video(frames)))
    for (_, before), (_, after) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(before.people[0].joints, after.people[1].joints)
    photograph = Picture("a.png", PIXELS, CAMERA), PicturePeople("a.png", 80, 60, CAMERA, (frames[0][0],))
    (same,) = smooth_tracks([photograph])
    assert same is photograph or same[1] == photograph[1]


def test_a_joint_that_is_not_sure_follows_its_neighbours():
    still = np.zeros((1, 3))
    frames = [[person(still, 1)] for _ in range(9)]
    frames[4] = [person(still + 0.5, 1, confidence=0.0)]
    found = [people.people[0].joints for _, people in smooth_tracks(video(frames))]
    assert np.linalg.norm(found[4]) < 0.15


def test_joints_in_the_picture_are_those_in_space():
    frames = [[person([[0, 0, 0], [0.1 * k, 0, 0.2]], 1, root=ROOT + [0, 0, 0.01 * k])] for k in range(9)]
    for _, people in smooth_tracks(video(frames)):
        points = people.people[0].joints + people.people[0].root
        flat = points[:, :2] / points[:, 2:] @ CAMERA.K[:2, :2].T + CAMERA.K[:2, 2]
        np.testing.assert_allclose(people.people[0].joints_2d, flat, atol=1e-6)
        np.testing.assert_allclose(people.people[0].joints[0], 0, atol=1e-9)


def test_joints_stay_relative_to_a_root_whose_distance_wavers():
    """However sure each joint is in each frame: what nobody moved stays in its place."""
    rng, joints = np.random.default_rng(0), np.array([[0, 0, 0], [0.1, 0.2, 0.3], [-0.4, 0, 0.1]])
    frames = []
    for _ in range(30):
        one = person(joints, 1, root=ROOT + [0, 0, rng.normal(0, 0.08)])
        frames.append([replace(one, confidence=rng.uniform(0.1, 1, 3))])
    for _, people in smooth_tracks(video(frames)):
        np.testing.assert_allclose(people.people[0].joints, joints, atol=1e-6)
        np.testing.assert_array_equal(people.people[0].joints[0], 0)


def test_a_body_whose_distance_wavers_is_moved_onto_the_curve_and_keeps_its_joints():
    """It walks away at a steady pace; what it says of its distance is off by 50 mm."""
    rng, joints = np.random.default_rng(0), np.array([[0, 0, 0], [0.1, 0.2, 0.3]])
    away = np.stack([[0, 0, 4 + 0.05 * k] for k in range(40)])
    told = away + rng.normal(0, 0.05, away.shape) * [0, 0, 1]

    def body(place):
        sizes = {name: np.zeros(size, np.float32) for name, size in PARAMETER_SIZES.items()}
        return BodyParameters(**sizes | {"transl": (place + [0, 0.4, 0]).astype(np.float32)})

    frames = [[replace(person(joints, 1, root=place), body=body(place))] for place in told]
    found = [people.people[0] for _, people in smooth_tracks(video(frames), smoothing=steadied)]
    roots = np.stack([one.root for one in found])
    before, after = (np.abs(np.diff(values - away, 2, axis=0)).mean() for values in (told, roots))
    assert after < 0.3 * before and np.abs(roots - away)[4:-4].max() < 0.08
    for one in found:
        np.testing.assert_array_equal(one.joints, joints)
        np.testing.assert_allclose(one.body.transl - one.root, [0, 0.4, 0], atol=1e-5)
    alone = [people.people[0] for _, people in smooth_tracks(video([[person(joints, 1)]] * 9), smoothing=steadied)]
    assert all(one.body is None and (one.root == ROOT).all() for one in alone)


@pytest.mark.parametrize("fps", [5.0, 25.0, 240.0])
def test_the_order_is_kept_and_few_frames_wait(fps):
    ahead = {"read": 0, "most": 0}

    def read():
        for name in ("v.mp4", "w.mp4"):
            for pair in video([[person(np.zeros((1, 3)), 1)]] * 40, fps, name):
                ahead["read"] += 1
                yield pair
        yield None, PicturePeople("x.jpg", 0, 0, None, refusal="no")

    names = []
    for _, people in smooth_tracks(read()):
        ahead["most"] = max(ahead["most"], ahead["read"] - len(names))
        names.append(people.name)
    assert names == [f"{v}#frame={k}" for v in ("v.mp4", "w.mp4") for k in range(40)] + ["x.jpg"]
    assert ahead["most"] <= MOST_WAITING + 2


def test_a_parabola_goes_through_its_own_points():
    times = np.linspace(-1, 1, 7)
    values = np.stack([1 + 2 * times - 3 * times**2, 5 - times], 1)[:, None]
    np.testing.assert_allclose(on_curve(times, values, np.ones((7, 1))), [[1, 5]], atol=1e-6)
