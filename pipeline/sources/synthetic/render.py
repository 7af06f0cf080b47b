"""Draws a clothed person into a backdrop by ray casting: one structure an instant, rays only where the person can be.

Colours come from the place of each hit on the template; light is lamps with cast shadows over light from all around. All light is
linear until the camera's sensor develops it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from pipeline.records import Camera
from pipeline.sources.synthetic.light import Light
from pipeline.sources.synthetic.scenery import Backdrop, look_up
from pipeline.sources.synthetic.sensor import develop

# The image is this many blocks wide; those with no projected vertex in or beside them are skipped. A block is wider than a face.
BLOCKS = 48
# How strongly skin and cloth reflect a lamp as a mirror would.
GLOSS = 0.06
# Below this height (metres) a body takes light from the floor under it, at most this share; the floor is looked at in cells.
CONTACT_M, CONTACT_SHADE, CELL_M = 0.35, 0.75, 0.06
# Lamps lower than this (sine of the height) cast no shadow on the floor: they hardly light it.
LOWEST_LAMP = 0.08
# Template metres and texture coordinates.
PLACE_WIDTH = 5


# Colours of hits: (M,) indices of the faces hit and (M, K) places, as the scene's -> (M, 3) float32 albedo, 0..1 sRGB.
Painter = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Scene:
    """Posed, clothed meshes ready for rays. vertices, normals: (V, 3) float32 in the world; template: (V, K) float32,
    what the painter knows a place by.

    outline: (N, 3) points in the world, so dense that everything to draw projects near one of them.
    """

    rays: EmbreeScene
    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    template: np.ndarray
    outline: np.ndarray


@dataclass(frozen=True)
class Mesh:
    """A mesh in the world. vertices: (G, 3) metres; faces: (F, 3).

    places: (G, K) float32, K at most PLACE_WIDTH: what `paint` knows a place by, linear over faces. paint: (M, PLACE_WIDTH) places ->
    (M, 3) float32 albedo, 0..1 sRGB.
    """

    vertices: np.ndarray
    faces: np.ndarray
    places: np.ndarray
    paint: Callable[[np.ndarray], np.ndarray]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, faces weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    across, corners = np.cross(b - a, c - a), faces.T.ravel()
    sums = [np.bincount(corners, np.tile(across[:, k], 3), minlength=len(vertices)) for k in range(3)]
    return unit(np.stack(sums, 1))


def make_scene(vertices: np.ndarray, faces: np.ndarray, template: np.ndarray) -> Scene:
    vertices = np.ascontiguousarray(vertices, np.float32)
    rays = EmbreeScene()
    TriangleMesh(rays, vertices, np.ascontiguousarray(faces, np.int32))
    return Scene(rays, vertices, vertex_normals(vertices, faces).astype(np.float32), faces, template, outline=vertices)


def with_outline(scene: Scene, points: np.ndarray) -> Scene:
    """With (N, 3) points more that something to draw projects near, for faces that are larger than blocks."""
    return replace(scene, outline=np.concatenate([scene.outline, points]))


def compose(meshes: Sequence[Mesh]) -> tuple[Scene, Painter, np.ndarray]:
    """Meshes as one scene, what paints it, and which mesh (F,) each of its faces is of."""
    firsts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = np.concatenate([mesh.faces + first for mesh, first in zip(meshes, firsts[:-1], strict=True)])
    owners = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes])
    places = np.zeros((firsts[-1], PLACE_WIDTH), np.float32)
    for mesh, first in zip(meshes, firsts[:-1], strict=True):
        places[first : first + len(mesh.places), : mesh.places.shape[1]] = mesh.places

    def painter(hit: np.ndarray, at: np.ndarray) -> np.ndarray:
        colours = np.empty((len(hit), 3), np.float32)
        of_mesh = owners[hit]
        for k in np.unique(of_mesh).tolist():
            mine = np.flatnonzero(of_mesh == k)
            colours[mine] = meshes[k].paint(at[mine])
        return colours

    return make_scene(np.concatenate([mesh.vertices for mesh in meshes]), faces, places), painter, owners


def candidate_pixels(scene: Scene, camera: Camera) -> np.ndarray:
    """(M, 2) column and row of the pixels that may see something of the scene: blocks near a projected point of its outline."""
    points = (scene.outline.astype(np.float32) @ camera.R.T.astype(np.float32)) + camera.t.astype(np.float32)
    uv = points[:, :2] / points[:, 2:] * camera.K[[0, 1], [0, 1]].astype(np.float32) + camera.K[:2, 2].astype(
        np.float32
    )
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
    exposures: Sequence[Scene] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """-> (H, W, 3) uint8 RGB and (H, W) float32 cover of the person (before anything stands in front of it).

    exposures: the same meshes while the shutter is open, at most as many as a pixel has rays, which they share; without any, `scene`
    has all of them. The floor is shaded by `scene`.
    """
    image = backdrop.image.copy()
    shade_floor(scene, light, backdrop, image)
    cover = np.zeros((camera.height, camera.width), np.float32)
    people = np.zeros(image.shape, np.float32)
    offsets = ray_offsets(supersampling)
    scenes = exposures or (scene,)
    for k, exposed in enumerate(scenes):
        pixels, mine = candidate_pixels(exposed, camera), offsets[k :: len(scenes)]
        if len(pixels):
            row, column = pixels[:, 1], pixels[:, 0]
            colour, hit = _trace(exposed, camera, painter, light, pixels, backdrop.depth[row, column], mine)
            share = np.float32(len(mine) / len(offsets))
            people[row, column] += share * colour
            cover[row, column] += share * hit
    image *= 1 - cover[..., None]
    image += people
    if backdrop.occluder is not None:
        image += (backdrop.occluder_image - image) * backdrop.occluder[..., None]
    return develop(image, backdrop.sensor, rng), cover


def ray_offsets(n: int) -> np.ndarray:
    """(n * n, 2) columns and rows from a pixel's middle."""
    steps = (np.arange(n) + 0.5) / n - 0.5
    return np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)


def _trace(
    scene: Scene,
    camera: Camera,
    painter: Painter,
    light: Light,
    pixels: np.ndarray,
    depth: np.ndarray,
    offsets: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(M, 2) pixels -> (M, 3) colour times cover and (M,) cover, each the mean of rays with these offsets (N, 2). depth: (M,) metres
    along the optical axis beyond which something else hides the people."""
    samples = (pixels[None] + offsets[:, None]).reshape(-1, 2)
    plane = (samples - camera.K[:2, 2]) / [camera.K[0, 0], camera.K[1, 1]]
    directions = (plane @ camera.R[:2] + camera.R[2]).astype(np.float32)
    origins = np.tile((-camera.R.T @ camera.t).astype(np.float32), (len(samples), 1))
    found = scene.rays.run(origins, directions, output=1)
    hit = np.flatnonzero((found["primID"] >= 0) & (found["tfar"] < np.tile(depth, len(offsets))))
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
    return colour.reshape(len(offsets), -1, 3).mean(0), cover.reshape(len(offsets), -1).mean(0)


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
    # Cloth has two sides.
    normals *= np.where(np.einsum("mk,mk->m", normals, rays) > 0, -1, 1).astype(np.float32)[:, None]
    albedo = np.square(painter(faces, at(scene.template)))
    points = at(scene.vertices) + 0.012 * normals
    shade = light.on(normals).astype(np.float32)
    gloss = np.zeros((len(normals), 3), np.float32)
    backwards = unit(rays)
    for direction, colour in zip(light.directions, light.colours, strict=True):
        facing = np.maximum(normals @ direction, 0)
        towards = np.flatnonzero(facing > 0)
        facing[towards] *= 1 - shadowed(scene, points[towards], direction)
        shade += facing[:, None] * colour
        shine = np.maximum((normals * unit(direction - backwards)).sum(1), 0) ** 20 * facing
        gloss += GLOSS * shine[:, None] * colour
    return albedo * shade + gloss


def unit(vectors: np.ndarray) -> np.ndarray:
    """(M, 3) vectors at length one."""
    return vectors / np.sqrt(np.maximum(np.einsum("mk,mk->m", vectors, vectors), 1e-20))[:, None]


def shadowed(scene: Scene, points: np.ndarray, lamp: np.ndarray) -> np.ndarray:
    """(M,) 1 where somebody stands between a point (M, 3) and the lamp in direction (3,), else 0."""
    directions = np.tile(np.asarray(lamp, np.float32), (len(points), 1))
    return (scene.rays.run(np.ascontiguousarray(points, np.float32), directions, query="OCCLUDED") == 0).astype(
        np.float32
    )


def shade_floor(scene: Scene, light: Light, backdrop: Backdrop, image: np.ndarray) -> None:
    """Darken the floor where people keep lamps away, and softly beneath what is near it."""
    if not len(backdrop.floor_points):
        return
    left = light.on(np.array([[0.0, 0.0, 1.0]]))[0] * (1 - contact_shade(scene, backdrop.floor_points))[:, None]
    low, high = scene.vertices.min(0), scene.vertices.max(0)
    for direction, colour in zip(light.directions, light.colours, strict=True):
        height = float(direction[2])
        if height < LOWEST_LAMP:
            continue
        # The shadow of the people's bounding box on the floor, along the lamp's direction.
        drop = direction[:2] * (high[2] / height)
        near, far = np.minimum(low[:2], low[:2] - drop), np.maximum(high[:2], high[:2] - drop)
        inside = np.flatnonzero(((backdrop.floor_points[:, :2] > near) & (backdrop.floor_points[:, :2] < far)).all(1))
        seen = np.ones(len(left), np.float32)
        if len(inside):
            seen[inside] -= shadowed(scene, backdrop.floor_points[inside] + [0, 0, np.float32(0.002)], direction)
        left = left + seen[:, None] * height * colour
    part: np.ndarray = np.ones(image.shape, np.float32)
    part.reshape(-1, 3)[backdrop.floor_pixels] = left / np.maximum(light.on_floor(), 1e-6)
    image *= cv2.GaussianBlur(part, (0, 0), 0.8)


def contact_shade(scene: Scene, points: np.ndarray) -> np.ndarray:
    """(M, 3) points on the floor -> (M,) share of the light from all around that whatever is near the floor takes away there."""
    low = scene.outline[scene.outline[:, 2] < CONTACT_M]
    if not len(low):
        return np.zeros(len(points), np.float32)
    corner = low[:, :2].min(0) - 3 * CELL_M
    cells = ((low[:, :2] - corner) / CELL_M).astype(int)
    grid = np.zeros(cells.max(0) + 5, np.float32)
    np.maximum.at(grid, tuple(cells.T), 1 - low[:, 2].clip(0) / CONTACT_M)
    grid = cv2.GaussianBlur(grid, (0, 0), 1.5)
    at = (points[:, 1::-1] - corner[::-1]) / CELL_M - 0.5
    return CONTACT_SHADE * np.minimum(look_up(grid, at, cv2.BORDER_CONSTANT), 1)
