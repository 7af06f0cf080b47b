"""The whole run on a small dataset: one content whatever the workers, resume, failures, one run a folder."""

import errno
import json
import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from distributed import LocalCluster
from rich.console import Console

from pipeline import outputs
from pipeline import run as running
from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.fit import Fitter
from pipeline.fit.supplied import given_fit
from pipeline.look.overview import describe, find_target
from pipeline.look.summary import fits_text
from pipeline.outputs import run_lock
from pipeline.preprocess import plan as planning
from pipeline.preprocess import shard as stages
from pipeline.preprocess.folder import remove_run, standing_run
from pipeline.preprocess.job_files import Context
from pipeline.preprocess.progress import Rate, RunProgress, summary
from pipeline.preprocess.rejects import RejectCounts
from pipeline.preprocess.settings import Request
from pipeline.records import BodyFit, Reject
from pipeline.run import Workers, preprocess
from pipeline.shards.run_json import FailedShard
from pipeline.shards.store import ShardFolder
from pipeline.skeletons import FIELD_JOINTS
from tests.pipeline.run_fakes import SETTINGS, SIZE, FakeSource, body_once, open_fake, write_source
from tests.pipeline.shard_fakes import make_header

# Whole runs are made here, which takes seconds.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def fake_source():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "open_source", open_fake)
        patch.setattr(planning, "load_body", lambda _: body_once())
        patch.setattr(stages, "load_body", lambda _: body_once())
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("run") / "data", {"S1": 4, "S8": 1, "S9": 2})


@pytest.fixture
def quiet():
    with RunProgress(Console(file=open(os.devnull, "w"))) as progress:
        yield progress


def request(root, out, **changes) -> Request:
    return Request("fake", root, out, settings=SETTINGS, **changes)


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """A run in this process: its folder and its run.json."""
    out = tmp_path_factory.mktemp("run") / "out"
    with RunProgress(Console(file=open(os.devnull, "w"))) as progress:
        return out, preprocess(request(root, out), Workers(0), progress)


def test_labels_agree_with_direct_computation(root, finished):
    """The shards against the source: projection of stored joints, offsets, and distances to the posed mesh."""
    from pipeline.shards.verify import verify_path

    out, run = finished
    findings = verify_path(out, body_once())
    assert findings.problems == [] and findings.counts["views"] == 14 == run.views
    assert findings.counts["max_distance_error_mm"] < 0.06
    table = ShardFolder(out).view_table()
    instants = {view.id: (instant, view) for instant in FakeSource(root).instants() for view in instant.views}
    assert set(table["id"]) == set(instants)
    for k, view_id in enumerate(table["id"]):
        instant, view = instants[view_id]
        K, R, root_at = table["K"][k], table["R_crop"][k], table["root"][k]
        source_axes = (table["joints"][k] + root_at) @ R
        expected = instant.joints_3d @ view.camera.R.T + view.camera.t
        np.testing.assert_allclose(source_axes, expected, atol=1e-6)
        seen = (table["joints"][k] + root_at) @ K.T
        np.testing.assert_allclose(table["joints_2d"][k], seen[:, :2] / seen[:, 2:], atol=1e-3)
        assert table["split"][k] == instant.split and table["fit_valid"][k] and (table["joints_source"][k] == 1).all()
        assert np.abs(table["fit_joints"][k] - table["joints"][k]).max() < 0.05


def test_a_finished_run_is_kept_and_a_damaged_shard_made_again(root, finished, quiet):
    out, run = finished
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    with open(out / "shard-00002.h5", "r+b") as file:
        file.seek((out / "shard-00002.h5").stat().st_size // 2)
        file.write(bytes(64))
    (out / "shard-00001.h5.ab.tmp").write_text("left by a killed run")
    again = preprocess(request(root, out), Workers(0), quiet)
    assert again.content_hash == run.content_hash and again.shards == run.shards
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"shard-00002.h5", "run.json"}
    assert after.keys() == before.keys()


def test_a_process_with_more_threads_writes_the_same_and_keeps_them(root, finished, tmp_path, quiet):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        body = load_body()
        assert torch.equal(body.joint_template, body_once().joint_template)
        run = preprocess(request(root, tmp_path / "out"), Workers(0), quiet)
        assert run.content_hash == finished[1].content_hash and torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_two_processes_write_the_same_and_outlive_a_killed_worker(root, finished, tmp_path, monkeypatch):
    """2 workers, one of them killed by SIGKILL as soon as the first shard is there."""
    killed = []

    class Killer(RunProgress):
        def add(self, outcome):
            if not killed:
                for child in children():
                    os.kill(child, signal.SIGKILL)
                    killed.append(child)
                    break
            return super().add(outcome)

    with Killer(Console(file=open(os.devnull, "w"))) as progress:
        run = preprocess(request(root, tmp_path / "out"), Workers(2), progress)
    assert killed and run.content_hash == finished[1].content_hash and run.failed == ()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "run.json",
        *(f"shard-{k:05d}.h5" for k in range(4)),
    ]


def children() -> list[int]:
    """Worker processes of this process."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1]
                command = Path(f"/proc/{name}/cmdline").read_text()
            except OSError:
                continue
            if int(parent) == os.getpid() and "spawn_main" in command:
                found.append(int(name))
    return found


def test_a_shard_that_fails_three_times_is_reported_and_the_rest_is_done(root, tmp_path, monkeypatch, quiet):
    tries = tmp_path / "tries"  # a file: workers get a copy of the function

    def fail_one(task, make=stages.make_shard):
        if task.name == "shard-00001.h5":
            with open(tries, "a") as file:
                file.write("x")
            raise RuntimeError("no luck")
        return make(task)

    monkeypatch.setattr(running, "make_shard", fail_one)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        run = preprocess(request(root, tmp_path / "a"), Workers(0, cluster.scheduler_address), quiet)
    here = preprocess(request(root, tmp_path / "b"), Workers(0), quiet)
    assert tries.read_text() == 6 * "x"
    for result in (run, here):
        assert result.failed == (FailedShard("shard-00001.h5", "shard-00001.h5 failed 3 times: RuntimeError: no luck"),)
        assert [record.name for record in result.shards] == [f"shard-{k:05d}.h5" for k in (0, 2, 3)]
        assert result.state == "failed"
    assert "FAILED shard-00001.h5" in summary(tmp_path / "a", run, 1.0)
    monkeypatch.undo()
    monkeypatch.setattr(planning, "open_source", open_fake)
    assert preprocess(request(root, tmp_path / "b"), Workers(0), quiet).state == "complete"


def test_append_gives_the_content_of_a_run_with_all(root, finished, tmp_path, quiet):
    out = tmp_path / "out"
    preprocess(request(root, out, subjects=("S1", "S8")), Workers(0), quiet)
    grown = preprocess(request(root, out, subjects=("S9",), append=True), Workers(0), quiet)
    assert grown.views == finished[1].views
    whole, parts = ShardFolder(finished[0]), ShardFolder(out)
    ours = {
        whole.readers[r].read_view(k)["id"]: whole.readers[r].read_samples(k)
        for r in range(4)
        for k in range(len(whole.readers[r]))
    }
    for reader, row in parts.rows():
        samples = reader.read_samples(row)
        other = ours[samples.view_id]
        np.testing.assert_allclose(samples.points.astype(int), other.points, atol=1)
        assert np.abs(samples.sdf.astype(int) - other.sdf).max() <= 1


def test_a_missing_image_is_a_counted_reject(root, tmp_path, quiet):
    data = write_source(tmp_path / "data", {"S1": 2})
    (data / "S1_2.jpg").unlink()
    run = preprocess(request(data, tmp_path / "out"), Workers(0), quiet)
    assert run.views == 2 and [(r.key, r.stage) for r in run.shards[0].rejects] == [
        ("S1/walk/000000/2", "read"),
        ("S1/walk/000001/2", "read"),
    ]
    assert RejectCounts(run.all_rejects).total == 2
    with h5py.File(tmp_path / "out" / "shard-00000.h5") as file:
        assert b"S1_2.jpg" in file["rejects/reason"][0]


class WithImages(FakeSource):
    """Leaves out views without an image, as readers do."""

    def _subject(self, subject):
        for instant in super()._subject(subject):
            views = tuple(view for view in instant.views if (self.root / view.image_path).exists())
            if views:
                yield replace(instant, views=views)


def test_images_that_come_later_are_taken_by_the_same_command(tmp_path, quiet, monkeypatch):
    """Whether a reader or a worker saw that they were missing; other shards stay as they are."""
    data = write_source(tmp_path / "data", {"S1": 2, "S5": 3})
    whole = preprocess(request(data, tmp_path / "whole"), Workers(0), quiet)
    image = data / "S1_2.jpg"
    for name, source in (("reader", WithImages), ("worker", FakeSource)):
        monkeypatch.setattr(planning, "open_source", lambda _name, root, source=source, **_: source(root))
        out = tmp_path / name
        content = image.read_bytes()
        image.unlink()
        assert preprocess(request(data, out), Workers(0), quiet).views == 8
        first, others = (out / "shard-00000.h5").stat().st_mtime_ns, (out / "shard-00001.h5").stat().st_mtime_ns
        assert preprocess(request(data, out), Workers(0), quiet).views == 8
        assert (out / "shard-00000.h5").stat().st_mtime_ns == first  # nothing new: kept
        image.write_bytes(content)
        run = preprocess(request(data, out), Workers(0), quiet)
        assert run.views == 10 and not run.all_rejects and run.content_hash == whole.content_hash
        assert (out / "shard-00001.h5").stat().st_mtime_ns == others


def test_instants_that_come_later_are_told(tmp_path, quiet, monkeypatch):
    data = write_source(tmp_path / "data", {"S1": 2, "S5": 1})
    monkeypatch.setattr(planning, "open_source", lambda _name, root, **_: WithImages(root))
    contents = {path: path.read_bytes() for path in data.glob("S5_*.jpg")}
    for path in contents:
        path.unlink()
    assert planning.make_plan(request(data, tmp_path / "out")).doubts == ()
    for path, content in contents.items():
        path.write_bytes(content)
    (doubt,) = planning.make_plan(request(data, tmp_path / "out")).doubts
    assert doubt.startswith("1 instants (S5/walk/000000 is one) could not be read when this run was begun")


def test_a_view_whose_picture_shows_nothing_is_a_counted_reject(root, tmp_path, quiet):
    data = write_source(tmp_path / "data", {"S1": 2})
    (data / "S1_2.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((100, 100, 3), np.uint8))[1].tobytes())
    run = preprocess(request(data, tmp_path / "out"), Workers(0), quiet)
    reasons = RejectCounts(run.all_rejects).by_reason()
    assert run.views == 2 and list(reasons.values()) == [2] and "of a single colour" in next(iter(reasons))


def test_an_overwrite_that_is_killed_can_be_given_again(tmp_path, monkeypatch):
    for name in ("run.json", "shard-00000.h5", "shard-00001.h5"):
        (tmp_path / name).write_text("{")
    unlink, asked = Path.unlink, []

    def killed(path, **options):
        asked.append(path)
        if len(asked) == 2:
            raise KeyboardInterrupt
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_run(tmp_path)
    monkeypatch.undo()
    assert standing_run(tmp_path, append=False, overwrite=True) is None
    remove_run(tmp_path)
    assert not list(tmp_path.iterdir())


def renamed(instant, key):
    views = tuple(replace(view, id=f"{key}/{view.camera_id}") for view in instant.views)
    return replace(instant, id=key, views=views)


def test_given_fits_are_measured_on_the_instants_that_take_them(root):
    """Ids of other data are often the same, as 0001/0 of any pictures."""
    first, second, *_ = FakeSource(root).instants()
    fits = Fitter(body_once(), SETTINGS.fit).fit([first, second])
    assert given_fit(first, fits[0], body_once(), SETTINGS.fit) is fits[0]  # to the bit as it was
    one_view = replace(first, views=first.views[1:])
    seen_by_one = given_fit(one_view, fits[0], body_once(), SETTINGS.fit)
    assert seen_by_one.quality.valid and len(seen_by_one.quality.reprojection_px) == 1
    assert seen_by_one.quality.start == fits[0].quality.start and seen_by_one.parameters is fits[0].parameters
    wrong = given_fit(renamed(first, second.id), fits[1], body_once(), SETTINGS.fit)
    assert isinstance(wrong, Reject) and "the given fit is not of this instant" in wrong.reason
    context = Context(root, make_header(), SETTINGS, None, None, None, {}, None)
    worker = stages.Worker(context, body_once(), stages.body_surface(body_once()), None, {}, None)
    assert [type(fit) for fit in stages.take_bodies(worker, [first, renamed(first, second.id)], fits)] == [
        BodyFit,
        Reject,
    ]


def test_an_image_that_is_too_long_costs_its_own_view(root, tmp_path):
    """OpenCV warps sides of 16 bits."""
    [instant, *_] = FakeSource(root).instants()
    camera = replace(instant.views[0].camera, width=70000)
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "long.png"), np.resize(rng.integers(0, 255, 5000, np.uint8), (SIZE, 70000, 3)))
    context = Context(tmp_path, make_header(), SETTINGS, None, None, None, {}, None)
    worker = stages.Worker(context, body_once(), stages.body_surface(body_once()), None, {}, None)
    taken = stages.take_picture(worker, replace(instant.views[0], camera=camera, image_path="long.png"))
    assert taken == Reject(
        instant.views[0].id, "read", "an image of 70000 x 100 pixels is too long for its crops: make it smaller"
    )


def test_a_rejected_fit_keeps_real_joints_without_mesh(root, finished, tmp_path, monkeypatch):
    context = Context(root, make_header(), SETTINGS, None, None, None, {}, None)
    worker = stages.Worker(context, body_once(), stages.body_surface(body_once()), None, {}, None)
    [instant, *_] = FakeSource(root).instants()
    failed = Reject(instant.id, "fit", "the fit diverged")
    reject, *views = list(stages.instant_rows(worker, instant, failed))
    assert reject.reason == "the fit diverged: kept for its 3D joints"
    assert RejectCounts([reject]).by_reason() == {"fit: the fit diverged (kept for its 3D joints)": 1}
    assert len(views) == 2 and not views[0].fit_valid and views[0].samples is None and views[0].joints_valid.all()
    flat = replace(instant, joints_3d=None, joints_3d_valid=None)
    assert list(stages.instant_rows(worker, flat, failed)) == [failed], "without 3D nothing is left to be relative to"


def test_limbs_that_nobody_saw_are_marked_and_supervise_nothing(root, tmp_path, monkeypatch, quiet):
    """2D alone, the left elbow and wrist of confidence 0 in every view: their places are the prior's."""
    limb = FIELD_JOINTS.indices(("left_elbow", "left_wrist"))

    def half_seen(source, items=FakeSource.items):
        for instant in items(source):
            views = []
            for view in instant.views:
                confidence, pixels = view.confidence.copy(), view.joints_2d.copy()
                confidence[limb] = pixels[limb] = 0
                views.append(replace(view, confidence=confidence, joints_2d=pixels))
            yield replace(instant, views=tuple(views), joints_3d=None, joints_3d_valid=None)

    monkeypatch.setattr(FakeSource, "items", half_seen)
    run = preprocess(request(root, tmp_path / "out", subjects=("S1",), limit=2), Workers(0), quiet)
    table = ShardFolder(tmp_path / "out").view_table()
    assert (table["joints_unseen"].nonzero()[1].reshape(-1, 2) == limb).all() and len(table["id"]) == 4
    assert table["joints_valid"].all(), "what joints_valid says stays what it was"
    assert run.shards[0].joints_unseen == 8
    text = summary(tmp_path / "out", run, 1.0)
    assert "unseen: 8 of 68 joints have no evidence of their own" in text
    assert run.shards[0].ambiguous == table["ambiguous"].sum() and "ambiguous:" not in text, "two views tell the body"


def test_means_of_errors_are_those_that_inspect_gives_where_few_views_have_one(root, tmp_path, monkeypatch, quiet):
    """A shard with one measured view of two counted as much as one with two."""

    def unmeasured(self, instants, betas=None, fit=Fitter.fit):
        fits = fit(self, instants, betas)
        errors = {1: 8.0, 2: 5.0, 3: 5.0}
        return [
            replace(f, quality=replace(f.quality, fit_error_mm=errors.get(instant.frame, float("nan"))))
            for f, instant in zip(fits, instants, strict=True)
        ]

    monkeypatch.setattr(Fitter, "fit", unmeasured)
    run = preprocess(request(root, tmp_path / "out", subjects=("S1",)), Workers(0), quiet)
    mean = describe(find_target(tmp_path / "out"))["fits"]["error_mm"]["mean"]
    assert [shard.fit_error_mm for shard in run.shards] == [8.0, 5.0] and mean == 6.0
    assert "mean 3D error 6.0 mm, mean reprojection 0." in summary(tmp_path / "out", run, 1.0)


def test_fits_that_could_be_another_body_are_marked_and_counted(root, tmp_path, monkeypatch, quiet):
    """One view, and no 3D: the mark goes from the fit into the shard, run.json, what the run says, and inspect."""

    def one_view(source, items=FakeSource.items):
        for instant in items(source):
            yield replace(instant, views=instant.views[:1], joints_3d=None, joints_3d_valid=None)

    def doubtful(self, instants, betas=None, fit=Fitter.fit):
        fits = fit(self, instants, betas)
        return [replace(f, quality=replace(f.quality, ambiguous=k == 0)) for k, f in enumerate(fits)]

    monkeypatch.setattr(FakeSource, "items", one_view)
    monkeypatch.setattr(Fitter, "fit", doubtful)
    run = preprocess(request(root, tmp_path / "out", subjects=("S1",), limit=2), Workers(0), quiet)
    assert ShardFolder(tmp_path / "out").view_table()["ambiguous"].tolist() == [True, False]
    assert run.shards[0].ambiguous == 1
    assert "ambiguous: 1 of 2 views have a fit that could as well be another body" in summary(
        tmp_path / "out", run, 1.0
    )
    described = describe(find_target(tmp_path / "out"))
    assert described["fits"]["ambiguous"] == 1 and "1 could as well be another body" in fits_text(described)


def test_one_run_a_folder_and_a_killed_one_does_not_block(tmp_path):
    with run_lock(tmp_path), pytest.raises(InputError, match="another run is writing"), run_lock(tmp_path):
        pass
    child = os.fork()
    if not child:
        with run_lock(tmp_path):
            (tmp_path / "locked").write_text("")
            signal.pause()
    while not (tmp_path / "locked").exists():
        pass
    with pytest.raises(InputError, match="another run is writing"), run_lock(tmp_path):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with run_lock(tmp_path):
        pass


def test_a_worker_that_outlives_its_run_does_not_hold_the_folder(tmp_path):
    child = os.fork()
    if not child:
        with run_lock(tmp_path):
            name = "run" if os.fork() else "worker"
            (tmp_path / f"{name}.draft").write_text(str(os.getpid()))
            (tmp_path / f"{name}.draft").rename(tmp_path / name)
            signal.pause()
    while not {"run", "worker"} <= {path.name for path in tmp_path.iterdir()}:
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    try:
        with run_lock(tmp_path):
            pass
    finally:
        os.kill(int((tmp_path / "worker").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOLCK, errno.EIO])
def test_a_disk_without_locks_is_written_all_the_same(tmp_path, monkeypatch, number):
    """As NFS is, where folders cannot be locked; other errors are told."""

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(outputs.fcntl, "flock", refuse)
    with (
        pytest.raises(InputError, match="cannot be used as") if number == errno.EIO else nullcontext(),
        run_lock(tmp_path),
    ):
        pass


def test_workers_that_cannot_be_used(monkeypatch):
    monkeypatch.setattr(running, "CONNECT_S", 0.2)
    with pytest.raises(InputError, match="--workers is -1"):
        Workers(-1)
    with pytest.raises(InputError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        list(running.make_shards([], Workers(0, "tcp://127.0.0.1:9"), print))


def test_progress_counts_rate_of_the_last_minute_and_rejects_by_reason():
    now = [0.0]
    rate = Rate(lambda: now[0])
    for second in range(1, 201):
        now[0] = second
        rate.add(second if second <= 100 else 100 + 5 * (second - 100))
    assert rate() == pytest.approx(5, rel=0.05)


def test_rejects_are_counted_by_reason_and_told_with_their_numbers():
    few = [Reject(f"S1/{k}", "fit", "5 visible joints, a fit needs 6") for k in range(2)]
    assert str(RejectCounts(few)) == "2 x fit: 5 visible joints, a fit needs 6"
    several = [*few, Reject("S1/9", "fit", "4 visible joints, a fit needs 6")]
    assert str(RejectCounts(several)) == "3 x fit: 5 visible joints, a fit needs 6 (and the like)"
    far = Reject("S1/a", "sample", "view S1/a, a point: a coordinate of 3.295 m is out; mend it")
    assert RejectCounts([*several, far]).by_reason() == {
        "fit: 5 visible joints, a fit needs 6 (and the like)": 3,
        "sample: a coordinate of 3.295 m is out": 1,
    }


def test_a_changed_run_exits_before_work(root, finished, quiet):
    with pytest.raises(InputError, match="seed: 0 -> 1"):
        preprocess(replace(request(root, finished[0]), settings=replace(SETTINGS, seed=1)), Workers(0), quiet)
    assert json.loads((finished[0] / "run.json").read_text())["state"] == "complete"
