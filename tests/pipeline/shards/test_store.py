"""The shard contract: what is written is what is read, by our reader and by plain h5py; bad files are named."""

import errno
import json
import multiprocessing
import os
import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.lattice import offsets_to, to_lattice
from pipeline.records import Reject
from pipeline.shards import store as shards
from pipeline.shards.format import COLUMNS, FORMAT, OPTIONAL, J, content_hash, to_columns
from pipeline.shards.open import read_columns
from pipeline.shards.run_json import read_run, write_run
from pipeline.shards.store import ShardFolder, ShardReader, write_shard
from tests.pipeline.shard_fakes import POOL, make_header, make_record, make_view, make_views


@pytest.fixture(scope="module")
def views():
    return make_views(6)


@pytest.fixture
def folder(tmp_path, views):
    """A folder of two shards, as preprocess leaves it."""
    records = [
        write_shard(tmp_path / "shard-00000.h5", make_header(), views[:4], [Reject("S1/walk/9", "fit", "no joints")]),
        write_shard(tmp_path / "shard-00001.h5", make_header(), [views[4], make_view("S1/walk/2/2", 9, False)]),
    ]
    write_run(tmp_path, make_record(records))
    return tmp_path


def test_a_shard_whose_instants_were_all_rejected_does_not_matter(folder):
    record = write_shard(folder / "shard-00002.h5", make_header(), [], [Reject("S1/walk/7", "fit", "no joints")])
    run = read_run(folder)
    write_run(folder, replace(run, shards=(*run.shards, record)))
    assert len(ShardFolder(folder).view_table()["id"]) == 6


def test_every_value_survives(tmp_path, views):
    record = write_shard(tmp_path / "a.h5", make_header(), views)
    reader = ShardReader(tmp_path / "a.h5")
    assert record.views == len(reader) == 6 and record.instants == 3
    for row, view in enumerate(views):
        read = reader.read_view(row)
        for name in vars(view).keys() & read.keys():
            expected = np.asarray(getattr(view, name), getattr(read[name], "dtype", None))
            np.testing.assert_array_equal(read[name], expected)
        samples = reader.read_samples(row)
        for name, value in vars(view.samples).items():
            np.testing.assert_array_equal(getattr(samples, name), value)
        assert bytes(reader.read_jpeg(row)) == view.image
        body = reader.read_body(row)
        np.testing.assert_array_equal(body.body_pose, view.fit.body_pose.astype(np.float32))
    assert os.listdir(tmp_path) == ["a.h5"]


def test_plain_h5py_reads_it_as_documented(tmp_path, views):
    """The recipe of docs/shard-format.md, without a line of ours."""
    write_shard(tmp_path / "a.h5", make_header(), views)
    with h5py.File(tmp_path / "a.h5") as file:
        metres = file["samples/points"][2] * file.attrs["lattice"]
        first, last = file["views/image_offset"][2:4]
        assert bytes(file["views/image_bytes"][first:last][:2]) == b"\xff\xd8"
        assert file["views/action"][2].decode("utf-8") == "Wälking"
        joints = np.rint(file["views/joints"][2].astype("f8") / file.attrs["lattice"])
        offsets = joints[:, None] - file["samples/points"][2][file["samples/voters"][2]]
        np.testing.assert_array_equal(offsets, file["samples/joint_offsets"][2])
        assert np.abs(metres).max() < 1.0001
        for name in file["samples"]:
            dataset = file["samples"][name]
            assert np.prod(dataset.chunks) * dataset.dtype.itemsize <= 1 << 20 and dataset.fletcher32


@pytest.mark.parametrize("offsets", ["dense", "derive"])
def test_offsets_are_bit_equal_however_they_are_kept(tmp_path, views, offsets):
    write_shard(tmp_path / "voters.h5", make_header(), views)
    write_shard(tmp_path / "other.h5", make_header(offsets=offsets), views)
    ours, other = ShardReader(tmp_path / "voters.h5"), ShardReader(tmp_path / "other.h5")
    for row in range(6):
        samples, joints = ours.read_samples(row), to_lattice(ours.read_view(row)["joints"])
        for name, value in vars(samples).items():
            np.testing.assert_array_equal(getattr(other.read_samples(row), name), value)
        kept = ours.file["samples/joint_offsets"][row]
        np.testing.assert_array_equal(offsets_to(samples.points[samples.voters], joints[:, None]), kept)
        if offsets == "dense":
            dense = other.file["samples/dense_offsets"][row]
            assert dense.dtype == np.int16 and dense.shape == (POOL, J, 3)
            np.testing.assert_array_equal(dense[samples.voters, np.arange(J)[:, None]], kept)


def test_content_hash_ignores_provenance_and_row_order_only(tmp_path, views):
    base = write_shard(tmp_path / "a.h5", make_header(), views).content_hash
    again = write_shard(tmp_path / "b.h5", make_header(run_id="run-b", code_commit="x"), views[::-1])
    assert again.content_hash == base
    with h5py.File(tmp_path / "a.h5") as file:
        assert content_hash(read_columns(file)) == base == file.attrs["content_hash"]
    columns = to_columns(make_header(), views, [])
    for name in [name for name in columns if name != "views/image_offset" and columns[name].size]:
        changed = dict(columns)
        changed[name] = columns[name].copy()
        changed[name].view(np.uint8).reshape(-1)[-1] ^= 1
        assert content_hash(changed) != base, name
    assert content_hash({**columns, "views/frame": columns["views/frame"].astype("<i8")}) != base


def test_empty_shard_and_long_text(tmp_path):
    record = write_shard(tmp_path / "a.h5", make_header(), [], [Reject("x" * 500, "read", "image is missing")])
    assert record.views == 0 and len(ShardReader(tmp_path / "a.h5")) == 0
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["rejects/key"][0] == b"x" * 500


def test_a_view_without_mesh_is_zeros_and_flagged(tmp_path):
    write_shard(tmp_path / "a.h5", make_header(), [make_view("a/1", with_mesh=False)])
    reader = ShardReader(tmp_path / "a.h5")
    view, samples = reader.read_view(0), reader.read_samples(0)
    assert not view["fit_valid"] and not view["has_mesh"] and view["joints_valid"].all()
    assert not samples.points.any() and not samples.sdf.any()


def test_lattice_rounds_half_to_even_and_never_clips():
    np.testing.assert_array_equal(to_lattice(np.array([0.00005, 0.00025, 0.00016, -0.12344])), [0, 2, 2, -1234])
    assert to_lattice(np.array([3.2767])) == 32767
    for value in (3.27676, np.nan, np.inf):
        with pytest.raises(InputError, match="lattice"):
            to_lattice(np.array([value]))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("where", ["open", "write", "fsync", "replace"])
def test_full_disk_is_told_and_leaves_nothing(tmp_path, views, monkeypatch, code, where):
    """Every system call on the way fails in turn; the file that was there before stays as it was."""
    path = tmp_path / "a.h5"
    write_shard(path, make_header(), views[:2])
    before = path.read_bytes()

    def fail(*_):
        raise OSError(code, os.strerror(code))

    if where in ("fsync", "replace"):
        monkeypatch.setattr(shards.os, where, fail)
    else:
        real = open

        class Failing:
            def __init__(self, *arguments):
                self.file = fail() if where == "open" else real(*arguments)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.file.close()

            write = fail

        monkeypatch.setattr(shards, "open", Failing, raising=False)
    with pytest.raises(InputError, match=f"a.h5: {os.strerror(code)}.*same command again"):
        write_shard(path, make_header(), views)
    assert os.listdir(tmp_path) == ["a.h5"] and path.read_bytes() == before


def test_folder_table_and_splits(folder):
    shard_folder = ShardFolder(folder)
    table = shard_folder.view_table("train")
    assert list(table["shard"]) == [0, 0, 0, 0, 1, 1] and list(table["row"]) == [0, 1, 2, 3, 0, 1]
    assert table["id"][4] == "S1/walk/000002/1" and list(table["fit_valid"]) == [True] * 5 + [False]
    assert table["joints"].shape == table["fit_joints"].shape == (6, J, 3) and "body_pose" not in table
    assert shard_folder.joint_set == "human36m_17" and shard_folder.crop_px == 32
    assert len(list(shard_folder.rows())) == 6
    with pytest.raises(InputError, match="no views of the split test .train: 6.*nvf-cli inspect"):
        shard_folder.view_table("test")


def damage_version(folder):
    with h5py.File(folder / "shard-00001.h5", "a") as file:
        file.attrs["version"] = 2


def damage_run(folder):
    with h5py.File(folder / "shard-00001.h5", "a") as file:
        file.attrs["run_id"] = "run-z"


def damage_joint_set(folder):
    with h5py.File(folder / "shard-00001.h5", "a") as file:
        file.attrs["joint_set"] = "coco_17"


def damage_joint_names(folder):
    with h5py.File(folder / "shard-00001.h5", "a") as file:
        file.attrs["joint_names"] = json.dumps(json.loads(file.attrs["joint_names"])[::-1])


def damage_joints(folder):
    with h5py.File(folder / "shard-00001.h5", "a") as file:
        joints = file["views/joints"]
        joints[0] = np.nan


def damage_foreign(folder):
    with h5py.File(folder / "shard-00001.h5", "w") as file:
        file["images"] = [1]


def damage_truncated(folder):
    path = folder / "shard-00001.h5"
    path.write_bytes(path.read_bytes()[:1000])


def damage_missing(folder):
    (folder / "shard-00001.h5").unlink()


def damage_names(folder):
    run = json.loads((folder / "run.json").read_text())
    run["shards"][0]["name"] = "../../etc/passwd"
    (folder / "run.json").write_text(json.dumps(run))


def damage_json(folder):
    (folder / "run.json").write_text("{")


def damage_run_version(folder):
    (folder / "run.json").write_text(json.dumps({"format": FORMAT, "version": 7}))


@pytest.mark.parametrize(
    "damage, message",
    [
        (damage_version, "shard-00001.h5 is a shard of format version 2; this program reads version 1"),
        (damage_run, "shard-00001.h5 belongs to run run-z.*of run run-a"),
        (damage_joint_set, "shard-00001.h5 holds the joints coco_17"),
        (damage_joint_names, "shard-00001.h5 holds the joints human36m_17.*wrist.*not human36m_17 as"),
        (damage_joints, "shard-00001.h5: views/joints of view .* is not finite .1 such views"),
        (damage_foreign, "not a shard"),
        (damage_truncated, "not a readable HDF5 file"),
        (damage_missing, "shard-00001.h5 is missing"),
        (damage_names, "no file of its own folder"),
        (damage_json, "run.json cannot be read"),
        (damage_run_version, "format version 7; this program reads version 1"),
    ],
)
def test_bad_folders_are_named(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        ShardFolder(folder).view_table()


def test_no_run_file(tmp_path):
    with pytest.raises(InputError, match="holds no run.json"):
        ShardFolder(tmp_path)


def _points_of(reader):
    return reader.read_samples(1).points


def test_reader_survives_fork_and_pickle(folder):
    reader = ShardFolder(folder).readers[0]
    expected = _points_of(reader)  # opened here, before the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for points in pool.map(_points_of, [reader] * 4):
            np.testing.assert_array_equal(points, expected)
    child = multiprocessing.get_context("fork").Process(target=lambda: os._exit(0 if _points_of(reader).any() else 1))
    child.start()
    child.join()
    assert child.exitcode == 0
    np.testing.assert_array_equal(_points_of(pickle.loads(pickle.dumps(reader))), expected)


def test_columns_name_every_dataset_of_the_file(tmp_path, views):
    write_shard(tmp_path / "a.h5", make_header(), views)
    with h5py.File(tmp_path / "a.h5") as file:
        found = {name for name in read_columns(file) if not name.startswith("rejects/")}
    assert found == set(COLUMNS) - {"samples/dense_offsets", *OPTIONAL} | {"views/image_bytes", "views/image_offset"}
