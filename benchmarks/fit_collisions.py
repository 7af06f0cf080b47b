"""Crossed arms and legs fitted with and without the interpenetration term: penetrating volume, reprojection and cost."""

import time
from dataclasses import replace

import igl
import numpy as np
import torch

from benchmarks.fit_persons import FOCAL, IMAGE
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel
from pipeline.fit import FitSettings, Fitter
from pipeline.records import Camera, Instant, View
from pipeline.skeletons import SMPLX_22

# Axis-angle, radians; with the spread below these run limbs into the body.
CROSSED_ARMS = {
    "left_shoulder": (0.2, -0.9, -1.25),
    "left_elbow": (0, -1.6, 0),
    "right_shoulder": (0.2, 0.9, 1.25),
    "right_elbow": (0, 1.6, 0),
}
CROSSED_LEGS = {
    "left_hip": (-0.6, 0, -0.30),
    "right_hip": (-0.2, 0, 0.25),
    "left_knee": (0.6, 0, 0),
    "right_knee": (0.2, 0, 0),
}


def penetrating_volume(vertices: np.ndarray, faces: np.ndarray, cell: float = 0.01) -> float:
    """Litres: the integral of max(winding number - 1, 0), on a grid of `cell` metres."""
    low, high = vertices.min(0), vertices.max(0)
    axes = [np.arange(a, b, cell) + cell / 2 for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    winding = igl.fast_winding_number(np.ascontiguousarray(vertices, float), faces.astype(np.int64), grid)
    return float(np.maximum(winding - 1, 0).sum() * cell**3 * 1000)


def crossed_persons(body: BodyModel, n: int, seed: int = 5) -> list[Instant]:
    """Persons facing the camera more or less, with crossed arms or legs that penetrate, as 25 OpenPose joints with 1 px noise."""
    rng = np.random.default_rng(seed)
    K = np.array([[FOCAL, 0, IMAGE / 2], [0, FOCAL, IMAGE / 2], [0, 0, 1.0]])
    instants = []
    for i in range(n):
        pose = rng.normal(0, 0.04, (21, 3))
        for name, turn in (CROSSED_ARMS if i % 2 == 0 else CROSSED_LEGS).items():
            pose[SMPLX_22.index(name) - 1] += np.array(turn) + rng.normal(0, 0.06, 3)
        if i % 2:
            pose[SMPLX_22.index("left_shoulder") - 1, 2] -= 1.0
            pose[SMPLX_22.index("right_shoulder") - 1, 2] += 1.0
        given = {
            "body_pose": pose.reshape(1, 63),
            "global_orient": [[np.pi, 0, 0]],
            "betas": rng.normal(0, 0.7, (1, 10)),
            "transl": [[0, 0, 4]],
        }
        vertices, joints = body.pose(
            {name: torch.as_tensor(np.asarray(value), dtype=torch.float32) for name, value in given.items()}
        )
        points = keypoint_map(body, "openpose_25")(joints.numpy(), vertices.numpy())[0]
        pixels = points[:, :2] / points[:, 2:] * FOCAL + IMAGE / 2 + rng.normal(0, 1, (25, 2))
        low, high = pixels.min(0), pixels.max(0)
        camera = Camera(K, np.eye(3), np.zeros(3), IMAGE, IMAGE)
        view = View(f"{i}/0", "0", camera, "", np.r_[low, high - low], pixels, np.ones(25))
        instants.append(Instant(f"{i}", None, "", i, "openpose_25", (view,)))
    return instants


def crossed_limbs(body: BodyModel, settings: FitSettings, n: int) -> dict:
    """Volumes in litres, means over n persons."""
    instants = crossed_persons(body, n)
    result = {}
    for name, on in (("without", False), ("with", True)):
        fitter = Fitter(body, replace(settings, interpenetration=on))
        fitter.fit(instants[:2])
        began = time.perf_counter()
        fits = fitter.fit(instants)
        result[f"ms_a_fit_{name}"] = 1000 * (time.perf_counter() - began) / n
        result[f"litres_{name}"] = float(
            np.mean([penetrating_volume(body.mesh(fit.parameters)[0], body.faces) for fit in fits])
        )
        result[f"reprojection_px_{name}"] = float(np.mean([fit.quality.reprojection_px[0] for fit in fits]))
    result["less_volume"] = 1 - result["litres_with"] / max(result["litres_without"], 1e-9)
    return result
