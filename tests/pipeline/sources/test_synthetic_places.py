"""Real places of the capture: what they show and how they light, the camera's sensor, and the files they are made from."""

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline import known_package
from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.sources.synthetic import people, places, render, scenery, sensor, sequences
from pipeline.sources.synthetic.build import places as built
from pipeline.sources.synthetic.light import Light, features
from pipeline.sources.synthetic.settings import CaptureSettings, Looks

SETTINGS = CaptureSettings(seed=1, instants=8, image_px=128, looks=Looks(places=1.0))
SUN = np.array([0.48, 0.64, 0.6])


def panorama(sun=2000.0):
    """(64, 128, 3) a grey world with a blue upper half and a small sun."""
    rays = places.direction_grid(64)
    image = np.full((64, 128, 3), 0.3, np.float32)
    image[rays[..., 2] > 0] = [0.3, 0.4, 0.8]
    image[(rays @ SUN) > 0.998] = sun
    return image


def test_every_listed_place_is_there_with_its_licence_and_the_splits_share_none():
    records = places.read_list()
    assert len(records) >= 20 and {record["licence"] for record in records.values()} == {"CC0-1.0"}
    for name, record in records.items():
        assert places.open_place(name).surroundings.shape[1] in (512, 1024)
        assert record["author"] and record["package"] and len(next(iter(record["read_from"].values()))) == 64
    assert {path.name for path in places.ASSETS.iterdir()} >= {"pmndrs_LICENSE.txt", "blender_LICENSE.txt"}
    of_splits = [places.names_of(split) for split in ("train", "validation", "test")]
    assert sum(map(len, of_splits)) == len(set().union(*of_splits)) == len(records)
    assert sum(path.stat().st_size for path in places.ASSETS.iterdir()) < 3e6


def test_a_damaged_or_missing_place_is_named(tmp_path, monkeypatch):
    licence = places.ASSETS / "pmndrs_LICENSE.txt"
    monkeypatch.setattr(places, "ASSETS", tmp_path)
    with pytest.raises(InputError, match="pmndrs_LICENSE.txt, the licence of pmndrs_city.jpg, is missing"):
        places.open_place.__wrapped__("pmndrs_city")
    (tmp_path / licence.name).write_bytes(licence.read_bytes())
    with pytest.raises(InputError, match="pmndrs_city.jpg is missing"):
        places.open_place.__wrapped__("pmndrs_city")
    (tmp_path / "pmndrs_city.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match="pmndrs_city.jpg is damaged"):
        places.open_place.__wrapped__("pmndrs_city")
    with pytest.raises(InputError, match="places.json cannot be read"):
        places.read_list.__wrapped__()


def test_light_of_a_panorama_is_what_its_pixels_send():
    """The slow twin: the sum over all pixels of their light on a surface."""
    image = panorama(sun=300.0)
    light = built.make_light(image)
    assert len(light.directions) == 1 and light.directions[0] @ SUN > 0.999
    rays, rows = places.direction_grid(64).reshape(-1, 3), (np.arange(64) + 0.5) / 64 * np.pi
    solid = np.repeat(np.sin(rows) * (np.pi / 64) ** 2, 128)
    for normal in np.array([[0, 0, 1.0], [0, 0, -1], [0.6, 0.8, 0], [-0.6, 0, 0.8]]):
        expected = (np.maximum(rays @ normal, 0) * solid) @ image.reshape(-1, 3) / np.pi
        got = light.on(normal[None])[0] + np.maximum(light.directions @ normal, 0) @ light.colours
        np.testing.assert_allclose(got, expected, atol=0.06 * expected.max())


def test_turned_light_is_the_same_light_on_a_turned_surface():
    rng = np.random.default_rng(0)
    light = Light(rng.normal(size=(9, 3)), np.array([[0.6, 0, 0.8]]), np.ones((1, 3)))
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    c, s = np.cos(0.7), np.sin(0.7)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    turned = light.turned(0.7)
    np.testing.assert_allclose(
        features(normals @ R.T) @ turned.ambient, features(normals) @ light.ambient, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(turned.directions[0], R @ light.directions[0])


@pytest.mark.parametrize("yaw", [0.0, 1.0, 4.0])
def test_the_sun_stands_in_the_picture_where_its_light_comes_from(yaw):
    picture, light = built.make_place(panorama())
    place = places.Place("drawn", picture, light)
    towards = place.light.turned(yaw).directions[0]
    rays = np.array([[towards, towards + [0.3, -0.3, 0.3], -towards]])
    depth, columns, rows = places.surroundings_map(rays, np.array([0, 0, places.TAKEN_AT]), 1e4, yaw, 64)
    seen = places.draw_surroundings(place, columns, rows)[0]
    assert seen[0].min() > 3.5 and seen[1:].max() < 2.5
    assert depth[0, 2] == pytest.approx(places.TAKEN_AT / towards[2])


def test_nobody_is_seen_behind_what_stands_before_them_and_the_floor_gets_darker():
    studio = sequences.open_studio(people.make_rig(load_body()), SETTINGS)
    person, camera = studio.persons[1], studio.cameras[1][0]
    standing = (person.rest - person.rest[:, 1].min() * np.array([0, 1.0, 0]))[:, [0, 2, 1]] * [1.0, -1, 1]
    scene = render.make_scene(standing, studio.rig.faces, studio.rig.template.astype(np.float32))
    setting = scenery.draw_setting(np.random.default_rng(1), SETTINGS.looks, SETTINGS.seed, "train")
    backdrop = scenery.draw_backdrop(setting, camera, np.random.default_rng(2), None, SETTINGS.looks)

    def view(backdrop):
        painter = lambda _faces, at: np.full((len(at), 3), 0.5, np.float32)  # noqa: E731
        return render.draw_view(scene, camera, painter, setting.light, backdrop, 1, np.random.default_rng(3))[1]

    assert view(backdrop).sum() > 300
    assert view(replace(backdrop, depth=np.ones_like(backdrop.depth))).sum() == 0
    image = np.ones_like(backdrop.image)
    render.shade_floor(scene, setting.light, backdrop, image)
    assert image.max() < 1.001 and image.min() < 0.75


def test_a_plain_camera_only_exposes_and_any_camera_keeps_the_range():
    light = Light(np.zeros((9, 3)), np.array([[0, 0, 1.0]]), np.ones((1, 3)))
    image = np.random.default_rng(0).random((64, 64, 3), np.float32)
    plain = Looks(camera_effects=False)
    drawn = [sensor.draw_sensor(np.random.default_rng(k), image, light, SETTINGS.looks) for k in range(60)]
    for kind in (sensor.draw_sensor(np.random.default_rng(0), image, light, plain), *drawn):
        picture = sensor.develop(image, kind, np.random.default_rng(1))
        assert picture.dtype == np.uint8 and picture.shape == image.shape and 20 < picture.mean() < 235
    assert sensor.draw_sensor(np.random.default_rng(0), image, light, plain).shake is None
    assert any(k.shake is not None for k in drawn) and len({k.coarse for k in drawn}) > 10
    kernel = sensor.shake_kernel(5.0, 0.4)
    assert kernel.sum() == pytest.approx(1) and kernel.min() >= 0


def known(files, **changes):
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return replace(
        known_package.Known(
            "@a/b", "1.2.0", "CC0-1.0", "`npm pack @a/b@1.2.0`", "LICENSE", "CC0", "package.json", sums
        ),
        **changes,
    )


def lay_out(folder, files, version="1.2.0"):
    folder.mkdir()
    (folder / "LICENSE").write_text("CC0 1.0 Universal")
    (folder / "package.json").write_text(json.dumps({"name": "@a/b", "version": version}))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def spoil(folder, how):
    if how == "no licence":
        (folder / "LICENSE").unlink()
    elif how == "another licence":
        (folder / "LICENSE").write_text("GNU AFFERO GENERAL PUBLIC LICENSE")
    elif how == "another version":
        (folder / "package.json").write_text('{"name": "@a/b", "version": "1.3.0"}')
    elif how == "no manifest":
        (folder / "package.json").write_text("[1]")
    elif how == "a changed file":
        (folder / "x.exr").write_bytes(b"other")
    elif how == "a missing file":
        (folder / "x.exr").unlink()
    elif how == "a link out of the folder":
        (folder / "x.exr").unlink()
        (folder / "x.exr").symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no licence", "LICENSE, its licence, cannot be read.*npm pack @a/b@1.2.0"),
        ("another licence", "LICENSE does not begin with 'CC0'"),
        ("another version", "not @a/b 1.2.0: its version is 1.3.0"),
        ("no manifest", "package.json is not the manifest"),
        ("a changed file", "x.exr has the checksum"),
        ("a missing file", "x.exr is missing"),
        ("a link out of the folder", "x.exr is a link"),
    ],
)
def test_packages_that_are_not_the_known_ones_are_refused(tmp_path, how, said):
    folder = lay_out(tmp_path / "package", {"x.exr": b"data"})
    assert known_package.open_package(folder, known({"x.exr": b"data"})).keys() == {"LICENSE", "x.exr"}
    spoil(folder, how)
    with pytest.raises(InputError, match=said):
        known_package.open_package(folder, known({"x.exr": b"data"}))
    with pytest.raises(InputError, match="is no folder"):
        known_package.open_package(tmp_path / "nowhere", known({}))


def test_places_are_built_from_packages(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENCV_IO_ENABLE_OPENEXR", "1")
    data = cv2.imencode(".exr", panorama()[..., ::-1])[1].tobytes()
    files = {"yard.exr": data}
    folder = lay_out(tmp_path / "package", files)
    first, second = known(files), known(files, name="c-data", manifest=None)
    monkeypatch.setattr(built, "PMNDRS", first)
    monkeypatch.setattr(built, "BLENDER", second)
    monkeypatch.setattr(built, "AUTHORS", {"@a/b": "A", "c-data": "C"})
    records = built.build_places((folder, folder), tmp_path / "out")
    assert records.keys() == {"a_yard", "c_yard"} and records["c_yard"]["author"] == "C"
    assert json.loads((tmp_path / "out" / "places.json").read_text()) == records
    written = (tmp_path / "out" / "a_yard.jpg").read_bytes()
    assert hashlib.sha256(written).hexdigest() == records["a_yard"]["sha256"]
    spoil(folder, "no licence")
    with pytest.raises(InputError, match="its licence"):
        built.build_places((folder, folder), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_texture_over_a_real_floor_brings_light_and_no_colour():
    """Coloured spots grew on meadows."""
    rng = np.random.default_rng(2)
    setting = replace(scenery.draw_setting(rng, SETTINGS.looks, 1, "train"), floor_detail=0.8)
    spots = np.zeros((64, 64, 3), np.uint8)
    spots[::2] = [250, 20, 20]
    pixels = np.stack(np.meshgrid(np.linspace(-0.6, 0.6, 40), np.linspace(0.1, 0.9, 30), [1.0]), -1)[:, :, 0]
    down = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)  # x right, y down, z forwards -> the world's axes
    rays, eye = (pixels @ down).astype(np.float32), np.array([0, -2.0, 1.5], np.float32)
    bare, _ = scenery._see_place(replace(setting, floor=None), rays, eye)
    laid, _ = scenery._see_place(replace(setting, floor=spots), rays, eye)
    change = laid / np.maximum(bare, 1e-6)
    assert np.ptp(change[..., 0]) > 0.2 and np.abs(change - change.mean(-1, keepdims=True)).max() < 1e-3
