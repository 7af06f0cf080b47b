"""Backbones of transformers as encoders: tiny ones with random weights, saved to a folder and named by it."""

import builtins
import json

import pytest
import torch
import transformers

from model.export import export_run
from model.networks.build import make_encoder
from model.networks.encoders import hub
from model.networks.encoders.backbone import BackboneEncoder, BackboneSettings, Output, choose
from model.train import train
from model.training.checkpoint import load_checkpoint
from model.training.config import config_from_dict, load_config
from model.training.runs import LAST, load_run
from pipeline.errors import InputError
from tests.model.capsules import make_folder, tiny_config

VIT = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "mlp_ratio": 2, "intermediate_size": 48}
PYRAMID = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}
VITPOSE = VIT | {"image_size": [64, 48], "patch_size": [16, 16]}
# kind -> (its class, settings, what a stage of its is called in `freeze`)
KINDS = {
    "resnet": ("ResNet", PYRAMID | {"embedding_size": 8, "layer_type": "basic"}),
    "convnextv2": ("ConvNextV2", PYRAMID),
    "swin": (
        "Swin",
        {"image_size": 64, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 2, 2, 4], "window_size": 2},
    ),
    "dinov2": ("Dinov2", VIT | {"image_size": 70, "patch_size": 14}),
    "vitpose": ("VitPose", VITPOSE),
    "vitdet": ("VitDet", VIT | {"image_size": 64, "pretrain_image_size": 64, "patch_size": 16}),
}


def made(kind: str):
    """A tiny backbone with random weights."""
    torch.manual_seed(0)
    name, settings = KINDS[kind]
    config_name = "VitPoseBackboneConfig" if kind == "vitpose" else f"{name}Config"
    network = getattr(transformers, f"{name}Backbone")(getattr(transformers, config_name)(**settings)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "position" in name:
                parameter.normal_(0, 0.5)
    return network


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found = {}
    for kind in KINDS:
        found[kind] = tmp_path_factory.mktemp(kind)
        made(kind).save_pretrained(found[kind])
    (found["swin"] / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3]})
    )
    return found


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("backbone") / "shards", 24, 4, 4)


def fresh(folder, side=64, **settings) -> BackboneEncoder:
    return BackboneEncoder.fresh(BackboneSettings(name=str(folder), **{"channels": 8, "context": 16} | settings), side)


def config(folder, encoder: dict | None = None, **changes):
    """The tiny configuration with this encoder. Its crops are of 64 px."""
    tables = tiny_config(**changes).to_dict()
    tables["network"]["encoder"] = {"kind": "backbone", "name": str(folder), "channels": 8, "context": 16} | (
        encoder or {}
    )
    return config_from_dict(tables)


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_pyramids_become_the_three_maps(folders, kind, side):
    encoder = fresh(folders[kind], side)
    features = encoder(encoder.normalise(torch.rand(2, 3, side, side) * 2 - 1))
    (pyramid,) = features.pyramids
    assert [tuple(m.shape) for m in pyramid] == [(2, 8 << k, side >> k + 2, side >> k + 2) for k in range(3)]
    assert features.context.shape == (2, 16)
    again = make_encoder(config(folders[kind]).network, json.loads(json.dumps(encoder.kept)))
    again.load_state_dict(encoder.state_dict())
    image = torch.rand(1, 3, side, side) * 2 - 1
    for network in (encoder, again):
        network.eval()
    torch.testing.assert_close(again(again.normalise(image))[1], encoder(encoder.normalise(image))[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "side", "stages"),
    [
        ("resnet", 64, ["stage1", "stage2", "stage3", "stage4"]),
        ("swin", 64, ["stage1", "stage2", "stage3", "stage4"]),
        ("dinov2", 224, ["stage1", "stage2", "stage3", "stage4"]),
    ],
)
def test_what_is_read_is_what_the_published_backbone_gives(folders, kind, side, stages):
    """The same numbers as transformers' own class, on pixels that are normalised by hand. DINOv2's positions are interpolated by its
    own code, which blurs a little otherwise.
    """
    image = torch.rand(1, 3, side, side)
    mean, std = (
        ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3]) if kind == "swin" else ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    pixels = (image - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    kind_of = type(made(kind))
    with torch.no_grad():
        published = kind_of.from_pretrained(folders[kind], out_features=stages).eval()(pixels).feature_maps
        encoder = fresh(folders[kind], side).eval()
        ours = encoder.read(encoder.normalise(image * 2 - 1))
    for a, b in zip(ours, published, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 if kind != "dinov2" else 0.05)


def test_a_crop_of_another_side_is_brought_to_the_one_it_was_built_for(folders):
    """As after a start from weights of a run with smaller crops."""
    for kind in ("vitpose", "dinov2", "resnet"):
        encoder = fresh(folders[kind], 64).eval()
        (pyramid,) = encoder(encoder.normalise(torch.rand(1, 3, 96, 96))).pyramids
        assert [m.shape[-1] for m in pyramid] == [24, 12, 6]


def test_positions_keep_their_place_on_another_side():
    """Embeddings that say where a token is say the same on a grid of another shape; a token without place is left alone."""
    y, x = torch.meshgrid(
        torch.linspace(0, 1, 33)[1::2], torch.linspace(0, 1, 25)[1::2], indexing="ij"
    )  # centres of 16 x 12 cells
    published = torch.cat([torch.full((1, 1, 2), 9.0), torch.stack([y, x], -1).reshape(1, -1, 2)], 1)
    found = hub._interpolated(published, 1 + 64, [256, 192], 32 // 2)
    assert found.shape == (1, 65, 2) and (found[:, 0] == 9).all()
    centres = (torch.arange(8) + 0.5) / 8
    inner = slice(2, 6)  # at the rim bicubic interpolation repeats the outermost cells
    grid = found[0, 1:].view(8, 8, 2)[inner, inner]
    torch.testing.assert_close(grid[..., 0], centres[inner, None].expand(4, 4), atol=0.01, rtol=0)
    torch.testing.assert_close(grid[..., 1], centres[None, inner].expand(4, 4), atol=0.01, rtol=0)


def test_a_pose_network_gives_the_backbone_inside(tmp_path):
    """As ViTPose is published: a network around its backbone, ViTPose+ with experts as well."""
    backbone = transformers.VitPoseBackboneConfig(**VITPOSE, num_experts=2, part_features=8)
    whole = transformers.VitPoseForPoseEstimation(
        transformers.VitPoseConfig(backbone_config=backbone, num_labels=17)
    ).eval()
    whole.save_pretrained(tmp_path)
    encoder = fresh(tmp_path).eval()
    inner = {name: value for name, value in whole.backbone.state_dict().items() if "position" not in name}
    own = encoder.pretrained.state_dict()
    assert inner and all(torch.equal(own[name], value) for name, value in inner.items())
    assert torch.isfinite(encoder(encoder.normalise(torch.rand(1, 3, 64, 64)))[1]).all()


def test_a_transformer_is_read_at_four_depths_and_a_pyramid_by_its_strides():
    layers = [Output("stem", 4, 16)] + [Output(f"stage{k}", 4, 16) for k in range(1, 13)]
    assert [output.stage for output in choose(layers)] == ["stage3", "stage6", "stage9", "stage12"]
    assert [output.stage for output in choose(layers[:3])] == ["stage1", "stage1", "stage2", "stage2"]
    pyramid = [Output("stem", 4, 4), *(Output(f"stage{k}", 4, s) for k, s in ((1, 4), (2, 8), (3, 16), (4, 16)))]
    assert [output.stage for output in choose(pyramid)] == ["stage1", "stage2", "stage4", "stage4"]


@pytest.mark.parametrize("kind", KINDS)
def test_stages_are_frozen_from_the_image_on(folders, kind):
    encoder = fresh(folders[kind], freeze="until:stage2")
    fixed, free, _ = encoder.parameter_groups()
    names = {id(p): name for name, p in encoder.pretrained.named_parameters()}
    frozen, left = ([names[id(p)] for p in group.parameters] for group in (fixed, free))
    of_stage = [name.partition(f"{encoder.stages['stage1'][0][:-1]}")[2] for name in frozen]
    assert {part[0] for part in of_stage if part} == {"0", "1"} and frozen and left
    assert any("embed" in name for name in frozen)  # the stem
    assert not any(f"{stage}." in name for stage in encoder.stages["stage3"] for name in frozen)
    encoder.train()
    assert not any(m.training for m in encoder.pretrained.get_submodule(encoder.stages["stage2"][0]).modules())
    assert encoder.pretrained.get_submodule(encoder.stages["stage3"][0]).training


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "vitpose"])
def test_a_run_is_opened_resumed_and_exported_without_the_folder(tmp_path, folders, shards, kind):
    folder, run = tmp_path / "backbone", tmp_path / "run"
    made(kind).save_pretrained(folder)
    settings = config(folder, {"freeze": "until:stage1"}, steps=4, optimizer="muon")
    train(shards, run, settings, device="cpu")
    folder.rename(tmp_path / "elsewhere")
    network, own, _ = load_run(run)
    assert own == settings
    start, after = made(kind).state_dict(), load_checkpoint(run / LAST).part("network")
    encoder = network.encoder
    for name, value in start.items():
        fixed = any(name.startswith(part) for stage in ("stem", "stage1") for part in encoder.stages[stage])
        if value.is_floating_point() and "position" not in name and fixed:
            assert torch.equal(after[f"encoder.pretrained.{name}"], value), name  # running statistics too
    train(shards, run, None, resume=True, device="cpu")
    assert export_run(run, tmp_path / "run.pt2", batch=2)["largest_difference_mm"] < 0.1


@pytest.mark.slow
def test_the_base_configuration_trains_on_a_stand_in(tmp_path, folders, shards):
    """Five steps of `base` as it is, but for the backbone's size, the batch, the points and the looks at validation."""
    path = tmp_path / "base.toml"
    path.write_text(
        f'extends = "base"\n[network.encoder]\nname = "{folders["vitpose"]}"\n'
        "[train]\nbatch_size = 2\nworkers = 0\nevaluations = 1\nevaluate_views = 1\n[draw]\npoints = 512\n"
    )
    record = train(shards, tmp_path / "run", load_config(str(path)), device="cpu", steps=5)
    assert record["step"] == 5 and record["best"]["mpjpe_mm"] > 0
    after = load_checkpoint(tmp_path / "run" / LAST).part("network")
    start = made("vitpose").state_dict()
    same = [
        name
        for name in start
        if "position" not in name and torch.equal(after[f"encoder.pretrained.{name}"], start[name])
    ]
    assert same == []


@pytest.mark.slow
def test_statistics_of_free_stages_are_those_that_are_evaluated(tmp_path, folders, shards):
    """The average of the weights goes with the running statistics of the trained network, not with those of the start."""
    train(shards, tmp_path / "run", config(folders["resnet"], {"freeze": "none"}, steps=4, average=0.9), device="cpu")
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    trained, average = checkpoint.part("network"), checkpoint.part("average")
    names = [name for name in trained if name.endswith("running_mean")]
    assert names and all(torch.equal(trained[name], average[name]) for name in names)
    start = made("resnet").state_dict()
    assert not any(torch.equal(trained[name], start[name.removeprefix("encoder.pretrained.")]) for name in names)


# What is refused, before any data is read.


def refused(tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        train(tmp_path / "no shards here", tmp_path / "run", settings, device="cpu")


def test_a_name_without_network_says_what_was_downloaded_and_what_to_do(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("We couldn't connect to the hub.\nMore.")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    refused(
        tmp_path,
        config("facebook/dinov2-base"),
        r"facebook/dinov2-base cannot be read \(We couldn't connect to the hub\.\)\. .* downloaded before.*hf download "
        "facebook/dinov2-base --local-dir FOLDER",
    )


@pytest.mark.parametrize(
    ("remove", "said"),
    [("model.safetensors", "holds no .safetensors .it holds config.json, "), ("config.json", "holds no config.json")],
)
def test_a_folder_without_weights_says_what_it_holds(tmp_path, remove, said):
    made("resnet").save_pretrained(tmp_path / "b")
    (tmp_path / "b" / "pytorch_model.bin").write_bytes(b"never read")
    (tmp_path / "b" / remove).unlink()
    refused(tmp_path, config(tmp_path / "b"), f"{said}.*save_pretrained")


def test_a_folder_that_is_not_there_is_no_name_on_the_hub(tmp_path):
    refused(tmp_path, config(tmp_path / "b"), "is no folder. Give a backbone's folder, or its name on the hub")


def test_weights_of_another_network_are_refused(tmp_path):
    made("resnet").save_pretrained(tmp_path / "b")
    made("convnextv2").save_pretrained(tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").rename(tmp_path / "b" / "model.safetensors")
    refused(tmp_path, config(tmp_path / "b"), r"lacks \d+ of its backbone's tensors, .*embedder")
    (tmp_path / "b" / "model.safetensors").write_bytes(b"not safetensors")
    refused(tmp_path, config(tmp_path / "b"), "b cannot be read as a backbone")
    for text in ("{", "[]", '{"model_type": "resnet", "hidden_sizes": "many"}', '{"model_type": 3}'):
        (tmp_path / "b" / "config.json").write_text(text)
        refused(tmp_path, config(tmp_path / "b"), "b cannot be read as a backbone")


def test_a_model_without_backbone_says_which_kinds_have_one(tmp_path):
    small = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    transformers.ViTModel(transformers.ViTConfig(**small, image_size=32, patch_size=16)).save_pretrained(tmp_path / "b")
    refused(
        tmp_path,
        config(tmp_path / "b"),
        "of the kind 'vit', which has no backbone.*These have: .*dinov2.*vitpose_backbone",
    )


def test_a_side_or_stride_that_does_not_fit_is_refused(tmp_path):
    vit = VIT | {"image_size": 64, "patch_size": 16}
    beit = transformers.BeitConfig(**vit, use_relative_position_bias=True, add_fpn=False, reshape_hidden_states=True)
    transformers.BeitBackbone(beit).save_pretrained(tmp_path / "beit")
    assert fresh(tmp_path / "beit", 64).kept["side"] == 64
    with pytest.raises(InputError, match="does not take crops of 96 px.*images of 64 px.*Set network.crop_px"):
        fresh(tmp_path / "beit", 96)
    large = transformers.Dinov2Config(**VIT | {"image_size": 128, "patch_size": 64})
    transformers.Dinov2Backbone(large).save_pretrained(tmp_path / "large")
    refused(tmp_path, config(tmp_path / "large"), "maps of 1 x 1, .*for crops of 64 px; they .*at most 32 px")


def test_a_stage_that_does_not_exist_is_refused(tmp_path, folders):
    wanted = config(folders["resnet"], {"freeze": "until:stage7"})
    refused(
        tmp_path,
        wanted,
        "freeze 'until:stage7': there is no such stage; choose one of until:stem, until:stage1, .*until:stage4, all",
    )


def test_transformers_that_is_not_installed_is_asked_for(tmp_path, folders, monkeypatch):
    imported = builtins.__import__

    def without(name, *rest):
        if name == "transformers":
            raise ImportError("No module named 'transformers'")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(tmp_path, config(folders["resnet"]), r"needs the package transformers .*pip install .*\[backbones\]")


def test_no_name_is_refused():
    with pytest.raises(InputError, match="name is empty"):
        config("")
