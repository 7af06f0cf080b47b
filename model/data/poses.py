"""The body poses that shards hold: what people do in the views of a split."""

import numpy as np

from model.data.views import Views
from pipeline.shards.open import open_shard


def body_poses(views: Views) -> np.ndarray:
    """(n, 63) axis-angle, radians: the poses of valid SMPL-X fits, each instant once."""
    usable = np.asarray(views["fit_valid"], bool) & (views["mesh_model"] == "smplx")
    found, seen = [], set()
    for folder, shard in sorted(set(zip(views["folder"][usable], views["shard"][usable], strict=True))):
        here = np.flatnonzero(usable & (views["folder"] == folder) & (views["shard"] == shard))
        with open_shard(views.shard_path(here[0])) as file:
            poses = file["fits/body_pose"][()]
        for index in here:
            key, pose = (folder, views["instant_id"][index]), poses[views["row"][index]]
            if key not in seen and np.isfinite(pose).all() and pose.any():
                seen.add(key)
                found.append(pose)
    return np.stack(found) if found else np.zeros((0, 63), np.float32)
