"""Whether people are where a dataset says, by the word of a witness who sees them."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.camera import assumed_camera, project
from pipeline.misplaced import misplaced
from pipeline.records import Instant, View
from pipeline.skeletons import COCO, HUMAN36M
from pipeline.witness import THERE_ALREADY, judge_view
from tests.pipeline.people import TO_CAMERA, standing

WIDTH, HEIGHT = 400, 300
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
CAMERA = assumed_camera(WIDTH, HEIGHT)
TRUE = project(CAMERA, standing(COCO.names) @ TO_CAMERA + [0.5, 0.1, 4.0])
OTHER = [COCO.index(n.replace("left", "R").replace("right", "left").replace("R", "right")) for n in COCO.names]


def witness(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sees the person where most of it is in the square about the box, a little off."""
    side, middle = 1.25 * box[2:].max(), box[:2] + box[2:] / 2
    seen = (np.abs(TRUE - middle) < 0.75 * side).all(1)
    return np.where(seen[:, None], TRUE + 1.5, middle), np.where(seen, 0.9, 0.1)


def view_of(points: np.ndarray) -> View:
    box = np.concatenate([points.min(0), np.ptp(points, 0)])
    return View("a/0/0", "0", CAMERA, "a.png", box, points, np.ones(len(points)))


MISTAKES = {
    "the keypoints were of an image 0.5 times as large": lambda p: p / 2,
    "the keypoints were of an image 0.333 times as large": lambda p: p / 3,
    "the keypoints were of an image 0.75 times as large": lambda p: 0.75 * p,
    "the keypoints were of an image 1.5 times as large": lambda p: 1.5 * p,
    "the pictures were mirrored": lambda p: (np.array([WIDTH - 1, 0]) + p * [-1, 1])[OTHER],
    "the pictures were mirrored, and left and right exchanged": lambda p: np.array([WIDTH - 1, 0]) + p * [-1, 1],
    "y counted from below": lambda p: np.array([0, HEIGHT - 1]) + p * [1, -1],
    "the pictures were upside down": lambda p: np.array([WIDTH - 1, HEIGHT - 1]) - p,
    "x and y were exchanged": lambda p: p[:, ::-1],
    "left and right were exchanged": lambda p: p[OTHER],
    "the keypoints were shifted by 70 and -2 pixels": lambda p: p + [71.5, -0.5],
    "the keypoints were shifted by -2 and 40 pixels": lambda p: p + [-0.5, 41.5],
    "the keypoints were of an image of 330 x 253 pixels": lambda p: p * [0.83, 0.85],
    "the keypoints were of an image of 99 x 99 pixels": lambda p: p * [100 / WIDTH, 100 / HEIGHT],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_witness_tells_what_the_keypoints_are_of(mistake):
    assert judge_view(IMAGE, view_of(TRUE), COCO.names, witness) == THERE_ALREADY
    assert str(judge_view(IMAGE, view_of(MISTAKES[mistake](TRUE)), COCO.names, witness)) == mistake


def test_a_witness_tells_exchanged_sides_of_a_person_who_stands_straight():
    """Hips, knees and ankles are a tenth of the person's height apart."""
    narrow = TRUE.copy()
    middle = narrow[[COCO.index("left_hip"), COCO.index("right_hip")]].mean(0)
    narrow[:, 0] = middle[0] + 0.55 * (narrow[:, 0] - middle[0])

    def sees(image, box):
        return narrow + 1.5, np.full(17, 0.9)

    assert judge_view(IMAGE, view_of(narrow), COCO.names, sees) == THERE_ALREADY
    assert str(judge_view(IMAGE, view_of(narrow[OTHER]), COCO.names, sees)) == "left and right were exchanged"


@pytest.mark.parametrize(
    ("part", "joints"), [("arms", ("shoulder", "elbow", "wrist")), ("legs", ("hip", "knee", "ankle"))]
)
def test_a_witness_tells_arms_or_legs_whose_sides_were_exchanged(tmp_path, part, joints):
    """Of some pictures: in one alone the witness may be wrong."""
    spread = TRUE.copy()
    spread[:, 0] = spread[:, 0].mean() + 1.6 * (spread[:, 0] - spread[:, 0].mean())
    changed = np.where([[name.endswith(joints)] for name in COCO.names], spread[OTHER], spread)
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)

    def told(*points):
        views = [replace(view_of(p), id=f"{k}/0") for k, p in enumerate(points)]
        instants = [Instant(f"{k}", None, "", 0, COCO.name, (view,)) for k, view in enumerate(views)]
        return misplaced(tmp_path, instants, lambda *_: (spread + 1.5, np.full(17, 0.9)))

    assert (
        f"in 3 of 3 pictures a network that sees people finds them as if left and right of the {part} were"
        in told(*[changed] * 3)[0]
    )
    assert told(changed, changed) == [] == told(spread, spread, spread)


def test_nothing_is_told_where_the_witness_is_not_sure_or_little_is_annotated():
    view = view_of(TRUE / 2)
    unsure = lambda image, box: (np.zeros((17, 2)), np.full(17, 0.25))  # noqa: E731
    assert judge_view(IMAGE, view, COCO.names, unsure) is None
    few = replace(view, confidence=np.where(np.arange(17) < 5, 1.0, 0.0))
    assert judge_view(IMAGE, few, COCO.names, witness) is None


def test_most_pictures_must_tell_the_same(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)

    def told(*points):
        instants = [
            Instant(f"{k}", None, "", 0, COCO.name, (replace(view_of(p), id=f"{k}/0"),)) for k, p in enumerate(points)
        ]
        return misplaced(tmp_path, instants, witness)

    assert told(TRUE, TRUE, TRUE / 2) == [] == told(TRUE, TRUE / 2)
    assert told(TRUE, TRUE / 2, TRUE / 2) == [
        "in 2 of 3 pictures a network that sees people finds them as if the keypoints were of an image 0.5 times as large (first: 1/0)"
    ]
    assert told(TRUE / 2)[0].startswith("in 1 of 1 pictures") and told() == []
    bent = TRUE[np.random.default_rng(0).permutation(17)]
    assert told(bent, bent) == [] and "of another camera, picture or moment" in told(TRUE, *[bent] * 3)[0]
    part = 2 * (TRUE - [100, 50])
    assert told(part, part) == [] and "of a part of the image" in told(TRUE, *[part] * 3)[0]
    assert "shifted by 70 and 0 pixels" in told(*(TRUE + 1.5 + [offset, 0] for offset in (60, 70, 90)))[0]
    (tmp_path / "a.png").write_bytes(b"\x89PNG cut")
    assert (
        len(told(TRUE, TRUE)) == 1 and "a picture that was looked at cannot be used: The image" in told(TRUE, TRUE)[0]
    )


def test_pictures_without_anybody_are_told_where_most_are_such(tmp_path):
    """As of noise, of another place, or of joints that were made up."""
    views = [replace(view_of(TRUE), id=f"{k}/0", image_path=f"{k}.png") for k in range(5)]
    for k, view in enumerate(views):
        cv2.imwrite(str(tmp_path / view.image_path), IMAGE + np.uint8(k))

    def told(*scores, views=views):
        instants = [Instant(f"{k}", None, "", 0, COCO.name, (view,)) for k, view in enumerate(views[: len(scores)])]
        return misplaced(tmp_path, instants, lambda image, _: (TRUE, np.full(17, scores[image[0, 0, 0]])))

    nobody = "in 4 of 5 pictures a network that sees people sees nobody where the joints are (first: 0/0)"
    assert told(0.1, 0.1, 0.9, 0.1, 0.1) == [nobody]
    assert told(0.1, 0.1) == [] == told(0.1, 0.25, 0.25, 0.1, 0.1)
    for smaller in (20, 4):
        tiny = [replace(view, joints_2d=TRUE / smaller) for view in views]
        assert told(0.1, 0.1, 0.1, 0.1, views=tiny) == []


@pytest.mark.slow
def test_commands_say_so_of_a_rendered_person_with_keypoints_of_half_the_size(tmp_path):
    """The network that ships with the program, on a picture of a real body."""
    from click.testing import CliRunner

    from benchmarks._sample import sample_capture
    from cli.check_data import command as check_data
    from cli.fit import command as fit
    from cli.preprocess import command as preprocess
    from model.networks.keypoint_network import KeypointNetwork
    from pipeline.images import read_image
    from pipeline.sources import open_source

    capture = sample_capture(tmp_path, 7, 256)
    network, names = KeypointNetwork("lightning"), HUMAN36M.names
    views = (view for instant in open_source("human36m", capture).instants() for view in instant.views)
    view = next(
        v
        for v in views
        if judge_view(read_image(capture, v.image_path), replace(v, joints_2d=v.joints_2d / 2), names, network)
    )
    points = np.zeros((17, 3))
    for k, name in enumerate(COCO.names):
        if name in names:
            points[k] = [*view.joints_2d[names.index(name)], view.confidence[names.index(name)]]
    for folder, factor in (("right", 1.0), ("half", 0.5)):
        root = tmp_path / folder
        (root / "images").mkdir(parents=True)
        (root / "keypoints").mkdir()
        cv2.imwrite(str(root / "images" / "a.png"), read_image(capture, view.image_path)[..., ::-1])
        keypoints = (points * [factor, factor, 1]).ravel().tolist()
        (root / "keypoints" / "a_keypoints.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": keypoints}]}))
        where = ["openpose", str(root), "-o", "layout=coco17"]
        said = CliRunner().invoke(check_data, where).output
        said_too = CliRunner().invoke(fit, [*where[:2], str(tmp_path / f"fits-{folder}"), *where[2:]]).output
        arguments = [
            *where[:2],
            str(tmp_path / f"shards-{folder}"),
            *where[2:],
            "--workers",
            "0",
            "--crop-px",
            "32",
            "--pool",
            "256",
        ]
        said_also = CliRunner().invoke(preprocess, arguments).output
        wrong = "as if the keypoints were of an image 0.5 times as large"
        assert [wrong in " ".join(text.split()) for text in (said, said_too, said_also)] == [folder == "half"] * 3, (
            said_also
        )
