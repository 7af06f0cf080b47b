"""The fitted body as a closed triangle mesh: BodyFit -> BodyMesh.

Inside and outside are only defined for a closed surface, so the few small openings that a body model may have (SMPL-X
leaves its eye sockets open behind the eyeballs) are closed once, with triangles between vertices that are already
there.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.body.keypoints import KeypointMap, keypoint_map
from pipeline.body.model import BodyModel
from pipeline.records import BodyFit, BodyMesh
from pipeline.skeletons import FIELD_JOINTS
from pipeline.triangles import opening_caps, triangle_areas


@dataclass(frozen=True)
class BodySurface:
    """What all meshes of one body model share; make it once a worker.

    faces: (F, 3) int64, openings closed. face_areas: (F,) square metres at zero pose and shape. field_map: where the
    joints of `skeletons.FIELD_JOINTS` lie. closed_openings: how many openings were closed.
    """

    faces: np.ndarray
    face_areas: np.ndarray
    field_map: KeypointMap
    closed_openings: int


def body_surface(body: BodyModel, field_map: KeypointMap | None = None) -> BodySurface:
    """The parts of a mesh that do not depend on the pose. field_map: the built-in one where none is given."""
    caps = opening_caps(body.faces)
    faces = np.concatenate([body.faces, *caps]).astype(np.int64)
    areas = triangle_areas(body.v_template.numpy().astype(np.float64), faces)
    return BodySurface(faces, areas, field_map or keypoint_map(body, FIELD_JOINTS), len(caps))


def pose_mesh(body: BodyModel, fit: BodyFit, surface: BodySurface | None = None) -> BodyMesh:
    """The body of a fit in the instant's frame, metres. surface: `body_surface(body)` where it is already at hand."""
    surface = surface or body_surface(body)
    vertices, joints = body.mesh(fit.smplx)
    return BodyMesh(
        instant_id=fit.instant_id,
        vertices=vertices,
        faces=surface.faces,
        joints=joints,
        field_joints=surface.field_map(joints, vertices),
        face_areas=surface.face_areas,
    )
