"""The fast signed distance against slow, obvious twins, and what is no solid is refused."""

import igl
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import sdf
from pipeline.errors import InputError
from pipeline.sdf import BACKENDS, FAR, FAR_ERROR, FarDistance, SignedDistance, morton_order, signed_distance

USABLE = [backend for backend in BACKENDS if backend == "libigl" or sdf.pysdf is not None]


def slow_distance(points, vertices, faces):
    """(N,) metres: Ericson's closest point on a triangle (Real-Time Collision Detection, 5.1.5), every point to every triangle."""
    best = np.full(len(points), np.inf)
    for a, b, c in vertices[faces]:
        ab, ac, ap = b - a, c - a, points - a
        normal = np.cross(ab, ac)
        inside = np.all([np.cross(q - p, points - p) @ normal >= 0 for p, q in ((a, b), (b, c), (c, a))], axis=0)
        plane = np.abs(ap @ normal) / np.linalg.norm(normal)
        edges = np.min([segment_distance(points, p, q) for p, q in ((a, b), (b, c), (c, a))], axis=0)
        best = np.minimum(best, np.where(inside, plane, edges))
    return best


def segment_distance(points, p, q):
    t = np.clip((points - p) @ (q - p) / ((q - p) @ (q - p)), 0, 1)
    return np.linalg.norm(points - (p + t[:, None] * (q - p)), axis=1)


def slow_winding(points, vertices, faces):
    """(N,) sum of the solid angles of all faces over 4 pi: van Oosterom and Strackee 1983, eq. 8."""
    total = np.zeros(len(points))
    for triangle in vertices[faces]:
        a, b, c = (corner - points for corner in triangle)
        la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
        numerator = (a * np.cross(b, c)).sum(1)
        denominator = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
        total += np.arctan2(numerator, denominator) / (2 * np.pi)
    return total


def overlapping():
    """Three capsules through one another: winding numbers 0 to 3."""
    rod = trimesh.creation.capsule(height=1.0, radius=0.12, count=[8, 8])
    parts = [rod.copy() for _ in range(3)]
    parts[1].apply_transform(trimesh.transformations.rotation_matrix(1.2, [1, 0.2, 0], [0, 0, 0.5]))
    parts[2].apply_transform(trimesh.transformations.rotation_matrix(0.9, [0.1, 1, 0], [0, 0, 0.5]))
    mesh = trimesh.util.concatenate(parts)
    return np.array(mesh.vertices), np.array(mesh.faces)


def around(vertices, faces, count, rng):
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    near = trimesh.sample.sample_surface(mesh, count // 2, seed=3)[0] + rng.normal(0, 0.03, (count // 2, 3))
    return np.concatenate([near, rng.uniform(vertices.min(0) - 0.6, vertices.max(0) + 0.6, (count - count // 2, 3))])


@pytest.fixture(scope="module")
def overlap():
    """(vertices, faces, points, distances, winding numbers) of `overlapping`, the last two by the slow twins."""
    vertices, faces = overlapping()
    points = around(vertices, faces, 1500, np.random.default_rng(0))
    return vertices, faces, points, slow_distance(points, vertices, faces), slow_winding(points, vertices, faces)


@pytest.mark.parametrize("backend", USABLE)
def test_equals_the_slow_twins_where_parts_overlap(overlap, backend):
    vertices, faces, points, truth, winding = overlap
    assert set(np.round(winding).astype(int)) >= {0, 1, 2, 3}
    answer = SignedDistance(vertices, faces, backend)(points)
    error, near = np.abs(np.abs(answer) - truth), truth < FAR
    assert answer.dtype == np.float32
    assert error[near].max() < 1e-6
    assert (error[~near] <= FAR_ERROR * truth[~near]).all()
    clear = truth > 1e-6
    assert ((answer < 0) == (winding > 0.5))[clear].all()


@pytest.mark.slow
def test_a_folded_body_has_no_wrong_sign(folded_body):
    vertices, faces = folded_body
    points = around(vertices, faces, 6000, np.random.default_rng(1))
    truth = np.sqrt(igl.point_mesh_squared_distance(points, vertices, faces)[0])
    winding = igl.winding_number(vertices, faces, points)
    assert (winding > 1.5).sum() > 50
    answer = signed_distance(points, vertices, faces)
    assert not (((answer < 0) != (winding > 0.5)) & (truth > 1e-4)).any()
    near = truth < FAR
    assert np.abs(np.abs(answer) - truth)[near].max() < 5e-5
    assert (np.abs(np.abs(answer) - truth)[~near] / truth[~near]).max() < FAR_ERROR


def test_sphere():
    """On a fine sphere the distance is the radius less the faces' sag, wherever the sphere stands."""
    mesh = trimesh.creation.icosphere(5, radius=0.5)
    points = np.random.default_rng(2).normal(0, 0.6, (5000, 3))
    expected = np.linalg.norm(points, axis=1) - 0.5
    for shift in (np.zeros(3), np.array([7.0, -4.0, 12.0])):
        answer = signed_distance(points + shift, mesh.vertices + shift, mesh.faces)
        assert np.abs(answer - expected)[expected < FAR].max() < 3e-4
        assert (np.abs(answer - expected) <= 3e-4 + FAR_ERROR * np.abs(expected)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 2.0))
def test_random_boxes(seed, size):
    """Coarse triangles, of which the corner nearest to a point is seldom the nearest face's."""
    rng = np.random.default_rng(seed)
    mesh = trimesh.creation.box(extents=size * rng.uniform(0.1, 1, 3))
    points = rng.uniform(-1.5, 1.5, (300, 3)) * size
    half = mesh.extents / 2
    outside = np.linalg.norm(np.maximum(np.abs(points) - half, 0), axis=1)
    expected = outside + np.minimum((np.abs(points) - half).max(1), 0)
    error = np.abs(signed_distance(points, mesh.vertices, mesh.faces) - expected)
    assert (error <= np.where(np.abs(expected) < FAR, 1e-6, FAR_ERROR * np.abs(expected))).all()


@pytest.mark.skipif(sdf.pysdf is None, reason="pysdf is not built")
def test_pysdf_is_never_below_the_distance_and_right_where_it_is_believed(folded_body):
    vertices, faces = folded_body
    points = around(vertices, faces, 20000, np.random.default_rng(4))
    far = FarDistance(vertices.astype(float), faces)
    answer, truth = far(points), np.sqrt(igl.point_mesh_squared_distance(points, vertices, faces)[0])
    assert (answer > truth - 1e-6).all()
    assert far.right_from < FAR + 0.01
    believed = answer >= far.right_from
    assert believed.sum() > 5000
    assert (answer[believed] <= (1 + FAR_ERROR) * truth[believed]).all()
    assert (truth[believed] >= FAR).all()


@pytest.mark.skipif(sdf.pysdf is None, reason="pysdf is not built")
def test_far_distance_where_pysdf_measures_to_the_wrong_edge():
    """A triangle that is blunt at a, and a point beyond b: pysdf answers with the distance to the edge a c."""
    a, b, c = np.array([[0, 0, 0], [16.6, 0, 0], [-3.9, 7.9, 0]]) / 1000
    point = (a - 1.1 * (b - a) - 11.35 * (c - a) + [0, 0, 0.175])[None]
    far = FarDistance(np.array([a, b, c]), np.array([[0, 1, 2]]))
    truth = np.linalg.norm(point - b)
    assert np.abs(slow_distance(point, np.array([a, b, c]), np.array([[0, 1, 2]])) - truth) < 1e-9
    assert np.abs(far._sdf((point * 1000).astype(np.float32), n_threads=1)) / 1000 > 1.005 * truth
    assert np.abs(far(point) - truth) < 1e-6


def test_a_point_has_one_answer_whatever_is_asked_with_it(folded_body):
    vertices, faces = folded_body
    points = around(vertices, faces, 2000, np.random.default_rng(5))
    ask = SignedDistance(vertices, faces)
    together = ask(points)
    assert np.array_equal(together, np.concatenate([ask(points[:7]), ask(points[7:])]))
    assert np.array_equal(together, ask(points[::-1])[::-1])
    assert ask(np.zeros((0, 3))).shape == (0,)


def test_records_how_it_was_made():
    mesh = trimesh.creation.icosphere(1)
    for backend in USABLE:
        made = SignedDistance(mesh.vertices, mesh.faces, backend)
        assert (made.backend, made.sign_rule) == (backend, "winding number > 0.5")


def test_morton_order_is_a_permutation_that_keeps_neighbours():
    points = np.random.default_rng(6).uniform(-1, 1, (4000, 3))
    order = morton_order(points)
    assert np.array_equal(np.sort(order), np.arange(4000))
    steps = np.linalg.norm(np.diff(points[order], axis=0), axis=1).mean()
    assert steps < 0.25 * np.linalg.norm(np.diff(points, axis=0), axis=1).mean()


def broken(kind):
    mesh = trimesh.creation.icosphere(2)
    vertices, faces = np.array(mesh.vertices), np.array(mesh.faces)
    if kind == "hole":
        faces = faces[1:]
    elif kind == "flipped face":
        faces[10] = faces[10, ::-1]
    elif kind == "inside out":
        faces = faces[:, ::-1]
    elif kind == "one part inside out":
        faces = np.concatenate([faces, faces[:, ::-1] + len(vertices)])
        vertices = np.concatenate([vertices, vertices + 5])
    elif kind == "nan":
        vertices[3, 1] = np.nan
    elif kind == "infinite":
        vertices[3, 1] = np.inf
    elif kind == "collapsed face":
        vertices[faces[5, 0]] = vertices[faces[5, 1]]
    elif kind == "no area":
        vertices[:] = vertices[0]
    elif kind == "millimetres":
        vertices *= 1000
    elif kind == "no faces":
        faces = faces[:0]
    elif kind == "unknown vertex":
        faces[0, 0] = len(vertices)
    return vertices, faces


@pytest.mark.parametrize(
    "kind, said",
    [
        ("hole", "3 edges"),
        ("flipped face", "flipped"),
        ("inside out", "turned inside out"),
        ("one part inside out", "part 1 of 2"),
        ("nan", "vertex 3"),
        ("infinite", "vertex 3"),
        ("collapsed face", "area"),
        ("no area", "area"),
        ("no faces", "no faces"),
        ("millimetres", "2000 m"),
        ("unknown vertex", "162"),
    ],
)
def test_what_is_no_solid_is_refused(kind, said):
    with pytest.raises(InputError, match=said):
        SignedDistance(*broken(kind))


def test_a_point_without_position_is_refused():
    mesh = trimesh.creation.icosphere(1)
    with pytest.raises(InputError, match="point 1 of 2"):
        signed_distance(np.array([[0, 0, 0], [0, np.nan, 0]]), mesh.vertices, mesh.faces)
