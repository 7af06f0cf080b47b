"""What smoothing a video's tracks, and one body shape a track, gain in steadiness and cost in lag; beside a one-euro filter.

    python -m benchmarks.smoothing [--quick] [--json FILE]

Joints swing, turn and rest at 0.4 to 2 Hz, 25 frames a second, with noise as a model's predictions have it:
of its own in each frame, and steady for a fifth of a second. Jitter is the mean acceleration of the error, lag the delay by which the
smoothed joints follow the true ones best, error the mean distance from the true ones.

Tracks: the same joints about a root whose distance wavers, each as sure in each frame as it happens to be. Root joint is the furthest
that the root's own joint gets from the root.

Bodies: people of known shapes in moments of motion capture, their joints smoothed as before, fitted by the free model's fit.
Stature is how much the height of the standing body differs from frame to frame (its deviation), and from the true one.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from model.decoding import BODY
from model.people import free_model
from model.people.bodies import BodyFits, embody, steady, with_bodies
from model.people.motion import rest_joints
from model.people.predict import load_model
from model.people.records import Person, Picture, PicturePeople
from model.people.smooth import REACH_S, on_curve, smooth_tracks
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel, as_tensors
from pipeline.camera import assumed_camera
from pipeline.outputs import write_json
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.skeletons import FIELD_JOINTS, SMPLX_55
from pipeline.sources.synthetic.wild.clips import load_clips

FPS = 25.0
NOISE_M, STEADY_M, STEADY_FRAMES = 0.03, 0.03, 5
# How far the distance of a root wavers, and how sure joints are: from, to.
ROOT_M, SURE = 0.08, (0.2, 0.95)


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


def jitter_mm(off: np.ndarray) -> float:
    """Mean acceleration of errors (T, ..., 3) m, millimetres a frame squared."""
    return float(1000 * np.linalg.norm(np.diff(off, 2, axis=0), axis=-1).mean())


def judged(filter_: Callable[[np.ndarray], np.ndarray], seconds: float, seeds: int) -> dict:
    rows = []
    for seed in range(seeds):
        true = motions(seconds, seed)
        smooth = filter_(true + noise(true.shape, seed + 100))
        off = (smooth - true)[10:-10]
        jitter = jitter_mm(off)
        rows.append((jitter, lag_ms(filter_(true), true), 1000 * np.linalg.norm(off, axis=-1).mean()))
    jitter, lag, error = np.mean(rows, 0).round(1).tolist()
    return {"jitter_mm": jitter, "lag_ms": lag, "error_mm": error}


def judged_tracks(seconds: float, seeds: int) -> dict[str, dict]:
    """Of joints about a root, as predicted and after `smooth_tracks`. The first joint is the root's."""
    rows: dict[str, list] = {"as predicted": [], "smooth_tracks (used)": []}
    for seed in range(seeds):
        rng, true = np.random.default_rng(seed + 200), motions(seconds, seed) + [0, 0, 4.0]
        film = [(picture, wavering(found, rng)) for picture, found in film_of(true, seed)]
        relative = true - true[:, :1]
        for name, seen in zip(rows, (film, smooth_tracks(film)), strict=True):
            found = np.stack([one.people[0].joints for _, one in seen])
            off = (found - relative)[10:-10, 1:]
            root_off = 1000 * np.linalg.norm(found[:, 0], axis=-1).max()
            rows[name].append((jitter_mm(off), 1000 * np.linalg.norm(off, axis=-1).mean(), root_off))
    keys = ("jitter_mm", "error_mm", "root_joint_mm")
    return {name: dict(zip(keys, np.mean(found, 0).round(1).tolist(), strict=True)) for name, found in rows.items()}


def wavering(found: PicturePeople, rng: np.random.Generator) -> PicturePeople:
    """The one person nearer or further away, and each joint more or less sure."""
    (one,) = found.people
    sure = rng.uniform(*SURE, len(one.joints))
    return replace(found, people=(replace(one, root=one.root + [0, 0, rng.normal(0, ROOT_M)], confidence=sure),))


def walker(clip: str, frames: int, seed: int) -> list[BodyParameters]:
    """Somebody of a random shape in the first frames of a clip, four metres before the camera."""
    clips = load_clips()
    rows = np.flatnonzero(clips.clip == clips.names.index(clip))[:frames]
    betas = np.random.default_rng(seed).normal(0, 0.8, 10).astype(np.float32)
    upright = np.diag([1.0, -1.0, -1.0])  # the clips' y is up
    bodies = []
    for row in rows:
        turns = clips.rotations[row].copy()
        turns[0] = upright @ turns[0]
        vectors = Rotation.from_matrix(turns).as_rotvec().astype(np.float32)
        values = {name: np.zeros(size, np.float32) for name, size in PARAMETER_SIZES.items()}
        values |= {"betas": betas, "global_orient": vectors[0], "body_pose": vectors[1:].ravel()}
        bodies.append(BodyParameters(**values | {"transl": np.array([0, 0, 4], np.float32)}))
    return bodies


def stature(body: BodyModel, betas: np.ndarray) -> float:
    """Metres from the ankles to the head's joint of the standing body."""
    joints = rest_joints(body, betas.astype(float))
    return float(joints[SMPLX_55.index("head"), 1] - joints[SMPLX_55.index("left_ankle"), 1])


def film_of(true: np.ndarray, seed: int) -> list[tuple[Picture, PicturePeople]]:
    """What a network says of (T, J, 3) m: joints with noise, in frames of one track."""
    noisy, camera = true + noise(true.shape, seed + 100), assumed_camera(640, 480)
    pixels, sure = np.zeros((480, 640, 3), np.uint8), np.full(true.shape[1], 0.6)
    pairs = []
    for k, joints in enumerate(noisy):
        root = joints[FIELD_JOINTS.root_index]
        flat = np.zeros((len(joints), 2))
        who = Person(np.zeros(4), 0.9, "detector", joints - root, root, flat, sure, sure > 0.5, 1.0, track=1)
        name, time_s = f"v.mp4#frame={k}", k / FPS
        found = PicturePeople(name, 640, 480, camera, (who,), k, time_s)
        pairs.append((Picture(name, pixels, camera, k, time_s), found))
    return pairs


def judged_bodies(frames: int, clips: Sequence[str]) -> dict[str, dict]:
    """Of bodies that are fitted frame by frame, and of those that have one shape."""
    fits = BodyFits(load_model(free_model.folder()), BODY)
    rows: dict[str, list] = {"a shape a frame": [], "a shape a track (used)": []}
    for seed, clip in enumerate(clips):
        bodies = walker(clip, frames, seed)
        vertices, joints = fits.body.pose(as_tensors(bodies))
        true = keypoint_map(fits.body, FIELD_JOINTS)(joints.numpy(), vertices.numpy()).astype(float)
        true_root = true[:, FIELD_JOINTS.root_index]
        smooth = list(smooth_tracks(film_of(true, seed)))
        alone = [replace(found, people=tuple(embody(found.people, [found.camera], fits))) for _, found in smooth]
        together = [found for _, found in steady(with_bodies(smooth, fits), fits)]
        for name, film in zip(rows, (alone, together), strict=True):
            root = np.stack([one.people[0].root for one in film])
            found = np.stack([one.people[0].joints for one in film])
            tall = np.array([stature(fits.body, one.people[0].body.betas) for one in film if one.people[0].body])
            off, cut = found - (true - true_root[:, None]), slice(5, -5)
            jitter = jitter_mm(off[cut])
            wrong = 1000 * abs(tall - stature(fits.body, bodies[0].betas)).mean()
            error = 1000 * np.linalg.norm(off[cut], axis=-1).mean()
            lag = lag_ms(found, true - true_root[:, None])
            rows[name].append((jitter, lag, error, jitter_mm((root - true_root)[cut]), 1000 * tall.std(), wrong))
    keys = ("jitter_mm", "lag_ms", "error_mm", "root_jitter_mm", "stature_flicker_mm", "stature_error_mm")
    return {name: dict(zip(keys, np.mean(found, 0).round(1).tolist(), strict=True)) for name, found in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short motion")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    seconds, seeds = (8.0, 1) if given.quick else (30.0, 5)
    filters: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "as predicted": lambda values: values,
        "window (used)": window,
        "one euro": one_euro,
        "one euro, steadier": lambda values: one_euro(values, 0.5, 0.5),
    }
    frames, clips = (40, ("walk",)) if given.quick else (75, ("walk", "dance_a", "kick"))
    said = {
        "filters": {name: judged(filter_, seconds, seeds) for name, filter_ in filters.items()},
        "tracks": judged_tracks(seconds, seeds),
        "bodies": judged_bodies(frames, clips),
    }
    print(json.dumps(said, indent=1))
    if given.json:
        write_json(given.json, said)


if __name__ == "__main__":
    main()
