"""Bodies on pictures: what is drawn is compared with a slow twin that casts rays."""

from itertools import product

import igl
import numpy as np
import pytest
import trimesh
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from pipeline.body.model import load_body
from pipeline.camera import assumed_camera, pixel_rays, side_camera
from pipeline.shading import AMBIENT, LIGHT, RIM, draw_meshes, surface_normals

COLOURS = np.array([[86, 180, 233], [230, 159, 0]])
WIDTH, HEIGHT = 200, 260


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def upright(body):
    """(V, 3) m about the origin, head up in a camera's axes."""
    vertices = body.v_template.numpy().astype(float) * [1, -1, -1]
    return vertices - (vertices.min(0) + vertices.max(0)) / 2


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def cast(image, camera, meshes, faces, opacity, samples):
    """As `draw_meshes`: a ray through every point, the first face that it hits, and the same light there."""
    scene = EmbreeScene()
    every = np.concatenate([faces + k * len(mesh) for k, mesh in enumerate(meshes)])
    TriangleMesh(scene, np.concatenate(meshes).astype(np.float32), every.astype(np.int32))
    normals = np.concatenate([trimesh.Trimesh(mesh, faces, process=False).vertex_normals for mesh in meshes])
    y, x = np.divmod(np.arange(camera.width * camera.height), camera.width)
    steps = (np.arange(samples) + 0.5) / samples - 0.5
    drawn = image.reshape(-1, 3).astype(float)
    for dx, dy in product(steps, steps):
        rays = pixel_rays(camera, np.stack([x + dx, y + dy], 1)) @ camera.R[:2] + camera.R[2]
        origin = np.tile((-camera.R.T @ camera.t).astype(np.float32), (len(rays), 1))
        found = scene.run(origin, rays.astype(np.float32), output=1)
        hit = np.flatnonzero(found["primID"] >= 0)
        face, u, v = found["primID"][hit], found["u"][hit, None], found["v"][hit, None]
        a, b, c = (normals[every[face, k]] for k in range(3))
        normal = unit(a * (1 - u - v) + b * u + c * v)
        edge = (1 + (normal * unit(rays[hit])).sum(1).clip(-1, 0)) ** 2
        bright = AMBIENT + (1 - AMBIENT) * (normal @ camera.R.T @ LIGHT).clip(0) + RIM * edge
        colour = (COLOURS[face // len(faces)] * bright[:, None]).clip(0, 255)
        drawn[hit] += (colour - image.reshape(-1, 3)[hit]) * opacity / samples**2
    return np.round(drawn).reshape(image.shape)


def scenes(upright):
    turned = upright @ np.array([[0.5, 0, -0.866], [0, 1, 0], [0.866, 0, 0.5]])
    front = assumed_camera(WIDTH, HEIGHT)
    yield "one in the middle", front, [upright + [0, 0, 2.6]], 1
    yield "one behind the other", front, [upright + [0.2, 0, 3], turned + [0, 0, 2.6]], 2
    yield "from the side", side_camera(np.array([0, 0, 2.5]), 130, WIDTH, HEIGHT), [turned + [0, 0, 2.5]], 1
    yield "partly outside", front, [turned + [0.9, 0.3, 1.5]], 1
    yield "a face that fills the picture", front, [turned + [0, 0.6, 0.35]], 1
    yield "from within", front, [turned], 1
    yield "beside the picture", front, [upright + [9, 0, 2.5]], 1


@pytest.mark.parametrize("number", range(7))
def test_what_is_drawn_is_what_rays_meet(body, upright, number):
    _, camera, meshes, samples = list(scenes(upright))[number]
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    found = draw_meshes(image, camera, meshes, body.faces, COLOURS[: len(meshes)], 0.8, samples)
    true = cast(image, camera, meshes, body.faces, 0.8, samples)
    # A ray that just meets an edge may meet what is behind it: single pixels, and none of them bare.
    off = np.abs(found - true).max(2)
    assert (off > 1).sum() <= 3 and off.max() < 128
    assert (number == 6) == (found == image).all()


def test_a_body_behind_the_camera_and_no_body_leave_the_picture(body, upright):
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    camera = assumed_camera(WIDTH, HEIGHT)
    assert (draw_meshes(image, camera, [upright - [0, 0, 2.5]], body.faces, COLOURS[:1]) == 90).all()
    assert (draw_meshes(image, camera, [], body.faces, COLOURS[:0]) == 90).all()


def test_faces_without_area_and_corners_on_pixels_leave_no_holes():
    """A square of four faces whose edges run through pixels' middles, with a fifth that is a line and a corner of none."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [0, 0, 0], [0, 0, 1.0]]) * [10, 10, 1] + [
        0,
        0,
        1,
    ]
    faces = np.array([[0, 4, 1], [1, 4, 2], [2, 4, 3], [3, 4, 0], [0, 4, 2]])
    camera = assumed_camera(41, 41, 1.0)
    drawn = draw_meshes(np.zeros((41, 41, 3), np.uint8), camera, [corners], faces, COLOURS[:1], 1.0, 1)
    there = drawn[..., 2] > 0
    assert there[10:31, 10:31].all() and there.sum() == 21 * 21


def test_normals_are_libigls(body, upright):
    """And those about a face without area are finite."""
    by_angle = igl.PerVertexNormalsWeightingType.PER_VERTEX_NORMALS_WEIGHTING_TYPE_ANGLE
    found = surface_normals(upright, body.faces)
    assert np.allclose(found, igl.per_vertex_normals(upright, body.faces, by_angle), atol=1e-12)
    flat = surface_normals(np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0.0]]), np.array([[0, 1, 2], [0, 1, 3]]))
    assert np.allclose(flat, [[0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 1]])
