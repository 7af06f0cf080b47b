"""run.json and the folder of a run: what is there, whether it may be continued, and how it is replaced."""

import json
import os
import shutil
from pathlib import Path

from pipeline.errors import InputError
from pipeline.preprocess.job_files import PLAN_FOLDER
from pipeline.shards.store import RUN_FILE, read_run, safe_name


def previous_run(folder: Path, append: bool, overwrite: bool) -> dict | None:
    """run.json of the run to continue; None for a new one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = (folder / RUN_FILE).exists()
        strangers = [] if found else sorted(path.name for path in folder.glob("shard-*.h5"))
    except OSError as error:
        raise InputError(f"{folder} cannot be used as the output folder: {error.strerror}; choose another") from error
    if strangers:
        raise InputError(
            f"{folder} has shards ({strangers[0]}) but no {RUN_FILE} that lists them; choose another folder, or "
            "remove them"
        )
    if append and overwrite:
        raise InputError("--append keeps what is there and --overwrite removes it; give one of them")
    if append and not found:
        raise InputError(f"{folder} has no {RUN_FILE}, so there is nothing to append to; leave --append out")
    return read_run(folder) if found and not overwrite else None


def refuse_changes(folder: Path, previous: dict, new: dict, append: bool) -> None:
    """InputError that names every setting and file in which the new plan differs from the run it would continue.

    new: "config", "inputs" and "subjects" as run.json has them. Appending may add subjects and annotation files.
    """
    changes = [] if append else compare("subjects", previous["subjects"] or "all", new["subjects"] or "all")
    old_config, new_config = flatten(previous["config"]), flatten(new["config"])
    for key in sorted(old_config.keys() | new_config.keys()):
        if not (append and key == "limit"):
            changes += compare(key, old_config.get(key), new_config.get(key))
    old_files, new_files = previous["inputs"], new["inputs"]
    for name in sorted(old_files.keys() | new_files.keys()):
        if name not in new_files:
            changes.append(f"annotation file {name} is gone")
        elif name not in old_files:
            changes += [] if append else [f"annotation file {name} is new"]
        elif old_files[name] != new_files[name]:
            changes.append(f"annotation file {name} changed")
    if changes:
        listed = "; ".join(changes[:6]) + ("" if len(changes) <= 6 else f"; and {len(changes) - 6} more")
        raise InputError(
            f"{folder} holds a run that was made otherwise ({listed}). Give a new folder, repeat the command as it "
            "was to continue that run, add subjects with --append, or remove it with --overwrite"
        )


def compare(name: str, old: object, new: object) -> list[str]:
    return [] if old == new else [f"{name}: {old} -> {new}"]


def plain(values: dict) -> dict:
    """As JSON gives it back, so that a new configuration compares with a stored one."""
    return json.loads(json.dumps(values, default=str))


def flatten(config: dict, prefix: str = "") -> dict[str, object]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def remove_run(folder: Path) -> None:
    """Removes what a run wrote, and nothing else."""
    run = folder / RUN_FILE
    if run.exists():
        try:
            names = [safe_name(shard_name(k), folder) for k in range(len(json.loads(run.read_text())["layout"]))]
        except (ValueError, KeyError, TypeError):
            names = [path.name for path in folder.glob("shard-*.h5")]
        run.unlink()
        for name in names:
            (folder / name).unlink(missing_ok=True)
    clear_leftovers(folder)


def clear_leftovers(folder: Path) -> None:
    """Removes what a killed run may have left: unfinished files and the workers' plan. Only under the folder's lock."""
    for path in folder.glob("*.tmp"):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / PLAN_FOLDER, ignore_errors=True)


def shard_name(index: int) -> str:
    return f"shard-{index:05d}.h5"


def write_run(folder: Path, run: dict) -> None:
    """Replaces run.json at once. InputError when the folder cannot be written."""
    partial = folder / f"{RUN_FILE}.tmp"
    try:
        with open(partial, "w") as file:
            json.dump(run, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder / RUN_FILE)
    except OSError as error:
        raise InputError(
            f"cannot write {folder / RUN_FILE}: {error.strerror}; free space or choose another folder"
        ) from error
