"""`nvf-cli train` parses, and makes one call."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import demo, model
from cli.main import nvf
from cli.stages import resumed
from cli.train import closing_line, folder_and_weight
from model import train as training
from model.networks.build import HEADS
from model.networks.encoders.unet import UNetSettings
from model.people import free_model
from model.training.config import NAMED, config_from_dict, load_config
from model.training.transfer import find_start
from pipeline.errors import InputError

RECORD = {
    "step": 10,
    "seconds": 3.0,
    "best": {"mpjpe_mm": 90.0, "step": 8, "mean_pose_mpjpe_mm": 200.0},
    "config": {"train": {"ground_truth": "fit"}},
    "validation_truth": "fit",
}


@pytest.fixture
def called(monkeypatch):
    calls = []
    monkeypatch.setattr(training, "train", lambda *a: calls.append(a) or RECORD)
    return calls


def test_options_reach_the_trainer(called):
    arguments = [
        "train",
        "shards",
        "runs/x",
        "--config",
        "base",
        "--model",
        "volumetric",
        "--also",
        "coco:0.5",
        "--minutes",
        "2",
        "--ground-truth",
        "fit",
        "--seed",
        "7",
        "--workers",
        "3",
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(nvf, arguments, catch_exceptions=False)
    ((shards, run, config, *rest),) = called
    assert (shards, run) == (Path("shards"), Path("runs/x"))
    assert rest == [[(Path("coco"), 0.5)], False, "cpu", None, 2.0, None]  # also, resume, device, steps, minutes, start
    assert config.network.head.kind == "volumetric" and config.network.crop_px == 256
    assert (config.train.seed, config.train.workers, config.train.ground_truth) == (7, 3, "fit")
    assert "ground truth: fit" in result.output and "90.0 mm at step 8 (mean pose 200.0 mm)" in result.output


def test_the_closing_line_says_what_errors_are_against():
    by_dataset = {"config": {"train": {"ground_truth": "dataset"}}}
    assert "against the fits" not in closing_line(RECORD)
    assert "those errors are against the fits" in closing_line(RECORD | by_dataset)
    assert "ground truth: dataset. No validation views" in closing_line(RECORD | by_dataset | {"best": None})
    assert load_config("small").train.ground_truth == "dataset"


def test_a_resumed_run_keeps_its_own_settings(called):
    CliRunner().invoke(nvf, ["train", "shards", "runs/x", "--resume"], catch_exceptions=False)
    assert called[0][2] is None and called[0][4] is True
    with pytest.raises(InputError, match="--resume goes on with the run's own"):
        CliRunner().invoke(nvf, ["train", "s", "r", "--resume", "--seed", "1"], catch_exceptions=False)
    with pytest.raises(InputError, match="leave out --model, --ground-truth"):
        CliRunner().invoke(nvf, ["train", "s", "r", "--resume", "--ground-truth", "fit"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("chain", "more"),
    [
        (demo, {"config": "small"}),
        (demo, {"config": None}),
        (model, {}),
        (model, {"before": (Path("second"), Path("first"))}),
    ],
)
def test_an_interrupted_chain_resumes_its_training_with_arguments_that_it_takes(called, chain, more):
    numbers = {name: 3 for name in ("instants", "minutes", "workers", "seed")} | more
    arguments = chain.stage_arguments(Path("out"), **numbers)["train"]
    CliRunner().invoke(nvf, resumed(arguments), catch_exceptions=False)
    ((shards, _, _, _, resume, _, _, minutes, _),) = called
    assert (shards, resume, minutes) == (Path("out/shards"), True, 3.0)


def test_a_demo_goes_on_from_the_free_model_and_keeps_what_that_is(called):
    """Unless it is told what to train from its encoder on."""
    arguments = demo.stage_arguments(Path("out"), 3, 3.0, 0, None, 0)["train"]
    result = CliRunner().invoke(nvf, arguments, catch_exceptions=False)
    start, free = called[0][-1], find_start(free_model.folder(), "all")
    assert result.exit_code == 0 and (start.path, start.part) == (free.path, "all")
    frozen = replace(free.config().network.encoder, freeze="all", rate=called[0][2].network.encoder.rate)
    assert called[0][2].network == replace(free.config().network, encoder=frozen) and called[0][-2] == 3.0
    assert (
        called[0][2].train.minutes == 0 < free.config().train.minutes
    )  # its own hour and a half is not what others want
    arguments = demo.stage_arguments(Path("out"), 3, 3.0, 0, "scratch", 0)["train"]
    CliRunner().invoke(nvf, arguments, catch_exceptions=False)
    assert called[1][-1] is None and called[1][2] == load_config("scratch")


@pytest.mark.parametrize(
    ("chain", "more", "trained"),
    [
        (demo, {"config": "scratch"}, "scratch"),
        (demo, {"config": None}, str(free_model.CONFIGURATION)),
        (model, {}, str(free_model.CONFIGURATION)),
    ],
)
def test_a_chain_stores_crops_as_large_as_its_network_reads(chain, more, trained):
    numbers = {name: 3 for name in ("instants", "minutes", "workers", "seed")} | more
    stored = chain.stage_arguments(Path("out"), **numbers)["preprocess"]
    assert stored[stored.index("--crop-px") + 1] == str(load_config(trained).network.crop_px)


def test_a_part_of_no_weights_is_refused(called):
    """It would be left out in silence."""
    with pytest.raises(InputError, match="--from-part encoder says which weights of --from are taken; give --from"):
        CliRunner().invoke(nvf, ["train", "s", "r", "--from-part", "encoder"], catch_exceptions=False)
    with pytest.raises(InputError, match="own settings: train.seed is 99999999999999999999"):
        CliRunner().invoke(nvf, ["train", "s", "r", "--seed", "9" * 20], catch_exceptions=False)
    assert not called


@pytest.mark.parametrize("text", ["coco", "coco:", "coco:-1", ":2", "coco:much", "coco:inf"])
def test_a_weight_is_needed(text):
    with pytest.raises(InputError, match="SHARDS:WEIGHT"):
        folder_and_weight(text)
    assert folder_and_weight("/a:b:2") == (Path("/a:b"), 2.0)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("model", HEADS)
def test_named_configurations_survive_json(name, model):
    config = load_config(name, model)
    assert config.network.head.kind == model and config_from_dict(config.to_dict()) == config


def test_a_file_stands_on_a_named_configuration(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "base"\n[network.head]\nkind = "nvf-published"\nradius = 0.3\n[train]\nsteps = 50\n')
    config = load_config(str(path))
    assert config.network.encoder.kind == "backbone" and config.network.head.radius == (0.3,)
    assert config.network.head.mlp.hidden == (512, 256, 128) and config.network.head.mlp.skip == "all"
    assert config.train.optimizer == "rmsprop" and config.train.steps == 50


def test_a_named_configuration_may_bring_its_head(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b'\xef\xbb\xbfextends = "published"\r\n[train]\r\nsteps = 50\r\n')  # as Windows' editors write it
    for name in ("published", str(path)):
        config = load_config(name)
        assert config.network.head.kind == "nvf-published" and config.train.optimizer == "rmsprop"
    other = load_config(str(path), "heatmap25d")
    assert other.network.head.kind == "heatmap25d" and other.train.optimizer == "adamw"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nstep = 5", "no setting 'train.step'"),
        ('[train]\nsteps = "five"', "'train.steps' is 'five'; it must be of type int"),
        ("[train]\nsteps = -5", "train.steps is -5"),
        ("[train]\nsteps = 1" + 30 * "0", "'train.steps' is 1000.*no setting is that large"),
        ("[train]\nlearning_rate = 1" + 400 * "0", "'train.learning_rate' is 1000.*no setting is that large"),
        ('[train]\nground_truth = "mesh"', "train.ground_truth 'mesh': choose one of dataset, fit"),
        ('extends = "huge"', "it extends 'huge'"),
        ("train = 3", "'train' is 3; it must be a table"),
        ("steps = ", "not a readable TOML file"),
        ("[train]\nmilestones = 'half'", "must be a list"),
        ("[train]\nmilestones = ['half']", "'train.milestones' is 'half'; it must be of type float"),
        ("[network]\ncrop_px = 99968", "crop_px 99968: images of a person have at most 1024 px a side"),
        ("[network]\ncrop_px = 100", "crop_px 100: the encoder halves the image five times; take a multiple of 32"),
        ("[train]\nworkers = 1000000", "train.workers is 1000000; it must not be above 512"),
        ("[train]\nlearning_rate = inf", "'train.learning_rate' is inf; it must be a finite number"),
        ("network = 'nvf'", "'network' is 'nvf'; it must be a table"),
        ("extends = ['small']", "it extends \\['small'\\]"),
        (
            'extends = "own.toml"',
            "it extends 'own.toml'; .* or a file of its folder that does not extend this one",
        ),
        ('extends = "../own.toml"', "it extends '../own.toml'"),
        ('extends = "bad.toml"', "it extends 'bad.toml'"),
        ("[network.head]\nkind = 'resnet'", "no head 'resnet'; choose one of nvf, "),
        ("[network.head]\nkind = ['nvf']", "no head \\['nvf'\\]; choose one of nvf, "),
        ("[network.encoder]\nkind = 'resnet'", "no encoder 'resnet'; choose one of unet, "),
        (
            "[network.encoder]\nstacks = 2",
            "no setting 'network.encoder.stacks'. network.encoder has kind, context, context_norm, channels",
        ),
        ("[network.head]\nslices = 8", "no setting 'network.head.slices'"),
        ("[network.head.mlp]\nhidden = ['a']", "'network.head.mlp.hidden' is 'a'; it must be of type int"),
        (
            "[network.head]\nkind = 'nvf-published'\nradius = ['0.4']",
            "'network.head.radius' is '0.4'; it must be of type float",
        ),
        (
            "[network.head]\nkind = 'nvf-published'\nradius = [0.4, 0.3]",
            "2 values of radius: give one, or one for each of the 17",
        ),
        ("[network]\nmodel = 'nvf'", "no setting 'network.model'. It is now network.head.kind"),
        ("[network.head.losses]\nlimb = -1.0", "loss weight limb is -1.0"),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_config(str(path))
    assert "bad.toml" in str(caught.value)


def test_a_file_stands_on_another_of_its_folder(tmp_path):
    (tmp_path / "ours.toml").write_text(
        'extends = "small"\n[train]\nsteps = 50\nbatch_size = 8\n[network]\ncrop_px = 256'
    )
    (tmp_path / "mine.toml").write_text(
        'extends = "ours.toml"\n[train]\nsteps = 70\n[network.head]\nkind = "heatmap25d"'
    )
    mine, small = load_config(str(tmp_path / "mine.toml")), load_config("small", "heatmap25d")
    assert (mine.train.steps, mine.train.batch_size, mine.network.crop_px) == (70, 8, 256)
    assert mine.network.head == small.network.head and mine.network.encoder == small.network.encoder
    (tmp_path / "ours.toml").write_text(
        'extends = "small"\n[network.encoder]\nweights = "thunder"\n[network.head]\nradius = 0.3'
    )
    (tmp_path / "mine.toml").write_text(
        'extends = "ours.toml"\n[network.encoder]\nkind = "unet"\n[network.head]\nkind = "heatmap25d"'
    )
    mine = load_config(str(tmp_path / "mine.toml"))  # settings of another kind, below, are not its own
    assert mine.network.head == small.network.head and mine.network.encoder == UNetSettings()
    (tmp_path / "ours.toml").write_text('extends = "small"\nnetwork = "nvf"')
    with pytest.raises(InputError, match=r"ours\.toml: 'network' is 'nvf'; it must be a table"):
        load_config(str(tmp_path / "mine.toml"))
    (tmp_path / "ours.toml").write_text('extends = "mine.toml"')
    with pytest.raises(InputError, match=r"ours\.toml: it extends 'mine.toml'.*does not extend this one"):
        load_config(str(tmp_path / "mine.toml"))


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="neither one of small, scratch, base, published nor a file"):
        load_config("medium")
    with pytest.raises(InputError, match="there is no head 'resnet'; choose one of nvf"):
        load_config("small", "resnet")


@pytest.mark.parametrize("run", ["shards", "shards/run", "more", "photos"])
def test_a_run_never_lands_among_other_files(called, tmp_path, monkeypatch, run):
    """Its files and those of shards, or somebody's photographs, would be mixed. Refused before shards or weights are read."""
    monkeypatch.chdir(tmp_path)
    for name in ("shards/run.json", "more/run.json", "photos/holiday.jpg"):
        Path(name).parent.mkdir()
        Path(name).touch()
    for arguments in ([], ["--from", "gone"]):
        with pytest.raises(InputError, match=f"^{run} (is the folder|lies in shards|holds holiday)"):
            CliRunner().invoke(nvf, ["train", "shards", run, "--also", "more:1", *arguments], catch_exceptions=False)
    assert not called and not (tmp_path / "shards" / "run").exists()
    CliRunner().invoke(nvf, ["train", "shards", run, "--resume"], catch_exceptions=False)
    assert called  # what is there decides
