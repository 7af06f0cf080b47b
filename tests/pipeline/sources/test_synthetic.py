"""The capture as a whole: bytes, layout, boxes, labels, what is rendered."""

import errno
import hashlib
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.camera import project, tight_box, world_to_camera
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.skeletons import HUMAN36M
from pipeline.sources import open_source
from pipeline.sources.synthetic import CaptureSettings, write_capture, writer
from pipeline.sources.synthetic.truth import read_truth
from tests.pipeline import fault_tasks

SETTINGS = CaptureSettings(seed=3, instants=7, image_px=128, subjects=(1, 8, 9), actions=("Walking", "Sitting"))


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def capture(body, tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "capture"
    mark = write_capture(out, body, SETTINGS, workers=0)
    return out, mark


@pytest.fixture(scope="module")
def source(capture):
    return open_source("human36m", capture[0])


@pytest.fixture(scope="module")
def instants(source):
    return list(source.instants())


def tree_hashes(root):
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


@pytest.mark.slow
def test_bytes_depend_on_the_seed_and_not_on_the_workers(capture, body, tmp_path):
    expected = tree_hashes(capture[0])
    write_capture(tmp_path / "with_2", body, SETTINGS, workers=2)
    assert tree_hashes(tmp_path / "with_2") == expected
    tiny = replace(SETTINGS, instants=1, subjects=(1,), actions=("Sitting",))
    for seed in (3, 4):
        write_capture(tmp_path / f"seed_{seed}", body, replace(tiny, seed=seed))
    same, other = tree_hashes(tmp_path / "seed_3"), tree_hashes(tmp_path / "seed_4")
    assert all(same[name] != other[name] for name in same)


def test_the_reader_of_human36m_reads_all_of_it(source, instants, capture):
    assert not source.read()[1].rejects and not source.recorded
    assert len(instants) == SETTINGS.instants == capture[1]["instants"]
    assert {i.subject: i.split for i in instants} == {"S1": "train", "S8": "validation", "S9": "test"}
    for instant in instants:
        assert [view.camera_id for view in instant.views] == ["1", "2", "3", "4"]
        image = read_image(source.root, instant.views[0].image_path)
        assert image.shape == (SETTINGS.image_px, SETTINGS.image_px, 3) and image.std() > 5


def test_only_frames_that_the_splits_keep_are_rendered(capture):
    root = capture[0]
    images, ids = {}, []
    for path in (root / "annotations").glob("*_data.json"):
        data = json.loads(path.read_text())
        images |= {image["file_name"]: image for image in data["images"]}
        ids += [image["id"] for image in data["images"]]
        assert [a["image_id"] for a in data["annotations"]] == [image["id"] for image in data["images"]]
    assert len(set(ids)) == len(ids) == 4 * SETTINGS.instants
    assert {str(p.relative_to(root / "images")) for p in (root / "images").rglob("*.jpg")} == set(images)
    for name, image in images.items():
        assert image["frame_idx"] % (64 if image["subject"] == 9 else 5) == 0
        assert name.endswith(f"_{image['frame_idx'] + 1:06d}.jpg")


def test_joints_are_there_for_every_frame_and_move_smoothly(capture):
    joints = json.loads((capture[0] / "annotations" / "Human36M_subject1_joint_3d.json").read_text())
    lengths = []
    for sequence in (s for action in joints.values() for s in action.values()):
        frames = np.array([sequence[str(k)] for k in range(len(sequence))])
        lengths.append(len(frames))
        if len(frames) > 2:
            # 20 ms apart: below 10 m/s and 400 m/s2
            assert np.linalg.norm(np.diff(frames, axis=0), axis=-1).max() < 200
            assert np.linalg.norm(np.diff(frames, n=2, axis=0), axis=-1).max() < 160
    assert max(lengths) > SETTINGS.stride_train


def test_boxes_are_disturbed_by_what_the_settings_say(instants, body, tmp_path):
    def exact(view, instant):
        pixels = project(view.camera, world_to_camera(view.camera, instant.joints_3d))
        return tight_box(pixels, subtract=1)

    offsets = np.array([(view.box - exact(view, i)) / exact(view, i)[2:].max() for i in instants for view in i.views])
    assert 0.005 < np.abs(offsets).mean() < 0.08
    assert np.abs(offsets[:, 2:]).max() <= 2 * SETTINGS.box_scale + 1e-9
    still = replace(SETTINGS, instants=1, subjects=(1,), box_shift=0.0, box_scale=0.0)
    write_capture(tmp_path / "still", body, still)
    for instant in open_source("human36m", tmp_path / "still").instants():
        for view in instant.views:
            np.testing.assert_allclose(view.box, exact(view, instant), atol=1e-6)


def test_labels_are_the_joints_of_the_true_naked_body(capture, instants, body):
    truth, keys = read_truth(capture[0], body), keypoint_map(body, HUMAN36M)
    assert set(truth.index) == {i.id for i in instants}
    for instant in instants:
        vertices, joints = truth.mesh(instant.id)
        np.testing.assert_allclose(keys(joints, vertices), instant.joints_3d, atol=2e-6)
        # Ten betas do not give this body, but nearly.
        distance = np.linalg.norm(body.mesh(truth.parameters(instant.id))[0] - vertices, axis=1).mean()
        assert 0.002 < distance < 0.05


def test_training_and_test_people_have_different_rooms_and_bodies(capture, body):
    truth = read_truth(capture[0], body)
    betas = {int(s): b for s, b in zip(truth.subjects, truth.arrays["betas"], strict=True)}
    assert len(betas) == 3 and np.linalg.norm(betas[1] - betas[9]) > 0.5


def test_mark_says_what_it_is(capture, body):
    mark = json.loads((capture[0] / "synthetic.json").read_text())
    assert mark["synthetic"] is True and mark["seed"] == 3 and mark["body"]["sha256"] == body.sha256
    assert mark["settings"]["instants"] == 7
    assert (capture[0] / "contact_sheet.png").stat().st_size > 10_000


def test_refuses_a_folder_that_holds_something(capture, body, tmp_path):
    before = tree_hashes(capture[0])
    with pytest.raises(InputError, match="not an empty folder"):
        write_capture(capture[0], body, SETTINGS)
    assert tree_hashes(capture[0]) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_capture(tmp_path / "file" / "out", body, SETTINGS)


def test_a_folder_that_another_run_filled_meanwhile_is_left_as_it_is(body, tmp_path, monkeypatch):
    """It was said to be a full disk."""
    out = tmp_path / "out"

    def filled(*_):
        out.mkdir()
        (out / "synthetic.json").write_text("another's")

    monkeypatch.setattr(writer, "_write", filled)
    with pytest.raises(InputError, match="out was filled while this capture was filmed, by another run; name a new"):
        write_capture(out, body, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and (out / "synthetic.json").read_text() == "another's"


def test_nothing_is_left_behind_when_filming_fails(body, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no film")

    monkeypatch.setattr("pipeline.sources.synthetic.writer.film", fail)
    with pytest.raises(RuntimeError, match="no film"):
        write_capture(tmp_path / "out", body, SETTINGS)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [1, 3])
def test_what_a_killed_process_left_is_filmed_by_others(deaths, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_open_worker", fault_tasks.open_nothing)
    monkeypatch.setattr(writer, "_film_in_worker", fault_tasks.film_or_die)
    (tmp_path / "deaths").write_text("x" * deaths)
    plans, studio = ["first", "poison", "last"], SimpleNamespace(rig=None, settings=None)
    if deaths == writer.ATTEMPTS:
        with pytest.raises(InputError, match=r"killed 3 times with \d of 3 sequences to go; .* fewer --workers than 1"):
            list(writer._film_all(studio, plans, tmp_path, 1))
    else:
        filmed = dict(writer._film_all(studio, plans, tmp_path, 1))
        assert filmed == {k: f"film of {plan}" for k, plan in enumerate(plans)}
    assert (tmp_path / "deaths").read_text() == ""


def test_a_full_disk_ends_filming_with_what_to_do(body, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.sources.synthetic.writer.film", full)
    with pytest.raises(InputError, match="No space left on device.*MB free"):
        write_capture(tmp_path / "out", body, SETTINGS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"subjects": (2,)},
        {"actions": ("Flying",)},
        {"instants": 1},
        {"stride_train": 7},
        {"stride_test": 32},
        {"image_px": 20},
        {"seed": -1},
    ],
)
def test_settings_that_make_no_capture_are_refused(wrong):
    with pytest.raises(InputError):
        replace(SETTINGS, **wrong)
