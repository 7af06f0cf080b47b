"""Parameters and multiply-adds of the backbones that docs/encoders.md names, from their published configurations.

    python -m benchmarks.encoders [--side 256] [--quick] [--json FILE]

Nothing is downloaded: the networks are built with random weights. Convolutions and matrix products are counted, forward, of one
image; patches that do not divide the side get the nearest side that they do.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model.networks.encoders import hub
from model.networks.encoders.backbone import own_side
from model.networks.encoders.movenet import WIDTHS, Backbone

# Name on the hub -> (its class in transformers without "Backbone", what its config.json has otherwise than the class's default, what
# its images' side is called there). The defaults are those of ViTPose-B, ResNet-50, Swin-T at 224 px and DINOv2-B.
PUBLISHED: dict[str, tuple[str, dict, Callable[[int], dict]]] = {
    "usyd-community/vitpose-base-simple": ("VitPose", {}, lambda side: {"image_size": [side, side]}),
    "facebook/dinov2-base": ("Dinov2", {"patch_size": 14}, lambda side: {"image_size": side}),
    "microsoft/swin-tiny-patch4-window7-224": ("Swin", {}, lambda side: {"image_size": side}),
    "microsoft/resnet-50": ("ResNet", {}, lambda side: {}),
}


def of_the_hub(name: str, side: int) -> tuple[nn.Module, int]:
    """The backbone with random weights, and the side of the images that it takes."""
    library: Any = hub.library()
    kind, settings, sized = PUBLISHED[name]
    config_class = getattr(library, f"{kind}BackboneConfig", None) or getattr(library, f"{kind}Config")
    side = own_side(hub.patch_size(config_class(**settings)), side)
    # attention written as matrix products, which are counted
    config = config_class(**settings, **sized(side), attn_implementation="eager")
    config.out_features = list(config.stage_names)
    return getattr(library, f"{kind}Backbone")(config).eval(), side


def counted(network: nn.Module, side: int) -> dict:
    """Millions of parameters, and billions of multiply-adds for an image of this side."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, side, side))
    parameters = sum(p.numel() for p in network.parameters())
    return {
        "side": side,
        "parameters_m": round(parameters / 1e6, 1),
        "gmacs": round(counter.get_total_flops() / 2e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256, help="of the images, px")
    parser.add_argument("--quick", action="store_true", help="images of 64 px")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    side = 64 if asked.quick else asked.side
    rows = {f"MoveNet {kind}": counted(Backbone(widths).eval(), side) for kind, widths in WIDTHS.items()}
    for name in PUBLISHED:
        rows[name] = counted(*of_the_hub(name, side))
    print("| backbone | side | parameters | MACs |\n" + "| --- " * 4 + "|")
    for name, row in rows.items():
        print(f"| `{name}` | {row['side']} px | {row['parameters_m']} M | {row['gmacs']} G |")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
