"""Hair of the capture: where it lies on a person, how it falls in a pose, and that it changes nothing but what is seen."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pipeline.body.model import load_body
from pipeline.sources.synthetic import appearance, dressing, hair, motion, people, render, scalp, sequences
from pipeline.sources.synthetic.settings import CaptureSettings
from pipeline.sources.synthetic.wild import film
from pipeline.sources.synthetic.wild.settings import WildSettings

SETTINGS = CaptureSettings(seed=1, instants=8, image_px=128)
EVERY = [style for styles in hair.STYLES.values() for style in styles]


@pytest.fixture(scope="module")
def studio():
    return sequences.open_studio(people.make_rig(load_body()), SETTINGS)


def make(studio, subject, style, seed):
    """A naked person's hair and head."""
    rng, person, tailor = np.random.default_rng(seed), studio.persons[subject], studio.tailor
    outfit = replace(appearance.draw_outfit(rng, tailor.marks), hair_style="short")
    head = scalp.head_of(tailor.scalp, tailor.rig, person, tailor.marks, outfit, person.rest)
    return hair.make_hair(head, style, outfit.hair, [], rng), head


def beneath(points, faces, body, normals):
    """(F,) bool: which faces lie with every corner more than 4 mm beneath the skin."""
    near = cKDTree(body).query(points)[1]
    return (np.einsum("gc,gc->g", points - body[near], normals[near]) < -0.004)[faces].all(1)


@pytest.mark.parametrize("style", EVERY)
def test_hair_lies_on_the_head_and_leaves_the_face_free(studio, style):
    for seed, subject in enumerate((1, 5, 9)):
        made, head = make(studio, subject, style, seed)
        body = studio.persons[subject].rest
        assert np.isfinite(made.rest).all() and made.faces.min() == 0 and made.faces.max() == len(made.rest) - 1
        np.testing.assert_allclose(made.weights.sum(1), 1, atol=1e-6)
        assert made.colours.min() >= 0 and made.colours.max() <= 1 and 300 < len(made.faces) < 6000
        normals = render.vertex_normals(body, studio.rig.faces)
        assert beneath(made.rest, made.faces, body, normals).mean() < 0.02
        on_head = made.hang == 0
        off = cKDTree(body).query(made.rest[on_head])[0]
        assert off.max() < 0.13 and np.quantile(off, 0.05) < 0.02  # neither pokes out nor floats
        # Nothing between the camera and the eyes, the nose and the mouth.
        x, y, z = (made.rest - head.middle).T
        face = (np.abs(x) < 0.03) & (y < head.eyes - head.middle[1]) & (y > head.chin - head.middle[1])
        assert not (face & (z > 0.03)).any()


def test_heads_differ_in_their_outlines(studio):
    """Widths at four heights, seen from the front and from the side."""
    shapes = {}
    for style in EVERY:
        for seed in (0, 1):
            made, head = make(studio, 1, style, seed)
            bands = [np.abs(made.rest[:, 1] - head.middle[1] - y) < 0.02 for y in (0.08, 0.02, -0.06, -0.14)]
            x, _, z = (made.rest - head.middle).T
            shapes[style, seed] = [
                f(v[b], initial=0) for b in bands for f, v in ((np.max, x), (np.max, z), (np.min, z))
            ]
    names = list(shapes)
    gaps = [np.abs(np.subtract(shapes[a], shapes[b])).max() for i, a in enumerate(names) for b in names[i + 1 :]]
    assert np.quantile(gaps, 0.05) > 0.003 and np.median(gaps) > 0.015


def test_hair_falls_towards_the_ground_whichever_way_up_the_person_is(studio):
    person = studio.persons[1]
    for style in ("long", "bob", "ponytail"):
        made, _ = make(studio, 1, style, 3)
        for turn in (np.eye(3), np.diag([1.0, -1.0, -1.0])):
            rotations = np.tile(np.eye(3), (1, 55, 1, 1))
            rotations[0, 0] = turn @ motion.UPRIGHT
            turned, places = people.chain(studio.rig, person, rotations, np.zeros((1, 3)))
            moment = people.Motion(rotations, np.zeros((1, 3)), turned, places)
            part = dressing.Part(made.rest, made.weights, made.faces, np.zeros((len(made.rest), 5)), None, hair=made)
            naked = dressing.Part(person.rest, studio.rig.weights, studio.rig.faces, np.zeros(0), None)
            body, posed = dressing.pose(studio.rig, person, (naked, part), moment, 0)
            tips = np.flatnonzero(made.hang > 0.9)
            fallen = (posed.vertices[tips] - posed.vertices[made.roots[tips]])[:, 2]
            assert np.median(fallen) < -0.02, (style, turn[2, 2])
            normals = render.vertex_normals(body.vertices, body.faces)
            assert beneath(posed.vertices, posed.faces, body.vertices, normals).mean() < 0.05


def test_a_share_of_people_has_hair_of_every_kind_and_the_same_seed_the_same(studio, monkeypatch):
    def points(seed):
        parts = dressing.dress(studio.tailor, studio.persons[1], np.random.default_rng(seed), SETTINGS.garment_m)
        return [part.rest for part in parts], [part.hair is not None for part in parts]

    dressed = [points(seed) for seed in range(16)]
    assert 4 <= sum(any(kinds) for _, kinds in dressed) <= 14
    again, _ = points(3)
    assert all(np.array_equal(a, b) for a, b in zip(dressed[3][0], again, strict=True))
    # Without it, the others still wear what they wear.
    monkeypatch.setattr(dressing, "HAIR", 0.0)
    for seed, (rests, kinds) in enumerate(dressed[:6]):
        bald, none = points(seed)
        assert not any(none) and len(bald) == len(rests) - any(kinds)


def test_labels_are_those_of_the_same_people_without_hair(monkeypatch):
    body, settings = load_body(), WildSettings(image_px=128)
    studio = film.open_studio(body, settings)
    haired = [film.film(studio, number) for number in (0, 1, 2)]
    monkeypatch.setattr(dressing, "HAIR", 0.0)
    painted = [film.film(studio, number) for number in (0, 1, 2)]
    assert any((a.image != b.image).any() for a, b in zip(haired, painted, strict=True))
    for a, b in zip(haired, painted, strict=True):
        np.testing.assert_array_equal(a.camera.K, b.camera.K)
        for note, other in zip(a.people, b.people, strict=True):
            np.testing.assert_array_equal(note.joints, other.joints)
            np.testing.assert_array_equal(note.coco, other.coco)
            assert all((note.parameters[name] == other.parameters[name]).all() for name in note.parameters)
