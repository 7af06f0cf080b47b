"""Our posing of bodies against the package smplx on the same bodies, and how far the two agree.

    python -m benchmarks.posing [--bodies 64] [--quick] [--json FILE]

One thread, seconds of the processor. smplx is asked for one body at a time, since it lays out its landmarks for one size of batch;
ours for one, and for all at once. Targets: 1.5 times smplx's speed for one body, 4 times for a body of a batch.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import smplx
import torch

from pipeline.body.model import FREE_BODY, as_tensors, load_body
from pipeline.records import PARAMETER_SIZES, BodyParameters

TARGETS = {"one": 1.5, "batch": 4}
REPEATS = 5


def some_bodies(n: int) -> list[BodyParameters]:
    """Shaped and posed at random, with a neutral face, as fits have it."""
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(0, 0.6, (n, size)) for name, size in PARAMETER_SIZES.items()}
    drawn["expression"][:] = 0
    return [BodyParameters(**{name: values[k] for name, values in drawn.items()}) for k in range(n)]


def least_seconds(run: Callable[[], object]) -> float:
    """Of several calls: other work on the machine only ever adds."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times)


def measure(n: int) -> dict:
    """Milliseconds a body, the ratios to smplx, and the largest distance of a vertex to where smplx has it, metres."""
    torch.set_num_threads(1)
    body, bodies = load_body(), some_bodies(n)
    layer = smplx.create(
        str(FREE_BODY), model_type="smplx", ext="npz", use_pca=False, flat_hand_mean=True, num_betas=10
    ).requires_grad_(False)
    params = as_tensors(bodies)
    rows = [{name: value[k : k + 1] for name, value in params.items()} for k in range(n)]

    def theirs() -> torch.Tensor:
        return torch.cat([layer(**row).vertices for row in rows])

    def one_by_one() -> torch.Tensor:
        return torch.cat([body.pose(row)[0] for row in rows])

    seconds = {
        "smplx": least_seconds(theirs),
        "one": least_seconds(one_by_one),
        "batch": least_seconds(lambda: body.pose(params)),
    }
    return {
        "ms_a_body": {name: round(1000 * value / n, 3) for name, value in seconds.items()},
        "ratios": {name: round(seconds["smplx"] / seconds[name], 2) for name in TARGETS},
        "targets": TARGETS,
        "largest_difference_m": float((theirs() - body.pose(params)[0]).norm(dim=-1).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="4 bodies")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(4 if arguments.quick else arguments.bodies)
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
