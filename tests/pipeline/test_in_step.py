"""A camera that films with a lag is told by the geometry of somebody who moves; cameras in step are not."""

from itertools import product

import numpy as np
import pytest

from pipeline.agreement import sight_of
from pipeline.camera import project, world_to_camera
from pipeline.in_step import doubt_step, lags_of_halves, out_of_step
from pipeline.records import Camera, View
from pipeline.skeletons import COCO
from tests.pipeline.people import standing

FRAMES = range(40)


def camera(k: int) -> Camera:
    angle = 0.4 + 1.6 * k
    centre = np.array([4 * np.cos(angle), 0.3 * k, 4 * np.sin(angle)])
    z = -centre / np.linalg.norm(centre)
    x = np.cross([0.0, -1.0, 0.0], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    return Camera(np.array([[500.0, 0, 200], [0, 500, 250], [0, 0, 1]]), R, -R @ centre, 400, 500)


def walking(frame: int, pace: float) -> np.ndarray:
    """(17, 3) metres of somebody whose arms and legs swing."""
    joints = standing(COCO.names)
    for part, sign in product(("wrist", "elbow", "knee", "ankle"), (1, -1)):
        swing = {"wrist": 0.3, "elbow": 0.15, "knee": -0.15, "ankle": -0.35}[part]
        joints[COCO.index(f"{'left' if sign > 0 else 'right'}_{part}"), 2] += sign * swing * np.sin(pace * frame)
    return joints + [0.01 * pace * frame, 0, 0]


def rig(late, pace=0.5, step=1, cameras=3, noise=1.5, later=None):
    """Sights of cameras of which the second is late, with the noise of a detector, part of which stays. later: by how much it is
    late in the second half of the frames, where that is another number."""
    lags = {frame: late if later is None or frame < len(FRAMES) / 2 else later for frame in FRAMES}
    rng = np.random.default_rng(0)
    sights = {}
    for k in range(cameras):
        lens, steady = camera(k), rng.normal(0, noise, (17, 2))
        moments = {}
        for frame in FRAMES:
            joints = walking(frame - (lags[frame] if k == 1 else 0), pace)
            points = project(lens, world_to_camera(lens, joints)) + steady + rng.normal(0, noise, (17, 2))
            moments[step * frame] = sight_of(View("", f"cam{k}", lens, "", np.zeros(4), points, np.ones(17)))
        sights[f"cam{k}"] = moments
    return sights


@pytest.mark.parametrize(("late", "noise"), [(1, 0.5), (-1, 0.5), (2, 1.0), (3, 1.5), (-3, 1.5)])
def test_a_lag_is_told_to_the_frame(late, noise):
    assert out_of_step(rig(late, noise=noise)) == ("cam1", late)


def test_frames_are_counted_on_the_clock_of_the_files():
    assert out_of_step(rig(2, step=4)) == ("cam1", 8)


def test_of_two_cameras_one_is_put_right():
    name, late = out_of_step(rig(3, cameras=2))
    assert (name, late) in {("cam1", 3), ("cam0", -3)}


def test_a_camera_of_another_frame_rate_is_not_given_an_offset():
    def told(**how):
        sights = rig(**how)
        frames = sights["cam0"]
        return doubt_step({frame: {name: seen[frame] for name, seen in sights.items()} for frame in frames}, {})

    said = told(late=4, later=10, pace=0.25, noise=0.7)
    assert "cam1 seems 4 frames late in the first half of its frames and" in said and "offsets" not in said
    assert "-o offsets=cam1:3 puts it in step" in told(late=3)
    assert "-o offsets=cam1:" in told(late=1.5, step=5, noise=0.5), "between two frames that were kept"
    assert told(late=0) is None


def test_halves_are_compared_with_cameras_from_all_sides():
    """The first others may see nobody."""
    sights = rig(2, cameras=7, noise=0.5)
    for blind in ("cam0", "cam2", "cam3"):
        sights[blind] = {}
    assert lags_of_halves(sights, "cam1") == (2, 2)


def test_nothing_is_told_of_cameras_in_step_nor_of_who_stands_still():
    for noise in (0.0, 0.5, 1.5, 4.0):
        assert out_of_step(rig(0, noise=noise)) is None
        assert out_of_step(rig(3, pace=0.0, noise=noise)) is None


def test_frames_that_are_too_few_tell_nothing():
    few = {name: {frame: moments[frame] for frame in range(9)} for name, moments in rig(2).items()}
    assert out_of_step(few) is None and out_of_step({}) is None
