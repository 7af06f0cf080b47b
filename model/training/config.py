"""A run's configuration: named ones, TOML files on top of one, and back from a checkpoint's record."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from model.data.augment import AugmentConfig
from model.data.loading import DrawConfig
from model.networks.build import ENCODERS, HEADS
from model.networks.encoders.encoder import EncoderSettings
from model.networks.heads.head import HeadSettings
from model.networks.network import NetworkConfig
from model.training.older import MOVED
from model.training.optimise import TrainConfig
from pipeline.errors import InputError

# Settings whose fields depend on their `kind`: what they are called, and the registry that has the kinds.
CHOICES: dict[type, tuple[str, Mapping[str, Any]]] = {
    EncoderSettings: ("encoder", ENCODERS),
    HeadSettings: ("head", HEADS),
}
# Of whole numbers in a file, whose integers have no end.
LARGEST = 1 << 40
DEFAULT_KINDS = {"encoder": "unet", "head": "nvf"}


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run learns, given its shards."""

    network: NetworkConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    draw: DrawConfig = field(default_factory=DrawConfig)

    def to_dict(self) -> dict:
        """Plain values, for JSON."""
        return asdict(self)


# Of every run that takes a GPU hours: how many processes load, and how often it is looked at, logged and saved.
GPU_RUN = {"workers": 12, "evaluations": 20, "evaluate_views": 512, "log_every": 50, "save_every": 1000}
# What each is for: docs/training.md. What a head wants on top is in its file (`Head.preset`).
NAMED: dict[str, dict] = {
    # Minutes on two cores, from an encoder that has seen people.
    "small": {
        "network": {
            "crop_px": 192,
            "anchors": "pose",
            "encoder": {"kind": "body"},
            "losses": {"heatmap": 1.0},
        },
        "train": {"optimizer": "muon", "learning_rate": 6e-3},
        "draw": {"points": 128},
        # Real cameras are tilted, and people stand behind things; the frozen encoder does not mind.
        "augment": {"roll_degrees": 30.0, "scale": 0.15, "shift": 0.08, "colour": 0.3, "occlusion": 0.3},
    },
    # The same time with nothing but the shards.
    "scratch": {
        "network": {"losses": {"heatmap": 1.0}},
        "train": {"optimizer": "muon", "learning_rate": 6e-3},
        "draw": {"points": 128},
        # A few thousand steps cannot afford the full augmentation (docs/log.md).
        "augment": {"roll_degrees": 5.0, "scale": 0.05, "shift": 0.03, "colour": 0.2, "occlusion": 0.0},
    },
    # Hours on one GPU, from ViTPose-B. Whose recipe this is: docs/encoders.md.
    "base": {
        "network": {
            "crop_px": 256,
            "anchors": "pose",
            "encoder": {
                "kind": "backbone",
                "name": "usyd-community/vitpose-base-simple",
                "freeze": "none",
                "rate": 0.1,
                "channels": 64,
                "context": 256,
            },
            "losses": {"heatmap": 1.0},
        },
        "train": GPU_RUN
        | {
            "steps": 60_000,
            "batch_size": 64,
            "optimizer": "adamw",
            "learning_rate": 5e-4,
            "weight_decay": 0.1,
            "schedule": "steps",
            "milestones": (0.81, 0.95),
            "warmup": 500,
            "average": 0.9995,
        },
        "draw": {"points": 2048},
        "augment": {"roll_degrees": 20.0, "scale": 0.25, "shift": 0.10, "colour": 0.3, "occlusion": 0.5},
    },
    # The hand original at the size of its publication, for comparison with it: docs/field.md.
    "published": {
        "network": {
            "crop_px": 224,
            "encoder": {"kind": "hourglass", "channels": 256, "stacks": 4, "depth": 2, "context": 256},
            "head": {"kind": "nvf-published"},
        },
        "train": GPU_RUN | {"steps": 240_000, "batch_size": 16},
        "draw": {"points": 5000},
    },
}


def load_config(name: str, model: str | None = None) -> Config:
    """A named configuration or a TOML file, with one of `build.HEADS` (default: the one it names).

    A file holds any of the tables of `Config` and may start with `extends = "small"`, or with the name of a file in its folder. A
    `model` other than the head that the file names takes its own settings in place of the file's. Raises InputError for a name that
    is neither, an unknown key, or a value out of range.
    """
    layers = [] if name in NAMED else list(_read_files(Path(name)).items())
    base = name if name in NAMED else _base_of(layers)
    origin = " on ".join(str(path) for path, _ in reversed(layers)) or f"configuration {name}"
    below = merge({"network": {"encoder": {"kind": DEFAULT_KINDS["encoder"]}}}, NAMED.get(base or "", {}))
    standard = below["network"].get("head", {}).get("kind", DEFAULT_KINDS["head"])
    kinds: list[str | None] = []
    for path, tables in layers:
        network = _require_table(tables.get("network", {}), "network", str(path))
        head = _require_table(network.get("head", {}), "network.head", str(path))
        kinds.append(head.get("kind", kinds[-1] if kinds else None))
    named = kinds[-1] if kinds else None
    kind = model or named or standard
    _require_kind("head", kind, HEADS, f"--model {model}" if model else origin)
    settings = merge(below, {"network": {"head": {"kind": kind}}})
    settings = merge(settings, HEADS[kind].preset(base or ""))
    for (_, tables), of in zip(layers, kinds, strict=True):
        # Where no file names a head, their settings are of the one that is asked for.
        own = named is None or (of or standard) == kind
        settings = merge(settings, tables if own else _without_head(tables))
    return config_from_dict(merge(settings, {"network": {"head": {"kind": kind}}}), origin)


def _without_head(tables: dict) -> dict:
    """A file's tables but for the settings of another head."""
    if "network" not in tables:
        return tables
    return tables | {"network": {key: value for key, value in tables["network"].items() if key != "head"}}


def files_of(path: Path) -> list[Path]:
    """A configuration's file, and those that it extends. Raises InputError for one that cannot be read."""
    return list(_read_files(path))


def _require_table(value: Any, path: str, origin: str) -> dict:
    if not isinstance(value, dict):
        raise InputError(f"{origin}: '{path}' is {value!r}; it must be a table of settings, like [{path}].")
    return value


def _require_kind(what: str, kind: Any, registry: Mapping[str, Any], origin: str) -> None:
    if not isinstance(kind, str) or kind not in registry:
        raise InputError(
            f"{origin}: there is no {what} {kind!r}; choose one of {', '.join(registry)}. If it is one of your own, import the "
            "module that registers it (docs/extending.md)."
        )


def _base_of(layers: list[tuple[Path, dict]]) -> str | None:
    """The named configuration that files stand on, None for the defaults."""
    return layers[0][1].pop("extends", None)


def _read_files(path: Path) -> dict[Path, dict]:
    """The tables of a file and of those that it extends, the lowest first; that one keeps the name that it extends."""
    found: dict[Path, dict] = {}
    while True:
        tables = _read_toml(path)
        found = {path: tables} | found
        base = tables.get("extends")
        if base is None or (isinstance(base, str) and base in NAMED):
            return found
        beside = _beside(path, base)
        if beside is None or beside in found:
            raise InputError(
                f"{path}: it extends {base!r}; choose one of {', '.join(NAMED)}, or a file of its folder that does not extend this one"
            )
        del tables["extends"]
        path = beside


def _beside(path: Path, name: Any) -> Path | None:
    """The file of that name in the folder of `path`, None where there is none."""
    try:
        there = isinstance(name, str) and name == Path(name).name and (path.parent / name).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return None
    return path.parent / name if there else None


def _read_toml(path: Path) -> dict:
    try:
        tables = tomllib.loads(path.read_text("utf-8-sig"))  # Windows' editors put a mark before it
        repr(tables)  # a hexadecimal number of thousands of digits is read, and can be put into no message
    except FileNotFoundError as error:
        raise InputError(
            f"--config {path}: neither one of {', '.join(NAMED)} nor a file. Give one of those."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error}). See docs/training.md for an example.") from error
    return tables


def merge(low: dict, high: dict) -> dict:
    """`low` with the values of `high` on top, table by table. A table of another `kind` replaces the one below it."""
    merged = dict(low)
    for key, value in high.items():
        below = low.get(key, {})
        if isinstance(value, dict) and isinstance(below, dict):
            other = "kind" in value and "kind" in below and value["kind"] != below["kind"]
            merged[key] = dict(value) if other else merge(below, value)
        else:
            merged[key] = value
    return merged


def with_train(config: Config, **changes: Any) -> Config:
    """The configuration with some train settings changed; None leaves one as it is. Raises InputError for what they cannot be."""
    try:
        train = replace(config.train, **{k: v for k, v in changes.items() if v is not None})
    except ValueError as error:
        raise InputError(f"The run's own settings: {error}.") from error
    return replace(config, train=train)


def with_steps(config: Config, steps: int) -> Config:
    """The configuration for another number of steps, at least 1; the warm-up is a tenth of them at most."""
    steps = max(1, steps)
    return with_train(config, steps=steps, warmup=min(config.train.warmup, steps // 10))


def with_length(config: Config, steps: int | None, minutes: float | None) -> Config:
    """The configuration of a run of so many steps, or so many minutes; of neither, as long as it is."""
    if steps is not None:
        config = with_train(with_steps(config, steps), minutes=0.0)
    return with_train(config, minutes=minutes)


def config_from_dict(tables: dict, origin: str = "configuration") -> Config:
    """Raises InputError naming `origin`, the key and what is wrong with it."""
    return _build(Config, tables, origin, "")


def _build(kind: type, tables: Any, origin: str, path: str) -> Any:
    """A settings record from a table. path: of the table, "" or "network.head"."""
    tables = _require_table(tables, path, origin)
    if kind in CHOICES:
        what, registry = CHOICES[kind]
        tables = {"kind": DEFAULT_KINDS[what]} | tables
        _require_kind(what, tables["kind"], registry, f"{origin}: {path}.kind")
        kind = registry[tables["kind"]].Settings
    hints, names = get_type_hints(kind), [f.name for f in fields(kind)]
    values = {}
    for key, value in tables.items():
        where = f"{path}.{key}" if path else key
        if key not in names:
            raise InputError(_no_such_setting(origin, where, path, names))
        if is_dataclass(hints[key]):
            below = _default_values(kind, key)
            values[key] = _build(hints[key], merge(below, _require_table(value, where, origin)), origin, where)
        else:
            values[key] = _plain(value, hints[key], origin, where)
    for key in {f.name for f in fields(kind) if _must_be_chosen(f)} - set(values):
        values[key] = _build(hints[key], {}, origin, f"{path}.{key}" if path else key)
    try:
        return kind(**values)
    except ValueError as error:
        raise InputError(f"{origin}: {f'[{path}] ' if path else ''}{error}") from error


def _must_be_chosen(setting: Field) -> bool:
    return setting.default is MISSING and setting.default_factory is MISSING


def _default_values(kind: type, key: str) -> dict:
    """What a nested record holds where nothing else is said: `kind`'s own defaults, not those of the nested type."""
    (setting,) = (each for each in fields(kind) if each.name == key)
    return {} if setting.default_factory is MISSING else asdict(setting.default_factory())


def _no_such_setting(origin: str, where: str, path: str, names: list[str]) -> str:
    moved = f" It is now {MOVED[where]}." if where in MOVED else ""
    return f"{origin}: there is no setting '{where}'.{moved} {path or 'A configuration'} has {', '.join(names)}."


def _plain(value: Any, hint: Any, origin: str, where: str) -> Any:
    """A value of the declared type: whole numbers pass for floats, lists for tuples, and a number for a list of one."""
    if get_origin(hint) is tuple:
        items = [value] if isinstance(value, int | float) else value
        if not isinstance(items, list | tuple):
            raise InputError(f"{origin}: '{where}' is {value!r}; it must be a list.")
        return tuple(_plain(item, get_args(hint)[0], origin, where) for item in items)
    if isinstance(value, int) and abs(value) > LARGEST:
        raise InputError(f"{origin}: '{where}' is {str(value)[:20]}...; no setting is that large.")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise InputError(f"{origin}: '{where}' is {value!r}; it must be of type {hint.__name__}.")
    if hint is float and not math.isfinite(value):
        raise InputError(f"{origin}: '{where}' is {value}; it must be a finite number.")
    return value
