"""The spheres that come with the program are those that packing makes, and lie in the body."""

import hashlib
import json

import igl
import numpy as np
import pytest

from pipeline.body.model import with_template
from pipeline.fit.collisions import spheres_of
from pipeline.fit.pack_spheres import pack_spheres
from pipeline.fit.spheres import COARSE, PACKINGS, SPHERES_FILE, Packing, kept_spheres


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKINGS)
def test_the_kept_spheres_are_those_that_packing_makes(free_body, name):
    kept, made = kept_spheres(free_body, PACKINGS[name]), pack_spheres(free_body, PACKINGS[name])
    assert kept is not None
    for part, values in vars(made).items():
        assert np.allclose(getattr(kept, part), values, atol=1e-6) and getattr(kept, part).dtype == values.dtype


def test_the_file_is_the_one_that_its_provenance_names(free_body):
    said = json.loads(SPHERES_FILE.with_suffix(".provenance.json").read_text())
    assert said["sha256"] == hashlib.sha256(SPHERES_FILE.read_bytes()).hexdigest()
    assert said["body_sha256"] == free_body.sha256, "another free body: python -m pipeline.fit.pack_spheres OUT"


def test_centres_hang_where_their_spheres_fit_in(free_body):
    vertices = free_body.v_template.numpy().astype(float)
    for packing in PACKINGS.values():
        spheres = kept_spheres(free_body, packing)
        assert np.allclose(spheres.shares.sum(1), 1, atol=1e-5) and (spheres.shares >= 0).all()
        centres = np.concatenate([one(np.zeros((55, 3)), vertices) for one in spheres.maps()])
        depth = np.sqrt(igl.point_mesh_squared_distance(centres, vertices, free_body.faces.astype(np.int64))[0])
        # the weights meet a centre to a centimetre or so
        assert np.median(np.abs(depth - spheres.radii)) < 0.01 and (depth > spheres.radii - 0.05).all()


@pytest.mark.slow
def test_other_bodies_and_packings_are_packed_anew(free_body):
    tall = with_template(free_body, "tall", 1.2 * free_body.v_template)
    few = Packing(spacing=1.1, body=20, hands=2)
    assert kept_spheres(tall, COARSE) is None and kept_spheres(free_body, few) is None
    usual, larger = spheres_of(free_body, few), spheres_of(tall, few)
    assert len(usual.radii) == 22 and larger.radii[:20].sum() > 1.1 * usual.radii[:20].sum()
