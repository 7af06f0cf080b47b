"""The capture as a whole: bytes, layout, boxes, labels, what is rendered."""

import errno
import hashlib
import io
import json
import os
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from rich.console import Console

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.camera import project, tight_box, world_to_camera
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.outputs import run_lock
from pipeline.run import Workers
from pipeline.skeletons import HUMAN36M
from pipeline.sources import open_source
from pipeline.sources.synthetic import layout, takes
from pipeline.sources.synthetic.settings import DRAWN, CaptureSettings
from pipeline.sources.synthetic.truth import read_truth
from pipeline.sources.synthetic.wild.settings import WildSettings
from pipeline.synthesize import CaptureProgress, CaptureRequest, synthesize
from tests.pipeline import fault_tasks

SETTINGS = CaptureSettings(seed=3, instants=7, image_px=128, subjects=(1, 8, 9), actions=("Walking", "Sitting"))
# The means of its pictures.
GREY = (
    "123.8 138.1 100.2 119.2 140.7 149.7 130.1 116.5 137.8 137.1 134.9 135.4 141.9 142.9 "
    "161 160.7 104.6 110.4 92.01 139.6 106.7 115.3 113.8 113.7 117.6 144.9 102.5 112.9"
)


def write(out, settings=SETTINGS, workers=0):
    """What the mark says, and what was told meanwhile."""
    progress = CaptureProgress(Console(file=io.StringIO()))
    mark = synthesize(CaptureRequest(out, settings), Workers(workers), progress)
    return mark, progress.console.file.getvalue()


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "capture"
    return out, write(out)[0]


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
    write(tmp_path / "with_2", workers=2)
    assert tree_hashes(tmp_path / "with_2") == expected
    tiny = replace(SETTINGS, instants=1, subjects=(1,), actions=("Sitting",))
    for seed in (3, 4):
        write(tmp_path / f"seed_{seed}", replace(tiny, seed=seed))
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
    write(tmp_path / "still", still)
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


def test_a_second_run_in_the_same_folder(capture, tmp_path):
    before = tree_hashes(capture[0])
    mark, said = write(capture[0])
    assert "complete already; nothing was made" in said and mark == json.loads(json.dumps(capture[1]))
    with pytest.raises(InputError, match=r"instants 7 \(now 8\)"):
        write(capture[0], replace(SETTINGS, instants=8))
    with pytest.raises(InputError, match="another kind of capture"):
        write(capture[0], WildSettings(instants=7))
    with run_lock(capture[0]), pytest.raises(InputError, match="another run is writing"):
        write(capture[0])
    assert tree_hashes(capture[0]) == before
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(InputError, match="is not empty and holds no capture that was begun; name a new"):
        write(tmp_path)
    with pytest.raises(InputError, match="no folder can be made there"):
        write(tmp_path / "mine.txt" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_that_was_interrupted_goes_on_where_it_was(capture, tmp_path, monkeypatch):
    """It began anew, and a killed one left its pictures in a hidden folder."""
    real, filmed, out = takes.film, [], tmp_path / "out"

    def stop_at(number):
        def film(studio, plan, images):
            filmed.append(plan)
            if len(filmed) == number:
                raise KeyboardInterrupt
            return real(studio, plan, images)

        return film

    monkeypatch.setattr(takes, "film", stop_at(5))
    with pytest.raises(KeyboardInterrupt):
        write(out)
    assert not (out / "synthetic.json").exists() and [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(InputError, match="a capture that is not finished"):
        open_source("human36m", out)
    made = sorted((out / ".plan").glob("take-*.npz"))
    assert len(made) == 4
    made[0].write_bytes(made[0].read_bytes()[:100])  # as a disk may leave it
    first = filmed[:]
    (out / "images" / first[2].image_name(3, 0)).unlink()
    torn = out / "images" / first[3].image_name(1, 0)
    torn.write_bytes(torn.read_bytes()[:1000])  # as a machine that loses its power may leave it
    monkeypatch.setattr(takes, "film", stop_at(0))
    filmed.clear()
    _, said = write(out)
    again = [first.index(plan) for plan in filmed if plan in first]
    assert again == [0, 2, 3, 4], "damaged, without a picture, with half of one, interrupted"
    assert tree_hashes(out) == tree_hashes(capture[0]) and "28/28 pictures" in said


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_comes_to_the_same(capture, tmp_path):
    out = tmp_path / "out"
    assert fault_tasks.kill_after(lambda: write(out), (1.5, 2.5, 3.5)) >= 1
    write(out)
    assert tree_hashes(out) == tree_hashes(capture[0])


def test_annotations_without_the_rest_are_no_recording(capture, tmp_path, monkeypatch):
    """A run that was killed while it joined left what was read as Human3.6M itself."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(layout, "write_truth", full)
        with pytest.raises(InputError, match="the annotations cannot be written"):
            write(out)
    assert len(list((out / "annotations").iterdir())) == 9
    with pytest.raises(InputError, match="a capture that is not finished"):
        open_source("human36m", out)
    (out / "contact_sheet.png.1234.tmp").write_bytes(b"half")
    write(out)
    assert tree_hashes(out) == tree_hashes(capture[0])


def test_a_picture_that_is_lost_again_while_it_is_filmed_anew(capture, tmp_path, monkeypatch):
    """Half a picture stood in the finished capture."""
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(layout, "write_truth", lambda *_: (_ for _ in ()).throw(OSError("stop")))
        with pytest.raises(InputError, match="stop"):
            write(out)
    pictures = sorted((out / "images").glob("*/*.jpg"))
    pictures[0].unlink()
    real = os.replace

    def killed(source, target):
        if str(target) == str(pictures[1]):
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(out)
    (pictures[1].parent / f"{pictures[1].name}.12.tmp").write_bytes(b"half")
    write(out)
    assert tree_hashes(out) == tree_hashes(capture[0])
    (out / ".plan").mkdir()  # as a run leaves it that is killed between its last two steps
    write(out)
    assert not (out / ".plan").exists()


def test_a_sequence_that_fails_is_told_and_tried_again(capture, tmp_path, monkeypatch):
    real = takes.film

    def fail(studio, plan, images):
        if plan.action == "Sitting":
            raise ZeroDivisionError("no such luck")
        return real(studio, plan, images)

    monkeypatch.setattr(takes, "film", fail)
    with pytest.raises(InputError, match=r"\d of 6 tasks failed; the same command tries them again"):
        write(tmp_path / "out")
    monkeypatch.setattr(takes, "film", real)
    write(tmp_path / "out")
    assert tree_hashes(tmp_path / "out") == tree_hashes(capture[0])


def test_a_full_disk_is_said_before_and_while_sequences_are_filmed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    real = os.replace
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", lambda *paths: full() if str(paths[1]).endswith(".jpg") else real(*paths))
        with pytest.raises(InputError, match=r"\.jpg.*No space left on device"):
            write(tmp_path / "out")
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 29)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="28 pictures need about"):
        write(tmp_path / "full")


def test_what_a_seed_draws_has_a_number_of_its_own(capture):
    """Whoever changes what is in the pictures raises DRAWN and writes the new numbers here."""
    grey = [cv2.imread(str(path), 0).mean() for path in sorted(capture[0].rglob("images/*/*.jpg"))]
    assert DRAWN == 2
    np.testing.assert_allclose(grey, np.array(GREY.split(), float), atol=0.25)


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
