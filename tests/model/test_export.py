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

from model import export
from model.export import PhotographPredictor, example_input, export_run
from model.people.photographs import photograph_camera
from model.people.predict import load_model, predict_people
from model.people.records import Box, Picture
from model.torch_crop import crop_people
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


@pytest.mark.parametrize("wrong", [0.006, float("nan")])
def test_a_program_that_answers_otherwise_is_not_written(run, tmp_path, monkeypatch, wrong):
    def off(program, said, inputs):
        answers = program.module()
        return b"", lambda *given: [answers(*given)[0] + wrong]

    monkeypatch.setitem(export.WRITERS, ".pt2", off)
    with pytest.raises(InputError, match=r"not written: the program's joints are .* mm .* Export to \.onnx"):
        export_run(run, tmp_path / "field.pt2")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def takes_photographs(run):
    out = run.parent / "photographs.pt2"
    return out, export_run(run, out, photograph=True)


def smooth_photograph(width: int, height: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)


def example():
    """examples/predict_with_torch.py"""
    path = ROOT / "examples" / "predict_with_torch.py"
    assert len(path.read_text().splitlines()) <= 30
    spec = importlib.util.spec_from_file_location("example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("box", "focal"),
    [((220.0, 20.0, 150.0, 270.0), None), ((10, 150, 40, 60), 300.0), ((-4.0, 0.0, 405.0, 301.0), 200.0)],
)
def test_the_example_with_torch_alone_predicts_what_predict_does(
    run, takes_photographs, tmp_path, monkeypatch, box, focal
):
    """A box off the photograph's centre, so that the crop's rotation counts; large ones, so that the photograph is halved; one beyond
    its borders."""
    image = smooth_photograph(401, 301)
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), image[..., ::-1])
    monkeypatch.setattr(
        "model.people.predict.SOMEBODY", 0.0
    )  # what a network of two steps says of presence means nothing
    picture = Picture("photo.png", image, photograph_camera(401, 301, focal))
    [(_, people)] = predict_people(load_model(run), [picture], lambda _: [Box(np.array(box), None, "given")])
    (found,) = people.people
    joints, root, confidence = example().predict(takes_photographs[0], photo, box, focal)
    # an untrained field sees every grey level, and OpenCV rounds positions to 1/32 px
    assert np.linalg.norm(joints.numpy() - found.joints, axis=1).max() < 0.02
    np.testing.assert_allclose(root.numpy(), found.root, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(confidence.numpy(), found.confidence, atol=0.02)


def test_a_program_that_crops_predicts_from_a_crop_what_the_network_does(run, takes_photographs):
    """The same pixels: the same joints, also of a photograph of another size than the program was made with."""
    out, said = takes_photographs
    assert said["largest_difference_mm"] < 0.01 and said["photograph"].startswith("uint8 (H, W, 3)")
    network, _, _ = load_run(run)
    photograph = torch.from_numpy(smooth_photograph(977, 640))
    K, boxes = torch.tensor([[900.0, 0, 400], [0, 900, 320], [0, 0, 1]]), torch.tensor([[500.0, 30, 300, 600]])
    crops, crop_K, R = crop_people(photograph, K, boxes, network.config.crop_px)
    wanted = network.predict(crops, crop_K)
    joints, root, confidence = torch.export.load(out).module()(photograph, K, boxes)
    np.testing.assert_allclose(joints[0], wanted.joints[0] @ R[0], atol=1e-4)
    np.testing.assert_allclose(root[0], wanted.root[0] @ R[0], atol=1e-3)
    np.testing.assert_allclose(confidence, wanted.confidence, atol=1e-4)


def test_an_onnx_file_crops_too(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "field.onnx"
    assert export_run(run, out, batch=2, photograph=True)["largest_difference_mm"] < 0.1
    given = [values.numpy() for values in PhotographPredictor(load_run(run)[0]).example(2, seed=5)]
    found = onnxruntime.InferenceSession(out).run(None, dict(zip(PhotographPredictor.inputs, given, strict=True)))
    assert [values.shape for values in found] == [(2, 17, 3), (2, 3), (2, 17)]


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
