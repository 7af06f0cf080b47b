"""The comparison's arithmetic; the training in it is tested elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compare
from model.training.config import load_config
from pipeline.errors import InputError
from tests.model.capsules import make_folder


def rows(tmp_path, model, errors, seeds=1):
    found = []
    for seed in range(seeds):
        predictions = tmp_path / f"{model}-{seed}.npz"
        np.savez(
            predictions,
            mpjpe=errors + 0.001 * seed,
            subject=np.repeat(["S9", "S11"], 20),
            action=np.tile(["A", "B"], 20),
        )
        found.append(
            {
                "model": model,
                "seed": seed,
                "mpjpe_mm": float(errors.mean() * 1000 + seed),
                "pa_mpjpe_mm": 50.0,
                "mean_pose_mpjpe_mm": 200.0,
                "distal_ratio": 1.5,
                "facing_flips": 0.0,
                "steps": 10,
                "parameters": 5,
                "predictions": str(predictions),
            }
        )
    return found


def test_the_field_is_set_against_the_best_baseline_on_the_same_views(tmp_path):
    difficulty = np.random.default_rng(0).uniform(0.05, 0.2, 40)
    table = (
        rows(tmp_path, "nvf", 0.8 * difficulty, 3)
        + rows(tmp_path, "heatmap25d", difficulty)
        + rows(tmp_path, "holistic", 2 * difficulty)
    )
    summary = compare.summarise(table)
    assert summary["best_baseline"] == "heatmap25d"
    assert summary["models"]["nvf"]["seeds"] == 3 and summary["models"]["nvf"]["spread_mm"] == pytest.approx(2)
    found = summary["nvf_against_it"]
    assert found["low"] <= found["ratio"] <= found["high"] and found["ratio"] == pytest.approx(0.81, abs=0.01)
    assert found["high"] - found["low"] < 0.01  # paired: the views' difficulty cancels


def test_every_model_has_a_column_of_votes_and_one_of_bodies(tmp_path, capsys):
    difficulty = np.random.default_rng(0).uniform(0.05, 0.2, 40)
    table = rows(tmp_path, "nvf", difficulty, 2) + rows(tmp_path, "holistic", 2 * difficulty)
    for k, row in enumerate(table[:2]):
        votes, body = ({"mpjpe_mm": 100.0 + value + k, "pa_mpjpe_mm": 60.0} for value in (0, -10))
        row |= {"decode": "body", "decodes": {"votes": votes, "body": body}}
    table[2] |= {"decode": "votes", "decodes": {"votes": {"mpjpe_mm": 150.0, "pa_mpjpe_mm": 90.0}}}
    table += rows(tmp_path, "heatmap25d", difficulty)  # a row of before there were bodies
    found = compare.summarise(table)["models"]
    assert found["nvf"]["decodes"] == {
        "votes": {"mpjpe_mm": 100.5, "pa_mpjpe_mm": 60.0},
        "body": {"mpjpe_mm": 90.5, "pa_mpjpe_mm": 60.0},
    }
    assert found["nvf"]["chosen"] == ["body"] and found["holistic"]["chosen"] == ["votes"]
    assert "body" not in found["holistic"]["decodes"] and found["heatmap25d"]["decodes"] == {}
    compare.print_table(compare.summarise(table))
    assert "90.5/60.0" in capsys.readouterr().out


@pytest.fixture
def untrained(monkeypatch):
    """`compare` without its training: what it asked for; a step takes 10 ms, 30 of the volumetric one."""

    class Asked(list):
        scores: dict[float, float]

    asked, timed = Asked(), []

    def trained(folder, shards, config):
        asked.append((folder.name, config.train.steps))
        rate = config.train.learning_rate / load_config("scratch", config.network.head.kind).train.learning_rate
        return {"step": config.train.steps, "best": {"mpjpe_mm": asked.scores[rate]}}

    def step_seconds(shards, config):
        timed.append(config.network.head.kind)
        return 0.03 if config.network.head.kind == "volumetric" else 0.01

    def row_of(out, shards, config, seed, timing, tried):
        settings = config.train
        return {
            "model": config.network.head.kind,
            "seed": seed,
            "learning_rate": settings.learning_rate,
            "tried": tried,
            "steps": settings.steps,
            "timing": timing,
        }

    for name, value in (("trained", trained), ("step_seconds", step_seconds), ("row_of", row_of)):
        monkeypatch.setattr(compare, name, value)
    return asked, timed


FACTORS = [0.5, 1.0, 2.0]


def test_finished_rows_are_kept(tmp_path, untrained):
    asked, timed = untrained
    asked.scores = {0.5: 100.0, 1.0: 101.0, 2.0: 120.0}
    table = compare.compare(tmp_path, tmp_path, ["nvf", "holistic"], 2, 10, "scratch", FACTORS, 2)
    assert [(row["model"], row["seed"]) for row in table] == [("nvf", 0), ("nvf", 1), ("holistic", 0)]
    assert len(asked) == 6
    again = compare.compare(tmp_path, tmp_path, ["nvf", "holistic", "mean_pose"], 2, 10, "scratch", FACTORS, 2)
    assert again[:3] == table and again[3]["model"] == "mean_pose" and len(asked) == 6
    assert len(timed) == 12


def test_models_are_timed_in_turns_and_get_the_steps_that_fit_into_the_minutes(tmp_path, untrained):
    asked, timed = untrained
    asked.scores = dict.fromkeys(FACTORS, 100.0)
    table = compare.compare(tmp_path, tmp_path, ["nvf", "volumetric"], 1, 1.0, "scratch", FACTORS, 2)
    assert timed[:6] == timed[6:] and len(set(timed)) == 6
    assert [row["steps"] for row in table] == [6000, 2000]
    assert {steps for name, steps in asked if name.startswith("nvf-")} == {1200}
    assert table[1]["timing"] == {"minutes": 1.0, "step_seconds": 0.03, "steps": 2000}


@pytest.mark.parametrize(("half", "chosen"), [(98.0, 1.0), (96.0, 0.5)])
def test_another_rate_must_be_clearly_better_on_validation(tmp_path, untrained, half, chosen):
    asked, _ = untrained
    asked.scores = {0.5: half, 1.0: 100.0, 2.0: 120.0}
    (row,) = compare.compare(tmp_path, tmp_path, ["nvf"], 1, 1.0, "scratch", FACTORS, 1)
    assert row["learning_rate"] == chosen * load_config("scratch", "nvf").train.learning_rate
    assert [round(tried["validation_mpjpe_mm"]) for tried in row["tried"]] == [round(half), 100, 120]
    (tmp_path / "untried").mkdir()
    (untried,) = compare.compare(tmp_path / "untried", tmp_path, ["nvf"], 1, 1.0, "scratch", [2.0], 1)
    assert untried["tried"] == [] and len(asked) == 3
    assert untried["learning_rate"] == 2 * load_config("scratch", "nvf").train.learning_rate


TINY = """
extends = "scratch"
[network]
crop_px = 64
encoder = {channels = 8, context = 16}
[network.head]
kind = "nvf"
truncation = 0.3
mlp = {hidden = [32, 32]}
search = {cells = 8, most = 64, nearest = 16}
[train]
batch_size = 4
workers = 0
log_every = 2
save_every = 4
evaluate_views = 3
[draw]
points = 96
"""


@pytest.mark.slow
def test_a_comparison_is_trained_evaluated_and_gone_on_with(tmp_path, monkeypatch):
    shards, config = make_folder(tmp_path / "shards", 16, 4, 4), tmp_path / "tiny.toml"
    config.write_text(TINY)
    assert compare.step_seconds(shards, load_config(str(config), "nvf")) > 0
    monkeypatch.setattr(compare, "step_seconds", lambda shards, config: 0.1)
    ask = lambda models, minutes=0.0101: compare.compare(  # noqa: E731
        tmp_path / "out", shards, models, 1, minutes, str(config), [1.0, 2.0], 1
    )
    (tmp_path / "out").mkdir()
    table = ask(["nvf", "heatmap25d"])
    for row in table:
        assert row["steps"] == row["timing"]["steps"] == 6 and row["tried"][1]["steps"] == 1
        assert row["mpjpe_mm"] > 0 and row["pa_mpjpe_mm"] > 0 and row["parameters"] > 0 and row["seconds"] > 0
        assert row["root"] == "predicted" and row["n_views"] == 4
    # what is done to a run later does not change the comparison
    (Path(table[0]["run"]) / "predictions.npz").unlink()
    monkeypatch.setattr(compare, "train", None)
    assert ask(["nvf", "heatmap25d"]) == table == json.loads((tmp_path / "out" / "table.json").read_text())
    summary = compare.summarise(table)
    assert summary["best_baseline"] == "heatmap25d" and summary["gap_mm"] == pytest.approx(
        table[1]["mpjpe_mm"] - table[0]["mpjpe_mm"], abs=0.01
    )
    with pytest.raises(InputError, match="was begun with .*0.0101.*, not .*0.02"):
        ask(["nvf"], 0.02)
