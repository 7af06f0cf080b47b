"""Field samples: where points lie, what their labels are, and that they repeat."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from pipeline.camera import make_crop, project, project_pinhole, world_to_camera
from pipeline.errors import InputError
from pipeline.lattice import LATTICE_M, to_lattice
from pipeline.mesh import pose_mesh
from pipeline.records import BodyMesh, Camera, FieldSamples, Reject, View
from pipeline.sampling import NEAREST, SamplingSettings, SurfaceSampler, sample_instant, view_seed
from pipeline.sdf import SignedDistance, signed_distance
from pipeline.skeletons import FIELD_JOINTS

SMALL = SamplingSettings(pool=2000, voters=16)
ROOT = FIELD_JOINTS.root_index


def camera_at(angle, target, away=4.5):
    """Human3.6M's intrinsics, `away` metres from the target, at its height."""
    centre = target + away * np.array([np.sin(angle), 0, np.cos(angle)])
    forward = (target - centre) / away
    right = np.cross([0, -1, 0], forward)
    R = np.stack([right, np.cross(forward, right), forward])
    distortion = np.array([-0.207, 0.248, -0.003, -0.0010, -0.0015])
    return Camera(np.array([[1145.0, 0, 513], [0, 1144, 515], [0, 0, 1]]), R, -R @ centre, 1000, 1000, distortion)


def view_of(mesh, k, camera):
    pixels = project(camera, world_to_camera(camera, mesh.vertices.astype(float)))
    low, high = pixels.min(0), pixels.max(0)
    view = View(
        f"{mesh.instant_id}/{k}",
        str(k),
        camera,
        "a.jpg",
        np.array([*low, *(high - low)]),
        np.zeros((17, 2)),
        np.zeros(17),
    )
    return view, make_crop(camera, view.box, 256, 320)


@pytest.fixture(scope="module")
def scene(free_body, free_surface, make_fit):
    """(mesh, its distance, views of four cameras with crops)."""
    pose = np.random.default_rng(0).normal(0, 0.25, 63)
    mesh = pose_mesh(free_body, make_fit(body_pose=pose, transl=[0.4, 1.0, -2.0]), free_surface)
    views = [view_of(mesh, k, camera_at(0.3 + k * np.pi / 2, mesh.joints[0].astype(float))) for k in range(4)]
    return mesh, SignedDistance(mesh.vertices, mesh.faces), views


@pytest.fixture(scope="module")
def samples(scene):
    mesh, distance, views = scene
    return sample_instant(mesh, distance, views, mesh.field_joints, SMALL, 7)


def sample_view(mesh, distance, view, crop, joints, settings, seed):
    """One view alone. Raises InputError where it is rejected."""
    [samples] = sample_instant(mesh, distance, [(view, crop)], joints, settings, seed)
    if isinstance(samples, Reject):
        raise InputError(samples.reason)
    return samples


def in_crop(mesh, view, crop):
    """Joints (J, 3) in lattice steps and root (3,) metres in crop axes, from the definition p = R_crop X_cam - root."""
    joints = world_to_camera(view.camera, mesh.field_joints.astype(float)) @ crop.R.T
    return to_lattice(joints - joints[ROOT]), joints[ROOT]


def in_instant(root, view, crop, lattice):
    """Lattice steps -> metres in the instant's frame, written out from the definition p = R_crop X_cam - root."""
    X_cam = np.linalg.solve(crop.R, (lattice * LATTICE_M + root).T).T
    return np.linalg.solve(view.camera.R, (X_cam - view.camera.t).T).T


def test_labels_belong_to_the_rounded_points(scene, samples):
    mesh, _, views = scene
    for found, (view, crop) in zip(samples, views, strict=True):
        root = in_crop(mesh, view, crop)[1]
        expected = signed_distance(in_instant(root, view, crop, found.points), mesh.vertices, mesh.faces)
        assert np.abs(found.sdf * LATTICE_M - expected).max() <= 0.5 * LATTICE_M + 1e-6
        assert found.points.dtype == found.sdf.dtype == np.int16 and found.voters.dtype == np.uint16


def test_voters_are_the_nearest_near_points(scene, samples):
    mesh, _, views = scene
    for found, (view, crop) in zip(samples, views, strict=True):
        near = np.abs(found.sdf * LATTICE_M) < SMALL.voter_band
        for joint, voters in zip(in_crop(mesh, view, crop)[0], found.voters, strict=True):
            away = np.linalg.norm(found.points.astype(float) - joint, axis=1)
            expected = np.sort(away[near])[: SMALL.voters]
            assert np.array_equal(np.sort(away[voters]), expected) and near[voters].all()
            assert len(set(voters.tolist())) == SMALL.voters


def test_all_points_lie_in_the_stored_image(scene, samples):
    for found, (view, crop) in zip(samples, scene[2], strict=True):
        points = found.points * LATTICE_M + in_crop(scene[0], view, crop)[1]
        assert points[:, 2].min() >= NEAREST
        pixels = project_pinhole(crop.K, points)
        assert pixels.min() >= -0.5 and pixels.max() <= crop.size - 0.5


def test_one_view_alone_and_every_order_give_the_same_bits(scene, samples):
    mesh, distance, views = scene
    backwards = sample_instant(mesh, distance, views[::-1], mesh.field_joints, SMALL, 7)[::-1]
    alone = sample_view(mesh, SignedDistance(mesh.vertices, mesh.faces), *views[2], mesh.field_joints, SMALL, 7)
    for one, other in [*zip(samples, backwards, strict=True), (samples[2], alone)]:
        for name in ("points", "sdf", "voters"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_seed_instant_and_view_each_change_the_points(scene, samples):
    mesh, distance, views = scene
    assert not np.array_equal(samples[0].points, samples[1].points)
    for change in (dict(seed=8), dict(mesh=replace(mesh, instant_id="other"))):
        arguments = dict(mesh=mesh, distance=distance, joints=mesh.field_joints, settings=SMALL, seed=7) | change
        assert not np.array_equal(
            sample_view(view=views[0][0], crop=views[0][1], **arguments).points, samples[0].points
        )
    assert view_seed(1, "a", "bc").entropy != view_seed(1, "ab", "c").entropy


def test_last_digits_of_a_fit_move_points_by_as_little(scene, samples):
    """Shards of another size fit other batches, whose meshes differ by up to 0.01 mm: no point may jump to another face."""
    mesh, _, views = scene
    noise = np.random.default_rng(0).uniform(-1e-5, 1e-5, mesh.vertices.shape)
    shaken = replace(mesh, vertices=mesh.vertices + noise.astype(np.float32))
    other = sample_view(shaken, SignedDistance(shaken.vertices, shaken.faces), *views[0], mesh.field_joints, SMALL, 7)
    moved = np.abs(other.points.astype(int) - samples[0].points).max(1)
    assert (moved > 1).mean() <= 0.001  # points redrawn at the image's very edge
    assert np.abs(other.sdf.astype(int) - samples[0].sdf)[moved <= 1].max() <= 3


def ball_scene(pool, **changes):
    """A ball of 0.3 m as the body, 10 m in front of a camera whose crop holds it with much room around."""
    ball = trimesh.creation.icosphere(4, radius=0.3)
    mesh = BodyMesh(
        "ball",
        np.array(ball.vertices, np.float32),
        np.array(ball.faces, np.int64),
        np.zeros((55, 3)),
        np.zeros((17, 3)),
    )
    camera = Camera(
        np.array([[1000.0, 0, 499.5], [0, 1000, 499.5], [0, 0, 1]]), np.eye(3), np.array([0, 0, 10.0]), 1000, 1000
    )
    view = View("ball/0", "0", camera, "a.jpg", np.array([375.0, 375, 250, 250]), np.zeros((17, 2)), np.zeros(17))
    settings = SamplingSettings(pool=pool, voters=16, **changes)
    crop = make_crop(camera, view.box, 256, 320)
    return sample_view(mesh, SignedDistance(mesh.vertices, mesh.faces), view, crop, mesh.field_joints, settings, 0)


def test_densities_near_the_surface():
    found = ball_scene(20000, near=(1.0, 0.0), ball=0.0, widths=(0.02, 0.05))
    distance = found.sdf * LATTICE_M
    assert abs(distance.std() - 0.02) < 0.001
    direction = found.points / np.linalg.norm(found.points.astype(float), axis=1)[:, None]
    assert np.abs(direction.mean(0)).max() < 0.02 and np.abs((direction**2).mean(0) - 1 / 3).max() < 0.01


def test_density_of_the_ball():
    found = ball_scene(20000, near=(0.0, 0.0), ball=1.0, ball_margin=0.1)
    radius = np.linalg.norm(found.points * LATTICE_M, axis=1) / 0.4
    assert radius.max() <= 1.001
    assert abs((radius**3).mean() - 0.5) < 0.01 and abs((radius**3 < 0.25).mean() - 0.25) < 0.015


def test_density_of_the_frustum():
    found = ball_scene(20000, near=(0.0, 0.0), ball=0.0, depth=1.2)
    points = found.points * LATTICE_M + [0, 0, 10.0]
    z = points[:, 2]
    assert 8.8 <= z.min() < 8.81 and 11.19 < z.max() <= 11.2
    share = (z**3 - 8.8**3) / (11.2**3 - 8.8**3)
    assert abs(share.mean() - 0.5) < 0.01 and abs((share < 0.25).mean() - 0.25) < 0.015
    pixels = points[:, :2] / z[:, None]
    assert np.abs(pixels.mean(0) / pixels.max(0)).max() < 0.02


def test_counts_of_the_parts():
    assert SamplingSettings().counts == (2867, 2048, 819, 2458)
    assert sum(SamplingSettings(pool=1001).counts) == 1001


def test_a_half_seen_body_keeps_its_pool_and_voters(scene):
    """A crop of head and shoulders: every point is in it, and joints out of it still have voters."""
    mesh, distance, views = scene
    view, _ = views[0]
    head = project(
        view.camera, world_to_camera(view.camera, mesh.field_joints[FIELD_JOINTS.index("neck")].astype(float))
    )
    crop = make_crop(view.camera, np.array([*(head - 60), 120, 120]), 256, 320)
    found = sample_view(mesh, distance, view, crop, mesh.field_joints, SMALL, 7)
    pixels = project_pinhole(crop.K, found.points * LATTICE_M + in_crop(mesh, view, crop)[1])
    assert pixels.min() >= -0.5 and pixels.max() <= crop.size - 0.5
    assert (np.abs(found.sdf * LATTICE_M)[found.voters] < SMALL.voter_band).all()


def test_a_view_that_cannot_be_sampled_is_rejected_alone(scene, samples):
    mesh, distance, views = scene
    view = views[1][0]
    beside = make_crop(view.camera, np.array([5.0, 5, 60, 60]), 256, 320)
    found = sample_instant(mesh, distance, [views[0], (view, beside)], mesh.field_joints, SMALL, 7)
    assert isinstance(found[0], FieldSamples) and np.array_equal(found[0].points, samples[0].points)
    assert isinstance(found[1], Reject) and (found[1].key, found[1].stage) == (view.id, "sample")
    assert "outside the image" in found[1].reason
    with pytest.raises(InputError, match=view.id):
        sample_view(mesh, distance, view, beside, mesh.field_joints, SMALL, 7)


def test_what_does_not_fit_the_lattice_names_view_and_value(scene):
    mesh, distance, views = scene
    far = mesh.field_joints.copy()
    far[3] = far[ROOT] + [0, 5.0, 0]
    with pytest.raises(InputError, match=f"view {views[0][0].id}, a joint: a coordinate of [45]\\.\\d+ m"):
        sample_view(mesh, distance, *views[0], far, SMALL, 7)
    far[3] = np.nan
    with pytest.raises(InputError, match=f"{views[0][0].id}.*{FIELD_JOINTS.names[3]}"):
        sample_view(mesh, distance, *views[0], far, SMALL, 7)


def test_a_body_behind_the_camera_is_refused(scene):
    mesh, distance, views = scene
    view, crop = views[0]
    about = np.diag([-1.0, 1, -1])
    turned = replace(view, camera=replace(view.camera, R=about @ view.camera.R, t=about @ view.camera.t))
    with pytest.raises(InputError, match="pelvis"):
        sample_view(mesh, distance, turned, crop, mesh.field_joints, SMALL, 7)


def test_places_on_the_surface_lie_on_their_triangles():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5]], np.float32)
    faces = np.array([[0, 1, 2], [0, 1, 3]])
    mesh = BodyMesh("x", vertices, faces, np.zeros((55, 3)), np.zeros((17, 3)), face_areas=np.array([3.0, 1.0]))
    places = SurfaceSampler(mesh)(np.random.default_rng(0).random((20000, 3)))
    flat = places[:, 2] == 0
    assert abs(flat.mean() - 0.75) < 0.01
    assert (places[flat][:, :2].sum(1) <= 1 + 1e-6).all() and (places >= 0).all()
    assert np.abs(places[flat][:, :2].mean(0) - 1 / 3).max() < 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        dict(pool=0),
        dict(pool=70000),
        dict(voters=0),
        dict(voters=9000),
        dict(near=(0.5,)),
        dict(near=(0.9, 0.3)),
        dict(ball=-0.1),
        dict(widths=(0.0, 0.05)),
        dict(depth=0),
        dict(depth=3.0),
        dict(ball_margin=-1),
        dict(voter_band=0),
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(
        InputError, match=next(iter(wrong)) if "near" not in wrong and "ball" not in wrong else "shares|near"
    ):
        SamplingSettings(**wrong)
