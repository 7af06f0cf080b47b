"""An encoder that has seen people: the network of MoveNet, a public 2D pose network, with a neck of ours.

What it was trained on, and the licence of its weights: docs/encoders.md.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from model.networks.encoders.movenet import HEADS, HIDDEN, STAGES, WIDTHS, Backbone, Head, Pyramid
from model.networks.encoders.movenet_weights import asset_path, how_to_build, read_weights
from model.networks.encoders.pretrained import STRIDES, PretrainedEncoder, PretrainedSettings, frozen_stages
from pipeline.errors import InputError

READS = ("stages", "keypoints")


@dataclass(frozen=True)
class BodySettings(PretrainedSettings):
    """weights: "lightning", "thunder", or a file that `nvf-cli encoder build` wrote. reads: "stages", the maps inside the network,
    or "keypoints", which takes what the keypoint head sees and says in place of the finest of them. aligned: whether the maps inside
    are brought where our cells are (`onto_our_cells`).
    """

    kind: str = "body"
    weights: str = "lightning"
    reads: str = "stages"
    aligned: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reads not in READS:
            raise ValueError(f"reads {self.reads!r}: choose one of {', '.join(READS)}")
        frozen_stages(self.freeze, tuple(stages_of(self.reads)))


def stages_of(reads: str) -> dict[str, tuple[str, ...]]:
    """Stage -> its modules within `PoseReader`."""
    stages: dict[str, tuple[str, ...]] = {name: (f"backbone.stages.{k}",) for k, name in enumerate(STAGES)}
    return stages | {"keypoints": ("pyramid", "heatmap")} if reads == "keypoints" else stages


class PoseReader(nn.Module):
    """The part of MoveNet that is read. kind: one of WIDTHS. reads: one of READS."""

    def __init__(self, kind: str, reads: str):
        super().__init__()
        self.backbone = Backbone(WIDTHS[kind])
        _, *widths = self.backbone.channels
        self.inputs = [widths[0], widths[1], widths[3], widths[4]]
        if reads == "keypoints":
            self.pyramid, self.heatmap = Pyramid(WIDTHS[kind]), Head(HEADS["heatmap"])
            self.inputs[0] = HIDDEN + HEADS["heatmap"]
        self.reads = reads

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, S, S) RGB in [-1, 1] -> maps at 1/4, 1/8, 1/16 and 1/32."""
        stages = self.backbone(image)
        if self.reads == "stages":
            return [stages[1], stages[2], stages[4], stages[5]]
        hidden = self.heatmap.hidden(self.pyramid(stages)[-1])
        said = self.heatmap.out(hidden).clamp(-12, 12) / 4  # logits, brought to the size of the other channels
        return [torch.cat([hidden, said], 1), stages[2], stages[4], stages[5]]


def onto_our_cells(x: Tensor, stride: int) -> Tensor:
    """A map inside MoveNet, (B, C, h, w), read bilinearly where our cells are; its border goes on outwards.

    TensorFlow pads to the right and below only, so each halving moves a cell by half a pixel of what it halves: a cell of stride s
    describes the pixel (s - 1) / 2 right of and below the middle of the s x s pixels that it stands for.
    """
    part = (stride - 1) / (2 * stride)
    x = torch.lerp(x, torch.cat([x[..., :1], x[..., :-1]], -1), part)
    return torch.lerp(x, torch.cat([x[..., :1, :], x[..., :-1, :]], -2), part)


class BodyEncoder(PretrainedEncoder):
    """MoveNet's maps under our neck."""

    Settings = BodySettings
    settings: BodySettings

    def __init__(self, settings: BodySettings, weights: str):
        """weights: one of WIDTHS, or the path of a file whose `kind` is among them."""
        reader = PoseReader(weights, settings.reads)
        super().__init__(settings, reader, stages_of(settings.reads), reader.inputs, {"weights": weights})

    @classmethod
    def fresh(cls, settings: BodySettings, crop_px: int) -> "BodyEncoder":
        """With the published weights. Raises InputError when their file is not there or is another."""
        kind, state = reader_state(weights_file(settings.weights), settings.reads)
        encoder = cls(settings, kind)
        encoder.pretrained.load_state_dict(state)
        return encoder

    @classmethod
    def published(cls, settings: BodySettings, kept: dict) -> dict[str, Tensor]:
        """MoveNet's, where those of this size come along."""
        if kept["weights"] not in shipped():
            return {}
        _, state = reader_state(asset_path(kept["weights"]), settings.reads)
        return {f"pretrained.{name}": value for name, value in state.items()}

    @classmethod
    def rebuilt(cls, settings: BodySettings, kept: dict) -> "BodyEncoder":
        return cls(settings, kept["weights"])

    def normalise(self, image: Tensor) -> Tensor:
        """MoveNet takes RGB pixels in [-1, 1]."""
        return image

    def read(self, image: Tensor) -> list[Tensor]:
        maps = self.pretrained(image)
        if not self.settings.aligned:
            return maps
        # what the keypoint head gives lies where our cells are: that is how its keypoints are read
        inside = 1 if self.settings.reads == "keypoints" else 0
        return maps[:inside] + [onto_our_cells(m, s) for m, s in zip(maps[inside:], STRIDES[inside:], strict=True)]


def reader_state(path: Path, reads: str) -> tuple[str, dict[str, Tensor]]:
    """(kind, state of its `PoseReader`) of a file of weights. Raises InputError for another file."""
    kind, state = read_weights(path)
    with torch.device("meta"):
        names = PoseReader(kind, reads).state_dict()
    return kind, {name: state["heads." + name if name.startswith("heatmap.") else name] for name in names}


def weights_file(weights: str) -> Path:
    """The file of BodySettings.weights. Raises InputError when there is none."""
    path = asset_path(weights) if weights in WIDTHS else Path(weights)
    if path.is_file():
        return path
    if weights in WIDTHS:
        raise InputError(
            f"encoder.weights: {weights!r} does not come with this program, {', '.join(shipped())} does. Build it: "
            f"{how_to_build(weights, Path('DIR'))}, and give the path of DIR/{path.name}."
        )
    raise InputError(
        f"encoder.weights: there is no file {path}. Choose {', '.join(shipped())}, or a file that `nvf-cli encoder build` wrote."
    )


def shipped() -> list[str]:
    """The weights that come with this program."""
    return [kind for kind in WIDTHS if asset_path(kind).is_file()]
