"""Files of people: each is opened again by what it is for, as far as that is at hand."""

import json
import struct
from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from model.people import meshes, overlay
from model.people.motion import Motions, Seen, evenly
from model.people.outputs import FORMATS, Outputs, Place, npz, parse_formats
from model.people.predictions import person_entry
from model.people.records import Picture
from model.people.shown import Stems
from pipeline.body.model import load_body
from pipeline.camera import assumed_camera, project
from pipeline.errors import InputError
from pipeline.outputs import is_ours
from pipeline.records import PARAMETER_SIZES
from pipeline.skeletons import SMPLX_55
from tests.model.people.scenes import HEIGHT, WIDTH, shown, standing
from tests.pipeline.oracle import smplx_layer


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def two(body):
    return shown(body, [standing(0, -0.5), standing(1, 0.6, 4.0)])


@pytest.fixture(scope="module")
def clip(body):
    """Two people over six frames, of which one is not seen in frame 3, and every second frame is read."""
    frames = []
    for k in range(6):
        parameters = [standing(0, -0.5 + 0.02 * k), standing(1, 0.6, 4.0)]
        parameters[0].body_pose[0] = 0.1 * k
        tracks = [1, 2]
        if k == 3:
            parameters, tracks = parameters[1:], tracks[1:]
        frames.append(shown(body, parameters, f"walk.mp4#frame={2 * k}", 2 * k, tracks))
    return frames


def written(folder, names, pictures):
    outputs = Outputs(Place(folder), names)
    for one in pictures:
        outputs.add(one)
    paths = outputs.close()
    assert sorted(path for path in folder.iterdir()) == sorted(paths)
    return paths


@pytest.mark.slow
def test_plain_smplx_poses_what_predictions_npz_holds(body, two, tmp_path):
    (path,) = written(tmp_path, ["npz"], [two])
    with np.load(path, allow_pickle=False) as table:
        assert table["image"].tolist() == ["street.jpg"] * 2 and table["person"].tolist() == [0, 1]
        assert table["joints"].shape == (2, 17, 3) and table["joint_names"].shape == (17,) and table["has_body"].all()
        layer = smplx_layer()
        for k in range(2):
            found = layer(**{name: torch.from_numpy(table[name][k : k + 1]) for name in PARAMETER_SIZES})
            np.testing.assert_allclose(found.vertices[0], two.vertices[k], atol=1e-5)
    assert is_ours(path)


def test_a_picture_of_nobody_gives_a_table_without_rows(body, tmp_path):
    paths = written(tmp_path, list(FORMATS), [shown(body, [])])
    assert sorted(path.name for path in paths) == ["people.html", "predictions.npz"]
    assert np.load(tmp_path / "predictions.npz")["joint_names"].shape == (17,)


def test_a_glb_holds_each_person_upright_and_before_the_camera(two):
    data = meshes.as_glb(two)
    assert data[:4] == b"glTF" and struct.unpack("<I", data[8:12])[0] == len(data)
    scene = trimesh.load(BytesIO(data), file_type="glb")
    assert set(scene.geometry) == {"person-1", "person-2"}
    for k, name in enumerate(("person-1", "person-2")):
        mesh = scene.geometry[name]
        np.testing.assert_allclose(mesh.vertices, two.vertices[k] * [1, -1, -1], atol=1e-6)
        share = mesh.visual.material.baseColorFactor[:3] / 255  # glTF's factors are linear; screens show this:
        shows = np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(255 * shows, two.colour(k), atol=7)
        assert mesh.is_watertight and mesh.volume > 0.03  # faces look outwards also after turning
    tree = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    assert all("NORMAL" in mesh["primitives"][0]["attributes"] for mesh in tree["meshes"])


def test_a_ply_holds_all_bodies_in_the_axes_of_the_camera(two, tmp_path):
    (path,) = written(tmp_path, ["ply"], [two])
    mesh = trimesh.load(path)
    np.testing.assert_allclose(mesh.vertices, np.concatenate(two.vertices), atol=1e-6)
    assert mesh.visual.vertex_colors[0, :3].tolist() == two.colour(0).tolist()
    assert is_ours(path) and path.read_bytes().startswith(b"ply\nformat binary_little_endian 1.0\ncomment ")


def read_bvh(data: bytes):
    """(names, parents, offsets (J, 3), channels per joint, values (T, C), seconds a frame) of a BVH file."""
    words, names, parents, offsets, channels, open_joints = data.decode().split(), [], [], [], [], []
    k, end_site = 0, False
    while words[k] != "MOTION":
        if words[k] in ("ROOT", "JOINT"):
            parents.append(open_joints[-1] if open_joints else -1)
            open_joints.append(len(names))
            names.append(words[k + 1])
        elif words[k] == "End":
            end_site = True
        elif words[k] == "OFFSET" and not end_site:
            offsets.append([float(value) for value in words[k + 1 : k + 4]])
        elif words[k] == "CHANNELS":
            channels.append(words[k + 2 : k + 2 + int(words[k + 1])])
        elif words[k] == "}":
            if not end_site:
                open_joints.pop()
            end_site = False
        k += 1
    frames, seconds = int(words[k + 2]), float(words[k + 5])
    values = np.array(words[k + 6 :], float).reshape(frames, -1)
    return names, parents, np.array(offsets), channels, values, seconds


def bvh_joints(data: bytes) -> dict[str, np.ndarray]:
    """name -> (T, 3) places, by walking down the tree, each channel in the order of the file."""
    names, parents, offsets, channels, values, _ = read_bvh(data)
    places, turns, column = {}, {}, 0
    for joint, name in enumerate(names):
        own = values[:, column : column + len(channels[joint])]
        column += len(channels[joint])
        angles = {word[0]: own[:, k] for k, word in enumerate(channels[joint]) if word.endswith("rotation")}
        turn = Rotation.from_euler("".join(angles), np.stack(list(angles.values()), 1), degrees=True).as_matrix()
        if joint == 0:
            places[name], turns[name] = own[:, :3] + offsets[0], turn
            continue
        above = names[parents[joint]]
        places[name] = places[above] + turns[above] @ offsets[joint]
        turns[name] = turns[above] @ turn
    assert column == values.shape[1]
    return places


def test_a_bvh_puts_the_joints_where_the_body_has_them(body, clip, tmp_path):
    paths = written(tmp_path, ["bvh"], clip)
    assert [path.name for path in paths] == ["walk.track-1.bvh", "walk.track-2.bvh"]
    data = paths[0].read_bytes()
    found = bvh_joints(data)
    assert len(found) == 55 and read_bvh(data)[5] == pytest.approx(0.1)
    for t in (0, 1, 5):
        _, joints = body.mesh(clip[t].people[0].body)
        for joint, name in enumerate(SMPLX_55.names):
            np.testing.assert_allclose(found[name][t], 100 * joints[joint] * [1, -1, -1], atol=0.02, err_msg=name)


def test_a_frame_in_which_somebody_is_not_seen_lies_between_its_neighbours(clip):
    motions = Motions()
    for one in clip:
        motions.add(one)
    first, second = motions
    assert first.filled.tolist() == [False, False, False, True, False, False] and not second.filled.any()
    assert first.frames.tolist() == [0, 2, 4, 6, 8, 10] and first.fps == pytest.approx(10)
    middle = (clip[2].people[0].body.transl + clip[4].people[0].body.transl) / 2
    np.testing.assert_allclose(first.transl[3], middle, atol=1e-6)
    turn = (
        Rotation.from_rotvec(clip[2].people[0].body.body_pose[:3]),
        Rotation.from_rotvec(clip[4].people[0].body.body_pose[:3]),
    )
    half = (turn[0].inv() * turn[1]).magnitude() / 2
    assert (turn[0].inv() * Rotation.from_rotvec(first.rotations[3, 1])).magnitude() == pytest.approx(half, abs=1e-6)


@pytest.mark.parametrize(
    ("frames", "step"),
    [([0, 3, 5], 1), ([0, 2, 5], 1), ([3, 6, 8], 1), ([0, 4, 10], 2), ([7, 8], 1), ([0, 6, 12], 6), ([5, 20, 25], 5)],
)
def test_every_pose_stays_in_its_own_frame_and_the_last_is_kept(frames, step):
    """Somebody who turns and walks steadily, seen now and then."""
    turns = np.zeros((len(frames), 55, 3), np.float32)
    turns[:, 0, 1] = 0.1 * np.array(frames)
    seen = [
        Seen(frame, frame / 25, np.zeros(10, np.float32), turns[k], np.array([frame, 0, 1], np.float32))
        for k, frame in enumerate(frames)
    ]
    found = evenly("v.track-1", seen)
    assert found.frames.tolist() == list(range(frames[0], frames[-1] + 1, step))
    assert found.frames[~found.filled].tolist() == frames and found.fps == pytest.approx(25 / step)
    np.testing.assert_allclose(found.transl[:, 0], found.frames, atol=1e-6)
    np.testing.assert_allclose(found.rotations[:, 0, 1], 0.1 * found.frames, atol=1e-6)


def test_amass_arrays_pose_the_body_with_z_up(body, clip, tmp_path):
    paths = written(tmp_path, ["amass"], clip)
    with np.load(paths[0], allow_pickle=False) as file:
        assert str(file["gender"]) == "neutral" and str(file["surface_model_type"]) == "smplx"
        assert (
            file["poses"].shape == (6, 165)
            and file["mocap_frame_rate"] == pytest.approx(10)
            and file["betas"].shape == (10,)
        )
        parts = [file[name] for name in ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")]
        np.testing.assert_array_equal(np.concatenate(parts, 1), file["poses"])
        pose = {name: torch.from_numpy(file[name][5:6]) for name in ("root_orient", "pose_body", "trans")}
        betas = torch.from_numpy(file["betas"])[None]
    vertices, _ = body.pose(
        {"betas": betas, "global_orient": pose["root_orient"], "body_pose": pose["pose_body"], "transl": pose["trans"]}
    )
    seen = clip[5].vertices[0]
    np.testing.assert_allclose(vertices[0], np.stack([seen[:, 0], seen[:, 2], -seen[:, 1]], 1), atol=1e-4)


def test_a_photograph_is_a_motion_of_one_frame(two, tmp_path):
    assert [path.name for path in written(tmp_path, ["bvh"], [two])] == ["street.person-1.bvh", "street.person-2.bvh"]


def test_every_entry_says_whether_something_speaks_against_it(two):
    """Also one without a body."""
    plain = replace(two.people[0], body=None, spread=None)
    entries = [person_entry(two.found, one, two.joint_set) for one in (plain, replace(plain, doubts="small"))]
    assert [entry["doubts"] for entry in entries] == ["", "small"] and "smplx" not in entries[0]


def test_somebody_whom_nothing_follows_has_a_motion_of_each_frame(body, tmp_path):
    """The first person of one frame may be the second of the next."""
    near, far = standing(0, -0.5), standing(1, 0.6, 4.0)
    frames = [shown(body, people, f"walk.mp4#frame={k}", k) for k, people in enumerate([[near, far], [far, near]])]
    paths = written(tmp_path, ["amass"], frames)
    assert [path.name for path in paths][:2] == ["walk.frame000000.person-1.npz", "walk.frame000000.person-2.npz"]
    assert [len(np.load(path)["trans"]) for path in paths] == [1] * 4


@pytest.mark.slow
def test_an_overlay_paints_bodies_where_they_are_seen(two):
    drawn = overlay.draw_people(two, longest=WIDTH)
    assert drawn.shape == (HEIGHT, 2 * WIDTH + 200, 3)
    bodies = drawn[:, WIDTH : 2 * WIDTH].astype(int)
    for k in range(2):
        x, y = np.round(project(two.picture.camera, two.vertices[k].mean(0))).astype(int)
        assert np.abs(bodies[y, x] - 90).max() > 30 and np.argmax(bodies[y, x]) == np.argmax(two.colour(k))
    assert (bodies[:3] == 90).all()  # the picture shows where nobody is
    assert (drawn[:, :WIDTH] != 90).any() and (drawn[:, 2 * WIDTH :] != overlay.GROUND).any()


@pytest.mark.slow
def test_the_side_view_is_made_for_those_in_front_and_counts_the_others(body):
    near, both = (shown(body, [standing(0), standing(1, 0.5, depth)]) for depth in (4.0, 30.0))
    sides = [overlay.from_the_side(one, 300, overlay.side_window(one)) for one in (near, both)]
    coloured = [np.ptp(side.astype(int), 2) > 40 for side in sides]
    assert all(np.ptp(np.nonzero(one)[0]) > 100 for one in coloured)  # people are tall in both
    corner = [(side[-25:, :150].max(2) < 60).sum() for side in sides]  # ink of letters
    assert corner[0] == 0 and corner[1] > 50


def test_an_overlay_says_which_body_is_doubtful(two):
    doubtful = replace(two.people[1], doubts="fewer than 6 joints have a place")
    other = replace(two, found=replace(two.found, people=(two.people[0], doubtful)))
    plain, said = (overlay.with_skeletons(one, one.picture.pixels.copy(), 1.0) for one in (two, other))
    y, x, _ = np.nonzero(plain != said)
    assert len(x) > 500 and y.max() - y.min() < 30  # a line of words
    assert x.max() - x.min() > 100


def test_a_body_that_is_partly_behind_the_camera_is_drawn_all_the_same(body):
    one = shown(body, [standing(0)])
    moved = one.vertices[0] - [0, 0, 3.0]
    drawn = overlay.draw_meshes(one.picture.pixels, one.picture.camera, [moved], body.faces, np.array([[255, 0, 0]]))
    assert drawn.shape == one.picture.pixels.shape and (drawn != 90).any()


@pytest.mark.slow
def test_a_video_becomes_one_film(clip, tmp_path):
    (path,) = written(tmp_path, ["overlay"], clip)
    assert path.name == "walk.people.mp4" and is_ours(path)
    film = cv2.VideoCapture(str(path))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(10) and film.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    film.release()
    written(tmp_path, ["overlay"], clip)  # ours may be written again


def test_what_somebody_else_wrote_is_left_alone(tmp_path):
    for name in ("street.people.glb", "street.person-1.bvh", "predictions.npz"):
        (tmp_path / name).write_bytes(b"mine")
    for kind in ("glb", "bvh", "npz"):
        with pytest.raises(
            InputError, match="nothing says that this" if kind == "bvh" else "this program did not write it"
        ):
            Outputs(Place(tmp_path), [kind])  # before the pictures are looked at, which may take hours
    assert (tmp_path / "street.person-1.bvh").read_bytes() == b"mine"
    (tmp_path / "predictions.json").write_text('{"written_by": "Written by nvf-cli"}')
    Outputs(Place(tmp_path), [])
    with pytest.raises(InputError):
        Place(tmp_path).claim("street.people.glb")
    assert Place(tmp_path).claim("street.person-1.bvh")  # a file without room for a mark, in a folder of ours


@pytest.mark.parametrize("name", ["run.json", "best.safetensors", "fits.h5"])
def test_predictions_are_not_put_among_other_results(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=f"{name}.*Name another folder"):
        Place(tmp_path)


def test_pictures_of_one_name_get_files_of_their_own():
    stems, camera = Stems(), assumed_camera(4, 4)
    names = ["a/x.jpg", "b/X.png", "a/x.jpg", "c/v.mp4#frame=7"]
    frames = [None, None, None, 7]
    pictures = [
        Picture(name, np.zeros((4, 4, 3), np.uint8), camera, frame) for name, frame in zip(names, frames, strict=True)
    ]
    assert [stems.picture(one) for one in pictures] == ["x", "X-2", "x", "v.frame000007"]


def test_formats_are_named():
    assert parse_formats("glb, NPZ,glb") == ("glb", "npz") and parse_formats("") == ()
    with pytest.raises(InputError, match=r"there is no format fbx\. Choose from html, npz, overlay"):
        parse_formats("glb,fbx")
    assert all(form.says for form in FORMATS.values())
    assert npz({"a": np.ones(3)})[:2] == b"PK"
