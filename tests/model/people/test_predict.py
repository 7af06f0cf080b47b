"""Pictures in, people out: the same joints as a stored view, the same whoever else is there, and nothing wrong stops the others."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.loading import ViewDataset
from model.data.views import read_views
from model.people import ahead as waiting
from model.people import predict
from model.people.given import check_box, whole_picture
from model.people.photographs import photograph_camera
from model.people.predict import load_model, predict_people
from model.people.predictions import PredictionsFile, read_predictions, results_folder
from model.people.records import Box, Picture, Refusal
from model.train import train
from model.training.runs import load_run
from pipeline.camera import make_crop
from pipeline.errors import InputError
from pipeline.records import Camera
from pipeline.skeletons import FIELD_JOINTS
from tests.model.capsules import CROP, SIZE, make_folder, tiny_config
from tests.model.people.scenes import standing


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("predict")
    train(make_folder(root / "shards", 8, 2, 2), root / "run", tiny_config(steps=4, evaluations=1), device="cpu")
    return root / "run"


@pytest.fixture(scope="module")
def model(run):
    return load_model(run)


@pytest.fixture(autouse=True)
def somebody(monkeypatch):
    """What a network of four steps says of presence means nothing."""
    monkeypatch.setattr(predict, "SOMEBODY", 0.0)


def picture(seed: int, width: int = 120, height: int = 90, **more) -> Picture:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return Picture(f"{seed}.png", noise, photograph_camera(width, height, None), **more)


def boxes(picture: Picture) -> list[Box]:
    """One more in every picture."""
    count = int(picture.name[0])
    return [Box(np.array([5.0 + 3 * k, 4, 50, 60 + k]), 0.5, "detector") for k in range(count)]


def test_a_stored_view_and_its_photograph_give_the_same_joints(run, model):
    """The stored crop of a test view as a photograph, with its nominal crop as the box."""
    views = read_views([run.parent / "shards"])["test"]
    network, _, _ = load_run(run)
    dataset = ViewDataset(views, CROP, None, None)
    batch = dataset.__getitems__([(0, 0)]).to("cpu")
    image = dataset.reader(0).read_image(int(views["row"][0]))
    camera = Camera(views["K"][0], np.eye(3), np.zeros(3), SIZE, SIZE)
    side = CROP / 1.25  # make_crop adds its margin
    box = np.array([(SIZE - side) / 2, (SIZE - side) / 2, side, side])
    [(_, found)] = predict_people(model, [Picture("view", image, camera)], lambda _: [Box(box, None, "given")])
    (person,) = found.people
    np.testing.assert_allclose(make_crop(camera, box, CROP, CROP).K, batch.K[0].numpy(), rtol=1e-3)
    wanted = network.predict(batch.image, batch.K)
    assert np.linalg.norm(person.joints - wanted.joints[0].numpy(), axis=1).mean() < 0.02
    # the 2D joints are where the 3D ones project
    seen = person.joints + person.root
    flat = seen[:, :2] / seen[:, 2:] @ camera.K[:2, :2].T + camera.K[:2, 2]
    np.testing.assert_allclose(person.joints_2d, flat, atol=1e-6)


def test_who_else_is_there_changes_nobody(model):
    """Alone, and in batches of every size over several pictures: the same to a fraction of a millimetre, and in order."""
    pictures = [picture(seed) for seed in (1, 3, 0, 2)]
    together = [found for _, found in predict_people(model, pictures, boxes, batch=4)]
    assert [found.name for found in together] == ["1.png", "3.png", "0.png", "2.png"]
    assert [len(found.people) for found in together] == [1, 3, 0, 2]
    for one, found in zip(pictures, together, strict=True):
        for box, person in zip(boxes(one), found.people, strict=True):
            [(_, alone)] = predict_people(model, [one], lambda _, box=box: [box])
            np.testing.assert_allclose(alone.people[0].joints, person.joints, atol=2e-4)
            np.testing.assert_array_equal(alone.people[0].box, person.box)


def test_pictures_are_not_gathered(model, monkeypatch):
    """However many there are, what is read ahead is bounded: by the batch and by what may wait before it, in number and in pixels."""
    ahead = {"read": 0, "answered": 0, "most": 0}
    monkeypatch.setattr(waiting, "MOST_WAITING", 3)

    def read(large: bool):
        for _ in range(40):
            ahead["read"] += 1
            ahead["most"] = max(ahead["most"], ahead["read"] - ahead["answered"])
            yield picture(1, *((600, 400) if large else (60, 80)))

    for large, most in ((False, 8), (True, 6)):
        ahead |= {"read": 0, "answered": 0, "most": 0}
        for _ in predict_people(
            model, read(large), lambda _: [Box(np.array([5.0, 5, 40, 60]), None, "given")], batch=4
        ):
            ahead["answered"] += 1
        assert ahead["read"] == 40 and ahead["most"] <= most + 2


def test_tracks_of_a_video_are_smoothed_and_photographs_are_not(model):
    def still(track):
        return lambda picture: [Box(np.array([5.0, 4, 50, 60]), 0.5, "detector", track=track)]

    frames = [replace(picture(k), name=f"v.mp4#frame={k}", frame=k, time_s=k / 25) for k in range(9)]
    rough, smooth = (
        np.stack([found.people[0].joints for _, found in predict_people(model, frames, still(track))])
        for track in (None, 1)
    )
    jitter = [np.abs(np.diff(joints, 2, axis=0)).mean() for joints in (rough, smooth)]
    assert jitter[1] < 0.5 * jitter[0] and np.abs(smooth.mean(0) - rough.mean(0)).max() < 0.1


def test_a_picture_that_is_refused_does_not_stop_the_others(model):
    def find(picture):
        if picture.name == "2.png":
            raise InputError("2.png: no box of it")
        return [Box(np.array([500.0, 5, 40, 60]), None, "given")] if picture.name == "3.png" else boxes(picture)

    given = [Refusal("x.jpg", "x.jpg: cannot be read"), picture(2), picture(3), picture(0), picture(1)]
    found = [found for _, found in predict_people(model, given, find)]
    assert [bool(one.refusal) for one in found] == [True, True, True, True, False]
    assert "outside the image of 120 x 90" in found[2].refusal and "no person is found" in found[3].refusal
    frame = picture(0, frame=7, time_s=0.5)
    [(_, nobody)] = predict_people(model, [frame], boxes)
    assert nobody.refusal == "" and nobody.people == ()  # nobody may well be in a frame


def test_who_is_not_there_is_said(model, monkeypatch):
    monkeypatch.setattr(predict, "SOMEBODY", 1.1)
    [(_, found)] = predict_people(model, [picture(2)], boxes)
    assert len(found.left_out) == 2 and "sees nobody in the detector's box [5.0, 4.0" in found.refusal
    given, keypoints = (
        next(
            predict_people(
                model, [picture(2)], lambda one, word=word: [replace(box, source=word) for box in boxes(one)]
            )
        )[1]
        for word in ("given", "keypoints")
    )
    assert "sees nobody in the box about keypoints [5.0, 4.0" in keypoints.refusal
    assert "nobody is found in the box [5.0, 4.0" in given.refusal and "head to feet" in given.refusal


def test_weights_that_give_nothing_finite_are_named(model, run, monkeypatch):
    network = load_model(run)
    torch.nn.init.constant_(next(p for p in network.network.parameters() if p.requires_grad), float("nan"))
    with pytest.raises(InputError, match="not finite.*weights"):
        list(predict_people(network, [picture(1)], boxes))


def test_predictions_are_written_as_they_come_and_read_again(model, tmp_path):
    pictures = [picture(2), Refusal("x.jpg", "x.jpg: cannot be read"), picture(1, frame=3, time_s=0.12)]
    found = [found for _, found in predict_people(model, pictures, boxes)]
    fitted = replace(
        found[2].people[0], body=standing(0), spread=np.full(17, 0.06), doubts="3 of 17 joints have no place"
    )
    found[2] = replace(found[2], people=(fitted,))
    folder = results_folder(tmp_path / "out", {"images": ["a"]})
    file = PredictionsFile(folder, model.joint_set, {"asked": {"images": ["a"]}})
    for one in found:
        file.add(one)
    assert not (folder / "predictions.json").exists()  # not before it is whole
    path = file.close()
    content = json.loads(path.read_text())
    assert [entry["image"] for entry in content["people"]] == ["2.png", "2.png", "1.png"]
    assert (
        content["people"][2]["frame"] == 3
        and content["version"] == 1
        and content["people"][0]["joints"]["pelvis"] == [0, 0, 0]
    )
    again = read_predictions(path)
    assert [len(one.people) for one in again.pictures] == [2, 0, 1] and again.pictures[1].refusal == found[1].refusal
    assert again.pictures[2].people[0].doubts == fitted.doubts and again.pictures[0].people[0].doubts == ""
    np.testing.assert_allclose(again.pictures[2].people[0].spread, fitted.spread)
    np.testing.assert_allclose(again.pictures[2].people[0].body.body_pose, fitted.body.body_pose, atol=1e-5)
    for one, other in zip(found, again.pictures, strict=True):
        for person, read in zip(one.people, other.people, strict=True):
            np.testing.assert_allclose(person.joints, read.joints, atol=1e-5)
            np.testing.assert_allclose(person.box, read.box, atol=0.01)
            np.testing.assert_array_equal(person.visible, read.visible)
        if one.camera is not None:
            np.testing.assert_allclose(one.camera.K, other.camera.K, atol=1e-3)


def test_another_question_gets_another_folder_and_the_same_the_same(model, tmp_path):
    out = tmp_path / "out"
    for asked in ({"images": ["a"]}, {"images": ["b"]}):
        folder = results_folder(out, asked)
        PredictionsFile(folder, model.joint_set, {"asked": asked}).close()
    assert (
        results_folder(out, {"images": ["a"]}) == out and results_folder(out, {"images": ["b"]}) == tmp_path / "out-2"
    )
    assert results_folder(out, {"images": ["c"]}) == tmp_path / "out-3"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "predictions.json").write_text("[]")
    with pytest.raises(InputError, match="did not write it"):
        results_folder(tmp_path / "mine", {})


@pytest.mark.parametrize("out", [".", "..", "../walk", ""])
def test_a_folder_without_a_name_of_its_own_is_counted_up_too(tmp_path, monkeypatch, out):
    """--out . in a folder that holds the answer to another question."""
    (tmp_path / "holidays" / "walk").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "holidays" / "walk")
    first = results_folder(Path(out), {"images": ["a"]})
    PredictionsFile(first, FIELD_JOINTS, {"asked": {"images": ["a"]}}).close()
    second = results_folder(Path(out), {"images": ["b"]})
    assert second.resolve() == first.resolve().with_name(f"{first.resolve().name}-2") and second.is_dir()


def test_what_was_broken_off_leaves_nothing(model, tmp_path):
    file = PredictionsFile(results_folder(tmp_path / "out", {}), model.joint_set, {})
    file.drop()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("content", ['{"format": "x"}', '{"format": "nvf people", "version": 9}', "[1]", "{"])
def test_other_files_are_no_predictions(tmp_path, content):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(InputError, match="p.json"):
        read_predictions(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("frame", [3], r"people/0/frame is '\[3\]', expected a whole number"),
        ("image", 3, "people/0/image is '3', expected a text"),
        ("presence", "x", "people/0/presence is not an array"),
        ("box", [1, 2], "people/0/box has 2 numbers"),
        ("joints", {}, "no key people/0/joints/pelvis"),
        ("doubts", ["x"], "people/0/doubts is .*, expected a text"),
    ],
)
def test_a_value_that_is_none_is_named(model, tmp_path, key, value, said):
    file = PredictionsFile(results_folder(tmp_path, {}), model.joint_set, {})
    for _, found in predict_people(model, [picture(1)], boxes):
        file.add(found)
    content = json.loads(file.close().read_text())
    content["people"][0][key] = value
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        read_predictions(tmp_path / "other.json")


def test_a_file_in_place_of_a_run_is_refused(run):
    with pytest.raises(InputError, match="is a file, and a run is a folder with best.safetensors in it"):
        load_model(run / "best.safetensors")


def test_an_assumed_camera_looks_along_the_image_centre():
    camera = photograph_camera(400, 300, None)
    assert camera.K[0, 0] == 500 and camera.K[0, 2] == 199.5 and camera.assumed
    assert whole_picture(picture(1))[0].box.tolist() == [0, 0, 120, 90]


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
