"""Where a network runs: the device, what is fast there, and the processes of one run."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from pipeline.errors import InputError


@dataclass(frozen=True)
class Ranks:
    """This process among those of one run. `torchrun` says so in the environment; without it there is one."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0


def choose_device(name: str | None) -> torch.device:
    """The device asked for, or the best there is. Raises InputError when this machine has none of that kind."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device {name}: this machine cannot use it ({reason}). Leave it out, or take cpu."
        ) from error
    return device


def join_ranks(device: torch.device) -> tuple[Ranks, torch.device]:
    """Meet the other processes that torchrun started, if any; each takes its own GPU."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return Ranks(), device
    if device.index is not None:
        raise InputError(
            f"--device {device}: torchrun gives each process a device of its own. Leave it out, or name the kind alone."
        )
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return Ranks(dist.get_rank(), dist.get_world_size()), device


@contextmanager
def without_denormals() -> Iterator[None]:
    """Numbers below 1e-38 count as zero meanwhile: the momentum of what no longer learns fades to them, and processors take a hundred
    times as long for them.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def wait_for_all(ranks: Ranks) -> None:
    if ranks.world > 1:
        dist.barrier()


def over_processes(count: torch.Tensor, least: float) -> torch.Tensor:
    """What to divide a sum over this process's part of a batch by, so that the mean over processes is the mean over the batch: the
    count over all of them, at least `least`, a process.
    """
    if not dist.is_initialized():
        return count.clamp(min=least)
    total = count.detach().float()
    dist.all_reduce(total)
    return total.clamp(min=least) / dist.get_world_size()


def draw_rows(
    draw: Callable[..., torch.Tensor], shape: Sequence[int], generator: torch.Generator | None, device: torch.device
) -> torch.Tensor:
    """Random numbers (B, ...) for this process's part of a batch: its rows of what one process would draw for the whole batch.

    draw: torch.rand or torch.randn. The generators of all processes must stand alike.
    """
    if not dist.is_initialized():
        return draw(shape, generator=generator, device=device)
    world = dist.get_world_size()
    return draw((shape[0] * world, *shape[1:]), generator=generator, device=device)[dist.get_rank() :: world]


def mean_over_processes(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The mean of every process's named scalars, without their history."""
    detached = {name: value.detach() for name, value in values.items()}
    if not dist.is_initialized():
        return detached
    stacked = torch.stack([value.float() for value in detached.values()])
    dist.all_reduce(stacked)
    return dict(zip(values, (stacked / dist.get_world_size()).unbind(), strict=True))


def as_the_first_has_it(value: float, device: torch.device) -> float:
    """A number as the first process has it: each has a clock of its own."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return float(shared)


def leave_ranks(ranks: Ranks) -> None:
    wait_for_all(ranks)
    if ranks.world > 1:
        dist.destroy_process_group()


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than float32 there: on CUDA, and on processors with its instructions (a step of `small` takes
    0.6 of the time). Other processors emulate it, slowly.
    """
    if device.type == "cuda":
        return True
    able = torch.cpu.get_capabilities()
    return device.type == "cpu" and (able.get("avx512_bf16", False) or able.get("amx_bf16", False))
