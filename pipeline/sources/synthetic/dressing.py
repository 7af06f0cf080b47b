"""Dressing people: what each wears, on the zero pose, and the meshes of a dressed person in a pose."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy import sparse

from pipeline.sources.synthetic import appearance
from pipeline.sources.synthetic.appearance import Cloth, Landmarks, Outfit
from pipeline.sources.synthetic.complexion import draw_complexion
from pipeline.sources.synthetic.garments import (
    Garment,
    Wardrobe,
    beneath,
    cut,
    neighbour_mean,
    on_person,
    open_wardrobe,
    push_out,
)
from pipeline.sources.synthetic.hair import FALLING, STYLES, Hair, fall, make_hair
from pipeline.sources.synthetic.people import Motion, Person, Rig, skin, smooth_field
from pipeline.sources.synthetic.render import Mesh, vertex_normals
from pipeline.sources.synthetic.scalp import Scalp, head_of, make_scalp
from pipeline.sources.synthetic.settings import Looks

# How far garments stay off the skin (metres): on the zero pose by what they are worn as, and in a pose, beneath another and over it.
MARGIN = {"bottom": 0.005, "top": 0.008, "dress": 0.008, "shoes": 0.006, "skirt": 0.008, "coat": 0.024}
MARGIN.update({"hat": 0.004, "glasses": 0.001})
UNDER_M, OVER_M = 0.003, 0.006
# Over so many metres from the edge of a piece of the suit that lies over it, another comes off the skin.
LOOSENS_M = 0.04
# How far a piece of the suit goes under another, and how far inside its cut lines it hides the body.
TUCK_M, COVERED_M = 0.035, 0.03
# Shares of people: in clothes that are only painted on the skin and stand off it; in a dress; in items and not cut from the suit.
PAINTED, DRESSES, ITEMS = 0.12, 0.14, 0.3
# Of those whose hair is short, long or in a bun and who wear no hat: with hair as a mesh.
HAIR = 0.9
SKIRTS, COATS, BOOTS, HATS, GLASSES = 0.15, 0.07, 0.12, 0.14, 0.15

# Worn as -> the cloth of the outfit that it is made of.
_CLOTH_OF = {"top": "top", "dress": "top", "coat": "top", "bottom": "bottom", "skirt": "bottom"}

# (M, 5) places, template metres and texture coordinates -> (M, 3) float32 albedo, 0..1 sRGB.
Paint = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Part:
    """The body or a garment on a person's zero pose. rest: (G, 3) metres; weights: (G, 55) sparse; faces: (F, 3).

    places: (G, 5) float32, what `paint` colours by. near: (G,) vertices of the body beneath, None for the body itself; loose: whether
    they change with the pose. margin: metres that it stays off the skin in a pose. hair: what it is made of, where it is hair.
    """

    rest: np.ndarray
    weights: sparse.csr_array
    faces: np.ndarray
    places: np.ndarray
    paint: Paint
    near: np.ndarray | None = None
    loose: bool = False
    margin: float = OVER_M
    hair: Hair | None = None


@dataclass(frozen=True)
class Tailor:
    """What dressing needs, made once a process. normals: (V, 3) of the template. wardrobe: None where clothes are only painted.
    scalp: for hair as meshes, None where there is no wardrobe.
    """

    rig: Rig
    marks: Landmarks
    normals: np.ndarray
    wardrobe: Wardrobe | None
    scalp: Scalp | None


def open_tailor(rig: Rig, looks: Looks) -> Tailor:
    marks = appearance.make_landmarks(rig.template, rig.regressor @ rig.template, rig.nose)
    wardrobe = open_wardrobe(rig) if looks.garments else None
    scalp = make_scalp(rig, marks) if wardrobe else None
    return Tailor(rig, marks, vertex_normals(rig.template, rig.faces), wardrobe, scalp)


def dress(tailor: Tailor, person: Person, rng: np.random.Generator, garment_m: tuple[float, float]) -> tuple[Part, ...]:
    """A person in new clothes: the body first, then what is worn over it. garment_m: how far clothes and hair stand off the skin."""
    rig, marks = tailor.rig, tailor.marks
    outfit = appearance.draw_outfit(rng, marks)
    painted = rng.random() < PAINTED
    if tailor.wardrobe is None or painted:
        offsets = appearance.clothe(outfit, marks, rig.template, tailor.normals, rng, garment_m)
        return (_body(tailor, person.rest + offsets, outfit, np.zeros(len(rig.template), bool), rng),)
    outfit, chosen = _choose(tailor.wardrobe, outfit, rng)
    hairs = rng.spawn(1)[0]  # what else is drawn stays the same with other hair
    style = _choose_hair(outfit, chosen, hairs)
    if style:
        outfit = replace(outfit, hair_style="short")
    # Beneath garments, clothes are only painted: what shows through for a pixel has the garment's colours.
    offsets = appearance.clothe(outfit, marks, rig.template, tailor.normals, rng, (0.001, 0.003))
    if outfit.hair_style not in ("bald", "cap"):
        hair = appearance.garment_masks(outfit, marks, rig.template)["hair"]
        bulk = rng.uniform(*garment_m) * (0.4 if any(garment.kind == "hat" for garment, _ in chosen) else 1.0)
        if style is None:
            offsets += (np.clip(hair / 0.02, 0, 1) * bulk)[:, None] * tailor.normals
    rest = person.rest + offsets
    hidden = np.zeros(len(rest), bool)
    parts: list[Part] = []
    for garment, worn_as in chosen:
        if worn_as == "coat":
            parts = [_without(part, beneath(part.places[:, :3], garment.rest, garment.faces)) for part in parts]
        part, covered = _wear(tailor, garment, worn_as, outfit, rest, rng, garment_m)
        parts.append(part)
        hidden |= covered
    if style is not None:
        parts.append(_hair(tailor, person, outfit, rest, parts, style, hairs))
    return (_body(tailor, rest, outfit, hidden, rng), *parts)


def _choose_hair(outfit: Outfit, chosen: list[tuple[Garment, str]], rng: np.random.Generator) -> str | None:
    """The style of the hair as a mesh, None where it stays painted."""
    if outfit.hair_style not in STYLES or rng.random() >= HAIR or any(worn_as == "hat" for _, worn_as in chosen):
        return None
    return str(rng.choice(STYLES[outfit.hair_style]))


def _hair(
    tailor: Tailor,
    person: Person,
    outfit: Outfit,
    rest: np.ndarray,
    clothes: list[Part],
    style: str,
    rng: np.random.Generator,
) -> Part:
    """Hair over the clothes of a person whose dressed body is at rest: (V, 3)."""
    assert tailor.scalp is not None
    over = clothes if style in FALLING else []
    worn = [(part.rest, vertex_normals(part.rest, part.faces)) for part in over]
    head = head_of(tailor.scalp, tailor.rig, person, tailor.marks, outfit, rest)
    hair = make_hair(head, style, outfit.hair, worn, rng)
    places = np.concatenate([hair.rest, hair.uv], 1).astype(np.float32)
    return Part(hair.rest, sparse.csr_array(hair.weights), hair.faces, places, _image_paint(hair.colours), hair=hair)


def _choose(wardrobe: Wardrobe, outfit: Outfit, rng: np.random.Generator) -> tuple[Outfit, list[tuple[Garment, str]]]:
    """The garments and what each is worn as, and the outfit without what they replace."""
    suit, skirt = wardrobe.garments["suit"], wardrobe.garments["skirt"]
    chance = rng.random(8)

    def one(kind: str) -> Garment:
        found = wardrobe.of_kind(kind)
        return found[rng.integers(len(found))]

    chosen, bare = [], []
    if chance[0] < DRESSES:
        chosen.append((one("dress"), "dress"))
        bare += ["top", "bottom"]
    else:
        bottom = (skirt, "skirt") if chance[1] < SKIRTS else (suit, "bottom")
        if chance[1] > 1 - ITEMS:
            bottom = one("bottom"), "bottom"
        top = (one("top"), "top") if chance[2] < ITEMS / 2 else (suit, "top")
        chosen += [bottom, top]
        bare += [name for (garment, _), name in ((bottom, "bottom"), (top, "top")) if garment is not suit]
    extras = (("coat", COATS, chance[3]), ("shoes", BOOTS, chance[4]), ("hat", HATS, chance[5]))
    chosen += [(one(kind), kind) for kind, share, drawn in extras if drawn < share]
    if chance[6] < GLASSES:
        chosen.append((one("glasses"), "glasses"))
    return replace(outfit, bare=tuple(bare)), chosen


def _without(part: Part, hidden: np.ndarray) -> Part:
    """A part without the faces that lie under another."""
    return replace(part, faces=part.faces[~hidden[part.faces].all(1)])


def _body(tailor: Tailor, rest: np.ndarray, outfit: Outfit, hidden: np.ndarray, rng: np.random.Generator) -> Part:
    """The body without what garments hide of it: faces whose every vertex is among `hidden` (V,)."""
    outfit = replace(outfit, complexion=draw_complexion(rng.spawn(1)[0]))
    faces = tailor.rig.faces[~hidden[tailor.rig.faces].all(1)]
    places = np.concatenate([tailor.rig.template, np.zeros((len(rest), 2))], 1).astype(np.float32)
    return Part(rest, tailor.rig.weights, faces, places, lambda at: appearance.paint(outfit, tailor.marks, at[:, :3]))


def _wear(
    tailor: Tailor,
    garment: Garment,
    worn_as: str,
    outfit: Outfit,
    rest: np.ndarray,
    rng: np.random.Generator,
    garment_m: tuple[float, float],
) -> tuple[Part, np.ndarray]:
    """A garment on a dressed body's zero pose (V, 3), and which of the body's vertices it covers."""
    marks, template = tailor.marks, tailor.rig.template
    points, at, uv, weights = on_person(garment, rest - template), garment.rest, garment.uv, garment.weights
    faces, near, covered = garment.faces, garment.near, garment.hidden
    cloth: Cloth = getattr(outfit, _CLOTH_OF.get(worn_as, "shoes"))
    if garment.texture is None:
        keep, covered = _cut_lines(outfit, marks, garment, worn_as, template, rng)
        combine, faces, beside = cut(garment, keep)
        points, at, uv, weights = (combine @ values for values in (points, at, uv, weights))
        near, paint = near[beside], _cloth_paint(cloth, marks)
        slack = _slack(at, rng, garment_m) * _loosens(outfit, marks, worn_as, at)
    else:
        paint, slack = _texture_paint(garment.texture, cloth, rng), np.zeros(len(at))
    over, under = _layers(outfit)
    margin = MARGIN[{under: "bottom", over: "top"}.get(worn_as, worn_as)]
    nearest = ((points[:, None] - rest[near]) ** 2).sum(-1).argmin(1)
    beneath_it = np.take_along_axis(near, nearest[:, None], 1)[:, 0]
    points = push_out(points, rest, tailor.normals, margin + slack, beneath_it)
    smooth = 0.5 * points + 0.5 * (neighbour_mean(faces, len(points)) @ points)
    points = push_out(smooth, rest, tailor.normals, margin, beneath_it)
    places = np.concatenate([at, uv], 1).astype(np.float32)
    posed = UNDER_M if worn_as == under else OVER_M
    part = Part(points, sparse.csr_array(weights), faces, places, paint, beneath_it, garment.hangs, posed)
    return part, covered


def _layers(outfit: Outfit) -> tuple[str, str]:
    """Which of top and bottom lies over the other, and which under it: the bottom, but for a shirt of the suit tucked into its
    trousers."""
    tucked = outfit.tucked and not {"top", "bottom"} & set(outfit.bare)
    return ("bottom", "top") if tucked else ("top", "bottom")


def _loosens(outfit: Outfit, marks: Landmarks, worn_as: str, at: np.ndarray) -> np.ndarray:
    """(G,) 0..1 how much of its slack cloth has at a place of the template: none where it lies under another piece, nor at the
    waist."""
    over, under = _layers(outfit)
    if worn_as != under:
        return np.ones(len(at))
    loose = np.clip(-appearance.garment_masks(outfit, marks, at[:, :3])[over] / LOOSENS_M, 0, 1)
    if worn_as == "bottom":
        loose *= np.clip((marks.waist - at[:, 1]) / (marks.waist - marks.crotch), 0, 1)
    return loose


def _cut_lines(
    outfit: Outfit, marks: Landmarks, garment: Garment, worn_as: str, template: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(G,) metres inside the cut lines of a piece of the suit or the skirt, and which of the body's vertices lie well inside it."""
    if worn_as == "skirt":
        knee = 0.5 * (marks.crotch + marks.ankle)
        hem = rng.uniform(marks.ankle + 0.1, knee + 0.25)
        return np.minimum(garment.rest[:, 1] - hem, marks.waist + 0.03 - garment.rest[:, 1]), np.zeros(
            len(template), bool
        )
    masks, covered = (appearance.garment_masks(outfit, marks, p) for p in (garment.rest, template))
    over, under = _layers(outfit)
    keep = masks[worn_as]
    if worn_as == under and over not in outfit.bare:
        keep = np.minimum(keep, TUCK_M - masks[over])
    return keep, covered[worn_as] > COVERED_M


def _slack(at: np.ndarray, rng: np.random.Generator, garment_m: tuple[float, float]) -> np.ndarray:
    """(G,) metres that cloth stands off further: folds, and more of it here than there."""
    low, high = garment_m
    most = rng.uniform(0.1, 0.9) * (high - low)
    wide = 0.5 + 0.35 * smooth_field(at, rng, waves=8, wavelength=(0.25, 0.8))[:, 0]
    folds = smooth_field(at, rng, waves=8, wavelength=(0.07, 0.2))[:, 0]
    return most * np.clip(wide, 0, 1) + rng.uniform(0.001, 0.005) * np.clip(folds, -1.5, 2)


def _cloth_paint(cloth: Cloth, marks: Landmarks) -> Paint:
    return lambda at: (appearance.pattern(cloth, at[:, :3], marks) / 255).astype(np.float32)


def _texture_paint(texture: np.ndarray, cloth: Cloth, rng: np.random.Generator) -> Paint:
    """The item's own colours, or its folds and seams in another colour."""
    image = texture.astype(np.float32) / 255
    if rng.random() < 0.6:
        grey = image.mean(2, keepdims=True)
        relief = np.clip(grey / max(float(np.median(grey)), 0.05), 0.3, 1.6)
        image = np.clip(relief * (cloth.colours[0] / 255).astype(np.float32), 0, 1)
    return _image_paint(np.asarray(cv2.GaussianBlur(image, (0, 0), 0.6)))


def _image_paint(image: np.ndarray) -> Paint:
    """The colours of a picture (H, W, 3) at texture coordinates."""
    height, width = image.shape[:2]

    def paint(at: np.ndarray) -> np.ndarray:
        column = (at[:, 3] % 1 * width).astype(int).clip(0, width - 1)
        row = ((1 - at[:, 4] % 1) * height).astype(int).clip(0, height - 1)
        return image[row, column]

    return paint


def pose(rig: Rig, person: Person, parts: tuple[Part, ...], motion: Motion, frame: int) -> list[Mesh]:
    """The meshes of a dressed person at one moment; garments that the pose drives into the body are pushed out again."""
    body, *garments = parts
    skinned = skin(rig, person, body.rest, motion, frame)
    posed = [Mesh(skinned, body.faces, body.places, body.paint)]
    if not garments:
        return posed
    normals = vertex_normals(skinned, rig.faces)
    for part in garments:
        points = skin(rig, person, part.rest, motion, frame, part.weights)
        if part.hair is not None:
            turned = (part.weights @ motion.turned[frame].reshape(-1, 9)).reshape(-1, 3, 3)
            points = fall(part.hair, points, turned, skinned, normals)
        else:
            points = push_out(points, skinned, normals, part.margin, None if part.loose else part.near)
        posed.append(Mesh(points, part.faces, part.places, part.paint))
    return posed
