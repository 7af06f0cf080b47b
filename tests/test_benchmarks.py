"""The quick forms of benchmarks run, and print what their docs are written from."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("metrics", ["mpjpe", "pa_mpjpe"]),
        ("video", ["rows", "kib_a_frame"]),
        ("annotations", ["rows", "targets"]),
    ],
)
def test_the_quick_form_runs(tmp_path, name, keys):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(tmp_path / "found.json")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert list(json.loads((tmp_path / "found.json").read_text())) == keys
