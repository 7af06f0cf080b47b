"""Test-time augmentation: mirrored pictures get mirrored answers, and every look is of the same person."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from model.networks.records import Prediction
from model.networks.test_time import enlarged, mirrored_camera, predict_augmented
from model.people import free_model
from model.people.predict import load_model, predict_crops
from model.training.config import load_config
from pipeline.camera import Crop
from pipeline.skeletons import FIELD_JOINTS

MIRROR, FLIP = np.array([-1.0, 1.0, 1.0]), list(FIELD_JOINTS.flip)
SIDE = load_config(str(free_model.CONFIGURATION)).network.crop_px


def crops(count: int) -> tuple[list[Crop], list[np.ndarray]]:
    """Coloured squares, before a camera whose axis is not quite in the middle."""
    rng = np.random.default_rng(0)
    K = np.array([[300.0, 0, (SIDE - 1) / 2 + 4], [0, 300.0, (SIDE - 1) / 2], [0, 0, 1]])
    coarse = rng.uniform(0, 255, (count, SIDE // 16, SIDE // 16, 3)).repeat(16, 1).repeat(16, 2)
    return [Crop(K, np.eye(3), SIDE)] * count, list(coarse.astype(np.uint8))


def tensors(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    given, pixels = crops(count)
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return images, torch.from_numpy(np.stack([crop.K for crop in given])).float()


def test_mirrored_pictures_get_mirrored_answers():
    """Which a single look does not give."""
    network, (images, K) = load_model(free_model.folder()).network, tensors(2)
    asked = (images, K), (images.flip(-1), mirrored_camera(K, SIDE))
    one, other = (predict_augmented(network, *each) for each in asked)
    for name in ("joints", "joints_canonical"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name)[:, FLIP].numpy() * MIRROR, atol=5e-4)
    np.testing.assert_allclose(other.root, one.root.numpy() * MIRROR, atol=1e-3)
    np.testing.assert_allclose(other.confidence, one.confidence[:, FLIP], atol=1e-3)
    for name in ("scale", "presence"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), atol=1e-4)
    once, mirrored = (network.predict(*each).joints.numpy() for each in asked)
    assert np.abs(mirrored - once[:, FLIP] * MIRROR).max() > 0.01


def test_an_enlarged_crop_shows_points_where_its_camera_says():
    image = np.zeros((SIDE, SIDE), np.float32)
    cv2.circle(image, (130, 70), 6, 1.0, -1)
    _, K = tensors(1)
    larger, camera = enlarged(torch.from_numpy(image)[None, None], K, 1.1)
    point = np.linalg.inv(K[0].numpy()) @ [130, 70, 1]
    seen = (camera[0].numpy() @ point)[:2]
    weights = larger[0, 0].numpy()
    found = [(weights * np.arange(SIDE)).sum(), (weights * np.arange(SIDE)[:, None]).sum()] / weights.sum()
    assert found == pytest.approx(seen, abs=0.1) and np.abs(seen - [130, 70]).max() > 3


def test_what_follows_the_focal_length_is_of_the_crop_as_it_is():
    """A network that says the same person of each look: at the canonical scale the person is larger in an enlarged crop."""

    class Same:
        config = SimpleNamespace(joint_set=FIELD_JOINTS.name)

        def predict(self, image, K):
            said, pose = torch.ones(len(K)), torch.ones(len(K), 17, 3) * torch.tensor([0.0, 1.0, 2.0])
            scale = K[:, 0, 0] / 300
            large, sure = pose * scale[:, None, None], pose[..., 1]
            return Prediction(pose, scale, large, pose[:, 0], sure, said * (scale < 1.05), {})

    _, K = tensors(2)
    found = predict_augmented(Same(), torch.zeros(2, 3, SIDE, SIDE), K)
    assert found.scale.numpy() == pytest.approx(1.0) and (found.joints_canonical - found.joints).abs().max() < 1e-6
    assert (found.presence == 1).all()


def test_a_model_that_takes_it_says_the_mean_of_its_looks():
    given, pixels = crops(2)
    model, images, K = load_model(free_model.folder(), augmented=True), *tensors(2)
    looks = []
    for factor in (1.0, 1.1):
        larger, camera = enlarged(images, K, factor)
        looks.append(model.network.predict(larger, camera).joints.numpy())
        flipped = model.network.predict(larger.flip(-1), mirrored_camera(camera, SIDE)).joints.numpy()
        looks.append(flipped[:, FLIP] * MIRROR)
    said = np.stack([row["joints"] for row in predict_crops(model, given, pixels)])
    assert said == pytest.approx(np.mean(looks, 0), abs=1e-4)
    (once, _) = predict_crops(load_model(free_model.folder()), given, pixels)
    assert once["joints"] == pytest.approx(looks[0][0], abs=1e-4) and np.abs(said[0] - looks[0][0]).max() > 0.01
