"""Loader processes: how batches come from them, and what happens when they cannot.

A worker lays the tensors of a batch into shared memory, /dev/shm, and hands over their names. Where that is small (64 MB in a
container by default) a worker that finds it full loses the batch and the trainer would wait for ever. So it is asked before the
first batch how much there is; where it is too little, batches come through the workers' pipes, which takes a copy more.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from rich.console import Console
from torch.utils.data import DataLoader, Dataset, Sampler

from model.data.batch import Batch
from pipeline.errors import InputError

SHARED_MEMORY = Path("/dev/shm")
# Batches that a worker makes ahead.
AHEAD = 4
# Bytes of a tensor's last page that are not used, at most.
PAGE = 4096
# The longest that a batch is waited for, seconds.
PATIENCE_S = 300


@dataclass(frozen=True)
class Refusal:
    """What a worker found that the user must mend, in place of a batch: an exception would arrive as a traceback."""

    message: str


class BatchDataset(Protocol):
    """What a loader needs of a dataset."""

    def __len__(self) -> int: ...

    def __getitems__(self, keys: list) -> Batch:
        """The batch of some keys; InputError where it cannot be made."""

    def batch_bytes(self, views: int) -> int:
        """Size of a batch of so many views."""


class Guarded(Dataset):
    """A dataset of batches that answers with a `Refusal` where it would raise InputError. plain: as arrays, for a pipe."""

    def __init__(self, dataset: BatchDataset, plain: bool):
        self.dataset, self.plain = dataset, plain

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, keys: list) -> Batch | Refusal | dict[str, np.ndarray]:
        try:
            batch = self.dataset.__getitems__(keys)
        except InputError as error:
            return Refusal(str(error))
        return {name: tensor.numpy() for name, tensor in vars(batch).items()} if self.plain else batch


def loader(dataset: BatchDataset, batches: Sampler | list, workers: int, pin: bool = False) -> Iterator[Batch]:
    """The `Batch`es of a dataset, made ahead by worker processes; 0 workers makes them in this process, by the same code.

    Raises InputError where a batch cannot be made: what the dataset refused, a worker that died, or one that gave nothing for
    PATIENCE_S seconds.
    """
    views = len(next(iter(batches), ()))
    plain = workers > 0 and not fits_shared_memory(dataset.batch_bytes(views), workers)
    made = DataLoader(
        Guarded(dataset, plain),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_is,
        worker_init_fn=_one_thread,
        pin_memory=pin and not plain,
        prefetch_factor=AHEAD if workers else None,
        timeout=PATIENCE_S if workers else 0,
        generator=torch.Generator(),  # a loader takes a seed for its workers: not from the run's own generator
    )
    try:
        for batch in made:
            if isinstance(batch, Refusal):
                raise InputError(batch.message)
            yield from_pipe(batch, pin) if plain else batch
    except RuntimeError as error:
        if not str(error).startswith("DataLoader"):
            raise
        raise InputError(
            f"A loader process gave no batch ({str(error).splitlines()[0]}). It may have run out of memory, or its disk may not "
            "answer. Set fewer train.workers; 0 makes the batches in the trainer itself."
        ) from error


def fits_shared_memory(batch_bytes: int, workers: int) -> bool:
    """Whether /dev/shm has room for every batch that is on its way; a line says so where it has not."""
    need = (workers * AHEAD + 2) * (batch_bytes + PAGE * len(fields(Batch)))
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else need
    if need > free:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"{SHARED_MEMORY} has {free / 1e6:.1f} MB free and {workers} loader processes need {need / 1e6:.1f} MB: batches come "
            "through pipes instead, a little slower."
        )
    return need <= free


def from_pipe(arrays: dict[str, np.ndarray], pin: bool) -> Batch:
    batch = Batch(**{name: torch.from_numpy(values) for name, values in arrays.items()})
    return batch.pin_memory() if pin else batch


def _as_is(batch: Any) -> Any:
    return batch


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
