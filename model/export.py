"""A run as one file that needs nothing but torch: crop and intrinsics in, joints out.

The program is written by torch.export, which keeps no Python of ours: `torch.export.load(FILE).module()(image, K)`.
Shapes are fixed, also those of the coarse-to-fine query, which is padded to the most cells that the field may keep;
the joints are the same.
"""

import json
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from model.networks.network import Network
from model.training.runs import load_run
from pipeline.outputs import MARK, check_output, write_file


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
    """Write a run's best weights as a program for `batch` crops at a time; `out` ends in .pt2. Returns what the file
    says.

    The file is loaded again and compared with the network on random crops before it gets its name. Raises InputError
    when it cannot be written, or would replace a file that is no exported program of ours.
    """
    check_output(out, (".pt2",))
    network, config, record = load_run(run)
    side = config.network.crop_px
    example = example_input(batch, side)
    program = torch.export.export(Predictor(network).eval(), example, strict=False)
    said = {
        "written_by": MARK,
        "model": config.network.head.kind,
        "step": record["step"],
        "commit": record["commit"],
        "batch": batch,
        "image": f"float32 ({batch}, 3, {side}, {side}), RGB from -1 to 1",
        "K": f"float32 ({batch}, 3, 3), pixels, principal point at the crop's centre ({(side - 1) / 2})",
        "outputs": "joints (B, J, 3) m root-relative, root (B, 3) m, confidence (B, J); axes x right, y down, z forward",
        "joint_names": list(network.joint_set.names),
    }
    data = BytesIO()
    torch.export.save(program, data, extra_files={"record.json": json.dumps(said)})
    said["largest_difference_mm"] = round(compare(data.getvalue(), network, batch, side), 5)
    write_file(out, data.getvalue())
    return said


def example_input(batch: int, side: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random crops of a camera with an ordinary angle of view."""
    generator = torch.Generator().manual_seed(seed)
    K = torch.tensor([[2.0 * side, 0, (side - 1) / 2], [0, 2.0 * side, (side - 1) / 2], [0, 0, 1]])
    return torch.rand(batch, 3, side, side, generator=generator) * 2 - 1, K.expand(batch, -1, -1).contiguous()


def compare(data: bytes, network: Network, batch: int, side: int) -> float:
    """Largest difference in mm between the file's joints and the network's, on crops that it was not exported with."""
    program = torch.export.load(BytesIO(data)).module()
    given = example_input(batch, side, seed=1)
    with torch.no_grad():
        return 1000 * float((program(*given)[0] - network.predict(*given).joints).abs().max())
