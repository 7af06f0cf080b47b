"""The wild capture: bytes, resuming, what its reader gives, and that labels lie where the pictures show people."""

import atexit
import functools
import hashlib
import io
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import h5py
import numpy as np
import pytest
from distributed import LocalCluster
from rich.console import Console
from scipy.spatial.transform import Rotation

from pipeline.body.model import load_body
from pipeline.camera import project, world_to_camera
from pipeline.errors import InputError
from pipeline.fit import FitSettings
from pipeline.fit.supplied import supplied_fit, uses_supplied
from pipeline.images import read_image
from pipeline.outputs import run_lock
from pipeline.preprocess.progress import RunProgress
from pipeline.preprocess.settings import PreprocessSettings, Request
from pipeline.run import Workers, preprocess
from pipeline.sampling import SamplingSettings
from pipeline.skeletons import SMPLX_55
from pipeline.sources import open_source
from pipeline.sources.synthetic import furniture, render, things
from pipeline.sources.synthetic.poses import neutral_pose, pose_rotations
from pipeline.sources.synthetic.settings import CaptureSettings, Looks
from pipeline.sources.synthetic.wild import blocks, clips, film, held, shutter, stage
from pipeline.sources.synthetic.wild import capture as capture_form
from pipeline.sources.synthetic.wild.cameras import PITCH, ROLL, draw_camera, pitch_of, roll_of
from pipeline.sources.synthetic.wild.columns import BEHIND_ITSELF, HIDDEN, OUTSIDE, SEEN, TRUTH_FILE, image_path
from pipeline.sources.synthetic.wild.pose import Pose, draw_pose
from pipeline.sources.synthetic.wild.settings import DRAWN, Variety, WildSettings, split_of
from pipeline.synthesize import CaptureProgress, CaptureRequest, synthesize
from tests.pipeline import fault_tasks

SETTINGS = WildSettings(seed=4, instants=21, image_px=128, block=8, supersampling=1)
# Of its pictures: their mean, and how many pixels of each person are seen.
GREY = "137.5 132 71.47 118.9 114.3 165.7 118.6 141.2 119.3 152.3 103.7 158.6 146.9 125.8 128.8 109.6 106.6 131.1 71.39 102.3 168.4"
# Mean steps from pixel to pixel of pictures in which everybody moves.
MOVED = "7.773 11.4 7.533 6.833"
PIXELS = (
    "1388 747 619 276 931 2494 365 1950 923 841 1195 2298 567 1229 184 453 1285 2013 1321 374 43 1368 985 1104 "
    "117 1320 584 2022 868 733 474 440 304 23 47"
)


def write(out, settings=SETTINGS, workers=0):
    progress = CaptureProgress(Console(file=io.StringIO()))
    where = workers if isinstance(workers, Workers) else Workers(workers)
    mark = synthesize(CaptureRequest(out, settings), where, progress)
    return mark, progress.console.file.getvalue()


@functools.cache
def made() -> Path:
    """A capture that several modules read; made once."""
    folder = tempfile.mkdtemp(prefix="wild-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write(Path(folder) / "capture")
    return Path(folder) / "capture"


@pytest.fixture(scope="module")
def capture():
    return made()


@pytest.fixture(scope="module")
def studio():
    return film.open_studio(load_body(), SETTINGS)


@pytest.fixture(scope="module")
def truth(capture):
    with h5py.File(capture / TRUTH_FILE) as file:
        return {
            name: file[name][:] for group in ("picture", "person") for name in map(f"{group}/{{}}".format, file[group])
        }


def tree_hashes(root):
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".h5")
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def truth_of(root):
    with h5py.File(root / TRUTH_FILE) as file:
        found = {}
        file.visititems(
            lambda name, item: found.update({name: item[:].tobytes()}) if isinstance(item, h5py.Dataset) else None
        )
    return found


def test_the_reader_gives_every_person_true_joints_and_the_true_camera(capture, truth):
    instants, report = open_source("wild", capture).read()
    assert not report.rejects and not report.doubts
    assert len(instants) + sum(report.skipped.values()) == len(truth["person/picture"])
    assert {instant.split for instant in instants} <= {"train", "validation"}
    for instant in instants:
        (view,) = instant.views
        local = world_to_camera(view.camera, instant.joints_3d)
        seen = view.confidence > 0
        assert np.abs(project(view.camera, local)[seen] - view.joints_2d[seen]).max() < 1e-3
        image = read_image(capture, view.image_path)
        assert image.shape[:2] == (view.camera.height, view.camera.width)
        inside = (view.joints_2d[seen] > view.box[:2] - 12) & (view.joints_2d[seen] < view.box[:2] + view.box[2:] + 12)
        assert inside.all(), instant.id


def test_the_true_body_is_the_fit_of_runs_with_the_same_body(capture):
    body, settings = load_body(), FitSettings()
    instants = list(open_source("wild", capture).instants())
    errors = []
    for instant in instants:
        assert uses_supplied(instant, body) and not uses_supplied(replace(instant, supplied_body="another"), body)
        assert not uses_supplied(replace(instant, supplied_body=""), body), (
            "SMPL-X's parameters are not the free body's"
        )
        fit = supplied_fit(instant, body, None, settings)
        assert fit.quality.valid
        errors.append(fit.quality.fit_error_mm)
    assert 0 < np.mean(errors) < 12


def test_preprocess_makes_shards_of_it(capture, tmp_path):
    settings = PreprocessSettings(crop_px=32, sampling=SamplingSettings(pool=300, voters=6))
    request = Request("wild", capture, tmp_path / "shards", settings=settings, limit=4)
    run = preprocess(request, Workers(0), RunProgress(Console(file=io.StringIO())))
    assert (run.state, run.views, run.supplied, run.recorded) == ("complete", 4, 4, False)
    assert sum(shard.fit_valid for shard in run.shards) == 4 and not run.all_rejects


def test_cameras_and_floors_are_as_the_settings_say(truth):
    for R, t in zip(truth["picture/R"], truth["picture/t"], strict=True):
        assert PITCH[0] <= pitch_of(R) <= PITCH[1] and abs(roll_of(R)) <= ROLL + 1e-9
        assert 0 < (-R.T @ t)[2] < 4.5
    row = {number: k for k, number in enumerate(truth["picture/number"])}
    for picture, joints in zip(truth["person/picture"], truth["person/joints_mm"], strict=True):
        k = row[picture]
        world = (joints / 1000 - truth["picture/t"][k]) @ truth["picture/R"][k]
        assert world[:, 2].min() > -0.02, "a joint lies under the floor"


def test_coco_files_say_the_same_in_2d_to_any_program(capture, truth):
    numbers = []
    for part in ("train2017", "val2017"):
        content = json.loads((capture / f"annotations/person_keypoints_{part}.json").read_text())
        for image in content["images"]:
            assert cv2.imread(str(capture / part / image["file_name"])).shape[:2] == (image["height"], image["width"])
        for person in content["annotations"]:
            k = person["id"] - 1
            numbers.append(k)
            points = np.array(person["keypoints"]).reshape(17, 3)
            codes = truth["person/coco_seen"][k]
            assert (points[:, 2] == np.select([codes == OUTSIDE, codes == SEEN], [0, 2], 1)).all()
            assert np.abs(points[codes > 0, :2] - truth["person/coco"][k][codes > 0]).max(initial=0) < 0.01
            assert person["num_keypoints"] == (codes > 0).sum() and person["image_id"] == truth["person/picture"][k]
    assert sorted(numbers) == list(range(len(truth["person/picture"])))
    instants, report = open_source("coco", capture).read()
    assert instants and not report.doubts


@pytest.mark.slow
def test_bytes_depend_on_the_seed_and_not_on_the_workers_or_on_interruptions(capture, tmp_path, monkeypatch):
    real, calls = capture_form.make_block, []

    def stop_early(block):
        calls.append(block)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(block)

    monkeypatch.setattr(capture_form, "make_block", stop_early)
    out = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        write(out)
    first = sorted((out / ".plan").glob("block-*.npz"))
    assert len(first) == 2 and not (out / "synthetic.json").exists()
    for source in ("wild", "coco"):
        with pytest.raises(InputError, match="a capture that is not finished. The same `nvf-cli synthesize` goes on"):
            open_source(source, out)
    with pytest.raises(InputError, match="another kind of capture was begun in"):
        write(out, CaptureSettings())
    first[0].write_bytes(first[0].read_bytes()[:100])  # as a disk may leave it
    (out / "train2017" / "000000000020.jpg.tmp").write_bytes(b"half")
    monkeypatch.setattr(capture_form, "make_block", lambda block: calls.append(block) or real(block))
    calls.clear()
    write(out)
    assert [block.first for block in calls] == [0, 16]  # the whole one stays
    assert tree_hashes(out) == tree_hashes(capture) and truth_of(out) == truth_of(capture)
    other = tmp_path / "other"
    write(other, replace(SETTINGS, seed=5, instants=1))
    assert (other / "train2017/000000000000.jpg").read_bytes() != (capture / "train2017/000000000000.jpg").read_bytes()


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_comes_to_the_same(capture, tmp_path):
    out = tmp_path / "out"
    assert fault_tasks.kill_after(lambda: write(out), (1.5, 3.0, 4.5, 6.0)) >= 1
    write(out)
    assert tree_hashes(out) == tree_hashes(capture) and truth_of(out) == truth_of(capture)


def test_two_runs_do_not_write_one_folder(tmp_path):
    with run_lock(tmp_path), pytest.raises(InputError, match="another run is writing"):
        write(tmp_path)


@pytest.mark.slow
def test_processes_write_the_same(capture, tmp_path):
    write(tmp_path / "two", workers=2)
    assert tree_hashes(tmp_path / "two") == tree_hashes(capture) and truth_of(tmp_path / "two") == truth_of(capture)


@pytest.mark.slow
def test_workers_of_a_cluster_write_the_same(capture, tmp_path):
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        _, said = write(tmp_path / "out", workers=Workers(0, cluster.scheduler_address))
        assert cluster.scheduler_address in said
    assert tree_hashes(tmp_path / "out") == tree_hashes(capture) and truth_of(tmp_path / "out") == truth_of(capture)


def test_pictures_of_an_earlier_run_count_as_done_and_not_for_the_rate():
    now = [0.0]
    progress = CaptureProgress(Console(file=io.StringIO()), lambda: now[0])
    progress.start(100, done=90)
    now[0] = 20.0
    progress.add(5)
    assert "95/100 pictures, 0.2 pictures/s, ETA 0:00:20" in progress.console.file.getvalue()


def test_a_second_run_in_the_same_folder(capture, tmp_path):
    before = tree_hashes(capture)
    _, said = write(capture)
    assert "complete already" in said and tree_hashes(capture) == before
    with pytest.raises(InputError, match=r"instants 21 \(now 22\)"):
        write(capture, replace(SETTINGS, instants=22))
    (tmp_path / "mine.txt").write_text("something else")
    with pytest.raises(InputError, match="not empty"):
        write(tmp_path)


@pytest.mark.slow
def test_a_capture_that_was_begun_by_a_version_that_draws_otherwise_is_not_finished(capture, tmp_path, monkeypatch):
    """It was, half with hair and half without. One that is whole stays readable."""
    real, out = capture_form.make_block, tmp_path / "out"

    def stop_early(block):
        if block.first:
            raise KeyboardInterrupt
        return real(block)

    monkeypatch.setattr(capture_form, "make_block", stop_early)
    with pytest.raises(KeyboardInterrupt):
        write(out)
    begun = out / ".plan" / "context.json"
    said = json.loads(begun.read_text())
    monkeypatch.setattr(capture_form.Wild, "kind", replace(capture_form.Wild.kind, drawn=said["drawn"] + 1))
    with pytest.raises(
        InputError,
        match=rf"{said['code_commit'].split('+')[0]}.*number is {DRAWN}, this version's {DRAWN + 1}.*remove the folder",
    ):
        write(out)
    begun.write_text(
        json.dumps({name: said[name] for name in ("settings", "body", "sha256")})
    )  # as before there was a number
    with pytest.raises(InputError, match="an earlier one; its number is not recorded"):
        write(out)
    _, told = write(capture)
    assert "complete already, drawn by a version that draws other pictures than this one; nothing" in " ".join(
        told.split()
    )
    assert len(open_source("wild", capture).read()[0]) > 0


@pytest.mark.slow
def test_a_worker_of_another_version_films_nothing(tmp_path, monkeypatch):
    """One that was started before an upgrade filmed other pictures into the same capture."""
    monkeypatch.setattr(blocks, "DRAWN", DRAWN + 1)
    with pytest.raises(
        InputError, match=rf"a worker is of a version that draws other pictures \({DRAWN + 1}, not {DRAWN}\)"
    ):
        write(tmp_path / "out", replace(SETTINGS, instants=1))


def test_what_a_seed_draws_has_a_number_of_its_own(capture, truth):
    """Whoever changes what is in the pictures raises DRAWN and writes the new numbers here."""
    grey = [read_image(capture, image_path(k)).mean() for k in range(SETTINGS.instants)]
    assert DRAWN == 4
    np.testing.assert_allclose(grey, np.array(GREY.split(), float), atol=0.25)
    np.testing.assert_allclose(truth["person/pixels"], np.array(PIXELS.split(), int), atol=2)


@pytest.mark.slow
def test_what_a_seed_draws_of_movement_has_the_same_number(studio, monkeypatch):
    """As above, of what moves: here everybody does, and a pixel has the rays for it."""
    monkeypatch.setattr(shutter, "MOVING", 1.0)
    blurred = [
        film.film(replace(studio, settings=replace(SETTINGS, supersampling=2)), number).image for number in range(4)
    ]
    grey = [float(np.abs(np.diff(image.astype(float), axis=1)).mean()) for image in blurred]
    np.testing.assert_allclose(grey, np.array(MOVED.split(), float), atol=0.03)


@pytest.mark.slow
def test_a_block_that_fails_is_told_and_tried_again(tmp_path, monkeypatch):
    real = film.film

    def fail(studio, number):
        if number == 9:
            raise ZeroDivisionError("no such luck")
        return real(studio, number)

    monkeypatch.setattr(blocks, "film", fail)
    with pytest.raises(InputError, match="1 of 2 tasks failed"):
        write(tmp_path / "out", replace(SETTINGS, instants=10))
    monkeypatch.setattr(blocks, "film", real)
    mark, _ = write(tmp_path / "out", replace(SETTINGS, instants=10))
    assert mark["instants"] == 10 and not (tmp_path / "out" / ".plan").exists()


def test_a_full_disk_is_said_before_and_while_pictures_are_made(tmp_path, monkeypatch):
    def full(path, data):
        raise InputError(f"{path}: cannot be written (No space left on device). Free some space.")

    monkeypatch.setattr(blocks, "write_file", full)
    with pytest.raises(InputError, match="No space left"):
        write(tmp_path / "out", replace(SETTINGS, instants=1))
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 29)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="pictures need about"):
        write(tmp_path / "full", replace(SETTINGS, instants=1))


@pytest.mark.parametrize("wrong", [{"instants": 0}, {"image_px": 20}, {"seed": -1}])
def test_settings_that_make_no_capture_are_refused(wrong):
    with pytest.raises(InputError, match="give"):
        WildSettings(**wrong)


def test_damaged_captures_and_wrong_options_are_refused(capture, tmp_path):
    for options in ({"least_seen": 18}, {"least_px": float("nan")}):
        with pytest.raises(InputError, match="least_"):
            open_source("wild", capture, **options)
    copy = tmp_path / "copy"
    shutil.copytree(capture, copy)
    path = copy / TRUTH_FILE
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"\0" * 300):
        path.write_bytes(damage)
        with pytest.raises(InputError, match="people_3d.h5"):
            open_source("wild", copy).read()
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        file["person/picture"][0] = 999
    with pytest.raises(InputError, match="picture 999"):
        open_source("wild", copy).read()


def test_people_who_can_hardly_be_seen_are_left_out_and_counted(capture, truth):
    instants, report = open_source("wild", capture, least_seen=17, least_px=30.0).read()
    assert len(instants) + sum(report.skipped.values()) == len(truth["person/picture"])
    assert all(len(i.views[0].confidence.nonzero()[0]) == 17 for i in instants)


@pytest.mark.slow
def test_what_hides_a_joint_is_told(studio):
    """Somebody before somebody: joints under the nearer one are hidden, the nearer one's are not."""
    codes = [note for number in range(12) for note in film.film(studio, number).people]
    found = np.bincount(np.concatenate([note.seen for note in codes]), minlength=4)
    assert (found > 0).all() and found[SEEN] == found.max()
    whole = [note for note in codes if (note.seen > OUTSIDE).all()]
    assert whole and all(note.pixels > 0 for note in whole)
    assert {OUTSIDE, HIDDEN, BEHIND_ITSELF, SEEN} == {0, 1, 2, 3}


@pytest.mark.slow
def test_what_is_switched_off_is_in_no_picture(studio):
    """Each of these is there in as many pictures as they come, so that the test can fail."""
    plain = replace(SETTINGS, variety=Variety(motion_capture=False, roll=False, occluders=False, cuts=False))
    without = film.open_studio(load_body(), plain)
    found = {}
    for name, made_in in (("with", studio), ("without", without)):
        shots = [film.film(made_in, number) for number in range(16)]
        notes = [note for shot in shots for note in shot.people]
        seen = np.concatenate([note.seen for note in notes])
        found[name] = {
            "roll": max(abs(roll_of(shot.camera.R)) for shot in shots) > 1e-6,
            "clips": any(note.kind.startswith("clip") for note in notes),
            "crowds": max(len(shot.people) for shot in shots) > 1,
            "hidden": bool((seen == HIDDEN).any()),
            "cut": bool((seen == OUTSIDE).any()),
        }
    assert all(found["with"].values()) and not any(found["without"].values()), found


def test_splits_share_neither_pictures_nor_people(truth):
    of = {
        split: set(truth["person/body"][[split_of(n) == split for n in truth["person/picture"]]])
        for split in ("train", "validation")
    }
    assert of["train"] and of["validation"] and not of["train"] & of["validation"]


def test_the_sheet_and_the_statistics_show_what_was_made(capture, truth):
    assert cv2.imread(str(capture / "contact_sheet.jpg")).std() > 20
    assert cv2.imread(str(capture / "statistics.png")) is not None
    content = json.loads((capture / "statistics.json").read_text())
    assert content["people"] == len(truth["person/picture"]) and content["pictures"] == SETTINGS.instants
    for name, histogram in content["histograms"].items():
        assert sum(histogram["counts"]) in (content["people"], 2 * content["people"], content["pictures"]), name
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    assert abs(sum(content["poses"].values()) - 1) < 0.01
    seen = (truth["person/seen"] >= BEHIND_ITSELF).sum(1)
    assert content["histograms"]["joints to be seen, of 17"]["counts"] == np.bincount(seen, minlength=18).tolist()
    labelled = content["histograms"]["keypoints labelled, of MSCOCO's 17"]
    counts = (truth["person/coco_seen"] > OUTSIDE).sum(1)
    assert labelled["counts"] == np.bincount(counts, minlength=18).tolist()
    assert abs(labelled["mean"] - counts.mean()) < 1e-3 and labelled["mscoco_mean"] == 11.333


def test_who_is_on_the_floor_comes_to_rest():
    """A board that stands on its edge falls; one that lies stays."""
    board = np.random.default_rng(0).uniform(-1, 1, (500, 3)) * [0.5, 0.3, 0.05]
    for tilt in (0.0, 0.4, 0.9):
        R = Rotation.from_euler("x", tilt).as_matrix()
        rested = board @ R.T @ stage.settle(board @ R.T).T
        assert rested[:, 2].max() - rested[:, 2].min() < 0.14


def box(size, spot=(0, 0), turn=0.0):
    """A box that stands on the floor."""
    return things.put([things.cuboid(size)], np.array([*spot, size[2] / 2]), things.about_vertical(turn))


def seat_of(figure):
    return furniture.where_seated(figure.motion.places[0], figure.naked)


def draw_seat(rng, figure, camera, others=(), around=()):
    return furniture.draw_seat(rng, figure.motion.places[0], figure.naked, others, around, [camera])


@pytest.fixture(scope="module")
def seated(studio):
    """People in poses for which there is a seat."""
    rng, found = np.random.default_rng(3), []
    while len(found) < 8:
        person = studio.persons[int(rng.integers(len(studio.persons)))]
        pose = draw_pose(rng, studio.rig, person, studio.bank, studio.clips, 0.03)
        figure = stage.stand(studio.rig, 0, person, pose, rng.uniform(0, 6), rng.uniform(-1, 1, 2))
        if seat_of(figure) is not None:
            found.append(figure)
    return found


def depth_into(thing, points):
    """(N,) metres that points lie inside the part of a thing that they are deepest in; below 0 outside."""
    own = (points - thing.middle) @ thing.R
    return np.max([(part.size / 2 - np.abs(own - part.middle)).min(1) for part in thing.cuboids], axis=0)


def far_camera(rng, figure):
    while True:
        camera = draw_camera(rng, stage.subject_of(figure), 0.0, 384)
        if np.linalg.norm(camera.t) > 4:
            return camera


@pytest.mark.parametrize("kind", list(furniture.SEATS))
def test_who_sits_has_a_seat_under_them_that_goes_through_nobody(seated, monkeypatch, kind):
    monkeypatch.setattr(furniture, "SEATS", {kind: 1.0})
    rng, found = np.random.default_rng(3), []
    for figure in seated * 2:
        camera = far_camera(rng, figure)
        seat = draw_seat(rng, figure, camera)
        if seat is None:
            continue
        found.append(seat)
        spot, _, top = seat_of(figure)
        assert seat.world[:, 2].min() == pytest.approx(0, abs=1e-9) and np.allclose(seat.middle[:2], spot)
        assert np.isclose([part.middle[2] + part.size[2] / 2 for part in seat.cuboids], top).any()
        assert depth_into(seat, figure.naked).max() < 0.06, "it is sat on"
        other = stage.Figure(1, figure.person, figure.pose, figure.motion, figure.naked + [*seat.R[:2, 1] * 0.15, 0])
        beside = draw_seat(rng, figure, camera, [other.naked])
        assert beside is None or depth_into(beside, other.naked).max() < 0
        assert draw_seat(rng, figure, camera, (), [seat]) is None, "the place is taken"
    assert len(found) >= 6
    if kind != "box":
        assert max(len(seat.cuboids) for seat in found) > 1


def test_no_seat_stands_in_the_cameras_way(seated):
    rng = np.random.default_rng(0)
    figure = seated[0]
    camera = far_camera(rng, figure)
    eye = seat_of(figure)[0]
    near = replace(camera, t=-camera.R @ np.array([*eye, 0.4]))
    assert draw_seat(rng, figure, near) is None


def test_furniture_stands_on_the_floor_and_holds_together():
    """Every part shares a face or more with what reaches the floor through others; none is below it, and faces look outwards."""
    rng = np.random.default_rng(0)
    made = [make(rng, 0.45, 0.2) for make in furniture.SEAT_PARTS.values() for _ in range(20)]
    made += [make(rng) for make in furniture.PARTS_BEFORE.values() for _ in range(20)]
    for parts in made:
        low = np.array([part.middle - part.size / 2 for part in parts])
        high = np.array([part.middle + part.size / 2 for part in parts])
        assert (low < high).all() and low[:, 2].min() == pytest.approx(0, abs=1e-9)
        shared = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
        touch = (shared > -1e-6).all(-1) & ((shared > 1e-6).sum(-1) >= 2)
        joined = low[:, 2] < 1e-6
        for _ in parts:
            joined = (touch & joined).any(1) | joined
        assert joined.all()
        thing = things.put(parts, np.zeros(3), np.eye(3))
        a, b, c = (thing.world[thing.faces[:, k]] for k in range(3))
        middles = np.repeat([part.middle for part in parts], 12, 0)
        assert (((np.cross(b - a, c - a)) * (a - middles)).sum(1) > 0).all()
    assert max(map(len, made)) >= 7 and min(map(len, made)) == 1


def test_things_stand_in_nobody_and_hide_nobody_wholly(studio):
    person, pose = studio.persons[0], Pose(pose_rotations(neutral_pose()[None])[0], 0.0, "calm")
    figure = stage.stand(studio.rig, 0, person, pose, 0.0, np.zeros(2))
    camera = draw_camera(np.random.default_rng(0), stage.subject_of(figure), 0.0, 384)
    eye = -camera.R.T @ camera.t
    into = box((0.4, 0.4, 1.0), (0, 0), 0.3)
    wall = box((0.1, 3.0, 2.4), 0.5 * eye[:2])
    beside = box((0.3, 0.3, 0.3), (0, 0.9), 1.0)
    assert not furniture.free_of(into, [figure.naked], [], [camera])
    assert furniture.free_of(wall, [figure.naked], [into], [camera]) and not furniture.leaves_in_sight(
        wall, figure.naked, camera
    )
    assert furniture.free_of(beside, [figure.naked], [], [camera]) and furniture.leaves_in_sight(
        beside, figure.naked, camera
    )
    assert not furniture.free_of(beside, [figure.naked], [box((0.2, 0.2, 0.4), (0.1, 0.9))], [camera])
    at_the_eye = box((0.3, 0.3, 1.0), eye[:2] + 0.3 * camera.R[2, :2])
    assert not furniture.free_of(at_the_eye, [figure.naked], [], [camera])
    assert figure.naked[:, 2].min() == pytest.approx(0, abs=1e-9)


def test_what_is_held_is_at_a_hand_and_in_nobody(studio, monkeypatch):
    monkeypatch.setattr(held, "HOLDING", 1.0)
    person, rng, found = studio.persons[0], np.random.default_rng(2), []
    for _ in range(40):
        pose = Pose(pose_rotations(neutral_pose()[None])[0], 0.0, "calm")
        figure = stage.stand(studio.rig, 0, person, pose, rng.uniform(0, 6), np.zeros(2))
        camera = draw_camera(rng, stage.subject_of(figure), 0.0, 384)
        thing = held.draw_held(rng, figure, [figure], [], camera)
        if thing is not None:
            found.append(thing)
            wrists = figure.motion.places[0, [SMPLX_55.index("left_wrist"), SMPLX_55.index("right_wrist")]]
            near = np.linalg.norm(things.outline(thing, camera)[None] - wrists[:, None], axis=-1).min()
            assert near < 0.14 and thing.world[:, 2].min() > 0
            assert things.holds_none_of(
                thing, figure.naked[np.linalg.norm(figure.naked - wrists[:, None], axis=-1).min(0) > 0.3]
            )
    assert len(found) > 20
    sizes = np.array([thing.cuboids[0].size for thing in found])
    assert (sizes.max(1) > 0.45).any() and (sizes.min(1) < 0.02).any(), "sticks and phones"
    monkeypatch.setattr(held, "HOLDING", 0.0)
    assert held.draw_held(rng, figure, [figure], [], camera) is None


def test_what_moves_while_the_shutter_is_open_moves_about_the_labelled_pose(studio, monkeypatch):
    monkeypatch.setattr(shutter, "MOVING", 1.0)
    person, rng, moved_px = studio.persons[0], np.random.default_rng(2), []
    figure = stage.stand(
        studio.rig, 0, person, Pose(pose_rotations(neutral_pose()[None])[0], 0.0, "calm"), 0.3, np.ones(2)
    )
    for _ in range(60):
        camera = draw_camera(rng, stage.subject_of(figure), 0.0, 384)
        motion = shutter.draw_motion(rng, studio.rig, figure, camera)
        places = motion.places - figure.motion.places
        moved = np.linalg.norm(places, axis=-1)
        assert (moved.max(0) < 1e-9).any() and moved.max() > 1e-3, "something moves, and something stays"
        assert np.abs(places.mean(0)).max() < 0.1 * moved.max() + 1e-4, "the labelled pose is in the middle"
        ends = [project(camera, world_to_camera(camera, motion.places[k, [15, 20, 21, 7, 8]])) for k in (0, -1)]
        moved_px.append(np.linalg.norm(ends[1] - ends[0], axis=-1).max() * 384 / max(camera.width, camera.height))
    assert np.percentile(moved_px, 10) > 1.2 and np.percentile(moved_px, 90) < 11
    monkeypatch.setattr(shutter, "MOVING", 0.0)
    assert shutter.draw_motion(rng, studio.rig, figure, camera) is None


@pytest.mark.slow
def test_moving_people_are_blurred_and_their_labels_are_not(studio, monkeypatch):
    sharp = replace(SETTINGS, supersampling=2, image_px=256)
    monkeypatch.setattr(shutter, "_PIXELS", (8.0, 9.0))
    film_with = functools.partial(film.film, replace(studio, settings=sharp))
    monkeypatch.setattr(shutter, "MOVING", 0.0)
    still = [film_with(number) for number in range(4)]
    monkeypatch.setattr(shutter, "MOVING", 1.0)
    moving = [film_with(number) for number in range(4)]
    changed = [(np.abs(a.image.astype(int) - b.image).max(2) > 8).mean() for a, b in zip(still, moving, strict=True)]
    assert 0.001 < max(changed) < 0.3
    for a, b in zip(still, moving, strict=True):
        for one, other in zip(a.people, b.people, strict=True):
            assert np.array_equal(one.joints, other.joints) and np.array_equal(one.box, other.box)
    plain = replace(sharp, looks=Looks(camera_effects=False))
    without = [film.film(replace(studio, settings=plain), number) for number in range(2)]
    monkeypatch.setattr(shutter, "MOVING", 0.0)
    for number, shot in enumerate(without):
        assert np.array_equal(shot.image, film.film(replace(studio, settings=plain), number).image)


def test_motion_clips_are_what_their_provenance_says():
    provenance = json.loads((clips.ASSETS / "provenance.json").read_text())
    data = (clips.ASSETS / clips.CLIPS_FILE).read_bytes()
    assert (
        hashlib.sha256(data).hexdigest() == provenance["sha256"][clips.CLIPS_FILE] and "zlib" in provenance["licence"]
    )
    found = clips.load_clips()
    assert len(found.rotations) == len(found.lift) == len(found.clip) == provenance["frames"]
    assert set(found.names) == set(clips.WEIGHTS) and len(data) < 300_000
    walk = found.rotations[found.clip == found.names.index("walk")]
    assert (walk[:, 0, 1, 1] > 0.9).all(), "who walks is upright"
    flipped = clips.mirrored(clips.mirrored(walk[0]))
    assert np.abs(flipped - walk[0]).max() < 1e-12


@pytest.mark.parametrize("lost", ["clips", "licence", "provenance"])
def test_motion_clips_without_their_provenance_are_refused(tmp_path, monkeypatch, lost):
    listed = json.loads((clips.ASSETS / clips.PROVENANCE).read_text())
    listed |= {"licence": ""} if lost == "licence" else {}
    if lost != "provenance":
        (tmp_path / clips.PROVENANCE).write_text(json.dumps(listed))
    (tmp_path / clips.CLIPS_FILE).write_bytes(
        (clips.ASSETS / clips.CLIPS_FILE).read_bytes()[: -(lost == "clips") or None]
    )
    monkeypatch.setattr(clips, "ASSETS", tmp_path)
    with pytest.raises(InputError, match="Install this program again"):
        clips.load_clips.__wrapped__()


def test_a_box_shades_the_floor_it_stands_on_and_its_top_is_painted_as_its_sides():
    """Only its corners did, and the texture ran in stripes over its top."""
    crate = box((1.0, 1.0, 0.5))
    rng = np.random.default_rng(0)
    eye = SimpleNamespace(
        R=np.eye(3)[[0, 2, 1]] * [[1], [-1], [1]], t=np.array([0, 1.0, 4.0]), K=np.diag([300.0, 300, 1])
    )
    scene = render.make_scene(crate.world, crate.faces, crate.places.astype(np.float32))
    scene = replace(scene, outline=things.outline(crate, eye))
    inside = np.array([[x, y, 0] for x in np.linspace(-0.4, 0.4, 5) for y in np.linspace(-0.4, 0.4, 5)], np.float32)
    assert render.contact_shade(scene, inside).min() > 0.3
    assert render.contact_shade(scene, inside + [3, 0, 0]).max() == 0
    texture = rng.integers(0, 255, (64, 64, 3), np.uint8)
    for axis in range(3):  # of every side
        a, b = (k for k in range(3) if k != axis)
        at = np.tile([*crate.places[:, :3].max(0), float(axis == 2)], (64, 1))
        at[:, a] = np.linspace(-0.3, 0.3, 64)
        across = things.paint(texture, at)
        at[:, a], at[:, b] = 0.1, np.linspace(-0.3, 0.3, 64)
        along = things.paint(texture, at)
        assert across.std(0).min() > 0.1 and along.std(0).min() > 0.1, axis
