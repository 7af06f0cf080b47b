"""Checkpoints of earlier versions, turned into what this one writes.

Version 3 (0.1.0) kept the settings of every head in tables of their own beside each other, and named a network's layers by the
head's kind. Version 4 had no norm before the rectifier of an encoder's global context.
"""

import copy

import torch

from model.networks.certainty import Certainty

_SEARCH = ("cells", "levels", "most", "margin", "gate", "nearest")
_FIELD_LOSSES = ("distance", "limb", "vote", "joint")
# Where a setting of version 3 is now: for whoever brings a TOML file of that time.
MOVED = {
    "network.model": "network.head.kind",
    "network.field": "network.head.mlp",
    "network.targets": "network.head (truncation, band, asked.*, or radius and nearest of nvf-published)",
    "network.voting": "network.head (search.*, neighbours, best, temperature, use_distance)",
    "network.slices": "network.head.slices",
    **{f"network.losses.{name}": f"network.head.losses.{name}" for name in (*_FIELD_LOSSES, "surface")},
    "network.losses.beta": "network.head.beta",
    "draw.voters": "draw.voter_share",
}


def from_version_4(record: dict) -> dict:
    """The record with its configuration as it is kept today: the global context was not normalised."""
    record = copy.deepcopy(record)
    record["config"]["network"]["encoder"]["context_norm"] = False
    return record


def from_version_3(tensors: dict[str, torch.Tensor], record: dict) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors by their names of today, and the record with its configuration as it is kept today."""
    renamed = {_name_of_today(name): tensor for name, tensor in tensors.items()}
    if record["config"]["network"]["model"] != "mean_pose":
        for part in {name.partition(".")[0] for name in tensors} & {"network", "average"}:
            renamed |= {f"{part}.certainty.{name}": value for name, value in Certainty().state_dict().items()}
    return renamed, from_version_4(record | {"config": config_of_today(record["config"]), "encoder": {}})


def _name_of_today(name: str) -> str:
    """ "network.fields.0.out.weight" -> "network.head.stacks.0.out.weight"."""
    part, _, rest = name.partition(".")
    for old in ("fields.", "heads."):
        if rest.startswith(old):
            return f"{part}.head.stacks.{rest.removeprefix(old)}"
    return name


def config_of_today(config: dict) -> dict:
    """A configuration of version 3 (all of its tables) in the tables of version 4."""
    config = copy.deepcopy(config)
    network, draw = config["network"], config["draw"]
    draw["voter_share"] = draw.pop("voters")
    network["losses"].setdefault("surface", 1.0)  # until it was a setting, every distance label weighed alike
    encoder = network["encoder"]
    if encoder["kind"] == "unet":
        encoder = {name: encoder[name] for name in ("kind", "channels", "context")}
    config["network"] = {
        "joint_set": network["joint_set"],
        "crop_px": network["crop_px"],
        "encoder": encoder,
        "head": _head(network),
        "losses": {name: network["losses"][name] for name in ("heatmap", "scale")},
        "anchors": "heatmaps",
    }
    return config


def _head(network: dict) -> dict:
    model, losses = network["model"], network["losses"]
    if model == "mean_pose":
        return {"kind": model}
    if model in ("holistic", "heatmap25d"):
        return {"kind": model, "joint": losses["joint"]}
    if model == "volumetric":
        return {"kind": model, "joint": losses["joint"], "slices": network["slices"]}
    return _field_head(network)


def _field_head(network: dict) -> dict:
    targets, voting, losses = network["targets"], network["voting"], network["losses"]
    shared = {
        "truncation": targets["truncation"],
        "band": targets["band"],
        "use_distance": voting["use_distance"],
        "neighbours": voting["neighbours"],
        "best": voting["best"],
        "mlp": network["field"],
        "search": {name: voting[name] for name in _SEARCH},
        "losses": {name: losses[name] for name in (*_FIELD_LOSSES, "surface")},
    }
    if targets["vote"] == "published":
        own = {"radius": targets["radius"], "nearest": targets["neighbours"], "beta": losses["beta"]}
        return {"kind": "nvf-published", **shared, **own}
    asked = {name: targets[name] for name in ("candidates", "across", "along", "neighbours")}
    return {
        "kind": "nosdf" if network["model"] == "nosdf" else "nvf",
        **shared,
        "temperature": voting["temperature"],
        "asked": asked | {"points": targets["voters"]},
    }
