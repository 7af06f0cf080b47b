"""Which vertices belong to which part of the body, for painting skin, hair and clothes: from the rest pose and the weights."""

import numpy as np

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel
from pipeline.skeletons import OPENPOSE_FACE, SMPLX_55

# Parts by the joint that moves a vertex most. Every vertex is in exactly one.
PARTS = {
    "torso": ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar"),
    "neck": ("neck",),
    "head": ("head", "jaw", "left_eye", "right_eye"),
    "upper_arms": ("left_shoulder", "right_shoulder"),
    "forearms": ("left_elbow", "right_elbow"),
    "hands": ("left_wrist", "right_wrist", *SMPLX_55.names[25:]),
    "thighs": ("left_hip", "right_hip"),
    "shanks": ("left_knee", "right_knee"),
    "feet": ("left_ankle", "right_ankle", "left_foot", "right_foot"),
}
BROW_HALF_WIDTH = 0.0045  # metres


def painting_masks(body: BodyModel) -> dict[str, np.ndarray]:
    """(V,) bool by name: PARTS, which together cover each vertex once, and within the head face, scalp, ears, eyes, brows and lips.

    scalp is where hair grows; eyes are the balls.
    """
    weights = body.weights.numpy()
    dominant = weights.argmax(1)
    masks = {part: np.isin(dominant, SMPLX_55.indices(joints)) for part, joints in PARTS.items()}
    return masks | head_masks(body, masks["head"], dominant)


def head_masks(body: BodyModel, head: np.ndarray, dominant: np.ndarray) -> dict[str, np.ndarray]:
    """Masks within the head. Distances are fractions of the height from the eyes to the crown (about 12 cm)."""
    vertices, joints = body.v_template.numpy(), body.joint_template.numpy()
    eye = 0.5 * (joints[SMPLX_55.index("left_eye")] + joints[SMPLX_55.index("right_eye")])
    height = vertices[:, 1].max() - eye[1]
    x, y, z = ((vertices - eye) / height).T
    eyes = np.isin(dominant, SMPLX_55.indices(("left_eye", "right_eye")))
    skull = head & (y > 0)
    width = np.abs(x[skull]).max()
    ears = head & ~eyes & (np.abs(x) > 0.92 * width) & (y > -0.5) & (y < 0.2) & (z < -0.45)
    # The hairline falls from the forehead over the temples, stays above the ears and drops behind them to the nape.
    hairline = np.interp(z, (-1.05, -0.95, -0.75, -0.35, -0.05), (-0.55, -0.45, 0.1, 0.35, 0.62))
    scalp = head & ~ears & ~eyes & (y > hairline)
    landmarks = keypoint_map(body, OPENPOSE_FACE)(joints, vertices)
    return {
        "scalp": scalp,
        "ears": ears,
        "eyes": eyes,
        "face": head & ~scalp & ~ears & ~eyes & (z > -0.75),
        "brows": head & ~eyes & near_brows(vertices, landmarks),
        "lips": head & on_lips(vertices, landmarks),
    }


def near_brows(vertices: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(V,) bool: close to the line through the brow landmarks."""
    close = np.zeros(len(vertices), bool)
    for side in ("left", "right"):
        line = landmarks[OPENPOSE_FACE.indices(tuple(f"{side}_brow{k}" for k in range(1, 6)))]
        for a, b in zip(line, line[1:], strict=False):
            along = np.clip((vertices - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
            close |= np.linalg.norm(vertices - a - along[:, None] * (b - a), axis=1) < BROW_HALF_WIDTH
    return close


def on_lips(vertices: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(V,) bool: inside the outline of the lips seen from the front, and not deep in the mouth."""
    names = OPENPOSE_FACE.names
    outline = landmarks[names.index("right_mouth_corner") : names.index("right_lip_bottom2") + 1]
    return in_polygon(vertices[:, :2], outline[:, :2]) & (vertices[:, 2] > outline[:, 2].min() - 0.005)


def in_polygon(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(P,) bool: points (P, 2) inside the polygon (C, 2), by counting the edges that a ray to the right crosses."""
    inside = np.zeros(len(points), bool)
    x, y = points.T
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, 0), strict=True):
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < ax + (y - ay) * (bx - ax) / np.where(by == ay, 1.0, by - ay))
    return inside
