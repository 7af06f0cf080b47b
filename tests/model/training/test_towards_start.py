"""A run that is brought part of the way back to the weights that it started from."""

import json

import pytest
import torch

from model.train import train
from model.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.training.logbook import TOWARDS_START, read_history
from model.training.overview import best_text
from model.training.runs import BEST, LAST, load_run
from model.training.towards_start import SHARES, brought_back
from model.training.transfer import find_start
from pipeline.errors import InputError
from tests.model.capsules import tiny_config


def spoilt(steps=2):
    """So high a rate that what it learns is worse than what it started from."""
    return tiny_config(steps=steps, evaluations=1, learning_rate=0.05, warmup=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory, shards, source):
    folder = tmp_path_factory.mktemp("towards") / "run"
    train(shards, folder, spoilt(), device="cpu", start=find_start(source, "all"))
    return folder


def looks(folder):
    return [row for row in read_history(folder) if row["kind"] == TOWARDS_START]


def test_what_training_spoilt_is_brought_back_as_far_as_validation_says(run, source):
    rows = read_history(run)
    before = next(row for row in rows if row["kind"] == "validation")
    shares = {0.0: before["mpjpe_mm"]} | {row["start_share"]: row["mpjpe_mm"] for row in looks(run)}
    assert tuple(shares) == (0.0, *SHARES)
    best = json.loads((run / "best.json").read_text())["best"]
    assert best["start_share"] == min(shares, key=lambda share: shares[share]) > 0
    assert best["mpjpe_mm"] == min(shares.values())
    started, average = load_checkpoint(source / BEST).part("network"), load_checkpoint(run / LAST).part("average")
    network = load_run(run)[0]
    for name, parameter in network.named_parameters():
        expected = torch.lerp(average[name], started[name], best["start_share"]) if name in started else average[name]
        assert torch.equal(parameter, expected), name
    assert f"{best['start_share']:.0%} of the weights that it started from" in best_text(best)


@pytest.mark.slow
def test_what_a_run_goes_on_from_is_what_it_learnt(tmp_path, shards, source, run, monkeypatch):
    """The weights between serve predictions alone."""
    monkeypatch.setattr("model.train.SHARES", ())
    train(shards, tmp_path / "run", spoilt(), device="cpu", start=find_start(source, "all"))
    first, second = (load_checkpoint(folder / LAST).tensors for folder in (run, tmp_path / "run"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_killed_on_the_way_back_the_same_run_comes_out(tmp_path, shards, source, run, monkeypatch):
    from model import train as module

    own, killed = module.evaluate_now, tmp_path / "run"

    def stop(run, network, job, log, start_share=0.0):
        if start_share == SHARES[1]:
            raise KeyboardInterrupt
        own(run, network, job, log, start_share)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("model.train.evaluate_now", stop)
        train(shards, killed, spoilt(), device="cpu", start=find_start(source, "all"))
    train(shards, killed, None, resume=True, device="cpu")
    first, second = (load_checkpoint(folder / BEST).tensors for folder in (run, killed))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert [row["start_share"] for row in looks(killed)] == list(SHARES)
    train(shards, killed, None, resume=True, device="cpu")  # it was finished
    assert [row["start_share"] for row in looks(killed)] == list(SHARES)


@pytest.mark.slow
def test_a_run_that_goes_on_longer_keeps_the_best_of_the_way_back(tmp_path, shards, source, monkeypatch):
    """Killed before it was finished, too, and the rows of that look stay."""
    from model import train as module

    own, folder = module.evaluate_now, tmp_path / "run"

    def stop(run, network, job, log, start_share=0.0):
        if start_share == 0.2:
            raise KeyboardInterrupt
        own(run, network, job, log, start_share)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("model.train.evaluate_now", stop)
        patch.setattr("model.train.SHARES", (0.9, 0.2))
        train(shards, folder, spoilt(), device="cpu", start=find_start(source, "all"))
    (best,) = looks(folder)
    with monkeypatch.context() as patch:
        patch.setattr("model.train.SHARES", (0.2,))
        record = train(shards, folder, None, resume=True, device="cpu", steps=3)
    later = looks(folder)[1:]
    assert [(row["step"], row["start_share"]) for row in later] == [(3, 0.2)]
    assert later[0]["mpjpe_mm"] > best["mpjpe_mm"]
    for said in (record["best"], load_checkpoint(folder / BEST).record["best"]):
        assert (said["step"], said["start_share"], said["mpjpe_mm"]) == (2, 0.9, best["mpjpe_mm"])


@pytest.mark.slow
@pytest.mark.parametrize("part", ["encoder", "all-but-head", None])
def test_between_weights_and_an_initialisation_nothing_is_looked_at(tmp_path, shards, source, part):
    start = part and find_start(source, part)
    train(shards, tmp_path / "run", spoilt(1), device="cpu", start=start)
    assert not looks(tmp_path / "run") and not load_checkpoint(tmp_path / "run" / LAST).part("start")


def test_a_damaged_start_is_refused_and_its_file_named(run, shards, tmp_path):
    checkpoint = load_checkpoint(run / LAST)
    name = next(name for name in checkpoint.tensors if name.startswith("start."))
    whole = checkpoint.tensors[name]
    for damaged in (whole[:1], whole * torch.nan, None):
        tensors = checkpoint.tensors | {name: damaged}
        left = {key: value for key, value in tensors.items() if value is not None}
        folder = tmp_path / "run"
        save_checkpoint(folder / LAST, Checkpoint(left, checkpoint.record))
        with pytest.raises(InputError, match=f"^{folder / LAST}.*Copy"):
            train(shards, folder, None, resume=True, device="cpu", steps=3)


def test_a_copy_is_brought_back_and_the_network_stays():
    network = torch.nn.Linear(2, 1, bias=False)
    own = network.weight.detach().clone()
    start = {"weight": torch.full((1, 2), 3.0)}
    half = brought_back(network, start, 0.5)
    assert torch.allclose(half.weight, (own + 3) / 2) and torch.equal(network.weight, own)
