"""One thread a worker: as many processes as cores share them, and sums come out the same on every machine.

And threads that wait: OpenMP's spin for a while when they have nothing to do, so that beside another busy process they take the core
from the thread that they wait for. A training step is then several times slower than its share of the machine.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "IGL_NUM_THREADS")}


def cap_native_threads() -> None:
    """For this process; to be called before numpy is imported, which reads them once."""
    os.environ.update(ONE_THREAD)


def one_libigl_thread() -> None:
    """For this process; to be called before libigl's first call, which reads it once. A number that the user has set stands."""
    os.environ.setdefault("IGL_NUM_THREADS", "1")


# GNU's OpenMP, and that of LLVM and Intel. A user's own setting stays.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def wait_passively() -> None:
    """For this process and its children: threads without work sleep. To be called before torch is imported, which reads it once."""
    for name, value in PASSIVE.items():
        os.environ.setdefault(name, value)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and OpenCV while it lasts: two of them round a sum differently."""
    import cv2  # not above: cap_native_threads comes before numpy
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
