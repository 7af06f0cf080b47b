"""Human3.6M: both layouts, its splits and conventions, and what is wrong with files on people's disks."""

import json
import shutil

import cv2
import numpy as np
import pytest

from pipeline.camera import camera_to_world, distort, project, world_to_camera
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.skeletons import HUMAN36M
from pipeline.sources import open_source
from pipeline.sources.human36m.common import ACTIONS, CAMERA_NAMES, INTRINSICS
from pipeline.sources.human36m.release import BODY_17, read_metadata, read_poses


@pytest.fixture
def editable(annotated_root, tmp_path):
    """A copy of S1 and S11's annotations to damage, on the same images. `edit(subject, part, change)` rewrites a
    file."""
    shutil.copytree(annotated_root / "annotations", tmp_path / "annotations")
    (tmp_path / "images").symlink_to(annotated_root / "images")

    def edit(subject, part, change):
        path = tmp_path / "annotations" / f"Human36M_subject{subject}_{part}.json"
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return tmp_path, edit


def ids(source):
    return [instant.id for instant in source.instants()]


def refuses(root, pattern, **options):
    with pytest.raises(InputError, match=pattern):
        list(open_source("human36m", root, **options).instants())


# --- the two layouts


def test_both_layouts_give_the_same_instants(annotated_root, released_root):
    """The JSON's box and visibility were computed by other code, from the same joints; ids, joints, pixels, splits
    agree too."""
    annotated, released = (list(open_source("human36m", root).instants()) for root in (annotated_root, released_root))
    assert [a.id for a in annotated] == [r.id for r in released]
    for a, r in zip(annotated, released, strict=True):
        for part in ("subject", "action", "frame", "split", "has_world", "joint_set"):
            assert getattr(a, part) == getattr(r, part)
        assert np.array_equal(a.joints_3d, r.joints_3d)
        assert [v.id for v in a.views] == [v.id for v in r.views]
        for v, w in zip(a.views, r.views, strict=True):
            assert np.allclose(v.box, w.box, rtol=0, atol=1e-9) and np.array_equal(v.confidence, w.confidence)
            assert np.allclose(v.joints_2d, w.joints_2d, rtol=0, atol=1e-9)
            for part in ("K", "R", "t", "distortion"):
                assert np.allclose(getattr(v.camera, part), getattr(w.camera, part), rtol=0, atol=1e-12)
            assert (v.camera.width, v.camera.height) == (w.camera.width, w.camera.height)


def test_ids_are_sorted_and_unique_and_running_again_changes_nothing(annotated_root):
    source = open_source("human36m", annotated_root)
    first = ids(source)
    assert first == sorted(set(first)) == ids(source) and not source.read()[1].rejects
    assert source.read()[1].annotated["S1"] == (18, 72)  # 11 + 7 frames of 4 cameras, before sampling


def test_four_views_an_instant_in_metres(annotated_root, capture):
    instant = next(open_source("human36m", annotated_root).instants())
    assert [view.camera_id for view in instant.views] == ["1", "2", "3", "4"] and instant.joint_set == "human36m_17"
    assert np.allclose(instant.joints_3d, capture.joints[1, 2, 1][0, BODY_17] / 1000.0)
    for view in instant.views:
        X = world_to_camera(view.camera, instant.joints_3d)
        assert 4 < X[:, 2].mean() < 7
        assert np.abs(camera_to_world(view.camera, X) - instant.joints_3d).max() < 1e-6


# --- splits and sampling


def test_splits_and_sampling(tmp_path, capture, make_annotations):
    frames = {1: 11, 5: 6, 8: 6, 9: 66, 11: 130}
    joints = {(s, 2, 1): np.repeat(capture.joints[1, 2, 1][:1], n, 0) for s, n in frames.items()}
    root = make_annotations(tmp_path, joints)
    found = {(i.subject, i.frame): i.split for i in open_source("human36m", root).instants()}
    assert found == (
        {("S1", f): "train" for f in (0, 5, 10)}
        | {("S5", f): "train" for f in (0, 5)}
        | {("S8", f): "validation" for f in (0, 5)}
        | {("S9", f): "test" for f in (0, 64)}
        | {("S11", f): "test" for f in (0, 64, 128)}
    )
    final = {i.subject: i.split for i in open_source("human36m", root, final=True).instants()}
    assert final["S8"] == "train"
    spin = open_source("human36m", root, every_test=32, subjects=["S9"])
    assert [i.frame for i in spin.instants()] == [0, 64]  # frame 32 has no image on disk
    assert [r.key for r in spin.read()[1].rejects] == [f"S9/Directions-1/000032/{c}" for c in (1, 2, 3, 4)]


def test_a_subject_filter_leaves_other_files_closed(editable):
    root, _ = editable
    for part in ("data", "camera", "joint_3d"):
        (root / "annotations" / f"Human36M_subject9_{part}.json").write_text("{ not JSON")
    source = open_source("human36m", root, subjects=("S1", 11))
    assert {i.subject for i in source.instants()} == {"S1", "S11"}
    assert all("subject9" not in name for name in source.fingerprint())
    refuses(root, "subject9.*not complete JSON")


def test_subjects_without_published_poses_are_refused(annotated_root):
    refuses(annotated_root, "no subject S2 ", subjects=("S2",))
    refuses(annotated_root, "has no files of S5", subjects=("S5",))
    refuses(annotated_root, "'bob' is not a subject", subjects=("bob",))
    refuses(annotated_root, "'S²' is not a subject", subjects=("S²",))
    refuses(annotated_root, "every_test is -3", every_test=-3)
    refuses(annotated_root, "no option colour; it takes subjects, every_train", colour="red")


# --- conventions (each a trap of the dataset)


def test_file_number_is_frame_plus_one(annotated_root):
    for instant in open_source("human36m", annotated_root).instants():
        for view in instant.views:
            assert view.image_path.endswith(f"_{instant.frame + 1:06d}.jpg")


def test_action_names_are_those_of_the_annotations_for_every_subject(released_root):
    """S1 files Photo as TakingPhoto and numbers takes its own way; metadata.xml knows."""
    sequences = read_metadata(released_root / "metadata.xml").sequences
    assert sequences[1][12, 1].startswith("TakingPhoto") and sequences[9][12, 1].startswith("Photo")
    assert sequences[1][4, 1] == "Eating 2" and sequences[5][4, 1] == "Eating 1"
    assert all(action in ACTIONS for of_subject in sequences.values() for action, _ in of_subject)  # no _ALL
    photo = [i for i in open_source("human36m", released_root, subjects=[9]).instants() if i.action == "Photo"]
    assert photo and photo[0].id == "S9/Photo-1/000000"


def test_seventeen_joints_are_the_official_body_part():
    """H36MPose3DPositionsFeature.m lists them 1-based."""
    assert [j + 1 for j in BODY_17] == [1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 16, 18, 19, 20, 26, 27, 28]
    assert len(HUMAN36M) == 17 and HUMAN36M.root_index == 0
    pairs = {frozenset((j, int(k))) for j, k in enumerate(HUMAN36M.flip) if j != k}
    assert pairs == {frozenset(p) for p in ((1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13))}


def test_t_is_minus_R_times_the_camera_centre(released_root, annotated_root, capture):
    """metadata.xml stores where the camera stands; the distributed JSON stores t of X_cam = R X + t."""
    for root in (released_root, annotated_root):
        view = next(open_source("human36m", root).instants()).views[0]
        centre = capture.centre[1, 1] / 1000
        assert np.allclose(world_to_camera(view.camera, centre), 0, atol=1e-9)
        assert np.allclose(view.camera.t, -view.camera.R @ centre)


def test_rotation_of_metadata_equals_the_published_formula(tmp_path, capture, make_metadata):
    """The published example: S1, camera 1. And an independent twin with left-handed elementary matrices and minus
    signs."""
    R = np.array(
        [
            [-0.91536173, 0.40180837, 0.02574754],
            [0.05154812, 0.18037357, -0.98224649],
            [-0.39931903, -0.89778361, -0.18581953],
        ]
    )
    t = np.array([-346.0507814, 546.98077931, 5474.48108743])
    euler = np.array([np.arctan2(-R[1, 2], R[2, 2]), np.arcsin(R[0, 2]), np.arctan2(-R[0, 1], R[0, 0])])
    camera = make_metadata(tmp_path / "metadata.xml", {(1, 1): euler}, {(1, 1): -R.T @ t}).camera(1, 1, (1000, 1002))
    assert np.allclose(camera.R, R, atol=1e-7) and np.allclose(camera.t * 1000, t, atol=1e-3)
    x, y, z = -euler[0], euler[1], -euler[2]
    Rx = np.array([[1, 0, 0], [0, np.cos(x), np.sin(x)], [0, -np.sin(x), np.cos(x)]])
    Ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    Rz = np.array([[np.cos(z), np.sin(z), 0], [-np.sin(z), np.cos(z), 0], [0, 0, 1]])
    assert np.allclose(camera.R, Rx @ Ry @ Rz, atol=1e-12)


# fx fy cx cy k1 k2 k3 p1 p2 of cameras 1 to 4, as metadata.xml prints them.
CALIBRATION = """
1145.04940458804 1143.78109572365 512.541504956548 515.4514869776 -0.207098910824901 0.247775183068982 -0.00307515035078854 \
-0.00142447157470321 -0.000975698859470499
1149.67569986785 1147.59161666764 508.848621645943 508.064917088557 -0.194213629607385 0.240408539138292 0.00681997559022603 \
-0.0027408943961907 -0.001619026613787
1149.14071676148 1148.7989685676 519.815837182153 501.402658888552 -0.208338188251856 0.255488007488945 -0.00246049749891915 \
-0.000759999321030303 0.00148438698385668
1145.51133842318 1144.77392807652 514.968197319863 501.882018537695 -0.198384093827848 0.218323676298049 -0.00894780704152122 \
-0.00181336200488089 -0.000587205583421232
"""


def test_calibration_is_that_of_metadata_xml():
    rows = [line.split() for line in CALIBRATION.strip().splitlines()]
    assert {k: tuple(map(float, row)) for k, row in enumerate(rows, start=1)} == INTRINSICS
    assert list(CAMERA_NAMES.values()) == ["54138969", "55011271", "58860488", "60457274"]


def test_videopose3d_lists_the_tangential_terms_the_other_way_round():
    """Its `tangential_distortion` is [p2, p1]; taken as [p1, p2] it moves the corners of the image."""
    theirs = {
        1: (-0.0009757, -0.0014245),
        2: (-0.0016190, -0.0027409),
        3: (0.0014844, -0.0007600),
        4: (-0.0005872, -0.0018134),
    }
    for number, (p2, p1) in theirs.items():
        fx, fy, cx, cy, *distortion = INTRINSICS[number]
        assert np.allclose(distortion[3:], [p1, p2], rtol=0, atol=1e-7)
        corner = np.array([-0.44, 0.44])
        swapped = distort(corner, np.array([*distortion[:3], p2, p1]))
        assert np.abs((swapped - distort(corner, np.array(distortion))) * [fx, fy]).max() > 0.1


def test_images_are_distorted_and_boxes_are_not(annotated_root):
    """In one view: 2D joints lie where the lens puts them, the annotated box is about their pinhole projections."""
    instant = next(open_source("human36m", annotated_root).instants())
    view = instant.views[0]
    X = world_to_camera(view.camera, instant.joints_3d)
    pinhole = X[:, :2] / X[:, 2:] * view.camera.K[[0, 1], [0, 1]] + view.camera.K[:2, 2]
    assert view.confidence.all() and np.allclose(view.joints_2d, project(view.camera, X), rtol=0, atol=1e-9)
    assert 0.1 < np.abs(view.joints_2d - pinhole).max() < 4

    def box(pixels):
        side = 1.2 * (np.ptp(pixels, axis=0) - 1)
        return np.r_[(pixels.min(0) + pixels.max(0) - 1 - side) / 2, side]

    assert np.allclose(view.box, box(pinhole), rtol=0, atol=1e-9)
    assert np.abs(view.box - box(view.joints_2d)).max() > 0.1


def test_distortion_is_human36ms_own_and_not_opencvs(annotated_root):
    """ProjectPointRadial.m, written out for one point at a time; OpenCV's formula differs by more than a tenth of a
    pixel."""
    instant = next(open_source("human36m", annotated_root).instants())
    for view in instant.views:
        k1, k2, k3, p1, p2 = view.camera.distortion
        X = world_to_camera(view.camera, instant.joints_3d)
        for point, pixel in zip(X, view.joints_2d, strict=True):
            x, y = point[0] / point[2], point[1] / point[2]
            r2 = x * x + y * y
            radial, tangential = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3, p1 * y + p2 * x
            u = view.camera.K[0, 0] * (x * (radial + tangential) + p2 * r2) + view.camera.K[0, 2]
            v = view.camera.K[1, 1] * (y * (radial + tangential) + p1 * r2) + view.camera.K[1, 2]
            assert abs(u - pixel[0]) < 1e-6 and abs(v - pixel[1]) < 1e-6
    corner = np.array([[-0.44, -0.44, 1.0]])
    opencv = cv2.projectPoints(corner, np.zeros(3), np.zeros(3), view.camera.K, np.array([k1, k2, p1, p2, k3]))[0][:, 0]
    assert np.abs(opencv - project(view.camera, corner)).max() > 0.1


def test_the_annotation_layout_has_no_distortion_but_its_images_do(annotated_root, tmp_path, capture, make_annotations):
    """The known coefficients are attached where the calibration is the dataset's; a rendered capture has none."""
    view = next(open_source("human36m", annotated_root).instants()).views[0]
    assert np.array_equal(view.camera.distortion, INTRINSICS[1][4:])
    assert not np.allclose(distort(np.array([0.3, 0.2]), view.camera.distortion), [0.3, 0.2], atol=1e-3)
    root = make_annotations(tmp_path, {(1, 2, 1): capture.joints[1, 2, 1][:1]})
    (root / "synthetic.json").write_text("{}")
    source = open_source("human36m", root)
    assert not next(source.instants()).views[0].camera.distortion.any() and not source.recorded
    assert "synthetic.json" in source.fingerprint()


def test_image_size_is_the_frames_own(released_root):
    """metadata.xml says 1002 rows for every camera of S7; cameras 1 and 4 have 1002, cameras 2 and 3 have 1000."""
    instant = next(open_source("human36m", released_root).instants())
    assert [v.camera.height for v in instant.views] == [1002, 1000, 1000, 1002]
    for view in instant.views[:2]:
        image = read_image(released_root, view.image_path, (view.camera.width, view.camera.height))
        assert image.mean() == pytest.approx(40, abs=4)


def test_d3_positions_mono_universal_is_never_read(editable_release):
    """Camera coordinates on a skeleton of everyman's limb lengths: no ground truth, also where nothing else is there."""
    before = [instant.joints_3d for instant in open_source("human36m", editable_release).instants()]
    folder = editable_release / "S8" / "MyPoseFeatures"
    for name in ("D3_Positions_mono_universal", "D3_Positions_mono", "D2_Positions"):
        (folder / name).mkdir()
        for path in (folder / "D3_Positions").glob("*.cdf"):
            (folder / name / path.name).write_bytes(b"no CDF")
            (folder / name / f"{path.stem}.54138969.cdf").write_bytes(b"no CDF")
    source = open_source("human36m", editable_release)
    assert np.array_equal([instant.joints_3d for instant in source.instants()], before)
    assert not any("mono" in name or "D2_" in name for name in source.fingerprint())
    shutil.rmtree(folder / "D3_Positions")
    refuses(editable_release, "has no S\\*/MyPoseFeatures/D3_Positions")


def test_frames_come_from_the_video_by_number(released_root):
    """Videos run two frames longer than the poses; frame k was written with level 40 + 15 k."""
    instants = [i for i in open_source("human36m", released_root, subjects=[1]).instants() if i.action == "Directions"]
    assert [i.frame for i in instants] == [0, 5, 10]
    for instant in instants:
        assert instant.views[0].image_path.endswith(f"#frame={instant.frame}")
        level = read_image(released_root, instant.views[0].image_path).mean()
        assert level == pytest.approx(40 + 15 * instant.frame, abs=4)


def test_the_corrupt_video_of_s11_is_left_out(released_root, annotated_root):
    for root in (released_root, annotated_root):
        views = {i.id: [v.camera_id for v in i.views] for i in open_source("human36m", root, subjects=[11]).instants()}
        assert views["S11/Directions-2/000000"] == ["2", "3", "4"] and len(views["S11/Directions-1/000000"]) == 4


def test_shifted_sequences_of_s9_are_kept_unless_dropped(annotated_root):
    assert "S9/Greeting-2/000000" in ids(open_source("human36m", annotated_root))
    source = open_source("human36m", annotated_root, drop_shifted=True)
    assert "S9/Greeting-2/000000" not in ids(source) and source.read()[1].skipped["shifted ground truth"] == 8


def test_box_is_the_tight_box_minus_one_times_one_point_two(annotated_root):
    """3DMPPE's box, of pinhole projections, reproduced exactly by the code that the official release goes through."""
    from pipeline.sources.human36m.common import _see

    for instant in open_source("human36m", annotated_root).instants():
        for view in instant.views:
            computed = _see(view.camera, instant.joints_3d[None])[1][0]
            assert np.allclose(computed, view.box, rtol=0, atol=1e-9)


def test_smplx_fits_are_read_in_world_metres_and_smpl_fits_are_not(editable):
    root, _ = editable
    fit = {"root_pose": [0.1] * 3, "body_pose": [0.2] * 63, "shape": [0.3] * 10, "trans": [[1.0, 2.0, 3.0]]}
    (root / "annotations" / "Human36M_subject1_SMPLX_NeuralAnnot.json").write_text(json.dumps({"2": {"1": {"5": fit}}}))
    (root / "annotations" / "Human36M_subject1_smpl_param.json").write_text("{}")
    source = open_source("human36m", root, subjects=[1])
    found = {i.id: i.supplied for i in source.instants()}
    assert found["S1/Directions-1/000000"] is None
    body = found["S1/Directions-1/000005"]
    assert body.transl.tolist() == [1, 2, 3] and body.body_pose.shape == (63,) and not body.left_hand_pose.any()
    assert "SMPL, not of SMPL-X" in source.notices()[0]


def test_smpl_fits_are_world_metres_of_neutral_smpl_where_there_are_smpl_files(editable):
    root, _ = editable
    fit = {"pose": [0.1] * 72, "shape": [0.2] * 10, "trans": [[1.0, 2.0, 3.0]], "fitted_3d_pose": [[0, 0, 0]] * 17}
    path = root / "annotations" / "Human36M_subject1_smpl_param.json"
    path.write_text(json.dumps({"2": {"1": {"5": fit}}}))
    np.save(root / "r.npy", np.zeros((17, 6890)))
    source = open_source("human36m", root, subjects=[1], smpl=root, regressor=root / "r.npy")
    found = {i.id: i.supplied for i in source.instants()}
    assert [key for key, body in found.items() if body is not None] == [
        "S1/Directions-1/000005"
    ] and not source.notices()
    body = found["S1/Directions-1/000005"]
    assert body.gender == "neutral" and body.trans.tolist() == [1, 2, 3] and body.pose.shape == (72,)
    assert any(path.name in name for name in source.fingerprint())
    fit["pose"].pop()
    path.write_text(json.dumps({"2": {"1": {"5": fit}}}))
    refuses(root, "smpl_param.json: 2/1/5/pose has 71 numbers", subjects=[1], smpl=root, regressor=root / "r.npy")


def test_frame_counts_of_metadata(released_root, tmp_path, capture):
    """N = min(min(v1..v4), floor(vicon / 4)), as the official getNumFrames; a video may be twice as long (S9, 5, 2)."""
    path = tmp_path / "metadata.xml"
    text = (released_root / "metadata.xml").read_text()
    known = read_metadata(released_root / "metadata.xml").frames
    assert known == {sequence: len(joints) for sequence, joints in capture.joints.items()}
    path.write_text(text.replace("[8 8 8 8 25]", "[2899 2899 2899 2899 5791]").replace("[4 4 4 4 9]", "[3 4 1 4 2000]"))
    counts = read_metadata(path).frames
    assert counts[8, 2, 1] == 1447 and counts[9, 5, 2] == 1
    path.write_text(text.replace("frames>", "other>"))
    assert read_metadata(path).frames == {}


# --- bad input


def test_wrong_folder(tmp_path):
    refuses(tmp_path, "neither annotations/.*nor S\\*/MyPoseFeatures")
    refuses(tmp_path / "nowhere", "is not a folder")
    (tmp_path / "annotations").mkdir()
    refuses(tmp_path, "has no folder images")
    (tmp_path / "images").mkdir()
    refuses(tmp_path, "no Human36M_subject")
    (tmp_path / "annotations" / "Human36M_subject3_data.json").write_text("{}")
    refuses(tmp_path, "Human36M_subject3_data.json is of subject S3")
    with pytest.raises(InputError, match="no source 'kinetics'; choose one of human36m"):
        open_source("kinetics", tmp_path)


def test_json_cut_in_the_middle(editable):
    root, _ = editable
    path = root / "annotations" / "Human36M_subject1_joint_3d.json"
    path.write_text(path.read_text()[:-500])
    refuses(root, "subject1_joint_3d.json is not complete JSON")
    path.unlink()
    refuses(root, "subject1_joint_3d.json does not exist")


@pytest.mark.parametrize(
    "part, change, pattern",
    [
        ("data", lambda d: d.pop("annotations"), "subject1_data.json has no key annotations"),
        ("data", lambda d: d["images"][3].update(frame_idx="5"), "subject1_data.json: the image 3 has"),
        ("data", lambda d: d["images"][3].update(frame_idx=10**6), "a frame from 0 to 999999"),
        ("data", lambda d: d["images"][3].pop("cam_idx"), "an entry of images has no 'cam_idx'"),
        ("data", lambda d: d["images"][3].update(action_idx=1), "an action of 2..16"),
        ("data", lambda d: d["images"][3].update(id=4), "the image id 4 occurs twice"),
        ("data", lambda d: d["images"][5].update(frame_idx=0), "frame 0 of S1/Directions-1 occurs twice for camera 1"),
        ("data", lambda d: d["annotations"][1].update(image_id=0), "two annotations name the same image_id"),
        ("data", lambda d: d["images"][0].update(file_name="../../etc/passwd"), "leads out of the dataset's folder"),
        ("data", lambda d: d["images"][0].pop("file_name"), "has no key images/0/file_name"),
        ("data", lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "annotations/0/bbox has 3 numbers, expected 4"),
        ("data", lambda d: d["annotations"][0].update(bbox="wide"), "annotations/0/bbox is not an array of 4 numbers"),
        ("data", lambda d: d["annotations"][0].update(keypoints_vis=[True] * 16), "keypoints_vis has 16 numbers"),
        ("joint_3d", lambda d: d["2"]["1"]["5"].pop(), "2/1/5 has 16 x 3 numbers, expected 17 x 3"),
        ("joint_3d", lambda d: d["2"].pop("1"), "no key 2/1"),
        ("data", lambda d: d["images"][2].update(subject=9), "data.json: the image 2 is of subject 9, the file of S1"),
        ("data", lambda d: d["images"][2].update(subject="1"), "the image 2 is of subject 1, the file of S1"),
        ("data", lambda d: [i.update(cam_idx=5) for i in d["images"][:11]], "subject1_camera.json has no camera 5"),
        (
            "camera",
            lambda d: d.update({"5": d["4"]}),
            "subject1_camera.json: '5' is not a camera number; expected '1' to '4'",
        ),
        ("camera", lambda d: d.update({"²": d["4"]}), "'²' is not a camera number"),
        ("camera", lambda d: d.update({"01": d["4"]}), "'01' is not a camera number"),
        ("camera", lambda d: d.pop("3"), "subject1_camera.json has no camera 3"),
        ("camera", lambda d: d["2"].pop("t"), "has no key 2/t"),
        ("camera", lambda d: d["2"].update(f=[0, 1]), "camera 2 is not a calibrated camera"),
        ("camera", lambda d: d["2"].update(R=np.ones((3, 3)).tolist()), "camera 2 is not a calibrated camera"),
    ],
)
def test_broken_annotations_are_refused_with_file_and_key(editable, part, change, pattern):
    root, edit = editable
    edit(1, part, change)
    refuses(root, pattern)


def test_any_value_of_another_type_is_refused_or_rejected(editable):
    """Values all over the files replaced by ones of other types: nothing but InputError or a counted reject may
    follow."""
    root, _ = editable
    rng = np.random.default_rng(0)
    refused = 0
    for part in ("data", "camera", "joint_3d"):
        path = root / "annotations" / f"Human36M_subject8_{part}.json"
        text = path.read_text()
        for _ in range(60):
            data = json.loads(text)
            holder, key = data, str(rng.choice(list(data)))
            while isinstance(holder[key], (dict, list)) and len(holder[key]) and rng.random() < 0.8:
                holder = holder[key]
                keys = list(holder) if isinstance(holder, dict) else range(min(len(holder), 4))
                key = keys[int(rng.integers(len(keys)))]
            holder[key] = [None, "x", -1, 3.5, [], {}, [[1, 2]], True, {"a": 1}][int(rng.integers(9))]
            path.write_text(json.dumps(data))
            try:
                list(open_source("human36m", root, subjects=[8]).instants())
            except InputError as error:
                assert path.name in str(error) or "leads out" in str(error)
                refused += 1
        path.write_text(text)
    assert refused > 60


@pytest.mark.parametrize(
    "part, change, reason",
    [
        ("data", lambda d: d["annotations"][0].update(bbox=[1, 2, float("nan"), 4]), "the box is not finite"),
        ("data", lambda d: d["annotations"][0].update(bbox=[1, 2, -5, 4]), "the box has no area"),
        ("data", lambda d: d["annotations"].pop(0), "the image has no annotation"),
        (
            "data",
            lambda d: d["images"][5].update(width=640),
            "640 x 1002 pixels, the camera's other images have 1000 x 1002",
        ),
        ("data", lambda d: d["images"][0].update(file_name="gone.jpg"), "the image does not exist"),
    ],
)
def test_a_bad_view_is_rejected_and_the_run_goes_on(editable, part, change, reason):
    root, edit = editable
    edit(1, part, change)
    source = open_source("human36m", root, subjects=[1])
    instants = {i.id: i for i in source.instants()}
    (reject,) = source.read()[1].rejects
    assert reject.reason.endswith(reason) and reject.stage == "read" and reject.key.endswith("/1")
    assert len(instants[reject.key[:-2]].views) == 3 and len(instants) == 5


def test_a_view_that_is_said_to_show_no_joint_is_skipped(editable):
    root, edit = editable
    edit(1, "data", lambda d: d["annotations"][0].update(keypoints_vis=[False] * 17))
    instants, report = open_source("human36m", root, subjects=[1]).read()
    assert sum(len(instant.views) for instant in instants) == 5 * 4 - 1
    assert not report.rejects and report.skipped["no visible joint in the view"] == 1


def test_annotations_of_images_that_are_not_listed_are_counted(editable):
    root, edit = editable
    edit(1, "data", lambda d: d["annotations"].append(d["annotations"][0] | {"id": 10**6, "image_id": 10**6}))
    source = open_source("human36m", root, subjects=[1])
    assert len(ids(source)) == 5
    (reject,) = source.read()[1].rejects
    assert reject.key == "Human36M_subject1_data.json/annotations/1000000"
    assert reject.reason.endswith("an annotation names an image that is not listed")


def test_joints_that_are_nan_or_absent_reject_the_instant(editable):
    root, edit = editable

    def spoil(data):
        data["2"]["1"]["0"][4][1] = float("nan")
        del data["2"]["1"]["5"]

    edit(1, "joint_3d", spoil)
    source = open_source("human36m", root, subjects=[1])
    assert len(ids(source)) == 3
    assert {r.key for r in source.read()[1].rejects} == {"S1/Directions-1/000000", "S1/Directions-1/000005"}


# --- bad input, official layout


@pytest.fixture
def editable_release(released_root, tmp_path):
    """S8 of the release (one sequence), to damage."""
    shutil.copytree(released_root / "S8", tmp_path / "S8")
    shutil.copy(released_root / "metadata.xml", tmp_path)
    return tmp_path


def test_metadata_is_needed_and_checked(editable_release, tmp_path):
    path = editable_release / "metadata.xml"
    text = path.read_text()
    (video, *_) = (editable_release / "S8" / "Videos").glob("*.mp4")
    sequence, camera = video.stem.rsplit(".", 1)
    path.rename(tmp_path / "elsewhere.xml")
    refuses(editable_release, "metadata.xml does not exist. It comes with the dataset's official MATLAB code")
    assert len(ids(open_source("human36m", editable_release, metadata=tmp_path / "elsewhere.xml"))) == 2
    for old, new, pattern in (
        ("<w0>[", "<w0>[3 ", "w0 holds 301 readable numbers"),
        ("mapping>", "maps>", "has no mapping"),
        ("</metadata>", "", "is not readable XML"),
        ("<td>S8</td>", "<td>T8</td>", "holds none of the sequences"),
        (f"<td>{sequence}</td>", f"<td>{'9' * 5000}</td>", "calls a sequence of S. '9{100}...', which is no part of a"),
        (f"<td>{sequence}</td>", "<td>../../S9/Videos/Walking</td>", "calls a sequence of S. '../../S9"),
        (f">{camera}<", f">{'5' * 300}<", "calls camera . '5{100}...', which is no part of a file's name"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        refuses(editable_release, pattern)


def test_cdf_without_pose_or_of_another_shape(editable_release, write_cdf, tmp_path):
    (path,) = (editable_release / "S8" / "MyPoseFeatures" / "D3_Positions").glob("*.cdf")
    write_cdf(path, np.zeros((1, 4, 96)), variable="Angles")
    refuses(editable_release, "has no variable Pose \\(it has Angles\\)")
    write_cdf(path, np.zeros((1, 4, 64)))
    refuses(editable_release, "Pose has the shape .*64.*expected \\(1, N, 96\\) of D3_Positions")
    path.write_bytes(b"not a CDF at all")
    refuses(editable_release, "cannot be read as a CDF file")
    write_cdf(tmp_path / "one.cdf", np.arange(96.0).reshape(1, 1, 96))
    assert read_poses(tmp_path / "one.cdf")[0, 1].tolist() == [0.003, 0.004, 0.005]


def test_a_cdf_that_announces_more_than_a_file_can_hold_is_not_counted_through(write_cdf, tmp_path):
    """2^31 dimensions: cdflib would list them for minutes, in gigabytes."""
    path = tmp_path / "one.cdf"
    write_cdf(path, np.zeros((1, 4, 96)))
    data = bytearray(path.read_bytes())
    header = int.from_bytes(data[20:28], "big")
    data[header + 56 : header + 60] = (2**31 - 1).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as a CDF file .*announces 2147483647 entries"):
        read_poses(path)


def test_video_shorter_than_its_poses_missing_or_damaged(editable_release, write_video):
    videos = sorted((editable_release / "S8" / "Videos").glob("*.mp4"))
    write_video(videos[0], (1000, 1002), [10, 20, 30])
    videos[1].unlink()
    videos[2].write_bytes(b"nothing")
    source = open_source("human36m", editable_release)
    assert [[v.camera_id for v in i.views] for i in source.instants()] == [["1", "4"], ["4"]]
    reasons = {r.key.split("/")[-1] + r.key.split("/")[-2][-1]: r.reason for r in source.read()[1].rejects}
    assert "the video has 3 frames, the poses 6" in reasons["15"]
    assert "does not exist" in reasons["20"] and "cannot be opened" in reasons["30"]


def test_poses_of_another_number_than_metadata_counts(editable_release):
    """Only frames that both know are used, and the file is told."""
    path = editable_release / "metadata.xml"
    text = path.read_text()
    for cell, instants, reason in (
        ("[9 9 9 9 60]", 2, "the file has 6 poses, metadata.xml counts 9 frames"),
        ("[8 8 8 8 20]", 1, "the file has 6 poses, metadata.xml counts 5 frames"),
    ):
        path.write_text(text.replace("[8 8 8 8 25]", cell))
        source = open_source("human36m", editable_release)
        assert len(ids(source)) == instants
        assert [r.reason for r in source.read()[1].rejects if r.reason.startswith("the file")] == [reason]


def test_missing_pose_files_are_listed_and_missing_folders_refused(editable_release):
    source = open_source("human36m", editable_release)
    list(source.instants())
    assert len(source.read()[1].rejects) == 29 and "the pose file does not exist" in source.read()[1].rejects[0].reason
    (editable_release / "S8" / "Videos").rename(editable_release / "S8" / "Clips")
    refuses(editable_release, "Videos does not exist")
