"""Ten thousand wrong inputs: one file of a good input is made wrong in one place, and a command runs on it.

    python -m benchmarks.fuzz [--inputs 10000] [--minutes M] [--seed 0] [--only WORD] [--failures DIR] [--quick] [--json FILE]
    python -m benchmarks.fuzz --replay DIR/NUMBER

Every command must end as it promises: done, problems told (exit code 1), or refused by name (exit code 2). A fault is any other
exception, a shard or a page that failed by one, a crash, anything that was executed or written elsewhere, more than 2 GiB of memory,
or more than a minute of computing. Inputs with faults are kept in DIR, each with what was done to it, and can be run again. Commands
run in children of a warm process, which has run them on the good inputs, and in which the networks that find people are seldom asked.
"""

import argparse
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# a fork must not wait for its parent's threads
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from benchmarks._fuzz_cases import CASES, PREPROCESS, Case, filled  # noqa: E402
from benchmarks._mutations import CANARY, mutate  # noqa: E402
from benchmarks._warm import rehearse, warm  # noqa: E402

MOST_BYTES, MOST_SECONDS, LONGEST_MESSAGE = 2 << 30, 60.0, 10_000
# A busy machine computes less in a minute: a command is waited for so long.
LONGEST_WAIT = 10 * MOST_SECONDS
# Address space beyond the parent's, so that a command that asks for everything fails before the machine does.
SPACE = 8 << 30
# Scratch files lie in memory where that is possible: commands wait for a disk.
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# Programs that a command may start: the commit that wrote a file is asked of git.
ALLOWED = {"git"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


# --- one input -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ending:
    """How a command ended. exit: its code; None where it did not end by itself. said: the message, or the last line of the
    fault. fault: what must not be, None where all is well. seconds: computing. bytes: its most memory."""

    exit: int | None
    said: str
    fault: str | None
    seconds: float
    bytes: int


def run_input(arguments: Sequence[str], out: Path) -> Ending:
    """Runs `nvf-cli ARGUMENTS` in a child."""
    read, write = os.pipe()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            os.write(write, json.dumps(command_result(arguments, out)).encode()[:60_000])
        finally:
            os._exit(0)
    os.close(write)
    answer = b""
    while select.select([read], [], [], max(0.0, began + LONGEST_WAIT - time.perf_counter()))[0]:
        part = os.read(read, 65536)
        answer += part
        if not part:
            break
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status, usage = os.wait4(pid, 0)
    seconds, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    if seconds >= MOST_SECONDS or time.perf_counter() >= began + LONGEST_WAIT:
        return Ending(None, "", f"did not end within {MOST_SECONDS:.0f} s", seconds, peak)
    if not answer:
        return Ending(None, "", f"died (status {status})", seconds, peak)
    exit_code, said, fault = json.loads(answer)
    if fault is None and peak > MOST_BYTES:
        fault = f"took {peak / 2**30:.1f} GiB"
    return Ending(exit_code, said, fault, seconds, peak)


def command_result(arguments: Sequence[str], out: Path) -> tuple[int | None, str, str | None]:
    """(exit code, message, fault) of a command, in a process that is thrown away."""
    log = os.open(out.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    with open("/proc/self/statm") as file:
        space = int(file.read().split()[0]) * resource.getpagesize() + SPACE
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seen: list[str] = []
    sys.addaudithook(watcher(out.parent, seen))
    exit_code, said, fault = call(arguments)
    found = [*seen, *hidden_faults(out)]
    if os.path.exists(os.environ[CANARY]):
        found.append("a pickle was run")
    if len(said) > LONGEST_MESSAGE:
        found.append(f"a message of {len(said)} characters")
    return exit_code, said[:LONGEST_MESSAGE], fault or ("; ".join(found)[:2000] or None)


def call(arguments: Sequence[str]) -> tuple[int | None, str, str | None]:
    """As `cli.main.main` does it, but that an OSError which no command expected is a fault too."""
    import click

    from cli.main import nvf
    from pipeline.errors import InputError

    try:
        return int(nvf(list(arguments), standalone_mode=False) or 0), "", None
    except SystemExit as stop:
        return int(stop.code or 0), "", None
    except InputError as error:
        return 2, str(error), None
    except click.ClickException as error:
        return 2, error.format_message(), None
    except BaseException as error:
        return None, f"{type(error).__name__}: {error}"[:300], traceback.format_exc()[-6000:]


def watcher(scratch: Path, seen: list[str]) -> Callable[[str, tuple], None]:
    """An audit hook that notes programs that are started, and files that are written outside of `scratch`."""
    allowed = (str(scratch), "/dev/", "/proc/")

    def hook(event: str, values: tuple) -> None:
        if (
            event in ("os.system", "os.exec", "os.posix_spawn", "os.spawn")
            or event == "subprocess.Popen"
            and os.path.basename(os.fsdecode(values[0])) not in ALLOWED
        ):
            seen.append(f"{event} {str(values)[:200]}")
        elif event == "open" and isinstance(values[0], str) and isinstance(values[2], int) and values[2] & WRITING:
            path = os.path.abspath(values[0])
            if not path.startswith(allowed) and "__pycache__" not in path:
                seen.append(f"wrote {path}")

    return hook


def hidden_faults(out: Path) -> list[str]:
    """What a command survived though it should have named it: shards and pages that failed by an exception."""
    found = []
    with suppress(OSError, ValueError):
        found += [shard["error"] for shard in json.loads((out / "run.json").read_text())["failed"]]
    with suppress(OSError, ValueError):
        found += [error for error in [json.loads((out / "report.json").read_text()).get("page_error")] if error]
    return [str(error) for error in found]


# --- many inputs -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, quick: bool) -> None:
    """The good inputs, and what commands make of them: shards and, unless quick, fits and a run."""
    from benchmarks._good_inputs import write_good_inputs

    write_good_inputs(folder)
    steps = [["preprocess", "human36m", f"{folder}/human36m", f"{folder}/shards", *PREPROCESS[:-1], "4"]]
    if not quick:
        steps += [
            ["fit", "coco", f"{folder}/coco", f"{folder}/fits", "--threads", "1"],
            ["train", f"{folder}/shards", f"{folder}/run", "--config", f"{folder}/config.toml"],
            ["evaluate", f"{folder}/run", f"{folder}/shards", "--split", "train"],
        ]
    for arguments in steps:
        exit_code, said, fault = call(arguments)
        assert fault is None and exit_code in (0, 1), (arguments, said, fault)
    if not quick:
        shutil.copytree(folder / "run", folder / "run-of-somebody")
        see_somebody_everywhere(folder / "run-of-somebody" / "best.safetensors")


def see_somebody_everywhere(path: Path) -> None:
    """One step teaches no run whether anybody is in a box, and a picture of nobody ends before most of what reads it."""
    from model.training.checkpoint import load_checkpoint, save_checkpoint

    checkpoint = load_checkpoint(path)
    checkpoint.tensors["network.certainty.calibrated"].fill_(False)
    save_checkpoint(path, checkpoint)


def in_child(work: Callable[[], None]) -> None:
    """Keeps threads and memory of the work out of this process."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def one_input(case: Case, good: Path, scratch: Path, rng: random.Random) -> tuple[Ending, list[str], str]:
    """A copy of the case's input is made wrong, and its command run. (how it ended, the arguments, what was done)."""
    shutil.rmtree(scratch, ignore_errors=True)
    out, copy = scratch / "out", scratch / case.good
    out.mkdir(parents=True)
    (scratch / "tmp").mkdir()
    whole = (good / case.good).is_dir()
    (shutil.copytree if whole else shutil.copy)(good / case.good, copy)
    if case.command == "evaluate":  # which writes into the run
        shutil.copytree(good / "run", scratch / "run")
    candidates = [path for path in sorted(copy.rglob(rng.choice(case.files))) if path.is_file()] if whole else [copy]
    path = rng.choice(candidates or [path for path in sorted(copy.rglob("*")) if path.is_file()])
    said = f"{path.relative_to(scratch)}: {mutate(path, rng)}"
    arguments = filled(case, copy, good, out, path.name)
    return run_input(arguments, out), arguments, said


def run_good(cases: Sequence[Case], good: Path, folder: Path) -> None:
    """Runs, in this process, what asks the networks about pictures and may be followed by a fork, which autograd may not."""
    asking = [case for case in cases if case.command in ("check-data", "predict")]
    rehearse(
        [
            partial(call, filled(case, good / case.good, good, folder / f"good{k}", "0.jpg"))
            for k, case in enumerate(asking)
        ]
    )


def run_all(good: Path, folder: Path, failures: Path, cases: list[Case], asked: argparse.Namespace) -> dict[str, Any]:
    """Counts by case and by cause, and the faults. Cases take turns by chance, so that a part of the inputs is a sample of all."""
    scratch, total = folder / "scratch", sum(case.share for case in cases)
    os.environ[CANARY], tempfile.tempdir = str(folder / "canary"), str(scratch / "tmp")
    rows: dict[str, Counter] = defaultdict(Counter)
    causes: dict[str, Counter] = defaultdict(Counter)
    faults = []
    jobs = [(case, k) for case in cases for k in range(max(1, round(asked.inputs * case.share / total)))]
    random.Random(asked.seed).shuffle(jobs)
    ends = time.perf_counter() + 60 * asked.minutes
    for case, k in jobs:
        if time.perf_counter() > ends:
            break
        ending, arguments, said = one_input(case, good, scratch, random.Random(f"{asked.seed} {case.name} {k}"))
        row = rows[case.name]
        row["inputs"] += 1
        row[{0: "done", 1: "problems", 2: "refused"}.get(-1 if ending.exit is None else ending.exit, "faults")] += 1
        row["seconds"] = max(row["seconds"], ending.seconds)
        row["computing"] += ending.seconds
        row["MiB"] = max(row["MiB"], ending.bytes >> 20)
        causes[case.command][cause(ending)] += 1
        if ending.fault is not None:
            row["faults"] += ending.exit is not None
            faults.append({"case": case.name, "number": k, "done": said, "fault": ending.fault})
            keep(failures / str(len(faults)), scratch, {**faults[-1], "arguments": arguments})
    return {
        "rows": rows,
        "causes": {name: dict(found.most_common()) for name, found in causes.items()},
        "faults": faults,
    }


def cause(ending: Ending) -> str:
    """The message without what is the input's own: paths, numbers and quoted values."""
    if ending.fault is not None:
        return f"FAULT {ending.said or ending.fault}"[:90]
    text = re.sub(r"'[^']*'|\S*/\S*|\[.*?\]|[-+]?\d[\d.,e]*", "_", ending.said)
    return " ".join(text.split())[:90] or f"exit {ending.exit}"


def keep(place: Path, scratch: Path, about: dict[str, Any]) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(scratch, place, symlinks=True)
    (place / "about.json").write_text(json.dumps({**about, "scratch": str(scratch)}, indent=1))


def replay(place: Path) -> None:
    """Runs a kept input again, in this process, with the folder of good inputs."""
    about = json.loads((place / "about.json").read_text())
    arguments = [word.replace(about["scratch"], str(place)) for word in about["arguments"]]
    print(about["done"], "nvf-cli", *arguments, *call(arguments), sep="\n")


def show(found: dict[str, Any], seconds: float) -> None:
    columns = ("inputs", "done", "problems", "refused", "faults", "MiB")
    print(f"{'':32}" + "".join(f"{name:>10}" for name in (*columns, "slowest s")))
    for name, row in sorted(found["rows"].items()):
        print(f"{name:32}" + "".join(f"{row[column]:10}" for column in columns) + f"{row['seconds']:10.1f}")
    inputs, computing = (sum(row[name] for row in found["rows"].values()) for name in ("inputs", "computing"))
    print(f"{inputs} inputs in {seconds:.0f} s, each with {computing / max(1, inputs):.2f} s of computing")
    for name, causes in found["causes"].items():
        print(f"\n{name}: {len(causes)} causes")
        print("\n".join(f"{count:8} {text}" for text, count in list(causes.items())[:12]))
    for fault in found["faults"]:
        print(f"\nFAULT {fault['case']} #{fault['number']}, {fault['done']}\n{fault['fault'][-600:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name has this word")
    parser.add_argument("--good", type=Path, help="folder for the good inputs, kept for further runs")
    parser.add_argument(
        "--failures", type=Path, default=Path("/tmp/fuzz-failures"), help="where inputs with faults are kept"
    )
    parser.add_argument("--quick", action="store_true", help="some hundred inputs, none that need a trained run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--replay", type=Path, metavar="DIR")
    options = parser.parse_args()
    if options.replay:
        return replay(options.replay)
    cases = [case for case in CASES if options.only in case.name and (case.quick or not options.quick)]
    warm(options.quick)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
        good = options.good or Path(name) / "good"
        if not good.exists():
            good.mkdir(parents=True)
            in_child(lambda: prepare(good, options.quick))
        run_good(cases, good, Path(name))
        began = time.perf_counter()
        options.inputs = 100 if options.quick else options.inputs
        found = run_all(good, Path(name), options.failures, cases, options)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    show(found, time.perf_counter() - began)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
