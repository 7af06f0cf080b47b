"""`nvf-cli model build`: what it does when the stages are done; each of those has tests of its own."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from cli import model
from cli.main import nvf
from cli.stages import SECONDS_FILE
from model.people import free_model
from model.training.config import load_config
from pipeline.errors import InputError
from tests.model.capsules import make_folder

RECORD = {"step": 7, "packed": {"weights_sha256": "abc" * 8}, "best": {"mpjpe_mm": 90.0, "pa_mpjpe_mm": 60.0}}


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Commands of a build whose stages are all done; the photographs' measure ends with exit code 3."""
    out, commands = tmp_path / "out", []
    out.mkdir()
    stages = model.stage_arguments(out, 1, 1.0, 2, 0)
    (out / SECONDS_FILE).write_text(json.dumps({name: 1.0 for name in stages}))
    monkeypatch.setattr("model.training.pack.pack_run", lambda run, out, notes: RECORD)

    def run(command, cwd):
        commands.append((command, cwd))
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(model, "subprocess", SimpleNamespace(run=run))
    return out, commands


def test_a_build_is_measured_on_photographs_where_they_are(ran, tmp_path):
    out, commands = ran
    wheel = tmp_path / "pose2sim.whl"
    wheel.write_bytes(b"")
    result = CliRunner().invoke(nvf, ["model", "build", str(out), "--real-views", str(wheel)])
    assert result.exit_code == 3 and "validation 90.0 / 60.0 mm" in result.output
    ((command, place),) = commands
    asked = ["benchmarks.real_views", str(out / "free"), "--wheel", str(wheel), "--out", str(out / "real-views")]
    assert command[1:] == ["-m", *asked] and Path(place, "benchmarks", "real_views.py").exists()
    assert CliRunner().invoke(nvf, ["model", "build", str(out)]).exit_code == 0 and len(commands) == 1


def test_photographs_that_are_not_there_are_told_before_hours_are_spent(tmp_path, monkeypatch):
    asked = ["model", "build", str(tmp_path / "out"), "--real-views", str(tmp_path / "none.whl")]
    with pytest.raises(InputError, match="none.whl: there is no such file. docs/real-views.md"):
        CliRunner().invoke(nvf, asked, catch_exceptions=False)
    monkeypatch.setattr(model, "CHECKOUT", tmp_path)
    with pytest.raises(InputError, match="run it from a checkout"):
        CliRunner().invoke(nvf, asked, catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_a_build_that_goes_on_from_another_takes_its_weights_and_its_people(tmp_path):
    first, second = ["--also", "first/shards:1"], ["--also", "second/shards:1"]
    builds = Path("second"), Path("first")
    alone, after, both = (
        model.stage_arguments(tmp_path, 1, 1.0, 2, 1, before)["train"] for before in ((), builds[1:], builds)
    )
    on = str(free_model.AFTER)
    assert [word for word in after if word not in alone] == [on, "--from", "first/run", *first]
    assert [word for word in both if word not in alone] == [on, "--from", "second/run", *second, *first]


def test_a_build_that_goes_on_differs_in_what_of_the_encoder_learns_alone():
    first, on = (load_config(str(path)) for path in (free_model.CONFIGURATION, free_model.AFTER))
    assert (first.network.encoder.freeze, on.network.encoder.freeze) == ("all", "until:stage3")
    assert replace(on.network, encoder=first.network.encoder) == first.network and on.train == first.train


def test_it_refuses_what_is_no_other_build_before_hours_are_spent(tmp_path):
    """With the same seed the same people would come again."""
    seed = str(json.loads((free_model.folder() / "best.json").read_text())["config"]["train"]["seed"])
    asked = ["model", "build", str(tmp_path / "out"), "--after", str(tmp_path / "first"), "--seed", seed]
    with pytest.raises(InputError, match="no `nvf-cli model build` has finished there"):
        CliRunner().invoke(nvf, asked, catch_exceptions=False)
    first = tmp_path / "first"
    first.mkdir()
    (first / "free").symlink_to(free_model.folder())
    with pytest.raises(InputError, match="first/run is not there any more"):
        CliRunner().invoke(nvf, asked, catch_exceptions=False)
    (first / "run").symlink_to(free_model.folder())
    (first / "shards").mkdir()
    with pytest.raises(InputError, match="first/shards holds no run.json"):
        CliRunner().invoke(nvf, asked, catch_exceptions=False)
    (first / "shards").rmdir()
    make_folder(first / "shards", 6, 3, 1)
    with pytest.raises(InputError, match=f"drawn with --seed {seed}, as those of this build"):
        CliRunner().invoke(nvf, asked, catch_exceptions=False)
    twice = [*asked[:-1], str(int(seed) + 1), "--after", str(first)]
    with pytest.raises(InputError, match=f"drawn with --seed {seed}, as those of .*first, and would come again"):
        CliRunner().invoke(nvf, twice, catch_exceptions=False)
    assert not (tmp_path / "out").exists()
