"""What a capture teaches: the same network trained for as many steps on as many views of captures that lack one thing each.

    pip download --no-deps pose2sim==0.10.49 -d downloads
    python -m benchmarks.teaches OUT [--views 1000] [--steps 400] [--rows all,old] [--config FILE] [--seed 0] [--wheel FILE] \
        [--weights thunder]
    python -m benchmarks.teaches --quick                         # a few views and rendered people in place of the film

Row `all` is the wild capture as it comes, `old` one of people in motion before four level cameras, in rooms of textures and painted
clothes, `both` one half of the wild capture and one of people before four cameras in today's looks, `then` the wild capture for nine
tenths of the views and steps and people before four cameras for the last, as the demo does; every other row is `all` without what it
is named after. All are judged on the same pictures: people of the wild capture's validation split, test subjects of the capture with
four cameras, in its old looks and in today's, and 100 real views (benchmarks.real_views). The joints are those that the network votes
for. --seed is the training's: the pictures stay. Finished rows are kept and the same command goes on. Writes OUT/table.json and
OUT/table.md.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks import _pose2sim as pose2sim
from benchmarks import real_views
from benchmarks._triangulate import Seen, detect, triangulate
from benchmarks.compare import refuse_other_settings, trained
from model.decoding import VOTES
from model.evaluate import evaluate_run
from model.networks.encoders.body import weights_file
from model.networks.keypoint_network import KeypointNetwork
from model.people.predict import load_model
from model.training.config import Config, load_config, with_steps, with_train
from model.training.transfer import find_start
from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.memory import keep_freed_memory
from pipeline.outputs import make_folder, write_file, write_json
from pipeline.preprocess.progress import RunProgress
from pipeline.preprocess.settings import PreprocessSettings, Request
from pipeline.records import SYNTHETIC_MARK, Instant
from pipeline.run import Workers, preprocess
from pipeline.sources.synthetic.begun import write_context
from pipeline.sources.synthetic.settings import CAMERAS, SUBJECTS, CaptureSettings, Looks
from pipeline.sources.synthetic.wild.blocks import Block, make_block
from pipeline.sources.synthetic.wild.capture import Wild
from pipeline.sources.synthetic.wild.settings import VALIDATION_EVERY, Variety, WildSettings
from pipeline.synthesize import CaptureProgress, CaptureRequest, synthesize

OLD_LOOKS = Looks(places=0, garments=False, camera_effects=False)
# Rows of people in motion before four cameras -> their looks.
IN_MOTION = {"old": OLD_LOOKS, "today": Looks()}
# Row of the wild capture -> what is switched off in it.
WITHOUT: dict[str, dict] = {
    "all": {},
    "no-motion": {"variety": Variety(motion_capture=False)},
    "no-garments": {"looks": Looks(garments=False)},
    "no-places": {"looks": Looks(places=0)},
    "no-occluders": {"variety": Variety(occluders=False)},
    "no-roll": {"variety": Variety(roll=False)},
    "no-cuts": {"variety": Variety(cuts=False)},
}
# Row of several captures -> the part of its views that each has.
MIXED = {"both": {"all": 0.5, "today": 0.5}, "then": {"all": 0.9, "today": 0.1}}
# Row whose captures are learnt one after the other, each for its part of the steps, and not side by side.
IN_TURN = "then"
ROWS = ("all", "old", *MIXED, *(name for name in WITHOUT if name != "all"))
# People whom the reader takes of a picture, where there are several and where there is one: fewer than on average, and pictures
# to spare, so that there are enough.
PEOPLE, ALONE, SPARE = 1.25, 0.9, 10
# A row that has a smaller share of its views is no row of this table.
LEAST = 0.95
# Judge -> what the table calls it.
JUDGES = {
    "validation": "wild validation people",
    "old-test": "test subjects, old looks",
    "test": "test subjects, today's looks",
    "real": "real views",
}


@dataclass(frozen=True)
class Size:
    """How much is made and trained. views: for training and its look at validation, a row. judged: views that synthetic people are
    judged on, about, each way. image_px: of all captures. seed: of the training. config: what is trained, a name or a file."""

    views: int
    steps: int
    judged: int
    image_px: int
    seed: int
    config: str = "small"


@dataclass(frozen=True)
class Film:
    """The real person, or rendered ones in place of it: instants below root, what a 2D network sees in them, and (F, 17, 3) m of
    COCO's keypoints."""

    root: Path
    instants: Sequence[Instant]
    seen: Seen
    points: np.ndarray


def open_film(root: Path, instants: Sequence[Instant], weights: str) -> Film:
    seen = detect(instants, root, KeypointNetwork(weights))
    found = triangulate([[view.camera for view in instant.views] for instant in instants], seen)
    return Film(root, instants, seen, found.points)


def unpack_film(wheel: Path, weights: str, folder: Path) -> Film:
    """Raises InputError where the wheel or the network's weights are not there."""
    weights_file(weights)
    pose2sim.unpack(wheel, folder)
    return open_film(folder, pose2sim.instants(folder), weights)


# --- captures --------------------------------------------------------------------------------------------------------


def training_capture(folder: Path, name: str, size: Size, workers: Workers) -> tuple[str, int]:
    """The capture of a row; what is there already is kept. Its source, and how many instants to take of it."""
    if name in IN_MOTION:
        subjects = SUBJECTS["train"] + SUBJECTS["validation"]
        instants = max(len(subjects), size.views // len(CAMERAS))
        four_cameras(folder, subjects, instants, IN_MOTION[name], size.image_px, workers)
        return "human36m", instants
    pictures = round(size.views / (ALONE if name == "no-occluders" else PEOPLE)) + SPARE
    settings = WildSettings(instants=pictures, image_px=size.image_px, **WITHOUT[name])
    synthesize(CaptureRequest(folder, settings), workers, CaptureProgress(Console(stderr=True)))
    return "wild", size.views


def training_shards(folder: Path, name: str, size: Size, workers: Workers) -> dict[Path, int]:
    """The shards of a row's captures, and how many views each has; what is there already is kept. Raises InputError where too few
    views came out."""
    if name in MIXED:
        found = {}
        for of, part in MIXED[name].items():
            found |= training_shards(folder / of, of, replace(size, views=round(part * size.views)), workers)
        return found
    source, limit = training_capture(folder / "capture", name, size, workers)
    views = make_shards(source, folder / "capture", folder / "shards", limit, size, workers)
    if views < LEAST * size.views:
        raise InputError(f"{folder}: {views} views came out of {size.views}, too few to compare; ask for fewer")
    return {folder / "shards": views}


def four_cameras(
    folder: Path, subjects: tuple[int, ...], instants: int, looks: Looks, image_px: int, workers: Workers
) -> None:
    """People in motion before four cameras; what is there already is kept."""
    settings = CaptureSettings(instants=instants, image_px=image_px, looks=looks, subjects=subjects)
    synthesize(CaptureRequest(folder, settings), workers, CaptureProgress(Console(stderr=True)))


def validation_pictures(folder: Path, size: Size) -> None:
    """Pictures of the wild capture's validation split alone, about as many people as are asked for."""
    if (folder / SYNTHETIC_MARK).exists():
        return
    count = max(2, round(size.judged / PEOPLE))
    settings, body = WildSettings(instants=count * VALIDATION_EVERY, image_px=size.image_px), load_body()
    write_context(folder, Wild.kind, settings, None, body.sha256)
    blocks = [Block(folder.resolve(), VALIDATION_EVERY * (k + 1) - 1, 1) for k in range(count)]
    for block in blocks:
        make_block(block)
    write_json(folder / SYNTHETIC_MARK, Wild.kind.mark(settings, body) | Wild(settings).join(folder, blocks))


def make_shards(source: str, capture: Path, shards: Path, limit: int | None, size: Size, workers: Workers) -> int:
    """Preprocess a capture; what is there already is kept. How many views came out."""
    crop_px = load_config(size.config).network.crop_px
    request = Request(source, capture, shards, settings=PreprocessSettings(crop_px=crop_px), limit=limit)
    with RunProgress(Console(stderr=True)) as progress:
        return preprocess(request, workers, progress).views


def make_judges(out: Path, size: Size, workers: Workers) -> dict[str, tuple[Path, str]]:
    """Name -> shards and split of the synthetic people that every row is judged on."""
    captures = {name: out / "judges" / name for name in ("validation", "old-test", "test")}
    validation_pictures(captures["validation"], size)
    for name, looks in (("old-test", OLD_LOOKS), ("test", Looks())):
        instants = max(2, size.judged // len(CAMERAS))
        four_cameras(captures[name], SUBJECTS["test"], instants, looks, size.image_px, workers)
    for name, capture in captures.items():
        source = "wild" if name == "validation" else "human36m"
        make_shards(source, capture, capture.with_name(f"{name}-shards"), None, size, workers)
    return {
        name: (capture.with_name(f"{name}-shards"), "validation" if name == "validation" else "test")
        for name, capture in captures.items()
    }


# --- rows ------------------------------------------------------------------------------------------------------------


def config_of(size: Size, steps: int) -> Config:
    return with_steps(with_train(load_config(size.config), evaluations=1, seed=size.seed), steps)


def train_in_turn(run: Path, parts: dict[Path, float], size: Size) -> tuple[dict, dict[str, float]]:
    """Train on one folder of shards after the other, each from the weights of the one before and for its part of the steps; the last
    leaves `run`. The last one's record, and what all of them took."""
    start, done, record = None, {"steps": 0, "seconds": 0.0}, {}
    for k, (shards, part) in enumerate(parts.items(), start=1):
        folder = run if k == len(parts) else run.with_name(f"{run.name}-{k}")
        record = trained(folder, shards, config_of(size, round(part * size.steps)), start=start)
        done = {"steps": done["steps"] + record["step"], "seconds": done["seconds"] + record["seconds"]}
        start = find_start(folder, "all")
    return record, done


def run_row(
    out: Path, name: str, size: Size, judges: dict[str, tuple[Path, str]], film: Film, workers: Workers
) -> dict:
    """A row of the table: its capture, its shards, its training and what the judges say."""
    folder = out / name
    views, run = training_shards(folder, name, size, workers), folder / f"run-seed{size.seed}"
    if name == IN_TURN:
        record, done = train_in_turn(run, dict(zip(views, MIXED[name].values(), strict=True)), size)
    else:
        first, *others = views
        record = trained(run, first, config_of(size, size.steps), [(shards, 1.0) for shards in others])
        done = {"steps": record["step"], "seconds": record["seconds"]}
    row = {"row": name, "seed": size.seed, "views": sum(views.values())} | done
    for judge, (shards, split) in judges.items():
        report = evaluate_run(run, shards, split, decode=VOTES)
        keys = ("mpjpe_mm", "pa_mpjpe_mm", "n_views")
        row[judge] = {key: report[key] for key in keys} | {"mean_pose_mpjpe_mm": report["mean_pose"]["mpjpe_mm"]}
    compared = real_views.compare(
        load_model(run), film.instants, film.root, film.seen, film.points, lambda person, _: person
    )
    real = real_views.numbers(compared.mean_pose, compared.truth)
    row["real"] = real_views.summary(compared) | {
        "n_views": len(compared.off),
        "mean_pose_mpjpe_mm": real["mpjpe_mm"],
    }
    return row | {"commit": record["commit"]}


def as_markdown(table: list[dict]) -> str:
    """A line a row: the mean over its seeds and, of several, how far they lie apart."""
    head = ["row", *(f"{name}: MPJPE / PA mm" for name in JUDGES.values()), "within a tenth of the box"]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for name in (name for name in ROWS if any(row["row"] == name for row in table)):
        rows = [row for row in table if row["row"] == name]
        cells = [f"{name} ({len(rows)} seeds)" if len(rows) > 1 else name]
        for judge in JUDGES:
            cells.append(" / ".join(spread([row[judge][key] for row in rows]) for key in ("mpjpe_mm", "pa_mpjpe_mm")))
        cells.append(spread([100 * row["real"]["near_in_the_image"] for row in rows]) + " %")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    half = f" ± {np.ptp(values) / 2:.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{half}"


def teach(out: Path, names: Sequence[str], size: Size, open_it: Callable[[Path], Film], workers: Workers) -> list[dict]:
    """Every row that is asked for and not there yet; the tables are written after each."""
    make_folder(out)
    refuse_other_settings(
        out,
        {"views": size.views, "steps": size.steps, "judged": size.judged, "image_px": size.image_px}
        | ({} if size.config == "small" else {"config": size.config}),
    )
    path = out / "table.json"
    table = json.loads(path.read_text()) if path.exists() else []
    missing = [name for name in names if not any((row["row"], row["seed"]) == (name, size.seed) for row in table)]
    with tempfile.TemporaryDirectory() as folder:
        film = open_it(Path(folder)) if missing else None
        judges = make_judges(out, size, workers) if missing else {}
        for name in missing:
            assert film is not None
            table.append(run_row(out, name, size, judges, film, workers))
            write_json(path, table)
            write_file(out / "table.md", as_markdown(table).encode())
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/teaches"))
    parser.add_argument("--views", type=int, default=1000, help="a row, for training and its look at validation")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--judged", type=int, default=160, help="views that synthetic people are judged on, each way")
    parser.add_argument("--image-px", type=int, default=256)
    parser.add_argument("--rows", default=",".join(ROWS), help="comma-separated")
    parser.add_argument("--config", default="small", help="what is trained: a named configuration or a TOML file")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--workers", type=int, default=0, help="processes that make pictures and shards; 0: this one")
    parser.add_argument("--wheel", type=Path, default=real_views.WHEEL)
    parser.add_argument(
        "--weights", default="thunder", help="of the 2D network that the real views' truth is triangulated with"
    )
    parser.add_argument("--quick", action="store_true", help="to see that it runs: the numbers say nothing")
    parser.add_argument("--json", type=Path, help="also write the table here")
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(max(1, asked.workers))
    names = asked.rows.replace(",", " ").split()
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"--rows {' '.join(unknown)}: choose from {', '.join(ROWS)}")
    size = Size(asked.views, asked.steps, asked.judged, asked.image_px, asked.seed, asked.config)
    try:
        if asked.quick:
            names, size = ["all", "old", "both", "then"], Size(48, 6, 8, 160, 0, asked.config)
            with tempfile.TemporaryDirectory() as folder:
                table = teach(Path(folder), names, size, rendered_film, Workers(0))
        else:
            table = teach(
                asked.out,
                names,
                size,
                lambda folder: unpack_film(asked.wheel, asked.weights, folder),
                Workers(asked.workers),
            )
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(as_markdown(table), end="")
    if asked.json:
        write_json(asked.json, {row["row"]: row for row in table})


def rendered_film(folder: Path) -> Film:
    root, instants = real_views.rendered_people(folder)
    return open_film(root, instants, "lightning")


if __name__ == "__main__":
    main()
