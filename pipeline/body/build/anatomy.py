"""Where features of the body lie on the mesh: smplx's named vertices, 51 face landmarks, the contour of the face.

smplx has vertex ids of SMPL-X written into its code. This body's vertices are reordered so that those ids fall on the same features.
"""

import numpy as np
import trimesh

from pipeline.body.vertex_ids import VERTEX_IDS
from pipeline.skeletons import OPENPOSE_FACE, SMPLX_55

# The left half of the face, in millimetres from the point between the eyes: x to the left, y up; picked on a picture of the mean face.
# Each is projected along z onto the skin.
FACE_MM = {
    "left_brow1": (45, 11),
    "left_brow2": (36, 15.5),
    "left_brow3": (27, 16.5),
    "left_brow4": (18, 15),
    "left_brow5": (10, 11.5),
    "nose_ridge1": (0, 0),
    "nose_ridge2": (0, -12),
    "nose_ridge3": (0, -25),
    "nose_ridge4": (0, -37),
    "left_nostril1": (14.5, -44.5),
    "left_nostril2": (7.5, -46.5),
    "nose_base": (0, -48.5),
    "left_eye_inner": (17, -3.3),
    "left_eye_top_inner": (25, 2.3),
    "left_eye_top_outer": (37, 2.9),
    "left_eye_outer": (44, -1.2),
    "left_eye_bottom_outer": (37, -6.6),
    "left_eye_bottom_inner": (26, -6.6),
    "left_mouth_corner": (23.7, -70.4),
    "left_lip_top2": (14, -66.2),
    "left_lip_top1": (5, -64.6),
    "lip_top": (0, -65.2),
    "left_lip_bottom2": (15, -77.5),
    "left_lip_bottom1": (7.5, -80.8),
    "lip_bottom": (0, -81.8),
    "left_mouth_inner": (21, -70.6),
    "left_inner_lip_top": (8, -68.4),
    "inner_lip_top": (0, -68.8),
    "left_inner_lip_bottom": (8, -71.2),
    "inner_lip_bottom": (0, -71.6),
}
CONTOUR_POINTS, YAW_STEPS, MOST_YAW = 17, 79, 39


def between_eyes(joints: np.ndarray) -> np.ndarray:
    """(3,) the point between the eyes."""
    return 0.5 * (joints[SMPLX_55.index("left_eye")] + joints[SMPLX_55.index("right_eye")])


def face_landmarks(vertices: np.ndarray, faces: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangle (51,) and barycentric coordinates (51, 3) of the landmarks, in `skeletons.OPENPOSE_FACE`'s order."""
    middle = between_eyes(joints)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    starts = np.array([middle + np.append(face_position(name) * 1e-3, 0.5) for name in OPENPOSE_FACE.names])
    hits, rays, triangles = mesh.ray.intersects_location(
        starts, np.tile([0.0, 0, -1], (len(starts), 1)), multiple_hits=False
    )
    assert len(hits) == len(OPENPOSE_FACE), "a landmark missed the face"
    order = np.argsort(rays)
    corners = vertices[faces[triangles[order]]]
    return triangles[order], trimesh.triangles.points_to_barycentric(corners, hits[order])


def face_position(name: str) -> np.ndarray:
    """(2,) millimetres of a landmark, the right half mirrored from the left."""
    if name.startswith("right_"):
        return np.array(FACE_MM["left_" + name[len("right_") :]]) * [-1.0, 1.0]
    return np.array(FACE_MM[name], float)


def face_contour(
    vertices: np.ndarray, faces: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The outline of the lower face for each turn of the head: triangles (79, 17) and barycentric coordinates (79, 17, 3).

    Row k <= 39 is for a head turned by -k degrees about y, row 39 + k for +k, as `smplx.lbs` looks them up. Along 17 directions
    from the right ear over the chin to the left ear, the outermost vertex of the face seen from the front.
    """
    middle = between_eyes(joints)
    head = weights[:, SMPLX_55.index("head")] + weights[:, SMPLX_55.index("jaw")]
    chin = vertices[np.abs(vertices[:, 0]) < 0.01]
    bottom = chin[
        (chin[:, 2] > middle[2] - 0.02) & (chin[:, 1] < middle[1] - 0.08) & (chin[:, 1] > middle[1] - 0.13), 1
    ].min()
    # In front of the ears, between the eyes and the chin, without the nose and the lips.
    aside = np.abs(vertices[:, 0])
    skin = np.flatnonzero(
        (head > 0.9)
        & (vertices[:, 2] > middle[2] - 0.075)
        & (vertices[:, 1] < middle[1])
        & (vertices[:, 1] > bottom)
        & (aside < 0.07)
        & ((aside > 0.028) | (vertices[:, 1] < middle[1] - 0.095))
    )
    triangle_of = np.zeros(len(vertices), np.int64)
    corner_of = np.zeros(len(vertices), np.int64)
    for corner in range(3):
        triangle_of[faces[:, corner]], corner_of[faces[:, corner]] = np.arange(len(faces)), corner
    triangles = np.zeros((YAW_STEPS, CONTOUR_POINTS), np.int64)
    barycentric = np.zeros((YAW_STEPS, CONTOUR_POINTS, 3), np.float32)
    directions = np.linspace(np.pi, 2 * np.pi, CONTOUR_POINTS)
    for row in range(YAW_STEPS):
        yaw = np.radians(-row if row <= MOST_YAW else row - MOST_YAW)
        local = vertices[skin] - middle
        x, y = np.cos(yaw) * local[:, 0] + np.sin(yaw) * local[:, 2], local[:, 1] + 0.03
        x = x - 0.5 * (x.max() + x.min())
        angle, radius = np.arctan2(y, x) % (2 * np.pi), np.hypot(x, y)
        for k, direction in enumerate(directions):
            off = np.abs((angle - direction + np.pi) % (2 * np.pi) - np.pi)
            vertex = skin[np.argmax(radius - 0.06 * off)]
            triangles[row, k] = triangle_of[vertex]
            barycentric[row, k, corner_of[vertex]] = 1
    return triangles, barycentric


def feature_vertices(
    vertices: np.ndarray,
    joints: np.ndarray,
    weights: np.ndarray,
    eyes: tuple[np.ndarray, np.ndarray],
) -> dict[str, int]:
    """The vertex of each feature that smplx names."""
    index, middle = SMPLX_55.index, between_eyes(joints)
    head = np.flatnonzero(weights[:, index("head")] > 0.5)
    ridge = head[(np.abs(vertices[head, 0]) < 0.005) & (np.abs(vertices[head, 1] - middle[1] + 0.037) < 0.015)]
    found = {"nose": ridge[vertices[ridge, 2].argmax()]}
    for side, sign, ball in (("left", 1, eyes[0]), ("right", -1, eyes[1])):
        letter = side[0]
        found[f"{letter}eye"] = ball[vertices[ball, 2].argmax()]
        lateral = sign * vertices[head, 0]
        ear = head[(lateral > 0.9 * lateral.max()) & (np.abs(vertices[head, 1] - middle[1]) < 0.06)]
        found[f"{letter}ear"] = nearest(vertices, ear, vertices[ear].mean(0))
        for finger in ("thumb", "index", "middle", "ring", "pinky"):
            tip = np.flatnonzero(weights[:, index(f"{side}_{finger}3")] > 0.5)
            reach = np.linalg.norm(vertices[tip] - joints[index(f"{side}_{finger}2")], axis=1)
            found[letter + finger] = tip[reach.argmax()]
        foot = np.flatnonzero(weights[:, index(f"{side}_ankle")] + weights[:, index(f"{side}_foot")] > 0.5)
        x, y, z = sign * vertices[foot, 0], vertices[foot, 1], vertices[foot, 2]
        # Toes point outwards a little: the big toe is the foremost vertex, the small toe the most lateral one of the front.
        front = z > z.max() - 0.25 * (z.max() - z.min())
        found[f"{letter.upper()}BigToe"] = foot[front][z[front].argmax()]
        found[f"{letter.upper()}SmallToe"] = foot[front][x[front].argmax()]
        low = y < y.min() + 0.04
        found[f"{letter.upper()}Heel"] = foot[low][z[low].argmin()]
    assert len(set(found.values())) == len(found) == len(VERTEX_IDS)
    return {name: int(vertex) for name, vertex in found.items()}


def nearest(vertices: np.ndarray, among: np.ndarray, point: np.ndarray) -> int:
    return int(among[np.linalg.norm(vertices[among] - point, axis=1).argmin()])


def vertex_order(features: dict[str, int], n_vertices: int) -> np.ndarray:
    """(V,) old vertex at each new place: a permutation that puts the features on smplx's ids and moves as little else as it can."""
    order = np.arange(n_vertices)
    for name, place in VERTEX_IDS.items():
        now = int(np.flatnonzero(order == features[name])[0])
        order[[place, now]] = order[[now, place]]
    return order
