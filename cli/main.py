"""`nvf-cli`: one module a command, imported only when the command runs."""

import importlib
import io
import os
import sys
from pathlib import Path

import click

# Command -> module, which defines a click command named `command`.
COMMANDS = {
    "synthesize": "cli.synthesize",
    "looks": "cli.looks",
    "body": "cli.body",
    "encoder": "cli.encoder",
    "model": "cli.model",
    "check-data": "cli.check_data",
    "fit": "cli.fit",
    "preprocess": "cli.preprocess",
    "train": "cli.train",
    "evaluate": "cli.evaluate",
    "inspect": "cli.inspect",
    "view": "cli.view",
    "predict": "cli.predict",
    "keypoints": "cli.keypoints",
    "report": "cli.report",
    "export": "cli.export",
    "demo": "cli.demo",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for: `nvf-cli --help` should not load torch."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(COMMANDS[name]).command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def nvf() -> None:
    """Root-relative 3D human pose with a Neural Voting Field: prepare data, train, evaluate."""
    for stream in (sys.stdout, sys.stderr):  # names of files and people may hold what a terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def refuse_shadowed_packages() -> None:
    """Our top-level packages have common names; fail early when another installed package stands in front of ours."""
    home = Path(__file__).resolve().parent.parent
    for name in ("pipeline", "model"):
        found = Path(importlib.import_module(name).__path__[0]).resolve()
        if found != home / name:
            raise SystemExit(
                f"The package '{name}' is imported from {found}, which is not this project's ({home / name}). "
                "Give nvf-cli a virtual environment of its own (`make setup` makes one)."
            )


# OpenCV's and FFmpeg's own words about damaged files would stand between ours. A user's own setting stays.
QUIET = {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}


# What people can do where memory lacks, and how PyTorch names it on processors, in sizes and on GPUs.
SMALLER = "Make sizes smaller (of batches, crops, pools, networks), take fewer workers, or close other programs."
NO_MEMORY = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed", "out of memory")


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory was asked for that is not there."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY)


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 done with failures listed, 2 refused or wrong usage."""
    refuse_shadowed_packages()
    from pipeline.errors import InputError
    from pipeline.memory import keep_freed_memory
    from pipeline.threads import wait_passively

    keep_freed_memory()
    wait_passively()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)

    try:
        nvf(standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):  # Abort is a RuntimeError, too
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except InputError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except OSError as error:  # what no command expected: a full disk, most likely
        click.echo(f"Error: {error.filename or 'a file'}: {error.strerror or error}.", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        said = str(error).strip().splitlines() or ["out of memory"]
        click.echo(f"Error: there is not enough memory ({said[0]}). {SMALLER}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
