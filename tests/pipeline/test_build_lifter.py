import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline import build_lifter
from pipeline.body.model import load_body
from pipeline.build_lifter import draw_bodies, film, see
from pipeline.errors import InputError
from pipeline.lift.network import JOINTS, POINTS, load_lifter
from pipeline.skeletons import COCO, FIELD_JOINTS


@pytest.fixture(scope="module")
def bodies(monkeypatch_module):
    return draw_bodies(load_body(), 24, 0)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_lifter, "SHAPES", 3)
        yield patch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_bodies_stand_before_their_cameras(bodies):
    points = bodies.points @ bodies.R.transpose(1, 2) + bodies.t[:, None]
    assert points.shape == (24, POINTS, 3) and (points[..., 2] > 0).all()
    assert len(torch.unique(bodies.points[:, 0], dim=0)) == 24


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11])
def test_few_steps_are_steps_all_the_same(bodies, monkeypatch, steps):
    monkeypatch.setattr(build_lifter, "BATCH", 4)
    network, distance = build_lifter.train(bodies, steps, 0)
    assert 0 < distance < 2 and all(parameter.isfinite().all() for parameter in network.parameters())


def test_bodies_are_filmed_as_they_are(bodies):
    """Turned about the vertical and mirrored, a body keeps its lengths, and its left stays its left."""
    points, _, _ = film(bodies, 200, generator())
    lengths = lambda x: (x[:, [COCO.index("left_hip")]] - x).norm(dim=-1)  # noqa: E731
    sides = lambda x: (x[:, [COCO.index("right_hip")]] - x).norm(dim=-1)  # noqa: E731
    own = {tuple(row) for row in lengths(bodies.points).round(decimals=3).tolist()}
    flip = np.r_[COCO.flip, len(COCO) + FIELD_JOINTS.flip]
    own |= {tuple(row) for row in sides(bodies.points)[:, flip].round(decimals=3).tolist()}
    found = np.array(
        [[min(np.abs(np.array(row) - np.array(one)).max() for one in own)] for row in lengths(points).tolist()]
    )
    assert found.max() < 2e-3


def test_a_detector_is_as_far_off_as_it_says(bodies, monkeypatch):
    for name, value in {
        "OUTLIERS": 0.0,
        "DEFINITION_M": 0.0,
        "MISSTATED": (0.0, 0.0),
        "LOSSES": 0.0,
        "TOLD": (0.0, 0.0, 1.0),
    }.items():
        monkeypatch.setattr(build_lifter, name, value)
    middle = bodies.K.clone()
    middle[:, :2, 2] = 1e5
    wide = replace(bodies, K=middle, size=torch.full_like(bodies.size, 2e5))  # nothing lies outside
    seen = see(wide, 400, generator(1))
    monkeypatch.setattr(build_lifter, "NOISE", (1e-9, 1.0001e-9))
    exact = see(wide, 400, generator(1))
    assert torch.equal(seen.joints, exact.joints)
    off = (seen.rays - exact.rays) / seen.deviation[..., None]
    assert 0.97 < float(off.square().mean().sqrt()) < 1.03


def test_a_view_tells_one_set_of_points_or_both_and_never_too_few(bodies):
    seen = torch.isfinite(see(bodies, 600, generator()).deviation)
    coco, ours = seen[:, : len(COCO)].any(1), seen[:, len(COCO) :].any(1)
    assert (seen.sum(1) >= 6).all()
    assert 0.4 < float((coco & ~ours).float().mean()) < 0.6 and 0.04 < float((coco & ours).float().mean()) < 0.2


def test_the_same_seed_makes_the_same_weights(tmp_path, monkeypatch_module):
    for name in "ab":
        build_lifter.build(tmp_path / name, 12, 2, 5)
    first, second = ((tmp_path / name / "lifter.safetensors").read_bytes() for name in "ab")
    assert first == second
    assert load_lifter(tmp_path / "a" / "lifter.safetensors").mean.shape == (JOINTS, 3)
    record = json.loads((tmp_path / "a" / "lifter.provenance.json").read_text())
    assert record["made_by"].endswith("--bodies 12 --steps 2 --seed 5")


def test_nothing_is_learnt_from_nobody(tmp_path):
    with pytest.raises(InputError, match="0 steps from 5 bodies"):
        build_lifter.build(tmp_path, 5, 0, 0)
