"""The benchmark on photographs: how packages are read, what its list says, its measures, and its quick form."""

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
import pytest

from benchmarks import _photographs, photographs
from benchmarks._photographs import Marked, Photograph, marked, members, read_photographs
from model.people.photographs import photograph_camera
from model.people.records import Person, Picture
from pipeline.errors import InputError
from pipeline.skeletons import COCO

ROOT = Path(__file__).parent.parent
INSIDE = "usr/share/demo/photo.png"


def png(value: int = 0) -> bytes:
    image = np.full((60, 80, 3), value, np.uint8)
    image[:10, :20] = 255  # where up and left are
    return cv2.imencode(".png", image)[1].tobytes()


def tar(kind: str, content: bytes, prefix: str = "./") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{kind}") as file:
        for name, data in ((f"{prefix}usr/share/demo/", None), (f"{prefix}{INSIDE}", content), ("other", b"no")):
            member = tarfile.TarInfo(name)
            member.type, member.size = (tarfile.DIRTYPE, 0) if data is None else (tarfile.REGTYPE, len(data))
            file.addfile(member, None if data is None else io.BytesIO(data))
    return packed.getvalue()


def debian(content: bytes) -> bytes:
    """As ar writes it: control.tar.xz is of odd length, so that a byte is between the members."""
    found = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", tar("xz", content))):
        found += (
            f"{name:16s}{0:<12d}{0:<6d}{0:<6d}{'100644':8s}{len(data):<10d}`\n".encode()
            + data
            + b"\n" * (len(data) % 2)
        )
    return found


def write_package(path: Path, content: bytes) -> Path:
    """A package of the kind that its name says, with the photograph in it."""
    if path.suffix == ".whl":
        with ZipFile(path, "w") as wheel:
            wheel.writestr(INSIDE, content)
            wheel.writestr("other", b"no")
    elif path.suffix == ".deb":
        path.write_bytes(debian(content))
    else:
        path.write_bytes(tar({".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "gz"), content, "demo-1.0/"))
    return path


@pytest.mark.parametrize(
    "name", ["demo-1.0.whl", "demo-1.0.tgz", "demo_1.0.orig.tar.bz2", "demo_1.0.orig.tar.xz", "demo_1.deb"]
)
def test_a_photograph_is_read_out_of_every_kind_of_package(tmp_path, name):
    package = write_package(tmp_path / name, png())
    assert members(package, {INSIDE, "not/there"}) == {INSIDE: png()}


@pytest.mark.parametrize("name", ["demo-1.0.whl", "demo-1.0.tgz", "demo_1.deb"])
def test_a_damaged_package_is_refused_by_name(tmp_path, name):
    package = write_package(tmp_path / name, png())
    whole = package.read_bytes()
    for data in (b"", b"not a package", whole[: len(whole) // 2], b"!<arch>\n", b"!<arch>\n" + b"x" * 80):
        package.write_bytes(data)
        with pytest.raises(InputError, match=rf"{name} cannot be read as a package"):
            members(package, {INSIDE})


def small_list(tmp_path, monkeypatch, **more) -> Path:
    """A list of one photograph in one of two packages, in place of the real one."""
    row = {"name": "demo/photo", "package": "demo", "file": INSIDE, "sha256": hashlib.sha256(png()).hexdigest()}
    row |= {"people": [{"box": [0, 0, 40, 30], "keypoints": {"nose": [5, 6]}}]} | more
    packages = {
        name: {"get": f"fetch {name}", "file": f"{name}-*.whl", "licence": "MIT"} for name in ("demo", "absent")
    }
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"packages": packages, "photographs": [row]}))
    monkeypatch.setattr(_photographs, "LIST", path)
    return write_package(tmp_path / "demo-1.0.whl", png())


def test_packages_that_are_missing_are_named_with_how_to_fetch_them(tmp_path, monkeypatch):
    small_list(tmp_path, monkeypatch)
    with pytest.raises(InputError, match="1 of 2 packages.*fetch absent"):
        read_photographs([tmp_path])
    found, missing = read_photographs([tmp_path / "nowhere", tmp_path], partly=True)
    assert missing == ["fetch absent"] and [one.picture.name for one in found] == ["demo/photo"]
    with pytest.raises(InputError, match="2 of 2 packages.*fetch demo; fetch absent"):
        read_photographs([tmp_path / "nowhere"], partly=True)


def test_another_photograph_than_the_marked_one_is_refused(tmp_path, monkeypatch):
    package = small_list(tmp_path, monkeypatch)
    write_package(package, png(7))
    with pytest.raises(InputError, match="photo.png is another than the one that was marked"):
        read_photographs([tmp_path], partly=True)
    with ZipFile(package, "w") as wheel:
        wheel.writestr("other", b"no")
    with pytest.raises(InputError, match="photo.png is not in it"):
        read_photographs([tmp_path], partly=True)


@pytest.mark.parametrize(
    ("turned", "size", "corner"), [(90, (80, 60), (0, -1)), (180, (60, 80), (-1, -1)), (270, (80, 60), (-1, 0))]
)
def test_a_photograph_is_turned_clockwise(tmp_path, monkeypatch, turned, size, corner):
    small_list(tmp_path, monkeypatch, turned=turned)
    (found,), _ = read_photographs([tmp_path], partly=True)
    assert found.picture.pixels.shape[:2] == size == (found.picture.camera.height, found.picture.camera.width)
    assert found.picture.pixels[corner].tolist() == [255] * 3  # the white one was at the top left


def test_the_list_marks_people_inside_their_boxes_in_listed_packages():
    listed = json.loads(_photographs.LIST.read_text())
    rows, packages = listed["photographs"], listed["packages"]
    assert len(rows) >= 40 and len({row["name"] for row in rows}) == len(rows)
    assert {row["package"] for row in rows} == set(packages)
    assert all(package["get"] and package["licence"] and "*" not in package["get"] for package in packages.values())
    for row in rows:
        assert re.fullmatch("[0-9a-f]{64}", row["sha256"]) and row.get("turned", 90) in _photographs.FLAGS
        assert ("frame" in row) == row["file"].endswith((".avi", ".mp4"))
        for person in row["people"]:
            x, y, w, h = person["box"]
            assert len(person["keypoints"]) >= 4 and set(person["keypoints"]) <= set(COCO.names), row["name"]
            for u, v in person["keypoints"].values():
                assert x <= u <= x + w and y <= v <= y + h, (row["name"], person)


def person_in(box: list[float]) -> Person:
    nothing = np.zeros((17, 3))
    return Person(
        np.array(box), 0.9, "detector", nothing, np.zeros(3), nothing[:, :2], np.ones(17), np.ones(17, bool), 1.0
    )


def test_boxes_are_given_to_whom_they_fit_best_and_each_once():
    people = [marked(box, {}) for box in ([0, 0, 100, 200], [20, 0, 100, 200], [500, 0, 50, 50])]
    boxes = np.array([[22.0, 0, 100, 200], [600, 0, 50, 50], [5, 0, 100, 200]])
    assert photographs.matches(people, boxes) == [2, 0, None]
    assert photographs.matches(people, boxes[:1]) == [None, 0, None]
    assert photographs.matches(people, np.zeros((0, 4))) == [None] * 3 and photographs.matches([], boxes) == []


def test_the_measures_of_a_known_answer():
    """One is found exactly, one with a wrist a fifth of the box away, one not at all; and somebody is found whom nobody marked."""
    flat = np.random.default_rng(0).uniform(50, 150, (17, 2))
    partly = flat.copy()
    partly[COCO.index("left_knee")] = np.nan
    boxes = ([0.0, 0, 100, 200], [300.0, 0, 100, 200], [600.0, 0, 100, 200])
    people = tuple(Marked(np.array(box), points) for box, points in zip(boxes, (flat, partly, flat), strict=True))
    picture = Picture("one", np.zeros((400, 900, 3), np.uint8), photograph_camera(900, 400, None))
    wrong = flat.copy()
    wrong[COCO.index("right_wrist")] += [40, 0]
    said = {0.0: flat, 300.0: wrong}
    answers = [[person_in(boxes[1]), person_in(boxes[0]), person_in([800, 300, 50, 50])]]
    found = photographs.compare([Photograph(picture, people)], answers, lambda person, _: said[person.box[0]])
    assert found.found.tolist() == [True, True, False] and found.unmarked == 1
    assert found.similarity[0] == 1 and found.similarity[2] == 0 and 15 / 16 < found.similarity[1] < 1
    numbers = photographs.summary(found)
    assert numbers["found"] == round(2 / 3, 4)
    assert numbers["near"] == numbers["nearer"] == round(22 / 23, 4) and numbers["near_of_all"] == round(22 / 35, 4)
    assert numbers["head_near"] == 1.0 and numbers["average_recall"] == round((10 + 9) / 30, 4)


def test_people_are_grouped_by_who_is_close_and_whose_legs_are_seen():
    knee, nose = {"left_knee": [5, 5]}, {"nose": [5, 5]}
    rows = (([0, 0, 100, 200], knee), ([50, 0, 100, 200], nose), ([95, 0, 100, 200], nose), ([400, 0, 50, 90], knee))
    picture = Picture("one", np.zeros((9, 9, 3), np.uint8), photograph_camera(9, 9, None))
    alone = Photograph(picture, (marked([0, 0, 10, 10], nose),))
    found = photographs.groups([Photograph(picture, tuple(marked(*row) for row in rows)), alone])
    assert found["alone"].tolist() == [False, False, False, True, True]
    assert found["legs seen"].tolist() == [True, False, False, True, False]
    assert (found["close to others"] == ~found["alone"]).all() and (found["legs not seen"] == ~found["legs seen"]).all()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_quick_form_finds_rendered_people(tmp_path):
    command = [sys.executable, "-m", "benchmarks.photographs", str(tmp_path), "--quick"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=380)
    assert result.returncode == 0, result.stderr
    said = json.loads((tmp_path / "photographs.json").read_text())
    assert said["people"] == 3 and said["joints"] == 36
    best = said["methods"]["bodies with keypoints"]
    assert best["found"] > 0.5 and best["near"] > 0.9 and best["head_near"] is None
    assert cv2.imread(str(tmp_path / "photographs.jpg")).shape[1] > 3 * photographs.TILE
