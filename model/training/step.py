"""One step of the optimiser, alone or as one of several processes, and who is to blame when its loss is not a number."""

import math
from typing import cast

import torch
from torch import nn

from model.data.batch import Batch
from model.device import Ranks, fast_bf16, mean_over_processes
from model.networks.network import Network
from model.training.job import Job
from model.training.optimise import learning_rate, set_learning_rate
from model.training.runs import Run, trainable
from pipeline.errors import InputError

# Views that are named when a loss is not a number.
NAMED = 3


def take_step(run: Run, compute: nn.Module, batch: Batch, job: Job, part: float) -> dict[str, torch.Tensor]:
    """One step of the optimiser, when `part` of the run is over. Raises InputError before it, naming shard and view, where the loss is
    not a number."""
    settings, parameters = job.config.train, list(run.network.parameters())
    run.network.train()
    run.network.zero_grad(set_to_none=True)
    parts = compute_losses(compute, batch, job, run.step)
    parts["total"].backward()
    parts = mean_over_processes(parts)
    limit = settings.clip_norm or math.inf
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
    # one wait for the device a step, so that weights are never spoilt
    total, size = torch.stack([parts["total"].float(), norm.float()]).tolist()
    if not math.isfinite(total + size):
        raise InputError(name_culprit(run, batch, job))
    if size > 0:  # where nothing is labelled, neither old momentum nor decay moves the weights
        set_learning_rate(run.optimizers, learning_rate(settings, run.step, part))
        for optimizer in run.optimizers:
            optimizer.step()
    run.step += 1
    run.average.update(run.step)
    return parts | {"gradient": norm}


def compute_losses(compute: nn.Module, batch: Batch, job: Job, step: int) -> dict[str, torch.Tensor]:
    """The losses of a batch; whatever they draw depends on the seed and the step alone (`model.device.draw_rows`)."""
    kind, settings = job.device.type, job.config.train
    generator = torch.Generator(job.device)
    generator.manual_seed((settings.seed * 1_000_003 + step) * 64)
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


class _Losses(nn.Module):
    """`network.losses` as a forward pass, which is what DDP and torch.compile take."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return self.network.losses(batch, generator)


def losses_module(network: Network, compiled: bool, ranks: Ranks) -> nn.Module:
    """The network's losses, shared over processes and compiled where asked."""
    module: nn.Module = _Losses(network)
    if ranks.world > 1 and trainable(network):
        # a batch without some kind of label leaves parameters unused
        module = nn.parallel.DistributedDataParallel(module, find_unused_parameters=True, broadcast_buffers=False)
    return cast(nn.Module, torch.compile(module)) if compiled else module
