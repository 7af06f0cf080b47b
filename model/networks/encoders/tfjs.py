"""Reads a graph model of TensorFlow.js: a JSON file and the files of weights that it names. TensorFlow is not needed."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError

MOST_BYTES = 1 << 28  # of the JSON file, and of the weights together: far above any model that is read here
STORED = {"float16": "<f2", "float32": "<f4", "int32": "<i4", "bool": "|b1"}


@dataclass(frozen=True)
class GraphModel:
    """A published graph. path: of its JSON. origin: where it says that it is from. operations: node name -> operation.
    inputs: node name -> names of the nodes it reads, ":1" for a second output. attributes: node name -> as they are written.
    weights: name -> array as it is stored, halves included. sha256: file name -> checksum.
    """

    path: Path
    origin: str
    operations: dict[str, str]
    inputs: dict[str, tuple[str, ...]]
    attributes: dict[str, dict]
    weights: dict[str, np.ndarray]
    sha256: dict[str, str]


def read_graph(path: Path) -> GraphModel:
    """The graph model of a JSON file. Raises InputError when it is no graph model, or its weights are not what it says of them."""
    text = _bytes(path)
    try:
        model = json.loads(text)
        nodes = {str(node["name"]): node for node in model["modelTopology"]["node"]}
        operations = {name: str(node["op"]) for name, node in nodes.items()}
        inputs = {name: tuple(map(str, node.get("input", ()))) for name, node in nodes.items()}
        attributes = {name: dict(node.get("attr", {})) for name, node in nodes.items()}
        groups = [(list(group["paths"]), list(group["weights"])) for group in model["weightsManifest"]]
        origin = str(model.get("generatedBy", "unknown"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is no graph model of TensorFlow.js ({error!r}). Give the .json of one.") from error
    sha256 = {path.name: hashlib.sha256(text).hexdigest()}
    weights: dict[str, np.ndarray] = {}
    for names, specifications in groups:
        data = b""
        for name in names:
            part = _bytes(_beside(path, name))
            sha256[str(name)] = hashlib.sha256(part).hexdigest()
            data += part
        weights |= _weights(path, data, specifications)
    return GraphModel(path, origin, operations, inputs, attributes, weights, sha256)


def _beside(path: Path, name: Any) -> Path:
    """A file of weights, which lies beside the JSON."""
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
        raise InputError(
            f"{path} names {name!r} as its weights; only a file beside it is read. Put both into one folder."
        )
    return path.parent / name


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(
                f"{path} has {path.stat().st_size} bytes; a model that is read here has at most {MOST_BYTES}."
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte in it
        raise InputError(
            f"{path} cannot be read ({getattr(error, 'strerror', error)}). Unpack the package whole: .json and .bin."
        ) from error


def _weights(path: Path, data: bytes, specifications: list) -> dict[str, np.ndarray]:
    """name -> array of one group of weights, which lie one after the other without gaps."""
    found, start = {}, 0
    for specification in specifications:
        name, shape, dtype = _specification(path, specification)
        if name in found:
            raise InputError(f"{path} has the weight {name!r} twice. Fetch it again.")
        count = int(np.prod(shape, dtype=object))
        end = start + count * dtype.itemsize
        if end > len(data):
            raise InputError(
                f"{path}: the weight {name!r} {list(shape)} ends at byte {end}, its file at {len(data)}. The file is cut "
                "off or belongs to another model; fetch both again."
            )
        found[name] = np.frombuffer(data, dtype, count, start).reshape(shape)
        start = end
    if start != len(data):
        raise InputError(
            f"{path}: its weights end at byte {start}, their file at {len(data)}. They belong to two models."
        )
    return found


def _specification(path: Path, specification: Any) -> tuple[str, tuple[int, ...], np.dtype]:
    try:
        name, shape = str(specification["name"]), tuple(specification["shape"])
        stored = (specification.get("quantization") or specification)["dtype"]
        dtype = np.dtype(STORED[stored])
        if not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError(f"shape {shape}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: a weight that cannot be read here, {str(specification)[:200]} ({error!r}); these are read: "
            f"{', '.join(STORED)}."
        ) from error
    return name, shape, dtype
