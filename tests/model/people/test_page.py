"""The page that turns in 3D: what it holds, and that its script poses bodies as we do."""

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from model.people import page
from model.people.page import PagePictures
from pipeline.body.model import load_body
from pipeline.skeletons import FIELD_JOINTS
from tests.model.people.scenes import shown, standing

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def made(body):
    """The page of a picture whose name would end a script, and its text."""
    pictures, one = PagePictures(), shown(body, [standing(0, -0.5), standing(1, 0.6, 4.0)], "a</script><b>.jpg")
    pictures.add(one)
    return one, pictures.page().decode()


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id=data>(.*?)</script>', text, re.S).group(1))


def test_the_page_needs_nothing_beside_itself(made):
    text = made[1]
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:|@import|url\(|fetch\(|import ", text)
    data = data_of(text)
    assert data["pictures"][0]["name"] == "a</script><b>.jpg"
    assert data["pictures"][0]["source"].startswith("data:image/jpeg;base64,")
    assert len(text) < 2_200_000


def test_a_line_says_how_sure_everybody_is_and_which_bodies_are_doubtful(body):
    one = shown(body, [standing(0), standing(1)])
    spread = np.full(17, 0.04)
    spread[FIELD_JOINTS.index("left_wrist")] = 0.21
    first, second = (
        replace(one.people[0], spread=spread, doubts=f"{missing}joints may be 50 mm off")
        for missing in ("", "no wrists; ")
    )
    third = replace(first, doubts="no wrists")
    people = (first, second, third, replace(one.people[1], spread=None))
    pictures = PagePictures()
    pictures.add(replace(one, found=replace(one.found, people=people)))
    lines = [person["says"] for person in data_of(pictures.page().decode())["pictures"][0]["people"]]
    assert lines[0].endswith("joints 90 % sure; doubtful: joints may be 50 mm off, left wrist 210 mm")
    assert lines[1].endswith("sure; doubtful: no wrists; joints may be 50 mm off, left wrist 210 mm")
    assert lines[2].endswith("sure, about 50 mm off, left wrist 210 mm; doubtful: no wrists")
    assert lines[0].startswith("person 1: 3.") and lines[3].endswith("joints 90 % sure")


def test_several_videos_are_shown_as_fast_as_their_frames_follow_each_other(body):
    """Each begins when it likes; from the end of one to the beginning of the next no time passes."""
    pictures = PagePictures()
    for name, first, count in (
        ("a.mp4", 0, 3),
        ("b.mp4", 0, 2),
        ("c.mp4", 90, 1),
        ("d.mp4", 500, 1),
        ("e.mp4", 900, 1),
    ):
        for frame in range(first, first + count):
            pictures.add(shown(body, [standing(0)], f"{name}#frame={frame}", frame=frame))
    assert data_of(pictures.page().decode())["seconds"] == pytest.approx(1 / 20)


def test_the_packed_body_is_the_body(body, made):
    packed = data_of(made[1])["body"]

    def read(part, kind):
        return np.frombuffer(base64.b64decode(part), kind)

    template = read(packed["template"]["data"], "<i2") * packed["template"]["scale"]
    np.testing.assert_allclose(template.reshape(-1, 3), body.v_template, atol=5e-5)
    np.testing.assert_array_equal(read(packed["faces"], "<u2").reshape(-1, 3), body.faces)
    weights = np.zeros((body.n_vertices, 55))
    bones, share = (read(packed[name], "u1").reshape(body.n_vertices, -1) for name in ("bones", "weights"))
    np.put_along_axis(weights, bones.astype(int), share / 255, axis=1)
    assert np.abs(weights - body.weights.numpy()).max() < 0.5 / 255 + 1e-6


def test_a_page_of_skeletons_holds_no_body(body):
    pictures, one = PagePictures(), shown(body, [])
    pictures.add(one)
    assert data_of(pictures.page().decode())["body"] is None and PagePictures().page() is None


def test_a_long_video_stays_a_page_of_bounded_size(body, monkeypatch):
    monkeypatch.setattr(page, "MOST_PICTURES", 8)
    pictures = PagePictures()
    for frame in range(100):
        pictures.add(shown(body, [], f"v.mp4#frame={frame}", frame))
    numbers = [int(one["name"].split("=")[1]) for one in pictures.pictures]
    assert len(numbers) <= 8 and set(np.diff(numbers)) == {16} and numbers[0] == 0
    data = data_of(pictures.page().decode())
    assert data["video"] and data["seconds"] == pytest.approx(16 / 20)
    assert "7 of 100 pictures are here" in pictures.page().decode()


def test_what_is_looked_at_holds_those_in_front(body):
    pictures, one = PagePictures(), shown(body, [standing(0, -0.5), standing(1, 0.6, 5.0), standing(2, 0.0, 30.0)])
    pictures.add(one)
    low, high = np.array(data_of(pictures.page().decode())["pictures"][0]["reach"])
    points = np.concatenate([*one.vertices[:2], *(person.joints + person.root for person in one.people[:2])])
    np.testing.assert_allclose([low, high], [points.min(0), points.max(0)], atol=0.006)


@pytest.mark.slow
def test_a_video_is_looked_at_from_one_place_and_a_photograph_beside_it_from_its_own(body):
    pictures = PagePictures()
    pictures.add(shown(body, [standing(0, 0.0, 9.0)], "a.jpg"))
    for frame in range(40):  # somebody walks to the right, is seen wrongly once, and is then gone
        depth = 30.0 if frame == 20 else 3.0
        pictures.add(
            shown(body, [standing(1, 0.05 * frame, depth)] if frame < 39 else [], f"v.mp4#frame={frame}", frame)
        )
    pictures.add(shown(body, [], "b.jpg"))
    data = data_of(pictures.page().decode())
    assert data["video"]
    photograph, *frames, nobody = (picture["reach"] for picture in data["pictures"])
    assert photograph[0][2] > 8 and nobody is None
    assert all(reach == frames[0] for reach in frames)
    assert 1.5 < frames[0][1][0] - frames[0][0][0] < 3.5 and frames[0][1][2] < 5


def browse(tmp_path, text: str, *options: str) -> str:
    """What the page has become in a browser."""
    (tmp_path / "page.html").write_text(text)
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--timeout=60000",
        "--dump-dom",
        *options,
    ]
    return subprocess.run(
        [*command, f"file://{tmp_path}/page.html#still"], capture_output=True, text=True, timeout=110
    ).stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_a_browser_without_webgl_shows_the_picture_and_says_why_nothing_turns(made, tmp_path):
    said = browse(tmp_path, made[1], "--disable-3d-apis")
    assert 'data-ready="no webgl"' in said and "This browser has no WebGL" in said.split("<script")[0]
    assert "person 2: " in said.split("<script")[0]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_a_browser_poses_the_bodies_as_we_do(made, tmp_path):
    """Weights in 255ths and joints' turns to four digits leave a few millimetres at most, far below the skin's own error."""
    one, text = made
    probe = "document.body.dataset.vertices = JSON.stringify(Array.from(posed(BODY, DATA.pictures[0].people[1].body)))"
    swiftshader = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    said = browse(tmp_path, text.replace("</html>", f"<script>{probe}</script></html>"), *swiftshader)
    assert 'data-ready="yes"' in said
    vertices = np.array(json.loads(re.search(r'data-vertices="([^"]*)"', said).group(1))).reshape(-1, 3)
    assert np.linalg.norm(vertices - one.vertices[1], axis=1).max() < 0.004
    assert np.linalg.norm(vertices - one.vertices[1], axis=1).mean() < 0.0005
