"""`torchrun nvf-cli train` on two processes of a processor, as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.training.checkpoint import load_checkpoint
from model.training.logbook import read_history
from tests.model.capsules import make_view, tiny_config, write_folder

ROOT = Path(__file__).parents[2]
TABLES = ("network", "train", "augment", "draw")


def toml_of(value: dict, path: str = "") -> str:
    """Nested tables as TOML."""
    lines = [f"[{path}]"] if path else []
    lines += [f"{name} = {json.dumps(item)}" for name, item in value.items() if not isinstance(item, dict)]
    below = [
        toml_of(item, f"{path}.{name}" if path else name) for name, item in value.items() if isinstance(item, dict)
    ]
    return "\n".join([*lines, *below])


def run_cli(*arguments, processes=1):
    command = [sys.executable, "-m", "cli.main"]
    if processes > 1:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
            *command[1:],
        ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    return subprocess.run([*command, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    """Same losses and weights, up to the order of sums; views without labels fall unevenly on the processes."""
    blank = {"is_3d": False, "fit_valid": False}
    views = [make_view(n, "train", "S1", **(blank if n % 3 == 0 else {})) for n in range(12)]
    shards = write_folder(tmp_path / "shards", [*views, *(make_view(100 + n, "validation", "S8") for n in range(3))])
    config = tiny_config(steps=6, batch_size=4, log_every=1, save_every=2, evaluations=1, bf16=False)
    (tmp_path / "tiny.toml").write_text(toml_of(config.to_dict()))
    for processes in (1, 2):
        given = ("train", shards, tmp_path / str(processes), "--config", tmp_path / "tiny.toml", "--device", "cpu")
        done = run_cli(*given, processes=processes)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("6 steps in") == 1  # of several processes one speaks
    one, two = ([row for row in read_history(tmp_path / name) if row["kind"] == "train"] for name in "12")
    names = one[0].keys() - {"kind", "step_seconds", "data_wait"}
    for a, b in zip(one, two, strict=True):
        assert {name: b[name] for name in names} == pytest.approx({name: a[name] for name in names}, rel=1e-4)
    first, second = (load_checkpoint(tmp_path / name / "last.safetensors") for name in "12")
    assert (first.record["processes"], second.record["processes"]) == (1, 2)
    # Where a gradient is nothing but rounding (biases before a softmax), Adam makes whole steps of it: compared as a whole.
    weights = [torch.cat([value.flatten() for value in c.part("network").values()]) for c in (first, second)]
    assert (weights[0] - weights[1]).norm() < 1e-3 * weights[0].norm()
