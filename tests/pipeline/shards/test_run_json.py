"""run.json: one typed record, read and written in one place; whatever is wrong with it is named with the file."""

import json
from dataclasses import replace

import pytest

from pipeline.errors import InputError
from pipeline.records import SYNTHETIC_MARK, Reject
from pipeline.shards.run_json import FailedShard, FilePrint, ShardRecord, read_run, write_run
from tests.pipeline.shard_fakes import make_record

SHARD = ShardRecord("shard-00000.h5", 4, 1, 100, "ab", "cd", 3, 5.25, None, (Reject("S1/a", "read", "no image"),), 7)
RECORD = make_record(
    [SHARD],
    inputs={"a.json": FilePrint(10, "ff")},
    subjects=("S1",),
    betas={"S1": (0.5, 1e-9)},
    layout=(("S1/a", "S1/b"), ("S1/c",)),
    failed=(FailedShard("shard-00001.h5", "no luck"),),
    rejects=(Reject("b.json", "read", "cut"),),
    config={"seed": 0, "fit": {"prior": "l2"}},
)


@pytest.fixture
def stored(tmp_path):
    """What is in the file, and a way to write it changed."""
    write_run(tmp_path, RECORD)
    return json.loads((tmp_path / "run.json").read_text())


def put(folder, values):
    (folder / "run.json").write_text(json.dumps(values))


def test_a_record_survives_its_file(tmp_path):
    write_run(tmp_path, RECORD)
    assert read_run(tmp_path) == RECORD
    assert [reject.key for reject in RECORD.all_rejects] == ["b.json", "S1/a"]


def test_every_key_is_needed_but_those_that_came_later(tmp_path, stored):
    may_lack = {"recorded", "views", "content_hash"}  # a run that was interrupted has no views yet
    for key in stored.keys() - {"format", "version"}:
        put(tmp_path, {name: value for name, value in stored.items() if name != key})
        if key in may_lack:
            read_run(tmp_path)
            continue
        with pytest.raises(InputError, match=rf"run\.json has no key '{key}'.*version.*--overwrite"):
            read_run(tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"colour": 1}, "run.json has the key 'colour', which this program does not know.*or of another version"),
        ({"supplied": "3"}, "run.json: supplied is '3', expected a whole number"),
        ({"supplied": True}, "run.json: supplied is 'True', expected a whole number"),
        ({"layout": [["a", 3]]}, r"run.json: layout\[0\]\[1\] is '3', expected a text"),
        ({"betas": {"S1": ["x"]}}, r"run.json: betas.S1\[0\] is 'x', expected a number"),
        ({"inputs": {"a.json": {"size": 1}}}, "run.json: inputs.a.json has no key 'sha256'"),
        ({"shards": [{"name": "a.h5"}]}, r"run.json: shards\[0\] has no key 'views'"),
        ({"rejects": [["a", "b"]]}, r"run.json: rejects\[0\] is .* expected a Reject"),
        ({"shards": {}}, "run.json: shards is '{}', expected a list"),
        ({"state": "odd"}, "run.json: state is 'odd', none of running, complete, failed"),
        ({"subjects": "S1"}, "run.json: subjects is 'S1', expected a list"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path, stored, change, message):
    put(tmp_path, stored | change)
    with pytest.raises(InputError, match=message):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["[]", '{"format": 3}', "{", "\x00\xff", '{"a": NaN}', "[" * 100000, ""])
def test_a_file_that_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match="run.json (cannot be read|is not the record)"):
        read_run(tmp_path)


def test_a_name_that_leaves_the_folder_is_refused(tmp_path):
    for name in ("../x.h5", "/etc/passwd", "", "a/b.h5"):
        write_run(tmp_path, replace(RECORD, shards=(replace(SHARD, name=name),)))
        with pytest.raises(InputError, match="no file of its own folder"):
            read_run(tmp_path)


def test_a_record_of_the_first_release_is_read(tmp_path, stored):
    """It had neither `recorded` nor counts of unseen joints and of ambiguous fits."""
    del stored["recorded"], stored["shards"][0]["joints_unseen"], stored["shards"][0]["ambiguous"]
    put(tmp_path, stored)
    assert read_run(tmp_path) == replace(RECORD, recorded=True, shards=(replace(SHARD, joints_unseen=0),))
    put(tmp_path, stored | {"inputs": {SYNTHETIC_MARK: {"size": 1, "sha256": "a"}}})
    assert not read_run(tmp_path).recorded
