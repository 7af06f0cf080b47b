"""A run as one file that needs none of our code: crop and intrinsics in, joints out.

OUT.pt2 is written by torch.export, which keeps no Python of ours: `torch.export.load(FILE).module()(image, K)`. OUT.onnx is the same
program for ONNX runtimes. Shapes are fixed, also those of the coarse-to-fine query, which is padded to the most cells that the
field may keep; the joints are the same.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from model.networks.network import Network
from model.training.runs import load_run
from pipeline.camera import BOX_MARGIN
from pipeline.errors import InputError
from pipeline.outputs import MARK, check_output, write_file

INPUTS, OUTPUTS = ("image", "K"), ("joints", "root", "confidence")
# What a program says on two inputs.
Answers = Callable[[Tensor, Tensor], Sequence[Tensor]]


class Predictor(nn.Module):
    """image (B, 3, S, S) in [-1, 1] and K (B, 3, 3) px -> joints (B, J, 3) m root-relative, root (B, 3) m, confidence
    (B, J); all in the crop's camera axes.
    """

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.network.predict(image, K)
        return found.joints, found.root, found.confidence


def export_run(run: Path, out: Path, batch: int = 1) -> dict:
    """Write a run's best weights as a program for `batch` crops at a time; `out` ends in .pt2 or .onnx. Returns what the file
    says.

    The program is loaded again and compared with the network on random crops before the file gets its name. Raises InputError
    when it cannot be written, would replace a file that is no exported program of ours, or ONNX is not installed.
    """
    check_output(out, tuple(WRITERS))
    network, config, record = load_run(run)
    side = config.network.crop_px
    said = {
        "written_by": MARK,
        "model": config.network.head.kind,
        "step": record["step"],
        "commit": record["commit"],
        "batch": batch,
        "image": f"float32 ({batch}, 3, {side}, {side}), RGB from -1 to 1",
        "K": f"float32 ({batch}, 3, 3), pixels, principal point at the crop's centre ({(side - 1) / 2})",
        "crop": (
            f"the square of {BOX_MARGIN} times the longer side of the person's box, about its centre, seen by a camera that is turned "
            "there: R, the smallest rotation that takes the ray through the box's centre to z; black outside the photograph"
        ),
        "outputs": (
            "joints (B, J, 3) m root-relative, root (B, 3) m, confidence (B, J); axes of the crop's camera: x right, y down, z "
            "forward. R^T times them is in the photograph's"
        ),
        "joint_names": list(network.joint_set.names),
    }
    program = torch.export.export(Predictor(network).eval(), example_input(batch, side), strict=False)
    data, answers = WRITERS[out.suffix.lower()](program, said)
    said["largest_difference_mm"] = round(largest_difference(answers, network, batch, side), 5)
    write_file(out, data)
    return said


def as_torch(program: torch.export.ExportedProgram, said: dict) -> tuple[bytes, Answers]:
    """A .pt2 file, and what it answers once loaded. said: goes into it as record.json."""
    data = BytesIO()
    with warnings.catch_warnings():
        # kernels that are a part of one stored tensor are written whole, on the CPU, where nothing is lost
        warnings.filterwarnings("ignore", "No complete tensor found in the group")
        torch.export.save(program, data, extra_files={"record.json": json.dumps(said)})
    return data.getvalue(), torch.export.load(BytesIO(data.getvalue())).module()


def as_onnx(program: torch.export.ExportedProgram, said: dict) -> tuple[bytes, Answers]:
    """An .onnx file, and what it answers in ONNX Runtime. said: goes into its metadata. InputError without the extra `onnx`."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch writes ONNX with it)
    except ImportError as error:
        raise InputError(
            f"Writing .onnx needs the package {error.name}: `pip install 'neural-voting-field-body[onnx]'`, or write .pt2."
        ) from error
    made = torch.onnx.export(program, dynamo=True, input_names=INPUTS, output_names=OUTPUTS, verbose=False)
    assert made is not None
    made.model.metadata_props["record"] = json.dumps(said)
    data = made.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data)

    def answers(image: Tensor, K: Tensor) -> list[Tensor]:
        given = dict(zip(INPUTS, (image.numpy(), K.numpy()), strict=True))
        return [torch.from_numpy(values) for values in session.run(None, given)]

    return data, answers


WRITERS = {".pt2": as_torch, ".onnx": as_onnx}


def example_input(batch: int, side: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random crops of a camera with an ordinary angle of view."""
    generator = torch.Generator().manual_seed(seed)
    K = torch.tensor([[2.0 * side, 0, (side - 1) / 2], [0, 2.0 * side, (side - 1) / 2], [0, 0, 1]])
    return torch.rand(batch, 3, side, side, generator=generator) * 2 - 1, K.expand(batch, -1, -1).contiguous()


def largest_difference(answers: Answers, network: Network, batch: int, side: int) -> float:
    """In mm between a program's joints and the network's, on crops that it was not exported with."""
    given = example_input(batch, side, seed=1)
    with torch.no_grad():
        return 1000 * float((answers(*given)[0] - network.predict(*given).joints).abs().max())
