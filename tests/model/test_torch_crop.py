"""The crop in torch is that of the pipeline."""

import cv2
import numpy as np
import pytest
import torch

from model.torch_crop import crop_people
from pipeline.camera import assumed_camera, make_crop, warp_to_crop
from pipeline.records import Camera

SIDE = 64


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """(301, 402, 3): both kinds of sides, even and odd, are halved."""
    noise = np.random.default_rng(0).integers(0, 255, (301, 402, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def both(image: np.ndarray, camera: Camera, boxes: list):
    """The pipeline's crops and torch's, (B, SIDE, SIDE, 3) levels of grey; their cameras are compared here."""
    crops, K, R = crop_people(torch.from_numpy(image), torch.from_numpy(camera.K), torch.tensor(boxes), SIDE)
    wanted = [make_crop(camera, np.array(box), SIDE, SIDE) for box in boxes]
    np.testing.assert_allclose(K, [crop.K for crop in wanted], rtol=1e-6)
    np.testing.assert_allclose(R, [crop.R for crop in wanted], atol=1e-7)
    pixels = np.stack([warp_to_crop(image, camera, crop) for crop in wanted]).astype(float)
    return pixels, (crops.permute(0, 2, 3, 1).numpy() + 1) * 127.5


def test_people_of_all_sizes_off_the_centre_and_beyond_the_border(image):
    boxes = [[10.0, 150, 30, 40], [220, 20, 100, 200], [60, 4, 300, 297], [-40, -30, 200, 90], [350, 250, 60, 60]]
    for focal in (None, 250.0):
        wanted, found = both(image, assumed_camera(402, 301, focal), boxes)
        difference = np.abs(wanted - found)
        # OpenCV rounds positions to 1/32 px and grey levels at every halving
        assert difference.mean() < 0.6 and np.percentile(difference, 99.9) < 6


def test_a_camera_whose_axis_is_not_in_the_middle(image):
    K = np.array([[410.0, 3, 120], [0, 380, 200], [0, 0, 1]])
    wanted, found = both(image, Camera(K, np.eye(3), np.zeros(3), 402, 301), [[200.0, 20, 90, 200]])
    assert np.abs(wanted - found).mean() < 0.6


def test_fine_stripes_are_averaged_and_not_sampled():
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    _, found = both(stripes, assumed_camera(640, 640), [[64.0, 64, 512, 512]])  # ten stripes in a pixel of the crop
    assert np.abs(found[0, 8:-8, 8:-8] - 127.5).max() < 1


def test_a_white_photograph_of_many_pixels_does_not_run_over():
    white = np.full((3200, 3000, 3), 255, np.uint8)  # 2.4e9 levels of grey, above 2^31
    _, found = both(white, assumed_camera(3000, 3200), [[500.0, 500, 2000, 2000]])
    assert np.abs(found - 255).max() < 1e-3
