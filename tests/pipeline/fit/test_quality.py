"""When a fit counts as wrong: the thresholds that the field's papers use, at their edges."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.camera import project, world_to_camera
from pipeline.fit import FitSettings
from pipeline.fit.quality import measure
from pipeline.records import Camera, Instant, View
from pipeline.skeletons import COCO

SOLVED = {"iterations": 1, "converged": True, "start": "", "margin": 0.0}


@pytest.fixture
def instant():
    """Seventeen joints 4 m before a camera, known in 3D and in the image."""
    points = np.random.default_rng(0).normal(0, 0.3, (17, 3)) + [0, 0, 4]
    camera = Camera(np.array([[500.0, 0, 200], [0, 500, 200], [0, 0, 1]]), np.eye(3), np.zeros(3), 400, 400)
    pixels = project(camera, world_to_camera(camera, points))
    view = View("a/1", "1", camera, "a.jpg", np.array([100.0, 100, 200, 160]), pixels, np.ones(17))
    return Instant("a", "S1", "walk", 0, "human36m_17", (view,), points, np.ones(17, bool), True)


@pytest.mark.parametrize("millimetres, valid", [(24.9, True), (25.1, False)])
def test_3d_error_is_taken_after_the_means_are_aligned_and_must_be_within_25_mm(instant, millimetres, valid):
    """Not at the root, and not by Procrustes: a shift is free, a turn or a size is not."""
    out = np.zeros((17, 3))
    out[:, 0] = np.where(np.arange(17) % 2, 1.0, -1.0)  # nine to one side, eight to the other
    out -= out.mean(0)
    off = out * (millimetres / 1000 / np.linalg.norm(out, axis=1).mean())
    quality = measure(instant, instant.joints_3d + off + [0.3, -0.2, 0.1], FitSettings(), **SOLVED)
    assert quality.fit_error_mm == pytest.approx(millimetres) and quality.valid == valid
    larger = measure(instant, 1.2 * instant.joints_3d, FitSettings(), **SOLVED)
    assert larger.fit_error_mm > 50 and not larger.valid


@pytest.mark.parametrize("pixels_of_64, valid", [(2.99, True), (3.01, False)])
def test_without_3d_the_image_decides_3_px_in_a_crop_of_64(instant, pixels_of_64, valid):
    side = 1.25 * 200  # the crop about a box of 200 x 160 px
    (view,) = instant.views
    moved = replace(view, joints_2d=view.joints_2d + [pixels_of_64 / 64 * side, 0])
    flat = replace(instant, views=(moved,), joints_3d=None, joints_3d_valid=None)
    quality = measure(flat, instant.joints_3d, FitSettings(), **SOLVED)
    assert quality.reprojection_crop[0] == pytest.approx(pixels_of_64 / 64) and quality.valid == valid
    # where joints are known in 3D they decide, whatever the image says
    assert measure(replace(instant, views=(moved,)), instant.joints_3d, FitSettings(), **SOLVED).valid


def test_i2ls_product_of_the_hips_depths_does_not_enter_the_check_of_coco(instant):
    """Its add_pelvis multiplies z as it multiplies validities: 4 m and 4 m give a pelvis 16 m away, and a good fit an error."""
    points = instant.joints_3d + [0.8, 0, 0]
    view = replace(instant.views[0], joints_2d=project(instant.views[0].camera, points))
    coco = replace(instant, joint_set=COCO.name, views=(view,), joints_3d=None, joints_3d_valid=None)
    quality = measure(coco, points, FitSettings(), **SOLVED)
    assert "pelvis" not in COCO.names and quality.reprojection_px[0] < 1e-9 and quality.valid
    hips = COCO.indices(("left_hip", "right_hip"))
    theirs = np.r_[points[hips, :2].mean(0), points[hips, 2].prod()]
    assert np.linalg.norm(project(view.camera, theirs) - view.joints_2d[hips].mean(0)) > 50


@pytest.mark.parametrize("known, valid", [(1, False), (3, False), (5, False), (6, True)])
def test_a_few_joints_in_3d_do_not_speak_for_a_body_that_lies_beside_the_picture(instant, known, valid):
    """The means are aligned, so that one joint is always right."""
    far = replace(instant.views[0], joints_2d=instant.views[0].joints_2d + 60)
    some = replace(instant, views=(far,), joints_3d_valid=np.arange(17) < known)
    quality = measure(some, instant.joints_3d, FitSettings(), **SOLVED)
    assert quality.fit_error_mm < 1e-9 and quality.valid == valid


def test_joints_that_are_not_valid_judge_nothing(instant):
    known = np.arange(17) != 3
    spoilt = instant.joints_3d.copy()
    spoilt[3] += 5
    quality = measure(replace(instant, joints_3d_valid=known), spoilt, FitSettings(), **SOLVED)
    assert quality.fit_error_mm < 1e-9 and quality.valid
