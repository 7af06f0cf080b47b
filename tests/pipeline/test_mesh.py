"""The posed mesh, and the closing of a body model's small openings."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from pipeline.errors import InputError
from pipeline.mesh import body_surface, pose_mesh
from pipeline.sdf import check_solid
from pipeline.skeletons import FIELD_JOINTS
from pipeline.triangles import LARGEST_OPENING, opening_caps, triangle_areas


def test_pose_mesh_is_the_body_of_the_fit(free_body, free_surface, make_fit):
    fit = make_fit("S9/sit/7", body_pose=np.random.default_rng(0).normal(0, 0.2, 63), transl=[1, 2, 3])
    mesh = pose_mesh(free_body, fit, free_surface)
    vertices, joints = free_body.mesh(fit.parameters)
    assert mesh.instant_id == "S9/sit/7"
    assert np.array_equal(mesh.vertices, vertices) and np.array_equal(mesh.joints, joints)
    assert mesh.field_joints.shape == (len(FIELD_JOINTS), 3) and np.isfinite(mesh.field_joints).all()
    # The pelvis of the field lies between the body's hips, and nearer to the body's own pelvis than a hand's length.
    assert np.linalg.norm(mesh.field_joints[FIELD_JOINTS.root_index] - joints[0]) < 0.15
    check_solid(mesh.vertices.astype(float), mesh.faces)
    again = pose_mesh(free_body, fit)
    assert np.array_equal(again.field_joints, mesh.field_joints) and np.array_equal(again.faces, mesh.faces)


def test_weights_of_faces_do_not_follow_the_pose(free_body, free_surface, make_fit):
    standing = pose_mesh(free_body, make_fit(), free_surface)
    bent = pose_mesh(free_body, make_fit(body_pose=np.full(63, 0.2)), free_surface)
    assert np.array_equal(standing.face_areas, bent.face_areas)
    assert np.allclose(
        standing.face_areas, triangle_areas(standing.vertices.astype(float), standing.faces), rtol=1e-3, atol=1e-9
    )


@pytest.fixture
def ball():
    mesh = trimesh.creation.icosphere(3)
    return np.array(mesh.vertices), np.array(mesh.faces)


def without_disc(vertices, faces, centre, radius):
    return faces[(np.linalg.norm(vertices[faces].mean(1) - centre, axis=1) > radius)]


def test_openings_are_closed_with_the_right_side_out(ball):
    vertices, faces = ball
    opened = without_disc(vertices, without_disc(vertices, faces, [0, 0, 1], 0.3), [1, 0, 0], 0.1)
    with pytest.raises(InputError, match="holes"):
        check_solid(vertices, opened)
    caps = opening_caps(opened)
    assert len(caps) == 2
    closed = np.concatenate([opened, *caps])
    check_solid(vertices, closed)
    mesh = trimesh.Trimesh(vertices, closed, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent
    whole = trimesh.Trimesh(vertices, faces, process=False).volume
    assert 0.95 * whole < mesh.volume < whole


def test_a_body_with_openings_gets_a_closed_surface(free_body, make_fit):
    opened = replace(free_body, faces=free_body.faces[1:])
    surface = body_surface(opened)
    assert surface.closed_openings == 1 and len(surface.faces) == len(free_body.faces)
    check_solid(pose_mesh(opened, make_fit(), surface).vertices.astype(float), surface.faces)


def test_openings_that_cannot_be_closed_are_refused(ball):
    vertices, faces = ball
    fine = trimesh.creation.icosphere(5)
    half = without_disc(fine.vertices, fine.faces, [0, 0, 1], 1.3)
    with pytest.raises(InputError, match=f"above {LARGEST_OPENING}"):
        opening_caps(half)
    touching = faces[~np.isin(np.arange(len(faces)), opposite_faces(faces))]
    with pytest.raises(InputError, match="meet in one vertex"):
        opening_caps(touching)
    flipped = faces.copy()
    flipped[0] = flipped[0, ::-1]
    with pytest.raises(InputError, match="flipped"):
        opening_caps(np.concatenate([flipped, faces[1:2]]))


def opposite_faces(faces):
    """Two faces that share one vertex and no edge."""
    corner = faces[0, 0]
    around = np.flatnonzero((faces == corner).any(1))
    other = next(f for f in around if len(set(faces[f]) & set(faces[around[0]])) == 1)
    return [around[0], other]
