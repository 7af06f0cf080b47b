"""Confidence is fitted to how often joints are right, presence to whether anybody is there."""

import numpy as np
import pytest
import torch

from model.data.views import read_views
from model.networks.certainty import Certainty, heatmap_deviation
from model.networks.frame import HALF
from model.scoring.reliability import reliability
from model.train import train
from model.training import calibrate as calibrating
from model.training.checkpoint import load_checkpoint
from model.training.runs import BEST, load_run
from tests.model.capsules import make_folder, tiny_config


def test_a_line_states_what_is_true_of_the_samples_that_it_was_fitted_to():
    rng = np.random.default_rng(0)
    features = np.column_stack([np.ones(20_000), rng.normal(0, 2, (20_000, 2))])
    true = 1 / (1 + np.exp(-features @ [0.5, -1.5, 0.4]))
    line = calibrating._line(features, rng.random(20_000) < true)
    torch.testing.assert_close(line, torch.tensor([0.5, -1.5, 0.4]), atol=0.08, rtol=0)
    errors = np.stack([np.zeros(20_000), np.where(rng.random(20_000) < true, 0.05, 0.2)], 1)
    stated = calibrating._probability(features, line)
    found = reliability(np.stack([stated, stated], 1), errors, root=0)
    assert found["expected_error"] < 0.02 and len(found["rows"]) == 10
    assert all(abs(row["stated"] - row["within_100mm"]) < 0.05 for row in found["rows"])


def test_reliability_counts_known_joints_only_and_tells_a_boaster():
    """And the root, from which errors are measured, not at all."""
    confidence, errors = np.full((1, 5), 0.9), np.array([[0.05, 0.3, 0.0, 0.3, np.nan]])
    found = reliability(confidence, errors, root=2)
    assert found["rows"] == [{"from": 0.9, "joints": 3, "stated": 0.9, "within_100mm": 0.3333}]
    assert found["expected_error"] == pytest.approx(0.5667, abs=1e-4)


def test_the_deviation_of_a_heatmap_is_metres_across_the_image():
    flat, sharp = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    sharp[0, 0, 3, 8] = 100
    uniform = HALF * (2 * (1 - 1 / 16**2) / 3) ** 0.5  # of cell centres over [-1, 1], in both directions
    assert heatmap_deviation(flat).item() == pytest.approx(uniform, rel=1e-4)
    assert heatmap_deviation(sharp).item() < 1e-3


def test_pictures_of_nobody_hold_nobody():
    image = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    image[:, :, 16:48, 24:40] = torch.linspace(-1, 1, 32)[:, None]  # somebody, tall in the middle
    changed = calibrating.nobody(image, torch.Generator().manual_seed(0))
    again = calibrating.nobody(image, torch.Generator().manual_seed(0))
    assert torch.equal(changed, again) and changed.shape == image.shape
    assert changed.abs().max() <= 1 and (changed != image).flatten(1).any(1).all()
    assert torch.equal(
        changed[4].flatten().sort().values, image[4].flatten().sort().values
    )  # shuffled: the same pixels


@pytest.mark.slow
@pytest.mark.parametrize("model", ["nvf", "nvf-published", "holistic"])
def test_a_trained_run_knows_its_confidence_and_its_weights_are_untouched(tmp_path, model):
    shards = make_folder(tmp_path / "shards", 16, 6, 2)
    record = train(shards, tmp_path / "run", tiny_config(model, evaluations=1, evaluate_views=6), device="cpu")
    said = record["best"]["certainty"]
    assert (
        said["joints"] % 16 == 0 and said["joints"] > 100
    )  # the seventeenth, the root, is always right and counts nowhere
    assert abs(said["stated"] - said["within_100mm"]) < 0.02
    network, _, _ = load_run(tmp_path / "run")
    assert network.certainty.calibrated
    best, weights = load_checkpoint(tmp_path / "run" / BEST).part("network"), network.state_dict()
    views = read_views([shards])["validation"]
    before = torch.get_rng_state()
    assert calibrating.calibrate(network, views, np.arange(len(views)), torch.device("cpu"), bf16=True) == said
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(best[name], weights[name]) for name in best)


def test_until_it_is_calibrated_everybody_is_there():
    certainty = Certainty()
    assert not certainty.calibrated and torch.equal(certainty.presence_line, torch.zeros(7))
