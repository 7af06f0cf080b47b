"""MSCOCO: filters, the assumed camera, supplied fits, and damaged files."""

import json

import cv2
import numpy as np
import pytest

from pipeline.camera import make_crop, warp_to_crop
from pipeline.errors import InputError
from pipeline.preprocess.shard import crop_joints_2d
from pipeline.skeletons import COCO, HUMAN36M
from pipeline.sources import open_source
from pipeline.sources.coco_people import _score, placing_of
from tests.pipeline.people import striped


def person(identity, image_id, visibility=None, **changes):
    rng = np.random.default_rng(identity)
    v = [2] * 17 if visibility is None else visibility
    keypoints = np.stack([rng.integers(10, 90, 17), rng.integers(10, 60, 17), v], 1)
    keypoints[keypoints[:, 2] == 0] = 0
    return {
        "id": identity,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "area": 900.0,
        "bbox": [8.0, 9.0, 84.5, 52.25],
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "keypoints": keypoints.ravel().tolist(),
        "segmentation": [],
    } | changes


def dataset(root, people, part="val2017", images=(785, 99)):
    """MSCOCO's layout with 100 x 75 images."""
    (root / "annotations").mkdir(exist_ok=True)
    (root / part).mkdir(exist_ok=True)
    entries = []
    for identity in images:
        name = f"{identity:012d}.jpg"
        cv2.imwrite(str(root / part / name), striped(75, 100, 128))
        entries.append({"id": identity, "file_name": name, "width": 100, "height": 75})
    path = root / "annotations" / f"person_keypoints_{part}.json"
    content = {"info": {}, "licenses": [], "images": entries, "annotations": people, "categories": []}
    path.write_text(json.dumps(content))
    return path


def read(root, **options):
    source = open_source("coco", root, **options)
    return source.read()


def test_one_person_is_one_instant(tmp_path):
    dataset(tmp_path, [person(7, 785, [0, 1, 2] + [2] * 14), person(12, 99), person(3, 785)])
    instants, report = read(tmp_path)
    assert [i.id for i in instants] == ["val2017/000000000099/12", "val2017/000000000785/3", "val2017/000000000785/7"]
    assert not report.rejects and {i.split for i in instants} == {"validation"}
    found, (view,) = instants[2], instants[2].views
    assert found.joints_3d is None and not found.has_world and found.subject is None and view.id == f"{found.id}/0"
    assert view.image_path == "val2017/000000000785.jpg" and view.box.tolist() == [8.0, 9.0, 84.5, 52.25]
    assert view.confidence.tolist() == [0] + [1] * 16 and view.joints_2d[0].tolist() == [0, 0]


def test_keypoint_order_is_the_datasets(tmp_path):
    parts = ("eye", "ear", "sho", "elb", "wri", "hip", "knee", "ank")
    names = ["nose"] + [side + part for part in parts for side in "lr"]
    long = {"l": "left_", "r": "right_"}
    short = {"sho": "shoulder", "elb": "elbow", "wri": "wrist", "ank": "ankle"}
    expected = ["nose"] + [long[n[0]] + short.get(n[1:], n[1:]) for n in names[1:]]
    assert list(COCO.names) == expected


def test_labelled_but_hidden_keypoints_count_and_unlabelled_ones_do_not(tmp_path):
    """v: 0 not labelled, 1 labelled but not visible, 2 visible."""
    dataset(tmp_path, [person(1, 785, [0, 1, 2] + [1] * 14)])
    assert read(tmp_path)[0][0].views[0].confidence.tolist() == [0] + [1] * 16


def test_the_camera_is_assumed_unless_a_focal_length_is_given(tmp_path):
    dataset(tmp_path, [person(1, 785)])
    camera = read(tmp_path)[0][0].views[0].camera
    assert camera.assumed and camera.K.tolist() == [[125, 0, 49.5], [0, 125, 37], [0, 0, 1]]
    camera = read(tmp_path, focal=500.0)[0][0].views[0].camera
    assert not camera.assumed and camera.K[0, 0] == camera.K[1, 1] == 500
    with pytest.raises(InputError, match="focal is -2"):
        read(tmp_path, focal=-2)


def test_crowds_and_people_without_keypoints_are_skipped_not_rejected(tmp_path):
    twelve = [0] * 5 + [2] * 12
    people = [
        person(1, 785),
        person(2, 785, iscrowd=1),
        person(3, 785, [0] * 17),
        person(4, 785, [2] * 11 + [0] * 6),
        person(5, 785, twelve),
    ]
    dataset(tmp_path, people)
    instants, report = read(tmp_path)
    assert [i.id.split("/")[-1] for i in instants] == ["1", "4", "5"] and not report.rejects
    assert report.skipped == {"crowd": 1, "no labelled keypoint": 1} and report.annotated == {"val2017": (5, 5)}
    instants, report = read(tmp_path, people="complete")  # SPIN's filter
    assert [i.id.split("/")[-1] for i in instants] == ["1", "5"]
    assert report.skipped["not all twelve body joints labelled"] == 1
    with pytest.raises(InputError, match="people is 'tall'; choose one of labelled, complete"):
        read(tmp_path, people="tall")


def test_truncated_people_are_kept_with_what_the_image_shows_of_them(tmp_path):
    """The legs below the image's border: not labelled, so not seen. The box ends at the border, its crop goes on in black."""
    seen = [2] * 11 + [0] * 6
    dataset(tmp_path, [person(1, 785, seen, bbox=[20.0, 30.0, 60.0, 45.0])])
    (instant,), report = read(tmp_path)
    (view,) = instant.views
    assert view.confidence.tolist() == [1] * 11 + [0] * 6 and not view.joints_2d[11:].any() and not report.rejects
    crop = make_crop(view.camera, view.box, 64, 80)
    pixels, valid = crop_joints_2d(view, instant.joint_set, crop)
    gone = {"pelvis", *(f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "ankle"))}
    assert not valid[HUMAN36M.indices(tuple(gone))].any() and valid[HUMAN36M.index("left_wrist")]
    image = warp_to_crop(striped(75, 100, 128), view.camera, crop)
    assert image[40].any() and not image[-1].any()


def test_train_and_val_are_the_training_and_validation_splits(tmp_path):
    dataset(tmp_path, [person(1, 785)])
    dataset(tmp_path, [person(1, 785)], part="train2017")
    instants, report = read(tmp_path)
    assert [(i.id, i.split) for i in instants] == [
        ("train2017/000000000785/1", "train"),
        ("val2017/000000000785/1", "validation"),
    ]
    parts = ("train2017", "val2017")
    assert sorted(open_source("coco", tmp_path).fingerprint()) == [
        f"annotations/person_keypoints_{part}.json" for part in parts
    ]


def test_pictures_that_are_trained_and_validated_on_are_told(tmp_path):
    def remarks():
        return [text for text in open_source("coco", tmp_path).read()[1].doubts if "trained on" in text]

    dataset(tmp_path, [person(1, 785), person(2, 99)])
    dataset(tmp_path, [person(1, 785)], part="train2017", images=(785, 7))
    assert remarks() == [
        "1 of 2 pictures of val2017 are pictures of train2017, too: what is validated on was trained on"
    ]
    cv2.imwrite(str(tmp_path / "train2017" / f"{785:012d}.jpg"), striped(75, 100, 60))
    assert not remarks(), "another picture of the same name"
    (tmp_path / "train2017" / f"{785:012d}.jpg").unlink()
    assert not remarks()
    (tmp_path / "train2017" / f"{785:012d}.jpg").mkdir()  # no file that can be read
    assert not remarks()
    source = open_source("coco", tmp_path)
    assert source.read()[1].doubts == source.read()[1].doubts


def test_neural_annot_fits_come_with_their_camera(tmp_path):
    """Their parameters are in camera coordinates: with another camera they would project elsewhere."""
    dataset(tmp_path, [person(1, 785), person(2, 785)], part="train2017")
    parameters = {
        "root_pose": [0.1, 0.2, 0.3],
        "body_pose": [0.4] * 63,
        "shape": [0.5] * 10,
        "trans": [0.6, 0.7, 8.0],
        "lhand_pose": [9.0] * 45,
        "rhand_pose": [9.0] * 45,
        "jaw_pose": [0.1] * 3,
        "expr": [0.2] * 10,
        "lhand_valid": True,
        "rhand_valid": True,
        "face_valid": True,
    }
    fits = {"1": {"smplx_param": parameters, "cam_param": {"focal": [700.0, 710.0], "princpt": [50.0, 37.5]}}}
    path = tmp_path / "annotations" / "MSCOCO_train_SMPLX_all_NeuralAnnot.json"
    path.write_text(json.dumps(fits))
    (with_fit, without), report = read(tmp_path)
    assert with_fit.views[0].camera.K.tolist() == [[700, 0, 50], [0, 710, 37.5], [0, 0, 1]]
    assert with_fit.supplied.transl.tolist() == [0.6, 0.7, 8] and with_fit.supplied.expression.tolist() == [0.2] * 10
    assert not with_fit.supplied.left_hand_pose.any()  # relative to a mean hand that only the model file knows
    assert without.supplied is None and without.views[0].camera.K[0, 0] == 125
    assert path.name in " ".join(open_source("coco", tmp_path).fingerprint())
    fits["1"]["smplx_param"]["body_pose"].pop()
    path.write_text(json.dumps(fits))
    with pytest.raises(InputError, match="body_pose has 62 numbers, expected 63"):
        read(tmp_path)


@pytest.mark.parametrize(
    "camera",
    [
        {"focal": [float("nan"), 700.0], "princpt": [50.0, 37.5]},
        {"focal": [700.0, 0.0], "princpt": [50.0, 37.5]},
        {"focal": [700.0, -710.0], "princpt": [50.0, 37.5]},
        {"focal": [700.0, 710.0], "princpt": [float("inf"), 37.5]},
    ],
)
def test_a_supplied_fit_whose_camera_is_none_rejects_its_person(tmp_path, camera):
    dataset(tmp_path, [person(1, 785), person(2, 785)], part="train2017")
    parameters = {
        "root_pose": [0.1] * 3,
        "body_pose": [0.4] * 63,
        "shape": [0.5] * 10,
        "trans": [0.6, 0.7, 8.0],
        "jaw_pose": [0.1] * 3,
        "expr": [0.2] * 10,
    }
    path = tmp_path / "annotations" / "MSCOCO_train_SMPLX_all_NeuralAnnot.json"
    path.write_text(json.dumps({"1": {"smplx_param": parameters, "cam_param": camera}}))
    instants, report = read(tmp_path)
    assert [i.id for i in instants] == ["train2017/000000000785/2"]
    (reject,) = report.rejects
    assert (
        reject.key == "train2017/000000000785/1" and "the supplied fit's camera needs finite numbers" in reject.reason
    )


def test_smplifyx_fits_are_smpl_despite_their_name(tmp_path):
    dataset(tmp_path, [person(1, 785)], part="train2017")
    (tmp_path / "annotations" / "coco_smplifyx_train.json").write_text("{}")
    instants, report = read(tmp_path)
    assert instants[0].supplied is None and "SMPL (despite its name)" in open_source("coco", tmp_path).notices()[0]
    with pytest.raises(InputError, match="both smpl .* and regressor"):
        read(tmp_path, smpl=tmp_path)


def test_smplifyx_fits_are_read_where_there_are_smpl_files(tmp_path):
    dataset(tmp_path, [person(1, 785), person(2, 785)], part="train2017")
    np.save(tmp_path / "r.npy", np.zeros((17, 6890)))
    fit = {
        "smpl_param": {"pose": [0.1] * 72, "shape": [0.2] * 10, "trans": [0.3, 0.4, 7.0]},
        "cam_param": {"focal": [700.0, 710.0], "princpt": [50.0, 37.5]},
    }
    path = tmp_path / "annotations" / "coco_smplifyx_train.json"
    path.write_text(json.dumps({"1": fit}))
    source = open_source("coco", tmp_path, smpl=tmp_path, regressor=tmp_path / "r.npy")
    given, without = source.instants()
    assert (
        given.supplied.gender == "neutral" and given.supplied.trans.tolist() == [0.3, 0.4, 7] and not source.notices()
    )
    assert given.supplied.pose.shape == (72,) and given.views[0].camera.K.tolist() == [
        [700, 0, 50],
        [0, 710, 37.5],
        [0, 0, 1],
    ]
    assert without.supplied is None and path.name in " ".join(source.fingerprint())
    path.write_text(json.dumps({"1": fit | {"smpl_param": {"pose": [0] * 69}}}))
    with pytest.raises(InputError, match="coco_smplifyx_train.json: .*/pose has 69 numbers, expected 72"):
        read(tmp_path, smpl=tmp_path, regressor=tmp_path / "r.npy")


def test_bad_people_are_rejected_and_the_run_goes_on(tmp_path):
    nan = person(2, 785)
    nan["keypoints"][0] = float("nan")
    people = [
        person(1, 785),
        nan,
        person(3, 785, bbox=[1, 2, 0, 9]),
        person(4, 785, bbox=[1, float("nan"), 3, 9]),
        person(5, 785, [0] * 17, num_keypoints=3),
        person(6, 99),
    ]
    dataset(tmp_path, people)
    (tmp_path / "val2017" / f"{99:012d}.jpg").unlink()
    instants, report = read(tmp_path)
    assert [i.id for i in instants] == ["val2017/000000000785/1"]
    reasons = {r.key.split("/")[-1]: r.reason.split(": ")[-1] for r in report.rejects}
    assert reasons == {
        "2": "a keypoint is not finite",
        "3": "the box has no area",
        "4": "the box is not finite",
        "5": "no visible joint",
        "6": "the image does not exist",
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iscrowd": "0"}, "annotations/7/iscrowd is '0'. Write 0 for a person, 1 for a crowd"),
        ({"iscrowd": None}, "annotations/7/iscrowd is 'None'"),
        ({"image_id": 785.0}, "annotations/image_id is '785.0', expected a whole number. Write it without"),
        ({"image_id": "785"}, "annotations/image_id is '785', expected a whole number"),
    ],
)
def test_values_of_another_kind_are_named(tmp_path, change, reason):
    """A text is true whatever it says: everybody would be a crowd."""
    dataset(tmp_path, [person(7, 785) | change])
    with pytest.raises(InputError, match=f"person_keypoints_val2017.json: {reason}"):
        read(tmp_path)


def test_a_count_of_keypoints_that_is_wrong_hides_nobody(tmp_path):
    dataset(tmp_path, [person(7, 785, num_keypoints=0), person(8, 785), person(9, 785, [0] * 17)])
    instants, report = read(tmp_path)
    assert len(instants) == 1 and report.skipped == {"no labelled keypoint": 1}
    assert [r.reason for r in report.rejects] == ["num_keypoints is 0, and some of its keypoints are labelled"]


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="has no annotations/person_keypoints_train2017.json"):
        read(tmp_path)
    path = dataset(tmp_path, [person(1, 785), person(1, 99)])
    with pytest.raises(InputError, match="the id of (image|annotation) .* occurs twice"):
        read(tmp_path)
    dataset(tmp_path, [person(1, 785, keypoints=[1, 2, 2] * 16)])
    with pytest.raises(InputError, match="annotations/1/keypoints has 48 numbers, expected 51"):
        read(tmp_path)
    dataset(tmp_path, [person(1, 4)])
    with pytest.raises(InputError, match="has no key images/4"):
        read(tmp_path)
    dataset(tmp_path, [{"id": 1}])
    with pytest.raises(InputError, match="no usable id \\('image_id'\\)"):
        read(tmp_path)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(InputError, match="is not complete JSON"):
        read(tmp_path)
    dataset(tmp_path, [person(1, 785)])
    text = path.read_text()
    path.write_text(text.replace(f"{785:012d}.jpg", "../../etc/passwd"))
    with pytest.raises(InputError, match="leads out of the dataset's folder"):
        read(tmp_path)
    path.write_text(text.replace('"width": ', '"width": 1' + 40 * "0"))
    with pytest.raises(InputError, match="pixels large, which no picture is; the annotation is damaged"):
        read(tmp_path)
    path.write_text(json.dumps(json.loads(text) | {"images": 2 * json.loads(text)["images"]}))
    with pytest.raises(InputError, match="the id of (image|annotation) .* occurs twice"):
        read(tmp_path)


def test_any_value_of_another_type_is_refused_or_rejected(tmp_path):
    """Nothing but InputError or a counted reject may follow, whatever lies where."""
    path = dataset(tmp_path, [person(1, 785), person(2, 99)])
    text, rng, refused = path.read_text(), np.random.default_rng(0), 0
    for _ in range(80):
        data = json.loads(text)
        entry = data[str(rng.choice(["images", "annotations"]))]
        keys = list(entry[0])
        holder, key = (entry, 0) if rng.random() < 0.2 else (entry[0], keys[int(rng.integers(len(keys)))])
        holder[key] = [None, "x", -1, 3.5, [], {}, [[1, 2]], True, {"a": 1}][int(rng.integers(9))]
        path.write_text(json.dumps(data))
        try:
            read(tmp_path)
        except InputError as error:
            assert path.name in str(error) or "leads out" in str(error)
            refused += 1
    assert refused > 20


def test_a_file_with_two_kinds_of_people_is_refused(tmp_path):
    """Whose joints have other names under the same number."""
    names = list(COCO.names)
    one, other = ({"id": k, "name": "person", "keypoints": n} for k, n in ((1, names), (2, names[::-1])))
    assert len(placing_of([one, one], tmp_path).theirs) == 17
    with pytest.raises(InputError, match="2 categories of people with different keypoints"):
        placing_of([one, other], tmp_path)


def test_visibilities_that_mscoco_does_not_have_are_named_with_their_value(tmp_path):
    """AI Challenger has 3 where a joint is not labelled."""
    assert "a keypoint's visibility is 3, where" in _score(np.array([1.0, 2, 3, 0]))
    assert "the score 0.87, where" in _score(np.array([0.87, 2.0]))
    assert _score(np.array([0.0, 1, 2])) is None
