"""The model card's tables: people are found again in the capture, and sorted by how they are seen."""

import h5py
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.skeletons import FIELD_JOINTS
from pipeline.sources.synthetic.wild.columns import TRUTH_FILE
from tools.card import people_of, tables


def person(turn: float) -> np.ndarray:
    """(17, 3) mm, 4 m in front of the camera: hips and neck of somebody who is turned from it by so many degrees."""
    joints = np.zeros((17, 3))
    across = (
        np.array([np.cos(np.radians(turn)), 0, np.sin(np.radians(turn))]) * 100
    )  # to the left of who faces us: the image's right
    for name, place in (("left_hip", across), ("right_hip", -across), ("neck", [0, -500, 0])):
        joints[FIELD_JOINTS.names.index(name)] = place
    return joints + [0, 0, 4000]


def camera(down: float, roll: float = 0.0) -> np.ndarray:
    """(3, 3) of one that looks along the world's y, so many degrees down, turned about its axis."""
    p, r = np.radians([down, roll])
    level = np.array([[1.0, 0, 0], [0, -np.sin(p), -np.cos(p)], [0, np.cos(p), -np.sin(p)]])
    return np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]) @ level


@pytest.fixture
def places(tmp_path):
    """Three people of two pictures, the last two of them evaluated."""
    run, capture = tmp_path / "run", tmp_path / "capture"
    run.mkdir()
    (capture / TRUTH_FILE).parent.mkdir(parents=True)
    with h5py.File(capture / TRUTH_FILE, "w") as file:
        file["picture/number"], file["picture/R"] = [3, 8], [camera(0.0), camera(30.0, 12.0)]
        file["person/picture"], file["person/kind"] = [3, 3, 8], [b"calm", b"lying", b"clip getup"]
        file["person/joints_mm"] = [person(0), person(180), person(80)]
    ids = ["val2017/000000000003/000000001/0", "val2017/000000000008/000000002/0"]
    np.savez(run / "predictions.npz", id=ids, mpjpe=[0.1, 0.2], pa_mpjpe=[0.05, 0.06])
    return run, capture


def test_everybody_is_found_again(places):
    found = people_of(*places)
    assert found["turn"] == pytest.approx([180, 80]) and found["kind"].tolist() == ["lying", "clip"]
    assert found["pitch"] == pytest.approx([0, 30], abs=1e-6) and found["roll"] == pytest.approx([0, 12], abs=1e-6)
    said = tables(found)
    assert "| all | 2 | 150.0 | 55.0 |" in said and "| standing or sitting about | 0 | - | - |" in said
    assert "| from behind (beyond 120 degrees) | 1 | 100.0 | 50.0 |" in said
    for seen in ("from the side", "from above (15 to 40 degrees down)"):
        assert f"| {seen} | 1 | 200.0 | 60.0 |" in said
    assert "| by a camera that is rolled by 10 degrees or more | 1 | 200.0 | 60.0 |" in said


def test_runs_of_other_people_are_refused(places):
    run, capture = places
    np.savez(run / "predictions.npz", id=["S9/Walking/3"], mpjpe=[0.1], pa_mpjpe=[0.05])
    with pytest.raises(InputError, match="not of people of a wild capture: one of them is S9/Walking/3"):
        people_of(run, capture)
    np.savez(run / "predictions.npz", id=["val2017/000000000007/000000001/0"], mpjpe=[0.1], pa_mpjpe=[0.05])
    with pytest.raises(InputError, match="of other people than those of"):
        people_of(run, capture)
    with pytest.raises(InputError, match="give the folder of `nvf-cli synthesize --wild`"):
        people_of(run, run)
    (run / "predictions.npz").unlink()
    with pytest.raises(InputError, match="nvf-cli evaluate"):
        people_of(run, capture)
