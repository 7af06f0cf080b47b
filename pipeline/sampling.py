"""Field samples: seeded points around a body, their signed distances, and every joint's voters.

Points, joints and distances are root-relative in crop axes and lie on the 0.1 mm lattice: a point is rounded first,
its distance is that of the rounded point, and an offset is the difference of two rounded positions.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.camera import Crop, camera_to_world, in_image, project_pinhole, world_to_camera
from pipeline.errors import InputError
from pipeline.lattice import LATTICE_M, to_lattice
from pipeline.records import BodyMesh, FieldSamples, Reject, View
from pipeline.sdf import SignedDistance
from pipeline.skeletons import FIELD_JOINTS
from pipeline.triangles import triangle_areas

# What is nearer to the camera than this is not seen: metres.
NEAREST = 0.1
# Frustum points stay within this of the optical axis (metres): what a wide crop spans far behind the root is no use to the field,
# and offsets must fit the lattice.
FRUSTUM_REACH = 2.1
# Draws of a point before its view is given up: enough where a thirtieth of the body is in the stored image.
ATTEMPTS = 256
# How a part of the pool is drawn: (generator, count, slots) -> (len(slots), 3) metres in crop axes.
Draw = Callable[[np.random.Generator, int, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SamplingSettings:
    """How many points a view gets, and from where.

    All points lie in the stored image and at least NEAREST in front of the camera; a point elsewhere is drawn again, so
    each density below is cut to that region and scaled up.

    pool: points of a view, about four times what a training step draws.
    near: shares of the pool, one a width. A near point is a place on the surface, uniform in the body's rest-pose area,
    plus a Gaussian of that width (`widths`, metres, on each of three axes): share * pool / area places a square metre.
    ball: share of the pool, uniform in volume in a ball about the middle of the body's bounding box, of the radius that
    holds all vertices and ball_margin metres more.
    The rest is uniform in volume in the pyramid of the stored image, as far before and behind the root as half of what
    the image spans there (so it is the field's query volume and a margin), at most `depth` metres.
    voters: each joint's voters are this many near-surface points, |distance| < voter_band metres, those nearest to it.
    64 for each of 17 joints are three times what a draw of 1,024 points with a third from voters takes: epochs differ.
    """

    pool: int = 8192
    widths: tuple[float, ...] = (0.01, 0.05)
    near: tuple[float, ...] = (0.35, 0.25)
    ball: float = 0.1
    ball_margin: float = 0.1
    depth: float = 1.5
    voters: int = 64
    voter_band: float = 0.05

    def __post_init__(self) -> None:
        shares = (*self.near, self.ball)
        problems = [
            (not 1 <= self.pool <= 65535, f"pool {self.pool}: give 1 to 65535 points"),
            (not 1 <= self.voters <= self.pool, f"voters {self.voters}: give 1 to pool ({self.pool})"),
            (len(self.near) != len(self.widths), f"near {self.near}: give one share for each width of {self.widths}"),
            (min(shares) < 0 or sum(shares) > 1 + 1e-9, f"shares {shares}: give numbers from 0, at most 1 in all"),
            (not all(0 < w <= 0.5 for w in self.widths), f"widths {self.widths}: give metres, above 0 and up to 0.5"),
            (not 0 < self.depth <= 1.6, f"depth {self.depth}: give metres, above 0 and up to 1.6"),
            (not 0 <= self.ball_margin <= 1, f"ball_margin {self.ball_margin}: give metres, 0 to 1"),
            (not 0 < self.voter_band <= 1, f"voter_band {self.voter_band}: give metres, above 0 and up to 1"),
        ]
        for wrong, message in problems:
            if wrong:
                raise InputError(f"sampling settings: {message}")

    @property
    def counts(self) -> tuple[int, ...]:
        """Points of each near part, of the ball and of the frustum; they add up to the pool."""
        counts = [int(share * self.pool) for share in (*self.near, self.ball)]
        return (*counts, self.pool - sum(counts))


def sample_instant(
    mesh: BodyMesh,
    distance: SignedDistance,
    views: Sequence[tuple[View, Crop]],
    joints: np.ndarray,
    settings: SamplingSettings,
    seed: int,
) -> list[FieldSamples | Reject]:
    """The samples of an instant's views, in their order; a view that cannot be sampled gives a Reject.

    distance: `SignedDistance` of the mesh; it is asked for all views at once. joints: (J, 3) metres in the instant's
    frame, those of `skeletons.FIELD_JOINTS`. The points of a view depend on the seed, the mesh, the view and its crop
    only.
    """
    surface = SurfaceSampler(mesh)
    pools: list[_Pool | Reject] = []
    for view, crop in views:
        try:
            own_seed = view_seed(seed, mesh.instant_id, view.id)
            pools.append(_Pool(view, crop, surface, np.asarray(joints, np.float64), settings, own_seed))
        except InputError as error:
            pools.append(Reject(view.id, "sample", str(error)))
    good = [pool for pool in pools if not isinstance(pool, Reject)]
    for pool, values in zip(good, ask_together(distance, [pool.world() for pool in good]), strict=True):
        pool.sdf[:] = values
    return [pool if isinstance(pool, Reject) else _finish(pool) for pool in pools]


def view_seed(seed: int, instant_id: str, view_id: str) -> np.random.SeedSequence:
    """The seed of one view of a run: the same on every machine and in every process."""
    words = [np.frombuffer(hashlib.sha256(name.encode()).digest(), "<u4") for name in (instant_id, view_id)]
    return np.random.SeedSequence([seed, *(int(word) for word in np.concatenate(words))])


def ask_together(distance: SignedDistance, groups: list[np.ndarray]) -> list[np.ndarray]:
    """The signed distances of several groups of points (n, 3) by one call: it asks in the order of space, whoever's
    the points."""
    if not groups:
        return []
    ends = np.cumsum([len(group) for group in groups])
    return np.split(distance(np.concatenate(groups)), ends[:-1])


class SurfaceSampler:
    """Places on a mesh by its faces' rest-pose areas; one for all views of an instant."""

    def __init__(self, mesh: BodyMesh):
        self.vertices = mesh.vertices.astype(np.float64)
        self.faces = mesh.faces
        areas = triangle_areas(self.vertices, mesh.faces) if mesh.face_areas is None else mesh.face_areas
        self._cumulated = np.cumsum(areas) / areas.sum()
        low, high = self.vertices.min(0), self.vertices.max(0)
        self.centre = (low + high) / 2
        self.radius = float(np.linalg.norm(self.vertices - self.centre, axis=1).max())

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """(n, 3) metres in the mesh's frame, from (n, 3) uniform random numbers."""
        face, u, v = numbers.T
        corners = self.vertices[self.faces[np.searchsorted(self._cumulated, face).clip(max=len(self.faces) - 1)]]
        u = np.sqrt(u)[:, None]  # uniform in the triangle: Osada et al. 2002, eq. 1
        v = v[:, None]
        return (1 - u) * corners[:, 0] + u * (1 - v) * corners[:, 1] + u * v * corners[:, 2]


class _Pool:
    """The points of one view while they are being drawn: near-surface, ball and frustum points in this order.

    lattice: (pool, 3) int64 steps. sdf: (pool,) metres, filled by the caller. near: how many of the points are
    near-surface ones.
    """

    def __init__(
        self,
        view: View,
        crop: Crop,
        surface: SurfaceSampler,
        joints: np.ndarray,
        settings: SamplingSettings,
        seed: np.random.SeedSequence,
    ):
        self.view, self.crop, self.settings, self._surface, self._seed = view, crop, settings, surface, seed
        self.near = sum(settings.counts[:-2])
        self._widths = np.repeat(settings.widths, settings.counts[:-2])
        in_crop = self._to_crop(joints)
        bad = ~np.isfinite(in_crop).all(1)
        if bad.any():
            raise InputError(f"view {view.id}: joint {FIELD_JOINTS.names[int(bad.argmax())]} has no position")
        self.root = in_crop[FIELD_JOINTS.root_index]
        if self.root[2] < NEAREST:
            raise InputError(f"view {view.id}: the pelvis is {self.root[2]:.2f} m before the camera, under {NEAREST} m")
        self.joints = self._round(in_crop - self.root, "joint")
        self.order = self.generator().permutation(settings.pool)
        self.sdf = np.zeros(settings.pool)
        self.lattice = np.zeros((settings.pool, 3), np.int16)
        self.fill(np.arange(settings.pool))

    def generator(self) -> np.random.Generator:
        """A new stream of random numbers of this view."""
        return np.random.default_rng(self._seed.spawn(1)[0])

    def fill(self, slots: np.ndarray) -> None:
        """Draws the points of these slots (n,) anew, until they lie in the stored image."""
        start = 0
        for draw, count in (
            (self._draw_near, self.near),
            (self._draw_ball, self.settings.counts[-2]),
            (self._draw_frustum, self.settings.counts[-1]),
        ):
            self._fill_part(draw, start, count, slots[(slots >= start) & (slots < start + count)] - start)
            start += count

    def _fill_part(self, draw: Draw, start: int, count: int, slots: np.ndarray) -> None:
        """Every attempt draws random numbers for all slots of the part, so that no slot's point depends on how
        another fared."""
        rng = self.generator()
        for _ in range(ATTEMPTS):
            if not len(slots):
                return
            lattice = self._round(draw(rng, count, slots) - self.root, "point")
            self.lattice[start + slots] = lattice
            slots = slots[~self._seen(lattice)]
        raise InputError(
            f"view {self.view.id}: {len(slots)} points found no place in the crop in {ATTEMPTS} draws each: the body is "
            "outside the image; check the box and the camera"
        )

    def world(self, slots: slice | np.ndarray = slice(None)) -> np.ndarray:
        """(n, 3) metres in the instant's frame, of the rounded points."""
        in_camera = (self.lattice[slots] * LATTICE_M + self.root) @ self.crop.R
        return camera_to_world(self.view.camera, in_camera)

    def _draw_near(self, rng: np.random.Generator, count: int, slots: np.ndarray) -> np.ndarray:
        """Metres in crop axes, the camera at the origin; (count) points are drawn, those of the slots returned. So
        for each part."""
        places = self._surface(rng.random((count, 3))[slots])
        return self._to_crop(places + self._widths[slots, None] * rng.standard_normal((count, 3))[slots])

    def _draw_ball(self, rng: np.random.Generator, count: int, slots: np.ndarray) -> np.ndarray:
        direction = rng.standard_normal((count, 3))[slots]
        radius = (self._surface.radius + self.settings.ball_margin) * np.cbrt(rng.random(count)[slots])
        return self._to_crop(self._surface.centre + direction * (radius / np.linalg.norm(direction, axis=1))[:, None])

    def _draw_frustum(self, rng: np.random.Generator, count: int, slots: np.ndarray) -> np.ndarray:
        u, v, depth = rng.random((count, 3))[slots].T
        K, size, z = self.crop.K, self.crop.size, self.root[2]
        reach = min(z * size / (2 * K[0, 0]), self.settings.depth)
        near, far = max(z - reach, NEAREST), z + reach
        narrowed = min(1.0, FRUSTUM_REACH * K[0, 0] / (far * size / 2))
        u, v = 0.5 + (u - 0.5) * narrowed, 0.5 + (v - 0.5) * narrowed
        depth = np.cbrt(near**3 + depth * (far**3 - near**3))  # the cross section grows with the square of the depth
        x = (u * size - 0.5 - K[0, 2]) / K[0, 0]
        y = (v * size - 0.5 - K[1, 2]) / K[1, 1]
        return np.stack([x * depth, y * depth, depth], -1)

    def _seen(self, lattice: np.ndarray) -> np.ndarray:
        points = lattice * LATTICE_M + self.root
        front = points[:, 2] >= NEAREST
        pixels = project_pinhole(self.crop.K, np.where(front[:, None], points, 1.0))
        return front & in_image(pixels, self.crop.size, self.crop.size)

    def _to_crop(self, points: np.ndarray) -> np.ndarray:
        return world_to_camera(self.view.camera, points) @ self.crop.R.T

    def _round(self, values: np.ndarray, what: str) -> np.ndarray:
        try:
            return to_lattice(values)
        except InputError as error:
            raise InputError(f"view {self.view.id}, a {what}: {error}") from None


def _finish(pool: _Pool) -> FieldSamples | Reject:
    points = pool.lattice[pool.order]
    sdf = pool.sdf[pool.order]
    try:
        voters = nearest_voters(points, sdf, pool.joints, pool.settings)
        return FieldSamples(
            view_id=pool.view.id,
            points=points,
            sdf=to_lattice(sdf),
            voters=voters,
        )
    except InputError as error:
        return Reject(pool.view.id, "sample", f"view {pool.view.id}: {error}")


def nearest_voters(points: np.ndarray, sdf: np.ndarray, joints: np.ndarray, settings: SamplingSettings) -> np.ndarray:
    """(J, K) uint16 indices into points, for each joint the nearest near-surface points, nearest first.

    points: (N, 3) and joints: (J, 3) int16 lattice steps. sdf: (N,) metres. Where fewer than K points are within
    voter_band of the surface, the K nearest to the surface are taken. Equal distances go by index.
    """
    near = np.flatnonzero(np.abs(sdf) < settings.voter_band)
    if len(near) < settings.voters:
        near = np.sort(np.argsort(np.abs(sdf), kind="stable")[: settings.voters])
    voters = np.empty((len(joints), settings.voters), np.uint16)
    candidates = points[near].astype(np.int64)
    for j, joint in enumerate(joints.astype(np.int64)):
        key = ((candidates - joint) ** 2).sum(1) << 16 | near  # distance, then index: one order for any method
        voters[j] = np.sort(np.partition(key, settings.voters - 1)[: settings.voters]) & 0xFFFF
    return voters
