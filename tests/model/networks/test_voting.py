"""The decode with true values in place of predictions, and the search for the points that vote."""

from types import SimpleNamespace

import pytest
import torch

from model.networks.build import HEADS
from model.networks.field import search, votes
from model.networks.field.search import SearchSettings
from model.networks.frame import HALF, absolute_root, bone_scale, to_canonical
from model.networks.heads.head import HeadInputs
from model.networks.heads.nvf import DirectVotes, NvfSettings
from model.networks.heads.nvf_published import PublishedSettings, PublishedVotes
from model.networks.network import agreement
from model.networks.targets import make_targets
from pipeline.skeletons import FIELD_JOINTS
from tests.model.field_scenes import body_distance, make_batch, statistics


class TrueStack(torch.nn.Module):
    """What a perfect stack would answer in place of a head's own. distance: of points, in truncations."""

    def __init__(self, batch, rule, truncation):
        super().__init__()
        self.targets, self.rule, self.truncation = make_targets(batch, 64), rule, truncation
        self.joints = to_canonical(self.targets.joints, self.targets.depth)

    def metric(self, q):
        scale = self.targets.scale[:, None, None]
        return body_distance(to_canonical(q, self.targets.depth) / scale, self.joints / scale) * scale[:, 0]

    def distance(self, prepared, q):
        return (self.metric(q) / self.truncation).clamp(-1, 1)

    def forward(self, prepared, q):
        if isinstance(self.rule, DirectVotes):
            offset = self.targets.joints[:, None] - q[:, :, None]
            return SimpleNamespace(votes=torch.cat([offset, -offset.norm(dim=-1, keepdim=True)], -1))
        points = to_canonical(q, self.targets.depth)
        everywhere = torch.ones(q.shape[:2], dtype=torch.bool)
        weight, direction, _ = self.rule.labels(points, self.joints, everywhere)
        return SimpleNamespace(votes=torch.cat([direction, weight[..., None]], -1))


class TrueField:
    """A head of some settings whose field is a perfect one."""

    def __init__(self, batch, settings):
        self.head = HEADS[settings.kind](settings, HeadInputs((8, 8, 8), person=8, stacks=1, joint_set=FIELD_JOINTS))
        self.stack = TrueStack(batch, self.head.rule, settings.truncation)
        self.head.stacks = torch.nn.ModuleList([self.stack])
        self.targets, self.joints = self.stack.targets, self.stack.joints

    def vote(self, distance=None):
        """distance: what the field answers instead, from the true answer."""
        if distance is not None:
            true = self.stack.distance
            self.stack.distance = lambda prepared, q: distance(true(prepared, q))
        return self.head.vote(None, self.targets.joints, self.targets.depth)


def decoded_error_mm(field, found):
    joints = to_canonical(found.joints, field.targets.depth)
    return (joints - field.joints).norm(dim=-1).mean().item() * 1000


@pytest.mark.parametrize("settings", [NvfSettings, PublishedSettings])
@pytest.mark.parametrize("best", [1.0, 0.5])
@pytest.mark.parametrize("neighbours", [0, 32])
def test_true_fields_decode_to_a_millimetre(settings, best, neighbours):
    rule = {"nearest": 0} if settings is PublishedSettings else {}
    coarse = SearchSettings(cells=20)
    field = TrueField(
        make_batch(3, 10), settings(truncation=0.2, search=coarse, best=best, neighbours=neighbours, **rule)
    )
    found = field.vote()
    assert decoded_error_mm(field, found) < 1
    assert not found.fallback.any()


def test_true_field_decodes_without_its_distance():
    field = TrueField(make_batch(2, 10), NvfSettings(search=SearchSettings(cells=16), use_distance=False))
    found = field.vote()
    assert decoded_error_mm(field, found) < 1
    assert (found.queries == 16**3).all()


def test_coarse_to_fine_keeps_every_point_of_the_full_grid_that_passes_the_gate():
    settings = SearchSettings(cells=16, levels=2, nearest=1, most=20_000)
    field = TrueField(make_batch(2, 10), NvfSettings(truncation=0.2, search=settings))
    kept, real, gated, queries = search.refine_grid(field.stack.metric, 2, settings, torch.device("cpu"))
    full = search.cell_centres(32).expand(2, -1, -1)
    near = field.stack.metric(full).abs() <= settings.gate
    assert real.sum(1).tolist() == near.sum(1).tolist() and torch.equal(gated, real)
    assert (queries < 32**3 / 2).all()  # with 138 cells a side the part is smaller still: surface over volume
    for view in range(2):
        cells = [((q + 1) * 16).floor().int().tolist() for q in (kept[view, real[view]], full[view, near[view]])]
        a, b = ({tuple(cell) for cell in found} for found in cells)
        assert a == b


def test_an_uncertain_limb_still_votes():
    """A predicted distance that never comes near zero must not empty the gate (joints would land on the camera)."""
    field = TrueField(make_batch(2, 10), NvfSettings(truncation=0.2, search=SearchSettings(cells=20, nearest=64)))
    found = field.vote(lambda true: true.abs() * 0.1 + 0.8)
    assert decoded_error_mm(field, found) < 1


def test_each_joint_is_voted_by_the_points_that_appear_nearest_to_it():
    """Slow twin: one joint, one point at a time."""
    q, anchors = torch.rand(2, 40, 3), torch.rand(2, 5, 3)
    selected = torch.rand(2, 40) < 0.6
    found = votes.of_each_joint(q, anchors, selected, 7)
    for view in range(2):
        for joint in range(5):
            far = [
                (q[view, n] - anchors[view, joint])[:2].norm().item() if selected[view, n] else float("inf")
                for n in range(40)
            ]
            assert found[view, :, joint].nonzero().flatten().tolist() == sorted(
                sorted(range(40), key=far.__getitem__)[:7]
            )
    assert torch.equal(votes.of_each_joint(q, anchors, selected, 0), selected[..., None].expand(-1, -1, 5))
    assert torch.equal(votes.of_each_joint(q, anchors, selected, 40), selected[..., None].expand(-1, -1, 5))


ALL = torch.ones(1, 50, 17, dtype=torch.bool)
DEPTH = torch.tensor([4.0])


def test_joint_without_voters_falls_back_and_says_so():
    rule = PublishedVotes(radius=(0.3,))
    q = torch.rand(1, 50, 3) * 0.1
    raw = torch.zeros(1, 50, 17, 4)
    raw[:, :, 1:, 3] = 0.5
    found = votes.decode(rule, q, raw, ALL, DEPTH, torch.zeros(1))
    assert found.fallback[0].tolist() == [True] + [False] * 16
    assert torch.isfinite(found.joints).all()
    assert found.effective_votes[0, 0] == 0
    assert found.effective_votes[0, 1] == pytest.approx(50)


def test_a_surface_beyond_the_gate_is_voted_all_the_same_and_reported():
    field = TrueField(make_batch(2, 10), NvfSettings(truncation=0.2, search=SearchSettings(cells=20, gate=0.005)))
    found = field.vote(lambda true: (true.abs() + 0.5).clamp(max=1))  # uncertain: nowhere near zero
    assert found.fallback.all()
    assert decoded_error_mm(field, found) < 1


def test_spread_measures_disagreement_and_agreement_falls_with_it():
    q = torch.zeros(1, 2, 3)
    raw = torch.zeros(1, 2, 2, 4)
    raw[0, :, 1, 0] = torch.tensor([-0.1, 0.1]) / HALF  # two votes 200 mm apart
    found = votes.decode(DirectVotes(), q, raw, ALL[:, :2, :2], DEPTH, torch.zeros(1))
    torch.testing.assert_close(found.spread, torch.tensor([[0.0, 0.1]]))
    torch.testing.assert_close(agreement(found.spread), torch.tensor([[1.0, 0.5]]))


def test_points_that_are_not_selected_have_no_say():
    q = torch.rand(2, 20, 3)
    raw = torch.randn(2, 20, 3, 4)
    chosen = torch.arange(20) < 12
    some, depth, none = chosen[:, None].expand(2, -1, 3), torch.full((2,), 4.0), torch.zeros(2)
    for rule in (DirectVotes(), PublishedVotes()):
        with_them = votes.decode(rule, q, raw, some, depth, none, best=5.0)
        without = votes.decode(rule, q[:, chosen], raw[:, chosen], some[:, chosen], depth, none, best=5.0)
        torch.testing.assert_close(with_them.joints, without.joints)


def test_nearest_points_are_within_the_gate_or_the_nearest_and_never_too_many():
    distance = torch.tensor([[0.5, 0.1, -0.2, 0.9], [0.01, 0.02, -0.03, 0.04]])
    valid = torch.tensor([[True, True, True, False], [True] * 4])
    index, real = search.nearest_points(distance, valid, gate=0.05, nearest=2, most=3)
    assert [sorted(i[r].tolist()) for i, r in zip(index, real, strict=True)] == [[1, 2], [0, 1, 2]]


def test_absolute_root_puts_joints_back_on_their_rays():
    batch = make_batch(5, 10)
    seen = batch.joints + batch.root[:, None]
    weights = torch.rand(5, 17)
    root = absolute_root(seen[..., :2] / seen[..., 2:], batch.joints, weights)
    torch.testing.assert_close(root, batch.root, atol=1e-3, rtol=1e-4)
    rays = (seen[..., :2] / seen[..., 2:]).clone()
    rays[:, 3] += 0.5  # a joint that was not seen has no say
    weights[:, 3] = 0
    torch.testing.assert_close(absolute_root(rays, batch.joints, weights), batch.root, atol=1e-3, rtol=1e-4)


def test_bone_scale_is_the_ratio_of_lengths():
    batch = make_batch(1, 10)
    lengths = statistics(batch).bone_lengths
    scale = bone_scale(1.3 * batch.joints + 5, FIELD_JOINTS.bones, lengths)
    torch.testing.assert_close(scale, torch.tensor([1.3]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cells": 2},
        {"levels": 0},
        {"gate": 0.0},
        {"nearest": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SearchSettings(**wrong)
