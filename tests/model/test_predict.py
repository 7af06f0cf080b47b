import errno
import json
import os

import cv2
import numpy as np
import pytest
import torch

from model.data.loading import ViewDataset
from model.data.views import read_views
from model.predict import BOX_COLOUR, Question, check_box, find_person, photograph_camera, predict_images
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


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "street.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))
    return path


def test_a_photograph_gives_json_and_a_picture_and_stays_as_it_is(run, photo):
    """Also when the results go where it lies."""
    before, out = photo.read_bytes(), photo.parent
    (answer,) = predict_images(run, [Question(photo, (20, 10, 50, 70))], out)
    assert [path.name for path in answer.files] == ["street.prediction.json", "street.prediction.png"]
    saved = json.loads(answer.files[0].read_text())
    assert saved == json.loads(json.dumps(answer.report)) | {"written_by": "Written by nvf-cli"}
    assert saved["camera_assumed"] and saved["focal_px"] == 150 and saved["box_source"] == "the user's"
    assert np.shape(saved["joints"]) == (17, 3) and saved["joints"][0] == [0, 0, 0]
    drawn = cv2.imread(str(answer.files[1]), cv2.IMREAD_COLOR_RGB)
    assert drawn.shape[0] == 768 and (np.abs(drawn.astype(int) - BOX_COLOUR).sum(-1) < 60).sum() > 1000
    (given,) = predict_images(run, [Question(photo)], out, focal=300)
    assert not given.report["camera_assumed"] and given.report["box"] == [0, 0, 120, 90]
    assert photo.read_bytes() == before


def test_no_person_overwrites_another_and_the_same_question_has_one_answer(run, photo):
    out = photo.parent / "out"
    boxes = [(0, 0, 40, 60), (50, 10, 50, 70)]
    asked = [Question(photo, box) for box in boxes]
    first = [answer.files[0].name for answer in predict_images(run, asked, out)]
    assert first == ["street.prediction.json", "street.prediction-2.json"]
    assert [answer.files[0].name for answer in predict_images(run, asked[::-1], out)] == first[::-1]
    (other,) = predict_images(run, asked[:1], out, focal=200)
    assert other.files[0].name == "street.prediction-3.json"
    (out / "street.prediction-4.png").write_bytes(b"somebody's")
    (more,) = predict_images(run, [Question(photo, (0, 0, 50, 50))], out)
    assert more.files[0].name == "street.prediction-5.json"
    found = [json.loads((out / name).read_text())["box"] for name in first]
    assert found == [list(map(float, box)) for box in boxes]


def test_an_assumed_camera_looks_along_the_image_centre():
    camera = photograph_camera(400, 300, None)
    assert camera.K[0, 0] == 500 and camera.K[0, 2] == 199.5 and camera.assumed


@pytest.mark.parametrize("focal", [1e-3, 1e9, float("nan")])
def test_a_focal_length_of_no_lens_is_refused(focal):
    with pytest.raises(InputError, match="--focal .*between 25 and 50000 px"):
        photograph_camera(400, 300, focal)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((130, 0, 5, 5), "outside the image of 120 x 90"),
        (
            (20, 10, 80, 88),
            r"reaches 8 px beyond.*inside the image: 20,10,80,80; or, where 80 and 88 are .*20,10,60,78",
        ),
        ((0, 0, 1e9, 1e9), "inside the image: 0,0,120,90"),
        ((-30, 0, 60, 60), "inside the image: 0,0,30,60"),
        ((5, 5, 0.5, 40), "less than 2 px"),
    ],
)
def test_a_box_that_is_no_part_of_the_image_is_refused(box, said):
    with pytest.raises(InputError, match=said):
        check_box(np.array(box, float), 120, 90)


def test_a_box_may_round_beyond_the_border():
    check_box(np.array([0, 0, 120.9, 90.5]), 120, 90)


def test_an_image_that_is_refused_does_not_stop_the_others(run, photo, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    asked = [Question(path) for path in (tmp_path / "nothere.jpg", tmp_path / "text.jpg", photo)]
    refusals = [answer.refusal for answer in predict_images(run, asked, tmp_path / "out")]
    assert "nothere.jpg: cannot be read" in refusals[0] and "text.jpg: not an image" in refusals[1] and not refusals[2]
    with pytest.raises(InputError, match="no folder can be made there"):
        next(predict_images(run, asked, photo))


def test_a_full_disk_is_no_prediction(run, photo, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    (answer,) = predict_images(run, [Question(photo)], photo.parent / "out")
    assert "No space left on device" in answer.refusal and not list((photo.parent / "out").iterdir())
