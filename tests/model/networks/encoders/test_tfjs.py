"""Graph models of TensorFlow.js come from outside: what is wrong with one is said by name."""

import json

import numpy as np
import pytest

from model.networks.encoders.tfjs import read_graph
from pipeline.errors import InputError

WEIGHTS = [
    {
        "name": "a",
        "shape": [2, 3],
        "dtype": "float32",
        "quantization": {"dtype": "float16", "original_dtype": "float32"},
    },
    {"name": "b", "shape": [], "dtype": "int32"},
]
DATA = np.arange(6, dtype="<f2").tobytes() + np.array(7, "<i4").tobytes()


def written(folder, weights=WEIGHTS, data=DATA, paths=("one.bin", "two.bin"), model=None):
    model = model or {
        "generatedBy": "here",
        "modelTopology": {"node": [{"name": "x", "op": "Const"}]},
        "weightsManifest": [{"paths": list(paths), "weights": weights}],
    }
    (folder / "m.json").write_text(json.dumps(model))
    (folder / "one.bin").write_bytes(data[:5])
    (folder / "two.bin").write_bytes(data[5:])
    return folder / "m.json"


def test_weights_are_read_as_they_are_stored_over_several_files(tmp_path):
    graph = read_graph(written(tmp_path))
    assert graph.origin == "here" and graph.operations == {"x": "Const"}
    assert graph.weights["a"].dtype == np.float16 and graph.weights["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert graph.weights["b"] == 7 and set(graph.sha256) == {"m.json", "one.bin", "two.bin"}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"data": DATA[:-1]}, "ends at byte 16, its file at 15"),
        ({"data": DATA + b"x"}, "end at byte 16, their file at 17"),
        ({"paths": ("../one.bin",)}, "only a file beside it is read"),
        ({"paths": ("/etc/passwd",)}, "only a file beside it is read"),
        ({"paths": ("..",)}, "only a file beside it is read"),
        ({"paths": (3,)}, "only a file beside it is read"),
        ({"paths": ("one\0.bin",)}, "cannot be read"),
        ({"paths": ("three.bin",)}, "three.bin cannot be read"),
        ({"weights": [WEIGHTS[1] | {"dtype": "complex64"}]}, "cannot be read here.*float16, float32"),
        ({"weights": [WEIGHTS[1] | {"shape": [-1]}]}, "cannot be read here"),
        ({"weights": [WEIGHTS[1] | {"shape": [1.5]}]}, "cannot be read here"),
        ({"weights": [WEIGHTS[1] | {"shape": [10**30]}]}, "ends at byte"),
        ({"weights": ["b"]}, "cannot be read here"),
        ({"weights": [WEIGHTS[1], WEIGHTS[1] | {"name": "c"}, WEIGHTS[1] | {"name": "c"}]}, "twice"),
        ({"model": {"modelTopology": 3}}, "no graph model"),
        ({"model": [1]}, "no graph model"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        read_graph(written(tmp_path, **change))


def test_text_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "m.json").write_bytes(b"\xff\x00[[")
    with pytest.raises(InputError, match="m.json is no graph model"):
        read_graph(tmp_path / "m.json")
    with pytest.raises(InputError, match="none.json cannot be read"):
        read_graph(tmp_path / "none.json")
