"""Training: the run is settled once, then a loop of steps. The same on one processor, one GPU or many (`torchrun`)."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from model.data.loading import refuse_small_pools
from model.data.views import Views, need_views, read_views
from model.decode_choice import choice_line, settle_decode
from model.device import (
    Ranks,
    as_the_first_has_it,
    choose_device,
    join_ranks,
    leave_ranks,
    wait_for_all,
    without_denormals,
)
from model.evaluate import predict_views
from model.networks.build import build_network, kept_of, make_encoder
from model.networks.encoders.encoder import Encoder
from model.networks.network import Network, PoseNetwork
from model.scoring import figures
from model.scoring.evaluation import ground_truth, report_of
from model.scoring.shown import shown_views
from model.training.calibrate import calibrate
from model.training.checkpoint import Checkpoint
from model.training.config import Config
from model.training.job import Job
from model.training.logbook import HISTORY, TOWARDS_START, Logbook, StepMeans
from model.training.optimise import learning_rate
from model.training.runs import (
    BEST,
    LAST,
    MEND,
    Run,
    data_record,
    known_mean_pose,
    mean_pose_of,
    not_taken,
    open_run,
    recorded_config,
    refuse_other_data,
    restore,
    save,
    save_weights,
    settled_config,
    start_run,
    training_statistics,
)
from model.training.step import losses_module, take_step
from model.training.towards_start import SHARES, brought_back, start_weights
from model.training.transfer import Start, take_weights
from pipeline.errors import InputError, naming_damage
from pipeline.outputs import clear_drafts, run_lock
from pipeline.spread import spread_evenly
from pipeline.version import code_commit

# Validation views in the picture that TensorBoard keeps.
PICTURES = 8
# More steps than any run takes: one by the clock does not know how many.
ENDLESS = 1 << 40


def train(
    shards: Path,
    folder: Path,
    config: Config | None,
    also: Sequence[tuple[Path, float]] = (),
    resume: bool = False,
    device: str | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    start: Start | None = None,
) -> dict | None:
    """Train on the shards' training split and leave checkpoints, curves and the record in the run folder.

    config: None with `resume` takes the run's own. also: further shard folders and their weights (the first folder's
    is 1). steps, minutes: how long the whole run is, in place of what the configuration says. start: weights to start from. Returns
    the record of the last checkpoint, None in a process of torchrun that does not lead. Raises InputError for shards without
    training views or labels, another run's folder or one that is being written, a missing device, or a loss that is not a number.
    """
    ranks, where = join_ranks(choose_device(device))
    with without_denormals(), run_lock(folder) if ranks.leads else nullcontext():
        checkpoint = open_run(folder, resume)
        wait_for_all(ranks)  # before one of them writes into the folder
        if ranks.leads:
            clear_drafts(folder, HISTORY, *(f"{Path(weights).stem}.*" for weights in (LAST, BEST)))
        asked, config = config, settled_config(config, checkpoint, folder, steps, minutes)
        torch.manual_seed(config.train.seed)
        # one that cannot be made is refused before data is read
        encoder = encoder_of(config, checkpoint, start, folder)
        job = make_job([(Path(shards), 1.0), *also], config, folder, where, ranks)
        run, notes = begin(job, checkpoint, start, encoder)
        with Logbook(folder, job.length(run.network), run.step) if ranks.leads else nullcontext() as log:
            if log:
                kept_own = not_taken(asked, config) if checkpoint else []
                log.note([*kept_own, *job.views.remarks(config.network.crop_px), *notes])
                if run.record["finished"]:
                    log.note([f"{folder} was finished. --resume with more --steps or --minutes goes on."])
            loop(run, job, log)
        leave_ranks(ranks)
    return run.record if ranks.leads else None


def make_job(
    shards: Sequence[tuple[Path, float]], config: Config, folder: Path, where: torch.device, ranks: Ranks
) -> Job:
    """What the run learns from, read. shards: folders and their weights. Raises InputError as `train` does."""
    if config.train.batch_size % ranks.world:
        raise InputError(
            f"train.batch_size {config.train.batch_size} cannot be shared evenly by {ranks.world} processes."
        )
    paths, weights = [path for path, _ in shards], [weight for _, weight in shards]
    splits = read_views(paths)
    views = need_views(splits, "train", paths).labelled(config.train.ground_truth)
    refuse_small_pools(views, config.draw)
    validation = known_truth(splits.get("validation"), config.train.ground_truth)
    return Job(config, views, weights, validation, folder, where, ranks)


def encoder_of(config: Config, checkpoint: Checkpoint | None, start: Start | None, folder: Path) -> Encoder | None:
    """The encoder of a run's network, made of what the checkpoint in `folder` or a start kept, where there is one."""
    kept = checkpoint.record["encoder"] if checkpoint else start.kept(config) if start else None
    if kept is None:
        return make_encoder(config.network)
    with naming_damage(start.path if start and not checkpoint else folder / LAST, MEND):
        return make_encoder(config.network, kept)


def begin(
    job: Job, checkpoint: Checkpoint | None, start: Start | None, encoder: Encoder | None
) -> tuple[Run, list[str]]:
    """The run before its next step, and what there is to say of it. A new one is saved, so that the folder is known to hold it."""
    data = data_record(job.views, job.weights)
    if checkpoint:
        refuse_other_data(job.folder, checkpoint.record["data"], data)
    statistics = training_statistics(job.views, job.config)
    network = build_network(job.config.network, statistics, encoder)
    taken = take_weights(network, start) if start else None
    run = start_run(network.to(job.device), job.config)
    run.start = start_weights(network, taken.taken) if taken else {}
    run.record = {
        "config": job.config.to_dict(),
        "encoder": kept_of(network),
        "data": data,
        "validation_truth": job.validation and job.validation.truth,
        "started_from": taken and taken.record(),
        "mean_pose": known_mean_pose(statistics, network).tolist(),
        "commit": code_commit(),
        "device": str(job.device),
        "processes": job.ranks.world,
        "parameters": sum(p.numel() for p in network.parameters()),
        "best": None,
        "finished": False,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    if checkpoint:
        restore(run, checkpoint, job.folder / LAST)
        run.record["finished"] = bool(run.record["finished"]) and job.config == recorded_config(
            checkpoint, job.folder / LAST
        )
    elif job.ranks.leads:
        save(run, job.folder / LAST)
    return run, taken.lines() if taken else []


def loop(run: Run, job: Job, log: Logbook | None) -> None:
    """From run.step to the last step. Reads top to bottom: fetch, step, log, evaluate, save. log: None where another process leads."""
    settings, length = job.config.train, job.length(run.network)
    batches = job.batches(range(run.step, ENDLESS if length.by_clock else length.steps))
    compute = losses_module(run.network, settings.compile, job.ranks)
    usual = run.seconds / max(1, run.step)  # seconds of a step: one killed after its last one has ended
    means, ended = StepMeans(), run.record["finished"] or length.ended(run.step, run.seconds, usual)
    while not ended:
        started, before = time.perf_counter(), run.seconds
        batch = next(batches)
        waited = time.perf_counter() - started
        part = length.part(run.step, before)
        parts = take_step(run, compute, batch.to(job.device), job, part)
        seconds = time.perf_counter() - started
        run.seconds += as_the_first_has_it(seconds, job.device) if length.by_clock else seconds
        means.add(parts, waited, seconds)
        ended = length.ended(run.step, run.seconds, run.seconds - before)

        if log and (run.step % settings.log_every == 0 or ended):
            rate = learning_rate(settings, run.step - 1, part)
            log.training(run.step, run.seconds, means.values() | {"learning_rate": rate})
            means = StepMeans()
        looks = length.look_due(settings.evaluations, run.step, before, run.seconds, ended)
        if log and job.validation is not None and looks:
            evaluate_now(run, run.average.network, job, log)
        if log and (run.step % settings.save_every == 0 or ended):
            save(run, job.folder / LAST)
    if log:
        finish(run, job, log)


def finish(run: Run, job: Job, log: Logbook) -> None:
    """What is left to do after the last step: of a network that has none, the only look; what a record says of a whole run."""
    length = job.length(run.network)
    if length.steps == 0 and job.validation is not None:
        evaluate_now(run, run.average.network, job, log)
    if run.start and job.validation is not None:
        log.forget(TOWARDS_START, run.step)  # killed on the way, or finished before
        for share in SHARES:
            evaluate_now(run, brought_back(run.average.network, run.start, share), job, log, share)
            save(run, job.folder / LAST)  # one that goes on longer must know what the best is
    run.record["finished"] = True
    if length.by_clock:  # how many it became
        run.record["config"]["train"]["steps"] = run.step
    if run.record["best"] is None:  # nothing to choose by: the last one it is
        save_weights(run, run.average.network, job.folder / BEST)
    save(run, job.folder / LAST)
    if isinstance(run.average.network, PoseNetwork):
        index = looked_at(job.validation, job.config.train.evaluate_views)
        run.record["body"] = settle_decode(job.folder, job.folder / BEST, job.views, job.validation, index, job.device)
        save(run, job.folder / LAST)
        log.note([choice_line(run.record["body"])])


def evaluate_now(run: Run, network: Network, job: Job, log: Logbook, start_share: float = 0.0) -> None:
    """A look at validation, evenly spread over its views; the best so far is kept. network: the run's average, or a copy of it
    whose weights are `start_share` of those that the run started from."""
    validation, settings = job.validation, job.config.train
    assert validation is not None
    index = looked_at(validation, settings.evaluate_views)
    predicted = predict_views(network, validation, index, job.device, bf16=settings.bf16)
    found = report_of(predicted, validation, mean_pose_of(run.record, network))
    errors = {name: row["mpjpe_mm"] for name, row in found["per_joint"].items()}
    best = run.record["best"] is None or found["mpjpe_mm"] < run.record["best"]["mpjpe_mm"]
    values = {
        name: found[name] for name in ("mpjpe_mm", "pa_mpjpe_mm", "n_views", "facing_flips", "distal_ratio", "seconds")
    }
    values = {name: value for name, value in values.items() if value is not None}
    values |= {"mpjpe_gt_scale_mm": found["scale"]["gt"]["mpjpe_mm"], "ground_truth": validation.truth}
    values |= {"start_share": start_share} if start_share else {}
    if best:
        run.record["best"] = {
            "step": run.step,
            **values,
            "mean_pose_mpjpe_mm": found["mean_pose"]["mpjpe_mm"],
            "joints_mm": errors,
        }
        if isinstance(network, PoseNetwork):
            run.record["best"]["certainty"] = calibrate(network, validation, index, job.device, settings.bf16)
        save_weights(run, network, job.folder / BEST)
    log.validation(run.step, run.seconds, values, best, errors, found.get("effective_votes", {}))
    if start_share:  # the pictures and curves are of the weights as they were trained
        return
    rows = spread_evenly(len(index), PICTURES)
    shown = shown_views(predicted.joints[rows], predicted.root[rows], index[rows], validation, network.config.crop_px)
    picture = figures.prediction_grid(shown, validation.joint_set, side=160)
    log.picture("validation", picture, run.step)


def known_truth(views: Views | None, wanted: str) -> Views | None:
    """A split labelled as wanted, or with its fits where the dataset measured no whole body; None where there is none.
    Raises InputError when there is nothing to compare with."""
    if views is None or (wanted == "dataset" and len(scorable(views))):
        return views
    return views.labelled("fit")


def scorable(views: Views) -> np.ndarray:
    """(n,) indices of the views whose every joint is known."""
    return np.flatnonzero(ground_truth(views, np.arange(len(views)))[1].all(1))


def looked_at(views: Views | None, count: int) -> np.ndarray:
    """(n,) indices of at most `count` views that can be scored, spread evenly; none of no views."""
    usable = np.zeros(0, int) if views is None else scorable(views)
    return usable[spread_evenly(len(usable), count)]
