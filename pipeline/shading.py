"""Bodies over a photograph, by ray casting: what a fit says, lit so that its shape can be seen."""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import trimesh
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from pipeline.camera import pixel_rays, project, world_to_camera
from pipeline.records import Camera

# Nearer than this, in metres, nothing is looked for on the image: the whole of it is cast.
NEAREST = 0.1
# Camera axes: from above, from the left, from behind the camera.
LIGHT = np.array([-0.45, -0.75, -0.6]) / np.linalg.norm([0.45, 0.75, 0.6])
AMBIENT, RIM = 0.42, 0.18


def draw_meshes(
    image: np.ndarray,
    camera: Camera,
    meshes: Sequence[np.ndarray],
    faces: np.ndarray,
    colours: np.ndarray,
    opacity: float = 0.9,
    samples: int = 2,
) -> np.ndarray:
    """The image (H, W, 3) uint8 with bodies over it, the nearer ones before the others.

    meshes: (V, 3) metres each, in the frame that the camera's R and t start from. faces: (F, 3), of all of them. colours: (n, 3)
    0..255. samples: rays a pixel along each side.
    """
    near: np.ndarray = np.zeros((camera.height, camera.width), bool)
    for mesh in meshes:
        near |= _near(camera, mesh, faces)
    y, x = np.nonzero(near)
    if not len(x):
        return image.copy()
    scene = _Scene(meshes, faces, colours)
    steps = (np.arange(samples) + 0.5) / samples - 0.5
    shown, cover = np.zeros((len(x), 3), np.float32), np.zeros((len(x), 1), np.float32)
    for dx, dy in itertools.product(steps, steps):
        rays = pixel_rays(camera, np.stack([x + dx, y + dy], 1))
        directions = rays @ camera.R[:2] + camera.R[2]
        hit, colour = scene.cast(-camera.R.T @ camera.t, directions, camera.R.T @ LIGHT)
        shown[hit] += colour * np.float32(opacity / samples**2)
        cover[hit] += np.float32(opacity / samples**2)
    drawn = image.copy()
    drawn[y, x] = np.round(image[y, x] * (1 - cover) + shown)
    return drawn


def _near(camera: Camera, mesh: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that may see a mesh. Blocks with a vertex in or beside them; a block is wider than a face."""
    points = world_to_camera(camera, np.asarray(mesh, np.float64))
    if (points[:, 2] < NEAREST).any():
        return np.full((camera.height, camera.width), (points[:, 2] > 0).any())
    flat = project(camera, points)
    block = int(np.ceil(np.ptp(flat[faces], axis=1).max())) + 1
    blocks = -(-np.array([camera.height, camera.width]) // block)
    cells = np.floor((flat[:, ::-1] + 0.5) / block)
    cells = cells[((cells >= -1) & (cells <= blocks)).all(1)].astype(int) + 1
    grid = np.zeros(blocks + 2, np.uint8)  # with a border, for vertices beside the image
    grid[cells[:, 0], cells[:, 1]] = 1
    grid = cv2.dilate(grid, np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    return np.kron(grid, np.ones((block, block), np.uint8))[: camera.height, : camera.width].astype(bool)


class _Scene:
    """Meshes with the same faces, ready for rays."""

    def __init__(self, meshes: Sequence[np.ndarray], faces: np.ndarray, colours: np.ndarray):
        self.colours, self.faces_each = colours.astype(np.float32), len(faces)
        self.faces = np.concatenate([faces + k * len(mesh) for k, mesh in enumerate(meshes)]).astype(np.int32)
        normals = [trimesh.Trimesh(mesh, faces, process=False).vertex_normals for mesh in meshes]
        self.normals = np.concatenate(normals).astype(np.float32)
        self.rays = EmbreeScene()
        TriangleMesh(self.rays, np.concatenate(meshes).astype(np.float32), self.faces)

    def cast(self, origin: np.ndarray, directions: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays from a point (3,) along (M, 3) -> which hit something (h,), and the colours there (h, 3) float32."""
        directions = np.ascontiguousarray(directions, np.float32)
        found = self.rays.run(np.tile(origin.astype(np.float32), (len(directions), 1)), directions, output=1)
        hit = np.flatnonzero(found["primID"] >= 0)
        face, u, v = found["primID"][hit], found["u"][hit, None], found["v"][hit, None]
        first, second, third = (self.normals[self.faces[face, k]] for k in range(3))
        normals = _unit(first * (1 - u - v) + second * u + third * v)
        towards = np.einsum("mk,mk->m", normals, _unit(directions[hit]))
        edge = (1 + towards.clip(-1, 0)) ** 2  # bright where the surface turns away
        bright = AMBIENT + (1 - AMBIENT) * (normals @ light.astype(np.float32)).clip(0) + RIM * edge
        return hit, (self.colours[face // self.faces_each] * bright[:, None]).clip(0, 255)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt(np.maximum(np.einsum("mk,mk->m", vectors, vectors), 1e-20))[:, None]
