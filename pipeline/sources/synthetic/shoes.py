"""The tip of a shoe: toes made one, since nobody's shoes have toes."""

import numpy as np
from scipy.spatial import ConvexHull

# Metres before the ankle where the tip begins, and over which it comes in.
_BEHIND, _RAMP = 0.05, 0.03
# Facets of the tip's hull that look back this much are where it is cut off, not its surface.
_BACKWARDS = -0.6


def toe_cap(template: np.ndarray, ankles: np.ndarray) -> np.ndarray:
    """(V, 3) metres that move the toes' vertices of the template onto the convex hull of the front of their foot.

    template: (V, 3) zero pose, y up, z forwards. ankles: (2, 3) left, right.
    """
    moved = np.zeros_like(template)
    for ankle in ankles:
        begins = ankle[2] + _BEHIND
        foot = np.flatnonzero(
            (template[:, 0] * ankle[0] > 0) & (template[:, 1] < ankle[1] + 0.02) & (template[:, 2] > begins)
        )
        planes = ConvexHull(template[foot]).equations
        planes = planes[planes[:, 2] > _BACKWARDS]
        inside = -(template[foot] @ planes[:, :3].T + planes[:, 3])  # metres below each facet
        nearest = inside.argmin(1)
        out = np.maximum(inside.min(1), 0)[:, None] * planes[nearest, :3]
        moved[foot] = out * np.clip((template[foot, 2, None] - begins) / _RAMP, 0, 1)
    return moved
