"""The command makes one call; what it asks for, what it prints, and its exit codes."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli.preprocess import command
from pipeline import run as running
from pipeline.errors import InputError
from pipeline.fit import FitSettings
from pipeline.preprocess import progress
from pipeline.preprocess.settings import PreprocessSettings, Request
from pipeline.records import Reject
from pipeline.sampling import SamplingSettings
from pipeline.shards.run_json import FailedShard, ShardRecord
from tests.pipeline.shard_fakes import make_record

REJECT = Reject("S1/a", "read", "x.jpg: the image does not exist")
SHARD = ShardRecord("shard-00000.h5", 4, 1, 10**6, "", "abc", 3, 5.25, None, (REJECT,))


@pytest.fixture
def calls(monkeypatch):
    found = []

    def preprocess(request, workers, _progress, _witness):
        found.append((request, workers))
        failed = (FailedShard("shard-00001.h5", "no luck"),) if request.options["final"] else ()
        return make_record([SHARD], failed=failed, content_hash="abc")

    errors = {"fit_error_mm": np.array([5.25, np.nan]), "reprojection_px": np.array([np.nan, np.nan])}
    monkeypatch.setattr(running, "preprocess", preprocess)
    monkeypatch.setattr(progress, "read_table", lambda shards, names: (errors, {}))
    return found


def test_options_reach_the_request(calls):
    result = CliRunner().invoke(
        command,
        [
            "human36m",
            "data",
            "out",
            "--workers",
            "3",
            "--subjects",
            "S1,S9",
            "--limit",
            "7",
            "--every-test",
            "5",
            "--offsets",
            "dense",
            "--crop-px",
            "128",
            "--pool",
            "4096",
            "--shard-instants",
            "16",
            "--seed",
            "2",
            "--append",
            "--jpeg-quality",
            "80",
            "--prior",
            "anatomical",
            "--joint-regressor",
            "r.npy",
        ],
        catch_exceptions=False,
    )
    [(request, workers)] = calls
    settings = request.settings
    assert result.exit_code == 0 and (workers.count, workers.scheduler) == (3, None)
    assert (request.source, request.root, request.out) == ("human36m", Path("data"), Path("out"))
    assert request.body is None and request.joint_regressor == Path("r.npy")
    assert request.subjects == ("S1", "S9") and request.limit == 7 and request.append and not request.overwrite
    assert request.options == {"every_test": 5, "final": False, "focal": None}
    assert (settings.offsets, settings.crop_px, settings.size, settings.sampling.pool) == ("dense", 128, 160, 4096)
    assert (settings.shard_instants, settings.seed, settings.jpeg_quality) == (16, 2, 80)
    assert settings.fit == FitSettings(prior="anatomical")


def test_the_summary_says_what_was_made(calls):
    text = CliRunner().invoke(command, ["coco", "data", "out"], catch_exceptions=False).stdout
    assert "out: 4 views in 1 shards, 0.001 GB" in text
    assert "3 of 4 views valid, mean 3D error 5.2 mm, mean reprojection none" in text
    assert "rejects: 1 (1 x read: the image does not exist)" in text and "content hash: abc" in text


@pytest.mark.parametrize(
    "shards, told",
    [
        ((), "NOTHING USABLE: No view was made. The commonest reasons: 3 x read: the image does not exist."),
        (
            (replace(SHARD, fit_valid=0, rejects=()),),
            "NOTHING USABLE: None of the 4 views has a valid fit (mean 3D error 5.2 mm, mean reprojection none). The",
        ),
    ],
)
def test_a_run_of_which_nothing_can_be_used_ends_with_exit_code_1(calls, monkeypatch, shards, told):
    run = make_record(shards, rejects=(REJECT,) * 3)
    monkeypatch.setattr(running, "preprocess", lambda *_: run)
    result = CliRunner().invoke(command, ["coco", "data", "out"], catch_exceptions=False)
    assert result.exit_code == 1 and told in result.stdout and "nvf-cli check-data fake /data" in result.stdout


def test_without_options_the_settings_are_the_defaults(calls):
    """The command line writes the defaults down again, since it loads no settings to print its help."""
    CliRunner().invoke(command, ["coco", "data", "out"], catch_exceptions=False)
    [(request, _)] = calls
    assert request.settings == PreprocessSettings() and request.limit is None and request.body is None


def test_every_option_is_somebodys():
    """An option that no field is named like would be dropped without a word."""
    written_out = {
        "subjects",
        "options",
        "every_test",
        "final",
        "focal",
        "workers",
        "scheduler",
        "source",
        "root",
        "out",
    }
    known = {f.name for record in (Request, PreprocessSettings, SamplingSettings, FitSettings) for f in fields(record)}
    assert {option.name for option in command.params} <= written_out | known


def test_failed_shards_end_with_exit_code_1(calls):
    result = CliRunner().invoke(command, ["human36m", "data", "out", "--final"], catch_exceptions=False)
    assert result.exit_code == 1 and "FAILED no luck" in result.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--crop-px", "5"], "crop_px is 5; choose a value from 16 to 4096"),
        (["--pool", "70000"], "pool 70000"),
        (["--workers", "-2"], "--workers is -2"),
    ],
)
def test_impossible_settings_are_refused_before_anything(calls, arguments, message):
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(command, ["human36m", "data", "out", *arguments], catch_exceptions=False)
    assert not calls


def test_wrong_roots_and_sources_are_refused(tmp_path):
    for arguments, message in (
        (["human36m", tmp_path / "none", tmp_path / "out"], "is not a folder"),
        (["human35m", tmp_path, tmp_path / "out"], "no source 'human35m'"),
        (["human36m", tmp_path, tmp_path / "out", "--subjects", "S2"], "(no subject S2|holds neither)"),
    ):
        with pytest.raises(InputError, match=message):
            CliRunner().invoke(command, [*map(str, arguments), "--workers", "0"], catch_exceptions=False)
