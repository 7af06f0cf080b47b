from dataclasses import replace

import numpy as np
import pytest

from model.body_fit import Hypotheses
from model.data.views import read_views
from model.hypotheses_picture import draw_hypotheses, hypotheses_picture, most_ambiguous, shown_hypotheses
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.skeletons import FIELD_JOINTS, SMPLX_22
from tests.model.capsules import make_view, write_folder

SIDE = 120


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "shards"
    return read_views([write_folder(folder, [make_view(n, "test", "S9") for n in range(3)])])["test"]


def standing(turn):
    """A body 4 m before the camera whose left elbow is turned by so many radians, forwards or backwards."""
    values = {name: np.zeros(size) for name, size in PARAMETER_SIZES.items()}
    pose = np.zeros((21, 3))
    pose[SMPLX_22.index("left_elbow") - 1, 1] = turn
    values |= {"body_pose": pose.ravel(), "global_orient": np.array([np.pi, 0, 0]), "transl": np.array([0, 0, 4.0])}
    return BodyParameters(**values)


@pytest.fixture(scope="module")
def found():
    """Two bodies of three views; the second view has one body alone, the third is the most ambiguous."""
    body, bodies = load_body(), [standing(-1.5), standing(1.5)]
    points = [keypoint_map(body, FIELD_JOINTS)(*body.mesh(one)[::-1]) for one in bodies]
    joints = np.stack([each - each[FIELD_JOINTS.root_index] for each in points])
    weights = np.array([[0.3, 0.7], [1.0, 0.0], [0.6, 0.4]])
    return Hypotheses(np.tile(joints, (3, 1, 1, 1)), weights, [[one] * 3 for one in bodies])


def test_the_views_whose_weights_are_most_even_come_first_and_those_of_one_body_never():
    weights = np.array([[0.9, 0.1, 0.0], [1.0, 0.0, 0.0], [0.4, 0.3, 0.3], [0.2, 0.8, 0.0]])
    assert most_ambiguous(weights).tolist() == [2, 3, 0] and most_ambiguous(weights, 1).tolist() == [2]
    assert not len(most_ambiguous(np.ones((4, 1))))


def test_bodies_come_with_their_weights_and_errors_the_likeliest_first(views, found):
    index = np.arange(3)
    shown = shown_hypotheses(found, load_body(), views, index, SIDE)
    assert [one.weights.tolist() for one in shown] == [[0.6, 0.4], [0.7, 0.3]]
    assert shown[1].view.text == str(views["id"][0])
    assert np.abs(shown[1].vertices[0] - load_body().mesh(found.parameters[1][0])[0]).max() < 1e-5
    truth = np.asarray(views["joints"][2], float)
    off = np.linalg.norm(found.joints[2, 1] - (truth - truth[FIELD_JOINTS.root_index]), axis=-1).mean()
    assert shown[0].errors[1] == pytest.approx(off)
    unknown = replace(found, weights=found.weights[:, ::-1].copy())
    assert len(shown_hypotheses(unknown, load_body(), views, index, SIDE)) == 2


def test_a_twin_looks_alike_over_the_crop_and_different_from_the_side(views, found):
    shown = shown_hypotheses(found, load_body(), views, np.arange(3), SIDE)
    picture = hypotheses_picture(shown, load_body().faces, FIELD_JOINTS, SIDE)
    assert picture.shape == (2 * (2 * SIDE + 26 + 8), 3 * SIDE + 8, 3)
    panels = [picture[SIDE : 2 * SIDE, k * SIDE : (k + 1) * SIDE].astype(int) for k in (1, 2)]
    forearms = [np.flatnonzero((np.abs(part[37:42] - 247).max(-1) > 8).any(0)) for part in panels]
    # it points to the camera in the likelier body and away from it in the other
    assert forearms[0][0] < forearms[1][0] - 10 and forearms[0][-1] < forearms[1][-1]


def test_without_several_bodies_the_picture_of_an_earlier_evaluation_goes(views, found, tmp_path):
    path = tmp_path / "hypotheses.png"
    draw_hypotheses(path, found, views, np.arange(3), SIDE)
    assert path.stat().st_size > 1000
    alone = replace(found, weights=np.tile([1.0, 0.0], (3, 1)))
    draw_hypotheses(path, alone, views, np.arange(3), SIDE)
    assert not path.exists()
    draw_hypotheses(path, None, views, np.arange(3), SIDE)  # nothing to take away
