"""Checkpoints of version 3 (commit 5503714), kept in `version-3/`, and of version 4 open as what they were."""

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from model.data.views import read_views
from model.networks.build import HEADS
from model.train import train
from model.training.checkpoint import VERSION, load_checkpoint
from model.training.config import load_config
from model.training.pack import pack_run
from model.training.runs import BEST, LAST, load_run
from pipeline.shards.store import ShardReader
from tests.model.capsules import make_folder, tiny_config

STORE = Path(__file__).parent / "version-3"


@pytest.fixture
def unpacked(tmp_path):
    """A run folder of that time, by its model."""

    def unpack(model: str) -> Path:
        folder = tmp_path / model
        folder.mkdir()
        for path in (STORE / model).glob("*.gz"):
            (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        return folder

    return unpack


@pytest.mark.parametrize("model", ["nvf", "nvf-published", "heatmap25d", "mean_pose"])
def test_a_run_predicts_what_it_predicted_then(model, unpacked):
    network, config, _ = load_run(unpacked(model))
    assert config.network.head.kind == model
    with np.load(STORE / "input.npz") as given:
        found = network.predict(torch.from_numpy(given["image"]), torch.from_numpy(given["K"]))
    with np.load(STORE / model / "expected.npz") as expected:
        for name in ("joints", "root", "scale"):
            np.testing.assert_allclose(getattr(found, name).numpy(), expected[name], atol=2e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_and_is_written_as_today(tmp_path, unpacked):
    folder = unpacked("nvf")
    before = load_checkpoint(folder / LAST)
    shutil.copytree(STORE / "shards", tmp_path / "shards")
    record = train(tmp_path / "shards", folder, None, resume=True, device="cpu")
    after = load_checkpoint(folder / LAST)
    assert record["step"] == after.record["step"] > before.record["step"]
    assert after.record["version"] == VERSION
    assert before.tensors.keys() == after.tensors.keys()


def test_runs_of_version_4_have_a_context_without_a_norm(tmp_path):
    config = tiny_config(steps=2, evaluations=1)
    network = replace(config.network, encoder=replace(config.network.encoder, context_norm=False))
    train(make_folder(tmp_path / "shards", 8, 2, 2), tmp_path / "run", replace(config, network=network), device="cpu")
    now, _, record = load_run(tmp_path / "run")
    for name in (BEST, LAST):
        path = tmp_path / "run" / name
        checkpoint = load_checkpoint(path)
        del checkpoint.record["config"]["network"]["encoder"]["context_norm"]
        text = json.dumps(checkpoint.record | {"version": 4})
        path.write_bytes(safetensors.torch.save(checkpoint.tensors, metadata={"record": text}))
    then, config, _ = load_run(tmp_path / "run")
    assert config.network == network
    with np.load(STORE / "input.npz") as given:
        image, K = torch.from_numpy(given["image"]), torch.from_numpy(given["K"])
    assert torch.equal(now.predict(image, K).joints, then.predict(image, K).joints)
    # a run that goes on, or is packed, is written as today
    pack_run(tmp_path / "run", tmp_path / "packed", {})
    assert load_checkpoint(tmp_path / "packed" / BEST).record["version"] == VERSION
    assert load_run(tmp_path / "packed")[1].network == network


def test_shards_of_that_time_are_read():
    reader = ShardReader(STORE / "shards" / "shard-00000.h5")
    assert reader.read_samples(0).points.shape[1] == 3
    assert read_views([STORE / "shards"])["train"].sizes[0] > 0


@pytest.mark.parametrize("head", HEADS)
def test_every_setting_of_that_time_has_a_place(head):
    """The tables of version 3 with values that are no defaults arrive in the head's settings of today."""
    from model.training.older import config_of_today

    old = {
        "network": {
            "model": head,
            "joint_set": "human36m_17",
            "crop_px": 64,
            "encoder": {"kind": "unet", "channels": 8, "stacks": 1, "depth": 2, "context": 16},
            "field": {"hidden": [8], "octaves": 4, "skip": "code", "film": True},
            "targets": {
                **{"truncation": 0.31, "vote": "published" if head == "nvf-published" else "direct", "candidates": 7},
                **{"voters": 6, "across": 0.1, "along": 0.3, "neighbours": 5, "radius": [0.3], "band": 0.11},
            },
            "voting": {
                **{"cells": 12, "levels": 1, "most": 99, "margin": 0.01, "gate": 0.03, "nearest": 9, "neighbours": 8},
                **{"best": 0.7, "temperature": 0.9, "use_distance": head != "nosdf"},
            },
            "losses": {
                **{"distance": 0.1, "limb": 0.2, "vote": 0.3, "joint": 0.4, "heatmap": 0.6, "scale": 0.7, "beta": 0.8},
            },
            "slices": 9,
        },
        "train": {},
        "draw": {"points": 9, "voters": 0.2, "distal": 3.0},
    }
    today = config_of_today(old)
    assert today["draw"] == {"points": 9, "voter_share": 0.2, "distal": 3.0}
    assert today["network"]["losses"] == {"heatmap": 0.6, "scale": 0.7}
    names = set(load_config("scratch", head).to_dict()["network"]["head"])
    assert set(today["network"]["head"]) == names
    if head == "nvf-published":
        assert today["network"]["head"]["nearest"] == 5 and today["network"]["head"]["neighbours"] == 8
