"""Fits that came with the dataset: SMPL-X parameters, and SMPL meshes, in place of a fit of our own."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pipeline.body.keypoints import keypoint_map
from pipeline.camera import make_crop, world_to_camera
from pipeline.fit import FitSettings
from pipeline.fit import supplied as supplying
from pipeline.fit.supplied import supplied_fit, uses_supplied
from pipeline.lattice import LATTICE_M
from pipeline.preprocess.job_files import decode, encode
from pipeline.preprocess.progress import summary
from pipeline.preprocess.shard import crop_joints_2d, find_bodies, instant_rows
from pipeline.records import PARAMETER_SIZES, BodyParameters, SmplParameters, View
from pipeline.shards.verify import exact_distance
from pipeline.skeletons import COCO, FIELD_JOINTS
from tests.pipeline.people import striped
from tests.pipeline.run_fakes import SETTINGS, cameras, make_instant
from tests.pipeline.shard_fakes import make_record


@pytest.fixture
def licensed(monkeypatch):
    """The free body taken for a licensed one, so that SMPL-X parameters mean something on it."""
    monkeypatch.setattr(supplying, "_free_sha256", lambda: "another")


def truth(free_body, **changes):
    """An instant whose own body is supplied."""
    instant = make_instant("S1", 3, keypoint_map(free_body, FIELD_JOINTS), free_body)
    rng = np.random.default_rng([3, 1])
    values = {name: np.zeros(size) for name, size in PARAMETER_SIZES.items()}
    values |= {"betas": np.random.default_rng(1).normal(size=10), "body_pose": rng.normal(0, 0.15, 63)}
    return replace(instant, supplied=BodyParameters(**values | changes))


def test_smplx_fits_are_for_a_licensed_body_only(free_body, monkeypatch):
    instant = truth(free_body)
    assert not uses_supplied(instant, free_body) and not uses_supplied(replace(instant, supplied=None), free_body)
    monkeypatch.setattr(supplying, "_free_sha256", lambda: "another")
    assert uses_supplied(instant, free_body) and not uses_supplied(replace(instant, supplied=None), free_body)


@pytest.mark.parametrize("name, taken", [("SMPLX_NEUTRAL", True), ("SMPLX_MALE", False), ("smplx_female", False)])
def test_betas_of_the_neutral_model_are_not_put_on_another(free_body, licensed, name, taken):
    assert uses_supplied(truth(free_body), replace(free_body, name=name)) is taken


def test_a_supplied_smplx_fit_is_taken_and_judged_as_our_own(free_body, licensed):
    instant, settings = truth(free_body), FitSettings()
    fit = supplied_fit(instant, free_body, None, settings)
    assert fit.parameters is instant.supplied and fit.quality.start == "supplied" and fit.quality.valid
    assert fit.quality.fit_error_mm < 0.1 and fit.quality.reprojection_px.max() < 0.1
    wrong = truth(free_body, body_pose=np.full(63, 0.8))
    quality = supplied_fit(wrong, free_body, None, settings).quality
    assert quality.fit_error_mm > settings.valid_error_mm and not quality.valid
    broken = supplied_fit(truth(free_body, betas=np.full(10, np.nan)), free_body, None, settings)
    assert broken.stage == "fit" and broken.reason == "the supplied fit is not finite"


def test_a_supplied_fit_in_camera_axes_is_turned_to_the_instants_frame(free_body, licensed):
    from pipeline.body.model import move_body

    instant = truth(free_body)
    camera = cameras()[1]
    views = instant.views[1:]
    moved = replace(
        instant,
        views=views,
        supplied=move_body(free_body, instant.supplied, camera.R, camera.t),
        supplied_in_camera=True,
    )
    fit = supplied_fit(moved, free_body, None, FitSettings())
    assert (
        np.allclose(fit.parameters.transl, instant.supplied.transl, atol=1e-5)
        and fit.quality.reprojection_px.max() < 0.1
    )


def test_only_instants_without_a_supplied_fit_are_fitted(free_body, licensed):
    given = truth(free_body)
    other = replace(given, id="S1/walk/000004", supplied=None)
    asked = []
    fitter = SimpleNamespace(fit=lambda instants, betas: asked.extend(instants) or [f"fit of {i.id}" for i in instants])
    worker = SimpleNamespace(
        body=free_body, fitter=fitter, betas={}, smpl=None, context=SimpleNamespace(settings=SETTINGS)
    )
    first, second = find_bodies(worker, [other, given])
    assert asked == [other] and first == "fit of S1/walk/000004" and second.quality.start == "supplied"


def test_smpl_ground_truth_is_the_mesh(free_body, free_surface, egg_smpl, tmp_path):
    """Distances and joints are those of the SMPL mesh; the row says so by parameters that are zero."""
    body = SmplParameters("female", np.r_[0.1, 0.4, 0.2, np.zeros(69)], np.zeros(10), np.array([0.1, -0.1, 0.2]))
    mesh = egg_smpl.mesh("S1/walk/000003", body)
    plain = truth(free_body)
    view = plain.views[0]
    points = mesh.field_joints
    instant = replace(plain, views=(view,), supplied=body, joints_3d=points)
    cv2.imwrite(str(tmp_path / view.image_path), striped(100, 100))
    assert uses_supplied(instant, free_body)
    fit = supplied_fit(instant, free_body, egg_smpl, FitSettings())
    assert fit.quality.start == "supplied" and fit.quality.fit_error_mm < 1e-3 and fit.quality.valid
    context = SimpleNamespace(root=tmp_path, settings=SETTINGS, header=SimpleNamespace(offsets=SETTINGS.offsets))
    worker = SimpleNamespace(context=context, body=free_body, surface=free_surface, smpl=egg_smpl)
    (row,) = instant_rows(worker, instant, fit)
    assert row.fit is None and row.fit_valid and np.allclose(row.fit_joints, row.joints, atol=1e-6)
    vertices = world_to_camera(view.camera, mesh.vertices) @ row.R_crop.T - row.root
    exact = exact_distance(row.samples.points * LATTICE_M, vertices, mesh.faces)
    near = np.abs(exact) < 0.15
    assert near.sum() > 50 and np.abs(row.samples.sdf * LATTICE_M - exact)[near].max() < 2e-4


def test_joints_of_images_lie_on_smpl_by_name(egg_smpl):
    body = SmplParameters("neutral", np.zeros(72), np.zeros(10), np.array([0, 0, 5.0]))
    mesh = egg_smpl.mesh("a", body)
    points = egg_smpl.keypoints(COCO, mesh)
    assert np.allclose(points[COCO.index("left_knee")], mesh.joints[4]) and np.allclose(points[0], mesh.vertices[332])


def test_smpl_parameters_survive_the_job_file():
    body = SmplParameters("male", np.arange(72.0), np.ones(10), np.zeros(3))
    back = decode(encode(body))
    assert back.gender == "male" and np.array_equal(back.pose, body.pose)


def test_the_summary_counts_supplied_fits(tmp_path):
    assert "7 views took the dataset's own fit" in summary(tmp_path, make_record([], supplied=7), 1.0)
    assert "dataset's own fit" not in summary(tmp_path, make_record([], supplied=0), 1.0)


@pytest.mark.parametrize("left, right", [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_pelvis_of_coco_is_the_middle_of_its_hips_where_both_are_marked(left, right):
    camera = cameras()[0]
    joints = np.full((len(COCO), 2), 50.0)
    joints[COCO.index("left_hip")], joints[COCO.index("right_hip")] = (40, 60), (58, 62)
    confidence = np.ones(len(COCO))
    confidence[COCO.index("left_hip")], confidence[COCO.index("right_hip")] = left, right
    joints[confidence == 0] = 0
    view = View("a/0", "0", camera, "a.jpg", np.array([20.0, 20, 60, 60]), joints, confidence)
    crop = make_crop(camera, view.box, SETTINGS.crop_px, SETTINGS.size)
    pixels, valid = crop_joints_2d(view, COCO.name, crop)
    root = FIELD_JOINTS.root_index
    assert valid[root] == bool(left and right)
    if valid[root]:
        hips = pixels[FIELD_JOINTS.indices(("left_hip", "right_hip"))]
        assert np.allclose(pixels[root], hips.mean(0), atol=0.05)
