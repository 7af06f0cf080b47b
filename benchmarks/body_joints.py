"""How far the built-in Human3.6M joints lie from the joints of the body's own skeleton that have the same names.

    python -m benchmarks.body_joints [--quick] [--json FILE]

Bodies of random betas (standard normal) in random poses, half of each generator of `benchmarks.fit_persons`, all facing the
same way. "offset": distance of the two points. "constant": length of the mean offset in the pelvis' axes, which a fixed
correction would take away. "rest": mean distance that is left after it. "root-relative": distance when each set is relative to
its own pelvis, as it is scored. Spine, nose and head top have no joint of their own in the skeleton.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.fit_persons import POSES
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel, load_body
from pipeline.skeletons import HUMAN36M, SMPLX_22

SHARED = tuple(name for name in HUMAN36M.names if name in SMPLX_22.names)


def posed_joints(body: BodyModel, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, K, 3) metres of the joints SHARED on n bodies: by the built-in definition, and of the skeleton itself."""
    rng = np.random.default_rng(seed)
    poses = np.concatenate([make(rng, n // 2) for make in POSES.values()])
    parameters = {"betas": rng.normal(size=(len(poses), 10)), "body_pose": poses}
    vertices, joints = body.pose({name: torch.as_tensor(values) for name, values in parameters.items()})
    points = keypoint_map(body, HUMAN36M)(joints, vertices)
    return points[:, HUMAN36M.indices(SHARED)].numpy(), joints[:, SMPLX_22.indices(SHARED)].numpy()


def differences(points: np.ndarray, own: np.ndarray) -> dict[str, dict[str, float]]:
    """Joint -> its numbers in mm. points, own: (n, K, 3) metres."""
    offset = 1000 * (points - own)
    mean = offset.mean(0)
    rest = np.linalg.norm(offset - mean, axis=2)
    relative = np.linalg.norm(offset - offset[:, [SHARED.index("pelvis")]], axis=2)
    distance = np.linalg.norm(offset, axis=2)
    columns = {
        "offset_mean": distance.mean(0),
        "offset_max": distance.max(0),
        "constant": np.linalg.norm(mean, axis=1),
        "rest_mean": rest.mean(0),
        "rest_max": rest.max(0),
        "root_relative_mean": relative.mean(0),
    }
    table = {name: {key: float(values[k]) for key, values in columns.items()} for k, name in enumerate(SHARED)}
    table["mean"] = {key: float(values.mean()) for key, values in columns.items()}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="64 bodies: does it run?")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    n = 64 if arguments.quick else 4000
    table = differences(*posed_joints(load_body(), n))
    print(f"{n} bodies, mm\n")
    print("| joint | offset: mean | max | constant | rest: mean | max | root-relative: mean |\n" + "| --- " * 7 + "|")
    for name, row in table.items():
        print(f"| {name.replace('_', ' ')} | " + " | ".join(f"{value:.1f}" for value in row.values()) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"bodies": n, "mm": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
