"""What a person wears: clothes, hair and a face, painted and displaced on the zero pose.

Everything is a function of the place on the *template* (zero pose, mean shape), so an edge of a garment lies wherever its cut line
was drawn and never at a joint by rule. The renderer asks for the colour of each hit by its place on the template.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.skeletons import SMPLX_55
from pipeline.sources.synthetic.complexion import Complexion, red_places, skin_colours
from pipeline.sources.synthetic.people import smooth_field
from pipeline.sources.synthetic.shoes import toe_cap

_JOINT = {name: k for k, name in enumerate(SMPLX_55.names)}
# Most cloth has no pattern.
PATTERNS = ("plain",) * 9 + ("stripes_y", "stripes_x", "stripes_diagonal", "checks", "dots", "blotches", "halves")
# Linear mixes of these two cover people's skin; hair comes from the list. sRGB 0..255.
_SKIN = np.array([[255, 219, 190], [232, 186, 148], [198, 140, 98], [141, 91, 60], [82, 51, 36]], float)
_HAIR = np.array(
    [[25, 20, 18], [60, 40, 28], [105, 70, 40], [165, 120, 65], [205, 170, 110], [140, 60, 30], [150, 148, 145]], float
)


@dataclass(frozen=True)
class Landmarks:
    """Places on the template (metres): heights and half widths that cut lines are drawn between."""

    ankle: float
    crotch: float
    waist: float
    shoulder: float
    neck: float
    shoulder_x: float
    wrist_x: float
    eyes: np.ndarray  # (2, 3) left, right
    nose: np.ndarray  # (3,)
    head: np.ndarray  # (3,) middle of the skull
    chest_z: float
    red: np.ndarray  # (n, 5) where skin is redder
    toe_cap: np.ndarray  # (V, 3) metres that make the toes one


def make_landmarks(template: np.ndarray, joints: np.ndarray, nose: int) -> Landmarks:
    """template (V, 3), joints (55, 3) of the template, the vertex at the tip of the nose."""
    at = {name: joints[k] for name, k in _JOINT.items()}
    eyes = np.stack([at["left_eye"], at["right_eye"]])
    skull = template[template[:, 1] > eyes[:, 1].mean() + 0.01]
    head = np.array([0.0, eyes[:, 1].mean(), 0.5 * (skull[:, 2].min() + skull[:, 2].max())])
    ears = head + [[0.5 * np.ptp(skull[:, 0]), -0.02, 0], [-0.5 * np.ptp(skull[:, 0]), -0.02, 0]]
    return Landmarks(
        ankle=at["left_ankle"][1],
        crotch=at["left_hip"][1] - 0.07,
        waist=at["spine1"][1] + 0.06,
        shoulder=at["left_shoulder"][1],
        neck=at["neck"][1],
        shoulder_x=at["left_shoulder"][0],
        wrist_x=at["left_wrist"][0],
        eyes=eyes,
        nose=template[nose],
        head=head,
        chest_z=at["spine3"][2],
        red=red_places(at, template[nose], ears),
        toe_cap=toe_cap(template, np.stack([at["left_ankle"], at["right_ankle"]])),
    )


@dataclass(frozen=True)
class Cloth:
    """A garment's colours and pattern. colours: (2, 3) sRGB 0..255. period, metres. front: the pattern is on the front only."""

    pattern: str
    colours: np.ndarray
    period: float
    phase: float
    front: bool


@dataclass(frozen=True)
class Outfit:
    """A whole appearance; heights and half widths in metres on the template, colours sRGB 0..255. tucked: whether the
    top goes into the bottom. bare: which of
    `garment_masks` are not painted, because a mesh shows them or nothing is worn there. complexion: None for skin of one colour."""

    skin: np.ndarray
    lips: np.ndarray
    hair: np.ndarray
    hair_style: str
    hairline: tuple[float, float]
    beard: bool
    top: Cloth
    bottom: Cloth
    shoes: Cloth
    hem: float
    sleeve: float
    neckline: float
    neck_v: float
    trouser_end: float
    shoe_end: float
    zip: bool
    badge: tuple[float, float, float]
    slant: float
    tucked: bool
    bare: tuple[str, ...] = ()
    complexion: Complexion | None = None


def _colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) a cloth colour: often muted, sometimes bright, sometimes near black or white."""
    grey = rng.uniform(15, 240)
    tint = rng.uniform(-1, 1, 3)
    return np.clip(grey + rng.choice([12.0, 45.0, 90.0], p=[0.3, 0.4, 0.3]) * (tint - tint.mean()), 8, 248)


def _cloth(rng: np.random.Generator) -> Cloth:
    return Cloth(
        PATTERNS[rng.integers(len(PATTERNS))],
        np.stack([_colour(rng), _colour(rng)]),
        rng.uniform(0.04, 0.16),
        rng.random(),
        bool(rng.random() < 0.3),
    )


def draw_outfit(rng: np.random.Generator, marks: Landmarks) -> Outfit:
    """A new appearance with cut lines at random heights."""
    tone = rng.uniform(0, len(_SKIN) - 1)
    low = int(min(tone, len(_SKIN) - 2))
    skin = _SKIN[low] + (tone - low) * (_SKIN[low + 1] - _SKIN[low])
    return Outfit(
        skin=skin,
        lips=skin * [0.86, 0.55, 0.55],
        hair=_HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.8, 1.15),
        hair_style=str(rng.choice(["short", "long", "bun", "cap", "bald"], p=[0.38, 0.3, 0.1, 0.12, 0.1])),
        hairline=(rng.uniform(0.035, 0.065), rng.uniform(-0.11, -0.05)),
        beard=bool(rng.random() < 0.15),
        top=_cloth(rng),
        bottom=_cloth(rng),
        shoes=_cloth(rng),
        hem=rng.uniform(marks.crotch - 0.12, marks.waist),
        sleeve=rng.uniform(marks.shoulder_x - 0.01, marks.wrist_x + 0.02),
        neckline=marks.neck + rng.uniform(-0.10, 0.05),
        neck_v=rng.uniform(0.0, 1.2),
        trouser_end=rng.uniform(marks.ankle - 0.02, marks.crotch - 0.05)
        if rng.random() < 0.6
        else marks.ankle + rng.uniform(-0.03, 0.06),
        shoe_end=marks.ankle + rng.uniform(-0.04, 0.16),
        zip=bool(rng.random() < 0.35),
        badge=(
            rng.uniform(-0.1, 0.1),
            marks.shoulder - rng.uniform(0.08, 0.3),
            rng.uniform(0.03, 0.09) if rng.random() < 0.6 else 0.0,
        ),
        slant=rng.normal(0, 0.12),
        tucked=bool(rng.random() < 0.25),
    )


def garment_masks(outfit: Outfit, marks: Landmarks, p: np.ndarray) -> dict[str, np.ndarray]:
    """(N, 3) places on the template -> signed distances (N,) in metres to the cut lines, positive on the garment."""
    x, y, z = p.T
    side = np.abs(x)
    front = np.clip((z - marks.chest_z) / 0.1, 0, 1)
    top = np.minimum(
        np.minimum(y - outfit.hem - outfit.slant * x, outfit.sleeve - side),
        outfit.neckline - outfit.neck_v * front * np.maximum(0.10 - side, 0) + 0.6 * np.maximum(side - 0.07, 0) - y,
    )
    masks = {
        "top": top,
        "bottom": np.minimum(y - outfit.trouser_end, marks.waist + 0.02 - y),
        "shoes": outfit.shoe_end - y,
        "hair": hair_mask(outfit, marks, p),
    }
    return {name: np.full(len(p), -1.0) if name in outfit.bare else mask for name, mask in masks.items()}


def hair_mask(outfit: Outfit, marks: Landmarks, p: np.ndarray) -> np.ndarray:
    """(N,) metres above the hairline, which runs from the forehead over the ears to the nape (further down for long hair)."""
    if outfit.hair_style == "bald":
        return np.full(len(p), -1.0)
    x, y, z = (p - marks.head).T
    around = z / np.maximum(np.hypot(x, z), 1e-6)  # 1 in front, -1 behind
    forehead, nape = outfit.hairline
    if outfit.hair_style == "cap":
        line = np.full(len(p), forehead - 0.01)
    elif outfit.hair_style == "long":
        line = np.where(around > 0.75, forehead, nape - 0.10)
    else:
        line = nape + (forehead - nape) * np.clip(0.55 + 0.75 * around, 0, 1)
    above = np.minimum(y - line, 0.16 - np.hypot(x, z))
    return np.where(p[:, 1] > marks.neck - 0.02, above, -1.0)


def clothe(
    outfit: Outfit,
    marks: Landmarks,
    template: np.ndarray,
    normals: np.ndarray,
    rng: np.random.Generator,
    garment_m: tuple[float, float],
) -> np.ndarray:
    """(V, 3) metres to add to the zero-pose vertices: clothes and hair stand off the skin by smooth noise within `garment_m`, and
    shoes have no toes."""
    masks = garment_masks(outfit, marks, template)
    low, high = garment_m
    offsets, shod = np.zeros(len(template)), np.clip(masks["shoes"] / 0.015 + 0.5, 0, 1)
    for name, reach in (("top", 1.0), ("bottom", 1.0), ("shoes", 0.4), ("hair", 1.0)):
        noise = smooth_field(template, rng, waves=10, wavelength=(0.12, 0.6))[:, 0]
        loose = low + (high - low) * np.clip(0.5 + 0.35 * noise + rng.normal(0, 0.15), 0, 1)
        ramp = np.clip(masks[name] / 0.015 + 0.5, 0, 1)
        offsets = np.maximum(offsets, reach * loose * ramp)
    return offsets[:, None] * normals + shod[:, None] * marks.toe_cap


def paint(outfit: Outfit, marks: Landmarks, p: np.ndarray) -> np.ndarray:
    """(N, 3) places on the template -> (N, 3) float32 albedo, 0..1 sRGB."""
    colour = _skin(outfit, marks, p)
    masks = garment_masks(outfit, marks, p)
    _face(outfit, marks, p, colour)
    for name in ("bottom", "shoes", "top"):
        cloth: Cloth = getattr(outfit, name)
        on = masks[name] > 0
        colour[on] = pattern(cloth, p[on], marks)
    x, y, z = p.T
    in_front = (masks["top"] > 0) & (z > marks.chest_z + 0.03)
    bx, by, size = outfit.badge
    if size:
        colour[in_front & (np.hypot(x - bx, y - by) < size)] = outfit.bottom.colours[1]
    if outfit.zip:
        colour[in_front & (np.abs(x) < 0.012)] = outfit.shoes.colours[0]
    hair = masks["hair"] > 0
    if hair.any():
        base = outfit.top.colours[1] if outfit.hair_style == "cap" else outfit.hair
        strands = 1 + 0.18 * np.sin(190 * x[hair] + 60 * z[hair]) * (outfit.hair_style != "cap")
        colour[hair] = base * strands[:, None]
    return (np.clip(colour, 0, 255) / 255).astype(np.float32)


def _skin(outfit: Outfit, marks: Landmarks, p: np.ndarray) -> np.ndarray:
    """(N, 3) sRGB 0..255."""
    if outfit.complexion is None:
        return np.broadcast_to(outfit.skin, p.shape).copy()
    inside = np.minimum(
        marks.shoulder_x - np.abs(p[:, 0]), np.minimum(p[:, 1] - marks.crotch, marks.shoulder - p[:, 1])
    )
    trunk = np.clip(0.5 + inside / 0.08, 0, 1)
    return skin_colours(outfit.skin, outfit.complexion, marks.red, trunk, p)


def pattern(cloth: Cloth, p: np.ndarray, marks: Landmarks) -> np.ndarray:
    """(N, 3) places on the template -> (N, 3) sRGB 0..255 colours of a cloth there."""
    x, y, z = p.T / cloth.period + cloth.phase
    if cloth.pattern == "plain":
        second = np.zeros(len(p), bool)
    elif cloth.pattern == "stripes_y":
        second = y % 1 < 0.5
    elif cloth.pattern == "stripes_x":
        second = x % 1 < 0.45
    elif cloth.pattern == "stripes_diagonal":
        second = (x + y) % 1 < 0.4
    elif cloth.pattern == "checks":
        second = (x % 1 < 0.5) ^ (y % 1 < 0.5)
    elif cloth.pattern == "dots":
        second = np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.3
    elif cloth.pattern == "blotches":
        second = np.sin(2.1 * x + 1.3 * np.sin(1.7 * y + cloth.phase)) + np.sin(2.6 * y + 1.1 * z) > 0.3
    else:
        second = x > cloth.phase
    if cloth.front:
        second &= p[:, 2] > marks.chest_z
    return np.where(second[:, None], cloth.colours[1], cloth.colours[0])


def _face(outfit: Outfit, marks: Landmarks, p: np.ndarray, colour: np.ndarray) -> None:
    """Eyes, brows, lips, a shaded nose and perhaps a beard, a little larger than life: a head is ten pixels wide."""
    face = np.flatnonzero((p[:, 1] > marks.nose[1] - 0.12) & (p[:, 2] > marks.head[2] + 0.03) & (np.abs(p[:, 0]) < 0.1))
    if not len(face):
        return
    x, y = p[face, 0], p[face, 1]
    eye_x, eye_y = np.abs(marks.eyes[:, 0]).mean(), marks.eyes[:, 1].mean()
    gap = marks.eyes[0, 1] - marks.nose[1]
    mouth_y = marks.nose[1] - 0.9 * gap
    dx = np.abs(x) - eye_x

    def spot(dx: np.ndarray, dy: np.ndarray, width: float, height: float) -> np.ndarray:
        return (dx / width) ** 2 + (dy / height) ** 2 < 1

    def put(where: np.ndarray, value: np.ndarray) -> None:
        colour[face[where]] = value

    if outfit.beard:
        put((y < marks.nose[1] - 0.008) & (np.abs(x) < 0.075), outfit.hair)
    put(spot(dx, y - eye_y, 0.026, 0.018), outfit.skin * 0.72)
    put(spot(dx, y - eye_y, 0.017, 0.009), np.array([235.0, 232, 228]))
    put(spot(dx, y - eye_y, 0.009, 0.009), np.array([35.0, 25, 22]))
    put(spot(dx, y - eye_y - 0.026, 0.022, 0.007), outfit.hair * 0.7)
    put(spot(x, y - marks.nose[1] + 0.012, 0.018, 0.008), outfit.skin * 0.6)
    put(spot(x, y - mouth_y, 0.028, 0.011), outfit.lips)
