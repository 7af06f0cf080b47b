"""The packages depend on one another one way, functions and files stay short, and the Makefile has its targets."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from model.training import checkpoint
from pipeline.fit import fits_file
from pipeline.shards import format as shards

ROOT = Path(__file__).parent.parent
ROOMS = ("pipeline", "model", "cli", "nvf_body")

# The data flow: a module or folder imports from its own and from lines above its own, never from its own line or below.
LAYERS = (
    (
        "pipeline.errors",
        "pipeline.hdf5",
        "pipeline.image_header",
        "pipeline.memory",
        "pipeline.skeletons",
        "pipeline.spread",
        "pipeline.threads",
        "pipeline.version",
    ),
    (
        "pipeline.images",
        "pipeline.known_package",
        "pipeline.lattice",
        "pipeline.outputs",
        "pipeline.page",
        "pipeline.records",
        "pipeline.sdf",
        "pipeline.triangles",
        "pipeline.typed_json",
    ),
    ("pipeline.body", "pipeline.camera"),
    ("pipeline.boxes", "pipeline.lift", "pipeline.mesh", "pipeline.sampling", "pipeline.shading"),
    ("pipeline.plausible_fits", "pipeline.plausible_names", "pipeline.plausible_people", "pipeline.plausible_pictures"),
    ("pipeline.plausible",),
    ("pipeline.agreement", "pipeline.plausible_tracks", "pipeline.witness"),
    ("pipeline.in_step", "pipeline.moments"),
    ("pipeline.misplaced",),
    ("pipeline.fit", "pipeline.shards", "pipeline.sources"),
    ("pipeline.preprocess",),
    ("pipeline.build_clips", "pipeline.build_lifter", "pipeline.look", "pipeline.run"),
    ("pipeline.fit_source", "pipeline.synthesize"),
    ("model.body_fit", "model.data", "model.device", "model.torch_crop"),
    ("model.networks",),
    ("model.training",),
    ("model.scoring",),
    ("model.decoding", "model.hypotheses_picture"),
    ("model.evaluate", "model.export", "model.people"),
    ("model.decode_choice",),
    ("model.train",),
    ("cli", "nvf_body"),
)
LONGEST_FUNCTION, LONGEST_FILE = 50, 400


@pytest.mark.parametrize(
    "target",
    [
        "help",
        "setup",
        "demo",
        "test",
        "preprocess",
        "train",
        "evaluate",
        "compare",
        "lint",
        "bench",
        "test-fast",
        "hooks",
    ],
)
def test_make_has_target(target):
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, flags=re.M)


def test_hooks_and_lint_check_the_same_from_the_environment():
    hooks = re.findall(
        r"^ +entry: .venv/bin/(\S+(?: [a-z]+)?)", (ROOT / ".pre-commit-config.yaml").read_text(), flags=re.M
    )
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.M).group(1)
    assert (
        hooks
        == re.findall(r"^\t\$\(BIN\)/(\S+(?: [a-z]+)?)", recipe, flags=re.M)
        == ["ruff format", "ruff check", "mypy"]
    )


def test_the_workflow_runs_what_the_checks_are():
    assert "- run: .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r"^make .*$", (ROOT / ".ci" / "run").read_text(), flags=re.M) == ["make lint", "make test"]


def test_the_changelog_has_the_versions_of_the_files_that_are_written():
    row = f"| unreleased | {shards.VERSION} | {fits_file.VERSION} | {checkpoint.VERSION}, and reads 3 and 4 |"
    assert row in (ROOT / "CHANGELOG.md").read_text()


def test_make_bench_can_call_every_benchmark_with_quick():
    scripts = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    commands = {name: text for name, text in scripts.items() if "ArgumentParser" in text}
    assert len(commands) > 10 and [name for name, text in commands.items() if '"--quick"' not in text] == []


def test_make_preprocess_without_root_says_what_to_type():
    result = subprocess.run(["make", "-s", "preprocess", "SOURCE=human36m"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "ROOT=" in result.stdout + result.stderr


def test_one_way_dependencies():
    """pipeline never imports model or cli; model takes from pipeline only `allowed`, and a body's fit `bodies` as well."""
    allowed = {"records", "skeletons", "camera", "shards", "lattice", "errors", "version", "outputs", "page", "spread"}
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
        posing = path.name in ("decoding.py", "decode_choice.py", "hypotheses_picture.py") or {
            "body_fit",
            "people",
        } & set(path.parts)
        bodies = {"body", "fit", "lift", "shading"} if posing else set()
        looking = {"images", "image_header", "look", "misplaced", "sources", "witness"}
        pictures = looking if path.parent.name == "people" else set()
        assert taken <= allowed | bodies | pictures, f"{path} imports {taken - allowed}"


def test_dask_is_imported_in_one_place():
    for room in ("pipeline", "model", "cli"):
        for path in (ROOT / room).rglob("*.py"):
            imports_dask = re.search(r"^\s*(from|import) (dask|distributed)\b", path.read_text(), flags=re.M)
            assert not imports_dask or path == ROOT / "pipeline" / "run.py", path


def modules(root: Path) -> dict[str, Path]:
    """Every module of the three packages by its dotted name; a package by its folder's name."""
    paths = [path.relative_to(root) for room in ROOMS for path in (root / room).rglob("*.py")]
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): root / path for path in paths}


def imports(root: Path) -> dict[str, set[str]]:
    """What each module imports of the three packages, at its top and inside its functions alike."""
    known = modules(root)
    found: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                source = ".".join([*above, *([node.module] if node.module else [])])
                found[name] |= {
                    f"{source}.{alias.name}" if f"{source}.{alias.name}" in known else source for alias in node.names
                }
    return {name: {taken for taken in all_taken if taken in known} - {name} for name, all_taken in found.items()}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a ring, or an empty list; found among what is left once every module whose imports are
    all settled is taken away."""
    left = {name: set(taken) for name, taken in graph.items()}
    while loose := {name for name, taken in left.items() if not taken}:
        left = {name: taken - loose for name, taken in left.items() if name not in loose}
    ring: list[str] = []
    name = min(left, default=None)
    while name is not None and name not in ring:
        ring.append(name)
        name = min(left[name])
    return ring[ring.index(name) :] if name is not None else []


def layer(module: str) -> int:
    places = [k for k, line in enumerate(LAYERS) for place in line if f"{module}.".startswith(f"{place}.")]
    assert places, f"{module} has no place in LAYERS"
    return places[0]


def own(module: str) -> str:
    """The module or folder of LAYERS that a module belongs to."""
    return next(place for place in LAYERS[layer(module)] if f"{module}.".startswith(f"{place}."))


def upward(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    pairs = {(name, taken) for name, all_taken in graph.items() for taken in all_taken if "." in name and "." in taken}
    return {pair for pair in pairs if own(pair[0]) != own(pair[1]) and layer(pair[1]) >= layer(pair[0])}


@pytest.mark.slow
def test_no_import_circle():
    assert circle(imports(ROOT)) == []


@pytest.mark.slow
def test_no_upward_import():
    assert upward(imports(ROOT)) == set()


def test_a_circle_and_an_upward_import_are_seen_also_inside_functions(tmp_path):
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("")
    (tmp_path / "pipeline" / "records.py").write_text("def late():\n    from . import errors\n")
    (tmp_path / "pipeline" / "errors.py").write_text("from pipeline.records import late\n")
    (tmp_path / "pipeline" / "mesh.py").write_text("import pipeline.errors\n")
    graph = imports(tmp_path)
    assert graph["pipeline.mesh"] == {"pipeline.errors"}
    assert circle(graph) == ["pipeline.errors", "pipeline.records"]
    assert upward(graph) == {("pipeline.errors", "pipeline.records")}


@pytest.mark.slow
def test_functions_and_files_stay_short():
    long = set()
    for path in modules(ROOT).values():
        where, text = path.relative_to(ROOT).as_posix(), path.read_text()
        if text.count("\n") > LONGEST_FILE:
            long.add(where)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION:
                long.add(f"{where} {node.name}")
    assert long == set()
