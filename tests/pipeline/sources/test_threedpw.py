"""3DPW: people, cameras, 60 Hz indices, gendered SMPL ground truth, and damaged files."""

import json
import pickle

import cv2
import numpy as np
import pytest
import scipy.sparse
from scipy.spatial.transform import Rotation

from pipeline.body.smpl import open_smpl
from pipeline.camera import world_to_camera
from pipeline.errors import InputError
from pipeline.records import SmplParameters
from pipeline.skeletons import HUMAN36M, SMPL_24
from pipeline.sources import open_source
from pipeline.sources.threedpw import read_fits, read_track
from tests.pipeline.people import TO_CAMERA, standing, striped

N = 5  # images of a sequence


def track(people=2, seed=0, **changes):
    """A sequence as its file holds it: a camera that moves, people 4 m in front of it."""
    rng = np.random.default_rng(seed)
    extrinsics = np.tile(np.eye(4), (N, 1, 1))
    extrinsics[:, :3, :3] = Rotation.from_euler("y", np.linspace(0, 0.3, N)[:, None]).as_matrix()
    extrinsics[:, :3, 3] = [[0.1 * k, 0, 0.2] for k in range(N)]
    inverse = np.linalg.inv(extrinsics)
    joints = []
    for p in range(people):
        local = standing(SMPL_24.names) @ TO_CAMERA + rng.normal(0, 0.02, (N, 24, 3)) + [1.6 * p - 0.5, 0, 4]
        joints.append((local @ np.swapaxes(inverse[:, :3, :3], 1, 2) + inverse[:, None, :3, 3]).reshape(N, 72))
    data = {
        "sequence": "walk",
        "cam_poses": extrinsics,
        "cam_intrinsics": np.array([[200.0, 0, 60], [0, 200, 45], [0, 0, 1]]),
        "poses": [rng.normal(0, 0.2, (N, 72)) for _ in range(people)],
        "trans": [rng.normal(0, 1, (N, 3)) for _ in range(people)],
        "betas": [rng.normal(0, 1, 300 if p else 10) for p in range(people)],  # some files have 300
        "jointPositions": joints,
        "genders": ["m", "f"][:people],
        "campose_valid": [np.ones(N) for _ in range(people)],
        "poses2d": [np.zeros((N, 3, 18)) for _ in range(people)],
        "img_frame_ids": 2 * np.arange(N),
        "poses_60Hz": [np.zeros((2 * N, 72))] * people,
        "trans_60Hz": [np.zeros((2 * N, 3))] * people,
    }
    return data | changes


def dataset(root, sequences, images=True):
    for (split, name), data in sequences.items():
        folder = root / "sequenceFiles" / split
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(data, 2))
        (root / "imageFiles" / name).mkdir(parents=True, exist_ok=True)
        for k in range(N if images else 0):
            cv2.imwrite(str(root / "imageFiles" / name / f"image_{k:05d}.jpg"), striped(90, 120, 10 * k))
    return root


def read(root, **options):
    source = open_source("threedpw", root, **options)
    return source.read()


def test_each_person_in_each_image_is_an_instant(tmp_path):
    data = track()
    dataset(tmp_path, {("test", "walk"): data, ("train", "walk_b"): track(1), ("validation", "arm"): track(1)})
    instants, report = read(tmp_path)
    ids = [i.id for i in instants]
    assert ids == sorted(ids) and len(set(ids)) == 4 * N and not report.rejects
    assert {i.action: i.split for i in instants} == {"walk": "test", "walk_b": "train", "arm": "validation"}
    chosen = instants[ids.index("walk/1/00003")]
    assert (chosen.subject, chosen.frame, chosen.joint_set, chosen.has_world) == ("walk/1", 3, "smpl_24", True)
    X = data["jointPositions"][1][3].reshape(24, 3)
    assert np.allclose(chosen.joints_3d, X)
    (view,) = chosen.views
    local = X @ data["cam_poses"][3, :3, :3].T + data["cam_poses"][3, :3, 3]  # cam_poses is world -> camera
    assert np.allclose(world_to_camera(view.camera, X), local) and 3 < local[:, 2].mean() < 5
    pixels = local[:, :2] / local[:, 2:] * 200 + [60, 45]
    inside = view.confidence > 0
    assert 5 < inside.sum() < 24 and np.allclose(view.joints_2d[inside], pixels[inside])
    assert ((pixels[~inside] < -0.5) | (pixels[~inside] > [119.5, 89.5])).any(1).all()
    assert not view.camera.distortion.any() and (view.camera.width, view.camera.height) == (120, 90)


def test_eleven_people_keep_the_order_of_their_ids(tmp_path):
    dataset(tmp_path, {("test", "crowd"): track(11, genders=["m"] * 11)})
    instants, _ = read(tmp_path)
    ids = [i.id for i in instants]
    assert ids == sorted(ids) and {"crowd/1/00000", "crowd/0/00004"} <= set(ids)


def test_box_is_of_the_joints_in_the_image_times_one_point_two_without_the_minus_one(tmp_path):
    dataset(tmp_path, {("test", "walk"): track(1)})
    for instant in read(tmp_path)[0]:
        (view,) = instant.views
        seen = view.joints_2d[view.confidence > 0]
        low, high = seen.min(0), seen.max(0)
        assert np.allclose(view.box[2:], 1.2 * (high - low))
        assert np.allclose(view.box[:2] + view.box[2:] / 2, (low + high) / 2)


def test_box_and_presence_are_of_smpls_24_joints_also_with_smpl_files(tmp_path, smpl):
    """3DMPPE's annotation, whose people are counted, knows jointPositions only; the 17 regressed joints lie elsewhere."""
    folder, _ = smpl
    data = posed(track(1), folder)
    data["jointPositions"][0][2] += 100  # nobody in the third image, wherever the mesh is
    data["jointPositions"][0][3, 5] = np.nan
    dataset(tmp_path, {("test", "walk"): data})
    without, _ = read(tmp_path)
    instants, report = read(tmp_path, smpl=folder, regressor=folder / "J_regressor_h36m_correct.npy")
    assert [i.id for i in instants] == [i.id for i in without] and [i.frame for i in instants] == [0, 1, 4]
    assert report.skipped == {"no joint in the image": 1} and [r.key for r in report.rejects] == ["walk/0/00003"]
    for ours, theirs in zip(instants, without, strict=True):
        assert ours.joint_set == "human36m_17" and np.array_equal(ours.views[0].box, theirs.views[0].box)
        assert len(ours.views[0].joints_2d) == 17 and len(theirs.views[0].joints_2d) == 24


def test_image_numbers_are_rows_and_not_img_frame_ids(tmp_path):
    """img_frame_ids (0, 2, 4, ...) point into the 60 Hz arrays."""
    dataset(tmp_path, {("test", "walk"): track(1)})
    paths = [i.views[0].image_path for i in read(tmp_path)[0]]
    assert paths == [f"imageFiles/walk/image_{k:05d}.jpg" for k in range(N)]


def test_cam_poses_are_world_to_camera(tmp_path):
    """X_cam = R X_world + t, written out for one joint of the last image, where the camera has turned."""
    data = track(1)
    dataset(tmp_path, {("test", "walk"): data})
    view, matrix = read(tmp_path)[0][-1].views[0], data["cam_poses"][-1]
    x, y, z = matrix[:3, :3] @ data["jointPositions"][0][-1].reshape(24, 3)[0] + matrix[:3, 3]
    assert np.allclose(view.joints_2d[0], [200 * x / z + 60, 200 * y / z + 45], atol=1e-6) and view.confidence[0] == 1


def test_a_sequence_that_tries_to_run_code_is_refused(tmp_path):
    class Run:
        def __reduce__(self):
            return (print, ("run",))

    dataset(tmp_path, {("test", "walk"): track(1, poses=[Run()])})
    with pytest.raises(InputError, match="walk.pkl is refused as a pickle of plain arrays"):
        read(tmp_path)


def test_campose_valid_is_per_person_and_frame(tmp_path):
    dataset(tmp_path, {("test", "walk"): track(campose_valid=[np.array([1, 0, 1, 1, 0]), np.ones(N)])})
    instants, report = read(tmp_path)
    assert [i.frame for i in instants if i.subject == "walk/0"] == [0, 2, 3] and len(instants) == 8
    assert report.skipped == {"camera pose not valid (campose_valid)": 2} and not report.rejects
    assert report.annotated == {"walk/0": (5, 5), "walk/1": (5, 5)}


def test_people_outside_the_image_are_skipped(tmp_path):
    data = track(1)
    data["jointPositions"][0][2] += 100
    dataset(tmp_path, {("test", "walk"): data})
    instants, report = read(tmp_path)
    assert [i.frame for i in instants] == [0, 1, 3, 4] and report.skipped == {"no joint in the image": 1}


def test_sampling(tmp_path):
    dataset(tmp_path, {("test", "walk"): track(1), ("train", "run"): track(1)})
    instants, _ = read(tmp_path, every_train=2, every_test=3)
    assert [i.id for i in instants] == ["run/0/00000", "run/0/00002", "run/0/00004", "walk/0/00000", "walk/0/00003"]
    with pytest.raises(InputError, match="every_test -1"):
        read(tmp_path, every_test=-1)


@pytest.fixture(scope="module")
def smpl(tmp_path_factory):
    """A made-up SMPL pair, the female 1.2 times as large, and a regressor that reads off 17 vertices."""
    folder = tmp_path_factory.mktemp("smpl")
    rng = np.random.default_rng(0)
    template = rng.normal(0, 0.5, (6890, 3))
    template[100:117], template[:24] = standing(HUMAN36M.names), standing(SMPL_24.names)
    template += [0.4, -0.2, 0.3]
    J_regressor = np.zeros((24, 6890))
    J_regressor[np.arange(24), np.arange(24)] = 1
    shapedirs = np.zeros((6890, 3, 10))
    shapedirs[:, 1, 0] = 0.01
    parents = np.array([-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21])
    weights = np.zeros((6890, 24))
    weights[:, 0] = 1  # all of the body hangs on the pelvis
    for name, size in (("MALE", 1), ("FEMALE", 1.2)):
        model = {
            "v_template": size * template,
            "shapedirs": shapedirs,
            "posedirs": np.zeros((6890, 3, 207)),
            "weights": weights,
            "J_regressor": scipy.sparse.csc_matrix(J_regressor),
            "kintree_table": np.stack([parents, np.arange(24)]),
            "f": np.array([[0, 1, 2]], np.uint32),
        }
        (folder / f"SMPL_{name}.pkl").write_bytes(pickle.dumps(model, 2))
    regressor = np.zeros((17, 6890))
    regressor[np.arange(17), 100 + np.arange(17)] = 1
    np.save(folder / "J_regressor_h36m_correct.npy", regressor)
    return folder, template


def posed(data, folder):
    """The sequence with the joints of its parameters, and each person where it was."""
    bodies = open_smpl(folder, folder / "J_regressor_h36m_correct.npy")
    for p, gender in enumerate(data["genders"]):
        joints = data["jointPositions"][p]
        for k in range(N):
            rows = data["poses"][p][k], data["betas"][p][:10]
            parameters = SmplParameters({"m": "male", "f": "female"}[gender], *rows, np.zeros(3))
            there = bodies.mesh("", parameters).joints
            data["trans"][p][k] = joints[k, :3] - there[0]
            joints[k] = (there + data["trans"][p][k]).ravel()
    return data


def test_parameters_that_are_not_of_the_joints_beside_them_are_told(tmp_path, smpl):
    """The joints that count are regressed from them."""
    folder, _ = smpl
    given = {"smpl": folder, "regressor": folder / "J_regressor_h36m_correct.npy"}
    data = posed(track(1), folder)
    degrees = data | {"poses": [np.rad2deg(poses) for poses in data["poses"]]}
    millimetres = data | {"trans": [1000 * trans for trans in data["trans"]]}
    for wrong, said in ((degrees, "as if angles were in degrees"), (millimetres, "or in another unit")):
        dataset(tmp_path, {("test", "walk"): wrong})
        instants, report = read(tmp_path, **given)
        assert not instants and len(report.rejects) == N and all(said in r.reason for r in report.rejects), said
        assert len(read(tmp_path)[0]) == N  # without SMPL files nothing is made of the parameters
    dataset(tmp_path, {("test", "walk"): data})
    assert len(read(tmp_path, **given)[0]) == N


def test_ground_truth_joints_are_regressed_from_the_gendered_mesh(tmp_path, smpl):
    folder, template = smpl
    data = posed(track(), folder)
    dataset(tmp_path, {("test", "walk"): data})
    source = open_source("threedpw", tmp_path, smpl=folder, regressor=folder / "J_regressor_h36m_correct.npy")
    instants, _ = source.read()
    assert {instant.joint_set for instant in instants} == {"human36m_17"} and not source.notices()
    for instant in instants:
        p, k = int(instant.subject[-1]), instant.frame
        rest = (1 + 0.2 * p) * template[[0, *range(100, 117)]] + [0, 0.01 * data["betas"][p][0], 0]
        R = Rotation.from_rotvec(data["poses"][p][k, :3]).as_matrix()
        expected = (rest - rest[0]) @ R.T + rest[0] + data["trans"][p][k]  # SMPL turns about its own pelvis
        assert np.abs(instant.joints_3d - expected[1:]).max() < 1e-5


def test_with_smpl_files_the_ground_truth_is_the_body(tmp_path, smpl):
    folder, _ = smpl
    data = posed(track(), folder)
    dataset(tmp_path, {("test", "walk"): data})
    source = open_source("threedpw", tmp_path, smpl=folder, regressor=folder / "J_regressor_h36m_correct.npy")
    for instant in source.instants():
        p, k, body = int(instant.subject[-1]), instant.frame, instant.supplied
        assert body.gender == ("male", "female")[p] and not instant.supplied_in_camera
        assert np.array_equal(body.pose, data["poses"][p][k]) and np.array_equal(body.trans, data["trans"][p][k])
        mesh = source.smpl.mesh(instant.id, body)
        assert mesh.vertices.shape == (6890, 3) and np.abs(mesh.field_joints - instant.joints_3d).max() < 1e-5
    assert {"SMPL_MALE.pkl", "SMPL_FEMALE.pkl", "J_regressor_h36m_correct.npy"} <= source.fingerprint().keys()


def test_rest_pelvis_of_another_gender_does_not_move_root_relative_joints(tmp_path, smpl):
    """To camera axes by parameters: R' = R R_root, t' = R trans + t - J0 + R J0. 3DMPPE takes J0 of the neutral body with the
    gendered mesh: everything shifts alike, relative to the root nothing changes. Here points are moved, and no J0 is needed."""
    folder, template = smpl
    data = posed(track(), folder)
    dataset(tmp_path, {("test", "walk"): data})
    source = open_source("threedpw", tmp_path, smpl=folder, regressor=folder / "J_regressor_h36m_correct.npy")
    instant = next(i for i in source.instants() if i.id == "walk/1/00003")  # female, larger than the male
    camera, body = instant.views[0].camera, instant.supplied
    turned = body.pose.copy()
    turned[:3] = (Rotation.from_matrix(camera.R) * Rotation.from_rotvec(body.pose[:3])).as_rotvec()
    beta = np.array([0, 0.01 * body.betas[0], 0])
    found = []
    for size in (1.2, 1):  # J0 of the female body, and of another
        J0 = size * template[0] + beta
        moved = camera.R @ body.trans + camera.t - J0 + camera.R @ J0
        found.append(source.smpl.joints(body.gender, turned[None], body.betas, moved[None])[0][0])
    ours = world_to_camera(camera, instant.joints_3d)
    assert np.abs(found[0] - ours).max() < 1e-5
    assert np.abs(found[1] - ours).max() > 0.01, "the whole body lies elsewhere"
    assert np.abs((found[1] - found[1][0]) - (ours - ours[0])).max() < 1e-5


@pytest.mark.parametrize("poses2d", ["zeros", "nan", "none"])
def test_all_zero_poses2d_exclude_nobody(tmp_path, poses2d):
    """Zeros where OpenPose found less than six joints: only the protocol of the ECCV 2020 challenge drops those frames."""
    value = {"zeros": [np.zeros((N, 3, 18))], "nan": [np.full((N, 3, 18), np.nan)], "none": None}[poses2d]
    data = track(1, poses2d=value)
    if value is None:
        del data["poses2d"]
    dataset(tmp_path, {("test", "walk"): data})
    instants, report = read(tmp_path)
    assert [i.frame for i in instants] == list(range(N)) and not report.skipped and not report.rejects


def test_betas_of_300_numbers_are_cut_to_ten(tmp_path):
    data = track()
    dataset(tmp_path, {("test", "walk"): data})
    betas = read_track(tmp_path / "sequenceFiles" / "test" / "walk.pkl", "walk").betas
    assert len(data["betas"][1]) == 300 and np.array_equal(betas, [b[:10] for b in data["betas"]])


def test_neural_annot_fits_are_in_camera_axes_and_named_by_3dmppes_ids(tmp_path):
    dataset(tmp_path, {("test", "walk"): track()})
    fit = {"root_pose": [0.1] * 3, "body_pose": [0.2] * 63, "shape": [0.3] * 10, "trans": [1.0, 2.0, 3.0]}
    listed = {
        "images": [{"id": 7, "sequence": "walk", "file_name": "image_00002.jpg", "frame_idx": 4}],
        "annotations": [{"id": 70, "image_id": 7, "person_id": 1}, {"id": 71, "image_id": 7, "person_id": 0}],
    }
    (tmp_path / "3DPW_test.json").write_text(json.dumps(listed))
    (tmp_path / "3DPW_test_SMPLX_NeuralAnnot.json").write_text(json.dumps({"70": fit}))
    instants, report = read(tmp_path)
    given = [i for i in instants if i.supplied is not None]
    assert [i.id for i in given] == ["walk/1/00002"] and given[0].supplied_in_camera
    assert given[0].supplied.transl.tolist() == [1, 2, 3]
    assert "3DPW_test_SMPLX_NeuralAnnot.json" in open_source("threedpw", tmp_path).fingerprint()
    (tmp_path / "3DPW_test.json").unlink()
    with pytest.raises(InputError, match="3DPW_test.json does not exist"):
        read(tmp_path)


@pytest.mark.parametrize("value", [["walk"], {"a": 1}, None, True, 2.5])
@pytest.mark.parametrize(
    "part, key",
    [
        ("images", "id"),
        ("images", "sequence"),
        ("images", "file_name"),
        ("annotations", "id"),
        ("annotations", "image_id"),
        ("annotations", "person_id"),
    ],
)
def test_ids_of_another_type_in_3dmppes_annotations_are_refused(tmp_path, part, key, value):
    listed = {
        "images": [{"id": 7, "sequence": "walk", "file_name": "image_00002.jpg"}],
        "annotations": [{"id": 70, "image_id": 7, "person_id": 1}],
    }
    listed[part][0][key] = value
    annotations, fits = tmp_path / "3DPW_test.json", tmp_path / "fits.json"
    annotations.write_text(json.dumps(listed))
    fits.write_text(json.dumps({"70": {}}))
    with pytest.raises(InputError, match=f"3DPW_test.json: {part}.*/{key} is"):
        read_fits(annotations, fits)


def test_a_sequence_in_two_splits_is_refused(tmp_path):
    dataset(tmp_path, {("test", "walk"): track(1), ("train", "walk"): track(1)}, images=False)
    with pytest.raises(InputError, match="test/walk.pkl and .*train/walk.pkl are the same sequence"):
        read(tmp_path)


def test_without_smpl_files_a_notice_says_what_the_joints_are(tmp_path):
    dataset(tmp_path, {("test", "walk"): track(1)})
    assert "jointPositions" in open_source("threedpw", tmp_path).notices()[0]


def test_smpl_files_of_the_wrong_kind(tmp_path, smpl):
    folder, _ = smpl
    dataset(tmp_path, {("test", "walk"): track(1)})
    with pytest.raises(InputError, match="both smpl .* and regressor"):
        read(tmp_path, smpl=folder)
    with pytest.raises(InputError, match="SMPL_MALE.pkl does not exist"):
        read(tmp_path, smpl=tmp_path, regressor=folder / "J_regressor_h36m_correct.npy")
    np.save(tmp_path / "r.npy", np.zeros((17, 500)))
    with pytest.raises(InputError, match="6890 vertices, the regressor is for 500"):
        read(tmp_path, smpl=folder, regressor=tmp_path / "r.npy")
    np.save(tmp_path / "r.npy", np.zeros((24, 6890)))
    with pytest.raises(InputError, match="has the shape \\(24, 6890\\)"):
        read(tmp_path, smpl=folder, regressor=tmp_path / "r.npy")


def test_bad_frames_are_rejected_and_the_run_goes_on(tmp_path):
    data = track(1)
    data["jointPositions"][0][1, 5] = np.nan
    data["cam_poses"][2, 0, 0] = np.inf
    dataset(tmp_path, {("test", "walk"): data})
    (tmp_path / "imageFiles" / "walk" / "image_00003.jpg").unlink()
    instants, report = read(tmp_path)
    assert [i.frame for i in instants] == [0, 4]
    assert {r.key: r.reason.split(": ")[-1] for r in report.rejects} == {
        "walk/0/00001": "joints or camera pose are not finite",
        "walk/0/00002": "joints or camera pose are not finite",
        "walk/0/00003": "the image does not exist",
    }


@pytest.mark.parametrize(
    "changes, pattern",
    [
        ({"cam_poses": None}, "walk.pkl has no key cam_poses"),
        ({"cam_poses": np.zeros((N, 3, 4))}, "cam_poses has 5 x 3 x 4 numbers, expected 5 x 4 x 4"),
        ({"jointPositions": [np.zeros((N - 1, 72))]}, "jointPositions/0 has 4 x 72 numbers, expected 5 x 72"),
        ({"jointPositions": []}, "no key jointPositions/0"),
        ({"genders": ["x"]}, "genders holds 'x'"),
        ({"genders": [{}]}, "genders holds {}"),
        ({"genders": "m"}, "genders is 'm', expected a list"),
        ({"cam_poses": 3}, "cam_poses has no list of numbers, expected 0 x 4 x 4"),
        ({"betas": [np.zeros(4)]}, "betas has 4 numbers, expected 10"),
        ({"cam_intrinsics": np.full((3, 3), np.nan)}, "walk.pkl: cam_intrinsics .*nan.* needs finite numbers"),
        ({"cam_intrinsics": np.diag([-200.0, 200, 1])}, "cam_intrinsics .*-200.* needs finite numbers"),
    ],
)
def test_files_of_another_layout_are_refused(tmp_path, changes, pattern):
    data = {key: value for key, value in track(1, **changes).items() if value is not None}
    dataset(tmp_path, {("test", "walk"): data}, images=False)
    with pytest.raises(InputError, match=pattern):
        read_track(tmp_path / "sequenceFiles" / "test" / "walk.pkl", "walk")


def test_wrong_folders(tmp_path):
    with pytest.raises(InputError, match="has no sequenceFiles"):
        read(tmp_path)
    dataset(tmp_path, {("test", "walk"): track(1)}, images=False)
    (tmp_path / "imageFiles" / "walk").rmdir()
    instants, report = read(tmp_path)  # a sequence without any image: every frame is listed
    assert not instants and len(report.rejects) == N
    (tmp_path / "imageFiles").rmdir()
    with pytest.raises(InputError, match="has no imageFiles"):
        read(tmp_path)


def turned_track(mirrored=False, exchanged=False):
    """A person who turns, with the poses that say so. mirrored: in the joints x counts the other way, and so the camera's."""
    data = track(1)
    local = standing(SMPL_24.names) - standing(SMPL_24.names)[0]
    turns = Rotation.from_euler("zy", [[np.pi, angle] for angle in (0.1, 0.9, 1.6, 2.2, 3.0)])
    joints = np.array([turn.apply(local) for turn in turns]) + [0, 0, 4]
    flip = [SMPL_24.index(n.replace("left", "R").replace("right", "left").replace("R", "right")) for n in SMPL_24.names]
    joints = joints[:, flip] if exchanged else joints
    joints = joints * [-1, 1, 1] if mirrored else joints
    poses = np.zeros((N, 72))
    poses[:, :3] = (turns * facing(local)).as_rotvec()
    poses[:, 3:] = np.random.default_rng(0).normal(0, 0.1, (N, 69))
    extrinsics = np.tile(np.eye(4), (N, 1, 1))
    return data | {"jointPositions": [joints.reshape(N, 72)], "poses": [poses], "cam_poses": extrinsics}


def facing(joints):
    """The turn of SMPL's rest pose (left hip +x, up +y) into these joints."""
    left = joints[SMPL_24.index("left_hip")] - joints[SMPL_24.index("right_hip")]
    up = joints[SMPL_24.index("neck")] - joints[SMPL_24.index("pelvis")]
    x = left / np.linalg.norm(left)
    y = up - (up @ x) * x
    y /= np.linalg.norm(y)
    return Rotation.from_matrix(np.stack([x, y, np.cross(x, y)], 1))


def test_joints_that_are_mirrored_against_their_poses_are_left_out(tmp_path):
    """Straight people look alike in a mirror; the poses beside them do not."""
    right = dataset(tmp_path / "r", {("test", "walk"): turned_track()})
    assert len(read(right)[0]) == N
    wrong = dataset(tmp_path / "w", {("test", "walk"): turned_track(exchanged=True)})
    instants, report = read(wrong)
    assert not instants and "left and right the other way round than the poses" in report.rejects[0].reason


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda d: {"cam_poses": np.linalg.inv(d["cam_poses"])}, "cam_poses were inverted"),
        (lambda d: {"jointPositions": [1000 * d["jointPositions"][0] + 5e5]}, ""),
        (lambda d: {"jointPositions": [1000 * d["jointPositions"][0]]}, "joints were in millimetres"),
        (lambda d: {"jointPositions": [100 * d["jointPositions"][0]]}, "joints were in centimetres"),
    ],
)
def test_who_is_in_no_picture_is_a_doubt_with_its_cause(tmp_path, change, cause):
    data = track(1)
    origin, moved = np.array([30.0, -6, 20]), np.eye(4)  # the world's is far from the camera
    moved[:3, 3] = -origin
    data["jointPositions"] = [(data["jointPositions"][0].reshape(N, 24, 3) + origin).reshape(N, 72)]
    data["cam_poses"] = data["cam_poses"] @ moved
    root = dataset(tmp_path, {("test", "walk"): data | change(data)})
    instants, report = read(root)
    assert not instants and report.doubts == [
        f"walk/0 is in none of its {N} pictures" + (report.doubts[0].partition("pictures")[2])
    ]
    assert cause in report.doubts[0] and bool(cause) == ("as if" in report.doubts[0])


def test_one_bad_frame_is_one_reject(tmp_path):
    data = track(1)
    data["cam_poses"][2, :3, 0] *= -1
    root = dataset(tmp_path, {("test", "walk"): data})
    (root / "imageFiles" / "walk" / "image_00000.jpg").write_bytes(b"")
    instants, report = read(root)
    assert [i.frame for i in instants] == [0, 1, 3, 4] and instants[0].views[0].camera.width == 120
    assert "its camera pose is no rotation" in report.rejects[0].reason
