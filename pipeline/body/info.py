"""A body model in a dozen lines."""

import numpy as np
import trimesh

from pipeline.body.model import BodyModel


def describe(body: BodyModel) -> dict[str, str]:
    """Name -> value, for people to read."""
    vertices = body.v_template.numpy()
    mesh = trimesh.Trimesh(vertices, body.faces, process=False)
    return {
        "body": body.name,
        "sha256": body.sha256,
        "vertices, faces": f"{len(vertices)}, {len(body.faces)}",
        "joints": str(len(body.parents)),
        "stature": f"{np.ptp(vertices[:, 1]):.3f} m at zero betas",
        "watertight": f"yes, {mesh.body_count} closed parts" if mesh.is_watertight else "no",
        "volume": f"{1e3 * mesh.volume:.1f} litres" if mesh.is_watertight else "undefined",
        "pose correctives": "none" if body.posedirs is None else "yes",
        "expressions": f"{int(body.exprdirs.abs().amax((0, 1)).gt(0).sum())} of {body.exprdirs.shape[2]} used",
    }
