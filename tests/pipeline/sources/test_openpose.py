"""A folder of a user's own pictures with keypoints as OpenPose writes them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.skeletons import COCO, OPENPOSE_25, match_joints
from pipeline.sources import open_source
from tests.pipeline.people import standing, striped


def keypoints(count, seed, confidence=0.9, size=(120, 90)):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(5, size[0] - 5, count), rng.uniform(5, size[1] - 5, count)
    return np.stack([x, y, np.full(count, confidence)], 1)


def person(seed=0, **changes):
    given = {"person_id": [-1], "pose_keypoints_2d": keypoints(25, seed).ravel().tolist(), "pose_keypoints_3d": []}
    return given | changes


def picture(root, name, people, suffix=".jpg"):
    for folder in ("images", "keypoints"):
        (root / folder).mkdir(exist_ok=True)
    if suffix:
        cv2.imwrite(str(root / "images" / f"{name}{suffix}"), striped(90, 120, 60))
    (root / "keypoints" / f"{name}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": people}))
    return root


def read(root, **options):
    source = open_source("openpose", root, **options)
    return source.read()


def test_each_entry_of_people_is_an_instant(tmp_path):
    picture(tmp_path, "b", [person(1), person(2)], ".png")
    picture(tmp_path, "a", [person(k) for k in range(11)])
    picture(tmp_path, "empty", [])
    instants, report = read(tmp_path)
    ids = [i.id for i in instants]
    assert ids == sorted(ids) and set(ids) == {f"a/{k}" for k in range(11)} | {"b/0", "b/1"} and not report.rejects
    last = instants[-1]
    assert last.views[0].image_path == "images/b.png" and last.subject is None and last.split == "test"
    points = keypoints(25, 2)
    assert np.allclose(last.views[0].joints_2d, points[:, :2]) and np.allclose(last.views[0].confidence, 0.9)
    assert last.joint_set == OPENPOSE_25.name and report.annotated == {"": (13, 13)}
    assert {i.split for i in read(tmp_path, split="train")[0]} == {"train"}


def test_joints_not_seen_count_nowhere(tmp_path):
    points = keypoints(25, 0)
    points[3] = 0
    points[4, 2], points[5, 2] = 0.05, 0.3
    points[4, :2] = 5000
    picture(tmp_path, "a", [person(pose_keypoints_2d=points.ravel().tolist())])
    (instant,), _ = read(tmp_path)
    (view,) = instant.views
    assert view.confidence[[3, 4, 5]].tolist() == [0, 0, 0.3] and not view.joints_2d[[3, 4]].any()
    low, high = np.delete(points, [3, 4], 0)[:, :2].min(0), np.delete(points, [3, 4], 0)[:, :2].max(0)
    assert np.allclose(view.box[2:], 1.2 * (high - low)) and np.allclose(view.box[:2], low - 0.1 * (high - low))
    assert read(tmp_path, confidence=0.5)[0][0].views[0].confidence[5] == 0


def test_hands_and_face_come_as_their_own_sets(tmp_path):
    hand, face = keypoints(21, 3), keypoints(70, 4)
    hand[5, 2] = 0.01
    extra = {
        "hand_left_keypoints_2d": hand.ravel().tolist(),
        "hand_right_keypoints_2d": [0.0] * 63,
        "face_keypoints_2d": face.ravel().tolist(),
    }
    picture(tmp_path, "a", [person(**extra)])
    found = read(tmp_path)[0][0].views[0].keypoints_2d
    assert found.keys() == {"openpose_left_hand_21", "openpose_face_51"}  # a hand that was not seen is not there
    assert not found["openpose_left_hand_21"][5].any() and np.allclose(found["openpose_left_hand_21"][6], hand[6])
    assert np.allclose(found["openpose_face_51"], face[17:68])  # without the jaw line and the pupils


def test_camera_from_file_from_focal_length_or_assumed(tmp_path):
    picture(tmp_path, "a", [person()])
    camera = read(tmp_path)[0][0].views[0].camera
    assert camera.assumed and camera.K[0, 0] == 150 and (camera.width, camera.height) == (120, 90)
    camera = read(tmp_path, focal=300)[0][0].views[0].camera
    assert not camera.assumed and camera.K[1, 1] == 300
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"fx": 210, "fy": 220, "cx": 61, "cy": 44}))
    instants, report = read(tmp_path)
    assert instants[0].views[0].camera.K.tolist() == [[210, 0, 61], [0, 220, 44], [0, 0, 1]]
    assert not instants[0].views[0].camera.assumed and "camera.json" in open_source("openpose", tmp_path).fingerprint()
    path.write_text(json.dumps({"fx": 210, "fy": -1, "cx": 61, "cy": 44}))
    with pytest.raises(InputError, match="camera.json has fx, fy, cx, cy = 210"):
        read(tmp_path)
    path.write_text(json.dumps({"fx": 210, "fy": 220, "cx": 61}))
    with pytest.raises(InputError, match="camera.json has no key cy"):
        read(tmp_path)
    path.write_text(json.dumps({"fx": 2100, "fy": 2200, "cx": 610, "cy": 440}))
    instants, report = read(tmp_path)
    assert not instants and "120 x 90 pixels, but camera.json has its centre at 610" in report.rejects[0].reason


def test_bad_people_and_pictures_are_rejected_and_the_run_goes_on(tmp_path):
    few, nan = keypoints(25, 0), keypoints(25, 0)
    few[3:, 2] = 0
    nan[0, 0] = np.nan
    flat = keypoints(25, 0)
    flat[:, 1] = 40
    people = [person(pose_keypoints_2d=points.ravel().tolist()) for points in (few, nan, flat)]
    picture(tmp_path, "a", [*people, person()])
    picture(tmp_path, "gone", [person()], suffix="")
    picture(tmp_path, "html", [person()])
    (tmp_path / "images" / "html.jpg").write_text("<html>")
    picture(tmp_path, "turned", [person()])
    jpeg = (tmp_path / "images" / "turned.jpg").read_bytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "images" / "turned.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    instants, report = read(tmp_path)
    assert [i.id for i in instants] == ["a/3", "turned/0"]
    reasons = {r.key: r.reason for r in report.rejects}
    assert reasons.keys() == {"a/0", "a/1", "a/2", "gone", "html"}
    for key, part in (
        ("a/0", "3 joints above confidence 0.1"),
        ("a/1", "not finite"),
        ("a/2", "no area"),
        ("gone", "does not exist"),
        ("html", "cannot be decoded"),
    ):
        assert part in reasons[key]


def test_keypoints_that_cannot_be_opened_are_named_before_anything_is_made(tmp_path):
    picture(tmp_path, "a", [person()])
    (file,) = tmp_path.rglob("a_keypoints.json")
    file.unlink()
    file.symlink_to(file)
    for look in (lambda source: source.read(), lambda source: source.fingerprint()):
        with pytest.raises(InputError, match="a_keypoints.json cannot be read .*symbolic links"):
            look(open_source("openpose", tmp_path))


def test_folders_and_files_of_another_layout_are_refused(tmp_path):
    with pytest.raises(InputError, match="has no folder images/"):
        read(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="has no folder keypoints/"):
        read(tmp_path)
    (tmp_path / "keypoints").mkdir()
    with pytest.raises(InputError, match="has no file NAME_keypoints.json"):
        read(tmp_path)
    picture(tmp_path, "a", [person(pose_keypoints_2d=[1.0] * 54)])  # an older model's 18 joints
    with pytest.raises(
        InputError, match="pose_keypoints_2d has 54 numbers, expected 75. -o layout=coco18 reads 18 joints"
    ):
        read(tmp_path)
    picture(tmp_path, "a", {"0": person()})
    with pytest.raises(InputError, match="people is .*expected a list"):
        read(tmp_path)
    picture(tmp_path, "a", [person()], ".png")  # beside a.jpg
    with pytest.raises(InputError, match="both a.jpg and a.png"):
        read(tmp_path)
    for option, value in (("confidence", 2), ("split", "dev"), ("focal", -3)):
        with pytest.raises(InputError, match=f"{option} is '?{value}"):
            read(tmp_path, **{option: value})


def test_the_script_of_the_own_data_page_writes_what_the_reader_reads(tmp_path, monkeypatch):
    """docs/own-data.md turns MSCOCO's 17 keypoints into BODY_25; joints keep their names on the way."""
    page = (Path(__file__).parents[3] / "docs" / "own-data.md").read_text()
    script = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(script, namespace)
    picture(tmp_path / "mydata", "0001", [])  # image, and a keypoint file that the script writes anew
    coco = keypoints(17, 5)
    coco[COCO.index("left_wrist")] = 0
    namespace["write_keypoints"](tmp_path / "mydata" / "keypoints", "0001", [coco])
    (instant,), report = read(tmp_path / "mydata")
    theirs, ours = match_joints(COCO, OPENPOSE_25)
    (view,) = instant.views
    assert len(theirs) == 17 and np.allclose(view.joints_2d[ours], coco[theirs, :2])
    hips = coco[[COCO.index("left_hip"), COCO.index("right_hip")], :2]
    assert np.allclose(view.joints_2d[OPENPOSE_25.index("pelvis")], hips.mean(0))
    assert view.confidence[OPENPOSE_25.index("left_wrist")] == 0 and (view.confidence > 0).sum() == 18


def test_a_video_stands_for_the_pictures(tmp_path):
    for frame in (0, 2, 9):
        picture(tmp_path, f"v_{frame:012d}", [person(frame)], suffix="")
    (tmp_path / "images").rmdir()
    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30, (120, 90))
    for k in range(5):
        writer.write(np.full((90, 120, 3), 40 * k, np.uint8))
    writer.release()
    instants, report = read(tmp_path)
    assert [(i.frame, i.views[0].image_path) for i in instants] == [(0, "v.mp4#frame=0"), (2, "v.mp4#frame=2")]
    assert "the video has 5 frames" in report.rejects[0].reason
    shown = read_image(tmp_path, instants[1].views[0].image_path, (120, 90))
    assert abs(shown.mean() - 80) < 8


def test_two_videos_in_place_of_pictures_are_named(tmp_path):
    (tmp_path / "keypoints").mkdir()
    for name in ("a.mp4", "b.mov"):
        (tmp_path / name).touch()
    with pytest.raises(
        InputError, match="has no folder images/, and 2 videos: a.mp4, b.mov. Give a folder .* one video"
    ):
        open_source("openpose", tmp_path)


def test_a_video_whose_keypoints_stand_still_is_asked_about(tmp_path):
    """As of files that were copied, or of a detector that was stuck."""
    (tmp_path / "keypoints").mkdir()
    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30, (120, 90))
    for frame in range(9):
        points = 30 + 40 * standing(COCO.names)[:, :2] * [1, -1] + [20 + 0.5 * min(frame, 3), 15]
        person = {"pose_keypoints_2d": np.c_[points, np.full(17, 0.9)].ravel().tolist()}
        (tmp_path / "keypoints" / f"v_{frame:012d}_keypoints.json").write_text(json.dumps({"people": [person]}))
        writer.write(striped(90, 120))
    writer.release()
    doubts = open_source("openpose", tmp_path, layout="coco17").read()[1].doubts
    assert [d for d in doubts if d.startswith("the keypoints of v.mp4 are those of the frame before in 5 of 9 frames")]


def test_people_of_files_of_another_length_are_compared(tmp_path):
    """25 joints of which the last are zeros count as 17; where one of them is not, as they are."""
    for folder in ("keypoints", "images"):
        (tmp_path / folder).mkdir()
    entries = []
    for k in range(2):
        points = np.zeros((25, 3))
        points[:17] = np.c_[30 + 40 * standing(COCO.names)[:, :2] * [1, -1] + [20 + 30 * k, 15], np.full(17, 0.9)]
        points[20] = [5.0, 5.0, 0.5 * k]
        entries.append({"pose_keypoints_2d": points.ravel().tolist()})
    (tmp_path / "keypoints" / "a_keypoints.json").write_text(json.dumps({"people": entries}))
    cv2.imwrite(str(tmp_path / "images" / "a.png"), striped(90, 160))
    instants, report = open_source("openpose", tmp_path, layout="coco17").read()
    assert len(instants) == 2 and not report.rejects and not [d for d in report.doubts if "twice" in d]
