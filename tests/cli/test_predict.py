"""`nvf-cli predict`: what it asks, what it writes, and what becomes of images that are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import nvf_body
from cli.main import nvf
from cli.predict import parse_box
from cli.progress import Progress
from model.people import free_model
from model.people.predictions import read_predictions
from model.people.records import PicturePeople
from pipeline.camera import assumed_camera
from pipeline.errors import InputError
from tests.model.people.places import make_place, quick_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return quick_run(tmp_path_factory.mktemp("predict"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    return make_place(tmp_path, monkeypatch, people=1, frames=6)


def invoke(*arguments):
    return CliRunner().invoke(nvf, ["predict", *map(str, arguments), "--device", "cpu"], catch_exceptions=False)


def written(folder="people") -> dict:
    return json.loads(Path(folder, "predictions.json").read_text())


def test_people_of_pictures_and_videos(run, place):
    result = invoke("a.png", "b.png", "v.mp4", "--run", run, "--every", 2)
    assert result.exit_code == 0 and "a.png: 1 person, root at" in result.output and "Wrote 5 people" in result.output
    people = written()["people"]
    assert [(entry["image"], entry["frame"]) for entry in people] == [
        ("a.png", None),
        ("b.png", None),
        ("v.mp4", 0),
        ("v.mp4", 2),
        ("v.mp4", 4),
    ]
    assert people[0]["box_source"] == "detector" and people[3]["time_s"] == 0.2
    assert [entry["track"] for entry in people] == [None, None, 1, 1, 1]


def test_every_box_is_a_person(run, place):
    result = invoke("a.png", "--run", run, "--box", "1,2,40,60", "--box", "50,10,40,70", "--focal", 300)
    assert result.exit_code == 0 and "2 people" in result.output
    content = written()
    assert [entry["box"] for entry in content["people"]] == [[1, 2, 40, 60], [50, 10, 40, 70]]
    assert content["people"][0]["box_source"] == "given" and content["pictures"][0]["focal_px"] == [300, 300]
    assert not content["pictures"][0]["camera_assumed"]


def test_boxes_of_a_file(run, place):
    Path("boxes.json").write_text(json.dumps({"a.png": [[1, 2, 40, 60]], "c.png": [[1, 2, 3, 4]]}))
    result = invoke("a.png", "b.png", "--run", run, "--boxes", "boxes.json")
    assert result.exit_code == 1 and "Refused: b.png: boxes.json has no box of it" in result.output
    assert "boxes.json: 1 of its pictures were not given to predict, c.png" in result.output
    assert len(written()["people"]) == 1


def test_refused_images_are_listed_and_the_exit_code_says_so(run, place):
    Path("text.jpg").write_text("no image")
    result = invoke("nothere.jpg", "text.jpg", "nobody.png", "a.png", "--run", run)
    assert result.exit_code == 1 and "Wrote 1 person" in result.output
    for said in ("nothere.jpg: there is no such file", "text.jpg: not an image", "nobody.png: no person is found"):
        assert f"Refused: {said}" in result.output
    assert ["refusal" in entry for entry in written()["pictures"]] == [True, True, True, False]
    with pytest.raises(InputError, match="nobody was found: nobody.png: no person is found"):
        invoke("nobody.png", "--run", run, "--out", "other")
    assert not Path("other", "predictions.json").exists() and not list(Path("other").iterdir())


def test_another_question_replaces_no_answer(run, place):
    invoke("a.png", "--run", run)
    invoke("b.png", "--run", run)
    invoke("a.png", "--run", run)
    assert written("people")["people"][0]["image"] == "a.png" and written("people-2")["people"][0]["image"] == "b.png"
    assert not Path("people-3").exists()


def test_test_time_augmentation_is_another_question_with_another_answer(run, place):
    for more in ([], ["--tta"]):
        assert (
            invoke("a.png", "--run", run, "--box", "1,2,40,60", "--decode", "votes", "--write", "none", *more).exit_code
            == 0
        )
    once, both = (
        read_predictions(Path(f"{name}/predictions.json")).pictures[0].people[0] for name in ("people", "people-2")
    )
    assert 0.001 < np.abs(once.joints - both.joints).max() < 1
    model = nvf_body.load(run, device="cpu", decode="votes", augmented=True)
    found = model("a.png", boxes=[1, 2, 40, 60]).people[0]
    assert found.joints == pytest.approx(both.joints, abs=1e-4)


def test_one_box_does_not_serve_several_images(run, place):
    for images in (["a.png", "b.png"], ["v.mp4"]):
        with pytest.raises(InputError, match="a person's box in one image"):
            invoke(*images, "--run", run, "--box", "1,2,3,4")
    with pytest.raises(InputError, match="Give one of them"):
        invoke("a.png", "--run", run, "--box", "1,2,3,4", "--boxes", "b.json")


def test_a_run_in_place_of_an_image_gets_a_hint(run, place):
    with pytest.raises(InputError, match="holds a run and no pictures. Name it with --run"):
        invoke(run, "a.png")


def test_without_a_run_the_free_model_is_asked_for(place, monkeypatch):
    monkeypatch.setattr(free_model, "FOLDER", place / "none")
    with pytest.raises(InputError, match="no free model is shipped with this version"):
        invoke("a.png")


def test_progress_says_how_long_it_takes():
    progress = Progress()
    progress.begin(900)
    progress.done, progress.first = 121, 0.0
    assert progress.text(60.0) == "121 of 900 pictures, 2.0 a second, 6 min 29 s to go"
    progress.total = None
    assert progress.text(60.0) == "121 pictures, 2.0 a second"
    progress.done = 11
    assert progress.text(60.0) == "11 pictures, 6.0 s each"


def test_the_start_does_not_count_as_the_time_of_a_picture(monkeypatch):
    """Libraries and the model take seconds to load; the pictures after the first do not."""
    clock = iter([0.0, 0.0, 60.0, 60.0, 62.0])
    monkeypatch.setattr("cli.progress.time.monotonic", lambda: next(clock))
    picture = PicturePeople("a.jpg", 4, 3, assumed_camera(4, 3), ())
    progress = Progress()
    progress.begin(14)
    progress.add(picture)
    assert progress.text(60.0) == "1 of 14 pictures"
    progress.add(picture)
    assert progress.text(62.0) == "2 of 14 pictures, 2.0 s each, 24 s to go"


@pytest.mark.parametrize("value", ["nan", "inf", "-3", "0", "wide"])
def test_a_focal_length_is_a_number_above_0(value):
    result = CliRunner().invoke(nvf, ["predict", "a.jpg", "--focal", value])
    assert result.exit_code == 2 and "is not a number above 0" in result.output


@pytest.mark.parametrize(
    "text", ["1,2,3", "a,b,c,d", "1,2,0,4", "1,2,3,-4", "1,2,3,nan", "nan,2,3,4", "1,inf,3,4", "1,2,inf,3"]
)
def test_a_box_has_four_numbers_and_an_area(text):
    with pytest.raises(InputError, match="--box"):
        parse_box(text)
