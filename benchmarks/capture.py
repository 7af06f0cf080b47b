"""How hard is a capture? Baselines that need no image, and what its pictures and bodies are like.

    python -m benchmarks.capture [CAPTURE] [--bodies 150] [--quick] [--json FILE]

Mean pose: the mean root-relative training pose in camera axes, as the prediction for every test view. Nearest pose: the distance of
each test pose to the training pose that is nearest after Procrustes alignment, which is what a perfect memory would reach.
Buried: vertices of the true naked body that the pose puts inside another part of it, by winding number, and the distance of the
deepest one to the nearest free vertex.
"""

import argparse
import json
import tempfile
from pathlib import Path

import igl
import numpy as np
from scipy.spatial import cKDTree

from benchmarks._sample import sample_capture
from model.scoring.metrics import align, mpjpe
from pipeline.body.model import load_body
from pipeline.camera import in_image, world_to_camera
from pipeline.skeletons import HUMAN36M
from pipeline.sources import open_source
from pipeline.sources.synthetic.render import vertex_normals
from pipeline.sources.synthetic.truth import TrueBodies, read_truth


def view_poses(instants) -> np.ndarray:
    """(views, J, 3) metres, root-relative in each view's camera axes."""
    poses = np.stack([world_to_camera(view.camera, i.joints_3d) for i in instants for view in i.views])
    return poses - poses[:, HUMAN36M.root_index, None]


def nearest_pa(test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """(N,) metres: distance of each test pose (N, J, 3) to its nearest training pose (M, J, 3) after similarity alignment."""
    found = []
    for pose in test:
        targets = np.broadcast_to(pose, train.shape)
        found.append(mpjpe(align(train, targets), targets).min())
    return np.array(found)


def buried(truth: TrueBodies, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) share of vertices inside another part of the body, and (N,) metres of the deepest one's distance to a free one."""
    faces = truth.rig.faces.astype(np.int64)

    def inside_body(vertices: np.ndarray) -> np.ndarray:
        outside = vertices + 1e-3 * vertex_normals(vertices, faces)
        return igl.fast_winding_number(vertices, faces, outside) > 0.5

    always = inside_body(truth.rig.template)  # mouth and eye sockets
    shares, depths = [], []
    for name in ids:
        vertices, _ = truth.mesh(name)
        inside = inside_body(vertices) & ~always
        shares.append(inside.mean())
        depths.append(cKDTree(vertices[~inside]).query(vertices[inside])[0].max() if inside.any() else 0.0)
    return np.array(shares), np.array(depths)


def measure(root: Path, bodies: int) -> dict[str, float]:
    by_split = {split: [] for split in ("train", "validation", "test")}
    for instant in open_source("human36m", root).instants():
        by_split[instant.split].append(instant)
    train, test = by_split["train"], by_split["test"]
    views = [view for instants in by_split.values() for i in instants for view in i.views]
    mean, truth = view_poses(train).mean(0), view_poses(test)
    guess = np.broadcast_to(mean, truth.shape)
    nearest = nearest_pa(*(np.stack([i.joints_3d for i in instants]) for instants in (test, train)))
    inside = np.stack(
        [in_image(view.joints_2d, view.camera.width, view.camera.height) & (view.confidence > 0) for view in views]
    )
    true_bodies = read_truth(root, load_body())
    ids = list(true_bodies.index)
    shares, depths = buried(true_bodies, ids[:: max(1, len(ids) // bodies)])
    return {
        **{f"{split}_instants": len(instants) for split, instants in by_split.items()},
        "mean_pose_mpjpe_mm": 1000 * mpjpe(guess, truth).mean(),
        "mean_pose_pa_mpjpe_mm": 1000 * mpjpe(align(guess, truth), truth).mean(),
        "nearest_train_pose_pa_mm_median": 1000 * float(np.median(nearest)),
        "nearest_train_pose_pa_mm_p10": 1000 * float(np.quantile(nearest, 0.1)),
        "box_longer_side_px_median": float(np.median([view.box[2:].max() for view in views])),
        "truncated_views": float((~inside).any(1).mean()),
        "joints_outside_image": float((~inside).mean()),
        "buried_vertices_median": float(np.median(shares)),
        "buried_vertices_p90": float(np.quantile(shares, 0.9)),
        "buried_depth_mm_median": 1000 * float(np.median(depths)),
        "buried_depth_mm_p90": 1000 * float(np.quantile(depths, 0.9)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path, nargs="?", default=Path("runs/demo/capture"))
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--bodies", type=int, default=150, help="true bodies that are tested for self-penetration")
    parser.add_argument("--quick", action="store_true", help="a capture of 28 moments, made for it; 4 bodies")
    arguments = parser.parse_args()
    if arguments.quick:
        with tempfile.TemporaryDirectory() as name:
            numbers = measure(sample_capture(Path(name), 28), 4)
    else:
        numbers = measure(arguments.capture, arguments.bodies)
    for name, value in numbers.items():
        print(f"{name:34s} {value:10.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
