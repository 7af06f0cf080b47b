"""What every command of `nvf-cli` shares."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli import main as room
from cli.main import nvf
from pipeline.errors import InputError

ROOT = Path(room.__file__).parent.parent

ASK = """
import os, sys
from cli import main as room
room.nvf = lambda **_: print("torch" in sys.modules, os.environ["OMP_WAIT_POLICY"], os.environ["KMP_BLOCKTIME"])
room.main()
"""


@pytest.mark.parametrize(("given", "used"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_wait_passively_from_before_torch_is_there(given, used):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")
    }
    said = subprocess.run(
        [sys.executable, "-c", ASK], env=environment | given, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["False", used, "0"]


def test_the_list_of_commands_waits_for_no_library():
    """`nvf-cli --help` imports every command, and none of them what it works with."""
    ask = """
import sys
from click.testing import CliRunner
from cli import main as room
assert "predict" in CliRunner().invoke(room.nvf, ["--help"]).output
print([name for name in ("numpy", "cv2", "torch", "scipy", "h5py") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_an_error_of_the_disk_is_no_traceback(monkeypatch, capsys):
    def full(**_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(room, "nvf", full)
    with pytest.raises(SystemExit) as stopped:
        room.main()
    assert stopped.value.code == 2 and capsys.readouterr().err == "Error: somewhere: No space left on device.\n"


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    """Through click, which makes a RuntimeError of it."""

    @click.command
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "nvf", interrupted)
    monkeypatch.setattr(sys, "argv", ["nvf-cli"])
    with pytest.raises(SystemExit) as stopped:
        room.main()
    assert stopped.value.code == 130 and capsys.readouterr().err.strip() == "Stopped."


@pytest.mark.parametrize("how", ["size", "network", "array"])
def test_too_little_memory_is_no_traceback(monkeypatch, capsys, how):
    """A setting may ask for terabytes, on any path."""
    import numpy as np
    import torch

    asks = {
        "size": lambda: torch.empty(1 << 62, 1 << 62),
        "network": lambda: torch.empty(1 << 60, dtype=torch.int8),
        "array": lambda: np.empty(1 << 60, np.int8),
    }
    monkeypatch.setattr(room, "nvf", lambda **_: asks[how]())
    with pytest.raises(SystemExit) as stopped:
        room.main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("Error: there is not enough memory") and "smaller" in said
    monkeypatch.setattr(room, "nvf", lambda **_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        room.main()


@pytest.mark.parametrize("out", ["data", "photos", "run", "data/train2017"])
@pytest.mark.parametrize(
    "command",
    [["preprocess", "coco", "data"], ["fit", "coco", "data"], ["demo"], ["model", "build"], ["synthesize", "--wild"]],
    ids=lambda command: " ".join(command[:2]),
)
def test_no_command_fills_a_folder_of_other_files(command, out, tmp_path, monkeypatch):
    """Refused by name, and before anything is read or written: the data set that is read, photographs, another command's results."""
    monkeypatch.chdir(tmp_path)
    for name in ("data/annotations/a.json", "data/train2017/1.jpg", "photos/holiday.jpg", "run/best.safetensors"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=rf"^{out} .*(Name|name) (a|another) (new )?folder"):
        CliRunner().invoke(nvf, [*command, out], catch_exceptions=False)
    assert sorted(tmp_path.rglob("*")) == before
