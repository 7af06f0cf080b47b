"""pyproject.toml, requirements.lock, environment.yml and the Makefile say the same about what is installed."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
def lock() -> dict[str, str]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def needs_of(name: str) -> list[str]:
    """What an installed package asks for; nothing for one that is not installed, as an extra may not be."""
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


@pytest.fixture(scope="module")
def conda_pins() -> dict[str, str]:
    text = (ROOT / "environment.yml").read_text()
    return dict(re.findall(r"^ +- ([a-z0-9-]+)==(\S+)$", text, flags=re.M))


def requirements(project: dict, extras: tuple[str, ...] | None = None) -> list[Requirement]:
    """The project's own requirements with those of `extras`, or of every extra."""
    chosen = project["optional-dependencies"] if extras is None else extras
    texts = project["dependencies"] + [text for extra in chosen for text in project["optional-dependencies"][extra]]
    return [Requirement(text) for text in texts]


def test_the_project_asks_for_ranges(project):
    operators = {
        str(requirement): [each.operator for each in requirement.specifier] for requirement in requirements(project)
    }
    assert [text for text, found in operators.items() if ">=" not in found or "==" in found] == []


def test_the_lock_holds_exact_versions_within_the_ranges(project, lock):
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in lock.values()), lock
    outside = [str(wanted) for wanted in requirements(project) if lock.get(wanted.name, "0") not in wanted.specifier]
    assert outside == [], "python tools/lock.py brings requirements.lock up to date"


def test_the_lock_names_all_that_comes_along(project, lock):
    """Whatever the project's requirements bring with them in this environment has a version in the lock."""
    waiting = requirements(project, ("test", "dev", "view"))
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for text in needs_of(name):
            below = Requirement(text)
            if below.marker is None or any(below.marker.evaluate({"extra": extra}) for extra in extras | {""}):
                waiting.append(below)
    # A CUDA build of torch brings NVIDIA's libraries at exact versions of its own.
    brought = {name for name, _ in seen if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert len(brought) > 50 and brought - set(lock) == set()


def test_the_lock_names_no_machine():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|@|^-|^ */", text, flags=re.M)


def test_environment_yml_has_the_versions_of_the_lock(project, lock, conda_pins):
    names = {requirement.name for requirement in requirements(project, CONDA_EXTRAS)} - NOT_IN_CONDA
    assert conda_pins == {name: lock[name] for name in names}


def test_environment_yml_names_the_users_card(conda_pins):
    assert [name for name in CARD if name not in conda_pins] == []


def test_setup_installs_the_same_extras_at_the_versions_of_the_lock(project):
    makefile = (ROOT / "Makefile").read_text()
    extras = re.search(r"^EXTRAS\s*\?= (.*)$", makefile, flags=re.M).group(1).split(",")
    assert set(extras) | {"pysdf"} == set(CONDA_EXTRAS)
    installs = re.findall(r"pip install .*", makefile + (ROOT / "tools" / "build_pysdf.sh").read_text())
    assert len(installs) == 3 and all("--constraint requirements.lock" in line for line in installs)


def test_every_dependency_has_a_reason(project):
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    names = {requirement.name for requirement in requirements(project)}
    assert [name for name in names if not re.search(rf"\b{re.escape(name)}\b", reasons)] == []
