"""The folder that a run writes: what stands there from before, and what is cleared away."""

import shutil
from pathlib import Path

from pipeline.errors import InputError
from pipeline.outputs import clear_drafts
from pipeline.preprocess.job_files import PLAN_FOLDER
from pipeline.shards.run_json import RUN_FILE, RunRecord, read_run


def standing_run(folder: Path, append: bool, overwrite: bool) -> RunRecord | None:
    """The run that stands in the folder and is to be continued; None for a new one. InputError for shards that no run.json
    lists, and for --append or --overwrite where they make no sense."""
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


def remove_run(folder: Path) -> None:
    """Removes what a run wrote, and nothing else. Where its run.json cannot be read, all files that are named like shards."""
    if (folder / RUN_FILE).exists():
        try:
            names = [shard_name(k) for k in range(len(read_run(folder).layout))]
        except InputError:
            names = [path.name for path in folder.glob("shard-*.h5")]
        for name in names:
            (folder / name).unlink(missing_ok=True)
        (folder / RUN_FILE).unlink()  # last: shards without it are a stranger's
    clear_leftovers(folder)


def clear_leftovers(folder: Path) -> None:
    """Removes what a killed run may have left: unfinished files and the workers' plan. Only under the folder's lock."""
    clear_drafts(folder, RUN_FILE, "shard-*.h5")
    shutil.rmtree(folder / PLAN_FOLDER, ignore_errors=True)


def shard_name(index: int) -> str:
    return f"shard-{index:05d}.h5"
