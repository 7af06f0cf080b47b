"""Kills, full disks and poison in small; benchmarks/faults.py does it a hundred times."""

import errno
import os
import random
import signal
import time
from contextlib import suppress

import pytest
from rich.console import Console

from pipeline import run as running
from pipeline.errors import InputError
from pipeline.preprocess import plan as planning
from pipeline.preprocess import shard as stages
from pipeline.preprocess.job_files import Task
from pipeline.preprocess.progress import RunProgress
from pipeline.preprocess.settings import Request
from pipeline.run import Workers, preprocess
from pipeline.shards import store as shards
from pipeline.shards.verify import verify_path
from tests.pipeline import fault_tasks
from tests.pipeline.run_fakes import SETTINGS, body_once, open_fake, write_source


@pytest.fixture(autouse=True, scope="module")
def fake_source():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "open_source", open_fake)
        patch.setattr(planning, "load_body", lambda _: body_once())
        patch.setattr(stages, "load_body", lambda _: body_once())
        yield


def run_here(root, out):
    with RunProgress(Console(quiet=True)) as progress:
        return preprocess(Request("fake", root, out, settings=SETTINGS), Workers(0), progress)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_resumes_to_the_same_content(tmp_path):
    """The whole process, by SIGKILL, at random moments. Forked, so that a try costs no imports."""
    root = write_source(tmp_path / "data", {"S1": 4, "S9": 2})
    started = time.monotonic()
    whole = run_here(root, tmp_path / "whole")
    duration = time.monotonic() - started
    rng, out, kills = random.Random(0), tmp_path / "out", 0
    for _ in range(6):
        child = os.fork()
        if not child:
            with suppress(BaseException):
                run_here(root, out)
            os._exit(0)
        time.sleep(rng.uniform(0, duration / 2))
        os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    run = run_here(root, out)
    assert kills >= 3
    assert [r.content_hash for r in run.shards] == [r.content_hash for r in whole.shards]
    assert sorted(path.name for path in out.iterdir()) == ["run.json", *(f"shard-{k:05d}.h5" for k in range(3))]
    assert verify_path(out).problems == []


@pytest.mark.slow
def test_a_task_that_kills_its_worker_is_given_up_after_three_and_the_rest_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "attempt", fault_tasks.make_or_die)
    job = tmp_path / "jobs" / "poison.json"
    job.parent.mkdir()
    tasks = [Task(name, job, 1) for name in ("a", "poison", "b", "c", "d")]
    outcomes = {o.task.name: o for o in running.make_shards(tasks, Workers(1), lambda _: None)}
    assert {name for name, outcome in outcomes.items() if outcome.record == "made"} == {"a", "b", "c", "d"}
    assert "poison failed 3 times: KilledWorker" in outcomes["poison"].error
    assert job.read_text() == "xxx"


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(tmp_path, monkeypatch):
    root = write_source(tmp_path / "data", {"S1": 4})
    real, written = shards._write_synced, []

    def fill_up(path, data):
        written.append(path)
        if len(written) == 2:
            real(path, data[:1000])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(shards, "_write_synced", fill_up)
    with pytest.raises(InputError, match="cannot write .*shard-00001.h5: No space left on device.*same command again"):
        run_here(root, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").glob("*.h5*")) == ["shard-00000.h5"]
    kept = (tmp_path / "out" / "shard-00000.h5").stat().st_mtime_ns
    assert run_here(root, tmp_path / "out").state == "complete"
    assert (tmp_path / "out" / "shard-00000.h5").stat().st_mtime_ns == kept
