"""Skin that is not of one colour: it is mottled, redder where blood is near the surface, and paler where the sun does not come."""

from dataclasses import dataclass

import numpy as np

# Joint of the template, how far from it skin is redder (metres, one standard deviation), and how much.
_RED_JOINTS = (
    ("knee", 0.045, 0.7),
    ("elbow", 0.04, 0.8),
    ("index1", 0.04, 0.7),
    ("ring1", 0.04, 0.7),
    ("foot", 0.05, 0.5),
)
_WAVES = 7
# Blood shows in green and blue light; of pale skin more than of dark.
_FLUSH = np.array([0.0, 1.0, 0.85])
_PALE = 255.0


@dataclass(frozen=True)
class Complexion:
    """waves: (n, 3) radians a metre on the template, phases: (n,) of what mottles. uneven: its standard deviation, a part of the
    skin's colour. flush: how much less green and blue there is where skin is reddest. untanned: how much lighter the trunk is."""

    waves: np.ndarray
    phases: np.ndarray
    uneven: float
    flush: float
    untanned: float


def draw_complexion(rng: np.random.Generator) -> Complexion:
    """Mottles of 5 to 30 cm."""
    directions = rng.normal(size=(_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = directions * (2 * np.pi / rng.uniform(0.05, 0.3, (_WAVES, 1)))
    return Complexion(waves, rng.uniform(0, 2 * np.pi, _WAVES), *rng.uniform([0.015, 0.05, 0.0], [0.06, 0.22, 0.1]))


def red_places(joints: dict[str, np.ndarray], nose: np.ndarray, ears: np.ndarray) -> np.ndarray:
    """(n, 5) places on the template where skin is redder: x, y, z and spread in metres, and how much, 1 for the reddest.

    joints: of the template, by name. nose: (3,) its tip. ears: (2, 3) left, right.
    """
    rows = [
        (*joints[f"{side}_{name}"], spread, much) for name, spread, much in _RED_JOINTS for side in ("left", "right")
    ]
    rows.append((*nose, 0.02, 1.0))
    rows += [(*ear, 0.03, 0.9) for ear in ears]
    eyes = joints["left_eye"], joints["right_eye"]
    rows += [(*(0.45 * eye + 0.55 * (nose + [1.6 * eye[0], 0, -0.02])), 0.022, 0.9) for eye in eyes]  # cheeks
    return np.array(rows)


def skin_colours(
    skin: np.ndarray, complexion: Complexion, red: np.ndarray, trunk: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """(N, 3) places on the template -> (N, 3) sRGB 0..255.

    skin: (3,) of the person. red: as `red_places` gives them. trunk: (N,) 0..1, how much a place is of it.
    """
    mottled = np.cos(places @ complexion.waves.T + complexion.phases).sum(1) * np.sqrt(2 / len(complexion.waves))
    apart = ((places[:, None] - red[:, :3]) ** 2).sum(-1)
    flushed = (red[:, 4] * np.exp(-0.5 * apart / red[:, 3] ** 2)).max(1)
    light = 1 + complexion.uneven * mottled + complexion.untanned * trunk
    tint = 1 - (complexion.flush * float(skin.mean()) / _PALE) * flushed[:, None] * _FLUSH
    return skin * light[:, None] * tint
