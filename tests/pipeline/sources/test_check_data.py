"""`nvf-cli check-data`: counts, gaps, signs of data that do not belong together, exit codes and JSON."""

import json
import pickle
import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.check_data import command
from pipeline.errors import InputError
from pipeline.skeletons import SMPL_24
from pipeline.sources import open_source, parse_options
from pipeline.sources.check import check_source
from pipeline.sources.human36m.counts import TEST, TEST_CAMERA_4, TRAIN
from pipeline.sources.parsing import array, load_json
from tests.pipeline.people import TO_CAMERA, standing, striped


@pytest.fixture
def captured(annotated_root, tmp_path):
    """The small recording under the mark of a synthetic capture, which no known count applies to."""
    shutil.copytree(annotated_root / "annotations", tmp_path / "annotations")
    shutil.copytree(annotated_root / "images", tmp_path / "images")
    (tmp_path / "synthetic.json").write_text("{}")
    return tmp_path


def run(*arguments):
    """Exit code, and the JSON that standard output holds (and nothing else)."""
    result = CliRunner().invoke(command, [*map(str, arguments), "--json"])
    code = 2 if isinstance(result.exception, InputError) else result.exit_code
    return code, json.loads(result.stdout)


def test_all_is_well(captured, tmp_path):
    picture = tmp_path / "look" / "sheet.png"
    code, report = run("human36m", captured, "--picture", picture)
    assert code == 0 and report["problems"] == [] and report["missing_images"] == 0
    assert (report["instants"], report["views"]) == (34, 133)
    assert report["by_subject"] == {"S1": 72, "S11": 17, "S8": 24, "S9": 20}
    assert report["by_split"] == {"train": 20, "validation": 8, "test": 15} and report["sampled"] == 43
    assert report["subjects"]["S1"] == {"instants": 18, "views": 72, "sampled": 20}
    sheet = cv2.imread(str(picture))
    assert sheet.shape[1] == 1280 and sheet.std() > 5
    result = CliRunner().invoke(command, ["human36m", str(captured)])
    assert result.exit_code == 0 and "no problems" in result.output and "S11" in result.output


def test_missing_and_damaged_images_are_listed(captured):
    views = [v for i in open_source("human36m", captured).instants() for v in i.views]
    (captured / views[0].image_path).unlink()
    for view in views[4:8]:
        (captured / view.image_path).write_bytes(b"broken")
    for view in views[8:16]:
        cv2.imwrite(str(captured / view.image_path), np.zeros((view.camera.height, view.camera.width, 3), np.uint8))
    code, report = run("human36m", captured)
    assert code == 1 and report["missing_images"] == 1 and report["sampled"] == 42
    assert any("1 left out: the image does not exist (first: S1/Directions-1/000000/1" in p for p in report["problems"])
    assert any("cannot be decoded" in p for p in report["problems"])
    assert any(
        "of a single colour where the person is" in p and "2 of the views looked at" in p for p in report["problems"]
    )


def test_a_recorded_set_is_compared_with_the_known_counts(annotated_root):
    code, report = run("human36m", annotated_root)
    assert code == 1 and report["recorded"]
    assert any("test, 4 cameras: 15 views, Human3.6M has 8695" in p for p in report["problems"])
    assert any("S5, S6, S7 are not there, or not readable" in notice for notice in report["notices"])
    assert (TRAIN[5], TEST[64], TEST_CAMERA_4[64], TEST_CAMERA_4[5]) == (
        312188,
        8695,
        2181,
        27558,
    )
    code, report = run("human36m", annotated_root, "--subjects", "S1")
    assert code == 0 and list(report["by_subject"]) == ["S1"]


def test_what_cannot_be_read_at_all(tmp_path):
    code, report = run("human36m", tmp_path)
    assert code == 2 and "neither annotations/" in report["problems"][0] and report["views"] == report["instants"] == 0
    code, report = run("imagenet", tmp_path)
    assert code == 2 and "no source 'imagenet'" in report["problems"][0]


def test_one_broken_subject_does_not_hide_the_others(captured):
    path = captured / "annotations" / "Human36M_subject8_joint_3d.json"
    path.write_text(path.read_text()[:-500])
    code, report = run("human36m", captured)
    assert code == 1 and report["problems"][0].startswith(f"S8 cannot be read: {path} is not complete JSON")
    assert len(report["problems"]) == 1 and report["by_subject"] == {"S1": 72, "S11": 17, "S8": 24, "S9": 20}
    assert report["by_split"] == {"train": 20, "test": 15} and report["subjects"]["S8"]["sampled"] == 0
    with pytest.raises(InputError, match="not complete JSON"):  # what makes shards does not go on
        list(open_source("human36m", captured).instants())


def test_a_dataset_with_every_subject_broken_cannot_be_read(captured):
    for path in (captured / "annotations").glob("*_camera.json"):
        path.write_text("{")
    code, report = run("human36m", captured)
    assert (
        code == 2
        and "Human36M_subject1_camera.json is not complete JSON" in report["problems"][0]
        and report["views"] == 0
    )


def test_counts_are_not_compared_where_a_subject_is_broken(annotated_root, tmp_path):
    shutil.copytree(annotated_root / "annotations", tmp_path / "annotations")
    (tmp_path / "images").symlink_to(annotated_root / "images")
    (tmp_path / "annotations" / "Human36M_subject9_joint_3d.json").write_text("{")
    _, report = run("human36m", tmp_path)
    assert len(report["problems"]) == 1 and any(
        "S9 are not there, or not readable" in notice for notice in report["notices"]
    )


def test_sequences_of_3dpw_are_counted_and_a_part_is_no_problem(tmp_path):
    for split, name in (("train", "a"), ("train", "b"), ("test", "c")):
        write_sequence(tmp_path, split, name)
    code, report = run("threedpw", tmp_path)
    assert (
        code == 0
        and "Not all of 3DPW: 2 of 24 train, 0 of 12 validation, 1 of 24 test sequences are there." in report["notices"]
    )
    (tmp_path / "sequenceFiles" / "train" / "a.pkl").write_bytes(b"cut")
    code, report = run("threedpw", tmp_path)
    assert (
        code == 1
        and report["problems"][0].startswith("a cannot be read: ")
        and report["by_split"] == {"train": 1, "test": 1}
    )


def write_sequence(root, split, name):
    """One person in one image."""
    joints = standing(SMPL_24.names)[None] @ TO_CAMERA + [0, 0, 4]
    track = {
        "cam_poses": np.eye(4)[None],
        "cam_intrinsics": np.array([[100.0, 0, 60], [0, 100, 45], [0, 0, 1]]),
        "genders": ["m"],
        "jointPositions": [joints.reshape(1, 72)],
        "campose_valid": [np.ones(1)],
        "poses": [np.zeros((1, 72))],
        "trans": [np.zeros((1, 3))],
        "betas": [np.zeros(10)],
    }
    (root / "sequenceFiles" / split).mkdir(parents=True, exist_ok=True)
    (root / "sequenceFiles" / split / f"{name}.pkl").write_bytes(pickle.dumps(track, 2))
    (root / "imageFiles" / name).mkdir(parents=True)
    cv2.imwrite(str(root / "imageFiles" / name / "image_00000.jpg"), striped(90, 120))


def test_metadata_without_frame_counts_is_noted(released_root, tmp_path):
    shutil.copytree(released_root / "S8", tmp_path / "S8")
    text = (released_root / "metadata.xml").read_text()
    (tmp_path / "metadata.xml").write_text(text)
    assert not any("has no frames" in notice for notice in run("human36m", tmp_path)[1]["notices"])
    (tmp_path / "metadata.xml").write_text(text.replace("frames>", "other>"))
    notices = run("human36m", tmp_path)[1]["notices"]
    assert any("metadata.xml has no frames" in notice and "not compared" in notice for notice in notices)


def test_people_that_the_filters_leave_out_are_no_problem(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    face = [(50, 12), (52, 10), (48, 10), (54, 11), (46, 11)]
    arms = [(58, 22), (42, 22), (62, 34), (38, 34), (63, 45), (37, 45)]
    legs = [(55, 45), (45, 45), (55, 56), (45, 56), (55, 66), (45, 66)]
    keypoints = [value for x, y in face + arms + legs for value in (x, y, 2)]
    person = {"iscrowd": 0, "num_keypoints": 17, "keypoints": keypoints, "bbox": [34, 6, 32, 64], "image_id": 1}
    people = [person | {"id": 1}, person | {"id": 2, "iscrowd": 1}]
    images = [{"id": 1, "file_name": "1.png", "width": 100, "height": 75}]
    path = tmp_path / "annotations" / "person_keypoints_val2017.json"
    path.write_text(json.dumps({"images": images, "annotations": people}))
    cv2.imwrite(str(tmp_path / "val2017" / "1.png"), striped(75, 100))
    code, report = run("coco", tmp_path)
    assert code == 0 and report["skipped"] == {"crowd": 1} and report["by_subject"] == {"val2017": 2}
    assert report["by_split"] == {"validation": 1}
    cv2.imwrite(str(tmp_path / "val2017" / "1.png"), striped(100, 75))
    code, report = run("coco", tmp_path)
    assert code == 1 and "has 75 x 100 pixels, its annotation says 100 x 75" in report["problems"][0]
    path.write_text(json.dumps({"images": images, "annotations": people[1:]}))
    code, report = run("coco", tmp_path)
    assert code == 1 and report["problems"] == ["nothing is left to use"]


def test_json_whose_t_is_the_camera_centre_is_flagged(captured):
    """An old converter writes T of R (X - T); every loader, and the distributed JSON, has t = -R T of R X + t."""
    for path in (captured / "annotations").glob("*_camera.json"):
        cameras = json.loads(path.read_text())
        for camera in cameras.values():
            camera["t"] = (-np.array(camera["R"]).T @ camera["t"]).tolist()
        path.write_text(json.dumps(cameras))
    code, report = run("human36m", captured)
    assert code == 1 and any("as if t were the camera's centre" in problem for problem in report["problems"])


def test_a_picture_that_cannot_be_written(captured):
    source = open_source("human36m", captured)
    with pytest.raises(InputError, match="ends in .png"):
        check_source(source, captured / "sheet.tiff7")
    report = check_source(source, captured / "synthetic.json" / "sheet.png")
    assert report["picture"] is None and report["sampled"] == 43
    assert any(problem.startswith("the picture is not written: ") for problem in report["problems"])


def test_options_are_written_as_key_value(tmp_path, captured):
    report = run("human36m", captured, "-o", "subjects=S1", "-o", "every_train=10")[1]
    assert report["sampled"] == 12 and list(report["by_subject"]) == ["S1"]  # frames 0 and 10, and 0
    assert parse_options("human36m", ["every_test=5", "final=true", "subjects=S1,S9"]) == {
        "every_test": 5,
        "final": True,
        "subjects": ("S1", "S9"),
    }
    assert parse_options("threedpw", [f"smpl={tmp_path}"]) == {"smpl": str(tmp_path)}
    assert parse_options("openpose", ["confidence=0.3", "split=train"]) == {"confidence": 0.3, "split": "train"}
    for pair, pattern in (
        ("colour=red", "no option colour"),
        ("final", "write key=value"),
        ("every_test=five", "takes a number"),
        ("final=maybe", "takes true or false"),
    ):
        with pytest.raises(InputError, match=pattern):
            parse_options("human36m", [pair])


@pytest.mark.parametrize("text", ['{"a": ' + "9" * 5000 + "}", '{"a": ' * 100_000, "\udcff", '{"a": 1,}'])
def test_json_of_every_damage_is_named(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="a.json is"):
        load_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="a.json: x is not an array of 1 numbers"):
        array([10**400], (1,), tmp_path / "a.json", "x")
