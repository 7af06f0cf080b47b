"""`nvf-cli synthesize` parses and calls `write_capture` once."""

import pytest
from click.testing import CliRunner

from cli.main import nvf
from pipeline.errors import InputError


def test_synthesize_hands_its_options_on(tmp_path, monkeypatch):
    calls = []

    def record(out, body, settings, workers, progress):
        calls.append((out, body, settings, workers))
        progress(3, 9)
        return {"instants": 9, "views": 36}

    monkeypatch.setattr("pipeline.sources.synthetic.write_capture", record)
    monkeypatch.setattr("pipeline.body.model.load_body", lambda path: ("body", path))
    arguments = [
        "synthesize",
        str(tmp_path / "out"),
        "--seed",
        "5",
        "--instants",
        "9",
        "--image-px",
        "128",
        "--workers",
        "0",
    ]
    result = CliRunner().invoke(nvf, arguments)
    assert result.exit_code == 0, result.output
    ((out, body, settings, workers),) = calls
    assert (out, body, workers) == (tmp_path / "out", ("body", None), 0)
    assert (settings.seed, settings.instants, settings.image_px) == (5, 9, 128)
    assert "9 instants, 36 images" in result.output


def test_wild_hands_its_options_on(tmp_path, monkeypatch):
    calls = []

    def record(request, workers, progress):
        calls.append((request, workers))
        return {"instants": 7, "people": 11, "seed": 5}

    monkeypatch.setattr("pipeline.wild_run.synthesize_wild", record)
    arguments = ["synthesize", str(tmp_path / "out"), "--wild", "--seed", "5", "--instants", "7", "--workers", "0"]
    arguments += ["--scheduler", "tcp://host:1"]
    result = CliRunner().invoke(nvf, arguments)
    assert result.exit_code == 0, result.output
    ((request, workers),) = calls
    assert (request.out, request.body) == (tmp_path / "out", None)
    assert (workers.count, workers.scheduler) == (0, "tcp://host:1")
    assert (request.settings.seed, request.settings.instants, request.settings.image_px) == (5, 7, 384)
    assert "7 pictures of 11 people, seed 5" in result.output


def test_people_in_motion_are_filmed_on_this_machine(tmp_path):
    """An option that is not heard is refused."""
    with pytest.raises(InputError, match="--scheduler is for --wild"):
        asked = ["synthesize", str(tmp_path / "out"), "--scheduler", "slurm"]
        CliRunner().invoke(nvf, asked, catch_exceptions=False)
    assert not (tmp_path / "out").exists()
