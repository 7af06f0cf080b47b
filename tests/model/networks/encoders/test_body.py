"""The encoder that has seen people, alone and in a run."""

import pytest
import torch

from model.export import export_run
from model.networks.encoders import movenet_weights
from model.networks.encoders.body import BodyEncoder, BodySettings
from model.networks.encoders.movenet import MoveNet
from model.networks.encoders.movenet_weights import asset_path, read_weights
from model.train import train
from model.training.checkpoint import load_checkpoint
from model.training.config import config_from_dict
from model.training.runs import LAST, load_run
from pipeline.errors import InputError
from tests.model.capsules import make_folder, tiny_config


def config(encoder: dict | None = None, **changes):
    """The tiny configuration with this encoder. Its crops are of 64 px."""
    tables = tiny_config(**changes).to_dict()
    tables["network"]["encoder"] = {"kind": "body", "channels": 8, "context": 16} | (encoder or {})
    return config_from_dict(tables)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("body") / "shards", 24, 4, 4)


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("reads", ["stages", "keypoints"])
def test_maps_are_at_a_quarter_an_eighth_and_a_sixteenth(reads, side):
    encoder = BodyEncoder.fresh(BodySettings(channels=16, context=24, reads=reads), side)
    features = encoder(encoder.normalise(torch.rand(2, 3, side, side) * 2 - 1))
    (pyramid,) = features.pyramids
    assert [tuple(m.shape) for m in pyramid] == [(2, 16 << k, side >> k + 2, side >> k + 2) for k in range(3)]
    assert features.context.shape == (2, 24) and encoder.channels == (16, 32, 64)


def test_it_reads_what_the_published_network_sees():
    kind, state = read_weights(asset_path("lightning"))
    published = MoveNet(kind).eval().requires_grad_(False)
    published.load_state_dict(state)
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    stages = published.backbone(image)
    maps = BodyEncoder.fresh(BodySettings(), 64).eval().read(image)
    for ours, theirs in zip(maps, (stages[1], stages[2], stages[4], stages[5]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    finest = BodyEncoder.fresh(BodySettings(reads="keypoints"), 64).eval().read(image)[0]
    heatmap = published(image).heatmap
    torch.testing.assert_close(finest[:, -17:] * 4, heatmap.clamp(-12, 12), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("aligned", [False, True])
def test_a_cell_describes_the_pixels_that_it_stands_for_when_aligned(aligned):
    """With even kernels the middle of what a cell depends on is its place, else (stride - 1) / 2 px right of and below it."""
    side = 512
    encoder = BodyEncoder(BodySettings(aligned=aligned), "lightning").eval()
    with torch.no_grad():
        for name, parameter in encoder.pretrained.named_parameters():
            parameter.fill_(1 / parameter[0].numel() if name.endswith("weight") else 0)
    pixels = torch.arange(side, dtype=torch.float32)
    image = torch.full((1, 3, side, side), 1e-4, requires_grad=True)  # far below where ReLU6 ends
    for stride, found in zip((4, 8, 16, 32), encoder.read(image), strict=True):
        cell = side // stride // 2
        (pull,) = torch.autograd.grad(found[0, :, cell, cell].sum(), image, retain_graph=True)
        pull = pull[0].sum(0)
        middle = (cell + 0.5) * stride - 0.5 + (0 if aligned else (stride - 1) / 2)
        for axis in (0, 1):
            assert ((pull.sum(axis) * pixels).sum() / pull.sum()).item() == pytest.approx(middle, abs=0.05)


@pytest.mark.parametrize("reads", ["stages", "keypoints"])
def test_aligned_maps_are_read_in_half_precision_too(reads):
    encoder = BodyEncoder.fresh(BodySettings(reads=reads, aligned=True), 64).eval()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        whole = encoder.read(image)
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder.read(image)
    for one, other in zip(whole, half, strict=True):
        assert other.dtype == torch.bfloat16 and (one - other.float()).abs().mean() < 0.1 * one.abs().mean()


def test_what_the_keypoint_head_says_is_where_our_cells_are_already():
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    plain, aligned = (BodyEncoder.fresh(BodySettings(reads="keypoints", aligned=a), 64).eval() for a in (False, True))
    for k, (one, other) in enumerate(zip(plain.read(image), aligned.read(image), strict=True)):
        assert torch.equal(one, other) is (k == 0)


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [("all", 7), ("until:stem", 1), ("until:stage3", 4), ("until:keypoints", 7), ("none", 0)],
)
def test_what_is_frozen_has_no_gradient_and_stays_in_evaluation_mode(freeze, frozen):
    encoder = BodyEncoder.fresh(BodySettings(reads="keypoints", freeze=freeze, rate=0.25), 64)
    fixed, free, neck = encoder.parameter_groups()
    assert fixed.frozen and fixed.pretrained and free.pretrained and free.rate == 0.25
    assert not (neck.frozen or neck.pretrained) and neck.rate == 1
    everything = [p for group in (fixed, free, neck) for p in group.parameters]
    assert sorted(map(id, everything)) == sorted(map(id, encoder.parameters()))
    names = [name for stage in list(encoder.stages.values())[:frozen] for name in stage]
    expected = {id(p) for name in names for p in encoder.pretrained.get_submodule(name).parameters()}
    assert {id(p) for p in fixed.parameters} == expected
    encoder.train()
    for name, module in encoder.pretrained.named_modules():
        inside = any(name == part or name.startswith(part + ".") for part in names)
        assert module.training is not (inside or (freeze == "all")), name


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["all", "until:stage4"])
def test_training_leaves_the_frozen_part_as_it_was(tmp_path, shards, freeze):
    train(shards, tmp_path / "run", config({"freeze": freeze}, steps=4, optimizer="muon", average=0.9), device="cpu")
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    published = BodyEncoder.fresh(BodySettings(), 64).pretrained.state_dict()
    last = {name for name in published if name.startswith("backbone.stages.5.")}
    moved = {
        name
        for name, value in published.items()
        if not torch.equal(checkpoint.tensors[f"network.encoder.pretrained.{name}"], value)
    }
    assert moved == (set() if freeze == "all" else last)
    for name, value in published.items():
        state = [key for key in checkpoint.tensors if key.startswith(f"optimizer.encoder.pretrained.{name}.")]
        assert bool(state) is (name in moved)
        assert not any(key.endswith(".momentum") for key in state)  # Muon's
        if name not in moved:
            assert torch.equal(checkpoint.tensors[f"average.encoder.pretrained.{name}"], value)


@pytest.mark.slow
def test_what_is_free_learns_at_its_own_rate(tmp_path, shards):
    """With Adam, the first step of every weight is the rate itself, whatever its gradient."""
    start = BodyEncoder.fresh(BodySettings(), 64).pretrained.state_dict()
    settings = config({"freeze": "none", "rate": 0.05}, steps=1, optimizer="adamw", average=0.0, warmup=0)
    train(shards, tmp_path / "run", settings, device="cpu")
    after = load_checkpoint(tmp_path / "run" / LAST).part("network")
    moves = torch.cat([(after[f"encoder.pretrained.{name}"] - value).abs().flatten() for name, value in start.items()])
    assert moves.median() == pytest.approx(0.05 * settings.train.learning_rate, rel=0.02)


@pytest.mark.slow
def test_a_run_is_opened_resumed_and_exported_without_the_asset(tmp_path, shards, monkeypatch):
    run = tmp_path / "run"
    train(shards, run, config(steps=4), device="cpu")
    monkeypatch.setattr(movenet_weights, "ASSETS", tmp_path / "nowhere")
    network, own, _ = load_run(run)
    assert own == config(steps=4)
    image, K = (
        torch.rand(2, 3, 64, 64) * 2 - 1,
        torch.tensor([[128.0, 0, 31.5], [0, 128, 31.5], [0, 0, 1]]).expand(2, 3, 3),
    )
    assert torch.isfinite(network.predict(image, K).joints).all()
    train(shards, run, None, resume=True, device="cpu")
    assert export_run(run, tmp_path / "run.pt2", batch=2)["largest_difference_mm"] < 0.1


def test_weights_that_are_not_there_are_refused_before_data_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(movenet_weights, "ASSETS", tmp_path)
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"none")
    for weights, said in (
        ("lightning", "does not come with this program.*encoder build package/models/movenet-lightning.json"),
        (str(tmp_path / "mine.safetensors"), "there is no file .*mine.safetensors.*encoder build"),
        (str(other), "no safetensors file"),
    ):
        with pytest.raises(InputError, match=said):
            train(tmp_path / "no shards here", tmp_path / "run", config({"weights": weights}), device="cpu")


def test_weights_are_read_from_a_file_as_well(tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(asset_path("lightning").read_bytes())
    encoder = BodyEncoder.fresh(BodySettings(weights=str(path)), 64)
    assert encoder.kept == {"weights": "lightning"}
    again = BodyEncoder.rebuilt(encoder.settings, encoder.kept)
    again.load_state_dict(encoder.state_dict())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"freeze": "until:stage9"},
            "no such stage; choose one of until:stem, until:stage1, .*until:stage5, all, none",
        ),
        ({"freeze": "until:keypoints"}, "no such stage"),
        ({"freeze": "until:"}, "no such stage"),
        ({"freeze": "some"}, 'choose "all", "none" or "until:STAGE"'),
        ({"rate": 0.0}, "rate 0.0: above 0"),
        ({"rate": 1.5}, "rate 1.5: above 0"),
        ({"reads": "pixels"}, "choose one of stages, keypoints"),
        ({"channels": 12}, "multiple of 8"),
        ({"context": 4}, "at least 8"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        config(wrong)
