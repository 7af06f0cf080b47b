"""What decides the content of a run: all of the settings, as run.json keeps them and as a later run compares them."""

import json
from dataclasses import asdict
from pathlib import Path

from pipeline.body.model import BodyModel
from pipeline.errors import InputError
from pipeline.fit import fits_file
from pipeline.preprocess.settings import Request
from pipeline.sdf import BACKEND, SIGN_RULE
from pipeline.shards.run_json import FilePrint, RunRecord
from pipeline.skeletons import FIELD_JOINTS
from pipeline.sources.base import file_print

# Settings that runs of an earlier version did not record -> what they had. A new setting belongs here where its default is
# what the program did before it; else such runs are refused, by the setting's name.
BEFORE = {"margin": 1.25}
# Settings that are no more -> the value with which the program did what it does now.
GONE = {"sampling.inside_share": None}
# Where earlier versions kept a setting.
MOVED = {"crop.crop_px": "crop_px", "crop.size": "size", "crop.jpeg_quality": "jpeg_quality"}


def describe(request: Request, body: BodyModel) -> dict:
    """Everything that decides the content but the annotations themselves. The settings go in whole, by their fields, so that
    none can be forgotten."""
    return as_json(
        {
            "source": request.source,
            "options": {k: v for k, v in sorted(request.options.items()) if v is not None and v is not False},
            "limit": request.limit,
            "body": {"name": body.name, "sha256": body.sha256},
            "joint_set": FIELD_JOINTS.name,
            "joint_regressor": body.joint_regressor_sha256,
            "fits_from": fits_print(request.fits_from),
            "sdf": {"backend": BACKEND, "sign_rule": SIGN_RULE},
            "size": request.settings.size,
            **asdict(request.settings),
        }
    )


def fits_print(path: Path | None) -> dict | None:
    """Size and sha256 of the file of fits that a run takes in place of its own."""
    return file_print(path / fits_file.NAME if path.is_dir() else path) if path else None


def refuse_changes(
    folder: Path,
    standing: RunRecord,
    config: dict,
    inputs: dict[str, FilePrint],
    subjects: tuple[str, ...] | None,
    append: bool,
) -> None:
    """InputError that names every setting and file in which a new plan differs from the run that stands in the folder.

    Appending may add subjects and annotation files, and take another limit for what it adds.
    """
    changes = [] if append else named("subjects", listed(standing.subjects), listed(subjects))
    old, new = as_described_now(standing.config), flatten(config)
    for key in sorted(old.keys() | new.keys()):
        if not (append and key == "limit"):
            changes += named(key, old.get(key), new.get(key))
    for name in sorted(standing.inputs.keys() | inputs.keys()):
        if name not in inputs:
            changes.append(f"annotation file {name} is gone")
        elif name not in standing.inputs:
            changes += [] if append else [f"annotation file {name} is new"]
        elif standing.inputs[name] != inputs[name]:
            changes.append(f"annotation file {name} changed")
    if changes:
        told = "; ".join(changes[:6]) + ("" if len(changes) <= 6 else f"; and {len(changes) - 6} more")
        raise InputError(
            f"{folder} holds a run that was made otherwise ({told}) by version {standing.code_commit}. Give a new folder, repeat "
            "the command as it was (and with that version) to continue that run, add subjects with --append, or remove it with "
            "--overwrite"
        )


def as_described_now(config: dict) -> dict[str, object]:
    """The flat settings of a stored run, under the names of this version and with what it did not yet record."""
    flat = {MOVED.get(key, key): value for key, value in flatten(config).items()}
    flat = {key: value for key, value in flat.items() if key not in GONE or value != GONE[key]}
    return BEFORE | flat


def named(key: str, old: object, new: object) -> list[str]:
    """ "KEY: old -> new" where the two differ. None is also what a version had that did not know the setting."""
    return [] if old == new else [f"{key}: {old} -> {new}"]


def listed(subjects: tuple[str, ...] | None) -> object:
    return "all" if subjects is None else list(subjects)


def as_json(values: dict) -> dict:
    """As JSON gives it back, so that a new configuration compares with a stored one."""
    return json.loads(json.dumps(values, default=str))


def flatten(config: dict, prefix: str = "") -> dict[str, object]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
