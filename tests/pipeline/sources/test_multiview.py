"""Several calibrated cameras of one's own: a standing person, seen by four known cameras, comes back."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.agreement import odd_aim
from pipeline.body.model import load_body
from pipeline.camera import project, world_to_camera
from pipeline.errors import InputError
from pipeline.fit import FitSettings, Fitter
from pipeline.records import BodyFit, Camera
from pipeline.skeletons import OPENPOSE_25
from pipeline.sources import multiview, open_source
from pipeline.sources.calibrations import read_calibration
from pipeline.sources.check import check_source
from tests.pipeline.people import standing, striped

WIDTH, HEIGHT = 320, 400
NAMES = [f"cam{k}" for k in range(1, 5)]


def camera(k: int) -> Camera:
    centre = np.array([3.5 * np.cos(1.3 * k), 0.4 * k - 0.6, 3.5 * np.sin(1.3 * k)])
    z = -centre / np.linalg.norm(centre)
    x = np.cross([0.0, -1.0, 0.0], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    K = np.array([[500.0 + k, 0, 158.0], [0, 502.0, 203.0 + k]]) @ np.eye(3)
    return Camera(np.vstack([K, [0, 0, 1]]), R, -R @ centre, WIDTH, HEIGHT)


CAMERAS = {name: camera(k) for k, name in enumerate(NAMES)}


def joints_at(frame: int) -> np.ndarray:
    return standing(OPENPOSE_25.names) + [0.02 * frame, 0, 0.01 * frame]


def write_keypoints(root, frames=6, scale=1.0, late=None):
    for name, seen in CAMERAS.items():
        for folder in ("keypoints", "images"):
            (root / folder / name).mkdir(parents=True, exist_ok=True)
        for frame in range(frames):
            moment = frame - 6 if name == late else frame
            pixels = scale * project(seen, world_to_camera(seen, joints_at(moment)))
            person = {"pose_keypoints_2d": np.c_[pixels, np.full(25, 0.9)].ravel().tolist()}
            file = root / "keypoints" / name / f"{name}_{frame:012d}_keypoints.json"
            file.write_text(json.dumps({"people": [person]}))
            cv2.imwrite(str(root / "images" / name / f"{name}_{frame:012d}.jpg"), striped(HEIGHT, WIDTH))


def tables(cameras=CAMERAS, scale=1.0):
    return {
        name: {
            "K": c.K.tolist(),
            "dist": [0.0] * 5,
            "R": c.R.tolist(),
            "t": (scale * c.t).tolist(),
            "size": [c.width, c.height],
        }
        for name, c in cameras.items()
    }


def write_json(root, cameras=CAMERAS, scale=1.0):
    (root / "rig.json").write_text(json.dumps({"cameras": tables(cameras, scale)}))


def write_toml(root):
    lines = []
    for name, c in CAMERAS.items():
        turn = cv2.Rodrigues(c.R)[0].ravel().tolist()
        lines += [f'[{name}]\nname = "{name}"\nsize = [ {WIDTH}.0, {HEIGHT}.0]\nmatrix = {c.K.tolist()}']
        lines += [
            f"distortions = [ 0.0, 0.0, 0.0, 0.0]\nrotation = {turn}\ntranslation = {c.t.tolist()}\nfisheye = false\n"
        ]
    (root / "calibration").mkdir()
    (root / "calibration" / "Config.toml").write_text("[project]\n")
    content = "\ufeff" + "\r\n".join(lines) + "\r\n[metadata]\r\nadjusted = false\r\n"  # as Windows' editors write it
    (root / "calibration" / "Calib.toml").write_text(content, newline="")


def matrix(name, values):
    rows, cols = np.shape(values)
    data = ", ".join(f"{v:.17g}" for v in np.ravel(values))
    return f"{name}: !!opencv-matrix\n  rows: {rows}\n  cols: {cols}\n  dt: d\n  data: [{data}]\n"


def write_yaml(root):
    head = "%YAML:1.0\n---\nnames:\n" + "".join(f'  - "{name}"\n' for name in NAMES)
    intri, extri = head, head
    for name, c in CAMERAS.items():
        intri += matrix(f"K_{name}", c.K) + matrix(f"dist_{name}", np.zeros((1, 5)))
        extri += (
            matrix(f"R_{name}", cv2.Rodrigues(c.R)[0]) + matrix(f"Rot_{name}", c.R) + matrix(f"T_{name}", c.t[:, None])
        )
    (root / "intri.yml").write_text(intri)
    (root / "extri.yml").write_text(extri)


def write_qualisys(root):
    entries = []
    for name, c in CAMERAS.items():
        R, centre = np.diag([1.0, -1.0, -1.0]) @ c.R, -1000 * c.R.T @ c.t
        turn = " ".join(f'r{i + 1}{j + 1}="{R[i, j]:.17g}"' for i in range(3) for j in range(3))
        fx, fy, cx, cy = (64 * v for v in (c.K[0, 0], c.K[1, 1], c.K[0, 2], c.K[1, 2]))
        entries.append(
            f'<camera serial="{name}"><fov_video left="0" top="0" right="{WIDTH - 1}" bottom="{HEIGHT - 1}"/>'
            f'<transform {turn} x="{centre[0]:.17g}" y="{centre[1]:.17g}" z="{centre[2]:.17g}"/>'
            f'<intrinsic focalLengthU="{fx}" focalLengthV="{fy}" centerPointU="{cx}" centerPointV="{cy}" '
            'radialDistortion1="0" radialDistortion2="0" tangentalDistortion1="0" tangentalDistortion2="0"/></camera>'
        )
    (root / "Calib.qca.txt").write_text(f"<calibration><cameras>{''.join(entries)}</cameras></calibration>")


@pytest.mark.parametrize("write", [write_json, write_toml, write_yaml, write_qualisys])
def test_every_layout_gives_the_same_cameras_and_one_instant_has_all_views(tmp_path, write):
    write_keypoints(tmp_path)
    write(tmp_path)
    instants, report = open_source("multiview", tmp_path).read()
    assert not report.rejects and [i.frame for i in instants] == list(range(6)) and instants[0].has_world
    for view in instants[3].views:
        true = CAMERAS[view.camera_id]
        for name in ("K", "R", "t"):
            assert np.allclose(getattr(view.camera, name), getattr(true, name), atol=1e-9)
        assert not view.camera.distortion.any() and (view.camera.width, view.camera.height) == (WIDTH, HEIGHT)
    assert [view.camera_id for view in instants[3].views] == NAMES


def test_a_toml_with_a_number_of_thousands_of_digits_is_refused(tmp_path):
    """Python does not read those, and says so with an error that is none of TOML's."""
    write_toml(tmp_path)
    path = tmp_path / "calibration" / "Calib.toml"
    text = path.read_text("utf-8-sig")
    path.write_text(f"first = {'9' * 5000}\n" + text)
    with pytest.raises(InputError, match="Calib.toml cannot be read as TOML .*5000 digits"):
        read_calibration([path], None)
    path.write_text(text.replace(f'name = "{NAMES[0]}"', f"name = 0x{'f' * 5000}"))  # read, but nothing can write it
    with pytest.raises(InputError, match="Calib.toml cannot be read as TOML .*Exceeds the limit"):
        read_calibration([path], None)


def test_a_camera_that_a_calibration_has_twice_is_refused(tmp_path):
    write_toml(tmp_path)
    path = tmp_path / "calibration" / "Calib.toml"
    text, name = path.read_text("utf-8-sig"), NAMES[1]
    path.write_text(
        text + text[text.index(f"[{name}]") :].replace(f"[{name}]", f"[{name}_old]").split(f"[{NAMES[2]}]")[0]
    )
    with pytest.raises(InputError, match=f"Calib.toml has {name} more than once"):
        read_calibration([path], None)
    write_yaml(tmp_path)
    files = [tmp_path / "intri.yml", tmp_path / "extri.yml"]
    assert list(read_calibration(files, None)) == sorted(NAMES)
    files[1].write_text(files[1].read_text() + matrix(f"T_{name}", np.zeros((3, 1))))
    with pytest.raises(InputError, match=f"extri.yml has T_{name} more than once"):
        read_calibration(files, None)
    rows = [table | {"name": key} for key, table in tables(CAMERAS, 1.0).items()]
    path = tmp_path / "rig.json"
    path.write_text(json.dumps({"cameras": rows}))
    assert sorted(read_calibration([path], None)) == sorted(NAMES)
    path.write_text(json.dumps({"cameras": [*rows, rows[1]]}))
    with pytest.raises(InputError, match=f"rig.json has {name} more than once"):
        read_calibration([path], None)
    row = json.dumps(tables(CAMERAS, 1.0)[name])
    path.write_text(f'{{"cameras": {{"{name}": {row}, "{name}": {row}}}}}')
    with pytest.raises(InputError, match=f"rig.json has {name} more than once"):
        read_calibration([path], None)


def test_a_camera_that_was_moved_since_its_calibration_is_named(tmp_path):
    def aim(**cameras):
        write_json(tmp_path, CAMERAS | cameras)
        return [doubt for doubt in open_source("multiview", tmp_path).read()[1].doubts if "beside where" in doubt]

    def turned(c, degrees):
        turn = cv2.Rodrigues(np.array([0.0, np.radians(degrees), 0.0]))[0]
        return replace(c, R=turn @ c.R, t=turn @ c.t)

    write_keypoints(tmp_path)
    assert aim() == []
    for name in NAMES[:2]:
        (said,) = aim(**{name: turned(CAMERAS[name], 2.0)})
        assert said.startswith(f"{name} sees the person") and "since its calibration" in said
    assert aim(**{NAMES[0]: turned(CAMERAS[NAMES[0]], 0.2)}) == []
    write_json(tmp_path, CAMERAS | {NAMES[0]: turned(CAMERAS[NAMES[0]], 2.0)})
    instants = open_source("multiview", tmp_path).read()[0]
    assert odd_aim(instants).startswith(NAMES[0]) and odd_aim(instants[:4]) is None, "four moments tell nothing"
    three = [replace(instant, views=instant.views[:3]) for instant in instants]
    assert odd_aim(three).startswith("one of the cameras sees"), "of three nobody can say which"
    two = [replace(instant, views=instant.views[:2]) for instant in instants]
    assert odd_aim(two) is None


def test_a_fit_of_four_views_finds_the_joints_in_space(tmp_path):
    write_keypoints(tmp_path, 1)
    write_json(tmp_path)
    (instant,) = open_source("multiview", tmp_path).instants()
    body = load_body()
    (fit,) = Fitter(body, FitSettings()).fit([instant])
    assert isinstance(fit, BodyFit) and fit.quality.valid and fit.quality.reprojection_px.max() < 8
    root = np.linalg.norm(fit.parameters.transl - joints_at(0)[OPENPOSE_25.root_index])
    assert root < 2.0  # the body's own origin lies within it


MISTAKES = {
    "R were transposed": lambda c: (c.R.T, c.t),
    "inverted": lambda c: (c.R.T, -c.R.T @ c.t),
    "t were the camera's centre": lambda c: (c.R, -c.R.T @ c.t),
    "y up and z backward": lambda c: (np.diag([1.0, -1, -1]) @ c.R, np.diag([1.0, -1, -1]) @ c.t),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_calibration_leaves_everything_out_and_names_the_mistake(tmp_path, mistake):
    write_keypoints(tmp_path)
    wrong = {n: Camera(c.K, *MISTAKES[mistake](c), c.width, c.height) for n, c in CAMERAS.items()}
    write_json(tmp_path, wrong)
    instants, report = open_source("multiview", tmp_path).read()
    assert not instants and len(report.rejects) == 6 and mistake in report.rejects[0].reason


def test_units_resolution_and_exchanged_cameras_are_told(tmp_path):
    def reasons(**options):
        instants, report = open_source("multiview", tmp_path, **options).read()
        return len(instants), " ".join(r.reason for r in report.rejects)

    write_keypoints(tmp_path)
    write_json(tmp_path, scale=1000.0)
    count, text = reasons()
    assert count == 0 and "millimetres where metres are expected; -o unit=" in text
    assert reasons(unit="mm")[0] == 6
    write_json(tmp_path, CAMERAS | {"cam1": CAMERAS["cam2"], "cam2": CAMERAS["cam1"]})
    count, text = reasons()
    assert count == 0 and "the calibrations of cam1 and cam2 were exchanged" in text
    write_json(tmp_path)
    write_keypoints(tmp_path, scale=0.5)
    count, text = reasons()
    assert count == 0 and "images 0.5 times as large" in text


def change_people(root, name, change):
    for path in sorted((root / "keypoints" / name).iterdir()):
        content = json.loads(path.read_text())
        content["people"] = change([np.reshape(p["pose_keypoints_2d"], (25, 3)) for p in content["people"]])
        path.write_text(
            json.dumps({"people": [{"pose_keypoints_2d": np.ravel(p).tolist()} for p in content["people"]]})
        )


@pytest.mark.parametrize("name", NAMES[1:])
def test_sides_exchanged_in_one_camera_are_named(tmp_path, name):
    """The first camera sees the person from the side, where both sides lie nearly together."""
    write_keypoints(tmp_path)
    write_json(tmp_path)
    change_people(tmp_path, name, lambda people: [person[OPENPOSE_25.flip] for person in people])
    instants, report = open_source("multiview", tmp_path).read()
    assert not instants and f"as if left and right were exchanged in {name}" in report.rejects[0].reason


def test_somebody_who_stands_twice_in_a_picture_is_a_doubt(tmp_path):
    write_keypoints(tmp_path, frames=1)
    write_json(tmp_path)
    change_people(tmp_path, NAMES[0], lambda people: people * 2)
    report = open_source("multiview", tmp_path).read()[1]
    assert any("have the keypoints of another in the same image" in doubt for doubt in report.doubts)


def test_frames_and_cameras_that_lack_are_counted_or_named(tmp_path):
    write_keypoints(tmp_path)
    write_json(tmp_path)
    (tmp_path / "keypoints" / "cam2" / "cam2_000000000005_keypoints.json").unlink()
    (tmp_path / "images" / "cam3" / "cam3_000000000002.jpg").unlink()
    source = open_source("multiview", tmp_path)
    instants, report = source.read()
    assert [len(i.views) for i in instants] == [4, 4, 3, 4, 4, 3]
    assert report.skipped == {"cam2 has no keypoints of the frame": 1} and "cam2 5" in source.notices()[0]
    assert [r.key for r in report.rejects] == ["000000002/cam3"] and "does not exist" in report.rejects[0].reason
    write_json(tmp_path, {n: c for n, c in CAMERAS.items() if n != "cam4"})
    with pytest.raises(InputError, match="cam4 is not in both"):
        open_source("multiview", tmp_path)
    assert len(open_source("multiview", tmp_path, cameras=("cam1", "cam3")).read()[0]) == 5
    write_json(tmp_path, {n: Camera(c.K, c.R, c.t, 2 * c.width, 2 * c.height) for n, c in CAMERAS.items()})
    with pytest.raises(InputError, match="as if they were 0.50 times as large"):
        open_source("multiview", tmp_path)


def test_a_camera_out_of_step_is_left_out_and_offsets_bring_it_back(tmp_path):
    write_keypoints(tmp_path, 30, late="cam4")
    write_json(tmp_path)
    instants, _ = open_source("multiview", tmp_path, offsets=("cam4:6",)).read()
    assert [len(i.views) for i in instants] == [4] * 24 + [3] * 6
    with pytest.raises(InputError, match="write CAM:FRAMES"):
        open_source("multiview", tmp_path, offsets=("cam4",))


def test_videos_stand_for_pictures_and_a_stranger_is_passed_over(tmp_path):
    write_keypoints(tmp_path)
    write_json(tmp_path)
    for file in (tmp_path / "images" / "cam1").iterdir():
        file.unlink()
    (tmp_path / "images" / "cam1").rmdir()
    (tmp_path / "videos").mkdir()
    writer = cv2.VideoWriter(str(tmp_path / "videos/cam1.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30, (WIDTH, HEIGHT))
    for _ in range(5):
        writer.write(np.full((HEIGHT, WIDTH, 3), 80, np.uint8))
    writer.release()
    path = tmp_path / "keypoints/cam2/cam2_000000000001_keypoints.json"
    person = json.loads(path.read_text())["people"][0]
    moved = np.array(person["pose_keypoints_2d"]).reshape(25, 3) * [0.5, 0.6, 1] + [30, 20, 0]
    path.write_text(json.dumps({"people": [{"pose_keypoints_2d": moved.ravel().tolist()}, person]}))
    instants, report = open_source("multiview", tmp_path).read()
    assert instants[1].views[0].image_path == "videos/cam1.mp4#frame=1"
    assert [len(i.views) for i in instants] == [4, 4, 4, 4, 4, 3] and "5 frames" in report.rejects[0].reason
    assert np.allclose(instants[1].views[1].joints_2d.ravel()[:2], person["pose_keypoints_2d"][:2])
    assert report.skipped["further people of cam2 whom no other camera agrees about"] == 1


def write_people(root, frames, *shifts):
    """People beside one another, by their shifts in metres: in every second file from the last to the first."""
    write_keypoints(root, frames)
    write_json(root)
    for number, (name, seen) in enumerate(CAMERAS.items()):
        for frame in range(frames):
            people = []
            for shift in shifts:
                pixels = project(seen, world_to_camera(seen, joints_at(frame) * [0.6, 1, 0.6] + shift))
                people.append({"pose_keypoints_2d": np.c_[pixels, np.full(25, 0.9)].ravel().tolist()})
            file = root / "keypoints" / name / f"{name}_{frame:012d}_keypoints.json"
            file.write_text(json.dumps({"people": people[:: -1 if number % 2 else 1]}))


def test_all_people_whom_cameras_agree_about_are_read_and_told_apart(tmp_path):
    write_people(tmp_path, 3, [-0.5, 0, 0], [0.4, 0, 0.1])
    instants, report = open_source("multiview", tmp_path).read()
    assert [i.id for i in instants] == [f"{frame:09d}/{k:02d}" for frame in range(3) for k in range(2)]
    assert not report.rejects and not report.skipped and all(i.subject is None and len(i.views) == 4 for i in instants)
    for instant in instants:
        shifts = [
            shift
            for shift in ([-0.5, 0, 0], [0.4, 0, 0.1])
            if all(
                np.allclose(
                    v.joints_2d,
                    project(v.camera, world_to_camera(v.camera, joints_at(instant.frame) * [0.6, 1, 0.6] + shift)),
                )
                for v in instant.views
            )
        ]
        assert len(shifts) == 1


def test_a_person_whom_one_camera_sees_is_counted_by_camera_and_the_others_stay_one_subject(tmp_path):
    write_people(tmp_path, 2, [0, 0, 0], [0.9, 0, 0])
    for name in NAMES[1:]:
        for file in (tmp_path / "keypoints" / name).iterdir():
            people = json.loads(file.read_text())["people"]
            keep = np.argmin(
                [
                    abs(
                        p["pose_keypoints_2d"][0]
                        - project(
                            CAMERAS[name],
                            world_to_camera(CAMERAS[name], joints_at(int(file.name.split("_")[1])) * [0.6, 1, 0.6]),
                        )[0, 0]
                    )
                    for p in people
                ]
            )
            file.write_text(json.dumps({"people": [people[keep]]}))
    instants, report = open_source("multiview", tmp_path).read()
    assert [i.id for i in instants] == ["000000000", "000000001"] and {i.subject for i in instants} == {"person"}
    assert report.skipped == {"further people of cam1 whom no other camera agrees about": 2} and not report.rejects


def test_a_camera_that_cuts_people_off_is_no_sign_of_another_resolution(tmp_path):
    write_keypoints(tmp_path, 3)
    write_json(tmp_path)
    for file in (tmp_path / "keypoints" / "cam1").iterdir():
        person = json.loads(file.read_text())["people"][0]
        pixels = np.array(person["pose_keypoints_2d"]).reshape(25, 3)
        low = np.sort(pixels[:, 1])[-8]
        cut = {"cam1": Camera(CAMERAS["cam1"].K, CAMERAS["cam1"].R, CAMERAS["cam1"].t, WIDTH, int(low))}
    write_json(tmp_path, CAMERAS | cut)
    for file in (tmp_path / "images" / "cam1").iterdir():
        cv2.imwrite(str(file), striped(int(low), WIDTH))
    instants, report = open_source("multiview", tmp_path).read()
    assert [len(i.views) for i in instants] == [4, 4, 4] and not report.rejects


def test_fisheyes_and_lenses_that_cannot_be_are_refused_by_name(tmp_path):
    write_keypoints(tmp_path, 1)
    for extra, reason in (
        ({"fisheye": True}, "camera cam1 is a fisheye, which is not read"),
        ({"dist": [50.0, 0, 0, 0, 0]}, "camera cam1: the lens coefficients .* as no lens does"),
        ({"dist": [0, -300.0, 0, 0, 0]}, "fold the image over itself"),
        ({"dist": [0.1, 0, 0, 0, 0, 0.2, 0, 0]}, "camera cam1 has more than k1 k2 p1 p2 k3"),
    ):
        given = tables()
        given["cam1"] |= extra
        (tmp_path / "rig.json").write_text(json.dumps({"cameras": given}))
        with pytest.raises(InputError, match=reason):
            open_source("multiview", tmp_path)


def test_a_number_that_no_float_holds_is_no_camera(tmp_path):
    write_keypoints(tmp_path, 1)
    given = tables()
    given["cam1"]["K"][0][2] = 10**400
    (tmp_path / "rig.json").write_text(json.dumps({"cameras": given}))
    with pytest.raises(InputError, match="K of cam1 holds something that is not a finite number"):
        open_source("multiview", tmp_path)


@pytest.mark.parametrize(("name", "pictures"), [*((name, False) for name in NAMES), ("cam1", True)])
def test_a_mirrored_camera_is_named(tmp_path, name, pictures):
    """pictures: the detector saw them mirrored, and took left for right. Who stands straight in the middle, seen from the front, looks
    the same then."""
    write_keypoints(tmp_path)
    write_json(tmp_path)
    order = OPENPOSE_25.flip if pictures else range(25)
    mirror = np.array([WIDTH - 1, 0, 0]), [-1, 1, 1]
    change_people(tmp_path, name, lambda people: [(mirror[0] + person * mirror[1])[order] for person in people])
    instants, report = open_source("multiview", tmp_path).read()
    kind = "pictures" if pictures else "keypoints"
    assert not instants and f"as if the {kind} were mirrored in {name}" in report.rejects[0].reason


def test_cameras_that_fall_into_groups_do_not_make_two_people_of_one(tmp_path, monkeypatch):
    """Where the median over all pairs of cameras is small enough, as of some wrong principal points."""
    write_keypoints(tmp_path)
    write_json(tmp_path)
    for name in NAMES[2:]:
        write_moved(tmp_path, name)
    monkeypatch.setattr(multiview, "odd_rig", lambda instants: None)
    instants, report = open_source("multiview", tmp_path).read()
    assert not instants and len(report.rejects) == 6
    assert all("they fall into groups that do not agree" in reject.reason for reject in report.rejects)


def write_moved(root, name):
    """The keypoints of a camera show the person a metre further on."""
    c, frames = CAMERAS[name], iter(range(6))

    def moved(people):
        there = world_to_camera(c, joints_at(next(frames)) + [1.0, 0, 0])
        return [np.c_[project(c, there), people[0][:, 2]]]

    change_people(root, name, moved)


def test_names_of_frames_may_be_times(tmp_path):
    """Milliseconds and microseconds since 1970."""
    write_keypoints(tmp_path, frames=2)
    write_json(tmp_path)
    for path in [*tmp_path.glob("*/*/*_0*")]:
        path.rename(path.with_name(path.name.replace("_0000", "_17000000")))
    instants, _ = open_source("multiview", tmp_path).read()
    assert [i.frame for i in instants] == [1700000000000000, 1700000000000001]


def test_times_that_gain_a_digit_keep_their_order(tmp_path):
    """Microseconds since the beginning, where a recording passes 1000 seconds; ids sort as texts."""
    write_keypoints(tmp_path, frames=4)
    write_json(tmp_path)
    for path in [*tmp_path.glob("*/*/*_0*")]:
        frame = int(path.name.split("_")[1].removesuffix(".jpg"))
        path.rename(path.with_name(path.name.replace(f"{frame:012d}", f"{999_950_000 + 33_333 * frame}")))
    instants, report = open_source("multiview", tmp_path).read()
    assert [i.frame for i in instants] == [999_950_000, 999_983_333, 1_000_016_666, 1_000_049_999]
    assert not report.rejects and instants[0].id == "0999950000" and instants[0].views[0].id == "0999950000/cam1"


def test_a_hand_that_cannot_be_read_is_listed_and_its_person_kept(tmp_path):
    write_keypoints(tmp_path, frames=2)
    write_json(tmp_path)
    file = tmp_path / "keypoints" / "cam2" / "cam2_000000000001_keypoints.json"
    content = json.loads(file.read_text())
    content["people"][0]["hand_left_keypoints_2d"] = [1.0] * 60
    file.write_text(json.dumps(content))
    instants, report = open_source("multiview", tmp_path).read()
    assert [len(i.views) for i in instants] == [4, 4]
    (reject,) = report.rejects
    assert reject.key == "000000001/cam2" and "hand_left_keypoints_2d has 60 numbers, expected 63" in reject.reason


def test_people_who_are_told_apart_are_counted_with_the_frames_they_are_in(tmp_path):
    write_people(tmp_path, 3, [-0.5, 0, 0], [0.4, 0, 0.1])
    subjects = check_source(open_source("multiview", tmp_path))["subjects"]
    assert subjects == {"person": {"instants": 3, "views": 12, "sampled": 24}}


@pytest.mark.parametrize("said", [True, 1])
def test_a_fisheye_is_refused_however_it_is_said(tmp_path, said):
    write_keypoints(tmp_path, frames=1)
    (tmp_path / "rig.json").write_text(json.dumps({n: t | {"fisheye": said} for n, t in tables().items()}))
    with pytest.raises(InputError, match="camera cam1 is a fisheye"):
        open_source("multiview", tmp_path)


def test_a_camera_with_a_lag_is_told_with_the_offset_that_puts_it_in_step(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.pipeline.sources.test_multiview.joints_at", striding)
    write_keypoints(tmp_path, 16)
    write_json(tmp_path)
    assert open_source("multiview", tmp_path).read()[1].doubts == []
    for file in sorted((tmp_path / "keypoints" / "cam2").iterdir(), reverse=True):
        number = int(file.name.split("_")[1])
        file.rename(file.with_name(f"cam2_{number + 3:012d}_keypoints.json"))
    doubt = "cam2 seems about 3 frames late: its person would agree better with the other cameras; -o offsets=cam2:3 puts it in step"
    assert open_source("multiview", tmp_path).read()[1].doubts == [doubt]
    assert (
        open_source("multiview", tmp_path, offsets=("cam2:1",))
        .read()[1]
        .doubts[0]
        .startswith("cam2 seems about 2 frames")
    )
    assert open_source("multiview", tmp_path, offsets=("cam2:3",)).read()[1].doubts == []


def striding(frame: int) -> np.ndarray:
    joints = standing(OPENPOSE_25.names)
    for sign, side in ((1, "left"), (-1, "right")):
        for part, swing in (("wrist", 0.3), ("elbow", 0.15), ("knee", -0.15), ("ankle", -0.3)):
            joints[OPENPOSE_25.index(f"{side}_{part}"), 2] += sign * swing * np.sin(0.5 * frame)
    return joints


def change(root, cameras, edit, frames=None):
    for name in cameras:
        for number, file in enumerate(sorted((root / "keypoints" / name).iterdir())):
            if frames is None or number in frames:
                content = json.loads(file.read_text())
                for person in content["people"]:
                    points = np.array(person["pose_keypoints_2d"]).reshape(-1, 3)
                    person["pose_keypoints_2d"] = edit(points).ravel().tolist()
                file.write_text(json.dumps(content))


def test_a_picture_whose_left_and_right_are_exchanged_is_left_out_alone(tmp_path):
    """As detectors do now and then of who is seen from behind."""
    write_keypoints(tmp_path, 8)
    write_json(tmp_path)
    flip = OPENPOSE_25.flip
    change(tmp_path, ["cam2"], lambda p: p[flip], (2, 5))
    change(tmp_path, ["cam4"], lambda p: p[flip], (6,))
    instants, report = open_source("multiview", tmp_path).read()
    assert [len(i.views) for i in instants] == [4, 4, 3, 4, 4, 3, 3, 4]
    assert [r.key for r in report.rejects] == ["000000002/cam2", "000000005/cam2", "000000006/cam4"]
    assert all("left and right are exchanged in it" in r.reason for r in report.rejects)


def test_cameras_whose_keypoints_stand_still_are_told(tmp_path):
    write_keypoints(tmp_path, 10)
    write_json(tmp_path)
    files = sorted((tmp_path / "keypoints" / "cam3").iterdir())
    for file in files[3:]:
        file.write_text(files[3].read_text())
    doubts = open_source("multiview", tmp_path).read()[1].doubts
    assert [d for d in doubts if d.startswith("the keypoints of cam3 are those of the frame before in 6 of 10 frames")]


@pytest.mark.parametrize(("scale", "told"), [(0.5, "0.9 m"), (0.75, None), (1.0, None), (1.4, "2.4 m")])
def test_people_of_a_size_that_nobody_has_are_told(tmp_path, scale, told):
    """As of a calibration whose squares have another size."""
    write_keypoints(tmp_path)
    write_json(tmp_path, scale=scale)
    doubts = open_source("multiview", tmp_path).read()[1].doubts
    assert (told is None and not doubts) or f"people would be about {told} tall" in doubts[0]


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_focal_lengths_of_other_lenses_are_told(tmp_path, factor):
    """Who stands where all cameras look would only be half as tall with twice the focal lengths."""
    write_keypoints(tmp_path)
    wrong = {
        name: Camera(c.K * [[factor, 1, 1], [1, factor, 1], [1, 1, 1]], c.R, c.t, WIDTH, HEIGHT)
        for name, c in CAMERAS.items()
    }
    write_json(tmp_path, wrong)
    instants, report = open_source("multiview", tmp_path).read()
    told = [reject.reason for reject in report.rejects] if not instants else report.doubts
    assert "the focal lengths were 0.5 times too long" in told[0] or "are its focal lengths wrong?" in told[0]


def test_a_camera_that_sees_nobody_is_counted(tmp_path):
    write_keypoints(tmp_path, 4)
    write_json(tmp_path)
    for file in (tmp_path / "keypoints" / "cam1").iterdir():
        file.write_text('{"people": []}')
    instants, report = open_source("multiview", tmp_path).read()
    assert [len(i.views) for i in instants] == [3] * 4 and report.skipped["cam1 sees nobody in the frame"] == 4


def test_videos_are_found_whatever_the_case_of_their_ending_and_others_are_listed(tmp_path):
    write_keypoints(tmp_path, 3)
    write_json(tmp_path)
    (tmp_path / "videos").mkdir()
    for name in NAMES:
        writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
        for _ in range(3):
            writer.write(striped(HEIGHT, WIDTH))
        writer.release()
        (tmp_path / "a.avi").rename(tmp_path / "videos" / f"{name}.AVI")
        for picture in (tmp_path / "images" / name).iterdir():
            picture.unlink()
        (tmp_path / "images" / name).rmdir()
    assert len(open_source("multiview", tmp_path).read()[0]) == 3
    (tmp_path / "videos" / "cam2.AVI").rename(tmp_path / "videos" / "GX01.AVI")
    with pytest.raises(InputError, match=r"videos/ holds GX01.AVI, cam1.AVI, .* Name each video as its camera"):
        open_source("multiview", tmp_path)
