"""Wrong data is never taken for right data: each mistake is a counted reject with its likely cause, the same for every command."""

import json
import shutil
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.check_data import command as check_data
from cli.fit import command as fit
from cli.preprocess import command as preprocess
from pipeline.camera import distort, from_opencv, project, tight_box, world_to_camera
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.plausible import few_joints, odd_bones, odd_camera, odd_view
from pipeline.plausible_people import odd_people, swapped_sides
from pipeline.records import Camera
from pipeline.skeletons import COCO, HUMAN36M, IMAGE_JOINTS, JOINT_SETS, OPENPOSE_25, SMPL_24
from pipeline.sources import open_source
from pipeline.sources.joint_names import LAYOUTS, canonical, likely_layout, place
from tests.pipeline.people import TO_CAMERA, standing
from tests.pipeline.sources.test_images import encoded

SIZE = (640, 480)
K = np.array([[800.0, 0, 319.5], [0, 800.0, 239.5], [0, 0, 1]])


def photographed(names, at=(0.0, 0.0, 4.0), seed=None) -> np.ndarray:
    """(J, 2) pixels of a standing person in a picture of SIZE; with a seed the joints are moved by some centimetres."""
    points = standing(names)
    if seed is not None:
        points = points + np.random.default_rng(seed).normal(0, 0.04, points.shape)
    return project(Camera(K, np.eye(3), np.zeros(3), *SIZE), points @ TO_CAMERA + at)


# --- datasets as people have them


def write_coco(root, people, names=COCO.names, categories=None, size=SIZE):
    """people: one (J, 3) x, y, v each, or that and changes of the annotation. All in one picture of grey noise."""
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    cv2.imwrite(str(root / "val2017" / "a.png"), np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8))
    annotations = []
    for k, person in enumerate(people):
        keypoints, changes = person if isinstance(person, tuple) else (person, {})
        box = tight_box(keypoints[keypoints[:, 2] > 0, :2], 0)
        annotations.append(
            {
                "id": k,
                "image_id": 5,
                "category_id": 1,
                "iscrowd": 0,
                "num_keypoints": len(keypoints),
                "keypoints": keypoints.ravel().tolist(),
                "bbox": box.tolist(),
            }
            | changes
        )
    content = {
        "images": [{"id": 5, "file_name": "a.png", "width": size[0], "height": size[1]}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(names)}] if categories is None else categories,
    }
    (root / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(content))
    return root


def labelled(names=COCO.names, factor=1.0, shift=(0, 0), **where):
    return np.c_[photographed(names, **where) * factor + shift, np.full(len(names), 2)]


def write_openpose(root, pictures, suffix=".png"):
    """pictures: name -> people, each (N, 3) x, y, confidence or a whole entry of the file."""
    (root / "images").mkdir(parents=True)
    (root / "keypoints").mkdir()
    for name, people in pictures.items():
        noise = np.random.default_rng(1).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
        cv2.imwrite(str(root / "images" / f"{name}{suffix}"), noise)
        entries = [p if isinstance(p, dict) else {"pose_keypoints_2d": np.ravel(p).tolist()} for p in people]
        (root / "keypoints" / f"{name}_keypoints.json").write_text(json.dumps({"people": entries}))
    return root


def detected(layout="body25", factor=1.0, shift=(0, 0), **where):
    names = LAYOUTS[layout]
    return np.c_[photographed(names, **where) * factor + shift, np.full(len(names), 0.9)]


def check(source, root, *options):
    result = CliRunner().invoke(check_data, [source, str(root), "--json", *options])
    assert result.exception is None or isinstance(result.exception, SystemExit | InputError), result.exception
    return json.loads(result.stdout)


def reasons(source, root, **options):
    instants, report = open_source(source, root, **options).read()
    return [i.id for i in instants], Counter(r.reason.rsplit(": ", 1)[-1] for r in report.rejects)


# --- keypoints of another image


def test_good_people_pass(tmp_path):
    people = [dict(at=(x, 0, 4.0), seed=x + 1) for x in (-1, 0, 1)]
    assert len(reasons("coco", write_coco(tmp_path / "c", [labelled(**p) for p in people]))[0]) == 3
    ids, left = reasons("openpose", write_openpose(tmp_path / "o", {"a": [detected(**p) for p in people]}))
    assert len(ids) == 3 and not left
    for source, root in (("coco", tmp_path / "c"), ("openpose", tmp_path / "o")):
        assert check(source, root)["problems"] == []


@pytest.mark.parametrize("source", ["coco", "openpose"])
@pytest.mark.parametrize(
    "factor, shift, cause",
    [
        (2.0, (0, 0), "as if the image were 2.0 times as large"),
        (1.5, (0, 0), "as if the image were 1.5 times as large"),
        (1.0, (1900, 0), "times as large, or they were shifted by 1900 pixels in x"),
        (1.0, (0, -900), "as if they were shifted, or of another image"),
    ],
)
def test_keypoints_outside_the_picture_are_counted_rejects_with_the_guess(tmp_path, source, factor, shift, cause):
    """Joints at another scale or elsewhere made valid fits on black crops."""
    where = dict(factor=factor, shift=shift, at=(1.2 if factor > 1 else 0.0, 0.0, 4.0))
    if source == "coco":
        write_coco(tmp_path / "d", [labelled(**where)])
    else:
        write_openpose(tmp_path / "d", {"a": [detected(**where)]})
    ids, left = reasons(source, tmp_path / "d")
    assert ids == [] and sum(left.values()) == 1
    assert cause in next(iter(left))
    report = check(source, tmp_path / "d")
    assert report["problems"][0] == "nothing is left to use" and cause in report["problems"][1]


@pytest.mark.parametrize("source", ["coco", "openpose"])
def test_who_happens_to_lie_inside_goes_with_the_picture(tmp_path, source):
    """At twice the scale a person in the upper left corner is still in the picture; the others are not."""
    places = [(-1.2, -0.4, 6.0), (1.0, 0.3, 4.0), (0.6, 0.4, 4.0)]
    if source == "coco":
        write_coco(tmp_path / "d", [labelled(factor=2.0, at=place) for place in places])
    else:
        write_openpose(tmp_path / "d", {"a": [detected(factor=2.0, at=place) for place in places]})
    ids, left = reasons(source, tmp_path / "d")
    assert ids == [] and any("the picture's other people lie outside it" in reason for reason in left)


def test_pictures_that_happen_to_hold_their_people_go_with_the_folder(tmp_path):
    pictures = {f"{k}": [detected(factor=2.0, at=(0.9, 0.2, 4.0))] for k in range(4)}
    write_openpose(tmp_path / "d", pictures | {"in": [detected(factor=2.0, at=(-1.2, -0.4, 6.0))]})
    ids, left = reasons("openpose", tmp_path / "d")
    assert ids == [] and any("other people's joints lie outside their images, as if" in reason for reason in left)


def test_a_person_whom_the_border_cuts_is_kept(tmp_path):
    """A detector guesses joints a little beyond the border."""
    person = detected(at=(1.45, 0.0, 4.0))
    assert (person[:, 0] > SIZE[0]).any() and (person[:, 0] > SIZE[0]).mean() < 0.4
    other = [detected(at=(x, 0.0, 4.0)) for x in (-1.0, 0.0)]
    assert reasons("openpose", write_openpose(tmp_path / "d", {"a": [person], "b": other, "c": other}))[0] == [
        "a/0",
        "b/0",
        "b/1",
        "c/0",
        "c/1",
    ]


@pytest.mark.parametrize("source", ["coco", "openpose"])
@pytest.mark.parametrize("below", [False, True])
def test_normalised_keypoints_are_named(tmp_path, source, below):
    half = np.array(SIZE) / (2 if below else 1)
    change = dict(factor=1 / half, shift=(-1, -1) if below else (0, 0))
    if source == "coco":
        write_coco(tmp_path / "d", [(labelled(**change), {"bbox": [100.0, 50.0, 300.0, 400.0]})])
    else:
        write_openpose(tmp_path / "d", {"a": [detected(**change)]})
    ids, left = reasons(source, tmp_path / "d")
    assert ids == [] and f"normalised to {'-1' if below else '0'} .. 1" in next(iter(left))


def test_judging_many_people_is_one_pass(tmp_path):
    """The rule by itself: a fifth of all pictures decides."""
    names = COCO.names
    inside, outside = photographed(names), photographed(names) + [SIZE[0], 0]
    sizes = np.tile(SIZE, (10, 1))
    for count, everyone in ((1, False), (2, False), (3, True)):
        points = np.array([outside] * count + [inside] * (10 - count))
        found = odd_people(points, np.ones(points.shape[:2], bool), np.arange(10), sizes)
        assert all(found[:count]) and all(bool(reason) == everyone for reason in found[count:])
    assert odd_people(np.zeros((0, 17, 2)), np.zeros((0, 17), bool), np.zeros(0, int), sizes) == []


# --- names and orders of joints


def test_coco_files_name_their_joints(tmp_path):
    """PoseTrack has head_bottom and head_top where MSCOCO has eyes; others have MSCOCO's joints in another order."""
    posetrack = ("nose", "head_bottom", "head_top", *COCO.names[3:])
    person = np.c_[photographed([canonical(name) for name in posetrack]), np.full(17, 2)]
    write_coco(tmp_path / "p", [person], names=posetrack)
    (instant,), _ = open_source("coco", tmp_path / "p").read()
    joint_set = JOINT_SETS[instant.joint_set]
    seen = {name for name, c in zip(joint_set.names, instant.views[0].confidence, strict=True) if c}
    assert joint_set is IMAGE_JOINTS and seen == {"nose", "upper_neck", "head_top", *COCO.names[3:]}
    assert np.allclose(instant.views[0].joints_2d[IMAGE_JOINTS.index("head_top")], person[2, :2])
    order = list(np.random.default_rng(0).permutation(17))
    write_coco(tmp_path / "o", [labelled()[order]], names=[COCO.names[k] for k in order])
    (instant,), _ = open_source("coco", tmp_path / "o").read()
    assert instant.joint_set == COCO.name and np.allclose(instant.views[0].joints_2d, labelled()[:, :2])


def test_a_coco_file_of_human36m_s_joints_holds_its_joint_set(tmp_path):
    """As public converters name and order them; with one joint less they are joints of images."""
    sides = [[f"{side}_{part}" for part in parts] for side in ("right", "left") for parts in (("hip", "knee", "foot"),)]
    arms = [f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")]
    names = ["root (pelvis)", *sides[0], *sides[1], "spine", "thorax", "neck_base", "head", *arms]
    person = np.c_[100 + 10.0 * np.arange(17), np.where(np.arange(17) % 2, 150, 250), np.full(17, 2)]
    write_coco(tmp_path / "h", [person], names=names)
    (instant,), _ = open_source("coco", tmp_path / "h").read()
    assert instant.joint_set == HUMAN36M.name and np.allclose(instant.views[0].joints_2d, person[:, :2])
    fewer = ["root", *(name.replace("foot", "ankle") for name in names[1:] if name != "neck_base")]
    assert place(fewer, "here").joint_set is IMAGE_JOINTS
    short = [
        "Hip",
        "RHip",
        "RKnee",
        "RFoot",
        "LHip",
        "LKnee",
        "LFoot",
        "Spine",
        "Thorax",
        "Neck/Nose",
        "Head",
        "LShoulder",
        "LElbow",
    ]
    short += ["LWrist", "RShoulder", "RElbow", "RWrist"]
    assert place(short, "here").joint_set is HUMAN36M
    with pytest.raises(InputError, match="neck_base, which are not known here.*or all of Human3.6M's: pelvis"):
        place([*fewer, "neck_base", "left_eye"], "here")


def test_keypoints_without_a_known_name_are_refused(tmp_path):
    for names, pattern in (
        (("nose", "left_gill", *COCO.names[2:]), "has the keypoints left_gill, which are not known here"),
        (("nose", "nose", *COCO.names[2:]), "has the keypoint nose twice"),
        (COCO.names[:16], "keypoints has 51 numbers, expected 48"),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with pytest.raises(InputError, match=pattern):
            open_source("coco", write_coco(folder, [labelled()], names=names)).read()


@pytest.mark.parametrize(
    "written, name",
    [
        ("L_Shoulder", "left_shoulder"),
        ("right ankle", "right_ankle"),
        ("lsho", "left_shoulder"),
        ("rkne", "right_knee"),
        ("RElbow", "right_elbow"),
        ("head_bottom", "upper_neck"),
        ("LBigToe", "left_big_toe"),
        ("root", "pelvis"),
        ("leg", "leg"),
    ],
)
def test_names_as_people_write_them(written, name):
    assert canonical(written) == name


# Those that fit into OpenPose's 25 numbers.
SHORT = [name for name, names in LAYOUTS.items() if len(names) <= 25]


@pytest.mark.parametrize("written", SHORT)
@pytest.mark.parametrize("given", SHORT)
def test_the_order_of_joints_is_told_from_the_bones(tmp_path, written, given):
    """25, 18 or 17 numbers, the short ones padded to 25 as converters do: the wrong reading names the right one, which reads
    every joint to its name."""
    people = [detected(written, at=(x, 0, 4.0), seed=x + 1) for x in (-1, 0, 1)]
    padded = [np.concatenate([p, np.zeros((25 - len(p), 3))]) for p in people]
    write_openpose(tmp_path / "d", {"a": padded})
    instants, report = open_source("openpose", tmp_path / "d", layout=given).read()
    same = {written, given} <= {"coco17", "body25b"}  # the same joints in the same places, as far as both go
    if written != given and not same:
        assert not instants and len(report.rejects) == 3
        assert f"the joints look like {written} and not {given}; -o layout={written} reads" in report.rejects[0].reason
        return
    view, joint_set = instants[0].views[0], JOINT_SETS[instants[0].joint_set]
    both = [name for name in LAYOUTS[written] if name in LAYOUTS[given]]
    for name in both:
        assert np.allclose(view.joints_2d[joint_set.index(name)], people[0][LAYOUTS[written].index(name), :2])
    assert (view.confidence > 0).sum() == len(both)


def test_26_joints_are_read_and_a_file_of_17_is_told_what_reads_it(tmp_path):
    person = detected("halpe26", at=(0, 0, 4.0))
    root = write_openpose(tmp_path / "halpe", {"a": [person]})
    with pytest.raises(InputError, match="-o layout=halpe26 reads 26 joints"):
        open_source("openpose", root).read()
    [instant] = open_source("openpose", root, layout="halpe26").read()[0]
    heel = JOINT_SETS[instant.joint_set].index("right_heel")
    assert np.allclose(instant.views[0].joints_2d[heel], person[25, :2])
    root = write_openpose(tmp_path / "coco", {"a": [detected("coco17", at=(0, 0, 4.0))]})
    with pytest.raises(InputError, match="-o layout=coco17 reads 17 joints"):
        open_source("openpose", root).read()


@pytest.mark.parametrize("seed", range(4))
def test_an_order_that_nobody_knows_is_a_doubt(tmp_path, seed):
    """One person is enough: the bones of joints in a wrong order are long."""
    person, order = detected("coco17", at=(0, 0, 4.0)), np.random.default_rng(seed).permutation(17)
    root = write_openpose(tmp_path / "o", {"a": [person[order]]})
    assert "in another order than their names" in open_source("openpose", root, layout="coco17").read()[1].doubts[0]
    root = write_coco(tmp_path / "c", [labelled(at=(0, 0, 4.0))[order]])
    assert "in another order than their names" in open_source("coco", root).read()[1].doubts[0]


def test_human36ms_order_in_a_coco_file_that_names_nothing_is_a_doubt(tmp_path):
    people = [labelled(HUMAN36M.names, at=(x, 0, 4.0)) for x in (-1, 0, 1)]
    root = write_coco(tmp_path, people, categories=[])
    assert "in another order than their names" in open_source("coco", root).read()[1].doubts[0]


def test_upper_bodies_are_in_no_wrong_order(tmp_path):
    for layout in ("body25", "coco17"):
        person, names = detected(layout, at=(0, 0, 4.0)), LAYOUTS[layout]
        person[[k for k, name in enumerate(names) if name.endswith(("knee", "ankle", "toe", "heel"))]] = 0
        root = write_openpose(tmp_path / layout, {"a": [person]})
        instants, report = open_source("openpose", root, layout=layout).read()
        assert len(instants) == 1 and not report.doubts


@pytest.mark.parametrize("place", [(0, 0), (-1, -1)])
def test_joints_that_were_not_seen_but_have_a_confidence_are_told(tmp_path, place):
    person = detected(at=(0, 0, 4.0))
    person[-6:] = [*place, 1]
    instants, report = open_source("openpose", write_openpose(tmp_path / "o", {"a": [person]})).read()
    assert not instants and "give those that were not seen the confidence 0" in report.rejects[0].reason
    annotation = labelled(at=(0, 0, 4.0))
    annotation[-2:] = [*place, 2]
    instants, report = open_source("coco", write_coco(tmp_path / "c", [annotation])).read()
    assert not instants and "give those that were not seen the confidence 0" in report.rejects[0].reason


def test_an_order_of_25_that_nobody_knows_is_read_as_far_as_it_is_known(tmp_path):
    """MSCOCO's 17, then neck, pelvis and feet: as BODY_25B its pelvis would be the top of the head."""
    names = LAYOUTS["body25"]
    order = [names.index(name) for name in (*LAYOUTS["coco17"], "neck", "pelvis", *names[19:])]
    person = detected("body25", at=(0, 0, 4.0))
    write_openpose(tmp_path, {"a": [person[order]]})
    for given in ("body25", "body25b", "coco18"):
        instants, report = open_source("openpose", tmp_path, layout=given).read()
        assert not instants and f"look like coco17 and not {given}; -o layout=coco17 reads" in report.rejects[0].reason
    [instant] = open_source("openpose", tmp_path, layout="coco17").read()[0]
    own = [names.index(name) for name in LAYOUTS["coco17"]]
    assert np.allclose(instant.views[0].joints_2d, person[own, :2])


def test_real_poses_are_read_in_their_own_order(tmp_path):
    """Bent and cut people, some joints unseen, are not taken for another order."""
    rng = np.random.default_rng(2)
    names = LAYOUTS["body25"]
    people = []
    for _ in range(200):
        pose = photographed(names) + rng.normal(0, 25, (25, 2))
        people.append(np.c_[pose, rng.random(25) > 0.3])
    for person in people:
        person[person[:, 2] == 0] = 0
    assert likely_layout(np.array(people), "body25") == "body25"
    assert sum(likely_layout(person[None], "body25") != "body25" for person in people) <= 4


def test_left_and_right_exchanged_in_everybody_is_a_doubt(tmp_path):
    flip = OPENPOSE_25.flip
    right = {f"{k}": [detected(at=(k / 8, 0, 4.0))] for k in range(8)}
    assert check("openpose", write_openpose(tmp_path / "r", right))["problems"] == []
    wrong = {name: [person[flip] for person in people] for name, people in right.items()}
    report = check("openpose", write_openpose(tmp_path / "w", wrong))
    assert "left and right are exchanged in 8 of 8 people whose face is seen" in report["problems"][0]
    points = np.array([people[0] for people in wrong.values()])
    away = points.copy()
    away[:, :, 0] = SIZE[0] - points[:, :, 0]  # seen from behind a face is not seen
    away[:, [OPENPOSE_25.index(n) for n in ("nose", "left_eye", "right_eye")], 2] = 0
    assert swapped_sides(away[..., :2], away[..., 2] > 0, OPENPOSE_25.names) == (0, 0)


def test_sides_exchanged_below_one_face_are_a_doubt(tmp_path):
    """One person is enough: no head turns so far. Whoever is seen from behind, and whose face a detector guessed, is right."""
    names = OPENPOSE_25.names
    person, behind = detected(), detected()
    behind[:, 0] = SIZE[0] - behind[:, 0]
    limbs = np.array([k for k, name in enumerate(names) if not name.endswith(("nose", "eye", "ear"))])
    flip = np.array(OPENPOSE_25.flip)
    for right in (person, behind):
        wrong = right.copy()
        wrong[limbs] = right[flip[limbs]]
        good = check("openpose", write_openpose(tmp_path / "r", {"a": [right]}))
        report = check("openpose", write_openpose(tmp_path / "w", {"a": [wrong]}))
        assert good["problems"] == [] and "exchanged from the shoulders down" in report["problems"][0]
        shutil.rmtree(tmp_path / "r")
        shutil.rmtree(tmp_path / "w")


@pytest.mark.parametrize("how, said", [("y", "stand on their heads"), ("xy", "lie: x and y exchanged")])
def test_people_upside_down_or_on_their_sides_are_a_doubt(tmp_path, how, said):
    def wrong(person):
        x, y, seen = person.T
        turned = (x, SIZE[1] - 1 - y) if how == "y" else (y, x)
        return np.where(seen[:, None] > 0, np.c_[(*turned, seen)], 0)

    people = {f"{k}": [detected(at=(k / 40, 0, 4.5))] for k in range(8)}
    assert check("openpose", write_openpose(tmp_path / "r", people))["problems"] == []
    turned = {name: [wrong(person) for person in found] for name, found in people.items()}
    assert any(said in problem for problem in check("openpose", write_openpose(tmp_path / "w", turned))["problems"])


# --- MSCOCO's other traps


def test_scores_corners_and_other_categories(tmp_path):
    scores = labelled()
    scores[:, 2] = 0.93
    ids, left = reasons("coco", write_coco(tmp_path / "s", [scores]))
    assert ids == [] and "a keypoint's third number is the score" in next(iter(left))
    people = [labelled(at=(x, 0, 4.0)) for x in (-1.0, 0.5)]
    corners = [(p, {"bbox": [*p[:, :2].min(0), *p[:, :2].max(0)]}) for p in people]
    ids, left = reasons("coco", write_coco(tmp_path / "c", corners))
    assert ids == [] and "the boxes are corners x1, y1, x2, y2" in next(iter(left))
    dog = {"id": 18, "name": "dog", "keypoints": ["nose"]}
    person = {"id": 1, "name": "person", "keypoints": list(COCO.names)}
    people = [labelled(), (labelled(), {"category_id": 18}), (labelled(), {"category_id": 7})]
    write_coco(tmp_path / "k", people, categories=[person, dog])
    instants, report = open_source("coco", tmp_path / "k").read()
    assert len(instants) == 1 and report.skipped == {"of the category dog": 1}
    assert [r.reason for r in report.rejects] == ["its category_id 7 is not a category of the file"]
    write_coco(tmp_path / "n", people, categories=9223372036854775808)
    with pytest.raises(InputError, match="categories is '9223372036854775808', expected a list"):
        open_source("coco", tmp_path / "n").read()


def test_a_box_that_is_not_the_persons(tmp_path):
    write_coco(tmp_path / "d", [(labelled(), {"bbox": [5.0, 5.0, 40.0, 60.0]})])
    assert "most joints lie outside the person's box" in next(iter(reasons("coco", tmp_path / "d")[1]))
    write_coco(tmp_path / "e", [(labelled(), {"bbox": [-900.0, 5.0, 2000.0, 2000.0]})])
    assert "the person's box lies outside the image" in next(iter(reasons("coco", tmp_path / "e")[1]))


def test_large_image_ids_keep_their_order(tmp_path):
    root = write_coco(tmp_path / "d", [labelled()])
    path = root / "annotations" / "person_keypoints_val2017.json"
    data = json.loads(path.read_text())
    numbers = [7, 5_000_000_123, 10**15, 10**19]
    data["images"] = [data["images"][0] | {"id": n} for n in numbers]
    data["annotations"] = [data["annotations"][0] | {"id": k, "image_id": n} for k, n in enumerate(numbers)]
    path.write_text(json.dumps(data))
    instants, report = open_source("coco", root).read()
    assert sorted(i.frame for i in instants) == numbers[:3]
    assert [r.reason for r in report.rejects] == [f"the frame or image number {10**19} does not fit 64 bits"]


# --- calibrations


def instant_of(annotated_root):
    return next(open_source("human36m", annotated_root).instants())


MISTAKES = {
    "R were transposed": lambda R, t: (R.T, t),
    "the camera were inverted (camera to world)": lambda R, t: (R.T, -R.T @ t),
    "t were the camera's centre": lambda R, t: (R, -R.T @ t),
    "t were in metres where millimetres are expected": lambda R, t: (R, t / 1000),
    "t were in millimetres where metres are expected": lambda R, t: (R, t * 1000),
    "the camera's axes were y up and z backward": lambda R, t: (np.diag([1, -1, -1]) @ R, np.diag([1, -1, -1]) @ t),
}


@pytest.mark.parametrize("cause", MISTAKES)
def test_the_likely_mistake_of_a_calibration_is_named(annotated_root, tmp_path, cause):
    """The same mistake in the file of every camera: all views are counted rejects, all of them say why, nothing is fitted."""
    shutil.copytree(annotated_root, tmp_path / "d")
    (tmp_path / "d" / "synthetic.json").write_text("{}")
    for path in (tmp_path / "d" / "annotations").glob("*_camera.json"):
        cameras = json.loads(path.read_text())
        for camera in cameras.values():
            R, t = MISTAKES[cause](np.array(camera["R"]), np.array(camera["t"]))
            camera["R"], camera["t"] = R.tolist(), t.tolist()
        path.write_text(json.dumps(cameras))
    picture = tmp_path / "sheet.png"
    report = check("human36m", tmp_path / "d", "--picture", str(picture))
    assert report["sampled"] == 0 and sum(report["rejects"].values()) == 43
    assert sum(n for reason, n in report["rejects"].items() if reason.endswith(f"as if {cause}")) >= 40, report[
        "rejects"
    ]
    sheet = cv2.imread(str(picture))
    assert sheet is not None and (sheet[3, 3] == [30, 30, 220]).all(), "what was left out is shown, framed in red"
    result = CliRunner().invoke(preprocess, ["human36m", str(tmp_path / "d"), str(tmp_path / "out"), "--workers", "0"])
    assert isinstance(result.exception, InputError) and f"as if {cause}" in str(result.exception)


def test_one_wrong_camera_goes_alone(annotated_root, tmp_path):
    shutil.copytree(annotated_root, tmp_path / "d")
    path = tmp_path / "d" / "annotations" / "Human36M_subject1_camera.json"
    cameras = json.loads(path.read_text())
    cameras["2"]["R"] = np.array(cameras["2"]["R"]).T.tolist()
    path.write_text(json.dumps(cameras))
    instants, report = open_source("human36m", tmp_path / "d", subjects=("S1",)).read()
    assert {v.camera_id for i in instants for v in i.views} == {"1", "3", "4"} and len(instants) == 5
    assert len(report.rejects) == 5 and all(r.key.endswith("/2") for r in report.rejects)


def test_boxes_of_another_image(annotated_root):
    instant = instant_of(annotated_root)
    view = instant.views[0]
    assert odd_view(instant, view) is None and odd_camera(view) == []
    small = replace(view, box=view.box / 2)
    assert "as if the boxes were of an image 0.5 times as large" in odd_view(instant, small)
    behind = replace(view.camera, R=np.diag([-1.0, 1, -1]) @ view.camera.R, t=np.diag([-1.0, 1, -1]) @ view.camera.t)
    assert "behind the camera" in odd_view(instant, replace(view, camera=behind))
    moved = replace(view.camera, t=view.camera.t + [0, 0, 40.0])
    local = world_to_camera(moved, instant.joints_3d)
    far = replace(view, camera=moved, joints_2d=project(moved, local))
    assert "do not overlap" in odd_view(instant, far)


def test_signs_of_a_camera_of_another_image(annotated_root):
    view = instant_of(annotated_root).views[0]

    def found(**changes):
        return " | ".join(odd_camera(replace(view, camera=replace(view.camera, **changes))))

    camera = view.camera
    assert "not a rotation" in found(R=camera.R * [[1], [1], [-1]])
    assert "far from the image size" in found(K=camera.K * [[0.01], [0.01], [1]])
    side = max(camera.width, camera.height)
    for sides, told in ((40, False), (80, True)):  # the longest lenses, and no lens
        K = np.array([[sides * side, 0, 50], [0, sides * side, 50], [0, 0, 1]])
        assert ("far from the image size" in found(K=K)) == told
    assert "principal point outside" in found(K=camera.K + [[0, 0, 900], [0, 0, 0], [0, 0, 0]])


# --- bodies


@pytest.mark.parametrize("joint_set", [HUMAN36M, SMPL_24, COCO, OPENPOSE_25])
def test_bones_that_nobody_has(joint_set):
    joints = standing(joint_set.names)
    for size in (0.35, 0.6, 1.0, 1.35):  # a newborn, a child, adults
        assert odd_bones(joint_set.name, size * joints) is None
    for scale, unit in (
        (0.001, "metres where millimetres are expected"),
        (0.1, "centimetres where millimetres are expected"),
        (1000, "millimetres where metres are expected"),
        (100, "centimetres where metres are expected"),
        (2.0, "2 times as long as a person's, as if the joints were in another unit"),
        (3.28, "3.3 times as long as a person's, as if the joints were in another unit"),
        (1e-7, "another unit"),
    ):
        assert unit in odd_bones(joint_set.name, scale * joints)
    joints[joint_set.index("left_wrist")] += [1.5, 0, 0]
    assert "the bone from left_elbow to left_wrist is 1." in odd_bones(joint_set.name, joints)
    valid = np.ones(len(joints), bool)
    valid[joint_set.index("left_wrist")] = False
    assert odd_bones(joint_set.name, joints, valid) is None


@pytest.mark.slow
def test_a_fit_and_check_data_agree_about_too_few_joints(tmp_path):
    """A note foretells what the fit will leave out; where nothing else is there it is a problem."""
    few = labelled()
    few[4:] = 0
    root = write_coco(tmp_path / "d", [few, labelled(at=(-0.8, 0, 4.0))])
    report = check("coco", root)
    assert report["problems"] == []
    assert report["notices"] == [
        "1 instants cannot be fitted and will be left out: 1 with 4 visible joints, a fit needs 6."
    ]
    result = CliRunner().invoke(fit, ["coco", str(root), str(tmp_path / "fits"), "--json"])
    assert [r["reason"] for r in json.loads(result.stdout)["rejects"]] == ["4 visible joints, a fit needs 6"]
    report = check("coco", write_coco(tmp_path / "e", [few]))
    assert report["problems"] == ["nothing is left to use"]
    (instant,), _ = open_source("coco", tmp_path / "e").read()
    assert few_joints(instant) == "4 visible joints, a fit needs 6"


# --- own pictures


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", ["upright", "stored", "refuse"])
def test_a_picture_with_an_orientation_flag(tmp_path, suffix, orientation):
    """A phone notes how the picture must be turned. Detectors count pixels of the upright picture, or of the stored one: either
    way the pixels and the joints that are read belong together."""
    upright = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    person = detected()
    for x, y in person[:, :2]:
        cv2.circle(upright, (round(x), round(y)), 7, (250, 250, 250), -1)
    stored = np.rot90(upright)  # shown by turning it clockwise: flag 6
    given = person.copy()
    if orientation == "stored":
        given[:, :2] = np.c_[person[:, 1], SIZE[0] - 1 - person[:, 0]]
    root = write_openpose(tmp_path / "d", {"a": [given]})
    (root / "images" / "a.png").unlink()
    (root / "images" / f"a{suffix}").write_bytes(encoded(suffix, np.ascontiguousarray(stored), 6))
    instants, report = open_source("openpose", root, orientation=orientation).read()
    if orientation == "refuse":
        assert not instants and "is stored turned (orientation flag 6)" in report.rejects[0].reason
        return
    (view,) = instants[0].views
    assert (view.camera.width, view.camera.height) == SIZE and np.allclose(view.joints_2d, person[:, :2])
    image = read_image(root, view.image_path, SIZE)
    at = np.round(view.joints_2d).astype(int)
    assert image[at[:, 1], at[:, 0]].min() > 220
    assert check("openpose", root, "-o", f"orientation={orientation}")["problems"] == []


@pytest.mark.parametrize("orientation", ["upright", "stored", "refuse"])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_video_that_a_phone_stored_turned(tmp_path, orientation, degrees):
    """Its header says how frames are shown. Keypoints are of the frames as they are shown, or as they are stored."""
    person, upright = detected(), np.full((SIZE[1], SIZE[0], 3), 30, np.uint8)
    for x, y in person[:, :2]:
        cv2.circle(upright, (round(x), round(y)), 9, (250, 250, 250), -1)
    stored = np.ascontiguousarray(np.rot90(upright, degrees // 90))
    root, video = write_openpose(tmp_path / "d", {"a0": [person]}), tmp_path / "d" / "a.mp4"
    shutil.rmtree(root / "images")
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), 25, stored.shape[1::-1])
    for _ in range(2):
        writer.write(stored)
    writer.release()
    turn_video(video, degrees)
    if orientation == "stored":
        x, y = person[:, 0], person[:, 1]
        w, h = SIZE[0] - 1, SIZE[1] - 1
        given = {90: np.c_[y, w - x], 180: np.c_[w - x, h - y], 270: np.c_[h - y, x]}[degrees]
        people = [{"pose_keypoints_2d": np.c_[given, person[:, 2]].ravel().tolist()}]
        (root / "keypoints" / "a0_keypoints.json").write_text(json.dumps({"people": people}))
    instants, report = open_source("openpose", root, orientation=orientation).read()
    if orientation == "refuse":
        assert not instants and "is stored turned (orientation flag" in report.rejects[0].reason
        return
    (view,) = instants[0].views
    assert np.allclose(view.joints_2d, person[:, :2])
    at = np.round(view.joints_2d).astype(int)
    assert read_image(root, view.image_path, SIZE)[at[:, 1], at[:, 0]].min() > 180


def turn_video(path: Path, degrees: int) -> None:
    """Has a video that is stored upright shown turned clockwise: the matrix of its track."""
    data = bytearray(path.read_bytes())
    c, s = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *(v << 16 for v in (c, s, 0, -s, c, 0, 0, 0)), 1 << 30)
    path.write_bytes(data)


def test_mirrored_storage_keeps_left_and_right_apart(tmp_path):
    root = write_openpose(tmp_path / "d", {"a": [detected()]})
    (root / "images" / "a.png").write_bytes(encoded(".png", np.zeros((SIZE[1], SIZE[0], 3), np.uint8), 2))
    assert len(open_source("openpose", root).read()[0]) == 1
    assert "stored mirrored" in open_source("openpose", root, orientation="stored").read()[1].rejects[0].reason


@pytest.mark.slow
def test_one_bad_image_is_one_reject(tmp_path):
    """A PNG that announces 100,000 x 100,000 pixels killed the shard and the check, and the good person with them."""
    root = write_openpose(tmp_path / "d", {"a": [detected()], "huge": [detected()], "odd": [detected()]})
    data = bytearray((root / "images" / "huge.png").read_bytes())
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    (root / "images" / "huge.png").write_bytes(data)
    (root / "images" / "odd.png").unlink()
    (root / "images" / "odd.heic").write_bytes(b"x")
    report = check("openpose", root)
    assert report["sampled"] == 1 and len(report["problems"]) == 2
    assert any("announces 100000 x 100000 pixels" in problem for problem in report["problems"])
    assert any("odd.heic is of a kind that is not read" in problem for problem in report["problems"])
    result = CliRunner().invoke(
        preprocess,
        ["openpose", str(root), str(tmp_path / "out"), "--workers", "0", "--crop-px", "64", "--pool", "600"],
        catch_exceptions=False,
    )
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert result.exit_code == 0 and run["views"] == 1 and {reject[0] for reject in run["rejects"]} == {"huge", "odd"}


def test_hands_and_faces_of_another_count_stop_nobody(tmp_path):
    entry = {
        "pose_keypoints_2d": detected().ravel().tolist(),
        "hand_left_keypoints_2d": [1.0] * 60,
        "face_keypoints_2d": [100.0, 100.0, 0.9] * 70,
    }
    root = write_openpose(tmp_path / "d", {"a": [entry]})
    (instant,), report = open_source("openpose", root).read()
    assert list(instant.views[0].keypoints_2d) == ["openpose_face_51"]
    (reject,) = report.rejects
    assert "hand_left_keypoints_2d has 60 numbers, expected 63" in reject.reason and "kept without it" in reject.reason


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".gif", ".webp", ".bmp", ".JPG"])
def test_every_kind_of_picture_is_found(tmp_path, suffix):
    root = write_openpose(tmp_path / "d", {"a": [detected()]}, suffix)
    assert check("openpose", root)["problems"] == []


def test_camera_json_holds_a_lens_or_is_refused(tmp_path):
    root = write_openpose(tmp_path / "d", {"a": [detected()]})
    lens = {"fx": 800, "fy": 800, "cx": 320, "cy": 240}
    path = root / "camera.json"
    path.write_text(json.dumps(lens | {"k1": -0.2, "k2": 0.05}))
    camera = open_source("openpose", root).read()[0][0].views[0].camera
    assert camera.distortion.tolist() == [-0.2, 0.05, 0, 0, 0]
    path.write_text(json.dumps(lens | {"k1": -0.2, "p1": 0.001, "p2": -0.0005, "k3": 0.01}))
    assert open_source("openpose", root).read()[0][0].views[0].camera.distortion[3:].any()
    path.write_text(json.dumps(lens | {"p1": 0.3}))
    assert "its distortion is off by" in open_source("openpose", root).read()[1].rejects[0].reason
    path.write_text(json.dumps(lens | {"k4": 0.1, "focal": 3}))
    with pytest.raises(InputError, match="camera.json has k4, focal, which is not read"):
        open_source("openpose", root)


def test_opencvs_lens_in_human36ms_model():
    """Against OpenCV's own projection."""
    coefficients = np.array([-0.21, 0.24, 0.0011, -0.0014, -0.003])
    found, apart = from_opencv(coefficients, K, *SIZE)
    grid = np.stack(np.meshgrid(np.linspace(-0.4, 0.4, 9), np.linspace(-0.3, 0.3, 9)), -1).reshape(-1, 2)
    theirs = cv2.projectPoints(np.c_[grid, np.ones(len(grid))], np.zeros(3), np.zeros(3), K, coefficients)[0][:, 0]
    ours = distort(grid, found) @ K[:2, :2].T + K[:2, 2]
    assert np.abs(ours - theirs).max() < apart + 0.01 and apart < 0.15
    plain = distort(grid, from_opencv(np.array([-0.21, 0.24, 0, 0, -0.003]), K, *SIZE)[0]) @ K[:2, :2].T + K[:2, 2]
    exact = cv2.projectPoints(
        np.c_[grid, np.ones(len(grid))], np.zeros(3), np.zeros(3), K, np.array([-0.21, 0.24, 0, 0, -0.003])
    )[0][:, 0]
    assert np.abs(plain - exact).max() < 1e-6


def test_names_of_a_file_become_the_smallest_joint_set():
    assert place(LAYOUTS["coco18"], "x").joint_set is OPENPOSE_25
    assert place(LAYOUTS["coco17"], "x").joint_set is COCO
    assert place(LAYOUTS["body25b"], "x").joint_set is IMAGE_JOINTS
