"""Garments as meshes over the body: shipped items of several authors, and shirts, trousers and skirts cut from a suit.

Garments lie on the free body's template. A person's own lies as far off the person's body; it is skinned with the body's weights
nearby, smoothed over the garment so that a skirt hangs between the legs.
"""

import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from pipeline.errors import InputError
from pipeline.sources.synthetic.listed import listed_bytes, read_listed
from pipeline.sources.synthetic.people import Rig

ASSETS = Path(__file__).parent / "assets" / "garments"
# How many of the body's vertices a garment's point follows.
NEIGHBOURS = 6
# How often skinning weights are averaged with their neighbours': garments that hang need more.
SMOOTHINGS, HANGING_SMOOTHINGS = 4, 24
# What is closer than the first under a garment and farther than the second from its hems is not seen (metres).
CLOSE_M, HEM_M = 0.035, 0.03
HANGING = ("skirt", "dress", "coat")


@dataclass(frozen=True)
class Garment:
    """A garment on the template. rest: (G, 3) metres; faces: (F, 3); uv: (G, 2) in its texture: (H, W, 3) uint8 sRGB, or None.

    hidden: (V,) bool, vertices of the body that it covers. near: (G, NEIGHBOURS) vertices of the body, share: how much each counts.
    weights: (G, 55) skinning.
    """

    name: str
    kind: str
    rest: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    texture: np.ndarray | None
    hidden: np.ndarray
    near: np.ndarray
    share: np.ndarray
    weights: np.ndarray

    @property
    def hangs(self) -> bool:
        """Whether it falls away from the body, as a skirt does."""
        return self.kind in HANGING or self.name in ("JeansSkirt", "miniskirt")


@dataclass(frozen=True)
class Wardrobe:
    """The garments by name."""

    garments: dict[str, Garment]

    def of_kind(self, kind: str) -> list[Garment]:
        return [garment for garment in self.garments.values() if garment.kind == kind]


@cache
def read_assets() -> tuple[dict, dict[str, np.ndarray]]:
    """What garments.json says, and the arrays. Raises InputError when a file is missing or another one."""
    try:
        content = json.loads((ASSETS / "garments.json").read_text())
        licences = [(ASSETS / name).read_bytes() for name in ("ATTRIBUTION.txt", "base_LICENSE.txt")]
    except (OSError, ValueError) as error:
        raise InputError(f"the garments in {ASSETS} cannot be read ({error}). Install this program again.") from error
    if not all(licences):
        raise InputError(f"a licence of the garments in {ASSETS} is empty. Install this program again.")
    data = listed_bytes(ASSETS / "garments.npz", content["sha256"], "garments.json")
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return content, dict(archive)


def open_wardrobe(rig: Rig) -> Wardrobe | None:
    """All garments, ready for people of the free body; None for another body, which they do not fit."""
    content, arrays = read_assets()
    if rig.sha256 != content["body"]:
        return None
    tree = cKDTree(rig.template)
    garments = {}
    for name, record in content["items"].items():
        rest, faces = arrays[f"{name}/rest"].astype(float), arrays[f"{name}/faces"].astype(np.int32)
        distance, near = tree.query(rest, k=NEIGHBOURS)
        share = 1 / (distance + 0.01)
        share /= share.sum(1, keepdims=True)
        hidden = np.unpackbits(arrays[f"{name}/hidden"], count=len(rig.template)).astype(bool)
        if "sha256" in record:
            hidden |= beneath(rig.template, rest, faces)
        texture = read_listed(ASSETS / f"{name}.jpg", record["sha256"], "garments.json") if "sha256" in record else None
        garment = Garment(
            name,
            record["kind"],
            rest,
            faces,
            arrays[f"{name}/uv"].astype(np.float32),
            texture,
            hidden,
            near,
            share,
            np.zeros((len(rest), 55)),
        )
        weights = np.einsum("gk,gkj->gj", share, rig.weights[near.ravel()].toarray().reshape(*near.shape, -1))
        garment.weights[:] = _smoothed(weights, faces, HANGING_SMOOTHINGS if garment.hangs else SMOOTHINGS)
        garments[name] = garment
    return Wardrobe(garments)


def neighbour_mean(faces: np.ndarray, n: int) -> sparse.csr_array:
    """(n, n): takes values at a mesh's vertices to the mean of each vertex and its neighbours."""
    rows = np.concatenate([faces[:, [a, b]].ravel() for a, b in ((0, 1), (1, 2), (2, 0))]).reshape(-1, 2)
    pairs = np.concatenate([rows, rows[:, ::-1], np.repeat(np.arange(n)[:, None], 2, 1)])
    adjacent = sparse.csr_array((np.ones(len(pairs)), pairs.T), shape=(n, n))
    adjacent.data[:] = 1
    return sparse.csr_array(sparse.diags_array(1 / adjacent.sum(1)) @ adjacent)


def _smoothed(values: np.ndarray, faces: np.ndarray, times: int) -> np.ndarray:
    mean = neighbour_mean(faces, len(values))
    for _ in range(times):
        values = mean @ values
    return values / values.sum(1, keepdims=True)


def cut(garment: Garment, keep: np.ndarray) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    """What is left of a garment where keep: (G,), linear along edges, is positive.

    -> (G', G) combinations of the garment's points that make the points of the piece, its faces (F', 3), and a point of the garment
    (G',) beside each of the piece's. Faces that the cut
    crosses are cut along it, so that hems are as smooth as the line.
    """
    inside = keep > 0
    count = inside[garment.faces].sum(1)
    whole = garment.faces[count == 3]
    rows, columns, values = [np.arange(len(keep))], [np.arange(len(keep))], [np.ones(len(keep))]
    pieces, made, beside = [whole], len(keep), [np.arange(len(keep))]
    for n in (1, 2):
        crossed = garment.faces[count == n]
        if not len(crossed):
            continue
        # Turn each so that the odd one out is first.
        odd = (inside[crossed] == (n == 1)).argmax(1)
        a, b, c = (np.take_along_axis(crossed, ((odd + k) % 3)[:, None], 1)[:, 0] for k in range(3))
        ends = []
        for other in (b, c):
            t = np.clip(keep[a] / (keep[a] - keep[other]), 0.0, 1.0)
            new = made + np.arange(len(a))
            made += len(a)
            rows += [new, new]
            columns += [a, other]
            values += [1 - t, t]
            ends.append(new)
            beside.append(a)
        ab, ac = ends
        if n == 1:
            pieces.append(np.stack([a, ab, ac], 1))
        else:
            pieces += [np.stack([ab, b, c], 1), np.stack([ab, c, ac], 1)]
    faces = np.concatenate(pieces)
    used, inverse = np.unique(faces, return_inverse=True)
    combine = sparse.csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(made, len(keep))
    )
    return combine[used], inverse.reshape(-1, 3).astype(np.int32), np.concatenate(beside)[used]


def beneath(points: np.ndarray, rest: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N,) bool: which points lie close under a garment (G, 3), (F, 3) and well away from its hems."""
    _, welded = np.unique((rest * 1e4).round(), axis=0, return_inverse=True)
    edges = np.sort(np.concatenate([welded.ravel()[faces[:, [a, b]]] for a, b in ((0, 1), (1, 2), (2, 0))]), 1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    hem = np.isin(welded.ravel(), unique[count == 1])
    hidden = cKDTree(rest).query(points, distance_upper_bound=CLOSE_M)[0] < CLOSE_M
    if hem.any():
        hidden &= cKDTree(rest[hem]).query(points, distance_upper_bound=HEM_M)[0] >= HEM_M
    return hidden


def on_person(garment: Garment, moved: np.ndarray) -> np.ndarray:
    """(G, 3) where a garment lies on a person. moved: (V, 3) metres from the template to the person's zero pose."""
    return garment.rest + np.einsum("gk,gkc->gc", garment.share, moved[garment.near])


def push_out(
    points: np.ndarray,
    body: np.ndarray,
    normals: np.ndarray,
    margin: np.ndarray | float,
    near: np.ndarray | None = None,
) -> np.ndarray:
    """(G, 3) points moved out of a body (V, 3), and at least a margin off its skin. near: (G,) the vertices to look at, if known."""
    if near is None:
        _, near = cKDTree(body, balanced_tree=False, compact_nodes=False).query(points)
    outwards = normals[near]
    height = np.einsum("gc,gc->g", points - body[near], outwards)
    return points + np.maximum(margin - height, 0)[:, None] * outwards
