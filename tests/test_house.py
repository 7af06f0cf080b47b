"""pyproject.toml, environment.yml and the Makefile say the same; the packages are where they should be."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What a user of this field expects to find in the environment by name.
CARD = ["torch", "smplx", "torchgeometry", "trimesh", "pysdf", "h5py", "dask", "numpy", "click"]
# In environment.yml Eigen is conda's own, so PyPI's copy of it is not needed.
NOT_IN_CONDA = {"cmeel-eigen"}
CONDA_EXTRAS = ("pysdf", "test", "dev", "view")


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def conda_pins() -> dict[str, str]:
    text = (ROOT / "environment.yml").read_text()
    return dict(re.findall(r"^ +- ([a-z0-9-]+)==(\S+)$", text, flags=re.M))


def pins(requirements: list[str]) -> dict[str, str]:
    return dict(requirement.split("==") for requirement in requirements)


def test_every_requirement_is_pinned(project):
    everything = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", requirement) for requirement in everything), everything


def test_environment_yml_has_the_same_pins(project, conda_pins):
    expected = pins(project["dependencies"])
    for extra in CONDA_EXTRAS:
        expected |= pins(project["optional-dependencies"][extra])
    assert conda_pins == {name: version for name, version in expected.items() if name not in NOT_IN_CONDA}


def test_environment_yml_names_the_users_card(conda_pins):
    assert [name for name in CARD if name not in conda_pins] == []


def test_makefile_installs_the_same_extras(project):
    makefile = (ROOT / "Makefile").read_text()
    extras = re.search(r"^EXTRAS\s*\?= (.*)$", makefile, flags=re.M).group(1).split(",")
    assert set(extras) | {"pysdf"} == set(CONDA_EXTRAS)
    assert "tools/build_pysdf.sh" in makefile


def test_every_dependency_has_a_reason(project):
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    named = list(pins(project["dependencies"])) + [
        name for extra in project["optional-dependencies"].values() for name in pins(extra)
    ]
    assert [name for name in named if not re.search(rf"\b{re.escape(name)}\b", reasons)] == []


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
    allowed = {"records", "skeletons", "camera", "shards", "lattice", "errors", "version"}
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
