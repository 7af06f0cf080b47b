"""What a network says of people as evidence of the pipeline's fit."""

import numpy as np
import torch

from model.body_fit.lifting import lifted_joints
from model.body_fit.records import BodyFitSettings, Keypoints, Told
from pipeline.fit.objective import NEAREST_Z, Evidence
from pipeline.lift.network import Lifted, Lifter
from pipeline.skeletons import COCO

# A body stands so far away (metres) where nothing says where it is.
SOMEWHERE = np.array([0.0, 0.0, 4.0])
# Nobody is photographed from further away, metres.
FURTHEST = 1000.0
# Fewer joints with a place than this say too little of a body.
LEAST_JOINTS = 6
# A person with so many keypoints in the image is where they are.
LEAST_KEYPOINTS = 6
# Deviation (metres) with which the filler of a view that says too little is believed.
FILLER = 0.5
# A joint that lies further than this from the root (metres) is no joint of the same body.
REACH = 3.0
# A joint that a network calls right (within 100 mm of the truth) with the probability p is expected to be off by so much a direction
# that a Gaussian has p of its mass there: relative to a usual joint, and within limits, since no confidence is that sure.
RIGHT, USUAL, LIMITS = 0.1, 0.07, (0.5, 4.0)
NEWTON = 2  # steps, from a table that is right to two ten-thousandths
# How far annotators disagree about COCO's keypoints, relative to their mean.
KEYPOINT_NOISE = COCO.relative_noise


def made_usable(joints: np.ndarray, root: np.ndarray, filler: np.ndarray) -> Told:
    """joints: (N, J, 3) m, root-relative; root: (N, 3) m. filler: (J, 3) m about the root, in place of a view that says too little.

    A joint that is not finite, or lies where no joint of the same body can be, has no place. A root that is not finite, not in
    front of the camera or beyond FURTHEST is put SOMEWHERE.
    """
    with np.errstate(invalid="ignore"):
        has = np.isfinite(joints).all(-1) & (np.abs(np.nan_to_num(joints, nan=np.inf)).max(-1) < REACH)
        placed = np.isfinite(root).all(-1) & (root[:, 2] > NEAREST_Z) & (np.abs(root).max(-1, initial=0) < FURTHEST)
    enough = has.sum(1) >= LEAST_JOINTS
    has = has & enough[:, None]
    doubts = []
    for row in range(len(joints)):
        missing = int((~has[row]).sum())
        said = [] if placed[row] else ["where the person is, is not known"]
        if not enough[row]:
            said.append(f"fewer than {LEAST_JOINTS} joints have a place")
        elif missing:
            said.append(f"{missing} of {joints.shape[1]} joints have no place")
        doubts.append("; ".join(said))
    usable = np.where(has[..., None], joints, np.where(enough[:, None, None], 0.0, filler))
    return Told(usable, np.where(placed[:, None], root, SOMEWHERE), has, placed, tuple(doubts))


def build(
    told: Told,
    defined: np.ndarray,
    settings: BodyFitSettings,
    keypoints: Keypoints | None = None,
    confidence: np.ndarray | None = None,
    lifter: Lifter | None = None,
) -> Evidence:
    """Each joint as a point in space and as a point of the image, and keypoints as points of the image. Of a person with
    LEAST_KEYPOINTS these are believed more: a 2D network that has seen photographs knows better where a joint is in one.

    defined: (P,) bool, points of the chain that the body has: the joints, then the keypoints. confidence: (N, J) 0..1, that a joint
    lies within 100 mm of the truth; all joints are as good as one another where it is left out. lifter: what it makes of the image
    points, where the joint set is the one that it speaks of, is a second voice on where the joints are in space.
    """
    (B, J), P = told.has.shape, len(defined)
    seen_2d = np.zeros((B, P - J)) if keypoints is None else keypoint_weights(keypoints, defined[J:])
    marked = are_marked(seen_2d)[:, None]
    enough = told.has.any(1, keepdims=True)
    factor = np.ones((B, J)) if confidence is None else deviation_factor(confidence)
    usual = np.where(marked, settings.beside_keypoints, settings.along)
    deviation = np.where(enough, usual * factor, FILLER)
    counts = (told.has | ~enough) & defined[:J]
    points, weight = np.zeros((B, P, 3)), np.zeros((B, P))
    points[:, :J], weight[:, :J] = told.joints + told.root[:, None], counts / deviation**2
    rays = points[:, :J, :2] / np.maximum(points[:, :J, 2:], NEAREST_Z)
    in_image = told.has & defined[:J]
    across = np.where(marked, settings.across_beside, settings.across)
    if lifter is not None:
        own = np.where(in_image & ~marked, settings.across_lifted * factor / told.root[:, 2:], np.inf)
        lifted = lifted_joints(lifter, rays, own, keypoints, marked * seen_2d, told.root, settings)
        # lifted from the joints' own image positions, a joint is no surer than these
        trust = settings.lifted * np.where(marked, 1.0, np.maximum(factor, 1.0))
        weigh_in(points[:, :J], weight[:, :J], lifted, told.root, defined[:J], trust)
    views = 1 if keypoints is None else 2
    pixels, seen, scale = np.zeros((B, views, P, 2)), np.zeros((B, views, P)), np.zeros((B, views, 2, 2))
    pixels[:, 0, :J], seen[:, 0, :J] = rays, in_image * (settings.across / across / factor) ** 2
    scale[:, 0] = np.eye(2) * (told.root[:, 2] / settings.across)[:, None, None]
    if keypoints is not None:  # a view of its own, in which a deviation has another length
        pixels[:, 1, J:] = np.where(seen_2d[..., None] > 0, keypoints.rays, 0.0)
        seen[:, 1, J:] = seen_2d
        scale[:, 1] = np.eye(2) * (told.root[:, 2] / settings.keypoints)[:, None, None]
    R, t = np.broadcast_to(np.eye(3), (B, views, 3, 3)), np.zeros((B, views, 3))
    tensors = (points, weight, pixels, seen, R, t, scale, np.zeros((B, 3)), np.full(B, settings.shift))
    return Evidence(*(torch.tensor(a, dtype=torch.float64) for a in tensors))


def weigh_in(
    points: np.ndarray, weight: np.ndarray, lifted: Lifted, root: np.ndarray, defined: np.ndarray, trust: np.ndarray
) -> None:
    """Add a second voice to points (N, J, 3) m and their weights (N, J), in place: their mean by weight. trust: (N, J), factor on what
    it says of how far off it is."""
    more = lifted.weights(defined, trust)
    share = more / np.where(more > 0, weight + more, 1.0)
    points += share[..., None] * (lifted.joints + root[:, None] - points)
    weight += more


def are_marked(weights: np.ndarray) -> np.ndarray:
    """(N,) bool, whose keypoints, of weights (N, K), say where they are in the image."""
    return (weights > 0).sum(1) >= LEAST_KEYPOINTS


def keypoint_weights(keypoints: Keypoints, defined: np.ndarray) -> np.ndarray:
    """(N, 17) squared confidence of each keypoint; 0 of one that was not seen or that the body does not have."""
    there = np.isfinite(keypoints.rays).all(-1) & np.isfinite(keypoints.confidence) & (keypoints.confidence > 0)
    weight = np.clip(np.nan_to_num(keypoints.confidence), 0, 1) / KEYPOINT_NOISE
    return np.where(there & defined, weight, 0.0) ** 2


def deviation_factor(confidence: np.ndarray) -> np.ndarray:
    """How much further off than a usual joint one of this confidence is expected to be; confidence that is not finite is none."""
    p = np.clip(np.nan_to_num(confidence, nan=0.0), 0.0, 1.0)
    least, most = RIGHT / USUAL / np.array(LIMITS)[::-1]
    # so many deviations a share p of places in space are off: Newton's way, from a table on
    table = np.linspace(least, most, 256)
    within = np.interp(p, share_within(table), table)
    for _ in range(NEWTON):
        slope = np.sqrt(2 / np.pi) * within**2 * np.exp(-(within**2) / 2)
        within = np.clip(within + (p - share_within(within)) / slope, least, most)
    return RIGHT / USUAL / within


def share_within(radius: np.ndarray) -> np.ndarray:
    """The share of a Gaussian's places in space that are less than `radius` deviations off."""
    inside = torch.special.erf(torch.from_numpy(radius / np.sqrt(2))).numpy()
    return inside - np.sqrt(2 / np.pi) * radius * np.exp(-(radius**2) / 2)
