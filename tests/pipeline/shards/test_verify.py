"""--verify finds every kind of wrong shard, down to one flipped bit."""

import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
import trimesh

from pipeline.shards.format import content_hash
from pipeline.shards.run_json import read_run, write_run
from pipeline.shards.store import read_columns, write_shard
from pipeline.shards.verify import exact_distance, verify_path, verify_shard
from tests.pipeline.shard_fakes import make_header, make_record, make_view, make_views


@pytest.fixture
def folder(tmp_path):
    records = [write_shard(tmp_path / f"shard-0000{k}.h5", make_header(), make_views(4, 4 * k)) for k in range(2)]
    write_run(tmp_path, make_record(records))
    return tmp_path


def test_a_right_folder_has_no_problems(folder):
    findings = verify_path(folder)
    assert findings.problems == []
    assert findings.counts["views"] == 8 and findings.counts["shards"] == 2


@pytest.mark.slow
def test_every_flipped_bit_is_found(folder):
    """benchmarks/faults.py does this a thousand times."""
    rng = np.random.default_rng(0)
    path = folder / "shard-00001.h5"
    record = read_run(folder).shards[1]
    whole = path.read_bytes()
    for bit in rng.integers(0, 8 * len(whole), 60):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(data)
        assert verify_shard(path, record, "run-a").problems, f"bit {bit}"
    path.write_bytes(whole)
    assert verify_shard(path, record, "run-a").problems == []


def rewrite(path, change):
    """Changes a dataset and mends the content hash, as a faulty writer would have written it."""
    with h5py.File(path, "a") as file:
        change(file)
        file.attrs["content_hash"] = content_hash(read_columns(file))


def set_row(name, value):
    def change(file):
        values = file[name][()]
        values[1] = value
        file[name][...] = values

    return change


def retype(file):
    values = file["views/root"][()].astype("f4")
    del file["views/root"]
    file["views/root"] = values


def remove(file):
    del file["samples/sdf"]


def extra(file):
    file["views/colour"] = np.full(4, np.nan)


def cut_image(file):
    first, last = file["views/image_offset"][:2]
    file["views/image_bytes"][first:last] = np.zeros(last - first, np.uint8)


@pytest.mark.parametrize(
    "change, message",
    [
        (retype, r"views/root is <f4 \(4, 3\), expected <f8"),
        (remove, "samples/sdf is missing"),
        (set_row("views/joints", np.nan), "views/joints of row 1 is not finite"),
        (set_row("views/split", b"tryin"), "views/split has 'tryin'"),
        (set_row("samples/voters", 64), "names a point outside the pool"),
        (set_row("views/root", [0, 0, -2.0]), "row 1 has joint 0 -2.00 m in front of the camera"),
        (set_row("views/R_crop", np.diag([1.0, 1, -1])), "no rotation"),
        (set_row("views/K", np.eye(3)), "principal point"),
        (set_row("samples/joint_offsets", 5), "row 1 has offsets that are not joint minus point"),
        (set_row("fits/fit_error_mm", -1), "fit_error_mm is negative"),
        (set_row("fits/has_mesh", False), "row 1 has a valid fit without a mesh"),
        (cut_image, "row 0 has an image that does not decode"),
    ],
)
def test_wrong_content_is_named(tmp_path, change, message):
    path = tmp_path / "a.h5"
    write_shard(path, make_header(), make_views(4))
    rewrite(path, change)
    problems = verify_shard(path).problems
    assert any(re.search(message, problem) for problem in problems), problems


def test_a_column_of_a_newer_program_is_noted_and_no_fault(tmp_path):
    path = tmp_path / "a.h5"
    write_shard(path, make_header(), make_views(4))
    rewrite(path, extra)
    findings = verify_shard(path)
    assert findings.problems == []
    assert findings.notes == ["a.h5: views/colour is unknown to this program, which leaves it alone"]


def test_a_view_twice_and_an_unlisted_shard(folder):
    view = make_view("a/1")
    write_shard(folder / "shard-00009.h5", make_header(), [view, replace(view, frame=7)])
    assert "names a view twice" in verify_shard(folder / "shard-00009.h5").problems[0]
    assert any("shard-00009.h5: lies in the folder" in problem for problem in verify_path(folder).problems)


def test_a_shard_of_another_run_or_missing(folder):
    write_shard(folder / "shard-00001.h5", make_header(run_id="run-b"), make_views(4, 4))
    assert any("is of run run-b, its folder of run run-a" in problem for problem in verify_path(folder).problems)
    (folder / "shard-00001.h5").unlink()
    assert any("shard-00001.h5 is missing" in problem for problem in verify_path(folder).problems)


def test_exact_distance_of_a_cube():
    cube = trimesh.creation.box((2, 2, 2))
    points = np.array([[0, 0, 0], [0, 0, 0.9], [0, 0, 3], [2, 2, 1.0]])
    np.testing.assert_allclose(exact_distance(points, cube.vertices, cube.faces), [-1, -0.1, 2, np.sqrt(2)], atol=1e-9)
