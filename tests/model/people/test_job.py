"""From pictures to all files, by the command, the Python API, the example and the notebook."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from click.testing import CliRunner

import nvf_body
from cli.main import nvf
from model.people.job import claimed_folder
from model.people.predictions import read_predictions
from pipeline.errors import InputError
from pipeline.outputs import run_lock
from tests.model.people.places import make_place, quick_run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
HOPPER = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
# Predicts with bodies, and says no to any import of smplx and of what takes seconds to import; as `place` without its fixtures.
SCRIPT = """
import sys
import numpy as np
from cli.main import nvf
from model.people import detector, predict
from model.people.records import Box

predict.SOMEBODY = 0.0
detector.Detector.__call__ = lambda self, pixels: [Box(np.array([5.0, 4, 50, 60]), 0.8, "detector")]
arguments = ["predict", "a.png", "--run", sys.argv[1], "--decode", "body", "--html", "--device", "cpu"]
try:
    nvf(arguments, standalone_mode=False)
except SystemExit as end:
    assert not end.code, end.code
assert "smplx" not in sys.modules
slow = {"igl", "matplotlib", "scipy", "torch._dynamo", "trimesh"} & set(sys.modules)
assert not slow, slow
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return quick_run(tmp_path_factory.mktemp("job"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    return make_place(tmp_path, monkeypatch, people=2, frames=3)


def predict(*arguments):
    return CliRunner().invoke(nvf, ["predict", *map(str, arguments), "--device", "cpu"], catch_exceptions=False)


def test_two_answers_at_once_do_not_share_a_folder(run, place):
    """They would write one predictions.json together."""
    with run_lock(Path("people")), pytest.raises(InputError, match="another run is writing people"):
        predict("a.png", "--run", run, "--decode", "votes")
    assert not Path("people").exists()
    assert predict("a.png", "--run", run, "--decode", "votes").exit_code == 0


def test_an_answer_that_came_between_is_left_alone(tmp_path, monkeypatch):
    """Another run ends between the choice of a folder and its lock."""
    chosen = iter([tmp_path / "out", tmp_path / "out-2"])
    monkeypatch.setattr("model.people.job.results_folder", lambda out, asked: next(chosen))
    with pytest.raises(InputError, match="another run has just written"), claimed_folder(tmp_path / "out", {}):
        pass


def test_every_format_of_a_photograph_and_a_video(run, place):
    words = "npz,overlay,glb,ply,bvh,amass"
    result = predict("a.png", "v.mp4", "--run", run, "--decode", "body", "--write", words, "--html")
    assert result.exit_code == 0, result.output
    names = {path.name for path in Path("people").iterdir()}
    assert {"predictions.json", "predictions.npz", "people.html", "a.people.png", "v.people.mp4"} < names
    assert {"a.people.glb", "v.frame000002.people.ply", "a.person-2.bvh", "v.track-1.npz"} < names
    people = json.loads(Path("people", "predictions.json").read_text())["people"]
    assert len(people) == 8 and all(len(person["smplx"]["body_pose"]) == 63 for person in people)
    assert all(len(person["spread"]) == 17 for person in people)
    assert "a.people.png" in result.output and "more files beside it" in result.output
    # the same question again may write other files beside them
    assert predict("a.png", "v.mp4", "--run", run, "--decode", "body", "--write", "bvh").exit_code == 0
    assert not Path("people-2").exists()


def test_votes_have_no_bodies(run, place):
    assert predict("a.png", "--run", run, "--decode", "votes", "--write", "npz").exit_code == 0
    assert not np.load("people/predictions.npz")["has_body"].any()
    with pytest.raises(InputError, match="--write glb is of bodies, and --decode votes fits none"):
        predict("a.png", "--run", run, "--decode", "votes", "--write", "npz,glb")


def test_nothing_is_left_where_nobody_is_found(run, place):
    with pytest.raises(InputError, match="nobody was found"):
        predict("nobody.png", "--run", run, "--html")
    assert not list(Path("people").iterdir())


def test_the_default_path_imports_nothing_that_is_for_research_only(run, place):
    """The package smplx's licence permits research only."""
    (place / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "script.py", run], check=True, cwd=place, env=environment)
    assert Path("people/people.html").exists()


def test_python_finds_people_of_paths_arrays_and_lists(run, place):
    model = nvf_body.load(run, device="cpu", decode="body")
    pixels = cv2.imread("a.png", cv2.IMREAD_COLOR_RGB)
    one, array = model("a.png"), model(pixels)
    several = model(["a.png", "nobody.png", "nothere.png", pixels])
    assert [len(found.people) for found in several] == [2, 0, 0, 2]
    assert "no person is found" in several[1].refusal and "there is no such file" in several[2].refusal
    for found in (array, several[0], several[3]):  # alone or beside others: the same
        for k in range(2):
            np.testing.assert_allclose(found.people[k].joints, one.people[k].joints, atol=1e-5)
            np.testing.assert_allclose(found.people[k].body.transl, one.people[k].body.transl, atol=1e-4)
    assert one.people[0].joints.shape == (len(model.joint_names), 3)
    vertices = model.mesh(one.people[0])
    assert vertices.shape[1] == 3 and model.faces.max() == len(vertices) - 1
    given = model(["nothere.png", "a.png", "a.png"], boxes=[[], [1, 2, 40, 60], [[5, 4, 50, 60], [45, 4, 50, 60]]])
    assert [len(found.people) for found in given] == [0, 1, 2]
    np.testing.assert_allclose(given[2].people[1].joints, one.people[1].joints, atol=1e-5)
    assert [found.frame for found in model.each("v.mp4", every=2)] == [0, 2]
    paths = model.save(["a.png"], "out", "glb")
    assert [path.name for path in paths] == ["a.people.glb"] and paths[0].exists()


def test_the_command_and_python_give_the_same_people(tmp_path, monkeypatch):
    """Of a photograph of somebody in whom the 2D network sees keypoints: they are evidence for both."""
    monkeypatch.chdir(tmp_path)
    assert predict(HOPPER, "--decode", "body", "--write", "none").exit_code == 0
    (written,) = read_predictions(Path("people/predictions.json")).pictures
    model = nvf_body.load(device="cpu", decode="body")
    (person,) = written.people
    pixels = cv2.imread(str(HOPPER), cv2.IMREAD_COLOR_RGB)
    for found in (*model([HOPPER, pixels]), *model.each(str(HOPPER))):
        (other,) = found.people
        assert (other.keypoints.confidence > 0.2).sum() >= 5
        np.testing.assert_allclose(other.joints, person.joints, atol=1e-4)
        np.testing.assert_allclose(other.body.body_pose, person.body.body_pose, atol=1e-3)
    given = model(HOPPER, boxes=[person.box]).people[0]
    np.testing.assert_allclose(given.joints, person.joints, atol=5e-3)  # a box is written to a hundredth of a pixel


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 0], [50, 50, 1e-9, 1e-9], [900, 5, 30, 60], [-1e9, 0, 2e9, 2e9], [5, 5, -4, 9]]
)
def test_a_box_that_holds_nobody_is_refused_beside_one_that_does(run, place, box, recwarn):
    """With bodies, whose keypoints are looked for in every box."""
    found = nvf_body.load(run, device="cpu", decode="body")("a.png", boxes=[box, [5, 4, 50, 60]])
    assert len(found.people) == 1 and len(found.left_out) == 1 and not list(recwarn)


@pytest.mark.parametrize(
    ("images", "boxes", "said"),
    [
        (np.zeros((4, 4)), None, r"image 0 is an array float64 \(4, 4\)"),
        ([3], None, "image 0 is a int"),
        (3, None, "image 0 is a int"),
        (None, None, "image 0 is a NoneType"),
        ("v.mp4", None, "more than one picture. Use `each`"),
        (["a.png", "a.png"], [[1, 2, 3, 4]], "2 images and boxes for 1"),
        ("a.png", [1, 2, 3], r"boxes of the shape \(3,\)"),
        ("a.png", "left", "give x, y, width and height"),
    ],
)
def test_arguments_that_are_no_pictures_are_refused(run, place, images, boxes, said):
    with pytest.raises(InputError, match=said):
        nvf_body.load(run, device="cpu", decode="votes")(images, boxes)


def test_an_unknown_decode_is_refused_and_votes_have_no_mesh(run, place):
    with pytest.raises(InputError, match="decode 'fast': choose from auto, votes, body"):
        nvf_body.load(run, decode="fast")
    model = nvf_body.load(run, device="cpu", decode="votes")
    with pytest.raises(InputError, match="has no body"):
        model.mesh(model("a.png").people[0])


def test_the_example_says_where_everybody_is(run, place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["people_in_pictures.py", "a.png", "nobody.png", "--run", str(run)])
    runpy.run_path(str(ROOT / "examples" / "people_in_pictures.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "a.png 2 people" in said and said.count("right wrist at") == 2 and "no person is found" in said


def test_the_notebook_runs(run, place, monkeypatch):
    """Its cells one after the other, with a run and a photograph of ours."""
    notebook = json.loads((ROOT / "examples" / "people_in_pictures.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 4 and all(not cell.get("outputs") for cell in notebook["cells"])
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    names = {"__name__": "notebook"}
    for cell in cells:
        exec(
            compile(cell.replace('"photo.jpg"', '"a.png"').replace("load()", f"load({str(run)!r})"), "cell", "exec"),
            names,
        )
    assert Path("people", "people.html").exists()
