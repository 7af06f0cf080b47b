"""Do bodies that are fitted to predictions run into themselves more than the pipeline's own fits of the same people do?

    python -m benchmarks.self_intersection RUN SHARDS [--capture DIR] [--split test] [--views 60] [--json FILE]
    python -m benchmarks.self_intersection --quick    # made-up predictions about random poses: the numbers say nothing

What is measured is the volume that a body covers twice, in litres, exact along columns that stand 5 mm apart. Rows: the free body at
rest; the true, naked bodies of the same views, where their synthetic capture is named, which touch themselves as people do; the
pipeline's fits, which are the yardstick; and the bodies that the run's decode makes of its predictions.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
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
from pipeline.sources.synthetic.truth import TrueBodies, read_truth
from pipeline.spread import spread_evenly

CELL = 0.005
# Litres that count as a body that runs into itself: a hand has about 0.4.
MUCH = 0.1
ROWS = ("at rest", "true bodies", "the pipeline's fits", "bodies of predictions")


@dataclass(frozen=True)
class Meshes:
    """Vertices (V, 3) m of bodies of the same views. true: none where nobody knows them."""

    true: list[np.ndarray]
    fits: list[np.ndarray]
    decoded: list[np.ndarray]


def meshes(body: BodyModel, bodies: Sequence[BodyParameters]) -> list[np.ndarray]:
    return [body.mesh(one)[0] for one in bodies]


def summary(litres: np.ndarray) -> dict[str, float]:
    return {
        "bodies": len(litres),
        "mean_l": round(float(litres.mean()), 4),
        "median_l": round(float(np.median(litres)), 4),
        "worst_l": round(float(litres.max()), 3),
        "above_100_ml": round(float((litres > MUCH).mean()), 4),
    }


def of_run(body: BodyModel, run: Path, shards: Path, capture: Path | None, split: str, count: int) -> Meshes:
    """Some views of a split that have a valid fit."""
    network, config, record = load_run(run)
    splits = read_views([shards])
    views = need_views(splits, split, [shards])
    usable = np.flatnonzero(views["fit_valid"])
    if not len(usable):
        raise InputError(f"{shards}: no view of the split '{split}' has a valid fit to compare with.")
    index = usable[spread_evenly(len(usable), count)]
    said = predict_views(network, views, index, bf16=config.train.bf16)
    decoder = run_decoder(run, record, views.joint_set, its_training(splits, record)).decoder
    true = [] if capture is None else true_meshes(read_truth(capture, body), [str(id) for id in views["id"][index]])
    return Meshes(true, meshes(body, true_bodies(views, index)), meshes(body, fitted(said, decoder)[1].parameters))


def true_meshes(truth: TrueBodies, views: Sequence[str]) -> list[np.ndarray]:
    """Of views by their ids, which are an instant's and a camera's."""
    instants = [view.rsplit("/", 1)[0] for view in views]
    unknown = [one for one in instants if one not in truth.index]
    if unknown:
        raise InputError(f"The capture has no instant {unknown[0]}: name the one that the shards were made of.")
    return [truth.mesh(one)[0] for one in instants]


def of_noise(body: BodyModel, count: int) -> Meshes:
    case = made_up(body, count)
    decoded = BodyDecoder(body, FIELD_JOINTS)(case.joints, case.root, confidence=case.confidence)
    own = meshes(body, case.bodies)
    return Meshes(own, own, meshes(body, decoded.parameters))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("shards", type=Path, nargs="?")
    parser.add_argument("--capture", type=Path, help="the synthetic capture behind the shards, for its true bodies")
    parser.add_argument("--split", default="test")
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--json", type=Path, help="also into this file")
    parser.add_argument("--quick", action="store_true", help="no run is asked for: the numbers say nothing")
    asked = parser.parse_args()
    body = load_body()
    try:
        if asked.quick:
            found = of_noise(body, 4)
        elif asked.run is None or asked.shards is None:
            parser.error("name a run and shards with fits of the same people, or give --quick")
        else:
            found = of_run(body, asked.run, asked.shards, asked.capture, asked.split, asked.views)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    rest = BodyParameters(**{name: np.zeros(size) for name, size in PARAMETER_SIZES.items()})
    each = zip(ROWS, (meshes(body, [rest]), found.true, found.fits, found.decoded), strict=True)
    litres = {
        name: np.array([penetrating_volume(one, body.faces, CELL) for one in some]) for name, some in each if some
    }
    rows = {name: summary(values) for name, values in litres.items()}
    table = Table("covered twice, litres", "bodies", "mean", "median", "worst", f"above {MUCH:g} l")
    for name, row in rows.items():
        table.add_row(name, *(f"{value:g}" for value in row.values()))
    Console().print(table)
    if asked.json:
        write_json(asked.json, rows)


if __name__ == "__main__":
    main()
