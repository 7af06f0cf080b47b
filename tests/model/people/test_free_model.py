"""The model that comes with this program."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks._sample import sample_capture
from cli.main import nvf
from model.networks.build import published_weights
from model.people import free_model
from model.people.predict import load_model, predict_people
from model.people.records import Box, Picture
from model.training.checkpoint import content_sum, load_checkpoint
from model.training.config import config_from_dict, load_config
from pipeline.images import read_image
from pipeline.sources import open_source

LARGEST_MB = 12


def test_it_is_small_and_says_what_it_was_made_of():
    folder = free_model.folder()
    assert sum(path.stat().st_size for path in folder.iterdir()) < LARGEST_MB * 1e6
    record = json.loads((folder / "best.json").read_text())
    assert [row["source"] for row in record["data"]] == ["wild", "wild", "wild"] and "changes" not in record["commit"]
    weights = {k: t for k, t in load_checkpoint(folder / "best.safetensors").tensors.items()}
    assert content_sum(weights) == record["packed"]["weights_sha256"]
    published = published_weights(config_from_dict(record["config"], "").network, record["encoder"])
    # what lies elsewhere is not copied; what has learnt since is named, with its licence
    trained_on = {name for name in published if f"network.{name}" in weights}
    assert published and trained_on == set(record["packed"]["published_and_trained_on"])
    assert not any(torch.equal(weights[f"network.{name}"].float(), published[name].float()) for name in trained_on)
    assert "movenet_LICENSE.txt" in record["packed"]["licence"]
    assert config_from_dict(record["config"], "").network == load_config(str(free_model.AFTER)).network
    said = CliRunner().invoke(nvf, ["model", "info"])
    assert said.exit_code == 0 and record["packed"]["weights_sha256"] in said.output


@pytest.mark.slow
def test_it_finds_a_rendered_person_that_it_never_saw(tmp_path):
    """The demo's test subjects are none of its training people."""
    root = sample_capture(tmp_path, 10)
    model, errors, mean = load_model(free_model.folder()), [], []
    for instant in open_source("human36m", root).instants():
        if instant.split != "test" or instant.joints_3d is None:
            continue
        view = instant.views[0]
        picture = Picture(view.image_path, read_image(root, view.image_path), view.camera)
        ((_, found),) = predict_people(model, [picture], lambda _, box=view.box: [Box(box, None, "given")])
        (person,) = found.people
        truth = instant.joints_3d @ view.camera.R.T
        truth -= truth[0]
        errors.append(np.linalg.norm(person.joints - truth, axis=-1).mean())
        mean.append(np.linalg.norm(model.network.mean_pose.numpy() - truth, axis=-1).mean())
    assert len(errors) >= 2 and np.mean(errors) < 0.7 * np.mean(mean)
