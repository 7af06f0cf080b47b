"""The folder that a run writes: one run at a time, what stands there from before, and what is cleared away."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError
from pipeline.outputs import clear_drafts
from pipeline.preprocess.job_files import PLAN_FOLDER
from pipeline.shards.run_json import RUN_FILE, RunRecord, read_run


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """One run a folder. The kernel holds the lock on the folder itself and drops it when the process ends, however it
    ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another run is writing {folder}; wait for it to end, or give another folder") from error
        yield
    finally:
        os.close(descriptor)


def standing_run(folder: Path, append: bool, overwrite: bool) -> RunRecord | None:
    """The run that stands in the folder and is to be continued; None for a new one. InputError for shards that no run.json
    lists, and for --append or --overwrite where they make no sense."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = (folder / RUN_FILE).exists()
        strangers = [] if found else sorted(path.name for path in folder.glob("shard-*.h5"))
    except OSError as error:
        raise _unusable(folder, error) from error
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


def _unusable(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder} cannot be used as the output folder: {error.strerror}; choose another")


def remove_run(folder: Path) -> None:
    """Removes what a run wrote, and nothing else. Where its run.json cannot be read, all files that are named like shards."""
    if (folder / RUN_FILE).exists():
        try:
            names = [shard_name(k) for k in range(len(read_run(folder).layout))]
        except InputError:
            names = [path.name for path in folder.glob("shard-*.h5")]
        (folder / RUN_FILE).unlink()
        for name in names:
            (folder / name).unlink(missing_ok=True)
    clear_leftovers(folder)


def clear_leftovers(folder: Path) -> None:
    """Removes what a killed run may have left: unfinished files and the workers' plan. Only under the folder's lock."""
    clear_drafts(folder, RUN_FILE, "shard-*.h5")
    shutil.rmtree(folder / PLAN_FOLDER, ignore_errors=True)


def shard_name(index: int) -> str:
    return f"shard-{index:05d}.h5"
