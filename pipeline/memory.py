"""The C allocator, told to keep what is freed; and Python's collector, told to leave imports alone.

Fits and training steps free and ask for the same tens of megabytes over and over. glibc gives large blocks back to the system and
gets them again as pages that must be cleared and mapped: a quarter of a fit's time and a tenth of a training step's on a CPU.
"""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# <malloc.h>
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEEP = 1 << 30
# The same for processes that are yet to start.
KEEP_FREED = {"MALLOC_MMAP_THRESHOLD_": str(_KEEP), "MALLOC_TRIM_THRESHOLD_": str(_KEEP)}


def keep_freed_memory() -> None:
    """For this process and those that it forks; without glibc nothing changes."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEEP)
        mallopt(_TRIM_THRESHOLD, _KEEP)


@contextmanager
def keep_imports() -> Iterator[None]:
    """For imports: what they make stays to the end, and looking through it for garbage, over and over, is a sixth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
