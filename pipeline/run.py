"""The Dask graph: one task a shard, or some pictures of a capture, over local processes, a cluster that runs, or SLURM; or all in this
process.

Request -> plan -> tasks -> make_shard on the workers -> run.json
"""

import functools
import importlib.util
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import dask
from distributed import Client, LocalCluster, as_completed

from pipeline.errors import InputError
from pipeline.memory import KEEP_FREED
from pipeline.outputs import run_lock
from pipeline.preprocess.folder import clear_leftovers
from pipeline.preprocess.job_files import Outcome, Task
from pipeline.preprocess.plan import Plan, make_plan
from pipeline.preprocess.progress import RunProgress
from pipeline.preprocess.settings import Request
from pipeline.preprocess.shard import make_shard
from pipeline.shards.run_json import FailedShard, RunRecord, ShardRecord, joined_hash, write_run
from pipeline.threads import ONE_THREAD
from pipeline.witness import Witness

# A task is given up when it failed this often, by an error or by the death of its worker.
ATTEMPTS = 3
# A worker needs 0.5 GB for the libraries, the free body and one shard; above this Dask restarts it.
WORKER_MEMORY = "4 GiB"
CONNECT_S = 20.0
DASK_SETTINGS = {
    "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
    "distributed.scheduler.worker-saturation": 1.0,  # a dying worker takes one shard with it, not its queue
    # the nanny brings a dead worker back; on a busy machine that can take longer than the 15 s after which the
    # cluster forgets it
    "distributed.deploy.lost-worker-timeout": "1h",
    # in place of Dask's MALLOC_TRIM_THRESHOLD_, which gives every array's memory back at once: a quarter more CPU a view
    "distributed.nanny.pre-spawn-environ": {**ONE_THREAD, **KEEP_FREED},
    "distributed.worker.daemon": True,
    "distributed.comm.timeouts.connect": "60s",
}


class Named(Protocol):
    """A task: what a worker is handed, with a name of its own."""

    @property
    def name(self) -> str: ...


Work = TypeVar("Work", bound=Named)
Record = TypeVar("Record")


@dataclass(frozen=True)
class Workers:
    """Where shards are made. count: local processes, or SLURM jobs; 0 for this process. scheduler: address of a running
    cluster, "slurm" to submit jobs, None for local processes."""

    count: int
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError(
                f"--workers is {self.count}; give 0 to work in this process, or how many processes to start"
            )


def preprocess(request: Request, workers: Workers, progress: RunProgress, witness: Witness | None = None) -> RunRecord:
    """Plans, makes every shard and returns the final record of the run. `progress` is told of the plan and of every outcome
    (`pipeline.preprocess.progress`). witness: who looks beforehand whether people are where they should be. Raises InputError when
    the run is refused or cannot go on; finished shards stay."""
    with run_lock(request.out):
        plan = make_plan(request, witness)
        progress.start(plan)
        outcomes = [progress.add(outcome) for outcome in make_shards(plan.tasks, workers, progress.note)]
        return finish(plan, outcomes)


def make_shards(
    tasks: Sequence[Task], workers: Workers, note: Callable[[str], None]
) -> Iterator[Outcome[Task, ShardRecord]]:
    """Outcomes in the order in which shards get done. Raises InputError at the first that is fatal."""
    return make_all(make_shard, tasks, workers, note)


def make_all(
    make: Callable[[Work], Record], tasks: Sequence[Work], workers: Workers, note: Callable[[str], None]
) -> Iterator[Outcome[Work, Record]]:
    """Outcomes of `make` in the order in which tasks get done. make: a function of a module, for workers get its name alone. Raises
    InputError at the first outcome that is fatal."""
    everywhere = in_process if workers.count == 0 and workers.scheduler is None else on_cluster
    for outcome in everywhere(make, tasks, workers, note):
        if outcome.fatal:
            raise InputError(outcome.error)
        yield outcome


def attempt(make: Callable[[Work], Record], task: Work) -> Outcome[Work, Record]:
    """One try, as a worker runs it. What the user can mend comes back as a fatal outcome, anything else is raised."""
    try:
        return Outcome(task, make(task))
    except InputError as error:
        return Outcome(task, error=str(error), fatal=True)


def in_process(
    make: Callable[[Work], Record], tasks: Sequence[Work], _workers: Workers, _note: Callable[[str], None]
) -> Iterator[Outcome[Work, Record]]:
    """The same function without Dask, for debugging and for one core."""
    for task in tasks:
        for left in reversed(range(ATTEMPTS)):
            try:
                yield attempt(make, task)
                break
            except Exception as error:  # as on a worker: whatever it is, other tasks go on
                if not left:
                    yield failure(task, error)


def failure(task: Work, error: BaseException) -> Outcome[Work, Any]:
    return Outcome(task, error=f"{task.name} failed {ATTEMPTS} times: {type(error).__name__}: {error}")


# --- Dask ------------------------------------------------------------------------------------------------------------


def on_cluster(
    make: Callable[[Work], Record], tasks: Sequence[Work], workers: Workers, note: Callable[[str], None]
) -> Iterator[Outcome[Work, Record]]:
    """One future a task; the graph carries file names, results are summaries."""
    with dask.config.set(DASK_SETTINGS), cluster_of(workers) as cluster, Client(cluster) as client:
        link = client.dashboard_link if importlib.util.find_spec("bokeh") else "needs bokeh (pip install bokeh)"
        note(f"workers: {len(client.nthreads())} at {client.scheduler.address}, dashboard: {link}")
        run = secrets.token_hex(4)  # names no other run uses on a shared cluster
        keys = [f"{Path(task.name).stem}-{run}" for task in tasks]
        futures = client.map(functools.partial(attempt, make), tasks, key=keys, retries=ATTEMPTS - 1)
        by_key = {future.key: task for future, task in zip(futures, tasks, strict=True)}
        done = as_completed(futures)
        del futures
        for future in done:
            if future.status == "finished":
                yield replace(future.result(), task=by_key[future.key])
            else:
                yield failure(by_key[future.key], future.exception())
            future.release()


@contextmanager
def cluster_of(workers: Workers) -> Iterator[LocalCluster | str]:
    """What a Client connects to. InputError when it cannot be reached or its workers have several threads."""
    if workers.scheduler is None:
        with LocalCluster(
            n_workers=workers.count,
            threads_per_worker=1,
            memory_limit=WORKER_MEMORY,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster:
            yield cluster
    elif workers.scheduler == "slurm":
        with slurm_cluster() as cluster:
            cluster.scale(jobs=max(1, workers.count))
            yield cluster
    else:
        check_cluster(workers.scheduler)
        yield workers.scheduler


def check_cluster(address: str) -> None:
    """Raises InputError where no scheduler answers at the address, or where a worker has several threads."""
    try:
        with Client(address, timeout=CONNECT_S) as client:
            threads = client.nthreads()
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler`"
        ) from error
    several = {worker: n for worker, n in threads.items() if n > 1}
    if several:
        raise InputError(
            f"worker {next(iter(several))} has {next(iter(several.values()))} threads; start workers with "
            "`dask worker --nthreads 1 --nworkers CORES`, one shard each"
        )


def slurm_cluster() -> Any:
    """Jobs as ~/.config/dask/jobqueue.yaml describes them (docs/cluster.md has one)."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise InputError(
            "--scheduler slurm needs dask-jobqueue: pip install 'neural-voting-field-body[slurm]'"
        ) from error
    return SLURMCluster(job_script_prologue=[f"export {name}={value}" for name, value in ONE_THREAD.items()])


def finish(plan: Plan, outcomes: list[Outcome[Task, ShardRecord]]) -> RunRecord:
    """Writes the final run.json: finished shards in the plan's order, failures, and the hash of all content."""
    shards = sorted((outcome.record for outcome in outcomes if outcome.record), key=lambda record: record.name)
    failed = sorted((outcome.task.name, outcome.error) for outcome in outcomes if not outcome.record)
    run = replace(
        plan.record,
        state="failed" if failed else "complete",
        shards=tuple(shards),
        failed=tuple(FailedShard(*pair) for pair in failed),
        views=sum(record.views for record in shards),
        content_hash=joined_hash(shards),
    )
    write_run(plan.folder, run)
    clear_leftovers(plan.folder)
    return run
