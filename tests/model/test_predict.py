import json

import cv2
import numpy as np
import pytest
import torch

from model.data.loading import ViewDataset
from model.data.views import read_views
from model.predict import find_person, photograph_camera, predict_images
from model.train import train
from model.training.runs import load_run
from pipeline.errors import InputError
from pipeline.records import Camera
from tests.model.capsules import CROP, SIZE, make_folder, tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("predict")
    train(make_folder(root / "shards", 8, 2, 2), root / "run", tiny_config(steps=4, evaluations=1), device="cpu")
    return root / "run"


def test_a_stored_view_and_its_photograph_give_the_same_joints(run):
    """The stored crop of a test view as a photograph, with its nominal crop as the box."""
    views = read_views([run.parent / "shards"])["test"]
    network, _, _ = load_run(run)
    dataset = ViewDataset(views, CROP, None, None)
    batch = dataset.__getitems__([(0, 0)]).to("cpu")
    image = dataset.reader(0).read_image(int(views["row"][0]))
    camera = Camera(views["K"][0], np.eye(3), np.zeros(3), SIZE, SIZE)
    side = CROP / 1.25  # make_crop adds its margin
    box = np.array([(SIZE - side) / 2, (SIZE - side) / 2, side, side])
    found, crop, pixels = find_person(network, image, camera, box)
    np.testing.assert_allclose(crop.K, batch.K[0].numpy(), rtol=1e-3)
    assert np.abs(pixels.astype(float) - (batch.image[0].permute(1, 2, 0).numpy() + 1) * 127.5).mean() < 1.5
    wanted = network.predict(batch.image, batch.K)
    assert np.linalg.norm(found.joints - wanted.joints[0].numpy(), axis=1).mean() < 0.02
    # the 2D joints are where the 3D ones project
    seen = found.joints + found.root
    flat = seen[:, :2] / seen[:, 2:] @ camera.K[:2, :2].T + camera.K[:2, 2]
    np.testing.assert_allclose(found.joints_2d, flat, atol=1e-6)


def test_a_photograph_gives_json_and_a_picture(run, tmp_path):
    photo = tmp_path / "street.jpg"
    cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))
    (report,) = predict_images(run, [photo], tmp_path / "out", box=(20, 10, 50, 70))
    saved = json.loads((tmp_path / "out" / "street.json").read_text())
    assert saved == json.loads(json.dumps(report))
    assert saved["camera_assumed"] and saved["focal_px"] == 150 and saved["box_source"] == "the user's"
    assert np.shape(saved["joints"]) == (17, 3) and saved["joints"][0] == [0, 0, 0]
    assert cv2.imread(str(tmp_path / "out" / "street.png")).shape[0] == 768
    (given,) = predict_images(run, [photo], tmp_path / "out", focal=300)
    assert not given["camera_assumed"] and given["box"] == [0, 0, 120, 90]


def test_an_assumed_camera_looks_along_the_image_centre():
    camera = photograph_camera(400, 300, None)
    assert camera.K[0, 0] == 500 and camera.K[0, 2] == 199.5 and camera.assumed


def test_refusals(run, tmp_path):
    with pytest.raises(InputError, match="nothere.jpg: cannot be read"):
        predict_images(run, [tmp_path / "nothere.jpg"], tmp_path)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(InputError, match="text.jpg: not an image"):
        predict_images(run, [tmp_path / "text.jpg"], tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(InputError, match="outside the image of 30 x 20"):
        predict_images(run, [tmp_path / "a.png"], tmp_path, box=(40, 0, 5, 5))
    with pytest.raises(InputError, match="same name"):
        predict_images(run, [tmp_path / "a.png", tmp_path / "b" / "a.png"], tmp_path)
