"""Stand-ins for the work of a process that can be imported without the pipeline."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    task: object
    record: str
    error: str = ""
    fatal: bool = False


def make_or_die(_make, task) -> Done:
    """Makes "poison" by dying, everything else at once."""
    if task.name == "poison":
        with open(task.job, "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return Done(task, "made")


def kill_after(run: Callable[[], object], pauses: Sequence[float]) -> int:
    """Runs it in one process after the other, each killed after so many seconds; how many were killed before their end."""
    kills = 0
    for pause in pauses:
        child = os.fork()
        if not child:
            with suppress(BaseException):
                run()
            os._exit(0)
        time.sleep(pause)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    return kills
