"""`view` shows predicted people: all of a picture, where they are, and those of the next picture in their place."""

from dataclasses import replace

import numpy as np
import pytest

from model.people.photographs import photograph_camera
from model.people.predictions import PredictionsFile, read_predictions
from model.people.records import Person, PicturePeople
from model.people.viewer import find_predictions, said_of, serve_predictions
from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.skeletons import FIELD_JOINTS

CAMERA = photograph_camera(80, 60, None)


def person(depth: float, body: bool = False) -> Person:
    joints = np.zeros((17, 3)) + np.arange(17)[:, None] * 0.01
    parameters = BodyParameters(**{name: np.zeros(size) for name, size in PARAMETER_SIZES.items()}) if body else None
    sure = np.full(17, 0.8)
    root = np.array([0, 0, depth])
    return Person(np.zeros(4), 0.9, "detector", joints, root, np.zeros((17, 2)), sure, sure > 0, 1.0, body=parameters)


def written(folder, pictures):
    file = PredictionsFile(folder, FIELD_JOINTS, {})
    for k, people in enumerate(pictures):
        file.add(PicturePeople(f"{k}.png", 80, 60, CAMERA, tuple(people)))
    return file.close()


def test_people_of_a_picture_are_shown_and_replaced_by_those_of_the_next(tmp_path):
    pytest.importorskip("viser")
    path = written(tmp_path, [[person(3.0), person(4.0, body=True)], [], [person(5.0)]])
    assert find_predictions(tmp_path) == find_predictions(path) == path and find_predictions(tmp_path / "a.h5") is None
    server = serve_predictions(path, load_body(), "127.0.0.1", 0)
    try:
        shown = server.scene._handle_from_node_name
        assert {"/person 0", "/person 1", "/body 1", "/ground"} <= set(shown)
        slider = next(h for h in server.gui._gui_input_handle_from_uuid.values() if h.label == "picture")
        assert slider.max == 1  # of pictures with people
        slider.value = 1
        assert "/person 0" in shown and "/person 1" not in shown and "/body 1" not in shown
        lines = shown["/person 0"].points
        assert lines[..., 2].min() >= 5.0
    finally:
        server.stop()


def test_people_are_looked_at_where_they_are(tmp_path):
    pytest.importorskip("viser")
    far = replace(person(35.0), root=np.array([-8.0, 1.0, 35.0]))
    server = serve_predictions(written(tmp_path, [[person(3.0), far], [far]]), load_body(), "127.0.0.1", 0)
    try:
        camera = server.initial_camera
        assert 2.5 < camera.look_at[2] < 3.5 and np.linalg.norm(camera.position - camera.look_at) < 4
        slider = next(h for h in server.gui._gui_input_handle_from_uuid.values() if h.label == "picture")
        slider.value = 1
        assert np.linalg.norm(camera.look_at - far.root) < 0.5 and np.linalg.norm(camera.position - far.root) < 4
    finally:
        server.stop()


def test_a_line_says_who_is_where_and_what_is_doubtful(tmp_path):
    doubtful = replace(person(3.0, body=True), spread=np.linspace(0, 0.3, 17), doubts="joints may be 300 mm off")
    predictions = read_predictions(written(tmp_path, [[doubtful]]))
    said = said_of(predictions.pictures[0], predictions.joint_set)
    assert "person 1: 3.0 m away, joints 80 % sure; doubtful: joints may be 300 mm off, " in said
    assert said.endswith(" 300 mm")


def test_a_file_with_nobody_is_refused(tmp_path):
    with pytest.raises(InputError, match="nobody to show"):
        serve_predictions(written(tmp_path, [[]]), load_body(), "127.0.0.1", 0)
