"""What smoothing a video's tracks gains in steadiness and costs in lag, beside a one-euro filter.

    python -m benchmarks.smoothing [--quick]

Joints swing, turn and rest at 0.4 to 2 Hz, 25 frames a second, with noise as a model's predictions have it:
of its own in each frame, and steady for a fifth of a second. Jitter is the mean acceleration of the error, lag the delay by which the
smoothed joints follow the true ones best, error the mean distance from the true ones.
"""

import argparse
import json
from collections.abc import Callable

import numpy as np

from model.people.smooth import REACH_S, on_curve

FPS = 25.0
NOISE_M, STEADY_M, STEADY_FRAMES = 0.03, 0.03, 5


def motions(seconds: float, seed: int) -> np.ndarray:
    """(T, J, 3) m: wrists, knees and a head that swing, turn back and stop, at 0.4 to 2 Hz."""
    rng, times = np.random.default_rng(seed), np.arange(int(seconds * FPS)) / FPS
    joints = []
    for rate, size in ((0.4, 0.15), (0.8, 0.3), (1.2, 0.35), (2.0, 0.25)):
        phases = rng.uniform(0, 2 * np.pi, 3)
        swing = np.sin(2 * np.pi * rate * times[:, None] + phases)
        stops = 1 / (1 + np.exp(-12 * np.sin(2 * np.pi * 0.15 * times + phases[0])))  # it rests now and then
        joints.append(size * swing * rng.uniform(0.3, 1, 3) * stops[:, None])
    return np.stack(joints, 1)


def noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    steady = rng.normal(0, STEADY_M, (shape[0] // STEADY_FRAMES + 2, *shape[1:]))
    rows = np.arange(shape[0]) / STEADY_FRAMES
    low = rows.astype(int)
    part = (rows - low)[:, None, None]
    return rng.normal(0, NOISE_M, shape) + (1 - part) * steady[low] + part * steady[low + 1]


def window(values: np.ndarray) -> np.ndarray:
    """`smooth_tracks`, on arrays (T, J, 3)."""
    times = np.arange(len(values)) / FPS
    out = []
    for now in times:
        near = np.abs(times - now) <= REACH_S + 1e-9
        out.append(on_curve((times[near] - now) / REACH_S, values[near], np.ones((near.sum(), values.shape[1]))))
    return np.stack(out)


def one_euro(values: np.ndarray, cutoff: float = 1.0, beta: float = 1.0) -> np.ndarray:
    """Casiez, Roussel and Vogel 2012: low-pass, with a cut-off that grows with the speed. It knows no later frames."""
    out, speed = [values[0]], np.zeros_like(values[0])
    for value in values[1:]:
        speed = speed + share(1.0) * ((value - out[-1]) * FPS - speed)
        out.append(out[-1] + share(cutoff + beta * np.abs(speed)) * (value - out[-1]))
    return np.stack(out)


def share(cutoff: float | np.ndarray) -> float | np.ndarray:
    return 1 / (1 + FPS / (2 * np.pi * cutoff))


def lag_ms(smooth: np.ndarray, true: np.ndarray) -> float:
    """By how much the true movement has to be delayed to be nearest to the smoothed one."""
    times, cut = np.arange(len(true)) / FPS, slice(15, -15)
    delays = np.arange(-0.05, 0.4, 0.002)
    off = []
    for delay in delays:
        late = [[np.interp(times - delay, times, true[:, j, c]) for c in range(3)] for j in range(true.shape[1])]
        off.append(np.abs(smooth - np.moveaxis(np.array(late), -1, 0))[cut].mean())
    return float(1000 * delays[int(np.argmin(off))])


def judged(filter_: Callable[[np.ndarray], np.ndarray], seconds: float, seeds: int) -> dict:
    rows = []
    for seed in range(seeds):
        true = motions(seconds, seed)
        smooth = filter_(true + noise(true.shape, seed + 100))
        off = (smooth - true)[10:-10]
        jitter = 1000 * np.linalg.norm(np.diff(off, 2, axis=0), axis=-1).mean()
        rows.append((jitter, lag_ms(filter_(true), true), 1000 * np.linalg.norm(off, axis=-1).mean()))
    jitter, lag, error = np.mean(rows, 0).round(1).tolist()
    return {"jitter_mm": jitter, "lag_ms": lag, "error_mm": error}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short motion")
    given = parser.parse_args()
    seconds, seeds = (8.0, 1) if given.quick else (30.0, 5)
    filters: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "as predicted": lambda values: values,
        "window (used)": window,
        "one euro": one_euro,
        "one euro, steadier": lambda values: one_euro(values, 0.5, 0.5),
    }
    print(json.dumps({name: judged(filter_, seconds, seeds) for name, filter_ in filters.items()}, indent=1))


if __name__ == "__main__":
    main()
