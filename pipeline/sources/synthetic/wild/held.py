"""Things in people's hands: a phone, a book, a box, a stick or a bag, each a box that hides a part of somebody."""

import numpy as np

from pipeline.records import Camera
from pipeline.skeletons import SMPLX_55
from pipeline.sources.synthetic.furniture import free_of
from pipeline.sources.synthetic.things import Thing, about_vertical, cuboid, holds_none_of, put
from pipeline.sources.synthetic.wild.stage import Figure

# Share of people who hold something.
HOLDING = 0.15
# What is held -> how often, and its least and greatest size in metres: along the fingers, out of the palm, towards the thumb. A bag's:
# across the person, along it, down.
KINDS = {
    "phone": (0.3, (0.13, 0.008, 0.065), (0.17, 0.015, 0.085)),
    "book": (0.2, (0.18, 0.01, 0.12), (0.32, 0.04, 0.24)),
    "box": (0.15, (0.1, 0.1, 0.1), (0.3, 0.3, 0.3)),
    "stick": (0.15, (0.02, 0.02, 0.3), (0.05, 0.05, 1.3)),
    "bag": (0.2, (0.2, 0.07, 0.22), (0.4, 0.18, 0.42)),
}
# Skin so near to the middle of the palm belongs to the hand and may touch what it holds; nothing else may (metres).
HAND_M = 0.16
# From the middle of the palm to the thing, metres.
_GAP_M = 0.025


def draw_held(
    rng: np.random.Generator, figure: Figure, figures: list[Figure], around: list[Thing], camera: Camera
) -> Thing | None:
    """Something in a hand of a figure, which goes through nobody and not into the floor; None for most."""
    if rng.random() >= HOLDING:
        return None
    names, shares = list(KINDS), np.array([share for share, _, _ in KINDS.values()])
    kind, side = names[rng.choice(len(names), p=shares / shares.sum())], str(rng.choice(["left", "right"]))
    thing, palm = _in_hand(rng, figure, kind, side)
    others = [other.naked for other in figures if other is not figure]
    body = figure.naked[np.linalg.norm(figure.naked - palm, axis=1) > HAND_M]
    fits = thing.world[:, 2].min() > 0 and holds_none_of(thing, body) and free_of(thing, others, around, [camera])
    return thing if fits else None


def _in_hand(rng: np.random.Generator, figure: Figure, kind: str, side: str) -> tuple[Thing, np.ndarray]:
    """A thing of a kind in one of the hands, and (3,) the middle of the palm, world metres."""
    size = rng.uniform(*KINDS[kind][1:])
    wrist, knuckle = (SMPLX_55.index(f"{side}_{name}") for name in ("wrist", "middle1"))
    # Zero pose: arms sideways, palms down, thumbs ahead.
    fingers, out, thumb = (
        figure.motion.turned[0, wrist] @ np.array(axis, float)
        for axis in ((1 if side == "left" else -1, 0, 0), (0, -1, 0), (0, 0, 1))
    )
    palm = figure.motion.places[0, [wrist, knuckle]].mean(0) + 0.015 * out
    if kind == "bag":
        turn = about_vertical(rng.uniform(0, 2 * np.pi))
        return put([cuboid(size)], palm - [0, 0, _GAP_M + size[2] / 2], turn), palm
    centre = palm + (_GAP_M + size[1] / 2) * out
    if kind == "stick":
        centre = centre + rng.uniform(-0.35, 0.35) * size[2] * thumb
    return put([cuboid(size)], centre, np.stack([fingers, out, np.cross(fingers, out)], 1)), palm
