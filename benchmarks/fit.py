"""How fast and how right the fit is, against the published SMPLify-X's 0.052 frames a second.

    python benchmarks/fit.py [--quick] [--threads 2] [--device cpu] [--json FILE]

Errors are means over persons, in mm, from the noise-free truth; bodies are people that ten betas describe only roughly. "wide" and
"capture" are two generators of poses, neither of which shaped the prior.
"""

import argparse
import json
import platform
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.fit_persons import Persons, make_persons
from model.scoring.metrics import mpjpe, pa_mpjpe
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel, as_tensors, load_body
from pipeline.fit import FitSettings, Fitter
from pipeline.memory import keep_freed_memory

PUBLISHED_FITS_PER_SECOND = 0.052


def timed_fit(fitter: Fitter, persons: Persons, betas=None, repeats: int = 3):
    """The fits and the best rate of several runs, fits a second: other work on the machine only ever slows."""
    fitter.fit(persons.instants[:4], betas)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        fits = fitter.fit(persons.instants, betas)
        seconds.append(time.perf_counter() - began)
    return fits, len(fits) / min(seconds)


def pose_fits(body: BodyModel, fits) -> tuple[np.ndarray, np.ndarray]:
    vertices, joints = body.pose(as_tensors([fit.parameters for fit in fits]))
    return vertices.numpy(), joints.numpy()


def facing_errors(joints: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(n,) degrees between the directions that two bodies (n, 55, 3) face: across hips and spine."""

    def forward(j):
        across, up = j[:, 1] - j[:, 2], j[:, 12] - j[:, 0]
        f = np.cross(across, up)
        return f / np.linalg.norm(f, axis=1, keepdims=True)

    return np.degrees(np.arccos(np.clip((forward(joints) * forward(truth)).sum(1), -1, 1)))


def monocular(body: BodyModel, settings: FitSettings, n: int, poses: str, prior: str = "motion") -> dict:
    """25 OpenPose joints with 1 px noise in one image, known intrinsics, unknown shape."""
    settings = replace(settings, prior=prior)
    persons = make_persons(body, n, 7, "openpose_25", poses, as_annotated=settings.manner.as_annotated)
    fits, rate = timed_fit(Fitter(body, settings), persons)
    _, joints = pose_fits(body, fits)
    error = pa_mpjpe(joints[:, :22], persons.joints[:, :22]) * 1000
    facing = facing_errors(joints, persons.joints)
    return {
        "fits_per_second": rate,
        "speedup": rate / PUBLISHED_FITS_PER_SECOND,
        "pa_mpjpe_mm": error.mean(),
        "pa_median_mm": np.median(error),
        "pa_p90_mm": np.quantile(error, 0.9),
        "mpjpe_mm": mpjpe(joints[:, :22] - joints[:, :1], persons.joints[:, :22] - persons.joints[:, :1]).mean() * 1000,
        "wrong_way": int((facing > 90).sum()),
        "reprojection_px": float(np.mean([fit.quality.reprojection_px[0] for fit in fits])),
        "ambiguous": float(np.mean([fit.quality.ambiguous for fit in fits])),
    }


def in_space(body: BodyModel, settings: FitSettings, n: int, poses: str) -> dict:
    """17 Human3.6M joints in 3D with 3 mm noise an axis, one shape per subject solved first."""
    persons = make_persons(body, n, 8, "human36m_17", poses, subjects=7, noise_3d=0.003)
    fitter = Fitter(body, settings)
    betas = fitter.solve_shapes(persons.instants)
    fits, rate = timed_fit(fitter, persons, betas)
    vertices, joints = pose_fits(body, fits)
    points = keypoint_map(body, "human36m_17")(joints, vertices)
    fitted = np.linalg.norm(points - persons.points, axis=2) * 1000
    return {
        "fits_per_second": rate,
        "fitted_joints_mm": fitted.mean(),
        "worst_person_mm": fitted.mean(1).max(),
        "body_joints_mm": np.linalg.norm((joints - persons.joints)[:, :22], axis=2).mean() * 1000,
        "vertices_mm": np.linalg.norm(vertices - persons.vertices, axis=2).mean() * 1000,
        "iterations": float(np.mean([fit.quality.iterations for fit in fits])),
    }


def four_views(body: BodyModel, settings: FitSettings, n: int, poses: str) -> dict:
    """25 OpenPose joints with 1 px noise in four calibrated views, no 3D."""
    persons = make_persons(body, n, 9, "openpose_25", poses, views=4)
    fits, rate = timed_fit(Fitter(body, settings), persons)
    vertices, joints = pose_fits(body, fits)
    return {
        "fits_per_second": rate,
        "body_joints_mm": np.linalg.norm((joints - persons.joints)[:, :22], axis=2).mean() * 1000,
        "vertices_mm": np.linalg.norm(vertices - persons.vertices, axis=2).mean() * 1000,
    }


def endurance(body: BodyModel, settings: FitSettings, n: int) -> dict:
    """n instants with 3D joints, block by block: the rate of each tenth and how much memory grew after the first."""
    persons = make_persons(body, 500, 8, "human36m_17", subjects=7, noise_3d=0.003)
    fitter = Fitter(body, settings)
    betas = fitter.solve_shapes(persons.instants)
    rounds = max(1, n // 5000)
    rates, memory = [], []
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(rounds):
            fitter.fit(persons.instants, betas)
        rates.append(500 * rounds / (time.perf_counter() - began))
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return {
        "instants": 5000 * rounds,
        "first_tenth_per_s": rates[0],
        "last_tenth_per_s": rates[-1],
        "memory_growth_mb": memory[-1] - memory[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few persons: does it run?")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--endurance", type=int, default=0, help="also fit so many instants with 3D, e.g. 50000")
    parser.add_argument(
        "--batches", type=int, nargs="*", default=[], help="also 3D fits at these batch sizes, e.g. 1024 4096"
    )
    parser.add_argument("--interpenetration", action="store_true", help="also crossed arms and legs, with and without")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    body, settings = load_body(), FitSettings(device=arguments.device)
    n2, n3 = (8, 16) if arguments.quick else (64, 512)
    machine = f"{platform.machine()}, {arguments.threads} threads, {arguments.device}, torch {torch.__version__}"
    print(machine)
    table = {}

    def measure(name, function, *given):
        table[name] = function(body, *given)
        numbers = (
            f"{key} {value:.3g}" if abs(value) < 100 else f"{key} {value:.0f}" for key, value in table[name].items()
        )
        print(f"{name}: {', '.join(numbers)}", flush=True)

    for poses in ("wide", "capture"):
        measure(f"one view, {poses} poses", monocular, settings, n2, poses)
    for poses, prior in (("wide", "anatomical"), ("capture", "anatomical"), ("capture", "l2"), ("capture", "angle")):
        measure(f"one view, {poses} poses, prior {prior}", monocular, settings, n2, poses, prior)
    for poses in ("wide", "capture"):
        measure(f"3D joints, {poses} poses", in_space, settings, n3, poses)
    measure("four views, capture poses", four_views, settings, n2, "capture")
    if arguments.endurance:
        measure("endurance", endurance, settings, arguments.endurance)
    for batch in arguments.batches:
        measure(f"3D joints, batch {batch}", in_space, replace(settings, batch=batch), batch, "wide")
    if arguments.interpenetration:
        from benchmarks.fit_collisions import crossed_limbs

        measure("crossed limbs", crossed_limbs, settings, 4 if arguments.quick else 32)
    if arguments.json:
        rows = {name: {key: float(value) for key, value in row.items()} for name, row in table.items()}
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
