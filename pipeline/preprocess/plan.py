"""Instants -> shard list and run.json: what a run will write, decided before the first worker starts.

Three steps: what stands in the folder (a RunRecord or nothing), what is to be made (`lay_out`, which reads and writes no
file), and the writing of run.json and of the workers' files. The plan is a function of the source, the settings and the seed
alone; a run that is started again takes the layout from its own run.json, so that the same instants land in the same shards.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.body.keypoints import with_joint_regressor
from pipeline.body.model import BodyModel, load_body
from pipeline.errors import InputError
from pipeline.fit import Fitter
from pipeline.fit.fits_file import read_fits
from pipeline.fit.supplied import uses_supplied
from pipeline.misplaced import PICTURES, told_by_pictures
from pipeline.moments import Films
from pipeline.outputs import claim_folder
from pipeline.preprocess.description import describe, refuse_changes
from pipeline.preprocess.disk import check_disk
from pipeline.preprocess.folder import clear_leftovers, remove_run, shard_name, standing_run
from pipeline.preprocess.job_files import Context, Task, task_of, write_context, write_job
from pipeline.preprocess.settings import PreprocessSettings, Request
from pipeline.records import SPLITS, BodyFit, Instant, Reject
from pipeline.sdf import BACKEND, SIGN_RULE
from pipeline.shards.format import ShardHeader
from pipeline.shards.run_json import RUN_FILE, FilePrint, RunRecord, write_run
from pipeline.skeletons import FIELD_JOINTS
from pipeline.sources import open_source
from pipeline.sources.base import ReadReport
from pipeline.spread import spread_evenly
from pipeline.threads import one_thread
from pipeline.version import code_commit
from pipeline.witness import Witness


@dataclass(frozen=True)
class Materials:
    """What a request names, read: the source's instants, the body and the fits that are given, if any.

    report: what the source left out, and what looks wrong with it as a whole. inputs: annotation files. subjects: those that
    were read, None for all. films: some that the instants are of.
    """

    instants: tuple[Instant, ...]
    report: ReadReport
    inputs: dict[str, FilePrint]
    subjects: tuple[str, ...] | None
    recorded: bool
    body: BodyModel
    fits: dict[str, BodyFit] | None
    films: Films

    @cached_property
    def by_id(self) -> dict[str, Instant]:
        return {instant.id: instant for instant in self.instants}

    def given_fits(self, ids: Sequence[str]) -> list[BodyFit | Reject] | None:
        """The given fit of each instant; None where the run fits by itself."""
        if self.fits is None:
            return None
        missing = "the given fits have none for this instant"
        return [self.fits.get(i) or Reject(i, "fit", missing) for i in ids]


@dataclass(frozen=True)
class Plan:
    """What a run will make. record: run.json as it is before any shard is made. tasks: one a shard, in order. split_views:
    views by split. doubts: what looks wrong with the source as a whole."""

    folder: Path
    settings: PreprocessSettings
    record: RunRecord
    tasks: tuple[Task, ...]
    split_views: dict[str, int]
    doubts: tuple[str, ...] = ()

    @property
    def views(self) -> int:
        return sum(task.views for task in self.tasks)


@one_thread()
def make_plan(request: Request, witness: Witness | None = None) -> Plan:
    """Reads the source, decides the shards, writes the workers' files and run.json. witness: who looks whether people are where they
    should be. Raises InputError before long work."""
    standing = standing_run(request.out, request.append, request.overwrite)
    claim_folder(request.out, (RUN_FILE,), [request.root])
    materials = read_materials(request, standing)
    instants, report = materials.instants, materials.report
    looked_at = [instants[k] for k in spread_evenly(len(instants), PICTURES)]
    report.doubts.extend(told_by_pictures(request.root, looked_at, materials.films, witness, report.refutable))
    config = describe(request, materials.body)
    if standing is not None:
        refuse_changes(request.out, standing, config, materials.inputs, materials.subjects, request.append)
    plan = lay_out(request, config, materials, standing)
    done = sum(shard.bytes for shard in plan.record.shards)
    check_disk(request.out, request.settings, plan.views, done)
    write_plan(request, plan, materials)
    return plan


# --- what the request names ------------------------------------------------------------------------------------------


def read_materials(request: Request, standing: RunRecord | None) -> Materials:
    """Reads the source as a whole, the body, and the fits that the request gives."""
    subjects = subjects_to_read(request, standing)
    source = open_source(
        request.source, request.root, **request.options, **({"subjects": subjects} if subjects else {})
    )
    body = with_joint_regressor(load_body(request.body), request.joint_regressor)
    fits = read_fits(request.fits_from, body) if request.fits_from else None
    inputs = {name: FilePrint(**values) for name, values in source.fingerprint().items()}
    instants, report = source.read()
    films = Films()
    for instant in instants:
        films.add(instant, source.film_of(instant))
    return Materials(tuple(instants), report, inputs, subjects, source.recorded, body, fits, films)


def subjects_to_read(request: Request, standing: RunRecord | None) -> tuple[str, ...] | None:
    """Subjects to read: those asked for and, when appending, those already there. None for all."""
    if request.subjects is None or (request.append and standing and standing.subjects is None):
        return None
    there = (standing.subjects or ()) if standing and request.append else ()
    return tuple(sorted({*there, *request.subjects}))


# --- what is to be made ----------------------------------------------------------------------------------------------


def lay_out(request: Request, config: dict, materials: Materials, standing: RunRecord | None) -> Plan:
    """The plan of a new run, or of one that goes on. config: what `describe` says of the request."""
    layout = lay_out_ids(request, standing, materials.instants)
    if not layout:
        raise InputError(nothing_to_do(request, materials))
    shards = [[materials.by_id[i] for i in ids] for ids in layout]
    planned = [instant for instants in shards for instant in instants]
    supplied = [i for i in planned if materials.fits is None and uses_supplied(i, materials.body)]
    record = RunRecord(
        run_id=standing.run_id if standing else secrets.token_hex(8),
        state="running",
        source=request.source,
        root=str(request.root.resolve()),
        recorded=materials.recorded,
        code_commit=code_commit(),
        joint_set=FIELD_JOINTS.name,
        body_path=absolute(request.body),
        joint_regressor_path=absolute(request.joint_regressor),
        # a run that goes on keeps its own words for the same settings, so that its finished shards stay as they are
        config=standing.config if standing else config,
        inputs=materials.inputs,
        subjects=materials.subjects,
        betas=solve_betas(request, materials, planned, standing.betas if standing else {}),
        layout=layout,
        shards=standing.shards if standing else (),
        failed=(),
        supplied=sum(len(instant.views) for instant in supplied),
        rejects=tuple(materials.report.rejects),
    )
    tasks = tuple(task_of(request.out, shard_name(k), instants) for k, instants in enumerate(shards))
    doubts = (*materials.report.doubts, *late_instants(request, record, materials.instants))
    return Plan(request.out, request.settings, record, tasks, split_counts(planned), doubts)


def lay_out_ids(
    request: Request, standing: RunRecord | None, instants: Sequence[Instant]
) -> tuple[tuple[str, ...], ...]:
    """Ids of the instants of each shard.

    A run that continues keeps its shards; instants of subjects that it lacks follow in new ones. `limit` takes that
    many spread evenly over what is planned, so that every subject and action stays in.
    """
    old = standing.layout if standing else ()
    known = {i for ids in old for i in ids}
    lost = known - {instant.id for instant in instants}
    if lost:
        raise InputError(
            f"{request.out} holds {len(lost)} instants that {request.root} no longer has ({sorted(lost)[0]} is one); "
            "give a new folder, or --overwrite"
        )
    if standing is not None and not request.append:
        return old
    subjects = {instant.subject for instant in instants if instant.id in known}
    new = [i.id for i in instants if i.id not in known and (i.subject is None or i.subject not in subjects)]
    if request.limit is not None:
        count = min(request.limit, len(new))
        new = [new[k] for k in np.arange(count) * len(new) // max(1, count)]
    size = request.settings.shard_instants
    return (*old, *(tuple(new[k : k + size]) for k in range(0, len(new), size)))


def late_instants(request: Request, record: RunRecord, instants: Sequence[Instant]) -> list[str]:
    """A sentence about instants that are no part of a run that goes on, since it was laid out without them."""
    known = {i for ids in record.layout for i in ids}
    late = [instant.id for instant in instants if instant.id not in known]
    if not late or request.limit is not None or record.config.get("limit") is not None:
        return []
    return [
        f"{len(late)} instants ({late[0]} is one) could not be read when this run was begun, and are no part of it; a new folder or "
        "--overwrite takes them"
    ]


def nothing_to_do(request: Request, materials: Materials) -> str:
    """Why a source has no instant: the commonest reasons."""
    why = materials.report.commonest()
    return (
        f"{request.root} has no instant to preprocess as {request.source} ({why}). "
        f"`nvf-cli check-data {request.source} {request.root}` says what is there"
    )


def solve_betas(
    request: Request, materials: Materials, planned: Sequence[Instant], known: dict[str, tuple[float, ...]]
) -> dict[str, tuple[float, ...]]:
    """Betas of each subject of whom a body is fitted, from all of its instants in the source, as `nvf-cli fit` solves them, so that
    neither `limit` nor `append` changes them. A subject that the run already knows keeps its betas."""
    betas = dict(known)
    if materials.fits is not None:
        return betas
    fitter = Fitter(materials.body, request.settings.fit)
    fitted = {i.subject for i in planned if i.subject is not None and not uses_supplied(i, materials.body)}
    for subject in sorted(fitted - set(betas)):
        solved = fitter.solve_shapes([instant for instant in materials.instants if instant.subject == subject])
        betas |= {name: tuple(float(b) for b in values) for name, values in solved.items()}
    return betas


def split_counts(instants: Sequence[Instant]) -> dict[str, int]:
    """Views of each split."""
    return {split: sum(len(i.views) for i in instants if i.split == split) for split in SPLITS}


def absolute(path: Path | None) -> str | None:
    """Where a file is, for workers that run elsewhere."""
    return str(path.resolve()) if path else None


# --- what is written -------------------------------------------------------------------------------------------------


def write_plan(request: Request, plan: Plan, materials: Materials) -> None:
    """Writes the workers' files and run.json; with `overwrite` the old run is removed first."""
    if request.overwrite:
        remove_run(request.out)
    try:
        clear_leftovers(request.out)
        write_context(request.out, context_of(request, plan.record, materials.body))
        for task, ids in zip(plan.tasks, plan.record.layout, strict=True):
            write_job(task, [materials.by_id[i] for i in ids], materials.given_fits(ids))
    except OSError as error:
        raise InputError(
            f"cannot write in {request.out}: {error.strerror}; free space or choose another folder"
        ) from error
    write_run(request.out, plan.record)


def context_of(request: Request, record: RunRecord, body: BodyModel) -> Context:
    """What is the same for every shard of the run."""
    smpl = [Path(request.options[name]).resolve() for name in ("smpl", "regressor") if request.options.get("smpl")]
    return Context(
        root=Path(record.root),
        header=shard_header(record, request.settings, body),
        settings=request.settings,
        body=Path(record.body_path) if record.body_path else None,
        joint_regressor=Path(record.joint_regressor_path) if record.joint_regressor_path else None,
        joint_regressor_sha256=body.joint_regressor_sha256,
        betas=record.betas,
        smpl=tuple(smpl) or None,
    )


def shard_header(record: RunRecord, settings: PreprocessSettings, body: BodyModel) -> ShardHeader:
    """What every shard of a run says about itself."""
    return ShardHeader(
        run_id=record.run_id,
        config=record.config,
        code_commit=record.code_commit,
        source=record.source,
        body_model=body.name,
        body_sha256=body.sha256,
        sdf_backend=BACKEND,
        sdf_sign_rule=SIGN_RULE,
        offsets=settings.offsets,
        crop_px=settings.crop_px,
        size=settings.size,
        pool=settings.sampling.pool,
        voters=settings.sampling.voters,
    )
