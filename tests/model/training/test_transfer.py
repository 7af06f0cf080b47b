"""A run that starts from the weights of another."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model.data.views import read_views
from model.evaluate import evaluate_run
from model.networks.build import rebuild_network
from model.networks.encoders.body import BodySettings
from model.networks.records import Statistics
from model.people import free_model
from model.train import train
from model.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.training.runs import BEST, LAST, known_mean_pose, load_run, mean_pose_of, trained_on, training_statistics
from model.training.transfer import PARTS, Start, Taken, find_start, take_weights
from pipeline.errors import InputError
from tests.model.capsules import make_folder, tiny_config


def started(shards, folder, source, part, config, monkeypatch):
    """The record of a run after no step, and its weights."""

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("model.train.take_step", stop)
        train(shards, folder, config, device="cpu", start=find_start(source, part))
    checkpoint = load_checkpoint(folder / LAST)
    return checkpoint.record["started_from"], checkpoint.part("network")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_weights_is_taken_and_the_rest_listed(tmp_path, shards, source, part, monkeypatch, capsys):
    said, weights = started(shards, tmp_path / part, source, part, tiny_config(seed=5), monkeypatch)
    theirs = load_checkpoint(source / BEST).part("network")
    everything = {name.partition(".")[0] for name in theirs}
    tops = {"all": everything, "encoder": {"encoder"}, "all-but-head": everything - {"head"}}
    expected = {name for name in theirs if name.partition(".")[0] in tops[part]} - {"bone_lengths"}
    assert set(said["taken"]) == expected and set(said["left"]) == set(theirs) - expected
    assert all(torch.equal(weights[name], theirs[name]) for name in expected)
    changed = {name for name in set(theirs) - expected if not torch.equal(weights[name], theirs[name])}
    assert part == "all" or any(name.startswith("head.") for name in changed)
    printed = capsys.readouterr().err
    assert f"({part}), step 4: took " in printed and "encoder 67" in printed
    assert ("not taken, outside of" in printed) == (part != "all")


def test_what_all_weights_of_a_chain_had_learnt_from_is_recorded():
    """Else a report said of the third run that it had never seen the first one's data."""
    rows = [{"source": source, "train_views": 1, "weight": 1.0, "content_hash": "ab"} for source in "abc"]
    record = {"config": {"train": {}}, "step": 1, "commit": "", "data": rows[:1], "started_from": None}
    for row in rows[1:]:
        start = Start(Path("run"), "all", Checkpoint({}, record))
        record = record | {"data": [row], "started_from": Taken(start, (), {}).record()}
    said = trained_on(record)
    assert [[row["source"] for row in said[name]] for name in ("data", "before")] == [["c"], ["b", "a"]]


def test_other_sizes_are_left_and_named(tmp_path, shards, source, monkeypatch):
    config = tiny_config("heatmap25d")
    said, weights = started(shards, tmp_path / "a", source / LAST, "all", config, monkeypatch)
    assert "encoder" in {name.partition(".")[0] for name in said["taken"]}
    assert {why for name, why in said["left"].items() if name.startswith("head.")} <= {"not there", "of another size"}
    encoder = replace(config.network.encoder, channels=16, context=32)
    wider = replace(config, network=replace(config.network, encoder=encoder))
    said, _ = started(shards, tmp_path / "b", source, "all", wider, monkeypatch)
    assert said["left"]["whole.2.weight"] == "of another size"


def test_what_cannot_be_taken_is_refused(tmp_path, shards, source):
    with pytest.raises(InputError, match="no such checkpoint"):
        find_start(tmp_path / "none", "all")
    mean = tmp_path / "mean"
    train(shards, mean, tiny_config("mean_pose"), device="cpu")
    with pytest.raises(InputError, match="none of its weights fits"):
        train(shards, tmp_path / "run", tiny_config(), device="cpu", start=find_start(mean, "encoder"))


DAMAGE = {
    "config": lambda record: record.pop("config"),
    "head": lambda record: record["config"]["network"].update(head=[]),
    "data": lambda record: record.update(data=["somewhere"]),
    "started_from": lambda record: record.update(started_from=[1]),
    "rows": lambda record: record.update(started_from={"data": 5}),
    "packed": lambda record: record.update(packed=[]),
    "left_out_sha256": lambda record: record.update(packed={"left_out_sha256": 3}),
    "encoder": lambda record: record.update(encoder={"weights": 5}, packed={"left_out_sha256": "ab"}),
    "step": lambda record: record.update(step="4"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_refused_and_its_file_named(tmp_path, damage):
    """Of a run that was packed, above all: its record says which weights were left out."""
    shutil.copytree(free_model.folder(), tmp_path / "run")
    path = tmp_path / "run" / BEST
    checkpoint = load_checkpoint(path)
    DAMAGE[damage](checkpoint.record)
    save_checkpoint(path, checkpoint)
    with pytest.raises(InputError, match=f"^{path}.*(again|remove|must|Set|choose|Use)"):
        start = find_start(path.parent, "all")
        take_weights(nn.Linear(1, 1), start)


@pytest.mark.parametrize(("own", "kept"), [(0.3, True), (0.0, False)])
def test_how_long_bones_are_is_said_by_the_new_data_where_they_have_3d(own, kept):
    """And the mean pose by the old, from which the layers have learnt to predict."""
    start = find_start(free_model.folder(), "all")
    statistics = Statistics(torch.zeros(17, 3), torch.full((16,), own), 0.0, 1.0)
    network = rebuild_network(start.config().network, statistics, start.checkpoint.record["encoder"])
    taken = take_weights(network, start)
    assert (network.bone_lengths == own).all() == kept == (taken.left == {"bone_lengths": "of the new data"})
    assert torch.equal(network.mean_pose, start.checkpoint.tensors["network.mean_pose"].float())


def test_reports_compare_with_the_mean_pose_of_the_new_data(tmp_path, shards, source):
    """Else the baseline of a report would be that of data which the weights learnt from first."""
    others = make_folder(tmp_path / "others", 3, 2, 4)
    train(others, tmp_path / "run", tiny_config(steps=1, evaluations=1), device="cpu", start=find_start(source, "all"))
    network, _, record = load_run(tmp_path / "run")
    views = read_views([others])
    test = views["test"]["joints"]
    own = training_statistics(views["train"].labelled("dataset"), tiny_config()).mean_pose.numpy()
    assert np.abs(network.mean_pose.numpy() - own).max() > 0.005
    assert mean_pose_of(record, network) == pytest.approx(own, abs=1e-6)
    report = evaluate_run(tmp_path / "run", others)
    assert report["mean_pose"]["mpjpe_mm"] == pytest.approx(1000 * np.linalg.norm(test - own, axis=-1).mean(), abs=1e-3)
    looked_at = views["validation"]["joints"]
    assert record["best"]["mean_pose_mpjpe_mm"] == pytest.approx(
        1000 * np.linalg.norm(looked_at - own, axis=-1).mean(), abs=1e-3
    )


def test_joints_that_nobody_measures_have_the_mean_pose_that_the_network_knows():
    network = rebuild_network(tiny_config().network, Statistics(torch.ones(17, 3), torch.ones(16), 0.0, 1.0), {})
    measured = torch.full((17, 3), 2.0)
    measured[5] = 0.0
    found = known_mean_pose(Statistics(measured, torch.ones(16), 0.0, 1.0), network)
    assert (found[5] == 1).all() and (found[:5] == 2).all() and (found[6:] == 2).all()


def test_a_resumed_run_keeps_the_mean_pose_that_it_began_with(tmp_path, shards, source):
    """Where it is that of the weights which it started from, the data do not say it again."""
    train(shards, tmp_path, tiny_config(steps=1, evaluations=1), device="cpu", start=find_start(source, "all"))
    checkpoint = load_checkpoint(tmp_path / LAST)
    other = [[0.5] * 3] * 17
    save_checkpoint(tmp_path / LAST, Checkpoint(checkpoint.tensors, checkpoint.record | {"mean_pose": other}))
    train(shards, tmp_path, None, resume=True, steps=2, device="cpu")
    assert load_checkpoint(tmp_path / LAST).record["mean_pose"] == other


@pytest.mark.parametrize("said", [[[0.0, 0.0, 0.0]], [["far"] * 3] * 17])
def test_a_record_whose_mean_pose_is_none_is_damaged(tmp_path, source, said):
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    checkpoint = load_checkpoint(folder / BEST)
    save_checkpoint(folder / BEST, Checkpoint(checkpoint.tensors, checkpoint.record | {"mean_pose": said}))
    with pytest.raises(InputError, match="best.safetensors is damaged"):
        load_run(folder)


def test_so_is_one_whose_encoder_cannot_be_made_again_before_data_is_read(tmp_path):
    shutil.copytree(free_model.folder(), tmp_path / "run")
    path = tmp_path / "run" / BEST
    checkpoint = load_checkpoint(path)
    checkpoint.record["encoder"] = {}
    save_checkpoint(path, checkpoint)
    start = find_start(path, "encoder")
    with pytest.raises(InputError, match=f"^{path} is damaged: KeyError.*again"):
        train(tmp_path / "no shards", tmp_path / "new", start.config(), device="cpu", start=start)


def test_weights_that_are_not_finite_are_not_taken(tmp_path):
    shutil.copytree(free_model.folder(), tmp_path / "run")
    path = tmp_path / "run" / BEST
    checkpoint = load_checkpoint(path)
    checkpoint.tensors["network.mean_pose"][0, 0] = float("nan")
    save_checkpoint(path, checkpoint)
    start = find_start(path, "all")
    statistics = Statistics(torch.zeros(17, 3), torch.zeros(16), 0.0, 1.0)
    network = rebuild_network(start.config().network, statistics, checkpoint.record["encoder"])
    with pytest.raises(InputError, match="mean_pose holds values that are not finite"):
        take_weights(network, start)


def test_an_encoder_of_another_kind_is_refused_before_data_is_read(tmp_path, source):
    config = tiny_config()
    other = replace(config, network=replace(config.network, encoder=BodySettings(channels=8, context=16)))
    with pytest.raises(InputError, match="has the encoder 'unet', and the new run has 'body'.*Set kind = 'unet'"):
        train(tmp_path / "no shards", tmp_path / "run", other, device="cpu", start=find_start(source, "encoder"))


@pytest.mark.slow
def test_a_run_that_goes_on_still_says_where_it_came_from(tmp_path, shards, source):
    folder = tmp_path / "run"
    train(shards, folder, tiny_config(steps=2, evaluations=1), device="cpu", start=find_start(source, "encoder"))
    record = train(shards, folder, None, resume=True, device="cpu", steps=4)
    assert record["started_from"]["step"] == 4 and record["started_from"]["part"] == "encoder"
