"""A chain of commands, each the one that a user would type; interrupted, it goes on with the first that is not finished."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

# Seconds of every finished stage. An interrupted chain goes on with the first stage that is not in it.
SECONDS_FILE = "seconds.json"
# Arguments of every stage that was begun: a chain that goes on must be the one that was asked for.
BEGUN_FILE = "stages.json"
# Options that change no result, and those of a stage that is not finished that may be others when it goes on.
FREE_OPTIONS, UNTIL_FINISHED = ("--workers",), ("--minutes",)
# What a word begins with that says what a file held when a stage was begun.
CONTENT = "#"
# Options of `train` that a run that goes on refuses.
KEPT = ("--seed", "--workers", "--from")


def run_stages(out: Path, stages_in: Callable[[Path], dict[str, list[str]]], run: Path) -> dict[str, float]:
    """Run what is not finished yet; seconds of every stage. stages_in: nvf-cli's arguments by name, in order, for a folder. run: the
    folder that the stage `train` fills, which an interrupted one is resumed in. Exits with a failed command's code. Raises InputError,
    before any stage, where one that left something was begun with other arguments.
    """
    from pipeline.outputs import claim_folder, make_folder, write_json

    claim_folder(out, (SECONDS_FILE, BEGUN_FILE))
    make_folder(out)
    seconds = read_record(out / SECONDS_FILE, dict[str, float])
    begun = read_record(out / BEGUN_FILE, dict[str, tuple[str, ...]])
    resumes = (run / "last.safetensors").exists()
    asked = stages_in(Path())  # the same wherever the folder is, and whatever it is called
    for name, arguments in asked.items():
        if name in begun and (name in seconds or (name == "train" and resumes)):
            check_begun(out, name, begun[name], with_contents(arguments), name in seconds)
    for name, arguments in stages_in(out).items():
        if name in seconds:
            continue
        write_json(out / BEGUN_FILE, begun := begun | {name: tuple(with_contents(asked[name]))})
        seconds[name] = run_stage(name, resumed(arguments) if name == "train" and resumes else arguments)
        write_json(out / SECONDS_FILE, seconds)
    return seconds


def read_record(path: Path, kind: type) -> dict:
    """What a chain wrote of itself, nothing where it has not. Raises InputError for a damaged file."""
    from pipeline.errors import InputError
    from pipeline.typed_json import from_plain

    if not path.exists():
        return {}
    try:
        return from_plain(kind, json.loads(path.read_text()), str(path))
    except ValueError as error:  # InputError is one
        raise InputError(f"{path} is damaged ({error}). Name another folder, or delete this one.") from error


def with_contents(arguments: Sequence[str]) -> list[str]:
    """Arguments, then a word for every configuration's file among them, and for those that it extends, with the sum of what is in it
    now."""
    from model.training.config import files_of

    named = [text for text in arguments if text.endswith(".toml") and Path(text).is_file()]
    files = dict.fromkeys(
        file
        for text in named
        for file in (text, *(str(below) for below in files_of(Path(text)) if below != Path(text)))
    )
    return [*arguments, *(f"{CONTENT}{file}={hashlib.sha256(Path(file).read_bytes()).hexdigest()}" for file in files)]


def check_begun(out: Path, name: str, before: Sequence[str], now: Sequence[str], finished: bool) -> None:
    """Raises InputError where a stage was begun with arguments of another result, or with a file that held something else. before: as
    it was begun; a version that did not write down what files held is believed."""
    from pipeline.errors import InputError

    free = FREE_OPTIONS if finished else FREE_OPTIONS + UNTIL_FINISHED
    (words, held), (asked, holds) = (parted(said) for said in (before, now))
    if without(words, free) != without(asked, free):
        raise InputError(
            f"{out}: its stage '{name}' was begun there as `nvf-cli {' '.join(words)}`, and now it would be "
            f"`nvf-cli {' '.join(asked)}`. Give the options of before, or name another folder."
        )
    if set(held) - set(holds):
        changed = ", ".join(w.removeprefix(CONTENT).rpartition("=")[0] for w in held if w not in holds)
        raise InputError(
            f"{out}: {changed} holds something else than when the stage '{name}' was begun. "
            "Put it back as it was, or name another folder."
        )


def parted(said: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments alone, and what their files held."""
    return [word for word in said if not word.startswith(CONTENT)], [word for word in said if word.startswith(CONTENT)]


def without(arguments: list[str], options: Sequence[str]) -> list[str]:
    """Arguments that lack some options and their values."""
    for name in options:
        at = arguments.index(name) if name in arguments else len(arguments)
        arguments = [*arguments[:at], *arguments[at + 2 :]]
    return arguments


def resumed(arguments: list[str]) -> list[str]:
    """The arguments by which an interrupted training goes on: it keeps its own settings, and takes none of KEPT."""
    return [*without(arguments, KEPT), "--resume"]


def run_stage(name: str, arguments: list[str]) -> float:
    """Runs one command, its output shown as it comes. Returns wall seconds; exits with the command's code when it fails."""
    click.secho(f"\n$ nvf-cli {' '.join(arguments)}", bold=True)
    started = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", "cli.main", *arguments]).returncode
    if code:
        click.echo(f"The stage '{name}' ended with exit code {code}; the same command goes on from here.", err=True)
        sys.exit(code)
    return round(time.perf_counter() - started, 1)
