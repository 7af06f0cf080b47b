"""Where a network runs: the device, what is fast there, and the processes of one run."""

import os
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


def wait_for_all(ranks: Ranks) -> None:
    if ranks.world > 1:
        dist.barrier()


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
