"""Triangle meshes as arrays: areas, openings and the triangles that close them."""

import numpy as np

from pipeline.errors import InputError

# An opening with more edges than this is a missing part of the body, not a seam or a socket.
LARGEST_OPENING = 64


def triangle_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) square metres."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def opening_caps(faces: np.ndarray) -> list[np.ndarray]:
    """Triangles (n, 3) that close each opening of a mesh, oriented as its faces are: one fan an opening.

    Raises InputError for an opening of more than LARGEST_OPENING edges, and for one that is not a simple loop.
    """
    following = boundary_edges(faces)
    caps = []
    while following:
        start, vertex = following.popitem()
        loop = [start]
        while vertex != start:
            loop.append(vertex)
            if vertex not in following:
                raise InputError(f"the opening at vertex {loop[-1]} is not a loop; use an unmodified body model")
            vertex = following.pop(vertex)
        if len(loop) > LARGEST_OPENING:
            raise InputError(
                f"the body's faces leave an opening of {len(loop)} edges at vertex {start}, above {LARGEST_OPENING}: part "
                "of the body is missing; use a whole body model"
            )
        # The loop runs along the faces' own edges; the cap runs against them.
        caps.append(np.array([(loop[0], loop[k + 1], loop[k]) for k in range(1, len(loop) - 1)]))
    return caps


def boundary_edges(faces: np.ndarray) -> dict[int, int]:
    """Edges {from: to} of faces that no other face runs along the other way. Raises InputError where two leave one
    vertex."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    n = int(faces.max()) + 1
    key, reverse = edges[:, 0] * n + edges[:, 1], edges[:, 1] * n + edges[:, 0]
    open_edges = edges[~np.isin(key, reverse)]
    if len(np.unique(open_edges[:, 0])) < len(open_edges):
        raise InputError(
            "two openings of the body's faces meet in one vertex, or faces are flipped; use an unmodified body model"
        )
    return dict(map(tuple, open_edges.tolist()))
