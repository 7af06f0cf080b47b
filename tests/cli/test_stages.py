"""A chain of commands that is interrupted, and the command that goes on with it."""

import json
from functools import partial
from pathlib import Path

import pytest

from cli import demo, stages
from cli.stages import BEGUN_FILE, SECONDS_FILE, run_stages
from pipeline.errors import InputError


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """run(minutes, config): a demo whose stages do nothing and take a second, but `train`, which is killed while `killed` holds it."""
    out, done, killed = tmp_path / "demo", [], ["train"]

    def pretend(name, arguments):
        if name in killed:
            raise KeyboardInterrupt
        done.append(name)
        return 1.0

    monkeypatch.setattr(stages, "run_stage", pretend)

    def run(out=out, minutes=7.0, workers=2, config=None, seed=0):
        stages = partial(demo.stage_arguments, instants=3, minutes=minutes, workers=workers, config=config, seed=seed)
        return run_stages(out, stages, out)

    return out, run, done, killed


def test_a_chain_goes_on_with_its_own_options_alone(chain):
    out, run, done, killed = chain
    mine = out.with_name("mine.toml")
    mine.write_text('extends = "small"')
    with pytest.raises(KeyboardInterrupt):
        run(config="small")
    assert done == ["synthesize", "preprocess"]
    with pytest.raises(
        InputError, match="stage 'synthesize' was begun .*--seed 0 .*would be .*--seed 1 .*another folder"
    ):
        run(config="small", seed=1)
    with pytest.raises(KeyboardInterrupt):
        run(config=str(mine))  # a training that left nothing is no obstacle
    (out / "last.safetensors").touch()
    with pytest.raises(InputError, match="stage 'train' was begun .*mine.toml .*would be .*--config small"):
        run(config="small")
    killed.clear()
    run(config=str(mine), minutes=9.0, workers=1)  # which change nothing of what is there
    assert done == ["synthesize", "preprocess", "train", "evaluate", "report"]
    with pytest.raises(InputError, match="stage 'train' was begun .*--minutes 9.*--minutes 8"):
        run(config=str(mine), minutes=8.0)
    assert list(run(config=str(mine), minutes=9.0)) == done  # nothing again
    mine.write_text('extends = "small"\n[train]\nbatch_size = 8')
    with pytest.raises(
        InputError, match="/mine.toml holds something else than when the stage 'train' was begun. Put it back"
    ):
        run(config=str(mine), minutes=9.0)
    ours = mine.with_name("ours.toml")
    ours.write_text('extends = "small"')
    mine.write_text('extends = "ours.toml"')
    (word,) = (w for w in stages.with_contents(["train", str(mine)]) if "ours.toml" in w)
    ours.write_text('extends = "small"\n[train]\nbatch_size = 8')
    assert word.startswith("#") and word not in stages.with_contents(["train", str(mine)]), (
        "what it extends counts, too"
    )
    said = json.loads((out / BEGUN_FILE).read_text())
    said["train"] = [word for word in said["train"] if not word.startswith("#")]  # as an earlier version wrote it
    (out / BEGUN_FILE).write_text(json.dumps(said))
    assert list(run(config=str(mine), minutes=9.0)) == done


def test_what_a_file_holds_counts_when_its_stage_begins(chain, monkeypatch):
    """Not when the chain does: hours may lie between."""
    out, run, done, killed = chain
    killed.clear()
    mine = out.with_name("mine.toml")
    mine.write_text('extends = "small"')
    pretend = stages.run_stage

    def edited_meanwhile(name, arguments):
        if name == "synthesize":
            mine.write_text('extends = "small"\n[train]\nbatch_size = 8')
        return pretend(name, arguments)

    monkeypatch.setattr(stages, "run_stage", edited_meanwhile)
    run(config=str(mine))
    assert list(run(config=str(mine))) == done == ["synthesize", "preprocess", "train", "evaluate", "report"]
    mine.write_text('extends = "small"')
    with pytest.raises(InputError, match="mine.toml holds something else"):
        run(config=str(mine))


@pytest.mark.parametrize("name", ["demo", "train", "free", "0"])
def test_a_chain_is_known_by_any_name_of_its_folder(chain, monkeypatch, name):
    out, run, done, killed = chain
    killed.clear()
    out = out.with_name(name)
    run(out)
    monkeypatch.chdir(out.parent)
    assert list(run(Path(name))) == list(run(Path("x", "..", name))) == done


def test_a_chain_of_an_earlier_version_goes_on(chain):
    """It did not write down how it was begun."""
    out, run, done, killed = chain
    killed.clear()
    out.mkdir()
    (out / SECONDS_FILE).write_text(json.dumps({"synthesize": 1.0, "preprocess": 2.0}))
    run()
    assert done == ["train", "evaluate", "report"]


@pytest.mark.parametrize("text", ["{", "[]", '{"synthesize": "1"}', '{"synthesize": null}'])
def test_a_damaged_record_is_named(chain, text):
    out, run, _, _ = chain
    out.mkdir()
    for name in (SECONDS_FILE, BEGUN_FILE):
        (out / SECONDS_FILE).write_text("{}")
        (out / name).write_text(text)
        with pytest.raises(InputError, match=f"{name} is damaged"):
            run()
