"""The wheel alone gives a working nvf-cli: built here, installed into a folder of its own and run from elsewhere."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipeline", "model", "cli", "nvf_body")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, because setuptools leaves its folders beside what it builds."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*PACKAGES, "tests", "benchmarks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel in a folder of its own; its requirements are those of the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", wheel, "--no-deps", "--target", folder)
    return folder


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def run(installed: Path, cwd: Path, *command: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    result = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wheel_holds_the_packages_their_assets_and_their_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    folders = [ROOT / "pipeline" / "body" / "assets", ROOT / "model" / "people" / "assets"]
    assets = {str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert {"pipeline/body/assets/SMPLX_NEUTRAL.npz", "model/people/assets/nanodet.onnx"} <= assets <= names
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    modules = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert len(modules) > 100 and modules <= names


def test_the_wheel_holds_nothing_else(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_nvf_cli_of_the_wheel_makes_a_capture_and_reads_it(installed, tmp_path):
    nvf_cli = (sys.executable, installed / "bin" / "nvf-cli")
    where = run(
        installed, tmp_path, sys.executable, "-c", "import pipeline, model, cli, nvf_body; print(nvf_body.__file__)"
    )
    assert Path(where.strip()).is_relative_to(installed)
    assert "preprocess" in run(installed, tmp_path, *nvf_cli, "--help")
    assert "free body" in run(installed, tmp_path, *nvf_cli, "body", "info")
    run(installed, tmp_path, *nvf_cli, "synthesize", "capture", "--instants", 7)
    assert "S9" in run(installed, tmp_path, *nvf_cli, "check-data", "human36m", "capture")
