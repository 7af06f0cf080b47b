import errno
import importlib.util
import json
import os
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from model.export import example_input, export_run
from model.predict import find_person, photograph_camera
from model.train import train
from model.training.runs import load_run
from pipeline.errors import InputError
from pipeline.outputs import check_output
from tests.model.capsules import make_folder, tiny_config

# Whole runs are made here, which takes seconds.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("export")
    train(make_folder(root / "shards", 4, 1, 1), root / "run", tiny_config(steps=2, evaluations=1), device="cpu")
    return root / "run"


@pytest.fixture(scope="module")
def exported(run):
    out = run.parent / "field.pt2"
    return out, export_run(run, out, batch=2)


def test_the_exported_program_predicts_what_the_network_does(run, exported):
    out, said = exported
    assert said["largest_difference_mm"] < 0.01
    assert [p.name for p in out.parent.glob("*.pt2*")] == ["field.pt2"]
    check_output(out, (".pt2",))  # ours: another export may replace it
    # an image that differs from those of the export in how many cells lie near its surface
    network, _, _ = load_run(run)
    image, K = example_input(2, network.config.crop_px, seed=9)
    image[0] = image[0] * 0.05 - 0.5
    joints, root, confidence = torch.export.load(out).module()(image, K)
    wanted = network.predict(image, K)
    torch.testing.assert_close(joints, wanted.joints, atol=1e-5, rtol=0)
    torch.testing.assert_close(root, wanted.root, atol=1e-3, rtol=0)
    torch.testing.assert_close(confidence, wanted.confidence, atol=1e-4, rtol=0)

    with zipfile.ZipFile(out) as file:
        record = next(name for name in file.namelist() if name.endswith("record.json"))
        assert json.loads(file.read(record)) | {"largest_difference_mm": 0} == said | {"largest_difference_mm": 0}
        assert not [name for name in file.namelist() if name.endswith(".py")]


def test_a_place_that_cannot_be_written_is_refused(run, tmp_path, monkeypatch):
    for name, said in (
        ("field.tflite", r"ends in \.pt2 or \.onnx"),
        ("folder.pt2", "is a folder"),
        ("mine.pt2", "did not write it"),
    ):
        (tmp_path / "folder.pt2").mkdir(exist_ok=True)
        (tmp_path / "mine.pt2").write_bytes(b"my own")
        with pytest.raises(InputError, match=said):
            export_run(tmp_path / "run", tmp_path / name)
    assert (tmp_path / "mine.pt2").read_bytes() == b"my own"

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        export_run(run, tmp_path / "field.pt2")


def test_the_example_with_torch_alone_predicts_what_predict_does(run, tmp_path, monkeypatch):
    """A box off the photograph's centre, so that the crop's rotation counts, and large, so that the photograph is halved."""
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples" / "predict_with_torch.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    smooth = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (301, 401, 3), np.uint8), (0, 0), 4)
    image = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)
    network, _, _ = load_run(run)
    program, photo = tmp_path / "one.pt2", tmp_path / "photo.png"
    export_run(run, program)
    cv2.imwrite(str(photo), image[..., ::-1])
    photograph = torch.from_numpy(image).permute(2, 0, 1).float() * (2 / 255) - 1
    for box, focal in (((220.0, 20.0, 150.0, 270.0), None), ((10.0, 150.0, 40.0, 60.0), 300.0)):
        camera = photograph_camera(401, 301, focal)
        found, crop, pixels = find_person(network, image, camera, np.array(box))
        seen, K, R = example.crop_of(photograph, box, network.config.crop_px, camera.K[0, 0])
        np.testing.assert_allclose(K[0].numpy(), crop.K, rtol=1e-5)
        np.testing.assert_allclose(R.numpy(), crop.R, atol=1e-6)
        difference = np.abs(
            (seen[0].permute(1, 2, 0).numpy() + 1) * 127.5 - pixels
        )  # OpenCV rounds positions to 1/32 px
        assert difference.max() < 6 and difference.mean() < 0.5
        joints, root, _ = example.predict(program, photo, box, focal)
        assert (
            np.linalg.norm(joints.numpy() - found.joints, axis=1).max() < 0.02
        )  # an untrained field sees every grey level
        with monkeypatch.context() as patch:  # the same pixels: the same joints
            given = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() * (2 / 255) - 1
            patch.setattr(example, "crop_of", lambda *_, crop=(given, K, R): crop)
            joints, root, _ = example.predict(program, photo, box, focal)
        np.testing.assert_allclose(joints.numpy(), found.joints, atol=1e-4)
        np.testing.assert_allclose(root.numpy(), found.root, atol=1e-3)


def test_an_onnx_file_predicts_what_the_network_does(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "field.onnx"
    said = export_run(run, out)
    assert said["largest_difference_mm"] < 0.1
    check_output(out, (".onnx",))
    network, _, _ = load_run(run)
    image, K = example_input(1, network.config.crop_px, seed=9)
    session = onnxruntime.InferenceSession(out)
    assert json.loads(session.get_modelmeta().custom_metadata_map["record"])["crop"].startswith(
        "the square of 1.25 times"
    )
    found = session.run(None, {"image": image.numpy(), "K": K.numpy()})
    wanted = network.predict(image, K)
    for values, expected in zip(found, (wanted.joints, wanted.root, wanted.confidence), strict=True):
        np.testing.assert_allclose(values, expected.numpy(), atol=1e-4)


def test_without_onnx_the_package_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs the package onnxruntime.*\[onnx\].*or write \.pt2"):
        export_run(run, tmp_path / "field.onnx")
