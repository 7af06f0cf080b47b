"""Optional, required and unknown columns, numbers that grow, and what shards of the first release still are."""

import json

import h5py
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.records import DATASET_JOINT, FIT_JOINT
from pipeline.shards import format as shard_format
from pipeline.shards import store
from pipeline.shards.format import OPTIONAL, J, content_hash, default_column, to_columns
from pipeline.shards.open import open_shard, read_columns
from pipeline.shards.run_json import write_run
from pipeline.shards.store import ShardFolder, ShardReader, write_shard
from pipeline.shards.verify import verify_path
from tests.pipeline.shard_fakes import make_header, make_record, make_view, make_views

# Content hashes of `make_views(4)` as the first release (commit 5503714) wrote them.
FIRST_RELEASE = {
    "voters": "301857965ed3943c5e083f9de2e82c9123944ceca41e9f7ebabb524a37bc8d32",
    "dense": "66f0e97d1696f7d8d097c73019e720f35602cc598b2b12dcb103b678224b5d4f",
}
LIMB = np.isin(np.arange(J), (12, 13))
SOURCE = np.where(LIMB, FIT_JOINT, DATASET_JOINT).astype(np.uint8)


@pytest.mark.parametrize("offsets", FIRST_RELEASE)
def test_a_shard_that_says_no_more_than_before_is_what_it_was(tmp_path, offsets):
    record = write_shard(tmp_path / "a.h5", make_header(offsets=offsets), make_views(4))
    assert record.content_hash == FIRST_RELEASE[offsets] and record.joints_unseen == 0
    with h5py.File(tmp_path / "a.h5") as file:
        assert not [name for name in OPTIONAL if name in file] and "required_columns" not in file.attrs


def test_a_default_that_another_writer_stored_changes_no_hash():
    columns = to_columns(make_header(), make_views(4), [])
    stored = columns | {name: default_column(name, 4) for name in OPTIONAL}
    assert content_hash(stored) == FIRST_RELEASE["voters"]
    stored["views/joints_unseen"][2, 5] = True
    assert content_hash(stored) != FIRST_RELEASE["voters"]


def test_what_a_shard_lacks_has_its_default_and_what_it_has_is_read(tmp_path):
    marks = {"joints_unseen": LIMB, "ambiguous": True, "mesh_model": "smpl"}
    marked = make_view("S1/walk/000009/1", 9, joints_source=SOURCE, fit=None, **marks)
    records = [
        write_shard(tmp_path / "shard-00000.h5", make_header(), make_views(2)),
        write_shard(tmp_path / "shard-00001.h5", make_header(), [marked, make_view("S1/walk/000010/1", 10)]),
    ]
    write_run(tmp_path, make_record(records))
    assert [(record.joints_unseen, record.ambiguous) for record in records] == [(0, 0), (2, 1)]
    folder = ShardFolder(tmp_path)
    table = folder.view_table()
    assert table["joints_unseen"].tolist() == [[False] * J] * 2 + [LIMB.tolist(), [False] * J]
    assert table["mesh_model"].tolist() == ["smplx", "smplx", "smpl", "smplx"]
    assert table["ambiguous"].tolist() == [False, False, True, False]
    views = [reader.read_view(row) for reader, row in folder.rows()]
    assert [view["mesh_model"] for view in views] == table["mesh_model"].tolist()
    assert [view["joints_unseen"].sum() for view in views] == [0, 0, 2, 0]
    assert [reader.has_parameters(row) for reader, row in folder.rows()] == [True, True, False, True]
    findings = verify_path(tmp_path)
    assert findings.problems == []
    assert (findings.counts["joints_unseen"], findings.counts["ambiguous_fits"]) == (2, 1)


def test_verify_asks_whether_the_marks_make_sense(tmp_path):
    for changes, message in (
        ({"mesh_model": "ghum"}, "fits/mesh_model has 'ghum', which is none of smplx, smpl"),
        ({"ambiguous": True, "samples": None, "fit_valid": False}, "row 0 has an ambiguous fit, though it has no mesh"),
        ({"joints_unseen": LIMB}, "row 0 has a joint that is unseen, though it is not the fit's"),
    ):
        write_shard(tmp_path / "a.h5", make_header(), [make_view("a/1", **changes)])
        assert verify_path(tmp_path / "a.h5").problems == [f"a.h5: {message}"]


def test_an_smpl_mesh_of_the_first_release_is_known_by_its_zeros(tmp_path):
    write_shard(tmp_path / "a.h5", make_header(), [make_view("a/1", fit=None)])
    assert not ShardReader(tmp_path / "a.h5").has_parameters(0)


def test_a_column_that_must_be_known_is_refused_by_name(tmp_path):
    write_shard(tmp_path / "a.h5", make_header(code_commit="2.3.1"), make_views(2))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["required_columns"] = json.dumps(["views/joints", "views/depth"])
    with pytest.raises(
        InputError, match=r"a.h5 has the column views/depth.*Use the program that wrote it \(2.3.1\) or a newer"
    ):
        open_shard(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["required_columns"] = "views/depth"
    with pytest.raises(InputError, match="required_columns is 'views/depth', not a JSON list"):
        open_shard(tmp_path / "a.h5")


def test_a_required_column_is_a_line_in_two_tables(tmp_path, monkeypatch):
    """As docs/extending.md says: the shard names it, this program reads it, and one without the line refuses it."""
    columns = shard_format.COLUMNS | {"views/is_3d_too": ("|b1", ())}
    for module in (shard_format, store, "pipeline.shards.open"):
        monkeypatch.setattr(*((f"{module}.COLUMNS",) if isinstance(module, str) else (module, "COLUMNS")), columns)
        monkeypatch.setattr(
            *((f"{module}.REQUIRED",) if isinstance(module, str) else (module, "REQUIRED")), ("views/is_3d_too",)
        )
    view = make_view("a/1")
    object.__setattr__(view, "is_3d_too", True)
    write_shard(tmp_path / "a.h5", make_header(), [view])
    assert ShardReader(tmp_path / "a.h5").read_view(0)["is_3d_too"]
    monkeypatch.undo()
    with pytest.raises(InputError, match="views/is_3d_too"):
        ShardReader(tmp_path / "a.h5").read_view(0)


@pytest.mark.parametrize("frame, kind", [(7, "<i4"), (-(2**31), "<i4"), (2**31, "<i8"), (900100581904, "<i8")])
def test_frame_numbers_grow_where_one_asks_for_it(tmp_path, frame, kind):
    """PoseTrack's and Human-Art's image ids are above 2^31."""
    write_shard(tmp_path / "shard-00000.h5", make_header(), [make_view("a/1", frame=3), make_view("b/1", frame=frame)])
    with h5py.File(tmp_path / "shard-00000.h5") as file:
        assert file["views/frame"].dtype.str == kind
        assert content_hash(read_columns(file)) == file.attrs["content_hash"]
    assert ShardReader(tmp_path / "shard-00000.h5").read_view(1)["frame"] == frame
    assert verify_path(tmp_path / "shard-00000.h5").problems == []
    records = [
        write_shard(tmp_path / f"shard-0000{k}.h5", make_header(), [make_view(f"{k}/1", frame=number)])
        for k, number in enumerate((3, frame))
    ]
    write_run(tmp_path, make_record(records))
    assert ShardFolder(tmp_path).view_table()["frame"].tolist() == [3, frame]
