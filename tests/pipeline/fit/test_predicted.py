"""Bodies that predict found in a dataset's pictures, in place of fits."""

import json
import shutil
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from cli.fit import command
from cli.main import main
from cli.preprocess import command as preprocess
from model.people.predictions import FILE, PredictionsFile
from model.people.records import Person, PicturePeople
from pipeline.errors import InputError
from pipeline.fit import FitSettings
from pipeline.fit.predicted import PredictedBodies, PredictedBody
from pipeline.records import Reject
from pipeline.skeletons import FIELD_JOINTS
from tests.pipeline.fit.test_fits_file import openpose_root  # noqa: F401 (a fixture)


@pytest.fixture
def instants(monocular):
    """Eight people, each in a picture of its own."""
    return [
        replace(one, views=(replace(one.views[0], image_path=f"images/{k}.jpg"),))
        for k, one in enumerate(monocular.instants)
    ]


@pytest.fixture
def predicted(instants, monocular_fits):
    """They as predict finds them: its folder, and boxes that are a little off."""
    return [
        PredictedBody(f"/data/{view.image_path}", view.box + [5, -5, 8, 0], view.camera, fit.parameters)
        for view, fit in zip((one.views[0] for one in instants), monocular_fits, strict=True)
    ]


def refused(instant, people, free_body):
    (found,) = PredictedBodies("people", people).fits([instant], free_body, FitSettings())
    assert isinstance(found, Reject) and found.stage == "fit"
    return found.reason


def test_everybody_gets_the_body_that_was_predicted_judged_as_a_fit(instants, predicted, monocular_fits, free_body):
    people = PredictedBodies("people", reversed(predicted))
    for found, fit in zip(people.fits(instants, free_body, FitSettings()), monocular_fits, strict=True):
        assert np.allclose(found.smplx.body_pose, fit.smplx.body_pose) and found.quality.start == "supplied"
        assert found.quality.reprojection_px == pytest.approx(fit.quality.reprojection_px, abs=0.3)
        assert found.quality.joints_unseen == fit.quality.joints_unseen
    assert people.counts() == {"found": len(instants), "taken": len(instants), "doubtful": 0}


def test_of_two_people_in_a_picture_each_gets_its_own(instants, predicted, free_body):
    """Whoever comes first: boxes that agree best find each other."""
    view = instants[0].views[0]
    near = replace(view, box=view.box + [30, 0, 0, 0], joints_2d=view.joints_2d + [30, 0])
    other = replace(instants[0], id="beside", views=(near,))
    people = PredictedBodies("people", predicted[:1])
    beside, own = people.fits([other, instants[0]], free_body, FitSettings())
    assert own.quality.valid and "another person of the dataset already" in beside.reason


def test_nobody_is_taken_twice_and_doubts_are_counted(instants, predicted, free_body):
    people = PredictedBodies("people", [replace(predicted[0], doubts="joints may be far off"), predicted[1]])
    first, second = people.fits([instants[0], replace(instants[0], id="again")], free_body, FitSettings())
    assert first.quality.valid and "already" in second.reason
    assert people.counts() == {"found": 2, "taken": 1, "doubtful": 1}


def test_who_is_refused_takes_nobody(instants, predicted, free_body):
    far = replace(predicted[0].parameters, transl=np.full(3, 1e30))
    people = PredictedBodies("people", [replace(predicted[0], parameters=far)])
    (found,) = people.fits(instants[:1], free_body, FitSettings())
    assert "lies nowhere" in found.reason and people.counts()["taken"] == 0


def test_who_is_nobody_is_told_why(instants, predicted, free_body):
    one, view, person = instants[0], instants[0].views[0], predicted[0]
    assert "is not of the picture" in refused(one, predicted[1:], free_body)
    assert "where the person is" in refused(one, [replace(person, box=person.box + [900, 0, 0, 0])], free_body)
    camera = person.camera
    for change in ([[2], [2], [1]], [[1.0, 1, 2], [1, 1, 1], [1, 1, 1]]):  # focal lengths, and a centre elsewhere
        other = replace(person, camera=replace(camera, K=camera.K * np.array(change)))
        assert "give both the same --focal" in refused(one, [other], free_body)
    assert "give both" in refused(one, [replace(person, camera=replace(camera, K=camera.K * np.nan))], free_body)
    turned = replace(camera, width=camera.height - 1)
    assert "is it turned" in refused(one, [replace(person, camera=turned)], free_body)
    bent = replace(view, camera=replace(view.camera, distortion=np.array([0.1, 0, 0, 0, 0])))
    assert "knows of no distortion" in refused(replace(one, views=(bent,)), predicted, free_body)
    assert "several cameras" in refused(replace(one, views=(view, view)), predicted, free_body)


def test_pictures_are_the_same_where_one_path_ends_with_the_other(instants, predicted, free_body):
    one, person, settings = instants[0], predicted[0], FitSettings()
    turned = replace(one, views=(replace(one.views[0], image_path="images/0.jpg#upright"),))
    for instant, image in ((turned, person.image), (one, "0.jpg")):
        (found,) = PredictedBodies("people", [replace(person, image=image)]).fits([instant], free_body, settings)
        assert found.quality.valid
    namesakes = [replace(person, image=f"/{folder}/images/0.jpg") for folder in "ab"]
    assert "several pictures of that path" in refused(one, namesakes, free_body)
    elsewhere = replace(person, image="/data/others/0.jpg")
    assert "is not of the picture" in refused(one, [elsewhere], free_body)
    empty = PredictedBodies("people", [elsewhere], [person.image, elsewhere.image])
    assert "where the person is" in empty.fits([one], free_body, settings)[0].reason


def test_of_whom_few_joints_are_marked_is_found_by_those(instants, predicted, free_body):
    """With --keypoints predict's box is about the marked joints."""
    one, view = instants[0], instants[0].views[0]
    head = view.joints_2d[:2]
    low, high = head.min(0) - 3, head.max(0) + 3
    few = replace(view, confidence=np.r_[1.0, 1.0, np.zeros(23)])
    people = PredictedBodies("people", [replace(predicted[0], box=np.r_[low + 3, high - low - 6])])
    assert people._of(replace(one, views=(few,)))[0][0] == pytest.approx(1)


def written(folder, fits, views, **about):
    """A folder of predict's with somebody in each of the pictures a, b."""
    folder.mkdir()
    file = PredictionsFile(folder, FIELD_JOINTS, {"asked": {}} | about)
    for name, fit, view in zip("ab", fits, views, strict=True):
        joints = np.zeros((17, 3))
        person = Person(view.box, 0.9, "given", joints, joints[0], joints[:, :2], joints[:, 0], joints[:, 0] > 0, 1.0)
        camera = replace(view.camera, width=1000, height=1000)
        people = (person,) if fit is None else (replace(person, body=fit.parameters),)
        file.add(PicturePeople(f"images/{name}.jpg", 1000, 1000, camera, people))
    file.close()
    return folder


@pytest.mark.slow
def test_from_predictions_to_shards(openpose_root, monocular, monocular_fits, tmp_path):  # noqa: F811
    views = [one.views[0] for one in monocular.instants[:2]]
    people, out, shards = (
        written(tmp_path / "people", monocular_fits[:2], views),
        tmp_path / "fits",
        tmp_path / "shards",
    )
    result = CliRunner().invoke(command, ["openpose", str(openpose_root), str(out), "--people", str(people)])
    assert "2 fits (2 valid)" in result.output and f"2 of the 2 people of {people / FILE} were taken" in result.output
    assert json.loads((out / "report.json").read_text())["people"] == {
        "file": str(people / FILE),
        "found": 2,
        "taken": 2,
        "doubtful": 0,
    }
    with h5py.File(out / "fits.h5") as file:
        assert np.allclose(file["body_pose"][0], monocular_fits[0].parameters.body_pose, atol=1e-4)
    arguments = ["openpose", str(openpose_root), str(shards), "--fits-from", str(out), "--workers", "0"]
    result = CliRunner().invoke(preprocess, [*arguments, "--crop-px", "64", "--pool", "1024"])
    assert result.exit_code == 0, result.output
    assert "fits: 2 of 2 views valid" in result.output


def test_a_fit_of_nobody_ends_with_exit_code_1(openpose_root, monocular, monocular_fits, tmp_path, monkeypatch):  # noqa: F811
    views = [one.views[0] for one in monocular.instants[:2]]
    people = written(tmp_path / "people", monocular_fits[:2], views)
    root = tmp_path / "root"
    shutil.copytree(openpose_root, root)
    for folder, end in (("images", ".jpg"), ("keypoints", "_keypoints.json")):
        (root / folder / f"b{end}").rename(root / folder / f"c{end}")
    given = ["nvf-cli", "fit", "openpose", str(root), str(tmp_path / "fits"), "--people", str(people)]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1


def test_predictions_without_bodies_and_options_of_fits_are_refused(openpose_root, monocular, monocular_fits, tmp_path):  # noqa: F811
    people = written(tmp_path / "people", [None, None], [one.views[0] for one in monocular.instants[:2]])
    given = ["openpose", str(openpose_root), str(tmp_path / "fits"), "--people", str(people / FILE)]
    with pytest.raises(InputError, match="has nobody with a body. Predict again"):
        CliRunner().invoke(command, given, catch_exceptions=False)
    with pytest.raises(InputError, match="leave out --hands"):
        CliRunner().invoke(command, [*given, "--hands"], catch_exceptions=False)
    views = [one.views[0] for one in monocular.instants[:2]]
    other = written(tmp_path / "other", monocular_fits[:2], views, body="00")
    with pytest.raises(InputError, match="another body model"):
        CliRunner().invoke(command, [*given[:-1], str(other)], catch_exceptions=False)
    with pytest.raises(InputError, match="writes it"):
        CliRunner().invoke(command, [*given[:-1], str(tmp_path)], catch_exceptions=False)
    assert not (tmp_path / "fits").exists()
