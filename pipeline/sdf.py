"""Signed distance to a closed triangle mesh: negative inside, positive outside, metres.

A point is inside where its winding number is above 0.5, so a body that overlaps itself stays solid. Near the surface
the distance is that to the nearest of all triangles (libigl's tree). Further off pysdf, which looks only at the
triangles around the nearest vertex, is several times faster and, with triangles small enough, off by less than
FAR_ERROR. docs/sampling.md has the measurements.
"""

from dataclasses import dataclass
from functools import lru_cache

import igl
import numpy as np
from scipy.ndimage import maximum_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipeline.errors import InputError
from pipeline.threads import one_libigl_thread

try:
    import pysdf
except ImportError:  # built from source where a compiler is at hand; libigl alone gives the same distances, more slowly
    pysdf = None

BACKENDS = ("pysdf+libigl", "libigl")
BACKEND = "libigl" if pysdf is None else "pysdf+libigl"
SIGN_RULE = "winding number > 0.5"
# Distances below this are exact, metres; beyond it they may be off by the share FAR_ERROR.
FAR = 0.15
FAR_ERROR = 0.01
# A triangle whose area is below this has no normal in single precision: square metres, sides of about a micrometre.
SMALLEST_AREA = 1e-12
# The largest side of a mesh, metres. No body reaches it; a mesh that is in millimetres by mistake does.
LARGEST = 10.0
# libigl's tree of Taylor expansions: at order 1 and accuracy 1 a body's winding number is within 0.25 of the exact one,
# which is an integer (the mesh is closed). What is further than DOUBT from an integer is asked again, and at last
# exactly.
ORDER, COARSE, FINE = 1, 1.0, 3.0
DOUBT = 0.3
# Side of the cells along whose Morton order points are asked: neighbours in space become neighbours in the cache.
MORTON_CELL = 0.02
# Side of the cells that tell what is near the surface, metres.
CELL = 0.05


def signed_distance(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N,) float32 metres, negative inside, of points (N, 3) to the closed mesh of vertices (V, 3) metres and faces
    (F, 3).

    Raises InputError for a mesh that is not the closed surface of a solid, see `SignedDistance`.
    """
    return SignedDistance(vertices, faces)(points)


class SignedDistance:
    """The signed distance to one mesh, built once and asked for many points.

    vertices: (V, 3) metres, any frame. faces: (F, 3) integers, counter-clockwise seen from outside. backend: one of
    BACKENDS; the answers agree to FAR_ERROR beyond FAR and to single precision nearer. Raises InputError for vertices
    that are not finite, triangles without area, openings, and faces that are turned inside out.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, backend: str = BACKEND):
        one_libigl_thread()
        self.backend = backend
        assert self.backend in BACKENDS, self.backend
        self.sign_rule = SIGN_RULE
        faces = np.ascontiguousarray(faces, dtype=np.int64)
        vertices = np.asarray(vertices, dtype=np.float64)
        check_solid(vertices, faces)
        self._centre = vertices.mean(0)  # single precision keeps its digits for the body, not for where the body stands
        self._vertices = np.ascontiguousarray(vertices - self._centre)
        self._faces = faces
        self._tree = igl.AABB()
        self._tree.init(self._vertices, faces)
        self._winding = igl.FastWindingNumberBVH()
        self._winding.init(self._vertices, faces, ORDER)
        self._far = None
        if self.backend == "pysdf+libigl":
            self._far = FarDistance(self._vertices, faces)
            self._surroundings = Surroundings(self._vertices)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(N,) float32 metres for points (N, 3) metres, in the mesh's frame."""
        points = np.asarray(points, dtype=np.float64)
        assert points.ndim == 2 and points.shape[1] == 3, points.shape
        if not np.isfinite(points).all():
            bad = int(np.argmin(np.isfinite(points).all(1)))
            raise InputError(f"point {bad} of {len(points)} is {points[bad].tolist()}, not a position")
        if not len(points):
            return np.zeros(0, np.float32)
        points = points - self._centre
        order = morton_order(points)
        points = points[order]
        signed = np.where(self._inside(points), -1, 1) * self._distance(points)
        result = np.empty(len(points), np.float32)
        result[order] = signed
        return result

    def _distance(self, points: np.ndarray) -> np.ndarray:
        if self._far is None:
            return self._exact(points)
        distance = np.zeros(len(points))
        maybe = np.flatnonzero(~self._surroundings(points))
        if len(maybe):
            distance[maybe] = self._far(points[maybe])
        near = distance < self._far.right_from
        if near.any():
            distance[near] = self._exact(points[near])
        return distance

    def _exact(self, points: np.ndarray) -> np.ndarray:
        return np.sqrt(self._tree.squared_distance(self._vertices, self._faces, points)[0])

    def _inside(self, points: np.ndarray) -> np.ndarray:
        winding = self._winding.winding_number(points, COARSE)
        for ask in (
            lambda doubtful: self._winding.winding_number(doubtful, FINE),
            lambda doubtful: igl.winding_number(self._vertices, self._faces, doubtful),
        ):
            doubt = ~(np.abs(winding - np.round(winding)) < DOUBT)
            if not doubt.any():
                break
            winding[doubt] = ask(np.ascontiguousarray(points[doubt]))
        return winding > 0.5


class FarDistance:
    """pysdf's distance, right to FAR_ERROR from `right_from` metres on.

    For any point, s = min(pysdf's answer, the distance to the nearest vertex) is at least the true distance d. Every
    point of a triangle with longest edge L is within r = L / sqrt(3) of one of its corners, so d^2 >= s^2 - r^2, and
    s <= (1 + FAR_ERROR) d once s >= r / sqrt(1 - (1 + FAR_ERROR)^-2). Long triangles are quartered until that holds
    from FAR on, or three times.

    pysdf alone gives no such bound: for a point beyond a corner of a triangle it may measure to the wrong edge. It works in
    millimetres here, because without its ray casting it keeps the first of two triangles whose squared distances differ by
    less than 1e-5 units: 3 mm near the surface in metres, nothing in millimetres.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray):
        reach = np.sqrt(1 - (1 + FAR_ERROR) ** -2)
        longest = FAR * reach * np.sqrt(3)
        cut = vertices[faces]
        cut = cut[longest_edges(cut) > longest]
        for _ in range(3):
            edges = longest_edges(cut)
            cut = np.concatenate([cut[edges <= longest], quarter(cut[edges > longest])])
        radius = longest_edges(cut).max(initial=longest) / np.sqrt(3)
        # A nearer point, d < FAR, has s below the second of these.
        self.right_from = max(radius / reach, np.hypot(FAR, radius))
        # The long triangles stay too: pysdf has no answer at a vertex without triangles.
        triangles = np.concatenate([faces, len(vertices) + np.arange(3 * len(cut)).reshape(-1, 3)])
        self._corners = (np.concatenate([vertices, cut.reshape(-1, 3)]) * 1000).astype(np.float32)
        self._sdf = pysdf.SDF(self._corners, triangles.astype(np.uint32), robust=False)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(N,) metres, not below the true distance, of points (N, 3)."""
        points = (points * 1000).astype(np.float32)
        to_vertex = points - self._corners[self._sdf.nn(points, n_threads=1)]
        by_triangle = np.abs(self._sdf(points, n_threads=1)).ravel()
        return np.minimum(by_triangle, np.sqrt(np.einsum("ni,ni->n", to_vertex, to_vertex))) / 1000.0


class Surroundings:
    """The cells of side CELL beside those that hold a vertex: what lies in one is too near to be worth asking pysdf."""

    def __init__(self, vertices: np.ndarray):
        self._low = vertices.min(0) - 2 * CELL
        cells = self._cells(vertices)
        self._near = np.zeros(cells.max(0) + 4, bool)
        self._near[tuple(cells.T)] = True
        self._near = maximum_filter(self._near, size=3)

    def _cells(self, points: np.ndarray) -> np.ndarray:
        return np.floor((points - self._low) / CELL).astype(np.int64)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool for points (N, 3). The outermost cells are never near, so what lies outside is looked up there."""
        return self._near[tuple(self._cells(points).clip(0, np.array(self._near.shape) - 1).T)]


def longest_edges(triangles: np.ndarray) -> np.ndarray:
    """(F,) metres, of triangles (F, 3, 3)."""
    sides = triangles - triangles[:, [1, 2, 0]]
    return np.sqrt((sides**2).sum(-1).max(-1))


def quarter(triangles: np.ndarray) -> np.ndarray:
    """(4 F, 3, 3): each triangle cut at the middles of its edges."""
    a, b, c = triangles.transpose(1, 0, 2)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    return np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])


def morton_order(points: np.ndarray) -> np.ndarray:
    """(N,) indices that put points (N, 3) in the order of a Z curve through cells of side MORTON_CELL."""
    cells = ((points - points.min(0)) / MORTON_CELL).clip(0, 1023).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for axis in range(3):
        x = cells[:, axis]
        for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
            x = (x | x << shift) & mask
        code |= x << axis
    return np.argsort(code)


@dataclass(frozen=True)
class Topology:
    """What a list of faces is, whatever the positions. part: (F,) which connected part each face is of; fault: why it
    bounds no solid."""

    part: np.ndarray
    parts: int
    fault: str | None


@lru_cache(maxsize=8)  # a run has one list of faces, or a few: the check is made once a worker
def topology(face_bytes: bytes, n_vertices: int) -> Topology:
    faces = np.frombuffer(face_bytes, np.int64).reshape(-1, 3)
    if len(faces) == 0:
        return Topology(np.zeros(0, int), 0, "it has no faces")
    if faces.min() < 0 or faces.max() >= n_vertices:
        return Topology(np.zeros(0, int), 0, f"a face names vertex {faces.max()} of {n_vertices}")
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    balance = coo_matrix((np.ones(len(start)), (start, end)), (n_vertices, n_vertices)).tocsr()
    unmatched = abs(balance - balance.T)
    unmatched.eliminate_zeros()
    _, part = connected_components(balance, directed=False)
    _, part = np.unique(part[faces[:, 0]], return_inverse=True)
    fault = None
    if unmatched.nnz:
        a, b = (int(i[0]) for i in unmatched.nonzero())
        fault = (
            f"{unmatched.nnz // 2} edges, the first from vertex {a} to {b}, are not run as often one way as the other "
            "by the faces beside them: it has holes, or faces that are flipped"
        )
    return Topology(part, int(part.max()) + 1, fault)


def check_solid(vertices: np.ndarray, faces: np.ndarray) -> None:
    """Raises InputError unless vertices (V, 3) and faces (F, 3) are the closed surface of a solid, seen
    counter-clockwise from outside."""
    remedy = "give a closed mesh whose faces are counter-clockwise seen from outside"
    if not np.isfinite(vertices).all():
        first = int(np.argmin(np.isfinite(vertices).all(1)))
        raise InputError(f"vertex {first} of the mesh is {vertices[first].tolist()}, not a position; {remedy}")
    if np.ptp(vertices, 0).max(initial=0) > LARGEST:
        raise InputError(
            f"the mesh spans {np.ptp(vertices, 0).max():.4g} m, more than {LARGEST:g}: give a body, in metres"
        )
    shape = topology(faces.tobytes(), len(vertices))
    if shape.fault:
        raise InputError(f"the mesh is not closed: {shape.fault}; {remedy}")
    a, b, c = (vertices[faces[:, k]] - vertices[0] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.sqrt((normal**2).sum(1)) / 2
    if area.min() < SMALLEST_AREA:
        raise InputError(
            f"face {int(area.argmin())} of the mesh has an area of {area.min():.2g} m2, below {SMALLEST_AREA:g}: "
            f"{remedy}, in metres, without collapsed triangles"
        )
    volume = np.bincount(shape.part, (a * normal).sum(1) / 6, shape.parts)
    if volume.min() <= 0:
        raise InputError(
            f"part {int(volume.argmin())} of {shape.parts} of the mesh has a volume of {volume.min():.2g} m3: its faces "
            f"are turned inside out; {remedy}"
        )
