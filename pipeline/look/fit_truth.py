"""How far the fits in shards are from the bodies that a synthetic capture was made with. For reports: nothing trains on it."""

from pathlib import Path

import numpy as np
import torch

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel, as_tensors
from pipeline.errors import InputError
from pipeline.fit import rotations
from pipeline.shards.store import ShardFolder
from pipeline.skeletons import FIELD_JOINTS
from pipeline.sources.synthetic.truth import read_truth
from pipeline.spread import spread_evenly

_CHUNK = 64


def fit_truth_errors(shards: Path, capture: Path, body: BodyModel, instants: int = 500) -> dict:
    """Mean errors in mm over up to `instants` instants spread evenly over the shards.

    vertex_error_mm: vertices of the fitted mesh against the true, naked body. joint_error_mm: the 55 joints. fit_error_mm: mean
    of what the fit itself reports. The true body is moved from the capture's world to crop axes by the rigid motion that takes
    its field joints to the stored ones: where the shards keep the capture's own joints, both are the same points.
    """
    folder, truth = ShardFolder(shards), read_truth(capture, body)
    rows = _one_view_an_instant(folder, truth.index)
    if not rows:
        raise InputError(
            f"{shards} has no fitted instant of the capture {capture}; give the folder that was made from it"
        )
    rows = [rows[i] for i in spread_evenly(len(rows), instants)]
    where = keypoint_map(body, FIELD_JOINTS)
    vertex, joint, reported = [], [], []
    for first in range(0, len(rows), _CHUNK):
        part = rows[first : first + _CHUNK]
        views = [folder.readers[shard].read_view(row) for shard, row in part]
        with torch.no_grad():
            fitted = body.pose(as_tensors([folder.readers[shard].read_body(row) for shard, row in part]))
        for view, vertices, joints in zip(views, *(values.numpy() for values in fitted), strict=True):
            true_vertices, true_joints = truth.mesh(view["instant_id"])
            R, t = rigid_motion(where(true_joints, true_vertices), view["joints"])
            vertex.append(_mean_mm(vertices, true_vertices @ R.T + t))
            joint.append(_mean_mm(joints, true_joints @ R.T + t))
            reported.append(view["fit_error_mm"])
    return {
        "vertex_error_mm": float(np.mean(vertex)),
        "joint_error_mm": float(np.mean(joint)),
        "fit_error_mm": float(np.nanmean(reported)),
        "instants": len(rows),
    }


def _one_view_an_instant(folder: ShardFolder, known: dict[str, int]) -> list[tuple[int, int]]:
    table = folder.view_table()
    fitted = np.isfinite(table["fit_error_mm"]) & np.isin(table["instant_id"], list(known))
    _, first = np.unique(np.where(fitted, table["instant_id"], ""), return_index=True)
    return [(int(table["shard"][i]), int(table["row"][i])) for i in first if fitted[i]]


def rigid_motion(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R (3, 3), t (3,) with target ~ source @ R.T + t in least squares. source, target: (N, 3) metres."""
    points = torch.from_numpy(np.stack([source, target])).double()[:, None]
    weights = torch.ones_like(points[0, ..., 0])
    R, there, here = (a[0].numpy() for a in rotations.rigid_motion(points[0], points[1], weights))
    return R, there - R @ here


def _mean_mm(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.linalg.norm(found - true, axis=-1).mean() * 1000)
