"""Loader processes: a small /dev/shm, a worker that dies, one that never answers, memory of many shards."""

import os
import shutil
import signal
import time

import pytest
import torch

from model.data import workers as room
from model.data.augment import AugmentConfig
from model.data.loading import DrawConfig, StepSampler, ViewDataset
from model.data.views import read_views
from model.data.workers import loader
from pipeline.errors import InputError
from tests.model.capsules import CROP, make_folder, make_view, write_folder


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    return read_views([make_folder(tmp_path_factory.mktemp("workers") / "a", 20, 2, 3)])["train"]


def dataset_of(views):
    return ViewDataset(views, CROP, DrawConfig(points=64), AugmentConfig(), seed=4)


def batches(dataset, workers, steps=range(4), batch_size=8):
    return loader(dataset, StepSampler(dataset.views, [1], batch_size, steps, seed=4), workers)


@pytest.mark.slow
def test_a_small_shared_memory_is_seen_before_and_gives_the_same_batches(views, monkeypatch, capsys):
    dataset = dataset_of(views)
    plenty = list(batches(dataset, 2))
    assert capsys.readouterr().err == ""
    need = 10 * (dataset.batch_bytes(8) + 13 * 4096)
    usage = shutil.disk_usage("/")._replace(free=need - 1)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage)

    def no_shared_memory(*_):
        raise AssertionError("a tensor went through shared memory")

    monkeypatch.setattr(torch.multiprocessing.reductions, "reduce_storage", no_shared_memory)
    through_pipes = list(batches(dataset, 2))
    for a, b in zip(plenty, through_pipes, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))
    said = " ".join(capsys.readouterr().err.split())
    assert "2 loader processes need" in said and "through pipes" in said


def test_a_batch_is_about_as_large_as_it_is_said_to_be(views):
    dataset = dataset_of(views)
    (batch,) = batches(dataset, 0, range(1))
    size = sum(tensor.nbytes for tensor in vars(batch).values())
    assert size <= dataset.batch_bytes(8) <= 1.5 * size


def worker_that(does, views):
    class Broken(ViewDataset):
        def view(self, epoch, index):
            return does()

    return Broken(views, CROP, DrawConfig(points=64), AugmentConfig())


@pytest.mark.slow
def test_a_worker_that_dies_or_never_answers_is_not_waited_for(views, monkeypatch):
    dying = worker_that(lambda: os.kill(os.getpid(), signal.SIGKILL), views)
    with pytest.raises(InputError, match="A loader process gave no batch .*(killed|exited).*fewer train.workers"):
        next(batches(dying, 1))
    monkeypatch.setattr(room, "PATIENCE_S", 1)
    with pytest.raises(InputError, match="timed out after 1 seconds"):
        next(batches(worker_that(lambda: time.sleep(600), views), 1))  # longer than a test may take


@pytest.mark.parametrize("workers", [0, 1])
def test_what_the_user_must_mend_arrives_as_one_paragraph(tmp_path, workers):
    folder = write_folder(tmp_path / "s", [make_view(n, "train", "S1") for n in range(8)])
    views = read_views([folder])["train"]
    shard = next(folder.glob("*.h5"))
    data = bytearray(shard.read_bytes())
    middle = len(data) // 3
    data[middle : 2 * middle] = bytes(middle)  # samples and pictures, not the tables
    shard.write_bytes(data)
    with pytest.raises(
        InputError, match=r"^\S*shard-00000\.h5( is damaged|: the image).*(--verify|run preprocess again)"
    ) as caught:
        list(batches(dataset_of(views), workers))
    assert "Traceback" not in str(caught.value)


def test_open_shards_keep_no_chunks(views):
    """HDF5's own cache is 8 MiB for each column and file: 2 GB in one loader with 128 shards open."""
    dataset = dataset_of(views)
    list(batches(dataset, 0, range(2)))
    for reader in dataset._readers.values():
        assert reader.file.id.get_access_plist().get_cache()[2] == 0
    assert set().union(*(reader._datasets for reader in dataset._readers.values())) == {
        "views/image_bytes",
        "samples/points",
        "samples/sdf",
        "samples/voters",
    }
