"""A chain of commands, each the one that a user would type; interrupted, it goes on with the first that is not finished."""

import json
import subprocess
import sys
import time
from pathlib import Path

import click

# Seconds of every finished stage. An interrupted chain goes on with the first stage that is not in it.
SECONDS_FILE = "seconds.json"
# Options of `train` that a run that goes on refuses.
KEPT = ("--seed", "--workers", "--from")


def run_stages(out: Path, stages: dict[str, list[str]], run: Path) -> dict[str, float]:
    """Run what is not finished yet; seconds of every stage. stages: nvf-cli's arguments by name, in order. run: the folder that the
    stage `train` fills, which an interrupted one is resumed in. Exits with a failed command's code.
    """
    from pipeline.outputs import claim_folder, make_folder, write_json

    claim_folder(out, (SECONDS_FILE,))
    make_folder(out)
    path = out / SECONDS_FILE
    seconds = json.loads(path.read_text()) if path.exists() else {}
    for name, arguments in stages.items():
        if name in seconds:
            continue
        resumes = name == "train" and (run / "last.safetensors").exists()
        seconds[name] = run_stage(name, resumed(arguments) if resumes else arguments)
        write_json(path, seconds)
    return seconds


def resumed(arguments: list[str]) -> list[str]:
    """The arguments by which an interrupted training goes on: it keeps its own settings, and takes none of KEPT."""
    for name in KEPT:
        at = arguments.index(name) if name in arguments else len(arguments)
        arguments = [*arguments[:at], *arguments[at + 2 :]]
    return [*arguments, "--resume"]


def run_stage(name: str, arguments: list[str]) -> float:
    """Runs one command, its output shown as it comes. Returns wall seconds; exits with the command's code when it fails."""
    click.secho(f"\n$ nvf-cli {' '.join(arguments)}", bold=True)
    started = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", "cli.main", *arguments]).returncode
    if code:
        click.echo(f"The stage '{name}' ended with exit code {code}; the same command goes on from here.", err=True)
        sys.exit(code)
    return round(time.perf_counter() - started, 1)
