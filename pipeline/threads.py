"""One thread a worker: as many processes as cores share them, and sums come out the same on every machine."""

import os

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "IGL_NUM_THREADS")}


def cap_native_threads() -> None:
    """For this process; to be called before numpy is imported, which reads them once."""
    os.environ.update(ONE_THREAD)
