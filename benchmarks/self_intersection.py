"""Do bodies that are fitted to predictions run into themselves more than the pipeline's own fits of the same people do?

    python -m benchmarks.self_intersection RUN SHARDS [--split test] [--views 60] [--json FILE]
    python -m benchmarks.self_intersection --quick    # made-up predictions about random poses: the numbers say nothing

What is measured is the volume that a body covers twice, in litres, by the winding number on a grid of 15 mm. Rows: the free body at
rest, the pipeline's fits, and the bodies that the run's decode makes of its predictions of the same views.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.fit_collisions import penetrating_volume
from benchmarks.fit_oracles import made_up, true_bodies
from model.body_fit import BodyDecoder
from model.data.views import need_views, read_views
from model.decoding import fitted, run_decoder
from model.evaluate import its_training, predict_views
from model.training.runs import load_run
from pipeline.body.model import BodyModel, load_body
from pipeline.errors import InputError
from pipeline.outputs import write_json
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.skeletons import FIELD_JOINTS
from pipeline.spread import spread_evenly

CELL = 0.015
# Litres that count as a body that runs into itself: a hand has about 0.4.
MUCH = 0.1
ROWS = ("at rest", "the pipeline's fits", "bodies of predictions")


def volumes(body: BodyModel, bodies: Sequence[BodyParameters]) -> np.ndarray:
    """(N,) litres that each body covers twice."""
    return np.array([penetrating_volume(body.mesh(one)[0], body.faces, CELL) for one in bodies])


def summary(litres: np.ndarray) -> dict[str, float]:
    return {
        "bodies": len(litres),
        "mean_l": round(float(litres.mean()), 4),
        "median_l": round(float(np.median(litres)), 4),
        "worst_l": round(float(litres.max()), 3),
        "above_100_ml": round(float((litres > MUCH).mean()), 4),
    }


def of_run(run: Path, shards: Path, split: str, count: int) -> tuple[list[BodyParameters], list[BodyParameters]]:
    """The pipeline's fits of some views of a split, and the bodies that the run's decode makes of them."""
    network, config, record = load_run(run)
    splits = read_views([shards])
    views = need_views(splits, split, [shards])
    usable = np.flatnonzero(views["fit_valid"])
    if not len(usable):
        raise InputError(f"{shards}: no view of the split '{split}' has a valid fit to compare with.")
    index = usable[spread_evenly(len(usable), count)]
    said = predict_views(network, views, index, bf16=config.train.bf16)
    decoder = run_decoder(run, record, views.joint_set, its_training(splits, record)).decoder
    return true_bodies(views, index), fitted(said, decoder)[1].parameters


def of_noise(body: BodyModel, count: int) -> tuple[list[BodyParameters], list[BodyParameters]]:
    case = made_up(body, count)
    decoded = BodyDecoder(body, FIELD_JOINTS)(case.joints, case.root, confidence=case.confidence)
    return case.bodies, decoded.parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("shards", type=Path, nargs="?")
    parser.add_argument("--split", default="test")
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--json", type=Path, help="also into this file")
    parser.add_argument("--quick", action="store_true", help="no run is asked for: the numbers say nothing")
    asked = parser.parse_args()
    body = load_body()
    try:
        if asked.quick:
            fits, decoded = of_noise(body, 4)
        elif asked.run is None or asked.shards is None:
            parser.error("name a run and shards with fits of the same people, or give --quick")
        else:
            fits, decoded = of_run(asked.run, asked.shards, asked.split, asked.views)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    rest = BodyParameters(**{name: np.zeros(size) for name, size in PARAMETER_SIZES.items()})
    found = {name: summary(volumes(body, bodies)) for name, bodies in zip(ROWS, ([rest], fits, decoded), strict=True)}
    table = Table("covered twice, litres", "bodies", "mean", "median", "worst", f"above {MUCH:g} l")
    for name, row in found.items():
        table.add_row(name, *(f"{value:g}" for value in row.values()))
    Console().print(table)
    if asked.json:
        write_json(asked.json, found)


if __name__ == "__main__":
    main()
