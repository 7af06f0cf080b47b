"""The detector's file says what the published graph says, and people are found in a photograph, once each."""

import hashlib
import json
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import onnxruntime
import pytest

from model.people import detector
from model.people.detector import MODEL_FILE, STRIDES, Detector, decode, overlaps, suppress
from pipeline.errors import InputError
from tools.record_nanodet import picture


@pytest.fixture(scope="module")
def find():
    return Detector()


@pytest.fixture(scope="module")
def hopper():
    """A photograph of one person that comes with matplotlib, (600, 512, 3) RGB."""
    return cv2.imread(str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"))[..., ::-1]


def crowd(person: np.ndarray, rows: int, columns: int) -> np.ndarray:
    canvas = np.full((rows * 260, columns * 200, 3), 140, np.uint8)
    small = cv2.resize(person, (170, 200), interpolation=cv2.INTER_AREA)
    for k in range(rows * columns):
        y, x = k // columns * 260 + 30, k % columns * 200 + 15
        canvas[y : y + 200, x : x + 170] = small
    return canvas


def test_the_file_says_what_the_published_graph_says():
    """tools/record_nanodet.py did the graph's operations one by one."""
    net = cv2.dnn.readNetFromONNX(str(MODEL_FILE))
    net.setInput(picture())
    names = [f"stride{stride}" for stride in STRIDES]
    said = net.forward(names)
    session = onnxruntime.InferenceSession(str(MODEL_FILE))
    elsewhere = session.run(names, {"image": picture().astype(np.float16)})
    with np.load(Path(__file__).with_name("nanodet_says.npz")) as wanted:
        for values, other, name in zip(said, elsewhere, names, strict=True):
            np.testing.assert_allclose(values[..., ::4, ::4], wanted[name], atol=0.004)
            np.testing.assert_allclose(values, other, atol=0.02)


def test_the_file_is_the_one_of_its_record_and_another_is_refused(monkeypatch, tmp_path):
    record = json.loads(MODEL_FILE.with_suffix(".provenance.json").read_text())
    assert hashlib.sha256(MODEL_FILE.read_bytes()).hexdigest() == record["sha256"] and "Apache-2.0" in record["licence"]
    other = tmp_path / "nanodet.onnx"
    other.write_bytes(MODEL_FILE.read_bytes()[:-1])
    other.with_suffix(".provenance.json").write_text(json.dumps(record))
    monkeypatch.setattr(detector, "MODEL_FILE", other)
    with pytest.raises(InputError, match="nanodet.onnx is damaged"):
        Detector()
    other.unlink()
    with pytest.raises(InputError, match="nanodet.onnx is missing"):
        Detector()


def test_a_box_is_decoded_from_its_distributions():
    values = np.full((45, 2, 3), -20.0)
    values[0, 1, 2] = 3.0
    for side, bin in enumerate((1, 2, 3, 4)):
        values[1 + 11 * side + bin] = 20.0
    corners, scores = decode(values, 8)
    np.testing.assert_allclose(corners[5], [20 - 8, 12 - 16, 20 + 24, 12 + 32], atol=1e-6)
    assert scores[5] == pytest.approx(1 / (1 + np.exp(-3))) and scores[:5].max() < 1e-6


def test_a_person_is_found_once_and_where_she_is(find, hopper):
    (box,) = find(hopper)
    assert box.score > 0.7 and box.source == "detector"
    assert overlaps(box.box, np.array([[5.0, 15, 505, 585]]))[0] > 0.9


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_the_size_of_the_picture_changes_little(find, hopper, scale):
    (box,) = find(cv2.resize(hopper, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    assert overlaps(box.box / scale, find(hopper)[0].box[None])[0] > 0.9


def test_forty_people_are_found(find, hopper):
    found = find(crowd(hopper, 4, 10))
    assert len(found) == 40
    middles = np.array([box.box[:2] + box.box[2:] / 2 for box in found])
    cells = {(int(y // 260), int(x // 200)) for x, y in middles}
    assert len(cells) == 40


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 2), (480, 640)])
def test_nobody_is_found_in_plain_pictures(find, shape):
    assert find(np.full((*shape, 3), 128, np.uint8)) == []


def test_nobody_is_found_in_noise(find):
    assert find(np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)) == []


def test_of_boxes_that_say_the_same_the_surest_stays():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [8, 0, 10, 10], [0, 0, 10, 10.0]])
    assert suppress(boxes, np.array([0.5, 0.9, 0.6, 0.5])).tolist() == [1, 2]
    assert suppress(boxes[:0], np.zeros(0)).tolist() == []


@pytest.mark.parametrize("score", [0, 1, -1, float("nan")])
def test_a_limit_that_is_none_is_refused(score):
    with pytest.raises(InputError, match="least score"):
        Detector(score)
