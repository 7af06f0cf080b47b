"""Batched metrics against one call per frame, and how far the two agree.

    python -m benchmarks.metrics [--samples 20000] [--quick] [--json FILE]

The loop is the usual way of research code: for every sample the norm of the difference, after an alignment by an SVD
of one 3 x 3 matrix for PA-MPJPE. Targets: batched MPJPE 50 times, batched PA-MPJPE 8 times the loop's speed.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from model.scoring.metrics import mpjpe, pa_mpjpe

TARGETS = {"mpjpe": 50, "pa_mpjpe": 8}


def loop_mpjpe(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.array([np.sqrt(((p - q) ** 2).sum(1)).mean() for p, q in zip(prediction, truth, strict=True)])


def loop_pa_mpjpe(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    errors = []
    for p, q in zip(prediction, truth, strict=True):
        a, b = p - p.mean(0), q - q.mean(0)
        U, s, Vt = np.linalg.svd(b.T @ a)
        if np.linalg.det(U @ Vt) < 0:
            s[-1] = -s[-1]
            U[:, -1] = -U[:, -1]
        scale = s.sum() / (a**2).sum()
        errors.append(np.sqrt(((scale * a @ (U @ Vt).T - b) ** 2).sum(1)).mean())
    return np.array(errors)


def best_seconds(function, *arguments, repeats: int = 5) -> float:
    """The least of several timings: other work on the machine only ever adds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--quick", action="store_true", help="2,000 samples")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.samples = 2000
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.4, (arguments.samples, 17, 3))
    prediction = truth + rng.normal(0, 0.05, truth.shape)
    rows = {}
    print(f"{arguments.samples:,} samples of 17 joints, float64\n")
    print(f"{'':10}{'loop us':>9}{'batched us':>12}{'ratio':>8}{'target':>8}{'largest difference m':>22}")
    for name, slow, fast in (("mpjpe", loop_mpjpe, mpjpe), ("pa_mpjpe", loop_pa_mpjpe, pa_mpjpe)):
        loop = best_seconds(slow, prediction, truth, repeats=3) / arguments.samples * 1e6
        batched = best_seconds(fast, prediction, truth) / arguments.samples * 1e6
        difference = float(np.abs(slow(prediction, truth) - fast(prediction, truth)).max())
        rows[name] = {
            "loop_us": round(loop, 3),
            "batched_us": round(batched, 4),
            "ratio": round(loop / batched, 1),
            "target": TARGETS[name],
            "largest_difference_m": difference,
        }
        print(f"{name:10}{loop:9.2f}{batched:12.3f}{loop / batched:8.1f}{TARGETS[name]:8}{difference:22.1e}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
