"""Signed distance: is every sign right, how exact is the distance, and how fast is it beside the libraries?

    python -m benchmarks.sdf [--quick] [--json runs/bench/sdf.json]

Accuracy: POSES random poses of the free body, half of them folded into themselves (arms through the trunk, thighs
through the belly), at 20,000 points each, distributed as the pipeline draws them; the truth is libigl's exact winding
number and its exact distance. Points within 0.1 mm of the surface are left out of the count of signs. Speed: build
and query of one structure at the points of 4 views (32,768), on one thread and one core, processor time, the best of
REPEATS rounds in which every method has its turn.
"""

import argparse
import importlib.util
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import igl
import numpy as np
import trimesh

from pipeline import sdf
from pipeline.body.model import BodyModel, load_body
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.sdf import SignedDistance, signed_distance
from pipeline.skeletons import SMPLX_22

REPEATS = 5
SURFACE = 1e-4  # metres: nearer points have no sign worth arguing about
FOLDED_SHARE = 0.05  # of the points inside: covered twice, from which a pose counts as deeply folded
FOLDED = {  # axis-angle, radians
    "left_shoulder": (0.3, -1.0, -0.9),
    "left_elbow": (0, -2.0, 0),
    "right_shoulder": (0.3, 1.0, 0.9),
    "right_elbow": (0, 2.0, 0),
    "left_hip": (-1.9, 0, -0.3),
    "left_knee": (2.2, 0, 0),
}
CURLED = {
    "right_hip": (-2.2, 0, 0.6),
    "right_knee": (2.4, 0, 0),
    "spine1": (0.8, 0, 0),
    "spine2": (0.6, 0.3, 0),
    "neck": (0.9, 0.5, 0),
}


def random_pose(rng: np.random.Generator, folded: bool) -> BodyParameters:
    """A body somewhere within 2 m of the origin, of random shape; folded: with its limbs inside itself."""
    values = {name: np.zeros(size) for name, size in PARAMETER_SIZES.items()}
    values["betas"], values["transl"] = rng.normal(0, 1, 10), rng.uniform(-2, 2, 3)
    values["global_orient"] = rng.normal(0, 1, 3)
    values["left_hand_pose"], values["right_hand_pose"] = rng.normal(0, 0.3, (2, 45))
    body = rng.normal(0, 0.25, (21, 3))
    if folded:
        for name, angles in (FOLDED | CURLED if rng.random() < 0.5 else FOLDED).items():
            body[SMPLX_22.index(name) - 1] += angles
    values["body_pose"] = body.ravel()
    return BodyParameters(**values)


def pool_points(vertices: np.ndarray, faces: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 3) metres: 35 % and 25 % at 10 and 50 mm from the surface, the rest in a box 0.5 m larger than the
    body."""
    near = [int(0.35 * count), int(0.25 * count)]
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    places = trimesh.sample.sample_surface(mesh, sum(near), seed=int(rng.integers(2**31)))[0]
    places = rng.permutation(places) + np.repeat([0.01, 0.05], near)[:, None] * rng.standard_normal(places.shape)
    around = rng.uniform(vertices.min(0) - 0.5, vertices.max(0) + 0.5, (count - sum(near), 3))
    return np.concatenate([places, around])


def truth(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (N,) metres, and exact winding number (N,)."""
    squared, _, _ = igl.point_mesh_squared_distance(points, vertices, faces)
    return np.sqrt(squared), igl.winding_number(vertices, faces, points)


def compare(answers: np.ndarray, distance: np.ndarray, winding: np.ndarray) -> dict[str, float]:
    """Errors of signed answers (N,) against the truth."""
    error, near = np.abs(np.abs(answers) - distance), distance < 0.15
    wrong = ((answers < 0) != (winding > 0.5)) & (distance > SURFACE)
    return {
        "wrong_signs": int(wrong.sum()),
        "near_error_mm": float(error[near].max() * 1e3),
        "mean_error_mm": float(error.mean() * 1e3),
        "far_error_percent": float((error / distance)[~near].max() * 100),
    }


def accuracy(body: BodyModel, poses: int, points: int) -> dict[str, float]:
    """The worst of `signed_distance` over many poses."""
    rng, rows, doubly = np.random.default_rng(0), [], []
    for k in range(poses):
        vertices = body.mesh(random_pose(rng, folded=k % 2 == 0))[0].astype(np.float64)
        where = pool_points(vertices, body.faces, points, rng)
        distance, winding = truth(where, vertices, body.faces)
        rows.append(compare(signed_distance(where, vertices, body.faces), distance, winding))
        doubly.append(float((winding > 1.5).sum() / max(1, (winding > 0.5).sum())))
    return {
        "poses": poses,
        "points": poses * points,
        "wrong_signs": sum(row["wrong_signs"] for row in rows),
        "near_error_mm": max(row["near_error_mm"] for row in rows),
        "far_error_percent": max(row["far_error_percent"] for row in rows),
        "folded_poses": sum(share > FOLDED_SHARE for share in doubly),
        "covered_twice_max": max(doubly),
    }


def methods(vertices: np.ndarray, faces: np.ndarray) -> dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]]:
    """name -> (points it is asked for at once, build and query), negative inside."""
    v32, f32 = vertices.astype(np.float32), faces.astype(np.uint32)
    everything = 4 * 8192
    found = {"ours, libigl alone": (everything, lambda p: SignedDistance(vertices, faces, "libigl")(p))}
    if sdf.pysdf is not None:
        found = (
            {"ours": (everything, lambda p: signed_distance(p, vertices, faces))}
            | found
            | {
                "pysdf": (everything, lambda p: -sdf.pysdf.SDF(v32, f32)(p.astype(np.float32), n_threads=1)),
                "pysdf robust=False": (
                    everything,
                    lambda p: -sdf.pysdf.SDF(v32, f32, False)(p.astype(np.float32), n_threads=1),
                ),
            }
        )
    for name in ("FAST_WINDING_NUMBER", "PSEUDONORMAL"):
        kind = getattr(igl, f"SIGNED_DISTANCE_TYPE_{name}")
        found[f"libigl {name.lower()}"] = (
            everything,
            lambda p, kind=kind: igl.signed_distance(p, vertices, faces, sign_type=kind)[0],
        )
    try:
        import open3d

        found["Open3D RaycastingScene"] = (everything, lambda p: ask_open3d(open3d, v32, f32, p))
    except ImportError:
        print("Open3D is not installed (the extra `bench`): left out")
    if importlib.util.find_spec("rtree"):
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        found["trimesh.proximity"] = (500, lambda p: -trimesh.proximity.signed_distance(mesh.copy(), p))
    else:
        print("rtree is not installed, trimesh.proximity needs it (the extra `bench`): left out")
    return found


def ask_open3d(open3d, vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    scene = open3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(open3d.core.Tensor(vertices), open3d.core.Tensor(faces))
    return scene.compute_signed_distance(open3d.core.Tensor(points.astype(np.float32)), nthreads=1).numpy()


def speed(body: BodyModel, repeats: int) -> list[dict]:
    """One row a method, at a folded body."""
    rng = np.random.default_rng(1)
    vertices = body.mesh(random_pose(rng, folded=True))[0].astype(np.float64)
    points = pool_points(vertices, body.faces, 4 * 8192, rng)
    points = rng.permutation(points)
    distance, winding = truth(points, vertices, body.faces)
    tried = methods(vertices, body.faces)
    best, answers = dict.fromkeys(tried, np.inf), {}
    for _ in range(repeats):  # in turn, so that a busy moment of the machine hits all alike
        for name, (count, ask) in tried.items():
            start = time.process_time()
            answers[name] = np.asarray(ask(points[:count])).ravel()
            best[name] = min(best[name], time.process_time() - start)
    return [
        {"method": name, "points": count, "million_points_per_s": count / best[name] / 1e6}
        | compare(answers[name], distance[:count], winding[:count])
        for name, (count, _) in tried.items()
    ]


def report(result: dict) -> str:
    exact, rows = result["accuracy"], result["speed"]
    plain = next((row["million_points_per_s"] for row in rows if row["method"] == "pysdf"), np.nan)
    lines = [
        f"{exact['points']:,} points over {exact['poses']} poses ({exact['folded_poses']} with more than {FOLDED_SHARE:.0%} of "
        f"what is inside covered twice): {exact['wrong_signs']} wrong signs, error at most {exact['near_error_mm']:.4f} mm "
        f"below 0.15 m and {exact['far_error_percent']:.2f} % beyond",
        "",
        "| method | Mpoint/s | of pysdf | wrong signs | mean error mm | max below 0.15 m, mm | max beyond, % |",
        "| --- | " + "--- | " * 6,
    ]
    lines += [
        f"| {row['method']} | {row['million_points_per_s']:.3f} | {row['million_points_per_s'] / plain:.2f} | "
        f"{100 * row['wrong_signs'] / row['points']:.2f} % | {row['mean_error_mm']:.4f} | {row['near_error_mm']:.3f} | "
        f"{row['far_error_percent']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 poses and 2 rounds: a minute's look")
    parser.add_argument("--json", type=Path, default=Path("runs/bench/sdf.json"))
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    body = load_body()
    result = {
        "machine": platform.processor() or platform.machine(),
        "backend": sdf.BACKEND,
        "accuracy": accuracy(body, 4 if args.quick else 50, 20_000),
        "speed": speed(body, 2 if args.quick else REPEATS),
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1))
    print(report(result))


if __name__ == "__main__":
    main()
