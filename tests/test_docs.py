"""README.md and docs/ keep their word: what they link to, name or tell the reader to type is there."""

import importlib
import json
import re
from functools import cache
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli.main import nvf
from model.export import export_run
from model.networks.build import ENCODERS, HEADS
from model.people.given import whole_picture
from model.people.pictures import find_given, read_given
from model.people.predict import load_model, predict_people
from model.train import train
from model.training.config import load_config
from model.training.runs import load_run
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import load_body
from pipeline.camera import assumed_camera, project
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.shards import ShardFolder
from pipeline.shards.format import COLUMNS, OPTIONAL
from pipeline.sources import SOURCES
from tests.model.capsules import make_folder, tiny_config
from tests.pipeline.shard_fakes import make_header, make_view

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# Folders of the repository whose paths pages name, and packages whose dotted names they name.
ROOMS = ("benchmarks", "cli", "docs", "model", "pipeline", "tests", "tools")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w./:*-])(?:{'|'.join(ROOMS)})/[\w./{{}},*-]*\w[/}}]?")
NAME = re.compile(r"(?<![\w./-])(?:benchmarks|cli|model|pipeline)(?:\.[A-Za-z_]\w*)+")
OPTION = re.compile(r"(?<!\S)-{1,2}[a-z][a-z-]*")
# Options of other programs that pages name in a sentence: OpenPose's, and a Dask worker's.
OTHERS = {"--hand", "--lifetime"}

every_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def read(page: Path) -> str:
    """A page whose inline code stands on one line each, however its lines are broken."""
    return re.sub(r"(?<!`)`[^`]+`(?!`)", lambda code: code[0].replace("\n", " "), page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", prose(page.read_text()), flags=re.M)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(prose(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def written_by(text: str) -> set[str]:
    """The files that a page's examples are, by the first line of each."""
    return set(re.findall(r"^```\w+\n# (\S+\.\w+)$", text, flags=re.M))


def missing_paths(text: str) -> list[str]:
    """Paths of the repository that a text names and that are not there; `{a,b}` and `*` are read as a shell reads them."""
    missing = []
    for path in PATH.findall(text):
        braces = re.search(r"\{([^}]*)\}", path)
        kinds = [path.replace(braces[0], part) for part in braces[1].split(",")] if braces else [path]
        missing += [kind for kind in kinds if not list(ROOT.glob(kind.rstrip("/")))]
    return [path for path in missing if path not in written_by(text)]


def is_there(dotted: str) -> bool:
    """Whether a dotted name can be imported, or is an attribute of what can be."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for name in parts[n:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if not hasattr(found, name) and name not in fields:
                return False
            found = getattr(found, name, None)
        return True
    return False


@cache
def cli() -> dict[str, click.Command]:
    """Every command by what is typed, groups' commands too: "train", "body build"."""
    context = click.Context(nvf)
    found = {}
    for name in nvf.list_commands(context):
        command = nvf.get_command(context, name)
        found[name] = command
        found |= {f"{name} {sub}": c for sub, c in getattr(command, "commands", {}).items()}
    return found


def options(command: click.Command) -> set[str]:
    names = {name for p in command.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")}
    return names | {"-h", "--help"}


def wrong_commands(text: str) -> list[str]:
    """What of the `nvf-cli` commands in a text the command line does not know: a command or an option of it."""
    text = text.replace("\\\n", " ")
    wrong = []
    for line in re.findall(r"nvf-cli ((?:[^`\n#]|#(?=\w))*)", text):
        words = line.split()
        if not words or words[0] in ("COMMAND", "--help", "-h"):
            continue
        name = " ".join(words[:2]) if " ".join(words[:2]) in cli() else words[0].strip(".,;:)")
        if name not in cli():
            wrong.append(f"nvf-cli {name}")
            continue
        known = options(cli()[name])
        wrong += [f"nvf-cli {name} {option}" for option in OPTION.findall(line) if option not in known]
    return wrong


def wrong_options(text: str) -> list[str]:
    """Options in backticks that no command, no benchmark and no tool has."""
    known = {option for command in cli().values() for option in options(command)}
    scripts = "".join(path.read_text() for room in ("benchmarks", "tools") for path in (ROOT / room).glob("*.py"))
    quoted = re.findall(r"`(--[a-z][a-z-]*)[^`]*`", prose(text))
    return [o for o in quoted if o not in known | OTHERS and f'"{o}"' not in scripts]


def wrong_benchmarks(text: str) -> list[str]:
    """`python -m benchmarks.NAME` lines whose module, or one of whose options, is not there."""
    wrong = []
    for name, rest in re.findall(r"python -m benchmarks\.(\w+)([^`\n]*)", text):
        module = ROOT / "benchmarks" / f"{name}.py"
        source = module.read_text() if module.exists() else None
        if source is None:
            wrong.append(name)
            continue
        wrong += [f"{name} {option}" for option in OPTION.findall(rest) if f'"{option}"' not in source]
    return wrong


@every_page
def test_links_and_their_anchors_resolve(page):
    assert broken_links(page) == []


@every_page
def test_paths_that_a_page_names_exist(page):
    assert missing_paths(read(page)) == []


@every_page
def test_python_names_that_a_page_names_exist(page):
    text = read(page)
    own = {file.removesuffix(".py").replace("/", ".") for file in written_by(text)}
    assert [name for name in NAME.findall(text) if name not in own and not is_there(name)] == []


@every_page
def test_commands_and_options_that_a_page_names_exist(page):
    text = read(page)
    assert wrong_commands(text) + wrong_options(text) + wrong_benchmarks(text) == []


@every_page
def test_make_targets_that_a_page_names_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    text = read(page)
    fenced = "".join(re.findall(r"^```.*?^```", text, flags=re.S | re.M))
    asked = re.findall(r"^make ([a-z-]+)", fenced, flags=re.M) + re.findall(r"`make ([a-z-]+)", text)
    assert [target for target in asked if target not in targets] == []


def test_every_page_is_linked_from_the_readme():
    linked = {link.partition("#")[0] for link in LINK.findall((ROOT / "README.md").read_text())}
    assert [page.name for page in PAGES if page.parent != ROOT and f"docs/{page.name}" not in linked] == []


# What makes an example's configuration quick: for the test's crops of 64 px, and two steps.
QUICK = """network.crop_px = 64
train = {steps = 2, batch_size = 4, evaluations = 1, evaluate_views = 2, log_every = 1, save_every = 1, workers = 0}
draw = {points = 32}
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty folder to work in, with the shards and the photograph that examples ask for; one thread. What examples put
    into registries and packages is gone afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    make_folder(tmp_path / "shards", 8, 2, 2)
    noise = np.random.default_rng(0).integers(0, 255, (400, 300, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.jpg"), noise)
    monkeypatch.setattr(
        "model.people.predict.SOMEBODY", 0.0
    )  # what a network of two steps says of presence means nothing
    monkeypatch.chdir(tmp_path)
    for package in ("pipeline.sources", "model.networks.heads", "model.networks.encoders"):
        home = importlib.import_module(package)
        monkeypatch.setattr(home, "__path__", [*home.__path__, str(tmp_path / package.replace(".", "/"))])
    for registry in (SOURCES, HEADS, ENCODERS, COLUMNS, OPTIONAL):
        for name in ("album", "nudge", "strides", "views/gaze"):
            monkeypatch.setitem(registry, name, None)
            monkeypatch.delitem(registry, name)
    yield tmp_path
    torch.set_num_threads(before)


def run_examples(page: Path, shorter: dict[str, str]) -> dict:
    """Runs a page's Python blocks in order, as one program; a block whose first line names a file is written to that file
    instead. shorter: text -> text that makes it quick; `tiny` there is the configuration of a small network."""
    names: dict = {"__name__": "example", "tiny": tiny_config(steps=2, evaluations=1)}
    names |= {"plain": make_view("S1/Walking/000007/1"), "header": make_header()}
    for block in re.findall(r"^```(?:python|toml)\n(.*?)^```", page.read_text(), flags=re.S | re.M):
        for long, short in shorter.items():
            block = block.replace(long, short)
        if file := re.match(r"# (\S+\.(?:py|toml))\n", block):
            Path(file[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(file[1]).write_text(block)
        else:
            exec(compile(block, f"{page.name}: {block[:60]!r}", "exec"), names)
    return names


def write_album(folder: Path) -> None:
    """The dataset of the reader's example: the free body's own keypoints on two pictures, one of which is missing."""
    body, camera = load_body(), assumed_camera(300, 400)
    parameters = BodyParameters(**{name: np.zeros(size) for name, size in PARAMETER_SIZES.items()})
    vertices, joints = body.mesh(parameters)
    points = keypoint_map(body, "coco_17")(joints[None], vertices[None])[0] * [1, -1, -1] + [0, 0, 4]
    marked = np.concatenate([project(camera, points), np.ones((17, 1))], 1).ravel().tolist()
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (400, 300, 3), np.uint8)
    cv2.imwrite(str(folder / "0001.jpg"), pixels)
    (folder / "album.json").write_text(json.dumps({"0002.jpg": marked, "0001.jpg": marked}))


@pytest.mark.slow
def test_the_examples_of_the_python_api_run(workplace):
    """Two steps of a tiny network instead of two thousand of `small`."""
    names = run_examples(ROOT / "docs" / "python-api.md", {'load_config("small"), steps=2000': "tiny, steps=2"})
    assert names["image"].shape == (80, 80, 3) and names["distance"].min() < 0 < names["distance"].max()
    assert names["record"]["step"] == 2 and names["report"]["n_views"] == 2
    assert names["person"].joints.shape == (17, 3) and names["vertices"].shape[1] == 3
    assert names["prediction"].joints.shape == (1, 17, 3)
    assert (workplace / "field.pt2").stat().st_size > 0


@pytest.mark.slow
def test_the_examples_of_how_to_extend_run(workplace):
    """Each example is registered by its page's own line, and used by the commands that the page names."""
    names = run_examples(ROOT / "docs" / "extending.md", {'extends = "scratch"': QUICK})
    assert names["record"]["step"] == 2 and names["report"]["model"] == "nudge"
    network, config, _ = load_run(Path("runs/mine"))
    assert type(network.encoder).__name__ == "Strides" and config.network.encoder.channels == 24
    resumed = train(Path("shards"), Path("runs/mine"), None, resume=True, device="cpu")
    assert resumed["step"] == 2
    pictures = read_given(find_given(["photo.jpg"]))
    [(_, found)] = predict_people(load_model(Path("runs/mine")), pictures, whole_picture)
    assert found.people[0].joints.shape == (17, 3)
    assert export_run(Path("runs/mine"), Path("mine.pt2"))["largest_difference_mm"] < 0.1
    np.testing.assert_array_equal(names["stored"], [0, 0, -1])
    assert names["older"].shape == (12, 3) and not names["older"].any()
    for registry in (COLUMNS, OPTIONAL):  # the page's field is in a class of its own, which preprocess does not know
        del registry["views/gaze"]
    write_album(workplace / "album")
    checked = CliRunner().invoke(nvf, ["check-data", "album", "album", "--json"])
    assert checked.stdout, checked.exception
    found = json.loads(checked.stdout)
    assert checked.exit_code == 1 and found["by_split"] == {"train": 1}, found
    assert found["rejects"] == {"the image does not exist": 1} and len(found["problems"]) == 1, found
    made = CliRunner().invoke(nvf, ["preprocess", "album", "album", "shards-album", "--workers", "0", "--pool", "512"])
    assert made.exit_code == 0, made.output
    assert ShardFolder(Path("shards-album")).view_table("train")["id"].tolist() == ["0001.jpg/0"]


def test_the_configuration_of_the_training_page_loads(tmp_path):
    page = (ROOT / "docs" / "training.md").read_text()
    file = tmp_path / "mine.toml"
    file.write_text(re.search(r"^```toml\n(.*?)^```", page, flags=re.S | re.M)[1])
    config = load_config(str(file))
    assert (config.train.steps, config.network.encoder.channels, config.draw.points) == (20000, 48, 2048)


def test_the_toys_of_how_to_extend_are_short():
    """A head and an encoder are under 40 lines of code each, as a reader of the page counts."""
    page = (ROOT / "docs" / "extending.md").read_text()
    for file in ("heads/nudge.py", "encoders/strides.py", "sources/album.py"):
        block = re.search(rf"^```python\n# \S*{file}\n(.*?)^```", page, flags=re.S | re.M)[1]
        code = [
            line
            for line in block.splitlines()
            if line.strip() and not line.lstrip().startswith(('"""', "from", "import"))
        ]
        assert len(code) < 40, (file, len(code))


@pytest.mark.parametrize(
    ("page", "registry"),
    [("datasets.md", SOURCES), ("field.md", HEADS), ("training.md", ENCODERS)],
    ids=["sources", "heads", "encoders"],
)
def test_pages_list_what_the_registries_have(page, registry):
    text = (ROOT / "docs" / page).read_text()
    assert [name for name in registry if f"`{name}`" not in text] == []


def test_the_shard_format_names_every_column():
    """The page is the contract for readers in other languages. Columns of one line may leave out the group."""
    page = (ROOT / "docs" / "shard-format.md").read_text()
    named = {name.split("/")[-1] for name in re.findall(r"`([a-z0-9_]+/?\w*)`", page)}
    middle = set(PARAMETER_SIZES) - {"betas", "transl"}  # "fits/betas ... fits/transl"
    assert [name for name in COLUMNS if name.split("/")[1] not in named | middle] == []


def test_the_checks_find_what_is_wrong(tmp_path):
    """Each check on a page that breaks its word."""
    page = tmp_path / "page.md"
    page.write_text("# Two Words\n[a](#two-words) [b](#three) [c](gone.md) [d](https://example.org)\n")
    assert broken_links(page) == ["#three", "gone.md"]
    assert missing_paths("`pipeline/shards/{store,gone}.py`, docs/*.md, model/none.py.") == [
        "pipeline/shards/gone.py",
        "model/none.py",
    ]
    assert is_there("pipeline.records.View.box") and not is_there("pipeline.records.Nothing")
    assert wrong_commands("`nvf-cli train A B --resume --nope` and nvf-cli dance\nnvf-cli body build OUT --nope") == [
        "nvf-cli train --nope",
        "nvf-cli dance",
        "nvf-cli body build --nope",
    ]
    assert wrong_options("`--final` and `--nope FILE`") == ["--nope"]
    assert wrong_benchmarks("python -m benchmarks.fit --nope; `python -m benchmarks.nope`") == ["fit --nope", "nope"]
