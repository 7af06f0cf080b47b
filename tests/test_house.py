"""The packages are where they should be, and the Makefile has its targets."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "target", ["help", "setup", "demo", "test", "preprocess", "train", "evaluate", "compare", "lint", "bench"]
)
def test_make_has_target(target):
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, flags=re.M)


def test_make_bench_can_call_every_benchmark_with_quick():
    scripts = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    commands = {name: text for name, text in scripts.items() if "ArgumentParser" in text}
    assert len(commands) > 10 and [name for name, text in commands.items() if '"--quick"' not in text] == []


def test_make_preprocess_without_root_says_what_to_type():
    result = subprocess.run(["make", "-s", "preprocess", "SOURCE=human36m"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "ROOT=" in result.stdout + result.stderr


def test_one_way_dependencies():
    """pipeline never imports model or cli; model takes from pipeline only what `allowed` lists."""
    allowed = {"records", "skeletons", "camera", "shards", "lattice", "errors", "version", "outputs"}
    for path in (ROOT / "pipeline").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (model|cli)\b", path.read_text(), flags=re.M), path
    for path in (ROOT / "model").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(from|import) cli\b", text, flags=re.M), path
        taken = set(re.findall(r"^\s*(?:from|import) pipeline\.(\w+)", text, flags=re.M))
        taken |= {
            name
            for line in re.findall(r"^\s*from pipeline import (.*)$", text, flags=re.M)
            for name in line.split(", ")
        }
        assert taken <= allowed, f"{path} imports {taken - allowed}"


def test_dask_is_imported_in_one_place():
    for room in ("pipeline", "model", "cli"):
        for path in (ROOT / room).rglob("*.py"):
            imports_dask = re.search(r"^\s*(from|import) (dask|distributed)\b", path.read_text(), flags=re.M)
            assert not imports_dask or path == ROOT / "pipeline" / "run.py", path
