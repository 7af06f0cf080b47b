"""Why a shard cannot be opened: what it is instead, or who may hold it; a sound file is never advised to be deleted."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.shards.open import open_shard
from pipeline.shards.store import ShardReader, decode_crop, write_shard
from pipeline.shards.verify import verify_path
from tests.pipeline.shard_fakes import make_header, make_views


@pytest.fixture
def shard(tmp_path):
    write_shard(tmp_path / "shard-00000.h5", make_header(), make_views(4))
    return tmp_path / "shard-00000.h5"


HOLD = {
    "flock": "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.flock(f, fcntl.LOCK_EX)",
    "h5py": "import h5py, sys; f = h5py.File(sys.argv[1], 'r+')",
}


@pytest.mark.parametrize("how", HOLD)
def test_a_locked_shard_is_sound_and_its_holder_is_told(shard, how):
    code = HOLD[how] + "; print('held', flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(shard)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="shard-00000.h5 is locked by another program.*lsof.*try again") as told:
            open_shard(shard)
        assert "remove" not in str(told.value) and "delete" not in str(told.value)
        assert "locked by another program" in verify_path(shard).problems[0]
    finally:
        child.communicate("")
    open_shard(shard).close()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\xff\xd8\xff\xe0 and so on", "is a JPEG picture, not a shard.*nvf-cli predict"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG picture, not a shard"),
        (b'{"format": 1}', "is a JSON file, not a shard.*folder that holds a run.json"),
        (b"PK\x03\x04", "is a zip archive, not a shard"),
        (b"\x89HDF\r\n\x1a\n", "not a readable HDF5 file.*If it is a shard of a run, it is damaged"),
        (b"", "not a readable HDF5 file"),
    ],
)
def test_what_is_no_shard_is_called_what_it_is(tmp_path, content, message):
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_shard(tmp_path / "a.h5")


def test_a_folder_and_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="is a folder, not a shard"):
        open_shard(tmp_path)
    with pytest.raises(InputError, match="a.h5 is missing; run preprocess again"):
        open_shard(tmp_path / "a.h5")
    with pytest.raises(InputError, match="9.h5 is missing; run preprocess again"):
        open_shard(tmp_path / f"{'9' * 300}.h5")  # which no file can be called


def test_bytes_that_are_damaged_name_the_shard_whatever_is_read(shard):
    with h5py.File(shard) as file:
        place = {
            name: file[name].id.get_chunk_info(0) for name in ("samples/points", "views/joints", "views/image_bytes")
        }
    data = bytearray(shard.read_bytes())
    for chunk in place.values():
        data[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"U" * chunk.size
    shard.write_bytes(data)
    reader = ShardReader(shard)
    for read in (reader.read_samples, reader.read_view, reader.read_image):
        with pytest.raises(InputError, match="shard-00000.h5 is damaged: .*--verify"):
            read(0)
    assert np.isfinite(reader.read_body(0).betas).all(), "what is whole is still read"


def add_link(file):
    del file["views/K"]
    file["views/K"] = h5py.ExternalLink("/etc/hostname", "/x")


def add_raw(file):
    shape, kind = file["views/K"].shape, file["views/K"].dtype
    del file["views/K"]
    file.create_dataset("views/K", shape, kind, external=[("/etc/hostname", 0, 1 << 20)])


def announce(file):
    shape, kind = file["views/K"].shape, file["views/K"].dtype
    del file["views/K"]
    file.create_dataset("views/K", (10**12, *shape[1:]), kind, chunks=(1, *shape[1:]))


def retype(file):
    values = file["fits/has_mesh"][()]
    del file["fits/has_mesh"]
    file["fits/has_mesh"] = values.astype(float)


def shorten(file):
    values = file["views/split"][()]
    del file["views/split"]
    file["views/split"] = values[1:]


def say(name, value):
    def change(file):
        file.attrs[name] = value

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (add_link, "views/K is a link to another place"),
        (add_raw, "views/K lies in another file"),
        (announce, "views/K announces .* bytes, which the file does not hold"),
        (retype, "fits/has_mesh is <f8"),
        (shorten, "views/split is text"),
        (say("crop_px", "wide"), "attribute crop_px is 'wide'"),
        (say("pool", 1 << 40), "attribute pool is"),
        (say("config", "[" * 100_000), "attribute config is .*not JSON of a dict"),
        (say("run_id", np.zeros(3)), "attribute run_id is"),
        (say("body_model", b"\xff\xfe"), "attribute body_model is .*not a text in UTF-8"),
    ],
)
def test_what_is_not_laid_out_as_a_shard_is_refused_before_a_row_is_read(shard, change, message):
    with h5py.File(shard, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=f"shard-00000.h5 is damaged: .*{message}"):
        open_shard(shard)
    assert any(message.split(".*")[0] in problem for problem in verify_path(shard).problems)


def test_a_stored_crop_that_is_another_image_is_named(shard):
    reader = ShardReader(shard)
    size = int(reader.attributes["size"])
    assert decode_crop(reader.read_jpeg(0), size).shape == (size, size, 3)
    assert decode_crop(reader.read_jpeg(0), size + 1) is None
    assert decode_crop(np.zeros(0, np.uint8), size) is None and decode_crop(np.zeros(50, np.uint8), size) is None
