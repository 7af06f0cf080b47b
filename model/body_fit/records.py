"""What goes into a body decode and what comes out of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.records import PARAMETER_SIZES, BodyParameters


@dataclass(frozen=True)
class BodyFitSettings:
    """How far what a network says is expected to be off. Chosen on validation views (docs/body-fit.md).

    along, across: metres, of a joint along the ray and across the image. beside_keypoints: metres, in place of `along` for a person
    with keypoints, and across_beside in place of `across`: the joints then say how the body lies in depth, and the keypoints, above
    all, where it is in the image. shift: metres an axis, of all joints together: a root is known less well than joints about it.
    robust: c of the image terms' Geman-McClure function, in units of `across` and of `keypoints`. keypoints: metres at the root's
    depth, of a keypoint of full confidence. across_lifted, keypoints_lifted: the same as the lifter is told it, which has no robust
    function; lifted: factor on how far off it says that it is. elsewhere: metres across the image; keypoints are not heard
    where most of them lie further than this from the network's own joints. prior, shape: factors on what the priors of poses and of
    shapes cost.
    batch: bodies that are fitted at once.
    """

    along: float = 0.1
    across: float = 0.03
    beside_keypoints: float = 0.2
    across_beside: float = 0.06
    shift: float = 0.3
    robust: float = 13.0
    keypoints: float = 0.015
    across_lifted: float = 0.03
    keypoints_lifted: float = 0.03
    lifted: float = 1.5
    elsewhere: float = 0.5
    prior: float = 1.0
    shape: float = 3.0
    batch: int = 64

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} is {value}; it must be above 0")


@dataclass(frozen=True)
class Keypoints:
    """COCO's 17 keypoints of N people in one view each. rays: (N, 17, 2) X/Z and Y/Z in the axes of the joints that they go with;
    confidence: (N, 17) 0..1, 0 for one that was not seen (its rays may be anything).
    """

    rays: np.ndarray
    confidence: np.ndarray

    @staticmethod
    def from_pixels(pixels: np.ndarray, confidence: np.ndarray, K: np.ndarray) -> "Keypoints":
        """pixels: (N, 17, 2), undistorted. K: (N, 3, 3) or (3, 3) px of the cameras whose axes the joints are in."""
        K = np.broadcast_to(K, (len(pixels), 3, 3))
        homogeneous = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1)
        rays = np.einsum("nab,nkb->nka", np.linalg.inv(K), homogeneous)
        return Keypoints(rays[..., :2], np.asarray(confidence, float))

    def take(self, rows: slice | np.ndarray) -> "Keypoints":
        return Keypoints(self.rays[rows], self.confidence[rows])

    def without(self, people: np.ndarray) -> "Keypoints":
        """The same, nothing seen of some people (N,) bool."""
        return Keypoints(self.rays, np.where(people[:, None], 0.0, self.confidence))


@dataclass(frozen=True)
class Told:
    """What N views say of J joints, made usable. joints: (N, J, 3) m about the root and root: (N, 3) m, all finite. has: (N, J) bool,
    which joints are the network's word; placed: (N,) bool, whose root is. doubts: (N,) what is missing, "" where nothing is.
    """

    joints: np.ndarray
    root: np.ndarray
    has: np.ndarray
    placed: np.ndarray
    doubts: tuple[str, ...]

    def take(self, rows: slice) -> "Told":
        return Told(self.joints[rows], self.root[rows], self.has[rows], self.placed[rows], self.doubts[rows])


@dataclass(frozen=True)
class Bodies:
    """N fitted bodies, in the axes of the joints they were fitted to.

    joints: (N, J, 3) m, relative to the root. root: (N, 3) m. parameters: of the body model, one a body, absolute. spread: (N, J) m,
    how far a joint is expected to be off after the fit, relative to the root. confidence: (N, J) 0..1, that a joint lies within 100 mm
    of the truth: by its spread where keypoints say where the person is, else what the network said of its own joint, where it did.
    doubts: (N,) of each body why it is not to be trusted, "" where nothing speaks against it.
    """

    joints: np.ndarray
    root: np.ndarray
    parameters: list[BodyParameters]
    spread: np.ndarray
    confidence: np.ndarray
    doubts: tuple[str, ...]

    def table(self) -> dict[str, np.ndarray]:
        """The parameters as arrays (N, size) by name."""
        return stacked(self.parameters)


def stacked(parameters: Sequence[BodyParameters]) -> dict[str, np.ndarray]:
    """Arrays (N, size) by name, of N bodies' parameters."""
    if not parameters:
        return {name: np.zeros((0, size), np.float32) for name, size in PARAMETER_SIZES.items()}
    return {name: np.stack([getattr(one, name) for one in parameters]) for name in PARAMETER_SIZES}
