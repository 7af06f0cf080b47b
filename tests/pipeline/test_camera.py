"""Cameras and crops against independent twins, and pictures whose warp is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pipeline.camera import (
    BOX_MARGIN,
    camera_to_world,
    distort,
    in_image,
    look_at,
    make_crop,
    pixel_rays,
    project,
    project_pinhole,
    source_pixels,
    undistort,
    warp_to_crop,
    world_to_camera,
)
from pipeline.errors import InputError
from pipeline.records import Camera

# A camera of Human3.6M's kind (its magnitudes, not its numbers), k1 k2 k3 p1 p2.
DISTORTION = np.array([-0.21, 0.25, -0.003, -0.0010, -0.0015])
K = np.array([[1145.0, 0, 512.5], [0, 1143.8, 515.5], [0, 0, 1]])


def camera(distortion=DISTORTION, width=1000, height=1002, scale=1.0):
    R = Rotation.from_euler("xyz", [100, 10, 60], degrees=True).as_matrix()
    scaled = np.diag([scale, scale, 1]) @ K
    return Camera(scaled, R, np.array([0.3, -0.2, 5.1]), round(width * scale), round(height * scale), distortion)


def project_point_radial(X, Y, Z, f, c, k, p):
    """Human3.6M's ProjectPointRadial, one point, in its own words: radial + tangential factor on XX, and (p2, p1) r2."""
    XX = (X / Z, Y / Z)
    r2 = XX[0] ** 2 + XX[1] ** 2
    radial = 1 + k[0] * r2 + k[1] * r2**2 + k[2] * r2**3
    tan = p[0] * XX[1] + p[1] * XX[0]
    return tuple(f[i] * (XX[i] * (radial + tan) + (p[1], p[0])[i] * r2) + c[i] for i in range(2))


def test_projection_is_human36ms():
    rng = np.random.default_rng(0)
    points = np.stack([*rng.uniform(-1.5, 1.5, (2, 50)), rng.uniform(2, 6, 50)], -1)
    found = project(camera(), points)
    for point, pixel in zip(points, found, strict=True):
        expected = project_point_radial(*point, (1145.0, 1143.8), (512.5, 515.5), DISTORTION[:3], DISTORTION[3:])
        assert np.abs(pixel - expected).max() < 1e-9


@given(st.floats(0, 1.4), st.floats(0, 2 * np.pi))
def test_undistort_is_the_inverse(radius, angle):
    """Also beyond the image: the box of a person at its edge, with its margin, reaches there."""
    xy = radius * np.array([[np.cos(angle), np.sin(angle)]])
    assert np.abs(undistort(distort(xy, DISTORTION), DISTORTION) - xy).max() < 1e-9


def test_pixel_rays_invert_project():
    pixels = np.random.default_rng(1).uniform(-100, 1100, (500, 2))
    rays = np.concatenate([pixel_rays(camera(), pixels), np.ones((500, 1))], -1)
    assert np.abs(project(camera(), 3.7 * rays) - pixels).max() < 1e-6
    pinhole = camera(np.zeros(5))
    assert np.allclose(pixel_rays(pinhole, K[:2, 2]), 0)


def test_world_and_camera_invert_each_other():
    points = np.random.default_rng(2).uniform(-5, 5, (100, 3))
    cam = camera()
    there = world_to_camera(cam, points)
    assert np.abs(there[7] - (cam.R @ points[7] + cam.t)).max() < 1e-12
    assert np.abs(camera_to_world(cam, there) - points).max() < 1e-6


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_look_at_is_the_smallest_rotation(x, y):
    direction = np.array([x, y, 1.0])
    R = look_at(direction)
    assert np.allclose(R @ R.T, np.eye(3), atol=1e-12) and np.linalg.det(R) > 0
    assert np.allclose(R @ direction, [0, 0, np.linalg.norm(direction)], atol=1e-12)
    angle = np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1))
    assert abs(angle - np.arctan(np.hypot(x, y))) < 1e-6


BOXES = [(300.0, 200, 250, 440), (40.0, 30, 200, 260), (700.0, 650, 280, 330), (100.0, 100, 800, 820)]


@pytest.mark.parametrize("box", BOXES)
def test_the_box_fills_its_share_of_the_crop(box):
    crop = make_crop(camera(), np.array(box), 256, 320)
    assert np.array_equal(crop.K[:2, 2], [159.5, 159.5]) and crop.K[0, 0] == crop.K[1, 1]
    x, y, w, h = box
    centre = np.array([x + (w - 1) / 2, y + (h - 1) / 2])
    longer = np.array([0, h / 2]) if h > w else np.array([w / 2, 0])
    pixels = np.stack([centre, centre - longer, centre + longer])
    rays = np.concatenate([pixel_rays(camera(), pixels), np.ones((3, 1))], -1)
    inside = project_pinhole(crop.K, rays @ crop.R.T)
    assert np.abs(inside[0] - 159.5).max() < 1e-6
    assert abs(np.linalg.norm(inside[2] - inside[1]) - 256 / BOX_MARGIN) < 0.04 * 256


@pytest.mark.parametrize("box", BOXES)
def test_source_pixels_are_the_projections(box):
    cam = camera()
    crop = make_crop(cam, np.array(box), 256, 320)
    found = source_pixels(cam, crop)
    rng = np.random.default_rng(3)
    for _ in range(200):
        i, j = rng.integers(0, 320, 2)
        ray = np.linalg.inv(crop.K) @ [j, i, 1] @ crop.R
        ratio = cam.K[0, 0] / crop.K[0, 0]
        assert np.abs(found[i, j] - project(cam, ray)).max() < 0.05 * ratio


@pytest.mark.parametrize("crop_px", [256, 128, 64, 37])
@pytest.mark.parametrize("scale", [1.0, 0.999])  # an odd side as well
def test_a_ramp_keeps_its_place_through_the_halvings(crop_px, scale):
    """An image whose value is its own column: the crop must hold the column that each of its pixels sees."""
    cam = camera(scale=scale)
    crop = make_crop(cam, np.array(BOXES[0]), crop_px, crop_px)
    for axis in range(2):
        ramp = np.arange(cam.width if axis == 0 else cam.height, dtype=np.float32)
        image = np.broadcast_to(ramp[None, :] if axis == 0 else ramp[:, None], (cam.height, cam.width))
        warped = warp_to_crop(np.repeat(image[..., None], 3, -1), cam, crop)
        assert np.abs(warped[..., 0] - source_pixels(cam, crop)[..., axis]).max() < 0.05 * max(
            1, cam.K[0, 0] / crop.K[0, 0]
        )


def test_a_joint_lands_where_it_is_projected():
    """Spots drawn on the distorted source image at projected points appear in the crop where the crop's camera sees the points."""
    cam = camera()
    crop = make_crop(cam, np.array(BOXES[0]), 256, 320)
    rng = np.random.default_rng(4)
    inside = np.stack([*rng.uniform(40, 280, (2, 6)), np.ones(6)], -1) @ np.linalg.inv(crop.K).T
    points = inside * rng.uniform(3, 6, (6, 1)) @ crop.R
    columns, rows = np.meshgrid(np.arange(cam.width), np.arange(cam.height))
    for point, expected in zip(points, project_pinhole(crop.K, points @ crop.R.T), strict=True):
        u, v = project(cam, point)
        spot = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 6.0**2))
        warped = warp_to_crop(np.repeat(spot[..., None], 3, -1).astype(np.uint8), cam, crop)[..., 0].astype(float)
        jj, ii = np.meshgrid(np.arange(320), np.arange(320))
        centre = np.array([(warped * jj).sum(), (warped * ii).sum()]) / warped.sum()
        assert np.abs(centre - expected).max() < 0.1


def test_fine_texture_turns_grey_instead_of_moire():
    cam = camera(np.zeros(5))
    board = (np.indices((cam.height, cam.width)).sum(0) % 2 * 255).astype(np.uint8)
    crop = make_crop(cam, np.array([100.0, 100, 800, 800]), 128, 160)
    warped = warp_to_crop(np.repeat(board[..., None], 3, -1), cam, crop)[40:120, 40:120]
    assert warped.std() < 3 and abs(warped.mean() - 127.5) < 3


def test_outside_the_source_image_is_black():
    cam = camera()
    crop = make_crop(cam, np.array([0.0, 0, 120, 160]), 256, 320)
    warped = warp_to_crop(np.full((cam.height, cam.width, 3), 200, np.uint8), cam, crop)
    beyond = -source_pixels(cam, crop).min(-1)  # the crop reaches over the left and upper edges only
    assert (beyond > 2).mean() > 0.2 and (beyond < -2).mean() > 0.2
    assert not warped[beyond > 2].any() and (warped[beyond < -2] == 200).all()


@pytest.mark.parametrize("box", [(0, 0, 0, 50), (0, 0, 50, -1), (np.nan, 0, 50, 50), (0, 0, np.inf, 50)])
def test_a_box_without_area_is_refused(box):
    with pytest.raises(InputError, match="area"):
        make_crop(camera(), np.array(box, float), 256, 320)


def test_in_image_counts_the_outermost_pixels():
    pixels = np.array([[-0.5, 0], [-0.51, 0], [9.5, 4], [9.51, 4], [3, 4.51]])
    assert in_image(pixels, 10, 5).tolist() == [True, False, True, False, False]


WIDE = np.array(
    [-0.3, 0.1, -0.02, 0, 0]
)  # an action camera's lens: right in all of its image, and folding the world beyond it


def wide_camera(focal=1250.0, lens=WIDE):
    K = np.array([[focal, 0, 959.5], [0, focal, 539.5], [0, 0, 1]])
    return Camera(K, np.eye(3), np.zeros(3), 1920, 1080, np.array(lens, float))


def test_what_no_lens_shows_is_no_ray():
    """Newton's method ends somewhere there as well, on another branch or nowhere."""
    ahead = np.linspace(-4000, 6000, 41)
    pixels = np.stack(np.meshgrid(ahead, ahead), -1).reshape(-1, 2)
    rays = pixel_rays(wide_camera(), pixels)
    shown = np.isfinite(rays).all(1)
    assert 0.02 < shown.mean() < 0.5 and shown[in_image(pixels, 1920, 1080)].all()
    back = project(wide_camera(), np.c_[rays[shown], np.ones(shown.sum())])
    assert np.abs(back - pixels[shown]).max() < 1e-2
    along = np.linalg.norm(distort(np.linspace(0, 1, 50)[:, None, None] * rays[shown], WIDE), axis=-1)
    assert (np.diff(along, axis=0) >= -1e-9).all()  # on the branch that begins in the middle


@pytest.mark.parametrize("box", [(1500, 600, 420, 480), (1300, 0, 620, 1080), (0, 0, 500, 1080), (0, 0, 1920, 1080)])
def test_people_at_the_border_of_a_wide_lens_are_as_large_in_their_crop_as_others(box):
    seen_by = wide_camera(1300.0, [-0.25, 0, 0, 0, 0])
    crop = make_crop(seen_by, np.array(box, float), 256, 320)
    middle = np.array([box[0] + (box[2] - 1) / 2, box[1] + (box[3] - 1) / 2])
    around = np.array([middle + 5 * np.array(step) for step in ((-1, 0), (1, 0), (0, -1), (0, 1))])
    rays = np.c_[pixel_rays(seen_by, around), np.ones(4)] @ crop.R.T
    found = project_pinhole(crop.K, rays)
    magnified = (np.linalg.norm(found[1] - found[0]) + np.linalg.norm(found[3] - found[2])) / 20
    assert 0.75 < magnified * BOX_MARGIN * max(box[2:]) / 256 < 1.4


@pytest.mark.parametrize("focal, lens", [(1250.0, WIDE), (1300.0, [-0.25, 0, 0, 0, 0]), (480.0, [0, 0, 0, 0, 0])])
def test_what_a_crop_shows_is_where_its_ray_meets_the_image(focal, lens):
    """Beyond the image the formulas lead back into it: a lens folds, and what is behind a camera comes out in front."""
    seen_by = wide_camera(focal, lens)
    crop = make_crop(seen_by, np.array([1300.0, 0, 620, 1080]), 256, 320)
    pixels = source_pixels(seen_by, crop)
    jj, ii = np.meshgrid(*2 * [np.arange(320.0)])
    rays = np.stack([(jj - crop.K[0, 2]) / crop.K[0, 0], (ii - crop.K[1, 2]) / crop.K[1, 1], np.ones(jj.shape)], -1)
    rays = rays @ crop.R
    inside = in_image(pixels, 1920, 1080)
    assert 0.1 < inside.mean() < 0.95 and (rays[inside][:, 2] > 0).all()
    true = pixel_rays(seen_by, pixels[inside])
    apart = np.abs(np.cross(np.c_[true, np.ones(len(true))], rays[inside])).max()
    assert apart < 0.05
    shown = warp_to_crop(np.full((1080, 1920, 3), 255, np.uint8), seen_by, crop)
    assert not shown[pixels[..., 0] < -1e3].any()


def test_a_box_whose_middle_no_lens_shows_is_refused():
    with pytest.raises(InputError, match="not seen through the camera's lens"):
        make_crop(wide_camera(), np.array([4000.0, 3000, 100, 100]), 256, 320)
