"""A user's regressor of Human3.6M's joints, from the command line to shards: fits aim at its joints and are judged by them.

Fits to these joints are 1 to 2 mm off; fits of the built-in joints to them would be 8 mm off.
"""

import hashlib
import json
import os
from dataclasses import replace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from cli.fit import command as fit
from pipeline import sources
from pipeline.body.keypoints import keypoint_map, with_joint_regressor
from pipeline.errors import InputError
from pipeline.fit import FitSettings, read_fits
from pipeline.fit import supplied as supplying
from pipeline.fit.supplied import supplied_fit
from pipeline.preprocess import plan as planning
from pipeline.preprocess.progress import RunProgress
from pipeline.preprocess.settings import Request
from pipeline.preprocess.shard import worker_of
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.run import Workers, preprocess
from pipeline.shards.store import ShardFolder
from pipeline.skeletons import FIELD_JOINTS
from tests.pipeline.run_fakes import SETTINGS, FakeSource, body_once, make_instant, write_source


@pytest.fixture(scope="module")
def regressor(tmp_path_factory):
    """A file whose joints are the middles of the 40 vertices about each built-in joint: some centimetres beside it."""
    body = body_once()
    vertices = body.v_template.numpy()
    rest = keypoint_map(body, FIELD_JOINTS)(body.joint_template.numpy(), vertices)
    rows = np.zeros((17, len(vertices)))
    for row, joint in zip(rows, rest, strict=True):
        row[np.argsort(np.linalg.norm(vertices - joint, axis=1))[:40]] = 1 / 40
    assert 0.01 < np.linalg.norm(rows @ vertices - rest, axis=1).mean() < 0.1
    path = tmp_path_factory.mktemp("regressor") / "J_regressor.npy"
    np.save(path, rows)
    return path


class RegressedSource(FakeSource):
    """People whose joints are the regressor's."""

    regressor = None

    def joint_map(self):
        return keypoint_map(with_joint_regressor(body_once(), self.regressor), FIELD_JOINTS)


@pytest.fixture(scope="module")
def root(tmp_path_factory, regressor):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RegressedSource, "regressor", regressor)
        for module in (planning, sources):
            patch.setattr(module, "open_source", lambda _name, root, **_: RegressedSource(root))
        patch.setattr(sources, "parse_options", lambda *_: {})
        yield write_source(tmp_path_factory.mktemp("data") / "people", {"S1": 2})


def make_shards(root, out, **changes):
    with RunProgress(Console(file=open(os.devnull, "w"))) as progress:
        return preprocess(Request("fake", root, out, settings=SETTINGS, **changes), Workers(0), progress)


@pytest.mark.slow
def test_shards_have_its_joints_and_say_whose_they_are(root, regressor, tmp_path):
    run = make_shards(root, tmp_path, joint_regressor=regressor)
    digest = hashlib.sha256(regressor.read_bytes()).hexdigest()
    assert run.config["joint_regressor"] == digest and run.failed == ()
    with h5py.File(tmp_path / "shard-00000.h5") as file:
        assert json.loads(file.attrs["config"])["joint_regressor"] == digest
    rows, checked = np.load(regressor), 0
    for reader, row in ShardFolder(tmp_path).rows():
        view = reader.read_view(row)
        vertices = body_once().mesh(reader.read_body(row))[0]
        assert np.abs(rows @ vertices - view["fit_joints"]).max() < 1e-5
        assert view["fit_valid"] and view["fit_error_mm"] < 3
        checked += 1
    assert checked == 4


@pytest.mark.slow
def test_a_worker_refuses_a_file_that_changed(root, regressor, tmp_path):
    copy = tmp_path / "r.npy"
    copy.write_bytes(regressor.read_bytes())
    plan = planning.make_plan(Request("fake", root, tmp_path / "out", settings=SETTINGS, joint_regressor=copy))
    np.save(copy, np.roll(np.load(copy), 1, axis=1))
    with pytest.raises(InputError, match="the joint regressor .*r.npy changed since the run was planned"):
        worker_of(plan.tasks[0].job.parent / "context.json")


@pytest.mark.slow
def test_fit_command_and_the_run_that_takes_its_fits(root, regressor, tmp_path):
    arguments = ["fake", str(root), str(tmp_path / "fits"), "--joint-regressor", str(regressor), "--json"]
    result = CliRunner().invoke(fit, arguments, catch_exceptions=False)
    report = json.loads(result.stdout)
    assert report["joint_regressor"] == hashlib.sha256(regressor.read_bytes()).hexdigest()
    assert report["valid"] == 2 and report["fit_error_mm"]["max"] < 3
    with pytest.raises(
        InputError, match="made with the joint regressor [0-9a-f]{12}, this run has the built-in joints"
    ):
        make_shards(root, tmp_path / "out", fits_from=tmp_path / "fits")
    body = with_joint_regressor(body_once(), regressor)
    assert len(read_fits(tmp_path / "fits", body)) == 2
    with pytest.raises(InputError, match="no joint regressor at"):
        CliRunner().invoke(
            fit, [*arguments[:2], str(tmp_path / "new"), "--joint-regressor", "none.npy"], catch_exceptions=False
        )


def test_supplied_fits_are_judged_by_it(regressor, monkeypatch):
    monkeypatch.setattr(supplying, "_free_sha256", lambda: "another")
    body = with_joint_regressor(body_once(), regressor)
    instant = make_instant("S1", 3, keypoint_map(body, FIELD_JOINTS), body)
    values = {name: np.zeros(size) for name, size in PARAMETER_SIZES.items()}
    values |= {
        "betas": np.random.default_rng(1).normal(size=10),
        "body_pose": np.random.default_rng([3, 1]).normal(0, 0.15, 63),
    }
    instant = replace(instant, supplied=BodyParameters(**values))
    assert supplied_fit(instant, body, None, FitSettings()).quality.fit_error_mm < 0.1
    assert supplied_fit(instant, body_once(), None, FitSettings()).quality.fit_error_mm > 10
