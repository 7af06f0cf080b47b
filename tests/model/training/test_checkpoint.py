import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from model.training import checkpoint
from model.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    optimizer_tensors,
    restore_optimizers,
    save_checkpoint,
)
from model.training.runs import BEST, RECORDED, check_choice, load_run
from pipeline.errors import InputError, naming_damage


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))


def step(net, optimizer):
    optimizer.zero_grad()
    net(torch.arange(15.0).reshape(5, 3).sin()).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.RMSprop])
def test_an_optimiser_restored_from_a_file_goes_on_bit_equal(tmp_path, make):
    net = network()
    optimizer = make(net.parameters(), lr=1e-2)
    step(net, optimizer)
    parts = {f"network.{k}": v for k, v in net.state_dict().items()}
    parts |= {f"optimizer.{k}": v for k, v in optimizer_tensors(net, [optimizer]).items()}
    save_checkpoint(tmp_path / "last.safetensors", Checkpoint(parts, {"step": 1}))
    step(net, optimizer)

    again = network()
    other = make(again.parameters(), lr=1e-2)
    read = load_checkpoint(tmp_path / "last.safetensors")
    load_weights(again, read.part("network"), tmp_path)
    restore_optimizers(again, [other], read.part("optimizer"))
    step(again, other)
    assert read.record["step"] == 1
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("fused", [False, True])
def test_an_optimiser_of_kernels_that_lie_by_channels_last_goes_on_bit_equal(tmp_path, fused):
    """A fused one pairs moments and weights as they lie in memory, and says nothing where they lie differently."""
    runs = []
    for stop in (False, True):
        torch.manual_seed(0)
        net = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, fused=fused)
        for k in range(3):
            if stop and k == 2:
                moments = {f"optimizer.{name}": t for name, t in optimizer_tensors(net, [optimizer]).items()}
                save_checkpoint(tmp_path / "last.safetensors", Checkpoint(moments, {"step": k}))
                optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, fused=fused)
                restore_optimizers(net, [optimizer], load_checkpoint(tmp_path / "last.safetensors").part("optimizer"))
            net.zero_grad()
            net(torch.arange(192.0).view(1, 3, 8, 8).sin()).square().sum().backward()
            optimizer.step()
        runs.append(net.weight.detach())
    assert torch.equal(*runs)


@pytest.mark.parametrize("fused", [False, True])
def test_a_fused_optimiser_counts_its_steps_where_the_weights_are(fused):
    net = torch.nn.Linear(2, 2, device="meta")
    optimizer = torch.optim.AdamW(net.parameters())
    optimizer.defaults["fused"] = fused
    moments = {f"weight.{key}": torch.ones(2, 2) for key in ("exp_avg", "exp_avg_sq")}
    restore_optimizers(net, [optimizer], moments | {"weight.step": torch.tensor(3.0)})
    state = optimizer.state[net.weight]
    assert state["exp_avg"].device.type == "meta"
    assert state["step"].device.type == ("meta" if fused else "cpu")


def test_the_record_is_readable_beside_the_file_and_no_temporary_is_left(tmp_path):
    save_checkpoint(tmp_path / "best.safetensors", Checkpoint({"network.a": torch.ones(2)}, {"step": 7}))
    assert json.loads((tmp_path / "best.json").read_text())["step"] == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.json", "best.safetensors"]


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, Checkpoint({"network.a": torch.ones(2)}, {"step": 1}))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left"):
        save_checkpoint(path, Checkpoint({"network.a": torch.zeros(2)}, {"step": 2}))
    assert load_checkpoint(path).record["step"] == 1


def test_refusals_name_the_file(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="damaged.safetensors"):
        load_checkpoint(damaged)
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    save_checkpoint(tmp_path / "new.safetensors", Checkpoint({}, {}))
    monkeypatch.undo()
    with pytest.raises(InputError, match="version 99"):
        load_checkpoint(tmp_path / "new.safetensors")


def test_weights_of_other_sizes_are_refused_by_name():
    weights = network().state_dict()
    weights["0.weight"] = torch.zeros(8, 3)
    with pytest.raises(InputError, match=r"0\.weight \(8, 3\) instead of \(4, 3\)"):
        load_weights(network(), weights, "last.safetensors")


@pytest.mark.parametrize("record", ["[]", "null", "3", "9" * 5000, "[" * 100_000, "{"])
def test_a_record_that_is_none_is_named(tmp_path, record):
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"record": record})
    with pytest.raises(InputError, match="a.safetensors: not a readable safetensors file"):
        load_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", list(RECORDED))
def test_a_record_without_what_readers_rely_on_is_named(tmp_path, name):
    whole = {"config": {}, "encoder": {}, "data": [], "commit": "a", "parameters": 1, "best": None}
    whole |= {"step": 1, "seconds": 0.5}
    for record in ({key: value for key, value in whole.items() if key != name}, whole | {name: ["x", {}]}):
        if isinstance(record.get(name), RECORDED[name]):
            continue
        save_checkpoint(tmp_path / BEST, Checkpoint({}, record))
        with pytest.raises(InputError, match=f"{BEST}: its record lacks '{name}'"):
            load_run(tmp_path)


def test_weights_that_are_not_finite_are_named(tmp_path):
    network = torch.nn.Linear(2, 2)
    weights = network.state_dict() | {"bias": torch.tensor([0.0, float("nan")])}
    with pytest.raises(InputError, match="a.safetensors: bias holds values that are not finite"):
        load_weights(network, weights, tmp_path / "a.safetensors")


def test_what_a_run_chose_is_whole_or_damaged():
    """A key that is missing was found only when bodies were to be fitted, by an error without the file's name."""
    good = {"decode": "body", "prior": "learnt", "spread_factor": 1.2, "pose_prior": {"sha256": "a", "poses": 3}}
    for said in (None, good, good | {"pose_prior": None}):
        check_choice(said)
    wrong = [
        {key: value for key, value in good.items() if key != left} for left in ("decode", "prior", "spread_factor")
    ]
    wrong += [good | {"spread_factor": 1e308}, good | {"spread_factor": float("inf")}]
    wrong += [good | {"spread_factor": "x"}, good | {"pose_prior": {}}, good | {"prior": 3}, [], "body"]
    for said in wrong:
        with pytest.raises(InputError, match="best is damaged"), naming_damage(Path("best"), ""):
            check_choice(said)
