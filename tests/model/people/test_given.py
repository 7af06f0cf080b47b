"""Boxes and keypoints of the user's are read in the formats that detectors write, and what is wrong in them is named."""

import json

import numpy as np
import pytest

from model.people.given import check_box, read_boxes, read_keypoints
from model.people.photographs import photograph_camera
from model.people.records import Picture
from pipeline.errors import InputError
from pipeline.skeletons import COCO as COCO_17
from pipeline.skeletons import IMAGE_JOINTS, JOINT_SETS
from pipeline.sources.joint_names import LAYOUTS
from tests.pipeline.people import standing


def picture(name: str, frame: int | None = None) -> Picture:
    shown = name if frame is None else f"{name}#frame={frame}"
    return Picture(shown, np.zeros((90, 120, 3), np.uint8), photograph_camera(120, 90, None), frame)


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


ENTRIES = [
    {"image": "in/a.jpg", "box": [1, 2, 30, 40], "score": 0.9},
    {"image": "in/a.jpg", "box": [5, 2, 30, 40]},
    {"image": "v.mp4", "frame": 3, "box": [1, 2, 3, 4], "track": 2},
]
COCO = {
    "images": [{"id": 4, "file_name": "a.jpg"}],
    "annotations": [
        {"image_id": 4, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.9},
        {"image_id": 4, "category_id": 18, "bbox": [0, 0, 9, 9]},
        {"image_id": 4, "category_id": 1, "bbox": [5, 2, 30, 40]},
    ],
}
CSV = "image,x,y,width,height,score,frame,track\nin/a.jpg,1,2,30,40,0.9,,\nin/a.jpg,5,2,30,40,,,\nv.mp4,1,2,3,4,,3,2\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("b.json", ENTRIES),
        ("b.json", {"people": ENTRIES}),
        ("b.json", {"in/a.jpg": [[1, 2, 30, 40], [5, 2, 30, 40]]}),
        ("b.json", "\ufeff" + json.dumps(ENTRIES).replace(" ", "\r\n")),
        ("b.json", COCO),
        ("b.csv", CSV),
        ("b.csv", "\ufeff" + CSV.replace("\n", "\r\n")),
    ],
)
def test_boxes_are_found_by_the_path_or_the_name_of_a_picture(tmp_path, name, content):
    boxes = read_boxes(written(tmp_path / name, content))
    for asked in ("in/a.jpg", "elsewhere/a.jpg"):
        first, second = boxes(picture(asked))
        assert first.box.tolist() == [1, 2, 30, 40] and second.box.tolist() == [5, 2, 30, 40]
        assert first.source == "given" and second.score is None
    with pytest.raises(InputError, match="b.jpg: .*has no box of it"):
        boxes(picture("b.jpg"))
    if "v.mp4" in str(content):
        (moving,) = boxes(picture("v.mp4", 3))
        assert moving.track == 2 and boxes(picture("v.mp4", 4)) == []
        assert boxes.left() == []
        assert read_boxes(tmp_path / name).left()[-1] == "v.mp4, frame 3"


def test_a_name_of_several_pictures_is_not_guessed(tmp_path):
    boxes = read_boxes(written(tmp_path / "b.json", {"x/a.jpg": [[1, 2, 3, 4]], "y/a.jpg": [[1, 2, 3, 4]]}))
    assert len(boxes(picture("y/a.jpg"))) == 1
    with pytest.raises(InputError, match="several pictures of that name"):
        boxes(picture("z/a.jpg"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("b.json", "{", "not complete JSON"),
        ("b.json", "[", "not complete JSON"),
        ("b.json", [], "has no box"),
        ("b.json", [3], "entry 0 is '3', expected an object"),
        ("b.json", [{"box": [1, 2, 3, 4]}], 'entry 0 has no "image"'),
        ("b.json", [{"image": "a.jpg"}], "no key entry 0/bbox"),
        ("b.json", [{"image": "a.jpg", "box": [1, 2, 3]}], "entry 0/box has 3 numbers, expected 4"),
        ("b.json", [{"image": "a.jpg", "box": [1, 2, 0, 3]}], "width and height above 0"),
        ("b.json", [{"image": "a.jpg", "box": [1, 2, 3, 4], "score": "x"}], "the score 'x'"),
        ("b.json", [{"image": "a.jpg", "box": [1, 2, 3, 4], "frame": 1.5}], "expected a whole number"),
        ("b.json", {"a.jpg": 3}, "a.jpg is '3', expected a list"),
        ("b.json", COCO | {"images": [3]}, "images is '3', expected an object"),
        ("b.json", COCO | {"images": [{"id": 4}]}, "no key images/file_name"),
        ("b.json", COCO | {"images": 3}, "images is '3', expected a list"),
        ("b.json", COCO | {"categories": ["person"]}, "categories is 'person', expected an object"),
        ("b.json", COCO | {"annotations": [{"image_id": [4], "bbox": [1, 2, 3, 4]}]}, "no key images"),
        ("b.json", {"annotations": []}, "no key images"),
        ("b.json", [{"image": "a.jpg", "box": [1, 2, 3, 4], "score": True}], "the score 'True'"),
        ("b.csv", "image,x,y,width,height,score\na.jpg,1,2,3,4,inf\n", "the score 'inf'"),
        ("b.csv", "a.jpg,1,2,3,4\n", "has no box"),
        ("b.csv", "image,x,y\na.jpg,1,2\n", "line 2 has no width"),
        ("b.csv", "image,x,y,width,height\na.jpg,1,2,x,4\n", "line 2 is not an array of 4 numbers"),
        ("b.csv", "image,x,y,width,height\na.jpg,1,2,nan,4\n", "width and height above 0"),
        ("b.csv", "image,x,y,width,height\na.jpg,10,5,20,5,30,5,40,5\n", "more values than the first line has names"),
        ("b.csv", "image;x;y;width;height\na.jpg;1,5;2,5;3;4\n", "commas stand between the columns"),
    ],
)
def test_what_is_wrong_with_boxes_is_named(tmp_path, name, content, said):
    with pytest.raises(InputError, match=said):
        read_boxes(written(tmp_path / name, content))
    with pytest.raises(InputError, match="cannot be read|does not exist"):
        read_boxes(tmp_path / f"none{name[1:]}")


def points(count: int) -> list[float]:
    return [value for k in range(count) for value in (10.0 + k, 20.0 + 2 * k, 0.8)]


def test_openpose_keypoints_give_boxes(tmp_path):
    folder = tmp_path / "keypoints"
    folder.mkdir()
    places = standing(LAYOUTS["body25"])[:, :2] * [30, -40] + [60, 45]
    body = np.c_[places, np.full(25, 0.8)].ravel().tolist()
    written(folder / "a_keypoints.json", {"people": [{"pose_keypoints_2d": body}, {"pose_keypoints_2d": [0] * 75}]})
    written(folder / "v_000000000002_keypoints.json", {"people": [{"pose_keypoints_2d": points(17)}]})
    found = read_keypoints(folder)
    (box,) = found(picture("pictures/a.jpg"))
    assert (
        box.source == "keypoints"
        and box.keypoints.joint_set == "openpose_25"
        and (box.keypoints.confidence == 0.8).all()
    )
    low, size = places.min(0), np.ptp(places, 0)
    np.testing.assert_allclose(box.box, [*(low - 0.1 * size), *(1.2 * size)])
    (moving,) = found(picture("v.mp4", 2))
    assert moving.keypoints.joint_set == "coco_17"
    (one,) = read_keypoints(folder / "a_keypoints.json")(picture("a.png"))
    np.testing.assert_array_equal(one.box, box.box)


@pytest.mark.parametrize("layout", ["body25", "body25b", "coco18", "halpe26", "coco17 padded"])
def test_the_order_of_joints_is_told_by_the_bones(tmp_path, layout):
    """25 joints are BODY_25's or BODY_25B's, or a shorter order with zeros behind it."""
    places = {
        name: [60 + 30 * x, 45 - 40 * y, 0.9]
        for name, (x, y, _) in zip(IMAGE_JOINTS.names, standing(IMAGE_JOINTS.names), strict=True)
    }
    values = [value for name in LAYOUTS[layout.split()[0]] for value in places[name]]
    values += [0] * (75 - len(values)) if "padded" in layout else []
    for name in "ab":
        written(tmp_path / f"{name}_keypoints.json", {"people": [{"pose_keypoints_2d": values}]})
    (box,) = read_keypoints(tmp_path)(picture("a.jpg"))
    names = JOINT_SETS[box.keypoints.joint_set].names
    for name in ("nose", "left_wrist", "right_knee", "left_ankle"):
        assert box.keypoints.points[names.index(name)].tolist() == places[name][:2]


def test_mscoco_keypoints_are_read_by_their_names(tmp_path):
    """Any order under the same count, as PoseTrack's."""
    order = [COCO_17.names[k] for k in np.random.default_rng(0).permutation(17)]
    places = {name: [10.0 + 3 * k, 70.0 - 4 * k, 2] for k, name in enumerate(COCO_17.names)}
    person = {"image_id": 4, "category_id": 1, "keypoints": [value for name in order for value in places[name]]}
    people = {"id": 1, "name": "person", "keypoints": order}
    content = COCO | {"annotations": [person], "categories": [people]}
    (box,) = read_keypoints(written(tmp_path / "k.json", content))(picture("a.jpg"))
    assert box.keypoints.points.tolist() == [places[name][:2] for name in COCO_17.names]
    unknown = content | {"categories": [people | {"keypoints": [*order[:16], "tail"]}]}
    with pytest.raises(InputError, match="the keypoints tail, which are not known here"):
        read_keypoints(written(tmp_path / "k.json", unknown))


def test_the_room_about_keypoints_ends_at_the_border(tmp_path):
    """Somebody who stands at a picture's lower edge is in it; keypoints of a larger picture are not."""
    one = picture("a.png")
    height, width = one.pixels.shape[:2]
    places = np.stack([np.linspace(width / 2, width - 2, 17), np.linspace(2, height - 2, 17), np.full(17, 0.9)], 1)
    for scale, is_there in ((1.0, True), (2.0, False)):
        values = (places * [scale, scale, 1]).ravel().tolist()
        file = written(tmp_path / f"{scale}.json", COCO | {"annotations": [{"image_id": 4, "keypoints": values}]})
        (box,) = read_keypoints(file)(picture("a.jpg"))
        right, low = box.box[:2] + box.box[2:]
        if is_there:
            check_box(box.box, width, height)
            assert right == width and low == height and box.box[1] == 0
        else:
            with pytest.raises(InputError, match="beyond the image"):
                check_box(box.box, width, height)


def test_a_dot_in_a_name_is_no_ending(tmp_path):
    """Somebody else's keypoints are not taken, whatever a name is cut down to."""
    for name in ("IMG.2", "my.walk_000000000003"):
        written(tmp_path / f"{name}_keypoints.json", {"people": [{"pose_keypoints_2d": points(25)}]})
    found = read_keypoints(tmp_path)
    for other in ("IMG.jpg", "my.jpg"):
        with pytest.raises(InputError, match="has no box of it"):
            found(picture(other))
    assert found(picture("my.mp4", 3)) == [] and found(picture("walk.mp4", 3)) == []
    assert len(found(picture("IMG.2.jpg"))) == len(found(picture("in/my.walk.mp4", 3))) == 1
    boxes = read_boxes(written(tmp_path / "b.json", {"IMG.2": [[1, 2, 3, 4]], "b.1.jpg": [[1, 2, 3, 4]]}))
    with pytest.raises(InputError, match="has no box of it"):
        boxes(picture("IMG.jpg"))
    assert len(boxes(picture("IMG.2.jpg"))) == len(boxes(picture("b.1.png"))) == 1


def test_frames_that_were_used_are_not_said_to_be_left(tmp_path):
    for k in range(3):
        written(tmp_path / f"walk_{k:012d}_keypoints.json", {"people": [{"pose_keypoints_2d": points(25)}]})
    found = read_keypoints(tmp_path)
    assert [len(found(picture("walk.mp4", k))) for k in (0, 2)] == [1, 1]
    assert found.left() == ["walk_000000000001"]
    assert list(found.remarks()) == [
        f"{tmp_path}: 1 of its pictures were not given to predict, walk_000000000001 for one."
    ]


def test_crowds_are_nobodys_box_and_are_counted(tmp_path):
    crowd = {"image_id": 4, "category_id": 1, "bbox": [0, 0, 90, 80], "iscrowd": 1, "keypoints": [0] * 51}
    person = {"image_id": 4, "category_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 0, "keypoints": points(17)}
    images = [{"id": 4, "file_name": "a.jpg"}, {"id": 5, "file_name": "b.jpg"}]
    content = {"images": images, "annotations": [crowd, person, crowd | {"image_id": 5}]}
    path = written(tmp_path / "b.json", content)
    for found in (read_boxes(path), read_keypoints(path)):
        assert len(found(picture("a.jpg"))) == 1 and found(picture("b.jpg")) == []
        assert list(found.remarks()) == [f"{path}: 2 crowds were left out; a crowd is not one person."]
    listed = [{"image": "a.jpg", "bbox": entry["bbox"], "iscrowd": entry["iscrowd"]} for entry in (crowd, person)]
    (box,) = read_boxes(written(path, listed))(picture("a.jpg"))
    assert box.box.tolist() == [1, 2, 30, 40]
    with pytest.raises(InputError, match=r"has no box \(1 crowd was left out\)"):
        read_boxes(written(path, content | {"annotations": [crowd]}))
    for wrong in ("0", 2, None, [1]):
        with pytest.raises(InputError, match="annotations/0 has iscrowd .*expected 0 or 1"):
            read_boxes(written(path, content | {"annotations": [crowd | {"iscrowd": wrong}]}))


def test_people_of_too_few_joints_are_counted(tmp_path):
    """They were left out without a word."""
    few, lost = points(25), [float("inf")] + points(25)[1:]
    few[11:] = [0.0] * len(few[11:])  # three joints and a half
    people = [{"pose_keypoints_2d": some} for some in (points(25), few, lost)]
    written(tmp_path / "a_keypoints.json", {"people": people})
    content = {
        "images": [{"id": 4, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 4, "keypoints": some} for some in (points(17), [0] * 51)],
    }
    for path, count in ((tmp_path, 2), (written(tmp_path / "b.json", content), 1)):
        found = read_keypoints(path)
        assert len(found(picture("a.jpg"))) == 1
        assert list(found.remarks()) == [
            f"{path}: of people of fewer than 4 joints above 0.1, {count} in all, nothing was predicted."
        ]


def test_a_box_that_stands_twice_is_one_person(tmp_path):
    twice = {"a.jpg": [[1, 2, 30, 40], [5, 2, 30, 40], [1.0, 2, 30, 40]], "b.jpg": [[1, 2, 30, 40]]}
    path = written(tmp_path / "b.json", twice)
    boxes = read_boxes(path)
    assert [box.box[0] for box in boxes(picture("a.jpg"))] == [1, 5] and len(boxes(picture("b.jpg"))) == 1
    assert list(boxes.remarks()) == [f"{path}: 1 boxes stand in it twice in the same picture, and are one person each."]


def test_mscoco_keypoints_give_boxes(tmp_path):
    person = {"image_id": 4, "category_id": 1, "keypoints": points(15) + [0, 0, 0] * 2, "score": 0.7}
    path = written(tmp_path / "k.json", COCO | {"annotations": [person]})
    (box,) = read_keypoints(path)(picture("a.jpg"))
    assert (
        box.score == 0.7 and box.keypoints.confidence[15:].tolist() == [0, 0] and box.keypoints.joint_set == "coco_17"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (COCO | {"annotations": [{"image_id": 4, "keypoints": [float("nan")] * 51}]}, "not finite"),
        (COCO | {"annotations": [{"image_id": 4, "keypoints": 3}]}, "keypoints has no list"),
        ([], "neither MSCOCO's JSON"),
        ({"annotations": [{"image_id": 1}]}, "no key images"),
        ("x", "not complete JSON"),
    ],
)
def test_what_is_wrong_with_keypoints_is_named(tmp_path, content, said):
    with pytest.raises(InputError, match=said):
        read_keypoints(written(tmp_path / "k.json", content))
    (tmp_path / "none").mkdir(exist_ok=True)
    with pytest.raises(InputError, match="has no file NAME_keypoints.json"):
        read_keypoints(tmp_path / "none")


@pytest.mark.parametrize(
    "content", [{"v.mp4#frame=3": [[1, 2, 3, 4]]}, CSV.splitlines()[0] + "\nv.mp4#frame=3,1,2,3,4,,,\n"]
)
def test_a_frame_may_stand_in_the_name(tmp_path, content):
    """As predictions and messages name it."""
    boxes = read_boxes(written(tmp_path / ("b.json" if isinstance(content, dict) else "b.csv"), content))
    assert [box.box.tolist() for box in boxes(picture("v.mp4", 3))] == [[1, 2, 3, 4]]
    boxes.require_frames(["v.mp4"])


def moving(frame: int) -> Picture:
    """A frame in which somebody in red walks to the right and somebody in blue stands."""
    one = picture("v.mp4", frame)
    one.pixels[20:60, 5 + 4 * frame : 25 + 4 * frame, 0] = 250
    one.pixels[20:60, 90:110, 2] = 250
    return Picture(one.name, one.pixels, one.camera, frame, frame / 25)


def test_people_of_a_video_whose_file_has_no_tracks_are_followed(tmp_path):
    """Whatever order each frame has them in; a file that says who is who is believed."""
    red, blue = ([5 + 4 * k, 20, 20, 40] for k in range(5)), [90, 20, 20, 40]
    entries = [
        {"image": "v.mp4", "frame": k, "box": box}
        for k, walker in enumerate(red)
        for box in ([walker, blue] if k % 2 else [blue, walker])
    ]
    boxes = read_boxes(written(tmp_path / "b.json", entries))
    numbers = [{int(box.box[0] == 90): box.track for box in boxes(moving(k))} for k in range(5)]
    assert numbers == [numbers[0]] * 5 and set(numbers[0].values()) == {1, 2}
    told = read_boxes(written(tmp_path / "t.json", [entry | {"track": 7} for entry in entries[::2]]))
    assert [box.track for k in range(5) for box in told(moving(k))] == [7] * 5


@pytest.mark.parametrize("content", [{"v.mp4": [[1, 2, 3, 4]]}, [{"image": "in/v.mp4", "box": [1, 2, 3, 4]}]])
def test_boxes_of_a_video_without_frames_are_refused(tmp_path, content):
    boxes = read_boxes(written(tmp_path / "b.json", content))
    boxes.require_frames(["w.mp4", "v.jpg"])
    with pytest.raises(InputError, match="b.json has boxes of the video x/v.mp4 that do not say of which frame"):
        boxes.require_frames(["w.mp4", "x/v.mp4"])


def test_a_track_that_is_two_people_of_one_frame_is_refused(tmp_path):
    """It would end in a fault when its motion is written, after the whole video."""
    entry = {"image": "v.mp4", "frame": 3, "box": [1, 2, 30, 40], "track": 2}
    assert len(read_boxes(written(tmp_path / "a.json", [entry, entry | {"frame": 4}])).boxes) == 2
    with pytest.raises(InputError, match="entry 1/box is of track 2, and v.mp4, frame 3 has that already"):
        read_boxes(written(tmp_path / "b.json", [entry, entry]))
