"""The comparison's arithmetic; the training in it is tested elsewhere."""

import numpy as np
import pytest

from benchmarks import compare
from model.config import load_config


def rows(tmp_path, model, errors, seeds=1):
    found = []
    for seed in range(seeds):
        run = tmp_path / f"{model}-{seed}"
        run.mkdir()
        np.savez(
            run / "predictions.npz",
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
                "run": str(run),
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


def test_finished_rows_are_kept_and_tuning_takes_the_best_on_validation(tmp_path, monkeypatch):
    asked = []

    def trained(folder, shards, config, minutes):
        asked.append((folder.name, config.train.seed, minutes))
        return {"step": 9, "best": {"mpjpe_mm": abs(config.train.learning_rate - 2e-3)}}

    monkeypatch.setattr(compare, "trained", trained)
    monkeypatch.setattr(
        compare,
        "row_of",
        lambda out, shards, config, seed, minutes, tried: {
            "model": config.network.model,
            "seed": seed,
            "learning_rate": config.train.learning_rate,
            "tried": tried,
        },
    )
    table = compare.compare(tmp_path, tmp_path, ["nvf", "holistic"], 2, 10, "small", [0.5, 1.0, 2.0])
    assert [(row["model"], row["seed"]) for row in table] == [("nvf", 0), ("nvf", 1), ("holistic", 0)]
    assert table[0]["learning_rate"] == min(
        (t["learning_rate"] for t in table[0]["tried"]), key=lambda r: abs(r - 2e-3)
    )
    assert len(asked) == 6 and {minutes for *_, minutes in asked} == {2.0}
    again = compare.compare(tmp_path, tmp_path, ["nvf", "holistic", "mean_pose"], 2, 10, "small", [0.5, 1.0, 2.0])
    assert again[:3] == table and again[3]["model"] == "mean_pose" and len(asked) == 6
    untried = compare.compare(tmp_path / "untried", tmp_path, ["nvf"], 1, 10, "small", [2.0])
    assert untried[0]["tried"] == [] and len(asked) == 6
    assert untried[0]["learning_rate"] == 2 * load_config("small", "nvf").train.learning_rate
