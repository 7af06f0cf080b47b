"""The training loop: evaluate, save, step, log. The same on one processor, one GPU or many (`torchrun`)."""

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from model.data.batch import Batch
from model.data.loading import StepSampler, ViewDataset, refuse_small_pools
from model.data.views import Views, need_views, read_views
from model.data.workers import loader
from model.device import Ranks, choose_device, fast_bf16, join_ranks, leave_ranks, wait_for_all
from model.evaluate import ground_truth, predict_views, score, spread
from model.networks.build import build_network, kept_of, rebuild_network
from model.networks.network import PoseNetwork
from model.scoring import figures
from model.training.calibrate import calibrate
from model.training.config import Config, with_steps
from model.training.logbook import Logbook
from model.training.optimise import learning_rate, set_learning_rate
from model.training.runs import (
    BEST,
    LAST,
    Run,
    data_record,
    open_run,
    refuse_other_data,
    restore,
    save,
    settled_config,
    start_run,
    trainable,
    training_statistics,
)
from pipeline.errors import InputError
from pipeline.version import code_commit

# Steps that --minutes times before it sets the length of the run, after as many that it does not time.
TIMED_STEPS, WARM_STEPS = 20, 6
# Validation views in the picture that TensorBoard keeps.
PICTURES = 8
# Views that are named when a loss is not a number.
NAMED = 3


@dataclass(frozen=True)
class Job:
    """What a run is given, and does not change. weights: of the views' folders. validation: None where there is none."""

    config: Config
    views: Views
    weights: Sequence[float]
    validation: Views | None
    folder: Path
    device: torch.device
    ranks: Ranks

    def steps(self, network: nn.Module) -> int:
        return self.config.train.steps if trainable(network) else 0

    def batches(self, steps: range) -> Iterator[Batch]:
        """This process's part of the batches of some steps."""
        settings = self.config.train
        dataset = ViewDataset(
            self.views, self.config.network.crop_px, self.config.draw, self.config.augment, settings.seed
        )
        sampler = StepSampler(
            self.views, self.weights, settings.batch_size, steps, settings.seed, self.ranks.rank, self.ranks.world
        )
        return loader(dataset, sampler, settings.workers, pin=self.device.type == "cuda")


def train(
    shards: Path,
    folder: Path,
    config: Config | None,
    also: Sequence[tuple[Path, float]] = (),
    resume: bool = False,
    device: str | None = None,
    minutes: float | None = None,
) -> dict | None:
    """Train on the shards' training split and leave checkpoints, curves and the record in the run folder.

    config: None with `resume` takes the run's own. also: further shard folders and their weights (the first folder's
    is 1). minutes: sets config.train.steps from a short timing. Returns the record of the last checkpoint, None in a process
    of torchrun that does not lead. Raises
    InputError for shards without training views or labels, another run's folder, a missing device, or a loss that is
    not a number.
    """
    paths, weights = [Path(shards), *(path for path, _ in also)], [1.0, *(weight for _, weight in also)]
    ranks, device = join_ranks(choose_device(device))
    checkpoint = open_run(folder, resume)
    wait_for_all(ranks)  # before one of them writes into the folder
    config = settled_config(config, checkpoint, folder)
    if config.train.batch_size % ranks.world:
        raise InputError(
            f"train.batch_size {config.train.batch_size} cannot be shared evenly by {ranks.world} processes."
        )
    splits = read_views(paths)
    views = need_views(splits, "train", paths).labelled(config.train.ground_truth)
    refuse_small_pools(views, config.draw)
    data = data_record(views, weights)
    if checkpoint:
        refuse_other_data(folder, checkpoint.record["data"], data)
    torch.manual_seed(config.train.seed)
    statistics = training_statistics(views, config)
    if checkpoint:
        network = rebuild_network(config.network, statistics, checkpoint.record["encoder"])
    else:
        network = build_network(config.network, statistics)
    network.to(device)
    validation = known_truth(splits.get("validation"), config.train.ground_truth)
    job = Job(config, views, weights, validation, folder, device, ranks)
    timing = checkpoint.record["timing"] if checkpoint else None
    if minutes is not None and checkpoint is None and trainable(network):
        job, timing = fit_to_minutes(job, minutes, network)
    run = start_run(network, job.config)
    run.record = {
        "config": job.config.to_dict(),
        "encoder": kept_of(network),
        "data": data,
        "validation_truth": validation and validation.truth,
        "timing": timing,
        "commit": code_commit(),
        "device": str(device),
        "processes": ranks.world,
        "parameters": sum(p.numel() for p in network.parameters()),
        "best": None,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    if checkpoint:
        restore(run, checkpoint, folder / LAST)
    elif ranks.leads:
        save(run, folder / LAST)
    with Logbook(folder, job.steps(network), run.step) if ranks.leads else _Silence() as log:
        loop(run, job, log)
    leave_ranks(ranks)
    return run.record if ranks.leads else None


def loop(run: Run, job: Job, log: Logbook | None) -> None:
    """From run.step to the last step. Reads top to bottom: fetch, step, log, evaluate, save."""
    settings, leads, steps = job.config.train, job.ranks.leads, job.steps(run.network)
    batches = job.batches(range(run.step, steps))
    compute = losses_module(run.network, settings.compile, job.ranks)
    meter = Meter()
    while run.step < steps:
        started = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - started
        parts = take_step(run, compute, batch.to(job.device), job)
        seconds = time.perf_counter() - started
        run.seconds += seconds
        meter.add(parts, waited, seconds)

        if leads and (run.step % settings.log_every == 0 or run.step == steps):
            log.training(run.step, meter.means() | {"learning_rate": learning_rate(settings, run.step - 1)})
            meter = Meter()
        if leads and job.validation is not None and evaluation_due(run.step, steps, settings.evaluations):
            evaluate_now(run, job, log)
        if leads and (run.step % settings.save_every == 0 or run.step == steps):
            save(run, job.folder / LAST)
    if leads and steps == 0 and job.validation is not None:
        evaluate_now(run, job, log)
    if leads and run.record["best"] is None:  # nothing to choose by: the last one it is
        save(run, job.folder / BEST, weights_only=True)
    if leads:
        save(run, job.folder / LAST)


def take_step(run: Run, compute: nn.Module, batch: Batch, job: Job) -> dict[str, torch.Tensor]:
    """One step of the optimiser. Raises InputError before it, naming shard and view, where the loss is not a number."""
    settings, parameters = job.config.train, list(run.network.parameters())
    run.network.train()
    run.network.zero_grad(set_to_none=True)
    parts = compute_losses(compute, batch, job, run.step)
    parts["total"].backward()
    limit = settings.clip_norm or math.inf
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
    # one wait for the device a step, so that weights are never spoilt
    total, size = torch.stack([parts["total"].detach().float(), norm.float()]).tolist()
    if not math.isfinite(total + size):
        raise InputError(name_culprit(run, batch, job))
    if size > 0:  # where nothing is labelled, neither old momentum nor decay moves the weights
        set_learning_rate(run.optimizers, learning_rate(settings, run.step))
        for optimizer in run.optimizers:
            optimizer.step()
    run.step += 1
    run.average.update(run.step)
    return {name: value.detach() for name, value in parts.items()} | {"gradient": norm}


def compute_losses(compute: nn.Module, batch: Batch, job: Job, step: int) -> dict[str, torch.Tensor]:
    """The losses of a batch; whatever they draw depends on the seed, the step and the process alone."""
    kind, settings = job.device.type, job.config.train
    generator = torch.Generator(job.device)
    generator.manual_seed((settings.seed * 1_000_003 + step) * 64 + job.ranks.rank)
    with torch.autocast(kind, torch.bfloat16, enabled=settings.bf16 and fast_bf16(job.device)):
        return compute(batch, generator)


def name_culprit(run: Run, batch: Batch, job: Job) -> str:
    """Which views of a batch give a loss or a gradient that is not a number, asked one by one."""
    found = []
    for k in range(len(batch)):
        run.network.zero_grad(set_to_none=True)
        parts = compute_losses(_Losses(run.network), batch.rows(slice(k, k + 1)), job, run.step)
        parts["total"].backward()
        bad = [name for name, value in parts.items() if not torch.isfinite(value).item()]
        if not bad and not all(p.grad is None or torch.isfinite(p.grad).all() for p in run.network.parameters()):
            bad = ["gradient"]
        if bad:
            found.append(f"{job.views.name(int(batch.view[k]))} ({', '.join(bad)})")
    run.network.zero_grad(set_to_none=True)
    remedy = "Look at the view with `nvf-cli inspect`; when the data are right, lower train.learning_rate."
    if not found and job.config.train.compile:
        remedy = "Uncompiled each view is fine: set train.compile to false, or train.bf16."
    listed = found or [job.views.name(int(v)) for v in batch.view]
    more = f"; and {len(listed) - NAMED} more of {len(batch)} views" if len(listed) > NAMED else ""
    return (
        f"step {run.step + 1}: the loss or its gradient is not a number. It comes from {'' if found else 'no single view of '}"
        f"{'; '.join(listed[:NAMED])}{more}. The weights are those of step {run.step}, and the last checkpoint is whole. {remedy}"
    )


def evaluate_now(run: Run, job: Job, log: Logbook) -> None:
    """A look at validation, evenly spread over its views; the best so far is kept."""
    validation, settings, network = job.validation, job.config.train, run.average.network
    usable = scorable(validation)
    index = usable[spread(len(usable), settings.evaluate_views)]
    predicted = predict_views(network, validation, index, job.device, bf16=settings.bf16)
    found = score(predicted, validation, network.mean_pose.cpu().numpy())
    errors = {name: row["mpjpe_mm"] for name, row in found["per_joint"].items()}
    best = run.record["best"] is None or found["mpjpe_mm"] < run.record["best"]["mpjpe_mm"]
    values = {
        name: found[name] for name in ("mpjpe_mm", "pa_mpjpe_mm", "n_views", "facing_flips", "distal_ratio", "seconds")
    }
    values = {name: value for name, value in values.items() if value is not None}
    values |= {"mpjpe_gt_scale_mm": found["scale"]["gt"]["mpjpe_mm"], "ground_truth": validation.truth}
    if best:
        run.record["best"] = {
            "step": run.step,
            **values,
            "mean_pose_mpjpe_mm": found["mean_pose"]["mpjpe_mm"],
            "joints_mm": errors,
        }
        if isinstance(network, PoseNetwork):
            run.record["best"]["certainty"] = calibrate(network, validation, index, job.device)
        save(run, job.folder / BEST, weights_only=True)
    log.validation(run.step, values, best, errors, found.get("voters", {}))
    picture = figures.prediction_grid(
        predicted, validation, job.config.network.crop_px, spread(len(index), PICTURES), side=160
    )
    log.picture("validation", picture, run.step)


def evaluation_due(step: int, steps: int, evaluations: int) -> bool:
    """Evenly spread, the last one after the last step."""
    return step * evaluations // steps > (step - 1) * evaluations // steps


def known_truth(views: Views | None, wanted: str) -> Views | None:
    """A split labelled as wanted, or with its fits where the dataset measured no whole body; None where there is none.
    Raises InputError when there is nothing to compare with."""
    if views is None or (wanted == "dataset" and len(scorable(views))):
        return views
    return views.labelled("fit")


def scorable(views: Views) -> np.ndarray:
    """(n,) indices of the views whose every joint is known."""
    return np.flatnonzero(ground_truth(views, np.arange(len(views)))[1].all(1))


class Meter:
    """Means over the steps since the last row of the log."""

    def __init__(self):
        self.parts, self.steps, self.waited, self.total = {}, 0, 0.0, 0.0

    def add(self, parts: dict[str, torch.Tensor], waited: float, total: float) -> None:
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, 0) + value
        self.steps, self.waited, self.total = self.steps + 1, self.waited + waited, self.total + total

    def means(self) -> dict[str, float]:
        """Losses, seconds a step, and the part of them spent waiting for data."""
        values = {name: float(value) / self.steps for name, value in self.parts.items()}
        return values | {"step_seconds": self.total / self.steps, "data_wait": self.waited / self.total}


# --- starting --------------------------------------------------------------------------------------------------------


class _Losses(nn.Module):
    """`network.losses` as a forward pass, which is what DDP and torch.compile take."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return self.network.losses(batch, generator)


class _Silence:
    """The log of a process that does not lead."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_) -> None:
        pass


def losses_module(network: nn.Module, compiled: bool, ranks: Ranks) -> nn.Module:
    """The network's losses, shared over processes and compiled where asked."""
    module = _Losses(network)
    if ranks.world > 1 and any(p.requires_grad for p in network.parameters()):
        # a batch without some kind of label leaves parameters unused
        module = nn.parallel.DistributedDataParallel(module, find_unused_parameters=True, broadcast_buffers=False)
    return torch.compile(module) if compiled else module


def time_steps(job: Job, network: nn.Module) -> float:
    """Seconds a step takes, by a short timing on a copy of the network. The wait for data counts; looks at validation do not."""
    trial = start_run(copy.deepcopy(network), job.config)
    compute = losses_module(trial.network, job.config.train.compile, job.ranks)
    count = WARM_STEPS + TIMED_STEPS
    for k, batch in zip(
        range(count), job.batches(range(2 * count)), strict=False
    ):  # the loader works beside every timed step
        if k == WARM_STEPS:
            started = time.perf_counter()
        take_step(trial, compute, batch.to(job.device), job)
    seconds = torch.tensor((time.perf_counter() - started) / TIMED_STEPS, dtype=torch.float64, device=job.device)
    if job.ranks.world > 1:
        dist.broadcast(seconds, 0)
    return float(seconds)


def fit_to_minutes(job: Job, minutes: float, network: nn.Module) -> tuple[Job, dict]:
    """The job with as many steps as fit into the minutes, and the timing that says so."""
    seconds = time_steps(job, network)
    config = with_steps(job.config, int(minutes * 60 / seconds))
    timing = {"minutes": minutes, "step_seconds": seconds, "steps": config.train.steps}
    return replace(job, config=config), timing
