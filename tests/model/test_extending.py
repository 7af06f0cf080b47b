"""A head or encoder that only its own file knows trains, resumes, evaluates, predicts and is exported."""

import shutil

import cv2
import numpy as np
import pytest
import torch

from model.evaluate import evaluate_run
from model.export import export_run
from model.networks.build import ENCODERS, HEADS
from model.people.given import whole_picture
from model.people.pictures import find_given, read_given
from model.people.predict import load_model, predict_people
from model.train import train
from model.training.checkpoint import load_checkpoint
from model.training.config import config_from_dict, load_config, merge
from model.training.runs import LAST, load_run
from pipeline.errors import InputError
from tests.model.capsules import CROP, make_folder
from tests.model.toys import Nudge, Pool

# Whole runs are made here, which takes seconds.
pytestmark = pytest.mark.slow


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setitem(HEADS, "nudge", Nudge)
    monkeypatch.setitem(ENCODERS, "pool", Pool)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("extending") / "shards", 12, 3, 3)


def config(encoder="pool", head="nudge", **settings):
    quick = {"steps": 6, "batch_size": 4, "evaluations": 1, "evaluate_views": 3, "log_every": 1, "save_every": 3}
    tables = {
        "network": {"crop_px": CROP, "encoder": {"kind": encoder, "channels": 8}, "head": {"kind": head} | settings},
        "train": quick | {"workers": 0, "warmup": 1, "average": 0.5},
        "draw": {"points": 32},
    }
    return config_from_dict(merge(load_config("scratch", head).to_dict(), tables))


@pytest.mark.parametrize(("encoder", "head"), [("pool", "nudge"), ("pool", "heatmap25d"), ("unet", "nudge")])
def test_a_toy_goes_the_whole_way(tmp_path, toys, shards, encoder, head):
    run, own = tmp_path / "run", config(encoder, head)
    record = train(shards, run, own, device="cpu")
    assert record["step"] == 6 and np.isfinite(record["best"]["mpjpe_mm"])
    assert evaluate_run(run, shards, split="test", device="cpu")["model"] == head
    image = tmp_path / "photograph.png"
    cv2.imwrite(str(image), np.full((120, 90, 3), 99, np.uint8))
    [(_, found)] = predict_people(load_model(run), read_given(find_given([str(image)])), whole_picture)
    assert found.refusal == ""
    assert export_run(run, tmp_path / "run.pt2")["largest_difference_mm"] < 0.1


def test_a_toy_resumes_to_the_bit(tmp_path, toys, shards, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(shards, whole, config(), device="cpu")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as at_the_first_look:
        at_the_first_look.setattr("model.train.evaluate_now", stop)
        with pytest.raises(KeyboardInterrupt):
            train(shards, stopped, config(), device="cpu")
    assert load_checkpoint(stopped / LAST).record["step"] == 3
    train(shards, stopped, None, resume=True, device="cpu")
    one, other = (load_checkpoint(run / LAST).tensors for run in (whole, stopped))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_averages_and_checkpoints_carry_running_statistics(tmp_path, toys, shards):
    """The weights that are evaluated are an average; their batch norm must not keep the statistics of step 0."""
    run = tmp_path / "run"
    train(shards, run, config(), device="cpu")
    tensors = load_checkpoint(run / LAST).tensors
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(tensors[f"network.encoder.norm.{name}"], tensors[f"average.encoder.norm.{name}"])
    assert tensors["average.encoder.norm.num_batches_tracked"] == 6
    assert torch.equal(load_run(run)[0].encoder.norm.running_mean, tensors["network.encoder.norm.running_mean"])


def test_a_checkpoint_of_a_head_that_is_not_there_is_refused_by_name(tmp_path, toys, shards, monkeypatch):
    run = tmp_path / "run"
    train(shards, run, config(), device="cpu")
    shutil.copytree(run, tmp_path / "copy")
    monkeypatch.delitem(HEADS, "nudge")
    with pytest.raises(
        InputError, match=r"best.safetensors: .*there is no head 'nudge'; choose one of nvf, .*register"
    ):
        load_run(run)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"head": {"kind": "nudge", "cells": 9}}, "no setting 'network.head.cells'. network.head has kind, weight"),
        ({"encoder": {"kind": "pool", "stacks": 2}}, "no setting 'network.encoder.stacks'"),
        ({"encoder": {"kind": "vit"}}, "no encoder 'vit'; choose one of unet, hourglass"),
    ],
)
def test_settings_of_another_are_refused(toys, tables, message):
    with pytest.raises(InputError, match=message):
        config_from_dict({"network": tables})
