import json
import zipfile

import pytest
import torch

from model.export import example_input, export_run
from model.train import train
from model.training.runs import load_run
from tests.model.capsules import make_folder, tiny_config


def test_the_exported_program_predicts_what_the_network_does(tmp_path):
    torch.set_num_threads(1)
    train(
        make_folder(tmp_path / "shards", 4, 1, 1), tmp_path / "run", tiny_config(steps=2, evaluations=1), device="cpu"
    )
    out = tmp_path / "field.pt2"
    said = export_run(tmp_path / "run", out, batch=2)
    assert said["largest_difference_mm"] < 0.01
    assert [p.name for p in tmp_path.glob("*.pt2")] == ["field.pt2"]

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


def test_another_ending_is_refused(tmp_path):
    from cli.export import command
    from pipeline.errors import InputError

    with pytest.raises(InputError, match=r"ends in \.pt2"):
        command.callback(tmp_path / "run", tmp_path / "field.onnx", 1)
