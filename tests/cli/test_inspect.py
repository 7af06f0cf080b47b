"""inspect and view on shards of a real little run: what is printed, exit codes, pictures that are there."""

import json
import re
import urllib.request
from dataclasses import replace

import cv2
import pytest
from click.testing import CliRunner

from cli.inspect import command
from pipeline.errors import InputError
from pipeline.preprocess import plan as planning
from pipeline.preprocess import shard as stages
from pipeline.preprocess.progress import RunProgress
from pipeline.preprocess.settings import Request
from pipeline.run import Workers, preprocess
from tests.pipeline.run_fakes import SETTINGS, body_once, open_fake, write_source


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs of one source: the second with other points."""
    from rich.console import Console

    home = tmp_path_factory.mktemp("inspect")
    root = write_source(home / "data", {"S1": 2, "S9": 1})
    with pytest.MonkeyPatch.context() as patch, RunProgress(Console(quiet=True)) as progress:
        patch.setattr(planning, "open_source", open_fake)
        patch.setattr(planning, "load_body", lambda _: body_once())
        patch.setattr(stages, "load_body", lambda _: body_once())
        for name, seed in (("a", 0), ("b", 1)):
            preprocess(Request("fake", root, home / name, settings=replace(SETTINGS, seed=seed)), Workers(0), progress)
    return home / "a", home / "b"


def run(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def test_json_of_a_folder_and_nothing_else(folders):
    result = run(folders[0], "--json", "--verify")
    summary = json.loads(result.stdout)
    assert result.exit_code == 0
    assert summary["views"] == 6 and summary["shards"] == 2 and summary["rejects"] == {}
    assert summary["content_hash"] == json.loads((folders[0] / "run.json").read_text())["content_hash"]
    assert summary["splits"] == {"train": 4, "validation": 0, "test": 2} and summary["verify"]["problems"] == []
    assert sum(summary["distance_mm"]["share"]) == pytest.approx(1, abs=1e-3)


def test_text_of_a_shard(folders):
    text = run(folders[0] / "shard-00000.h5").stdout
    assert "4 views of 2 instants in 1 shards" in text and "train 4" in text and "seed" not in text


def test_verify_fails_with_exit_code_1(folders, tmp_path):
    data = bytearray((folders[0] / "shard-00000.h5").read_bytes())
    data[data.index(b"\xff\xd8\xff") + 200] ^= 4
    (tmp_path / "shard.h5").write_bytes(data)
    result = run(tmp_path / "shard.h5", "--verify", "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["verify"]["problems"]


def test_two_runs_compared(folders):
    result = run(*folders, "--json")
    difference = json.loads(result.stdout)
    assert result.exit_code == 1 and difference["shared"] == 6
    assert difference["settings"] == {"config.seed": [0, 1]}
    assert set(difference["views_that_differ_by_dataset"]) == {
        "samples/points",
        "samples/sdf",
        "samples/voters",
        "samples/joint_offsets",
    }
    assert run(folders[0], folders[0]).exit_code == 0


def test_picture_and_page(folders, tmp_path):
    run(folders[0], "--picture", tmp_path / "a.png", "--html", tmp_path / "a.html", "--views", 1)
    image = cv2.imread(str(tmp_path / "a.png"))
    assert image.shape[1] > 1000 and image.std() > 30
    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.parametrize("content, message", [(b"not HDF5", "not a readable HDF5 file"), (None, "does not exist")])
def test_foreign_files_are_refused(tmp_path, content, message):
    path = tmp_path / "x.h5"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        run(path)
    with pytest.raises(InputError, match="holds no run.json"):
        run(tmp_path)


def test_the_3d_view_is_served(folders):
    pytest.importorskip("viser")
    from pipeline.look.viewer import serve

    server = serve(folders[0], body_once(), "127.0.0.1", 0)
    try:
        page = urllib.request.urlopen(f"http://127.0.0.1:{server.get_port()}", timeout=10).read()
        assert b"<html" in page.lower()
    finally:
        server.stop()
