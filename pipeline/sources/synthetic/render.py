"""Draws a clothed person into a backdrop by ray casting: one structure an instant, rays only where the person can be.

Colours come from the place of each hit on the template; light is a sun with cast shadows over a sky and ground.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from scipy import sparse

from pipeline.records import Camera
from pipeline.sources.synthetic.scenery import Backdrop, Light

# The image is this many blocks wide; those with no projected vertex in or beside them are skipped. A block is wider than a face.
BLOCKS = 48
# How much of the sun a shadow takes away, and the standard deviation of the sensor's noise (1 is white).
SHADOW = 0.85
SENSOR_NOISE = 0.012


# Colours of hits: (M,) indices of the faces hit and (M, 3) places on the template -> (M, 3) float32 albedo, 0..1 sRGB.
Painter = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Scene:
    """Posed, clothed meshes ready for rays. vertices, normals: (V, 3) float32 in the world; template: (V, 3) float32.

    outline: (N, 3) points in the world, so dense that everything to draw projects near one of them.
    """

    rays: EmbreeScene
    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    template: np.ndarray
    outline: np.ndarray


def face_incidence(faces: np.ndarray, n_vertices: int) -> sparse.csr_array:
    """(V, F) ones where a vertex belongs to a face: sums face normals to vertex normals."""
    rows, columns = faces.ravel(), np.repeat(np.arange(len(faces)), 3)
    return sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(n_vertices, len(faces)))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray, incidence: sparse.csr_array) -> np.ndarray:
    """(V, 3) unit normals, faces weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = incidence @ np.cross(b - a, c - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def make_scene(vertices: np.ndarray, faces: np.ndarray, incidence: sparse.csr_array, template: np.ndarray) -> Scene:
    vertices = np.ascontiguousarray(vertices, np.float32)
    rays = EmbreeScene()
    TriangleMesh(rays, vertices, np.ascontiguousarray(faces, np.int32))
    normals = vertex_normals(vertices, faces, incidence).astype(np.float32)
    return Scene(rays, vertices, normals, faces, template, outline=vertices)


def candidate_pixels(scene: Scene, camera: Camera) -> np.ndarray:
    """(M, 2) column and row of the pixels that may see something of the scene: blocks near a projected point of its outline."""
    points = scene.outline @ camera.R.T + camera.t
    uv = points[:, :2] / points[:, 2:] @ camera.K[:2, :2].T + camera.K[:2, 2]
    block = max(4, camera.width // BLOCKS)
    blocks = -(-np.array([camera.height, camera.width]) // block)
    cells = np.floor((uv[points[:, 2] > 0.1] + 0.5) / block).astype(int)[:, ::-1]
    cells = cells[((cells >= 0) & (cells < blocks)).all(1)]
    grid = np.zeros(blocks, np.uint8)
    grid[cells[:, 0], cells[:, 1]] = 1
    grid = cv2.dilate(grid, np.ones((3, 3), np.uint8))
    mask = np.kron(grid, np.ones((block, block), np.uint8))[: camera.height, : camera.width]
    rows, columns = np.nonzero(mask)
    return np.stack([columns, rows], 1)


def draw_view(
    scene: Scene,
    camera: Camera,
    painter: Painter,
    light: Light,
    backdrop: Backdrop,
    supersampling: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """-> (H, W, 3) uint8 RGB and (H, W) float32 cover of the person (before anything stands in front of it)."""
    image = backdrop.image.copy()
    _floor_shadow(scene, light, backdrop, image)
    pixels = candidate_pixels(scene, camera)
    cover = np.zeros((camera.height, camera.width), np.float32)
    if len(pixels):
        colour, hit = _trace(scene, camera, painter, light, pixels, supersampling)
        row, column = pixels[:, 1], pixels[:, 0]
        cover[row, column] = hit
        image[row, column] = image[row, column] * (1 - hit[:, None]) + colour
    if backdrop.occluder is not None:
        image += (backdrop.occluder_image - image) * backdrop.occluder[..., None]
    image *= 255 * backdrop.gain
    image += rng.standard_normal(image.shape, np.float32) * np.float32(255 * SENSOR_NOISE)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8), cover


def _trace(
    scene: Scene, camera: Camera, painter: Painter, light: Light, pixels: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """(M, 2) pixels -> (M, 3) colour times cover and (M,) cover, each the mean of n x n rays."""
    steps = (np.arange(n) + 0.5) / n - 0.5
    offsets = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    samples = (pixels[None] + offsets[:, None]).reshape(-1, 2)
    plane = (samples - camera.K[:2, 2]) / [camera.K[0, 0], camera.K[1, 1]]
    directions = (plane @ camera.R[:2] + camera.R[2]).astype(np.float32)
    origins = np.tile((-camera.R.T @ camera.t).astype(np.float32), (len(samples), 1))
    found = scene.rays.run(origins, directions, output=1)
    hit = np.flatnonzero(found["primID"] >= 0)
    colour = np.zeros((len(samples), 3), np.float32)
    cover = np.zeros(len(samples), np.float32)
    if len(hit):
        colour[hit] = _shade(
            scene,
            painter,
            light,
            found["primID"][hit],
            found["u"][hit, None],
            found["v"][hit, None],
            directions[hit],
        )
        cover[hit] = 1
    return colour.reshape(n * n, -1, 3).mean(0), cover.reshape(n * n, -1).mean(0)


def _shade(
    scene: Scene,
    painter: Painter,
    light: Light,
    faces: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    rays: np.ndarray,
) -> np.ndarray:
    """(M, 3) colours of hits: albedo under sun (with cast shadows), sky and ground, and a little gloss.

    faces: (M,) the faces hit, at the barycentric u, v: (M, 1). rays: (M, 3) their directions.
    """
    first, second, third = (scene.faces[faces, k] for k in range(3))
    rest = 1 - u - v

    def at(values: np.ndarray) -> np.ndarray:
        return values[first] * rest + values[second] * u + values[third] * v

    normals = unit(at(scene.normals))
    albedo = painter(faces, at(scene.template))
    sun = np.asarray(light.direction, np.float32)
    facing = normals @ sun
    lit = np.maximum(facing, 0)
    towards = np.flatnonzero(facing > 0)
    if len(towards):
        lit[towards] *= 1 - SHADOW * shadowed(scene, (at(scene.vertices) + 0.012 * normals)[towards], sun)
    up = 0.5 + 0.5 * normals[:, 2:]
    gloss = 0.10 * np.maximum((normals * unit(sun - unit(rays))).sum(1), 0) ** 20 * lit
    shade = light.sky * up + light.ground * (1 - up) + light.sun * lit[:, None]
    return albedo * shade + gloss[:, None]


def unit(vectors: np.ndarray) -> np.ndarray:
    """(M, 3) vectors at length one."""
    return vectors / np.sqrt(np.maximum(np.einsum("mk,mk->m", vectors, vectors), 1e-20))[:, None]


def shadowed(scene: Scene, points: np.ndarray, sun: np.ndarray) -> np.ndarray:
    """(M,) 1 where the person stands between a point (M, 3) and the sun (3,), else 0."""
    directions = np.tile(sun, (len(points), 1))
    return (scene.rays.run(np.ascontiguousarray(points, np.float32), directions, query="OCCLUDED") == 0).astype(
        np.float32
    )


def _floor_shadow(scene: Scene, light: Light, backdrop: Backdrop, image: np.ndarray) -> None:
    """Darken the floor where the person keeps the sun away."""
    sun = np.asarray(light.direction, np.float32)
    low, high = scene.vertices.min(0), scene.vertices.max(0)
    # The shadow of the person's bounding box on the floor, along the sun's direction.
    drop = sun[:2] * (high[2] / sun[2])
    near, far = np.minimum(low[:2], low[:2] - drop), np.maximum(high[:2], high[:2] - drop)
    inside = ((backdrop.floor_points[:, :2] > near) & (backdrop.floor_points[:, :2] < far)).all(1)
    if not inside.any():
        return
    dark: np.ndarray = np.zeros(image.shape[:2], np.float32)
    dark.flat[backdrop.floor_pixels[inside]] = shadowed(scene, backdrop.floor_points[inside], sun)
    dark = cv2.GaussianBlur(dark, (0, 0), 0.8)
    strength = float(light.sun.mean()) * max(float(sun[2]), 0.2)
    image *= (1 - dark * np.float32(SHADOW * strength / (strength + float(light.sky.mean()))))[..., None]
