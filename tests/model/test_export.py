import errno
import json
import os
import zipfile

import pytest
import torch

from model.export import example_input, export_run
from model.train import train
from model.training.runs import load_run
from pipeline.errors import InputError
from pipeline.outputs import check_output
from tests.model.capsules import make_folder, tiny_config


def test_the_exported_program_predicts_what_the_network_does(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    train(
        make_folder(tmp_path / "shards", 4, 1, 1), tmp_path / "run", tiny_config(steps=2, evaluations=1), device="cpu"
    )
    out = tmp_path / "field.pt2"
    said = export_run(tmp_path / "run", out, batch=2)
    assert said["largest_difference_mm"] < 0.01
    assert [p.name for p in tmp_path.glob("*.pt2*")] == ["field.pt2"]
    check_output(out, (".pt2",))  # ours: another export may replace it

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched, pytest.raises(InputError, match="No space left on device"):
        patched.setattr(os, "fsync", full)
        export_run(tmp_path / "run", out, batch=2)
    with pytest.raises(InputError, match="cannot be written"):
        export_run(tmp_path / "run", out / "deep.pt2", batch=2)

    # an image that differs from those of the export in how many cells lie near its surface
    network, _, _ = load_run(tmp_path / "run")
    image, K = example_input(2, network.config.crop_px, seed=9)
    image[0] = image[0] * 0.05 - 0.5
    joints, root, confidence = torch.export.load(out).module()(image, K)
    wanted = network.predict(image, K)
    torch.testing.assert_close(joints, wanted.joints, atol=1e-5, rtol=0)
    torch.testing.assert_close(root, wanted.root, atol=1e-3, rtol=0)
    torch.testing.assert_close(confidence, wanted.confidence, atol=1e-4, rtol=0)

    with zipfile.ZipFile(out) as file:
        record = next(name for name in file.namelist() if name.endswith("record.json"))
        assert json.loads(file.read(record))["model"] == "nvf"
        assert not [name for name in file.namelist() if name.endswith(".py")]


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    for name, said in (
        ("field.onnx", r"ends in \.pt2"),
        ("folder.pt2", "is a folder"),
        ("mine.pt2", "did not write it"),
    ):
        (tmp_path / "folder.pt2").mkdir(exist_ok=True)
        (tmp_path / "mine.pt2").write_bytes(b"my own")
        with pytest.raises(InputError, match=said):
            export_run(tmp_path / "run", tmp_path / name)
    assert (tmp_path / "mine.pt2").read_bytes() == b"my own"
