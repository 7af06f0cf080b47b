"""Instants -> shard list and run.json: what a run will write, decided before the first worker starts.

The plan is a function of the source, the settings and the seed alone. A run that is started again takes the layout
from its own run.json, so that the same instants land in the same shards.
"""

import json
import secrets
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline.body.keypoints import with_joint_regressor
from pipeline.body.model import BodyModel, load_body
from pipeline.errors import InputError
from pipeline.fit import Fitter, fits_file
from pipeline.fit.fits_file import read_fits
from pipeline.fit.supplied import uses_supplied
from pipeline.preprocess.job_files import PLAN_FOLDER, Task, write_job
from pipeline.preprocess.settings import PreprocessSettings, Request
from pipeline.records import SPLITS, BodyFit, Instant, Reject
from pipeline.sdf import BACKEND, SIGN_RULE
from pipeline.shards.format import FORMAT, OFFSETS, VERSION, J, ShardHeader
from pipeline.shards.run_json import (
    clear_leftovers,
    plain,
    previous_run,
    refuse_changes,
    remove_run,
    shard_name,
    write_run,
)
from pipeline.skeletons import FIELD_JOINTS
from pipeline.sources import open_source
from pipeline.sources.base import ReadReport, file_print
from pipeline.threads import one_thread
from pipeline.version import code_commit

# Left free on the disk beside the shards.
SPARE_BYTES = 1 << 30
# Stored over raw bytes with gzip 1, measured by benchmarks/storage.py; JPEG bytes a pixel at quality 90.
PACKED, JPEG_BYTES_A_PIXEL = 0.85, 0.45


@dataclass(frozen=True)
class Plan:
    """run: the content of run.json before any shard is finished. tasks: one a shard, in order. split_views: views by
    split."""

    folder: Path
    settings: PreprocessSettings
    run: dict
    tasks: list[Task]
    split_views: dict[str, int]

    @property
    def views(self) -> int:
        return sum(task.views for task in self.tasks)


@one_thread()
def make_plan(request: Request) -> Plan:
    """Reads the source, decides the shards, writes the workers' files and run.json. Raises InputError before long
    work."""
    previous = previous_run(request.out, request.append, request.overwrite)
    source = open_source(request.source, request.root, **_source_options(request, previous))
    body = with_joint_regressor(load_body(request.body), request.joint_regressor)
    fits = read_fits(request.fits_from, body) if request.fits_from else None
    plan = {
        "config": describe(request, body),
        "inputs": source.fingerprint(),
        "subjects": _subjects(request, previous),
    }
    if previous is not None:
        refuse_changes(request.out, previous, plan, request.append)
    everything, report = source.read()
    layout = lay_out(request, previous, everything)
    if not layout:
        raise InputError(_nothing(request, report))
    by_id = {instant.id: instant for instant in everything}
    _check_disk(request, sum(len(by_id[i].views) for ids in layout for i in ids), previous)
    run = plan | {
        "format": FORMAT,
        "version": VERSION,
        "run_id": previous["run_id"] if previous else secrets.token_hex(8),
        "state": "running",
        "source": request.source,
        "root": str(request.root.resolve()),
        "code_commit": code_commit(),
        "joint_set": FIELD_JOINTS.name,
        "body_path": _absolute(request.body),
        "joint_regressor_path": _absolute(request.joint_regressor),
        "betas": _solve_betas(request, previous, body, everything, layout, by_id),
        "layout": layout,
        "shards": previous["shards"] if previous else [],
        "failed": [],
        "supplied": 0
        if fits
        else sum(len(by_id[i].views) for ids in layout for i in ids if uses_supplied(by_id[i], body)),
        "rejects": [[r.key, r.stage, r.reason] for r in report.rejects],
    }
    if request.overwrite:
        remove_run(request.out)
    tasks = _write_jobs(request, run, layout, by_id, fits)
    write_run(request.out, run)
    return Plan(request.out, request.settings, run, tasks, split_counts([by_id[i] for ids in layout for i in ids]))


def describe(request: Request, body: BodyModel) -> dict:
    """Everything that decides the content but the annotations themselves: what must be equal to continue a run."""
    settings = request.settings
    return {
        "source": request.source,
        "options": {k: v for k, v in sorted(request.options.items()) if v},
        "limit": request.limit,
        "body": {"name": body.name, "sha256": body.sha256},
        "joint_set": FIELD_JOINTS.name,
        "joint_regressor": body.joint_regressor_sha256,
        "crop": {"crop_px": settings.crop_px, "size": settings.size, "jpeg_quality": settings.jpeg_quality},
        "fit": plain(asdict(settings.fit)),
        "sampling": plain(asdict(settings.sampling)),
        "fits_from": fits_print(request.fits_from),
        "seed": settings.seed,
        "shard_instants": settings.shard_instants,
        "offsets": settings.offsets,
        "sdf": {"backend": BACKEND, "sign_rule": SIGN_RULE},
    }


def lay_out(request: Request, previous: dict | None, instants: Sequence[Instant]) -> list[list[str]]:
    """Ids of the instants of each shard.

    A run that continues keeps its shards; instants of subjects that it lacks follow in new ones. `limit` takes that
    many spread evenly over what is planned, so that every subject and action stays in.
    """
    if previous is not None and not request.append:
        return previous["layout"]
    old = previous["layout"] if previous else []
    known = {i for ids in old for i in ids}
    lost = known - {instant.id for instant in instants}
    subjects = {instant.subject for instant in instants if instant.id in known}
    if lost:
        raise InputError(
            f"{request.out} holds {len(lost)} instants that {request.root} no longer has ({sorted(lost)[0]} is one); "
            "give a new folder, or --overwrite"
        )
    new = [i.id for i in instants if i.id not in known and (i.subject is None or i.subject not in subjects)]
    if request.limit is not None:
        count = min(request.limit, len(new))
        new = [new[k] for k in np.arange(count) * len(new) // max(1, count)]
    size = request.settings.shard_instants
    return old + [new[k : k + size] for k in range(0, len(new), size)]


def _source_options(request: Request, previous: dict | None) -> dict:
    subjects = _subjects(request, previous)
    return request.options | ({"subjects": tuple(subjects)} if subjects else {})


def _subjects(request: Request, previous: dict | None) -> list[str] | None:
    """Subjects to read: those asked for and, when appending, those already there. None for all."""
    if request.subjects is None or (request.append and previous and previous["subjects"] is None):
        return None
    old = previous["subjects"] if previous and request.append else []
    return sorted({*old, *request.subjects})


def _nothing(request: Request, report: ReadReport) -> str:
    reasons = Counter(reject.reason.rsplit(": ", 1)[-1] for reject in report.rejects) + report.skipped
    listed = "; ".join(f"{count} times: {reason}" for reason, count in reasons.most_common(3))
    why = listed or "its annotations are empty"
    return (
        f"{request.root} has no instant to preprocess as {request.source} ({why}). "
        f"`nvf-cli check-data {request.source} {request.root}` says what is there"
    )


def _write_jobs(request: Request, run: dict, layout: list[list[str]], by_id: dict[str, Instant], fits) -> list[Task]:
    try:
        clear_leftovers(request.out)
        (request.out / PLAN_FOLDER).mkdir()
        context = {
            "root": run["root"],
            "body": run["body_path"],
            "joint_regressor": run["joint_regressor_path"],
            "header": asdict(shard_header(run)),
            "settings": asdict(request.settings),
            "betas": run["betas"],
            "smpl": _smpl_files(request.options),
        }
        (request.out / PLAN_FOLDER / "context.json").write_text(json.dumps(context, default=str))
        return [
            write_job(request.out, shard_name(k), [by_id[i] for i in ids], fits and [given_fit(fits, i) for i in ids])
            for k, ids in enumerate(layout)
        ]
    except OSError as error:
        raise InputError(
            f"cannot write in {request.out}: {error.strerror}; free space or choose another folder"
        ) from error


def _absolute(path: Path | None) -> str | None:
    """Where a file is, for workers that run elsewhere."""
    return str(path.resolve()) if path else None


def _smpl_files(options: dict) -> list[str] | None:
    """Folder of the user's SMPL files and the regressor."""
    return [_absolute(Path(options[name])) for name in ("smpl", "regressor")] if options.get("smpl") else None


def given_fit(fits: dict[str, BodyFit], instant_id: str) -> BodyFit | Reject:
    return fits.get(instant_id) or Reject(instant_id, "fit", "the given fits have none for this instant")


def fits_print(path: Path | None) -> dict | None:
    """Size and sha256 of the file of fits that a run takes in place of its own."""
    return file_print(path / fits_file.NAME if path.is_dir() else path) if path else None


def shard_header(run: dict) -> ShardHeader:
    """What every shard of a run says about itself."""
    config, sampling = run["config"], run["config"]["sampling"]
    return ShardHeader(
        run_id=run["run_id"],
        config=config,
        code_commit=run["code_commit"],
        source=run["source"],
        body_model=config["body"]["name"],
        body_sha256=config["body"]["sha256"],
        sdf_backend=config["sdf"]["backend"],
        sdf_sign_rule=config["sdf"]["sign_rule"],
        offsets=config["offsets"],
        crop_px=config["crop"]["crop_px"],
        size=config["crop"]["size"],
        pool=sampling["pool"],
        voters=sampling["voters"],
    )


# --- shapes and bytes ------------------------------------------------------------------------------------------------


def _solve_betas(request, previous, body, everything, layout, by_id) -> dict[str, list[float]]:
    """Betas of each subject of the plan, from all of its instants in the source, so that neither `limit` nor `append`
    changes them. A subject that the run already knows keeps its betas."""
    betas = dict(previous["betas"]) if previous else {}
    if request.fits_from is not None:
        return betas
    subjects = sorted({by_id[i].subject for ids in layout for i in ids} - {None} - set(betas))
    fitter = Fitter(body, request.settings.fit)
    for subject in subjects:
        own = [instant for instant in everything if instant.subject == subject and not uses_supplied(instant, body)]
        solved = fitter.solve_shapes(own)
        betas |= {name: [float(b) for b in values] for name, values in solved.items()}
    return betas


def bytes_a_view(settings: PreprocessSettings, offsets: str) -> int:
    """What a view takes on disk, about."""
    pool, voters = settings.sampling.pool, settings.sampling.voters
    raw = 8 * pool + 2 * J * voters + {"voters": 6 * J * voters, "dense": 6 * J * pool, "derive": 0}[offsets]
    return round(PACKED * raw + JPEG_BYTES_A_PIXEL * settings.size**2 + 3000)


def expected_bytes(settings: PreprocessSettings, views: int) -> dict[str, int]:
    """Bytes of the whole run for each way to keep offsets."""
    return {offsets: views * bytes_a_view(settings, offsets) for offsets in OFFSETS}


def _check_disk(request: Request, views: int, previous: dict | None) -> None:
    needed = expected_bytes(request.settings, views)
    there = sum(record["bytes"] for record in previous["shards"]) if previous else 0
    free = shutil.disk_usage(request.out).free
    missing = needed[request.settings.offsets] - there + SPARE_BYTES - free
    if missing > 0:
        choices = ", ".join(f"{name} {size / 1e9:.1f} GB" for name, size in needed.items())
        raise InputError(
            f"{request.out} has {free / 1e9:.1f} GB free; {views} views need about {choices} by --offsets (and 1 GB to "
            f"spare). Free {missing / 1e9:.1f} GB, choose another disk, or keep less"
        )


def split_counts(instants: Sequence[Instant]) -> dict[str, int]:
    """Views of each split."""
    return {split: sum(len(i.views) for i in instants if i.split == split) for split in SPLITS}
