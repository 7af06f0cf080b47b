"""Bodies over a photograph, the nearest face at every pixel: what a fit says, lit so that its shape can be seen."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.camera import pixel_rays, project, world_to_camera
from pipeline.records import Camera

# Faces with a corner nearer than this, in metres, or behind the camera are left out.
NEAREST = 0.01
# Camera axes: from above, from the left, from behind the camera.
LIGHT = np.array([-0.45, -0.75, -0.6]) / np.linalg.norm([0.45, 0.75, 0.6])
AMBIENT, RIM = 0.42, 0.18
# A face reaches this far beyond its edges, in px, so that no pixel is lost between two of them.
MARGIN = 1e-6
# Faces whose picture is smaller are left out, twice the area in px.
LEAST_PX = 1e-6
# Of a face's corners.
NEXT, LAST = [1, 2, 0], [2, 0, 1]


def draw_meshes(
    image: np.ndarray,
    camera: Camera,
    meshes: Sequence[np.ndarray],
    faces: np.ndarray,
    colours: np.ndarray,
    opacity: float = 0.9,
    samples: int = 2,
    normals: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """The image (H, W, 3) uint8 with bodies over it, the nearer ones before the others.

    camera: without distortion. meshes: (V, 3) metres each, closed, in the frame that the camera's R and t start from. faces: (F, 3),
    of all of them, counterclockwise as seen from outside. colours: (n, 3) 0..255. samples: points of a pixel along each side that
    are looked at. normals: of the meshes, as `surface_normals` gives them, where they are known.
    """
    assert not camera.distortion.any(), "edges of faces are taken to be straight"
    normals = normals or [surface_normals(mesh, faces) for mesh in meshes]
    bodies = [_Body.of(*mesh, faces, camera) for mesh in zip(meshes, normals, strict=True)]
    steps = (np.arange(samples) + 0.5) / samples - 0.5
    shown = np.zeros((3, camera.height * camera.width), np.float32)
    cover = np.zeros(camera.height * camera.width, np.float32)
    for shift in itertools.product(steps, steps):
        owner, face = _nearest(bodies, camera, np.array(shift))
        for number, body in enumerate(bodies):
            pixels = np.flatnonzero(owner == number)
            y, x = np.divmod(pixels, camera.width)
            bright = body.brightness(camera, x + shift[0], y + shift[1], face[pixels])
            for channel, colour in zip(shown, colours[number], strict=True):
                channel[pixels] += np.minimum(np.float32(colour) * bright, 255)
            cover[pixels] += 1
    seen, part = np.flatnonzero(cover), np.float32(opacity / samples**2)
    drawn = image.copy()
    under = 1 - part * cover[seen]
    for channel, light in zip(np.moveaxis(drawn.reshape(-1, 3), 1, 0), shown, strict=True):
        channel[seen] = np.round(channel[seen] * under + part * light[seen])
    return drawn


def surface_normals(mesh: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) of unit length, outwards; each face counts by its angle. mesh: (V, 3); faces: (F, 3)."""
    corners = np.take(np.asarray(mesh, np.float64).T, faces.T, 1)  # (3, 3, F): axes, corners
    edges = np.take(corners, NEXT, 1) - corners
    (ax, ay, az), (bx, by, bz) = edges[:, 0], edges[:, 1]
    across = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
    area = np.sqrt((across * across).sum(0))
    angle = np.arctan2(area, -(edges * np.take(edges, LAST, 1)).sum(0))
    share = angle * (across / np.maximum(area, 1e-30))[:, None]  # (3, 3, F)
    sums = np.stack([np.bincount(faces.T.ravel(), axis.ravel(), len(mesh)) for axis in share])
    return _unit(sums).T


@dataclass(frozen=True)
class _Body:
    """A mesh as a camera sees it: its F faces that may be seen. What is linear over a face has three coefficients along the
    first axis, of x, y px and 1.

    corners: (2, 3, F) px. shares: (3, 3, F) of each corner. inverse_depth: (3, F), 1 / m. normals: (3, 3, F) in the camera's axes, not
    of unit length, the axes along the second.
    """

    corners: np.ndarray
    shares: np.ndarray
    inverse_depth: np.ndarray
    normals: np.ndarray

    @classmethod
    def of(cls, mesh: np.ndarray, normals: np.ndarray, faces: np.ndarray, camera: Camera) -> "_Body":
        """mesh: (V, 3) metres and its normals (V, 3), in the frame that the camera's R and t start from. faces: (F, 3)."""
        points = world_to_camera(camera, np.asarray(mesh, np.float64))
        near = points[:, 2] < NEAREST
        within = near.any()  # perhaps: then faces are seen from behind
        if within:
            faces = faces[~near[faces].any(1)]
            points[near, 2] = NEAREST  # of no face that is left, and all can be divided by depth
        x, y = np.take(project(camera, points).T, faces.T, 1)
        across = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        kept = np.flatnonzero((np.abs(across) if within else -across) > LEAST_PX)  # y is down: above 0 they turn away
        x, y, faces = np.take(x, kept, 1), np.take(y, kept, 1), np.take(faces.T, kept, 1)
        shares = np.stack([y[NEXT] - y[LAST], x[LAST] - x[NEXT], x[NEXT] * y[LAST] - x[LAST] * y[NEXT]]) / across[kept]
        nearness = 1 / np.take(points[:, 2], faces)
        turned = np.take(camera.R @ normals.T, faces, 1) * nearness
        return cls(np.stack([x, y]), shares, (shares * nearness).sum(1), (shares[:, None] * turned).sum(2))

    def brightness(self, camera: Camera, x: np.ndarray, y: np.ndarray, face: np.ndarray) -> np.ndarray:
        """(N,) float32 of the surface at pixels (N,). face: which one is there."""
        normal = _unit(np.stack([_at(self.normals[:, axis], face, x, y) for axis in range(3)]).astype(np.float32))
        ray = _unit(np.stack([*pixel_rays(camera, np.stack([x, y], 1)).T, np.ones(len(x))]).astype(np.float32))
        edge = (1 + (normal * ray).sum(0).clip(-1, 0)) ** 2  # bright where the surface turns away
        return AMBIENT + (1 - AMBIENT) * (LIGHT.astype(np.float32) @ normal).clip(0) + RIM * edge


def _at(coefficients: np.ndarray, face: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,) what is linear over a face, at places (N,) of faces (N,). coefficients: (3, F)."""
    along, down, rest = (np.take(one, face) for one in coefficients)
    return along * x + down * y + rest


def _nearest(bodies: Sequence[_Body], camera: Camera, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each pixel, moved by `shift` (2,) px, (H W,) int32: number of the body that is seen, -1 for none, and which of its faces."""
    nearest = np.zeros(camera.height * camera.width)  # 1 / m
    owner, face_at = (np.full(len(nearest), -1, np.int32) for _ in range(2))
    for number, body in enumerate(bodies):
        face, y, first, count = _spans(body, camera, shift)
        start = _at(body.inverse_depth, face, first + shift[0], y + shift[1])
        step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        pixel = np.repeat(y * camera.width + first, count) + step
        near = np.repeat(start, count) + np.repeat(np.take(body.inverse_depth[0], face), count) * step
        np.maximum.at(nearest, pixel, near)
        seen = np.flatnonzero(near == np.take(nearest, pixel))
        pixel, face = np.take(pixel, seen), np.take(np.repeat(face, count), seen)
        owner[pixel], face_at[pixel] = number, face
    return owner, face_at


def _spans(body: _Body, camera: Camera, shift: np.ndarray) -> tuple[np.ndarray, ...]:
    """Faces as rows of pixels, (S,) each: which face, which row, its first pixel, and how many."""
    (left, top), (right, low) = (body.corners.min(1) - shift[:, None], body.corners.max(1) - shift[:, None])
    top = np.ceil(top - MARGIN).clip(0, camera.height).astype(int)
    low = np.floor(low + MARGIN).clip(-1, camera.height - 1).astype(int)
    rows = (low - top + 1).clip(0)
    face = np.repeat(np.arange(len(rows)), rows)
    y = np.arange(len(face)) - np.repeat(np.cumsum(rows) - rows - top, rows)
    along, down, rest = body.shares
    along = np.where(along == 0, 1e-12, along)
    # Where the share of a corner is zero: slope * y + place. The face is on one side of it.
    slope = -down / along
    place = -(rest + MARGIN * (np.abs(along) + np.abs(down))) / along + slope * shift[1] - shift[0]
    first = np.take(np.maximum(left - MARGIN, 0), face)
    last = np.take(np.minimum(right + MARGIN, camera.width - 1), face)
    for k in range(3):
        edge, grows = np.take(slope[k], face) * y, along[k] > 0
        first = np.maximum(first, edge + np.take(np.where(grows, place[k], -np.inf), face))
        last = np.minimum(last, edge + np.take(np.where(grows, np.inf, place[k]), face))
    first, last = np.ceil(first), np.floor(last)
    kept = np.flatnonzero(first <= last)
    first, last = (np.take(ends, kept).astype(int) for ends in (first, last))
    return np.take(face, kept), np.take(y, kept), first, last - first + 1


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(3, N)."""
    return vectors / np.sqrt(np.maximum((vectors * vectors).sum(0), 1e-20))
