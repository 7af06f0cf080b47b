import json
import math
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model import train as training
from model.data.loading import DrawConfig, ViewDataset
from model.data.views import read_views
from model.device import Ranks, join_ranks
from model.evaluate import evaluate_run
from model.networks.build import HEADS, build_network
from model.train import train
from model.training import step as step_room
from model.training.checkpoint import load_checkpoint, save_checkpoint
from model.training.clock import Length
from model.training.job import Job
from model.training.logbook import read_history
from model.training.optimise import TrainConfig, learning_rate
from model.training.runs import LAST, load_run, not_taken, start_run, training_statistics
from pipeline import records
from pipeline.errors import InputError
from pipeline.outputs import run_lock
from pipeline.shards.run_json import read_run, write_run
from tests.model.capsules import make_folder, make_view, tiny_config, write_folder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("train") / "shards", 24, 4, 4)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, shards):
    folder = tmp_path_factory.mktemp("train") / "run"
    return folder, train(shards, folder, tiny_config(), device="cpu")


def losses(folder):
    return [(row["step"], row["total"]) for row in read_history(folder) if row["kind"] == "train"]


def started_run(shards, config):
    """A run before its first step, its job, and the batches of it."""
    views = read_views([shards])["train"].labelled(config.train.ground_truth)
    network = build_network(config.network, training_statistics(views, config))
    job = Job(config, views, [1.0], None, shards, torch.device("cpu"), Ranks())
    return start_run(network, config), job, [batch.to("cpu") for batch in job.batches(range(config.train.steps))]


def test_a_run_leaves_what_is_needed_to_go_on_and_to_predict(whole_run, shards):
    folder, record = whole_run
    assert [step for step, _ in losses(folder)] == [2, 4, 6, 8, 10, 12]
    assert [row["step"] for row in read_history(folder) if row["kind"] == "validation"] == [6, 12]
    assert record["step"] == 12 and record["best"]["mpjpe_mm"] > 0
    assert record["data"][0]["train_views"] == 24 and len(record["commit"]) >= 5
    assert json.loads((folder / "last.json").read_text())["config"]["train"]["steps"] == 12
    network, config, _ = load_run(folder)
    assert config == tiny_config()
    mean = read_views([shards])["train"]["joints"].mean(0)
    np.testing.assert_allclose(network.mean_pose.numpy(), mean, atol=1e-6)
    curves = EventAccumulator(str(folder / "tensorboard")).Reload().Tags()
    assert {
        "train/total",
        "train/learning_rate",
        "train/data_wait",
        "train/step_seconds",
        "validation/mpjpe_mm",
        "error_mm/left_wrist",
        "effective_votes/left_wrist",
    } <= set(curves["scalars"])
    assert curves["images"] == ["validation"]


def test_gradients_are_clipped_and_the_average_follows_the_weights(shards):
    run, job, batches = started_run(shards, tiny_config(steps=3, clip_norm=1e-3))
    compute = step_room.losses_module(run.network, False, job.ranks)
    expected = [p.detach().clone() for p in run.network.parameters()]
    for step, batch in enumerate(batches, 1):
        parts = step_room.take_step(run, compute, batch, job, 0.0)
        norm = torch.stack([p.grad.norm() for p in run.network.parameters() if p.grad is not None]).norm()
        assert parts["gradient"] > 0.1 and norm == pytest.approx(1e-3, rel=1e-3)
        keep = min(0.9, (1 + step) / (10 + step))
        expected = [keep * a + (1 - keep) * p.detach() for a, p in zip(expected, run.network.parameters(), strict=True)]
    for a, b in zip(expected, run.average.network.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_bf16_is_used_where_it_is_fast_and_close_to_float32(shards, monkeypatch):
    run, job, batches = started_run(shards, tiny_config(steps=1))
    monkeypatch.setattr(step_room, "fast_bf16", lambda device: True)
    low = step_room.compute_losses(step_room.losses_module(run.network, False, job.ranks), batches[0], job, 0)["total"]
    monkeypatch.setattr(step_room, "fast_bf16", lambda device: False)
    full = step_room.compute_losses(step_room.losses_module(run.network, False, job.ranks), batches[0], job, 0)["total"]
    assert low != full and low.item() == pytest.approx(full.item(), rel=0.03)


def test_torchrun_hands_out_the_devices(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="--device cuda:0: torchrun gives each process a device of its own"):
        join_ranks(torch.device("cuda:0"))


@pytest.mark.slow
def test_a_killed_run_resumes_with_the_same_losses_to_the_bit(tmp_path, shards, whole_run):
    folder = tmp_path / "killed"
    child = multiprocessing.get_context("fork").Process(
        target=lambda: train(shards, folder, tiny_config(workers=1), device="cpu")
    )
    child.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (folder / "history.jsonl").exists() or len(read_history(folder)) < 3:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    stopped = load_checkpoint(folder / LAST).record["step"]
    assert stopped < 12
    train(shards, folder, None, resume=True, device="cpu")
    assert losses(folder) == losses(whole_run[0])
    for name in ("last", "best"):
        a, b = (load_checkpoint(f / f"{name}.safetensors").tensors for f in (folder, whole_run[0]))
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in HEADS if name != "nvf"])
def test_every_network_goes_through_the_same_loop(tmp_path, shards, model):
    record = train(shards, tmp_path / model, tiny_config(model, steps=4, evaluations=1), device="cpu")
    assert record["step"] == (0 if model == "mean_pose" else 4)
    if model == "mean_pose":
        assert record["best"]["mpjpe_mm"] == pytest.approx(record["best"]["mean_pose_mpjpe_mm"], abs=0.01)


def test_a_loss_that_is_not_a_number_names_view_and_shard_before_the_weights_are_spoilt(tmp_path, shards, monkeypatch):
    plain = ViewDataset.view

    def poisoned(self, epoch, index):
        row = plain(self, epoch, index)
        if self.views["id"][index] == "S1/Walking/000005/1":
            row["joints"] = row["joints"] * np.float32("nan")
        return row

    monkeypatch.setattr(ViewDataset, "view", poisoned)
    with pytest.raises(InputError, match=r"view S1/Walking/000005/1 of .*shard-00000\.h5 \(total, .*vote.*\)"):
        train(shards, tmp_path / "run", tiny_config(), device="cpu")
    tensors = load_checkpoint(tmp_path / "run" / LAST).tensors
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "adamw", "learning_rate": 3.0},
        {"optimizer": "adamw", "learning_rate": 300.0, "clip_norm": 0.0},
        {"optimizer": "rmsprop", "learning_rate": 3.0},
        {"optimizer": "muon", "learning_rate": 30.0},
    ],
)
def test_a_rate_that_is_far_too_high_ends_with_a_message(tmp_path, shards, change):
    with pytest.raises(InputError, match="the loss or its gradient is not a number.*lower train.learning_rate"):
        train(shards, tmp_path / "run", tiny_config(steps=40, **change), device="cpu")


def test_a_gradient_that_only_the_compiled_step_spoils_says_so(shards):
    run, job, batches = started_run(shards, tiny_config(steps=1, compile=True))

    class Spoiled(torch.nn.Module):
        def forward(self, batch, generator):
            parts = run.network.losses(batch, generator)
            return parts | {"total": parts["total"] * torch.nan}

    with pytest.raises(
        InputError, match=r"no single view of view S.*; and \d+ more of \d+ views.*train.compile to false"
    ):
        step_room.take_step(run, Spoiled(), batches[0], job, 0.0)


@pytest.mark.slow
def test_views_without_any_label_change_nothing(tmp_path):
    blank = {"is_3d": False, "fit_valid": False, "joints_2d_valid": np.zeros(17, bool)}
    views = [make_view(0, "train", "S1")] + [make_view(n, "train", "S1", **blank) for n in range(1, 4)]
    shards = write_folder(tmp_path / "mixed", views)
    train(shards, tmp_path / "run", tiny_config(steps=8, batch_size=1, log_every=1, save_every=4), device="cpu")
    totals = [total for _, total in losses(tmp_path / "run")]
    assert sorted(total > 0 for total in totals) == [False] * 6 + [True] * 2 and min(totals) == 0

    run, job, batches = started_run(shards, tiny_config(steps=8, batch_size=1))
    labelled = [bool(batch.is_3d.any()) for batch in batches]
    first = labelled.index(True)
    step_room.take_step(run, step_room.losses_module(run.network, False, job.ranks), batches[first], job, 0.0)
    before = [p.detach().clone() for p in run.network.parameters()]
    blank_batch = batches[labelled.index(False)]
    step_room.take_step(run, step_room.losses_module(run.network, False, job.ranks), blank_batch, job, 0.0)
    assert run.step == 2
    assert all(
        torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True)
    )  # momentum and decay wait too

    nothing = write_folder(tmp_path / "nothing", views[1:])
    with pytest.raises(InputError, match="none of the 3 training views has a valid label"):
        train(nothing, tmp_path / "run2", tiny_config(), device="cpu")


@pytest.mark.slow
def test_validation_without_whole_measured_bodies_is_compared_with_its_fits(tmp_path):
    """3DPW without SMPL files: some joints are the fit's, so no view could be scored against measured ones."""
    source = np.full(17, records.DATASET_JOINT, np.uint8)
    source[-1] = records.FIT_JOINT
    views = [make_view(n, "train", "S1", joints_source=source) for n in range(4)]
    views += [make_view(n, "validation", "S8", joints_source=source) for n in range(10, 14)]
    shards = write_folder(tmp_path / "shards", views)
    record = train(shards, tmp_path / "run", tiny_config(steps=2, evaluations=1), device="cpu")
    assert record["best"]["n_views"] == 3
    assert (record["config"]["train"]["ground_truth"], record["validation_truth"]) == ("dataset", "fit")


@pytest.mark.slow
def test_the_fit_can_be_the_truth_of_a_run(tmp_path):
    """Labels, statistics and validation are of the fitted bodies; so they stay when the run goes on."""
    shift = np.linspace(0.02, 0.1, 17, dtype=np.float32)[:, None]  # a fit whose bones are longer than the measured ones

    def view(n, split, subject, **changes):
        plain = make_view(n, split, subject)
        return replace(plain, fit_joints=plain.joints + shift, **changes)

    views = [view(n, "train", "S1", fit_valid=n != 3) for n in range(6)]
    views += [view(n, "validation", "S8", fit_valid=n != 10) for n in range(10, 14)]
    shards, folder = write_folder(tmp_path / "shards", views), tmp_path / "run"
    config = tiny_config(steps=4, evaluations=1, evaluate_views=10, ground_truth="fit")
    record = train(shards, folder, config, device="cpu")
    assert (
        record["config"]["train"]["ground_truth"]
        == record["validation_truth"]
        == record["best"]["ground_truth"]
        == "fit"
    )
    assert record["best"]["n_views"] == 3
    fitted = np.stack([v.fit_joints - v.fit_joints[0] for v in views])
    mean = fitted[[0, 1, 2, 4, 5]].mean(0)
    np.testing.assert_allclose(load_run(folder)[0].mean_pose.numpy(), mean, atol=1e-6)
    error = 1000 * np.linalg.norm(fitted[7:] - mean, axis=-1).mean()
    assert record["best"]["mean_pose_mpjpe_mm"] == pytest.approx(error, abs=0.01)

    again = train(shards, folder, tiny_config(steps=4, evaluations=1), resume=True, device="cpu")
    assert again["config"]["train"]["ground_truth"] == again["validation_truth"] == "fit"


@pytest.mark.slow
def test_a_run_of_a_version_that_recorded_less_goes_on(tmp_path, shards):
    folder = tmp_path / "run"
    train(shards, folder, tiny_config(steps=4, evaluations=1), device="cpu")
    checkpoint = load_checkpoint(folder / LAST)
    for name in ("source", "subjects"):
        del checkpoint.record["data"][0][name]
    del checkpoint.record["config"]["train"]["ground_truth"], checkpoint.record["validation_truth"]
    save_checkpoint(folder / LAST, checkpoint)
    record = train(shards, folder, None, resume=True, device="cpu")
    assert record["data"][0]["subjects"] == ["S1"] and record["validation_truth"] == "dataset"


class Slow:
    """Steps that take as long as they are told, by a clock that stands still otherwise."""

    def __init__(self, seconds_of_step):
        self.now, self.seconds_of_step, self.steps, self.parts = 0.0, seconds_of_step, 0, []

    def perf_counter(self):
        return self.now

    def take_step(self, run, compute, batch, job, part):
        self.now += self.seconds_of_step(self.steps)
        self.steps += 1
        self.parts.append(part)
        return step_room.take_step(run, compute, batch, job, part)


@pytest.fixture
def slow(monkeypatch):
    def patch(seconds_of_step):
        clock = Slow(seconds_of_step)
        monkeypatch.setattr("model.train.take_step", clock.take_step)
        monkeypatch.setattr("model.train.time.perf_counter", clock.perf_counter)
        return clock

    return patch


@pytest.mark.slow
@pytest.mark.parametrize(
    "seconds", [lambda k: 0.5, lambda k: 1.0 if 10 <= k < 25 else 0.5, lambda k: 0.5 * (k + 1) ** -0.2]
)
def test_minutes_are_kept_on_a_machine_whose_speed_changes(tmp_path, shards, slow, seconds):
    clock = slow(seconds)
    config = tiny_config(evaluations=4, log_every=1, save_every=7)
    record = train(shards, tmp_path / "run", config, device="cpu", minutes=0.3)
    assert record["seconds"] == pytest.approx(18, rel=0.03) and record["finished"]
    assert record["step"] == record["config"]["train"]["steps"] == clock.steps != config.train.steps
    rows = read_history(tmp_path / "run")
    looks = [row["step"] for row in rows if row["kind"] == "validation"]
    assert len(looks) == 4 and looks[-1] == record["step"]
    rates = [row["learning_rate"] for row in rows if row["kind"] == "train"]
    assert max(rates) == pytest.approx(config.train.learning_rate, rel=0.05) and rates[-1] < 0.02 * max(rates)
    assert clock.parts == sorted(clock.parts) and clock.parts[-1] > 0.9


@pytest.mark.slow
def test_a_killed_run_by_the_clock_goes_on_with_the_rest(tmp_path, shards, slow):
    class Killed(Exception):
        pass

    clock = slow(lambda k: 0.5)
    step = clock.take_step

    def die(*arguments):
        if clock.steps == 20:
            raise Killed
        return step(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr("model.train.take_step", die)
        train(shards, tmp_path / "run", tiny_config(save_every=4), device="cpu", minutes=0.3)
    record = train(shards, tmp_path / "run", None, resume=True, device="cpu")
    assert record["step"] == 36 and record["seconds"] == pytest.approx(18, rel=0.03)
    before = clock.steps
    assert train(shards, tmp_path / "run", None, resume=True, device="cpu", minutes=0.3)["step"] == 36
    assert clock.steps == before  # it was finished
    assert train(shards, tmp_path / "run", None, resume=True, device="cpu", minutes=0.4)["step"] == 48


@pytest.mark.slow
def test_a_run_by_the_clock_killed_after_its_last_step_takes_no_other(tmp_path, shards, slow):
    """It ends half a step early at most."""
    clock = slow(lambda k: 0.5)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("model.train.finish", Mock(side_effect=KeyboardInterrupt))
        train(shards, tmp_path / "run", tiny_config(), device="cpu", minutes=18.2 / 60)
    assert clock.steps == 36
    assert train(shards, tmp_path / "run", None, resume=True, device="cpu")["step"] == clock.steps == 36


@pytest.mark.slow
def test_a_run_goes_on_as_one_of_the_new_length(tmp_path, shards):
    folder = tmp_path / "run"
    train(shards, folder, tiny_config(steps=8, log_every=1, save_every=4), device="cpu")
    with pytest.raises(InputError, match="has trained 8 steps in .* ask for more"):
        train(shards, folder, None, resume=True, device="cpu", steps=6)
    with pytest.raises(InputError, match="has trained 8 steps in .* ask for more"):
        train(shards, folder, None, resume=True, device="cpu", minutes=1e-6)
    record = train(shards, folder, None, resume=True, device="cpu", steps=16)
    assert record["step"] == record["config"]["train"]["steps"] == 16 and record["finished"]
    rates = [row["learning_rate"] for row in read_history(folder) if row["kind"] == "train"]
    config = tiny_config(steps=16).train
    assert rates[8:] == [learning_rate(config, k, k / 16) for k in range(8, 16)]
    assert rates[7] < rates[8]  # it had come down
    looks = [row["step"] for row in read_history(folder) if row["kind"] == "validation"]
    assert looks == [4, 8, 16]


@pytest.mark.slow
def test_a_start_that_was_refused_leaves_no_run_behind(tmp_path, shards, monkeypatch):
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="pool of 1024 points, fewer than draw.points = 4096"):
        train(shards, folder, replace(tiny_config(), draw=DrawConfig(points=4096)), device="cpu")
    assert not folder.exists()

    def broken(*_):
        raise InputError("the first step failed")

    with monkeypatch.context() as patch, pytest.raises(InputError, match="the first step failed"):
        patch.setattr("model.train.take_step", broken)
        train(shards, folder, tiny_config(), device="cpu")
    assert train(shards, folder, tiny_config(steps=4, evaluations=1), device="cpu")["step"] == 4
    with pytest.raises(InputError, match="holds a run already"):
        train(shards, folder, tiny_config(), device="cpu")


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_look_predicts_with_its_last_weights(tmp_path, shards, monkeypatch):
    folder = tmp_path / "run"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("model.train.evaluate_now", killed)
        train(shards, folder, tiny_config(evaluations=1, save_every=4), device="cpu")
    network, _, record = load_run(folder)
    assert record["step"] == 8
    average = load_checkpoint(folder / LAST).part("average")
    assert all(torch.equal(value, average[name]) for name, value in network.state_dict().items())


@pytest.mark.slow
def test_smaller_crops_than_the_network_takes_are_named(tmp_path, shards, capsys):
    config = tiny_config(steps=1, evaluations=1)
    train(shards, tmp_path / "a", config, device="cpu")
    assert "enlarged" not in capsys.readouterr().err
    larger = replace(config, network=replace(config.network, crop_px=96))
    train(shards, tmp_path / "b", larger, device="cpu")
    assert "its crops are 64 px and the network takes 96 px" in capsys.readouterr().err


@pytest.mark.slow
def test_folders_are_mixed_by_weight(tmp_path, shards):
    other = write_folder(tmp_path / "other", [make_view(n, "train", "S5") for n in range(60, 66)])
    record = train(shards, tmp_path / "run", tiny_config(steps=4), also=[(other, 0.5)], device="cpu")
    assert [row["weight"] for row in record["data"]] == [1.0, 0.5]
    with pytest.raises(InputError, match="trained on other data"):
        train(shards, tmp_path / "run", None, resume=True, device="cpu")


def test_a_run_that_goes_on_says_which_settings_it_does_not_take():
    own = tiny_config(steps=8)
    assert not_taken(None, own) == not_taken(tiny_config(steps=9, warmup=1, seed=4), own) == []
    (line,) = not_taken(tiny_config(steps=9, learning_rate=0.5), own)
    assert line.endswith(f"not taken: train.learning_rate 0.5 ({own.train.learning_rate} stays).")


def test_refusals(tmp_path, shards, whole_run):
    folder = whole_run[0]
    with pytest.raises(InputError, match="holds a run already"):
        train(shards, folder, tiny_config(), device="cpu")
    with pytest.raises(InputError, match="no such checkpoint"):
        train(shards, tmp_path / "none", None, resume=True)
    with pytest.raises(InputError, match="another configuration: network.head"):
        train(shards, folder, tiny_config("heatmap25d"), resume=True, device="cpu")
    with pytest.raises(InputError, match="--device cuda:7: this machine cannot"):
        train(shards, tmp_path / "x", tiny_config(), device="cuda:7")
    only_test = write_folder(tmp_path / "only", [make_view(0, "test", "S9")])
    with pytest.raises(InputError, match="no view of the split 'train'"):
        train(only_test, tmp_path / "y", tiny_config(), device="cpu")


def test_the_rate_rises_and_falls():
    config = TrainConfig(steps=1000, warmup=100, learning_rate=1.0)
    rates = [learning_rate(config, step, step / 1000) for step in range(1000)]
    assert rates[0] < 0.01 and 0.97 < max(rates) <= 1 and rates.index(max(rates)) in range(99, 102)
    assert rates[-1] < 1e-4 and rates[500] == pytest.approx(0.5, abs=1e-3)
    steps = TrainConfig(steps=100, warmup=0, learning_rate=1.0, schedule="steps", milestones=(0.5, 0.75))
    assert [round(math.log10(learning_rate(steps, k, k / 100))) for k in (0, 49, 50, 74, 75, 99)] == [
        0,
        0,
        -1,
        -1,
        -2,
        -2,
    ]


def test_looks_at_validation_are_spread_and_end_with_the_last_step():
    for steps, times in ((12, 2), (100, 7), (5, 9)):
        due = [step for step in range(1, steps + 1) if Length(steps).look_due(times, step, 0, 0, False)]
        assert len(due) == min(steps, times) and due[-1] == steps


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"optimizer": "sgd"}, {"save_every": 7, "log_every": 2}, {"average": 1.0}]
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TrainConfig(**change)


@pytest.mark.slow
def test_shards_that_are_missing_are_named_by_training_and_by_evaluation(tmp_path, shards, capsys):
    folder, config = tmp_path / "shards", tiny_config(steps=1, evaluations=1)
    shutil.copytree(shards, folder)
    record = read_run(folder)
    planned = (*record.layout, ("lost",), ("also",))
    write_run(folder, replace(record, state="failed", layout=planned))
    said = f"(state 'failed'): {len(planned) - len(record.shards)} of {len(planned)} shards are missing. Run preprocess again"
    train(shards, tmp_path / "b", config, [(folder, 1.0)], device="cpu")
    assert said in capsys.readouterr().err
    evaluate_run(tmp_path / "b", folder, "validation", device="cpu")
    assert f"{folder}: its preprocess run" in (err := capsys.readouterr().err) and said in err
    evaluate_run(tmp_path / "b", shards, "validation", device="cpu")
    assert "missing" not in capsys.readouterr().err


def test_two_trainings_do_not_write_one_folder(tmp_path, shards):
    """Also before the first has saved anything, and whichever of them resumes; one that is refused leaves nothing."""
    folder = tmp_path / "run"
    for resume in (False, True):
        with run_lock(folder), pytest.raises(InputError, match="another run is writing"):
            train(shards, folder, tiny_config(), resume=resume, device="cpu")
    with pytest.raises(InputError, match="nowhere"):
        train(tmp_path / "nowhere", folder, tiny_config(), device="cpu")
    assert not folder.exists()


@pytest.mark.slow
def test_a_training_clears_its_own_drafts_away(tmp_path, shards):
    folder = tmp_path / "run"
    folder.mkdir()
    ours = ("last.safetensors.0a1b2c3d.tmp", "best.json.0a1b2c3d.tmp", "history.jsonl.tmp", "last.safetensors.tmp")
    for name in (*ours, "mine.tmp"):
        (folder / name).touch()
    train(shards, folder, tiny_config(steps=1, evaluations=1), device="cpu")
    assert [path.name for path in folder.glob("*.tmp")] == ["mine.tmp"]


def test_denormal_numbers_are_zero_in_training_only(tmp_path, monkeypatch):
    """Whoever trains from Python computes on as before."""
    smallest, during = torch.tensor([1e-40]), []

    def loop(*_):
        during.append(float(smallest * 1))
        raise InputError("stop here")

    monkeypatch.setattr(training, "loop", loop)
    with pytest.raises(InputError, match="stop here"):
        train(make_folder(tmp_path / "shards", 8, 2, 2), tmp_path / "run", tiny_config(steps=1), device="cpu")
    assert during == [0.0] and float(smallest * 1) > 0
