"""Three datasets with three joint sets in one training set: which joint is whose, by name, and what may be supervised."""

import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.preprocess import command as preprocess
from model.data.views import read_views
from pipeline.body.keypoints import keypoint_map
from pipeline.fit import FitSettings
from pipeline.fit.quality import measure
from pipeline.preprocess.shard import instant_rows
from pipeline.records import DATASET_JOINT, FIT_JOINT, Reject
from pipeline.skeletons import COCO, HUMAN36M, SMPL_24, SMPLX_22, match_joints
from pipeline.sources import open_source
from pipeline.sources.human36m.release import BODY_17
from tests.pipeline.people import striped
from tests.pipeline.run_fakes import SETTINGS

# What SMPL and Human3.6M have at the same place.
LIMBS = {f"{side}_{joint}" for side in ("left", "right") for joint in ("knee", "ankle", "elbow", "wrist")}
UPRIGHT = np.diag([1.0, -1, -1])  # the body's y points up, a camera's down


@pytest.fixture(scope="module")
def person(free_body, make_fit):
    """person(joint_set): (J, 3) metres, y up, about the origin: where the set lies on one and the same body."""
    rng = np.random.default_rng(3)
    fit = make_fit("a", betas=rng.normal(size=10), body_pose=rng.normal(0, 0.15, 63))
    vertices, joints = free_body.mesh(fit.parameters)
    return lambda joint_set: np.asarray(keypoint_map(free_body, joint_set)(joints, vertices), np.float64)


def write_coco(root, points):
    """One person 4 m before the camera that the reader assumes."""
    local = points @ UPRIGHT.T + [0, 0.2, 4]
    pixels = local[:, :2] / local[:, 2:] * 800 + [319.5, 239.5]
    keypoints = np.c_[pixels, np.full(len(pixels), 2)]
    low, high = pixels.min(0) - 10, pixels.max(0) + 10
    annotation = {
        "id": 1,
        "image_id": 7,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": len(pixels),
        "bbox": [*low, *(high - low)],
        "keypoints": keypoints.ravel().tolist(),
    }
    image = {"id": 7, "file_name": f"{7:012d}.jpg", "width": 640, "height": 480}
    (root / "annotations").mkdir(parents=True)
    (root / "train2017").mkdir()
    path = root / "annotations" / "person_keypoints_train2017.json"
    path.write_text(json.dumps({"images": [image], "annotations": [annotation], "categories": []}))
    cv2.imwrite(str(root / "train2017" / image["file_name"]), striped(480, 640))


def write_threedpw(root, points):
    """One image of one person, 4 m before the camera."""
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = UPRIGHT, [0, 0.2, 4]
    track = {
        "sequence": "walk",
        "cam_poses": extrinsics[None],
        "cam_intrinsics": np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]),
        "poses": [np.zeros((1, 72))],
        "trans": [np.zeros((1, 3))],
        "betas": [np.zeros(10)],
        "genders": ["m"],
        "jointPositions": [points.reshape(1, 72)],
        "campose_valid": [np.ones(1)],
        "img_frame_ids": np.zeros(1, int),
    }
    (root / "sequenceFiles" / "train").mkdir(parents=True)
    (root / "sequenceFiles" / "train" / "walk.pkl").write_bytes(pickle.dumps(track, 2))
    (root / "imageFiles" / "walk").mkdir(parents=True)
    cv2.imwrite(str(root / "imageFiles" / "walk" / "image_00000.jpg"), striped(240, 320))


@pytest.fixture(scope="module")
def roots(tmp_path_factory, person, make_annotations):
    root = tmp_path_factory.mktemp("mixed")
    joints = np.zeros((1, 32, 3))
    joints[0, BODY_17] = 1000 * person(HUMAN36M)[:, [0, 2, 1]] * [1, -1, 1]  # mm, z up
    make_annotations(root / "human36m", {(1, 2, 1): joints})
    write_coco(root / "coco", person(COCO))
    write_threedpw(root / "threedpw", person(SMPL_24))
    return root


@pytest.fixture(scope="module")
def views(roots, tmp_path_factory):
    """Rows of the training split of all three, by source."""
    folders, names = [], ("human36m", "coco", "threedpw")
    for name in names:
        folders.append(tmp_path_factory.mktemp("shards") / name)
        result = CliRunner().invoke(
            preprocess,
            [name, str(roots / name), str(folders[-1]), "--workers", "0", "--crop-px", "64", "--pool", "600"],
            catch_exceptions=False,
        )
        assert result.exit_code == 0, result.output
    train = read_views(folders)["train"]
    assert train.sizes == [4, 1, 1] and train["fit_valid"].all()
    return {
        name: {column: train[column][train["folder"] == k][0] for column in train.table} for k, name in enumerate(names)
    }


def named(flags):
    return {name for name, flag in zip(HUMAN36M.names, flags, strict=True) if flag}


def test_human36m_measured_all_of_its_joints(views):
    row = views["human36m"]
    assert (row["joints_source"] == DATASET_JOINT).all() and row["joints_valid"].all() and row["is_3d"]


def test_coco_lacks_joints_that_its_valid_fit_gives(views):
    row = views["coco"]
    assert (row["joints_source"] == FIT_JOINT).all() and row["joints_valid"].all() and not row["is_3d"]
    assert named(~row["joints_2d_valid"]) == {"spine", "neck", "head_top"}


def test_3dpw_without_smpl_takes_by_name_only_the_limbs(views, person):
    """SMPL's pelvis, hips, neck and shoulders have Human3.6M's names and lie elsewhere: the fit gives Human3.6M's."""
    row = views["threedpw"]
    assert named(row["joints_source"] == DATASET_JOINT) == LIMBS == named(row["joints_2d_valid"])
    assert named(row["joints_source"] == FIT_JOINT) == set(HUMAN36M.names) - LIMBS
    assert row["joints_valid"].all() and row["is_3d"]
    found = (row["joints"] + row["root"]) @ row["R_crop"]
    truth, smpl = (person(joint_set) @ UPRIGHT.T + [0, 0.2, 4] for joint_set in (HUMAN36M, SMPL_24))
    error = np.linalg.norm(found - truth, axis=1)
    assert error[HUMAN36M.indices(sorted(LIMBS))].max() < 1e-5 and error.max() < 0.03
    hip = np.linalg.norm(found[HUMAN36M.index("left_hip")] - smpl[SMPL_24.index("left_hip")])
    assert hip > 0.05, "not the thigh bone's head"


def test_3dpw_without_smpl_is_relative_to_the_pelvis_of_the_fit(views):
    row, root = views["threedpw"], HUMAN36M.root_index
    assert (
        row["joints_source"][root] == FIT_JOINT and not row["joints"][root].any() and not row["fit_joints"][root].any()
    )


def test_3dpw_without_smpl_goes_with_its_fit(roots, free_body, free_surface, make_fit):
    """No valid fit, no Human3.6M pelvis, no root: the instant is left out, and counted."""
    (instant,) = open_source("threedpw", roots / "threedpw").instants()
    worker = SimpleNamespace(
        root=roots / "threedpw", settings=SETTINGS, body=free_body, surface=free_surface, smpl=None
    )
    wrong = make_fit(instant.id, transl=[0.0, 0, 0.3], body_pose=np.full(63, 0.4))
    points = keypoint_map(free_body, SMPL_24)(*free_body.mesh(wrong.parameters)[::-1])
    quality = measure(instant, points, FitSettings(), iterations=1, converged=True, start="", margin=0.0)
    assert not quality.valid
    (reject,) = instant_rows(worker, instant, replace(wrong, quality=quality))
    assert reject == Reject(instant.id, "fit", "no trustworthy pelvis to be relative to")
    failed = Reject(instant.id, "fit", "the fit diverged")
    assert list(instant_rows(worker, instant, failed)) == [failed]


def test_names_are_shared_where_a_body_has_the_same_point_for_both(free_body):
    """What `match_joints` leaves out is what the built-in definition of Human3.6M's joints places elsewhere on the body."""
    theirs, ours = match_joints(SMPL_24, HUMAN36M)
    assert {SMPL_24.names[j] for j in theirs} == {HUMAN36M.names[j] for j in ours} == LIMBS
    points = keypoint_map(free_body, HUMAN36M)
    rest = points(free_body.joint_template.numpy(), free_body.v_template.numpy())
    own = free_body.joint_template.numpy()[: len(SMPLX_22)]
    same = {
        name
        for name in set(HUMAN36M.names) & set(SMPLX_22.names)
        if np.allclose(rest[HUMAN36M.index(name)], own[SMPLX_22.index(name)], atol=1e-4)
    }
    assert same == LIMBS
