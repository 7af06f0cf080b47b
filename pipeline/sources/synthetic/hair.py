"""Hair as meshes: short, long, tied and curly heads of hair, made on each person's own skull with strands to be seen.

Every piece is a grid of strands, from where they start to their tips.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pipeline.skeletons import SMPLX_55
from pipeline.sources.synthetic.garments import push_out
from pipeline.sources.synthetic.people import smooth_field
from pipeline.sources.synthetic.render import unit
from pipeline.sources.synthetic.scalp import Head, direction, ease, fan

# Painted hair -> the styles that take its place.
STYLES = {"short": ("crop", "quiff", "afro"), "long": ("bob", "long", "curly"), "bun": ("ponytail", "bun", "plaits")}
# Those that fall on shoulders and back.
FALLING = (*STYLES["long"], "ponytail", "plaits")
# Strands and points a strand; of hair that falls beside the face, so many on the skull and below it.
STRANDS, POINTS, ABOVE, BELOW = 56, 18, 12, 10
# A rim runs so deep into the scalp; whatever lies on shoulders and back stays so far off them (metres).
RIM_M, CLEAR_M = 0.003, 0.012
# How much of the way to straight down hair turns in a pose, and how far it stays off the skin there (metres).
GRAVITY, SKIN_M = 0.85, 0.008
# No hair reaches further below the shoulders (metres).
REACH_M = 0.45
# Pixels of the picture of strands: across them and along them.
ACROSS, ALONG = 256, 48
_HEAD, _CHEST = SMPLX_55.index("head"), SMPLX_55.index("spine3")


@dataclass(frozen=True)
class Strands:
    """A piece of hair. points: (U, V, 3) metres in zero pose, strand by strand. closed: whether the last strand is beside the first.

    hang: (U, V) 0 on the skull to 1 where nothing but gravity and the back hold it.
    """

    points: np.ndarray
    closed: bool
    hang: np.ndarray


@dataclass(frozen=True)
class Hair:
    """A head of hair on a person in zero pose. rest: (G, 3) metres; weights: (G, 55) skinning; faces: (F, 3); uv: (G, 2) strand and
    place along it, 0..1. roots: (G,) the point at which each one's strand leaves the skull; hang: (G,) as of Strands. colours:
    (ALONG, ACROSS, 3) 0..1 sRGB. upper: vertices of the body that it may meet."""

    rest: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    roots: np.ndarray
    hang: np.ndarray
    colours: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Volume:
    """How far hair stands off the skull (metres): at the sides, on the top, more of it above the forehead, and how uneven it is.

    curl: the waves of the unevenness, metres. rim: share of a strand, from its tip, over which it comes down to the scalp.
    """

    side: float
    top: float
    front: float
    rough: float
    curl: tuple[float, float]
    rim: float

    def on(self, rays: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(U, V) metres off the skull towards directions (U, V, 3), which meet it at points (U, V, 3)."""
        off = self.side + (self.top - self.side) * ease((rays[..., 1] - 0.1) / 0.7)
        ahead = rays @ np.array([0.0, 0.62, 0.78])
        off = off + self.front * ease((ahead - 0.75) / 0.25)
        noise = smooth_field(points.reshape(-1, 3), rng, waves=16, wavelength=self.curl)[:, 0].reshape(off.shape)
        return np.maximum(off + self.rough * np.clip(noise, -1.5, 1.5), 0.0025)


def _cap(head: Head, rng: np.random.Generator, axis: np.ndarray, volume: Volume, points: int = POINTS) -> Strands:
    """Hair from the hairline to the axis: away from it where it grows from a whorl, or combed to it and tied there."""
    around, angles = np.arange(STRANDS) * 2 * np.pi / STRANDS, np.linspace(0.05, np.radians(165), 70)
    ends = head.line(fan(axis, around[:, None] + 0 * angles, angles + 0 * around[:, None]), angles)
    along = 1 - (1 - np.linspace(0, 1, points)) ** 1.5
    rays = fan(axis, around[:, None] + 0 * along, ends[:, None] * along)
    skull = head.at(rays)
    rim = np.sqrt(np.clip((1 - along) / volume.rim, 0, 1))
    off = volume.on(rays, skull, rng) * rim
    off[:, -1] = -RIM_M
    return Strands(skull + off[..., None] * rays, True, np.zeros(off.shape))


def _loose(head: Head, rng: np.random.Generator, volume: Volume, tip: float, flare: float, face: float) -> Strands:
    """Hair that is parted on top and falls beside the face and behind, to about the height `tip` (metres).

    flare: how much wider it gets on its way down. face: azimuth of its edges, radians from the middle of the face.
    """
    half, on_head = STRANDS // 2, ABOVE
    w = np.linspace(0, 1, half) ** 1.2
    parting = rng.uniform(-0.45, 0.45)
    sides = []
    for sign in (1, -1):
        start = parting + w * (sign * np.pi - parting)
        fall = sign * (face + w * (np.pi - face))
        sides.append((start, fall, w) if sign > 0 else (start[-2::-1], fall[-2::-1], w[-2::-1]))
    start, fall, w = (np.concatenate(pair) for pair in zip(*sides, strict=True))
    # On the skull: from the parting to the sides, along the hairline where it would cross it.
    k = np.linspace(0, 1, on_head)
    turn = ease((k - 0.3) / 0.7)
    azimuth = start[:, None] + (fall - start)[:, None] * turn
    lowest = np.radians(96)
    angles = np.linspace(0.05, lowest, 50)
    every = np.arange(STRANDS) * 2 * np.pi / STRANDS
    line = head.line(direction(every[:, None] + 0 * angles, angles + 0 * every[:, None]), angles)
    bound = np.interp(np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi), every[: STRANDS // 2], line[: STRANDS // 2])
    freed = ease((np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi) - face + 0.35) / 0.35)
    polar = np.minimum(k * lowest, bound + (lowest - bound) * freed)
    rays = direction(azimuth, polar)
    skull = head.at(rays)
    edge = np.maximum(ease(w / 0.16)[:, None], 0.8 * turn**2)
    off = volume.on(rays, skull, rng) * edge * (0.5 + 0.5 * ease(k / 0.3)) - RIM_M * (1 - edge)
    top = skull + off[..., None] * rays
    # Below: down, a little outwards, and behind the shoulders.
    length = np.maximum(top[:, -1, 1] - tip, 0.02) * (1 + 0.05 * rng.normal(size=len(w)))
    s = np.linspace(0, 1, BELOW + 1)[1:]
    y = top[:, -1, 1][:, None] - length[:, None] * s
    flat = top[:, -1] - head.middle
    radius = np.hypot(flat[:, 0], flat[:, 2])[:, None] * (1 + flare * s)
    behind = ease((head.chin - y) / (head.chin - head.shoulder))
    goal = np.sign(fall) * (np.radians(122) + w * (np.pi - np.radians(122)))
    around = fall[:, None] + (goal - fall)[:, None] * behind
    wave = smooth_field(
        np.stack([np.tile(fall, 2), np.repeat([0.0, 1.0], len(fall)), np.zeros(2 * len(fall))], 1), rng, 10, (0.2, 0.8)
    )
    radius = radius + volume.rough * wave[: len(fall)] * s
    hanging = np.stack([np.sin(around) * radius, y - head.middle[1], np.cos(around) * radius], -1) + head.middle
    hang = np.concatenate([np.zeros((len(w), on_head)), np.tile(ease(s / 0.3 + 0.2), (len(w), 1))], 1)
    return Strands(np.concatenate([top, hanging], 1), False, hang)


def _fringe(head: Head, rng: np.random.Generator, off_m: float) -> Strands:
    """Hair over the forehead down to the brows."""
    wide, end = rng.uniform(0.75, 1.0), head.eyes + rng.uniform(0.014, 0.035)
    azimuth = np.linspace(-wide, wide, 22)
    polar = np.linspace(np.radians(22), np.radians(95), 60)
    heights = head.at(direction(azimuth[:, None] + 0 * polar, polar + 0 * azimuth[:, None]))[..., 1]
    ends = polar[
        (heights < end + 0.012 * rng.random((len(azimuth), 1)) + 0.03 * np.abs(azimuth / wide)[:, None] ** 3).argmax(1)
    ]
    k = np.linspace(0, 1, 9)
    angles = polar[0] + (gaussian_filter1d(ends, 1.0) - polar[0])[:, None] * k
    rays = direction(azimuth[:, None] + 0 * k, angles)
    skull = head.at(rays)
    edge = ease((1 - np.abs(azimuth) / wide) / 0.25)[:, None]
    off = off_m * (0.7 + 0.3 * np.sin(np.pi * k)) * edge + 0.0015 * rng.normal(size=(len(azimuth), 1))
    off[:, -1] *= 0.55
    return Strands(skull + np.maximum(off, 0.0015)[..., None] * rays, False, np.zeros(off.shape))


def _tail(
    head: Head, rng: np.random.Generator, anchor: np.ndarray, off_m: float, length: float, thick: float, plait: bool
) -> Strands:
    """Hair that is tied at a direction from the skull's middle and falls from there."""
    start = head.spot(anchor) + off_m * anchor
    s = np.linspace(0, 1, 22 if plait else 14)
    out = (0.025 + thick) * (1 - np.exp(-s * length / 0.03))
    down = np.maximum(s * length - 0.012, 0) ** 2 / (s * length + 0.02)
    line = start - 0.006 * anchor + out[:, None] * anchor + down[:, None] * [0, -1.0, 0]
    line[:, [0, 2]] += np.cumsum(rng.normal(0, 0.002, (len(s), 2)), 0)
    if plait:
        radius = thick * (0.75 + 0.25 * np.abs(np.sin(np.pi * s * length / 0.03))) * np.minimum(1, (1.05 - s) / 0.15)
    else:
        radius = thick * np.interp(s, [0, 0.06, 0.35, 0.7, 1], [0.55, 0.5, 1, 0.8, 0.2])
    along = unit(np.gradient(line, axis=0))
    side = unit(np.cross(along, anchor * [1, 0, 1] + [1e-3, 0, 0]))
    front = np.cross(side, along)
    turn = np.arange(12) * 2 * np.pi / 12
    ring = np.cos(turn)[:, None, None] * side + np.sin(turn)[:, None, None] * front
    ragged = 1 + 0.06 * rng.normal(size=(12, 1, 1))
    return Strands(line + radius[:, None] * ring * ragged, True, np.tile(ease(s / 0.3), (12, 1)))


def _bun(head: Head, rng: np.random.Generator, anchor: np.ndarray, off_m: float) -> Strands:
    radius = rng.uniform(0.026, 0.042)
    middle = head.spot(anchor) + (off_m + 0.6 * radius) * anchor
    polar, around = np.linspace(0.05, np.pi - 0.05, 11), np.arange(16) * 2 * np.pi / 16
    rays = fan(anchor, around[:, None] + 0.9 * polar, polar + 0 * around[:, None])
    lumps = 1 + 0.06 * smooth_field(rays.reshape(-1, 3), rng, 8, (0.5, 1.5)).reshape(16, 11, 1)
    squash = rays - rng.uniform(0.1, 0.35) * (rays @ anchor)[..., None] * anchor
    return Strands(middle + radius * lumps * squash, True, np.zeros((16, 11)))


def _pieces(head: Head, rng: np.random.Generator, style: str) -> list[Strands]:
    """A head of hair of a style."""
    draw = rng.uniform
    fringe = rng.random() < 0.35
    if style in STYLES["short"]:
        side = {"crop": draw(0.004, 0.010), "quiff": draw(0.005, 0.012), "afro": draw(0.025, 0.06)}[style]
        volume = {
            "crop": Volume(side, side + draw(0.002, 0.012), draw(0, 0.008), 0.002, (0.012, 0.04), 0.25),
            "quiff": Volume(side, side + draw(0.012, 0.025), draw(0.01, 0.03), 0.004, (0.02, 0.06), 0.12),
            "afro": Volume(side, side + draw(0.0, 0.025), 0.0, 0.006, (0.015, 0.04), 0.35),
        }[style]
        whorl = unit(np.array([[draw(-0.25, 0.25), 1.0, -0.45]]))[0]
        return [_cap(head, rng, whorl, volume, 26 if style == "afro" else POINTS)]
    if style in STYLES["long"]:
        volume = Volume(draw(0.010, 0.018), draw(0.012, 0.024), 0.0, 0.003, (0.03, 0.08), 0.1)
        tip, flare = head.chin - draw(-0.01, 0.04), draw(0.0, 0.3)
        if style == "long":
            tip, flare = head.shoulder - draw(0.0, 0.2), draw(0.0, 0.2)
        elif style == "curly":
            volume = Volume(draw(0.018, 0.035), draw(0.018, 0.035), 0.0, 0.008, (0.025, 0.06), 0.1)
            tip, flare = head.chin - draw(0.0, 0.14), draw(0.15, 0.5)
        pieces = [_loose(head, rng, volume, tip, flare, draw(1.05, 1.5))]
        return [*pieces, _fringe(head, rng, volume.side)] if fringe and style != "curly" else pieces
    volume = Volume(draw(0.005, 0.009), draw(0.006, 0.014), 0.0, 0.0015, (0.02, 0.06), 0.1)
    anchor = direction(np.array(np.pi), np.array(np.radians(draw(45, 100) if style == "bun" else draw(60, 100))))
    pieces = [_cap(head, rng, anchor if style != "plaits" else np.array([0.0, 0.6, -0.8]), volume)]
    if style == "bun":
        pieces.append(_bun(head, rng, anchor, volume.side))
    elif style == "ponytail":
        pieces.append(_tail(head, rng, anchor, volume.side, draw(0.14, 0.38), draw(0.02, 0.032), False))
    else:
        length, thick, polar = draw(0.14, 0.32), draw(0.013, 0.018), np.array(np.radians(draw(98, 112)))
        pieces += [
            _tail(head, rng, direction(np.array(np.pi + s), polar), 0.004, length, thick, True) for s in (-0.85, 0.85)
        ]
    return [*pieces, _fringe(head, rng, volume.side + 0.004)] if fringe else pieces


def _clear(piece: Strands, obstacles: np.ndarray, normals: np.ndarray, tree: cKDTree) -> Strands:
    """What hangs, moved out of a body and what it wears: (N, 3) points with normals."""
    if not piece.hang.any():
        return piece
    points = piece.points
    for last in (False, True):
        flat = points.reshape(-1, 3)
        near = tree.query(flat)[1]
        height = np.einsum("gc,gc->g", flat - obstacles[near], normals[near]).reshape(piece.hang.shape)
        missing = np.where(piece.hang > 0, np.maximum(CLEAR_M - height, 0), 0)
        moves = missing[..., None] * normals[near].reshape(points.shape)
        if piece.closed:  # a tail keeps its shape
            most = missing.argmax(0)
            moves = np.broadcast_to(moves[most, np.arange(points.shape[1])], points.shape)
        points = points + moves
        if not last:
            smooth = gaussian_filter1d(
                gaussian_filter1d(points, 1.0, axis=0, mode="nearest"), 1.0, axis=1, mode="nearest"
            )
            points = points + (smooth - points) * piece.hang[..., None] * (0.0 if piece.closed else 1.0)
    return replace(piece, points=points)


def make_hair(
    head: Head, style: str, colour: np.ndarray, worn: list[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator
) -> Hair:
    """Hair of a style and a colour, sRGB 0..255. worn: points (G, 3) and normals of the garments, over which it falls."""
    obstacles, normals = (np.concatenate(arrays) for arrays in zip((head.skin, head.normals), *worn, strict=True))
    high = obstacles[:, 1] > head.shoulder - REACH_M
    obstacles, normals = obstacles[high], normals[high]
    tree = cKDTree(obstacles, balanced_tree=False, compact_nodes=False)
    skin = cKDTree(head.skin, balanced_tree=False, compact_nodes=False)
    pieces = [_clear(piece, obstacles, normals, tree) for piece in _pieces(head, rng, style)]
    firsts = np.cumsum([0, *(piece.hang.size for piece in pieces)])
    rest = np.concatenate([piece.points.reshape(-1, 3) for piece in pieces])
    hang = np.concatenate([piece.hang.ravel() for piece in pieces])
    grids = [_grid(piece) for piece in pieces]
    return Hair(
        rest,
        _weights(rest, hang, head.weights[skin.query(rest)[1]].toarray(), head.chin),
        np.concatenate([first + faces for first, (faces, _, _) in zip(firsts, grids, strict=False)]),
        np.concatenate([uv for _, uv, _ in grids]),
        np.concatenate([first + roots for first, (_, _, roots) in zip(firsts, grids, strict=False)]),
        hang,
        _colours(colour, style in ("afro", "curly"), rng),
        head.upper,
    )


def _weights(points: np.ndarray, hang: np.ndarray, skull: np.ndarray, chin: float) -> np.ndarray:
    """(G, 55): the skull's (G, 55) where hair lies on it; what hangs goes from the head's to the chest's below the chin."""
    below = 0.8 * ease((chin - points[:, 1]) / 0.22) * hang
    free = np.zeros_like(skull)
    free[:, _HEAD], free[:, _CHEST] = 1 - below, below
    return hang[:, None] * free + (1 - hang[:, None]) * skull


def _grid(piece: Strands) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A piece's faces (F, 3), the last strand joined to the first where it is closed, places (G, 2) on the picture of strands, and the
    point (G,) at which each one's strand leaves the skull."""
    strands, points = piece.hang.shape
    u, v = (a.ravel() for a in np.indices((strands if piece.closed else strands - 1, points - 1)))
    a, b = u * points + v, (u + 1) % strands * points + v
    faces = np.concatenate([np.stack([a, b, b + 1], 1), np.stack([a, b + 1, a + 1], 1)]).astype(np.int32)
    u, v = np.indices(piece.hang.shape)
    uv = np.stack([u / strands, 0.999 * v / (points - 1)], -1).reshape(-1, 2)
    leaves = np.maximum((piece.hang > 0).argmax(1) - 1, 0)
    return faces, uv, (u * points + leaves[:, None]).ravel()


def fall(hair: Hair, points: np.ndarray, turned: np.ndarray, skin: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(G, 3) points of hair in a pose: what hangs turned towards the ground, z down, and moved out of the skin.

    turned: (G, 3, 3) how each point was turned from the zero pose, about. skin, normals: (V, 3) of the posed body.
    """
    free = np.flatnonzero(hair.hang > 0)
    if not len(free):
        return points
    root = points[hair.roots[free]]
    down = unit(-turned[free, :, 1])
    axis = np.cross(down + [1e-3, 2e-3, 0.0], [0.0, 0.0, -1.0])  # who stands on the head has an axis too
    angle = GRAVITY * hair.hang[free] * np.arccos(np.clip(-down[:, 2], -1, 1))
    along = Rotation.from_rotvec(unit(axis) * angle[:, None]).apply(points[free] - root)
    points = points.copy()
    points[free] = push_out(root + along, skin[hair.upper], normals[hair.upper], SKIN_M)
    return points


def _colours(hair: np.ndarray, curls: bool, rng: np.random.Generator) -> np.ndarray:
    """(ALONG, ACROSS, 3) sRGB 0..1: strands that differ, darker where they start; or curls."""
    across = sum(
        size * np.sqrt(wide) * gaussian_filter1d(rng.normal(size=ACROSS), wide, mode="wrap")
        for size, wide in ((0.16, 0.8), (0.16, 3.0), (0.12, 10.0))
    )
    along = np.interp(np.linspace(0, 1, ALONG), [0, 0.15, 0.6, 1], [0.72, 0.95, 1.0, 1.12])
    wide = (0.8, 2.5) if curls else (6.0, 2.0)
    patches = rng.normal(0, 1.0, (ALONG, ACROSS))
    patches = gaussian_filter1d(gaussian_filter1d(patches, wide[0], axis=0), wide[1], axis=1, mode="wrap")
    light = (
        np.clip(1 + (0.3 if curls else 1.0) * across + (0.8 if curls else 0.6) * patches, 0.45, 1.6) * along[:, None]
    )
    return np.clip(light[..., None] * hair / 255, 0, 1).astype(np.float32)
