"""A run made small enough to ship."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from model.networks.encoders.body import BodySettings
from model.train import train
from model.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.training.pack import pack_run
from model.training.runs import BEST, load_run
from model.training.transfer import find_start, take_weights
from pipeline.errors import InputError
from tests.model.capsules import make_folder, tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pack")
    train(make_folder(folder / "shards", 12, 2, 2), folder / "run", tiny_config(steps=4, evaluations=1), device="cpu")
    return folder / "run"


def test_a_packed_run_predicts_as_the_run_to_a_tenth_of_a_millimetre(run, tmp_path):
    record = pack_run(run, tmp_path, {"made_by": "a test"})
    image = (
        torch.rand(2, 3, *[load_run(run)[1].network.crop_px] * 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    )
    K = torch.tensor([[300.0, 0, 32], [0, 300, 32], [0, 0, 1]]).expand(2, 3, 3)
    with torch.no_grad():
        own, packed = (load_run(folder)[0].predict(image, K).joints for folder in (run, tmp_path))
    assert np.abs((own - packed).numpy()).max() < 1e-4
    assert (tmp_path / BEST).stat().st_size < 0.7 * (run / BEST).stat().st_size
    said = json.loads((tmp_path / "best.json").read_text())
    assert said["packed"] == record["packed"] and said["packed"]["made_by"] == "a test"
    (own,) = load_checkpoint(run / BEST).record["data"]
    assert own["path"] != "shards" and said["data"] == [own | {"path": "shards"}]


def test_the_run_s_pose_prior_goes_along_as_it_is(run, tmp_path):
    checkpoint, prior = load_checkpoint(run / BEST), {"pose_prior.means": torch.rand(2, 5000, dtype=torch.float64)}
    save_checkpoint(tmp_path / BEST, Checkpoint({**checkpoint.tensors, **prior}, checkpoint.record))
    pack_run(tmp_path, tmp_path / "out", {})
    assert torch.equal(load_checkpoint(tmp_path / "out" / BEST).tensors["pose_prior.means"], prior["pose_prior.means"])


def test_the_sum_is_of_the_weights_and_not_of_the_notes(run, tmp_path):
    sums = [pack_run(run, tmp_path / note, {"made_by": note})["packed"]["weights_sha256"] for note in ("one", "two")]
    assert sums[0] == sums[1]


def test_weights_that_half_precision_cannot_hold_are_refused_by_name(run, tmp_path):
    checkpoint = load_checkpoint(run / BEST)
    name = max(checkpoint.tensors, key=lambda key: checkpoint.tensors[key].numel())
    checkpoint.tensors[name] = checkpoint.tensors[name].clone().fill_(1e6)
    save_checkpoint(tmp_path / BEST, Checkpoint(checkpoint.tensors, checkpoint.record))
    with pytest.raises(InputError, match=f"{name.removeprefix('network.')} holds 1e\\+06"):
        pack_run(tmp_path, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_a_packed_file_is_plain_safetensors(run, tmp_path):
    pack_run(run, tmp_path, {})
    dtypes = {tensor.dtype for tensor in safetensors.torch.load_file(tmp_path / BEST).values()}
    assert torch.float16 in dtypes and torch.float32 in dtypes


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A run over the published encoder, all of it frozen."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pretrained")
    config = tiny_config(steps=2, evaluations=1)
    network = replace(config.network, encoder=BodySettings(channels=8, context=8))
    shards = make_folder(folder / "shards", 8, 2, 2)
    train(shards, folder / "run", replace(config, network=network), device="cpu")
    return folder / "run"


def test_published_weights_are_left_out_and_found_again(pretrained, tmp_path):
    pack_run(pretrained, tmp_path, {})
    names = load_checkpoint(tmp_path / BEST).tensors
    assert not [name for name in names if "pretrained" in name]
    assert [name for name in load_checkpoint(pretrained / BEST).tensors if "pretrained" in name]
    own, packed = (load_run(folder)[0].encoder.pretrained.state_dict() for folder in (pretrained, tmp_path))
    assert own.keys() == packed.keys() and all(torch.equal(own[name], packed[name]) for name in own)
    # what starts from a packed run, or packs it again, has them as well
    start = find_start(tmp_path, "encoder")
    assert len(take_weights(load_run(pretrained)[0], start).taken) == len(load_run(pretrained)[0].encoder.state_dict())
    again = pack_run(tmp_path, tmp_path / "again", {})["packed"]
    assert again == json.loads((tmp_path / "best.json").read_text())["packed"]


def test_published_weights_that_were_trained_on_are_packed(pretrained, tmp_path):
    checkpoint = load_checkpoint(pretrained / BEST)
    name = next(name for name in checkpoint.tensors if "pretrained" in name)
    checkpoint.tensors[name] = checkpoint.tensors[name] + 0.5
    save_checkpoint(tmp_path / BEST, Checkpoint(checkpoint.tensors, checkpoint.record))
    said = pack_run(tmp_path, tmp_path / "out", {})["packed"]
    assert said["published_and_trained_on"] == [name.removeprefix("network.")]
    assert [n for n in load_checkpoint(tmp_path / "out" / BEST).tensors if "pretrained" in n] == [name]
    assert load_run(tmp_path / "out")[0].encoder.state_dict()[name.removeprefix("network.encoder.")].isfinite().all()


def test_a_run_packed_beside_other_published_weights_is_refused(pretrained, tmp_path):
    pack_run(pretrained, tmp_path, {})
    checkpoint = load_checkpoint(tmp_path / BEST)
    checkpoint.record["packed"]["left_out_sha256"] = "0" * 64
    save_checkpoint(tmp_path / BEST, checkpoint)
    with pytest.raises(InputError, match="packed beside other weights of its encoder"):
        load_run(tmp_path)
