"""A run's configuration: named ones, a TOML file on top of one, and back from a checkpoint's record."""

import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import get_type_hints

from model.data.augment import AugmentConfig
from model.data.loading import DrawConfig
from model.networks.nvf import MODELS, NetworkConfig
from model.training.optimise import TrainConfig
from pipeline.errors import InputError


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run learns, given its shards."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    draw: DrawConfig = field(default_factory=DrawConfig)

    def to_dict(self) -> dict:
        """Plain values, for JSON."""
        return asdict(self)


# small: 128 px crops, minutes on two cores. base: the encoder and crop of the publication, for a GPU.
NAMED: dict[str, dict] = {
    "small": {
        "network": {
            "losses": {"heatmap": 1.0},
            "targets": {"candidates": 256, "voters": 64, "neighbours": 16},
            # A third of the default's points, 23 ms a view instead of 89, the same joints to 0.2 mm (docs/log.md).
            "voting": {"cells": 24, "most": 1024},
        },
        "train": {"optimizer": "muon", "learning_rate": 6e-3},
        "draw": {"points": 128},
        # A few thousand steps cannot afford the full augmentation (docs/log.md).
        "augment": {"roll_degrees": 5.0, "scale": 0.05, "shift": 0.03, "colour": 0.2, "occlusion": 0.0},
    },
    "base": {
        "network": {
            "crop_px": 256,
            "encoder": {"kind": "hourglass", "channels": 256, "stacks": 4, "context": 256},
            "field": {"hidden": [512, 256, 128]},
        },
        "train": {
            "steps": 60_000,
            "batch_size": 64,
            "learning_rate": 5e-4,
            "weight_decay": 0.05,
            "warmup": 1000,
            "average": 0.9995,
            "workers": 12,
            "evaluations": 20,
            "evaluate_views": 512,
            "log_every": 50,
            "save_every": 1000,
        },
        "draw": {"points": 2048},
    },
}
# What a model needs beside its name. nosdf: nothing that comes from a mesh. nvf-published: the hand recipe rescaled to a body
# (docs/field.md: weights and unit vectors within a radius, the nearest points vote, everything concatenated again at every
# layer, no loss on decoded joints).
MODEL_SETTINGS: dict[str, dict] = {
    "nosdf": {"network": {"losses": {"limb": 0.0}, "voting": {"use_distance": False}}},
    "nvf-published": {
        "network": {
            "field": {"skip": "all", "film": False},
            "targets": {"vote": "published", "candidates": 0, "neighbours": 64},
            "voting": {"best": 0.5, "neighbours": 0},
            "losses": {"distance": 1.0, "limb": 0.0, "vote": 1.0, "joint": 0.0, "surface": 1.0},
        },
        "train": {
            "optimizer": "rmsprop",
            "learning_rate": 1e-4,
            "weight_decay": 0.0,
            "schedule": "steps",
            "average": 0.0,
        },
    },
}


def load_config(name: str, model: str | None = None) -> Config:
    """A named configuration or a TOML file, for one of `model.networks.nvf.MODELS` (default: the one it names).

    A file holds any of the tables of `Config` and may start with `extends = "small"`. Raises InputError for a name
    that is neither, an unknown key, or a value out of range.
    """
    base, tables, origin = (name, {}, f"configuration {name}") if name in NAMED else (*_read_toml(Path(name)), name)
    model = model or tables.get("network", {}).get("model", "nvf")
    if model not in MODELS:
        raise InputError(f"model {model!r}: choose one of {', '.join(MODELS)}")
    settings = merge(merge(NAMED.get(base, {}), MODEL_SETTINGS.get(model, {})), tables)
    return config_from_dict(merge(settings, {"network": {"model": model}}), origin)


def _read_toml(path: Path) -> tuple[str | None, dict]:
    """What the file extends, and its tables."""
    try:
        tables = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(
            f"--config {path}: neither one of {', '.join(NAMED)} nor a file. Give one of those."
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error}). See docs/training.md for an example.") from error
    base = tables.pop("extends", None)
    if base is not None and base not in NAMED:
        raise InputError(f"{path}: it extends {base!r}; choose one of {', '.join(NAMED)}")
    return base, tables


def merge(low: dict, high: dict) -> dict:
    """`low` with the values of `high` on top, table by table."""
    merged = dict(low)
    for key, value in high.items():
        merged[key] = (
            merge(low.get(key, {}), value) if isinstance(value, dict) and isinstance(low.get(key, {}), dict) else value
        )
    return merged


def with_train(config: Config, **changes) -> Config:
    """The configuration with some train settings changed; None leaves one as it is."""
    return replace(config, train=replace(config.train, **{k: v for k, v in changes.items() if v is not None}))


def with_steps(config: Config, steps: int) -> Config:
    """The configuration for another number of steps, at least 1; the warm-up is a tenth of them at most."""
    steps = max(1, steps)
    return with_train(config, steps=steps, warmup=min(config.train.warmup, steps // 10))


def config_from_dict(tables: dict, origin: str = "configuration") -> Config:
    """Raises InputError naming `origin`, the key and what is wrong with it."""
    return _build(Config, tables, origin, "")


def _build(kind: type, tables: dict, origin: str, prefix: str):
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    values = {}
    for key, value in tables.items():
        where = f"{prefix}{key}"
        if key not in names:
            raise InputError(
                f"{origin}: there is no setting '{where}'. {prefix[:-1] or 'A configuration'} has {', '.join(names)}."
            )
        if is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise InputError(f"{origin}: '{where}' is a table of settings, not {value!r}.")
            values[key] = _build(hints[key], value, origin, where + ".")
        else:
            values[key] = _plain(value, hints[key], origin, where)
    try:
        return kind(**values)
    except ValueError as error:
        raise InputError(f"{origin}: {error}") from error


def _plain(value, hint: type, origin: str, where: str):
    """A value of the declared type: whole numbers pass for floats, lists for tuples, and a number for a list of one."""
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, bool, str):
        if type(value) is not hint:
            raise InputError(f"{origin}: '{where}' is {value!r}; it must be of type {hint.__name__}.")
        return value
    if type(value) in (int, float):
        value = [value]
    if not isinstance(value, list | tuple):
        raise InputError(f"{origin}: '{where}' is {value!r}; it must be a list.")
    return tuple(value)
