"""Crossed arms and legs fitted with and without the interpenetration term: penetrating volume, reprojection and cost."""

import time
from dataclasses import replace

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
    """Litres: the integral of max(winding number - 1, 0) of a closed mesh, exact along z in columns `cell` metres apart.

    Not libigl's fast winding number at points of a grid: it is off by a hundredth near the skin, which is 10 ml of a body at rest.
    """
    column, z, leaves = _crossings(np.asarray(vertices, float), faces.astype(np.int64), cell)
    order = np.lexsort((z, column[:, 1], column[:, 0]))
    column, z, leaves = column[order], z[order], leaves[order]
    # every column ends outside, so one sum runs through all
    depth = np.cumsum(np.where(leaves, -1, 1))[:-1]
    return float(1000 * cell**2 * (np.maximum(depth - 1, 0) * np.diff(z)).sum())


def _crossings(vertices: np.ndarray, faces: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where columns along z run through faces: the columns (N, 2), z (N,) metres, and whether they leave the body there (N,) bool."""
    corners = vertices[faces]
    # a shift that no vertex has, so that columns run through no edge
    flat = corners[..., :2] / cell + (0.12345e-3, 0.37721e-3)
    low = np.ceil(flat.min(1)).astype(int)
    size = np.maximum(np.floor(flat.max(1)).astype(int) - low + 1, 0)
    counts = size.prod(1)
    face = np.repeat(np.arange(len(faces)), counts)
    nth = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
    column = low[face] + np.stack([nth % size[face, 0], nth // size[face, 0]], 1)
    to = flat[face] - column[:, None]
    # twice the signed areas opposite to the corners: all of one sign where the column runs through the face
    areas = np.stack([_cross(to[:, (k + 1) % 3], to[:, (k + 2) % 3]) for k in range(3)], 1)
    hit = (areas > 0).all(1) | (areas < 0).all(1)
    face, column, areas = face[hit], column[hit], areas[hit]
    z = (areas * corners[face, :, 2]).sum(1) / areas.sum(1)
    return column, z, areas.sum(1) > 0


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


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
