"""Spheres that fill a body: each hangs on the skin around it, so that it follows shape and pose.

`pack_spheres` makes them, which takes a second, so those of the free body come with this program.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.body.keypoints import KeypointMap
from pipeline.body.model import BodyModel
from pipeline.skeletons import JointSet

SPHERES_FILE = Path(__file__).parent / "assets" / "spheres.npz"
_CENTRE = JointSet("sphere", ("centre",), (-1,))


@dataclass(frozen=True)
class Packing:
    """How densely a body is filled. spacing: radii that a centre stays away from that of a larger sphere. body, hands: spheres at most
    in the body, and in both hands, which are too thin for the largest and would get none."""

    spacing: float
    body: int
    hands: int


FINE = Packing(spacing=0.75, body=260, hands=60)
# A fifth of the pairs of FINE: enough to see limbs that lie inside the body or each other.
COARSE = Packing(spacing=1.1, body=130, hands=6)
PACKINGS = {"fine": FINE, "coarse": COARSE}


@dataclass(frozen=True)
class Spheres:
    """N spheres in a body. vertices: (N, H) int64, those around each, and shares: (N, H) float32 of them in its centre, which sum to
    one. radii: (N,) metres. pairs: (N, N) bool, those that must stay apart.
    """

    vertices: np.ndarray
    shares: np.ndarray
    radii: np.ndarray
    pairs: np.ndarray

    def maps(self) -> list[KeypointMap]:
        """Where each centre lies on the body, a map a sphere: in one of all, most shares would be zero."""
        none, there = np.zeros((1, 55), np.float32), np.ones(1, bool)
        return [
            KeypointMap(_CENTRE, none, ids, share[None], there)
            for ids, share in zip(self.vertices, self.shares, strict=True)
        ]


def kept_spheres(body: BodyModel, packing: Packing) -> Spheres | None:
    """Those that come with this program; None of another body than the free one, and of another packing."""
    names = [name for name, each in PACKINGS.items() if each == packing]
    with np.load(SPHERES_FILE, allow_pickle=False) as content:
        if not names or content["body_sha256"] != body.sha256:
            return None
        return Spheres(*(content[f"{names[0]}_{part}"] for part in Spheres.__dataclass_fields__))
