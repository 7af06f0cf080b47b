"""`nvf-cli synthesize` parses and calls `synthesize` once."""

import pytest
from click.testing import CliRunner

from cli.main import nvf
from pipeline.sources.synthetic.settings import CaptureSettings
from pipeline.sources.synthetic.wild.settings import WildSettings


@pytest.mark.parametrize("wild", [False, True])
def test_synthesize_hands_its_options_on(wild, tmp_path, monkeypatch):
    calls = []

    def record(request, workers, progress):
        calls.append((request, workers))
        return {"instants": 7, "views": 28, "people": 11, "seed": 5}

    monkeypatch.setattr("pipeline.synthesize.synthesize", record)
    arguments = ["synthesize", str(tmp_path / "out"), "--seed", "5", "--instants", "7", "--workers", "0"]
    arguments += ["--scheduler", "tcp://host:1", *(["--wild"] if wild else ["--image-px", "128"])]
    result = CliRunner().invoke(nvf, arguments)
    assert result.exit_code == 0, result.output
    ((request, workers),) = calls
    assert (request.out, request.body) == (tmp_path / "out", None)
    assert (workers.count, workers.scheduler) == (0, "tcp://host:1")
    assert type(request.settings) is (WildSettings if wild else CaptureSettings)
    assert (request.settings.seed, request.settings.instants) == (5, 7)
    assert request.settings.image_px == (384 if wild else 128)
    told = "7 pictures of 11 people, seed 5" if wild else "7 instants, 28 images, seed 5"
    assert told in result.output and f"contact_sheet.{'jpg' if wild else 'png'}" in result.output
