"""A run as one file that needs none of our code: crops and intrinsics in, or a photograph and boxes, and joints out.

OUT.pt2 is written by torch.export, which keeps no Python of ours: `torch.export.load(FILE).module()(image, K)`. OUT.onnx is the same
program for ONNX runtimes. Shapes are fixed except the photograph's, also those of the coarse-to-fine query, which is padded to the
most cells that the field may keep; the joints are the same.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from model.networks.network import Network
from model.torch_crop import crop_people
from model.training.runs import load_run
from pipeline.camera import BOX_MARGIN
from pipeline.errors import InputError
from pipeline.outputs import MARK, check_output, write_file

OUTPUTS = ("joints", "root", "confidence")
# What a program says on its inputs.
Answers = Callable[..., Sequence[Tensor]]
AXES = "x right, y down, z forward"
# A program whose joints are further from the network's is another program.
MOST_APART_MM = 5.0


class CropPredictor(nn.Module):
    """image (B, 3, S, S) in [-1, 1] and K (B, 3, 3) px -> joints (B, J, 3) m root-relative, root (B, 3) m, confidence
    (B, J); all in the crop's camera axes.
    """

    inputs = ("image", "K")

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.network.predict(image, K)
        return found.joints, found.root, found.confidence

    def example(self, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
        return example_input(batch, self.network.config.crop_px, seed)

    def said(self, batch: int) -> dict[str, str]:
        """What the file says of its inputs and outputs."""
        side = self.network.config.crop_px
        return {
            "image": f"float32 ({batch}, 3, {side}, {side}), RGB from -1 to 1",
            "K": f"float32 ({batch}, 3, 3), pixels, principal point at the crop's centre ({(side - 1) / 2})",
            "crop": (
                f"the square of {BOX_MARGIN} times the longer side of the person's box, about its centre, seen by a camera that is "
                "turned there: R, the smallest rotation that takes the ray through the box's centre to z; black outside the photograph"
            ),
            "outputs": (
                f"joints (B, J, 3) m root-relative, root (B, 3) m, confidence (B, J); axes of the crop's camera: {AXES}. R^T times "
                "them is in the photograph's"
            ),
        }


class PhotographPredictor(nn.Module):
    """photograph (H, W, 3) uint8 RGB, its K (3, 3) px and boxes (B, 4) x, y, width, height px -> what `CropPredictor` gives, in the
    photograph's camera axes.
    """

    inputs = ("photograph", "K", "boxes")

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, photograph: Tensor, K: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image, crop_K, R = crop_people(photograph, K, boxes, self.network.config.crop_px)
        found = self.network.predict(image, crop_K)
        return found.joints @ R, (found.root[:, None] @ R)[:, 0], found.confidence

    def example(self, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
        """A photograph of noise, of another size for another seed, and boxes in it."""
        generator = torch.Generator().manual_seed(seed)
        height, width = 300 + 20 * seed, 400 + 10 * seed
        photograph = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
        K = torch.tensor([[500.0, 0, (width - 1) / 2], [0, 500.0, (height - 1) / 2], [0, 0, 1]])
        boxes = torch.rand(batch, 4, generator=generator) * 100 + torch.tensor([100.0, 50.0, 60.0, 100.0])
        return photograph, K, boxes

    def said(self, batch: int) -> dict[str, str]:
        """What the file says of its inputs and outputs."""
        return {
            "photograph": "uint8 (H, W, 3), RGB, of any size and without distortion",
            "K": "float32 (3, 3), pixels of the photograph",
            "boxes": f"float32 ({batch}, 4), x, y, width and height of each person, pixels",
            "outputs": (
                "joints (B, J, 3) m root-relative, root (B, 3) m, confidence (B, J); axes of the photograph's camera: "
                + AXES
            ),
        }


def export_run(run: Path, out: Path, batch: int = 1, photograph: bool = False) -> dict:
    """Write a run's best weights as a program for `batch` people at a time; `out` ends in .pt2 or .onnx. photograph: it takes a
    photograph and boxes, in place of crops. Returns what the file says.

    The program is loaded again and compared with the network on other inputs before the file gets its name. Raises InputError
    when it answers otherwise, cannot be written, would replace a file that is no exported program of ours, or ONNX is not installed.
    """
    check_output(out, tuple(WRITERS))
    network, _, record = load_run(run)
    predictor = (PhotographPredictor if photograph else CropPredictor)(network).eval()
    said = {
        "written_by": MARK,
        "model": network.config.head.kind,
        "step": record["step"],
        "commit": record["commit"],
        "batch": batch,
        **predictor.said(batch),
        "joint_names": list(network.joint_set.names),
    }
    sizes = {0: torch.export.Dim("height", min=2), 1: torch.export.Dim("width", min=2)} if photograph else None
    shapes = (sizes, *(None for _ in predictor.inputs[1:]))
    program = torch.export.export(predictor, predictor.example(batch), dynamic_shapes=shapes, strict=False)
    data, answers = WRITERS[out.suffix.lower()](program, said, predictor.inputs)
    apart = largest_difference(answers, predictor, batch)
    if not apart <= MOST_APART_MM:
        raise InputError(
            f"{out} is not written: the program's joints are {apart:.1f} mm from the network's; rounding explains {MOST_APART_MM:g} "
            f"at most. Export to {' or '.join(end for end in WRITERS if end != out.suffix.lower())}, or with another version of torch."
        )
    said["largest_difference_mm"] = round(apart, 5)
    write_file(out, data)
    return said


def as_torch(program: torch.export.ExportedProgram, said: dict, inputs: Sequence[str]) -> tuple[bytes, Answers]:
    """A .pt2 file, and what it answers once loaded. said: goes into it as record.json."""
    data = BytesIO()
    with warnings.catch_warnings():
        # kernels that are a part of one stored tensor are written whole, on the CPU, where nothing is lost
        warnings.filterwarnings("ignore", "No complete tensor found in the group")
        torch.export.save(program, data, extra_files={"record.json": json.dumps(said)})
    return data.getvalue(), torch.export.load(BytesIO(data.getvalue())).module()


def as_onnx(program: torch.export.ExportedProgram, said: dict, inputs: Sequence[str]) -> tuple[bytes, Answers]:
    """An .onnx file, and what it answers in ONNX Runtime. said: goes into its metadata. InputError without the extra `onnx`."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch writes ONNX with it)
    except ImportError as error:
        raise InputError(
            f"Writing .onnx needs the package {error.name}: `pip install 'neural-voting-field-body[onnx]'`, or write .pt2."
        ) from error
    made = torch.onnx.export(program, dynamo=True, input_names=inputs, output_names=OUTPUTS, verbose=False)
    assert made is not None
    made.model.metadata_props["record"] = json.dumps(said)
    data = made.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data)

    def answers(*inputs_given: Tensor) -> list[Tensor]:
        given = {name: values.numpy() for name, values in zip(inputs, inputs_given, strict=True)}
        return [torch.from_numpy(values) for values in session.run(None, given)]

    return data, answers


WRITERS = {".pt2": as_torch, ".onnx": as_onnx}


def example_input(batch: int, side: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random crops of a camera with an ordinary angle of view."""
    generator = torch.Generator().manual_seed(seed)
    K = torch.tensor([[2.0 * side, 0, (side - 1) / 2], [0, 2.0 * side, (side - 1) / 2], [0, 0, 1]])
    return torch.rand(batch, 3, side, side, generator=generator) * 2 - 1, K.expand(batch, -1, -1).contiguous()


def largest_difference(answers: Answers, predictor: CropPredictor | PhotographPredictor, batch: int) -> float:
    """In mm between a program's joints and the network's, on inputs that it was not exported with."""
    given = predictor.example(batch, seed=1)
    with torch.no_grad():
        return 1000 * float((answers(*given)[0] - predictor(*given)[0]).abs().max())
