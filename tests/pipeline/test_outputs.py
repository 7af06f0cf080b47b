"""Results are whole or not there, and no file of a user's is replaced."""

import errno
import json
import os

import cv2
import numpy as np
import pytest

from pipeline import outputs
from pipeline.errors import InputError

IMAGE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    outputs.write_json(path, {"old": 1})

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"a\.json: cannot be written \(No space left on device\)"):
        outputs.write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1} and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_two_who_write_a_file_at_once_both_succeed(tmp_path, monkeypatch):
    """As where a block of pictures is made a second time: one begins and ends while the other is about to rename."""
    path, rename = tmp_path / "a.bin", os.replace

    def late(*names):
        monkeypatch.setattr(os, "replace", rename)
        outputs.write_file(path, b"second")
        assert path.read_bytes() == b"second"
        rename(*names)

    monkeypatch.setattr(os, "replace", late)
    outputs.write_file(path, b"first")
    assert path.read_bytes() == b"first" and [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_what_a_killed_writer_left_is_found(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    for name in ("a.bin", "a.json", "b.bin"):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(os, "replace", kill)
            outputs.write_file(tmp_path / name, b"half")
    (tmp_path / "a.txt").touch()
    assert len(list(tmp_path.iterdir())) == 4
    outputs.clear_drafts(tmp_path, "a.bin")
    assert len(list(tmp_path.iterdir())) == 3
    outputs.clear_drafts(tmp_path, "*")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        outputs.write_file(tmp_path / "file" / "a.json", b"x")
    with pytest.raises(InputError, match="no folder can be made"):
        outputs.make_folder(tmp_path / "file" / "deep")


PICTURES = (".png", ".jpg")


@pytest.mark.parametrize("suffix", PICTURES)
def test_a_marked_picture_is_the_same_picture(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    data = outputs.encode_picture(IMAGE, suffix)
    outputs.write_marked(path, data)
    plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), plain)
    assert outputs.is_ours(path)
    outputs.check_output(path, PICTURES)


def test_marked_json_and_pages_are_known_again(tmp_path):
    outputs.write_marked(tmp_path / "a.json", b'{"x": [1, 2]}')
    outputs.write_marked(tmp_path / "a.html", b"<p>x</p>")
    assert json.loads((tmp_path / "a.json").read_text())["x"] == [1, 2]
    for name in ("a.json", "a.html", "none.html"):
        outputs.check_output(tmp_path / name, (".json", ".html"))


def test_files_of_others_and_inputs_are_not_replaced(tmp_path):
    photo, link = tmp_path / "photo.png", tmp_path / "link.png"
    cv2.imwrite(str(photo), IMAGE)
    link.symlink_to(photo)
    (tmp_path / "empty.png").touch()
    for path in (photo, tmp_path / "empty.png"):
        with pytest.raises(InputError, match="this program did not write it"):
            outputs.check_output(path, PICTURES)
    with pytest.raises(InputError, match="which the command was given"):
        outputs.check_output(link, PICTURES, [None, photo])
    ours = tmp_path / "ours.png"
    outputs.write_marked(ours, outputs.encode_picture(IMAGE))
    with pytest.raises(InputError, match="which the command was given"):
        outputs.check_output(ours, PICTURES, [ours])
    with pytest.raises(InputError, match="ends in .png or .jpg"):
        outputs.check_output(tmp_path / "shard.h5", PICTURES)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        outputs.check_output(tmp_path / "folder.png", PICTURES)


def test_a_folder_of_results_takes_those_of_one_command(tmp_path):
    """New, empty, begun by the same command, or with folders and notes only, as a demo's; nothing else."""
    own = ("last.safetensors",)
    for number, name in enumerate(["", "shards/", "seen.log", ".DS_Store", "config.toml", "last.safetensors"]):
        folder = tmp_path / f"good{number}"
        (folder / name).mkdir(parents=True) if name.endswith("/") else folder.mkdir()
        if name and not name.endswith("/"):
            (folder / name).touch()
        outputs.claim_folder(folder, own)
    outputs.claim_folder(tmp_path / "new", own)
    assert not (tmp_path / "new").exists()
    for number, name in enumerate(["a.jpg", "data.csv", "run.json", "best.safetensors", "images/", "predictions.json"]):
        folder = tmp_path / f"bad{number}"
        (folder / name).mkdir(parents=True) if name.endswith("/") else folder.mkdir()
        (folder / name).touch()
        with pytest.raises(InputError, match=f"bad{number} holds .*{name.rstrip('/')}.*would be mixed with it. Name a"):
            outputs.claim_folder(folder, own)


def test_no_folder_of_results_is_one_that_is_read(tmp_path):
    shards, data = tmp_path / "shards", tmp_path / "data"
    for file in (shards / "run.json", shards / "last.safetensors", data / "images" / "a.jpg"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    link = tmp_path / "link"
    link.symlink_to(shards)
    for folder in (shards, link, tmp_path / "x" / ".." / "shards"):
        with pytest.raises(InputError, match="is the folder that is read"):
            outputs.claim_folder(folder, ("last.safetensors",), [data, shards])
    with pytest.raises(InputError, match="shards, which is read and holds shards. Name a folder outside"):
        outputs.claim_folder(link / "deep" / "run", (), [shards])
    outputs.claim_folder(data / "shards", (), [data])  # beside images/ and keypoints/, as people keep them
    outputs.claim_folder(tmp_path, (), [shards])  # around them, as a demo's run
