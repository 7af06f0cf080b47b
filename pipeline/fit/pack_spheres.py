"""Packs spheres into a body. As a program it makes `assets/spheres.npz`: those of the free body.

python -m pipeline.fit.pack_spheres pipeline/fit/assets
"""

import argparse
import hashlib
import io
from pathlib import Path

import igl
import numpy as np
from scipy.optimize import nnls
from scipy.spatial import cKDTree

from pipeline.body.model import BodyModel, load_body
from pipeline.fit.kinematics import LEFT_HAND, RIGHT_HAND
from pipeline.fit.spheres import FINE, PACKINGS, SPHERES_FILE, Packing, Spheres
from pipeline.outputs import write_file, write_json
from pipeline.skeletons import SMPLX_55
from pipeline.threads import one_libigl_thread

SMALLEST_RADIUS, LARGEST_RADIUS = 0.008, 0.14
# Pairs that are nearer than this at rest (metres) belong together: neighbours along a limb, thighs at the crotch.
REST_GAP = 0.02
_CANDIDATES = 40_000
_HOLDERS = 24
_HANDS = (*(SMPLX_55.index(f"{side}_wrist") for side in ("left", "right")), *LEFT_HAND, *RIGHT_HAND)


def pack_spheres(body: BodyModel, packing: Packing = FINE) -> Spheres:
    """Spheres that fill the T-posed body, the largest first, each outside those before; the same for the same body."""
    one_libigl_thread()
    vertices = body.v_template.numpy().astype(float)
    rng = np.random.default_rng(0)
    points = _interior(vertices, body.faces, rng)
    inside = igl.fast_winding_number(vertices, body.faces.astype(np.int64), points) > 0.5
    depth, nearest = cKDTree(vertices).query(points)
    radius = np.where(inside, np.minimum(depth, LARGEST_RADIUS), 0)
    parts = body.weights.numpy().argmax(1)[nearest]
    in_hand = np.isin(parts, _HANDS)
    packed = _pack(points, np.where(in_hand, 0, radius), packing.body, packing.spacing) + _pack(
        points, np.where(in_hand, radius, 0), packing.hands, packing.spacing
    )
    centres, radii, part = points[packed], radius[packed], parts[packed]
    gaps = np.linalg.norm(centres[:, None] - centres, axis=-1) - radii[:, None] - radii
    return Spheres(*_hang(vertices, centres), radii, (gaps > REST_GAP) & ~_neighbours(body)[part][:, part])


def _pack(points: np.ndarray, radius: np.ndarray, most: int, spacing: float) -> list[int]:
    """Indices of the largest spheres, each centre `spacing` radii away from those of larger ones."""
    picked: list[int] = []
    while len(picked) < most and radius.max() > SMALLEST_RADIUS:
        best = int(radius.argmax())
        picked.append(best)
        apart = np.linalg.norm(points - points[best], axis=1)
        radius = np.where(apart < spacing * radius[best], 0, radius)
    return picked


def _neighbours(body: BodyModel) -> np.ndarray:
    """(55, 55) bool: parts that are one, or meet at a joint, where skin folds into itself whatever the pose. A collar is one with the
    chest, fingers are one with their hand."""
    name = SMPLX_55.index
    whole = {name("left_collar"): name("spine3"), name("right_collar"): name("spine3")}
    whole |= {j: name("left_wrist") for j in LEFT_HAND} | {j: name("right_wrist") for j in RIGHT_HAND}
    part = [whole.get(j, j) for j in range(len(body.parents))]
    near = np.eye(len(part), dtype=bool)
    for j, parent in enumerate(body.parents):
        if parent >= 0:
            near[part[j], part[parent]] = near[part[parent], part[j]] = True
    return near[part][:, part]


def _interior(vertices: np.ndarray, faces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points inside the mesh or near it: vertices pushed along their inward normals by random depths."""
    normals = igl.per_vertex_normals(vertices, faces.astype(np.int64))
    picked = rng.integers(len(vertices), size=_CANDIDATES)
    return vertices[picked] - normals[picked] * rng.uniform(0.005, LARGEST_RADIUS, (_CANDIDATES, 1))


def _hang(vertices: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, H) around each centre, and their shares (N, H) in it, none below zero."""
    tree = cKDTree(vertices)
    around, shares = [], []
    for centre in centres:
        near = tree.query(centre, 400)[1][:: 400 // _HOLDERS]
        system = np.concatenate([(vertices[near] - centre).T, 0.3 * np.ones((1, len(near)))])
        # a little of the identity spreads the weight over many vertices
        system = np.concatenate([system, 0.01 * np.eye(len(near))])
        weights = nnls(system, np.concatenate([np.zeros(3), [0.3], np.full(len(near), 0.01 / len(near))]))[0]
        around.append(near)
        shares.append(weights / weights.sum())
    return np.array(around), np.array(shares, np.float32)


def build(out: Path) -> None:
    """Writes the free body's spheres and their provenance into a folder."""
    body, content = load_body(), io.BytesIO()
    arrays = {
        f"{name}_{part}": values
        for name, packing in PACKINGS.items()
        for part, values in vars(pack_spheres(body, packing)).items()
    }
    np.savez_compressed(content, allow_pickle=False, body_sha256=body.sha256, **arrays)
    record = {
        "what": "Spheres that fill the free body, for what it costs to run into itself.",
        "made_from": "the free body (CC0)",
        "licence": "that of this program",
        "made_by": "python -m pipeline.fit.pack_spheres OUT",
        "body_sha256": body.sha256,
        "sha256": hashlib.sha256(content.getvalue()).hexdigest(),
    }
    write_file(out / SPHERES_FILE.name, content.getvalue())
    write_json(out / f"{SPHERES_FILE.stem}.provenance.json", record)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write spheres.npz and its provenance into")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
