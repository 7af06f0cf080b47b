"""run.json: the record of a run beside its shards. The one reader and the one writer of it."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.records import SYNTHETIC_MARK, Reject
from pipeline.shards.format import FORMAT, VERSION
from pipeline.typed_json import from_plain, to_plain

RUN_FILE = "run.json"
STATES = ("running", "complete", "failed")


@dataclass(frozen=True)
class FilePrint:
    """Size in bytes and sha256 (hex) of an annotation file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class ShardRecord:
    """What run.json says about a shard.

    name: of its file. bytes, sha256: of the file; content_hash: of what it says. fit_valid: views whose fit may be
    supervised. fit_error_mm, reprojection_px: means over the views that have one, else None. rejects: what was left out of
    it. joints_unseen: joints that no evidence constrained, over all views; ambiguous: views whose fit could as well be another
    body; both 0 in runs that did not count them.
    """

    name: str
    views: int
    instants: int
    bytes: int
    sha256: str
    content_hash: str
    fit_valid: int
    fit_error_mm: float | None
    reprojection_px: float | None
    rejects: tuple[Reject, ...]
    joints_unseen: int = 0
    ambiguous: int = 0


@dataclass(frozen=True)
class FailedShard:
    """A shard that could not be made, and why."""

    name: str
    error: str


@dataclass(frozen=True)
class RunRecord:
    """A run of preprocess, whole or as far as it came.

    state: one of STATES. source, root: the dataset and its folder. recorded: the dataset was recorded, so that its counts are
    known, and not made by `nvf-cli synthesize`. code_commit: of the program that began or last went on with it. body_path,
    joint_regressor_path: files of the user's, None for the built-in ones. config: all that decides the content but the
    annotations (`pipeline.preprocess.description`). inputs: annotation files by name. subjects: those asked for, None for
    all. betas: (10,) of each subject whose shape the fits share. layout: ids of the instants of each shard. shards: those
    that are done. supplied: planned views that take the dataset's own fit. rejects: what the source left out. views and
    content_hash: of all shards together; 0 and "" until the run ends.
    """

    run_id: str
    state: str
    source: str
    root: str
    recorded: bool
    code_commit: str
    joint_set: str
    body_path: str | None
    joint_regressor_path: str | None
    config: dict
    inputs: dict[str, FilePrint]
    subjects: tuple[str, ...] | None
    betas: dict[str, tuple[float, ...]]
    layout: tuple[tuple[str, ...], ...]
    shards: tuple[ShardRecord, ...]
    failed: tuple[FailedShard, ...]
    supplied: int
    rejects: tuple[Reject, ...]
    views: int = 0
    content_hash: str = ""

    @property
    def all_rejects(self) -> tuple[Reject, ...]:
        """The source's rejects and those of the shards."""
        return (*self.rejects, *(reject for shard in self.shards for reject in shard.rejects))

    @property
    def unfinished(self) -> str:
        """What is not there of what was planned, in a sentence; empty of a run that came to its end."""
        if self.state == "complete":
            return ""
        planned, missing = len(self.layout), len(self.layout) - len(self.shards)
        ended = "failed" if self.state == "failed" else "has not ended"
        lacks = f"{missing} of {planned} shards {'is' if missing == 1 else 'are'} missing"
        return f"its preprocess run {ended} (state '{self.state}'): {lacks}. Run preprocess again to finish it"


def joined_hash(shards: Sequence[ShardRecord]) -> str:
    """One hash over the content of some shards, in order."""
    return hashlib.sha256("".join(shard.content_hash for shard in shards).encode()).hexdigest()


def read_run(folder: Path) -> RunRecord:
    """The record of a folder of shards. InputError when there is none, when it is damaged or of another version, and for a
    key that is missing, not known or of a wrong type."""
    path = Path(folder) / RUN_FILE
    try:
        values = json.loads(path.read_text(), parse_constant=_no_number)
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no {RUN_FILE}; give the OUT folder of `nvf-cli preprocess`") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); run preprocess again with --overwrite") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InputError(f"{path} is not the record of a preprocess run; give the OUT folder of `nvf-cli preprocess`")
    if values.get("version") != VERSION:
        raise InputError(f"{path} is of format version {values.get('version')}; this program reads version {VERSION}")
    try:
        record = from_plain(RunRecord, _as_written_now(values), str(path))
        if record.state not in STATES:
            raise InputError(f"{path}: state is {record.state!r}, none of {', '.join(STATES)}")
    except InputError as error:
        raise InputError(
            f"{error}. It is damaged, or of another version of this program (here is format version {VERSION}): restore it, use "
            "the program that wrote it, or run preprocess again with --overwrite"
        ) from error
    for shard in record.shards:
        safe_name(shard.name, folder)
    return record


def _as_written_now(values: dict) -> dict:
    """The keys of a record. One from before `recorded` was kept has the mark of a capture among its annotations, or not."""
    kept = {key: value for key, value in values.items() if key not in ("format", "version")}
    if "recorded" not in kept and isinstance(kept.get("inputs"), dict):
        kept["recorded"] = SYNTHETIC_MARK not in kept["inputs"]
    return kept


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def write_run(folder: Path, record: RunRecord) -> None:
    """Replaces run.json at once. InputError when the folder cannot be written."""
    partial = folder / f"{RUN_FILE}.tmp"
    values = {"format": FORMAT, "version": VERSION} | to_plain(record, rows=(Reject, FailedShard))
    try:
        with open(partial, "w") as file:
            json.dump(values, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder / RUN_FILE)
    except OSError as error:
        raise InputError(
            f"cannot write {folder / RUN_FILE}: {error.strerror}; free space or choose another folder"
        ) from error


def safe_name(name: str, folder: Path) -> str:
    """The name of a file in `folder` itself; a run.json that points elsewhere is refused."""
    if Path(name).name != name or name in ("", ".", ".."):
        raise InputError(f"{folder / RUN_FILE} names a shard {name!r}, which is no file of its own folder")
    return name
