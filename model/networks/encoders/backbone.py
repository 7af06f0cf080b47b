"""Any backbone of the transformers library as an encoder: ResNet, ConvNeXt, Swin, DINOv2, ViTPose and more (extra `backbones`).

Which to take first, and what each was trained on: docs/encoders.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from model.networks.encoders import hub
from model.networks.encoders.pretrained import STRIDES, PretrainedEncoder, PretrainedSettings, frozen_stages, to_side
from pipeline.errors import InputError

COARSEST = 32  # largest stride of the finest map that is read


@dataclass(frozen=True)
class BackboneSettings(PretrainedSettings):
    """name: of a model on the Hugging Face hub, or a folder that holds one (config.json, model.safetensors)."""

    kind: str = "backbone"
    name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            raise ValueError("name is empty: give a backbone's name on the hub, or its folder (docs/encoders.md)")


class Output(NamedTuple):
    """A stage that can be read. stride: pixels of the image a cell."""

    stage: str
    channels: int
    stride: float


class BackboneEncoder(PretrainedEncoder):
    """A transformers backbone under our neck. The maps of a pyramid are taken by their strides; where all have one stride, as those
    of a vision transformer have, four layers spread over its depth are.
    """

    Settings = BackboneSettings
    mean: Tensor
    std: Tensor

    def __init__(self, settings: BackboneSettings, kept: dict):
        """kept: what `fresh` put together."""
        network = hub.from_configuration(kept["configuration"])
        super().__init__(settings, network, stages_of(network), kept["channels"], kept)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(kept[name])[:, None, None], persistent=False)

    @classmethod
    def fresh(cls, settings: BackboneSettings, crop_px: int) -> "BackboneEncoder":
        """With its published weights. Raises InputError when they cannot be had, or do not fit crops of this side."""
        published, processor = hub.load(settings.name)
        try:
            frozen_stages(settings.freeze, tuple(stages_of(published)))
        except ValueError as error:
            raise InputError(f"encoder.{error} ({settings.name})") from error
        side = own_side(hub.patch_size(published.config), crop_px)
        outputs = measure(published, side, settings.name, crop_px)
        chosen = choose(outputs)
        order = [output for output in outputs if output in chosen]
        network = hub.resized(published, side, [output.stage for output in order])
        kept = {
            "configuration": hub.plain(network.config),
            "side": side,
            "reads": [order.index(output) for output in chosen],
            "channels": [output.channels for output in chosen],
            **hub.normalisation(processor),
        }
        encoder = cls(settings, kept)
        encoder.pretrained.load_state_dict(network.state_dict())
        return encoder

    @classmethod
    def rebuilt(cls, settings: BackboneSettings, kept: dict) -> "BackboneEncoder":
        return cls(settings, kept)

    def normalise(self, image: Tensor) -> Tensor:
        """As its own images were."""
        return ((image + 1) / 2 - self.mean) / self.std

    def read(self, image: Tensor) -> list[Tensor]:
        maps = maps_of(self.pretrained, to_side(image, self.kept["side"]))
        return [maps[k] for k in self.kept["reads"]]


def maps_of(network: Any, image: Tensor) -> list[Tensor]:
    """A backbone's outputs as maps (B, C, h, w); tokens that have no place in the image are left out."""
    # ViTPose+ has experts for each of its data sets; 0 is COCO.
    experts = getattr(network.config, "num_experts", 1) > 1
    given = {"dataset_index": image.new_zeros(len(image), dtype=torch.long)} if experts else {}
    maps = []
    for output in network(image, **given).feature_maps:
        if output.ndim == 3:
            cells = image.shape[-1] // hub.patch_size(network.config)
            output = output[:, output.shape[1] - cells * cells :].transpose(1, 2).unflatten(2, (cells, cells))
        maps.append(output)
    return maps


def own_side(patch: int, crop_px: int) -> int:
    """The side nearest the crop's that patches divide."""
    return max(1, round(crop_px / patch)) * patch


def measure(published: Any, side: int, name: str, crop_px: int) -> list[Output]:
    """What every stage gives for images of this side. Raises InputError when the backbone does not take them."""
    stages = list(published.config.stage_names)
    try:
        network = hub.resized(published, side, stages)
        with torch.no_grad():
            maps = maps_of(network, torch.zeros(1, 3, side, side))
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} does not take crops of {crop_px} px ({str(error).splitlines()[0]}). Set network.crop_px to what it was "
            f"trained with ({getattr(published.config, 'image_size', 'see its page')})."
        ) from error
    outputs = [Output(stage, m.shape[1], side / m.shape[-1]) for stage, m in zip(stages, maps, strict=True)]
    finest = min(output.stride for output in outputs)
    if any(m.shape[-1] != m.shape[-2] for m in maps) or finest > COARSEST:
        raise InputError(
            f"{name} gives maps of {', '.join(f'{m.shape[-2]} x {m.shape[-1]}' for m in maps)} cells for crops of {crop_px} px; they "
            f"must be square, and a cell of the finest at most {COARSEST} px. Take larger crops or another backbone."
        )
    return outputs


def choose(outputs: Sequence[Output]) -> list[Output]:
    """The output that is read for each of STRIDES; one may be read twice."""
    layers = [output for output in outputs if output.stage != "stem"]
    if len({output.stride for output in layers}) == 1:
        depth = len(layers)
        return [layers[math.ceil(depth * (k + 1) / len(STRIDES)) - 1] for k in range(len(STRIDES))]
    # of two that are as near, the deeper one
    return [min(reversed(layers), key=lambda output: abs(math.log2(output.stride / stride))) for stride in STRIDES]


def stages_of(network: Any) -> dict[str, tuple[str, ...]]:
    """Stage -> its modules, by the list of the network's that has as many entries as there are stages after the stem.

    The stem is all that comes before that list. Empty for a network without such a list.
    """
    stages = [stage for stage in network.config.stage_names if stage != "stem"]
    lists = (nn.ModuleList, nn.Sequential)
    found = [name for name, m in network.named_modules() if isinstance(m, lists) and len(m) == len(stages)]
    if not found:
        return {}
    stem, parent, place = [], network, ""
    for part in found[0].split("."):
        for name, _ in parent.named_children():
            if name == part:
                break
            stem.append(place + name)
        parent, place = parent.get_submodule(part), f"{place}{part}."
    return {"stem": tuple(stem)} | {stage: (place + str(k),) for k, stage in enumerate(stages)}
