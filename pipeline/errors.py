"""What goes wrong because of what the user gave us, told so that the user can mend it."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Characters of a message: a value that it names may be a whole file.
LONGEST, BEGINNING, END = 4000, 2500, 1000


class InputError(ValueError):
    """A mistake in a file, a value or a command that the user can mend.

    The message is one paragraph that names the file, the value and the remedy; of a very long one the middle is left out. The
    command line prints it and exits with 2. Our own mistakes are `assert`s, never this.
    """

    def __init__(self, message: str):
        super().__init__(message if len(message) <= LONGEST else f"{message[:BEGINNING]} ... {message[-END:]}")


def refuse_pipe(path: Path) -> None:
    """Raises InputError for a pipe or a device, which a reader might wait for without end. What is not there is another's to tell."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise InputError(f"{path} is a pipe or a device, not a file. Put a copy of the file there.")


@contextmanager
def naming_damage(path: Path, remedy: str) -> Iterator[None]:
    """Around what uses a file's content: whatever is raised because that is damaged, or laid out otherwise, becomes an InputError
    that names the file."""
    try:
        yield
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        MemoryError,
    ) as error:
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise InputError(f"{path} is damaged: {said[:300]}. {remedy}") from error
