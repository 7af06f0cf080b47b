"""A run whose weights others start from, and the shards of both."""

import pytest
import torch

from model.train import train
from tests.model.capsules import make_folder, tiny_config


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    torch.set_num_threads(1)
    return make_folder(tmp_path_factory.mktemp("transfer") / "shards", 12, 2, 2)


@pytest.fixture(scope="module")
def source(tmp_path_factory, shards):
    folder = tmp_path_factory.mktemp("transfer") / "source"
    train(shards, folder, tiny_config(steps=4, evaluations=1), device="cpu")
    return folder
