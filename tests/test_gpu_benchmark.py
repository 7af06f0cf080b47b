"""The benchmark for a machine with a GPU, on a processor: every part runs, and one that fails does not stop the others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import _gpu_parts, gpu
from benchmarks._published_field import written_as_published
from model.networks.build import build_network
from tests.model.capsules import tiny_config
from tests.model.field_scenes import make_batch, statistics

ROOT = Path(__file__).parent.parent


def fails(asked):
    raise RuntimeError("no such kernel")


def dies(asked):
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(asked):
    time.sleep(600)


def works(asked):
    return {"device": asked.device, "left": asked.seconds_left > 0}


@pytest.mark.slow
def test_a_part_that_fails_dies_or_hangs_is_reported_and_the_rest_goes_on(tmp_path, monkeypatch):
    found = {}
    asked = _gpu_parts.Asked(tmp_path, 8.0, "cpu", quick=False)
    for part, limit in ((fails, 60), (dies, 60), (hangs, 1), (works, 60)):
        # a process of its own by fork, so that it sees these parts
        monkeypatch.setattr(gpu, "parts", lambda part=part: {"it": part})
        monkeypatch.setattr(gpu, "START", "fork")
        found[part.__name__] = gpu.run_part("it", asked, limit)
    assert found["fails"]["failed"] == "RuntimeError: no such kernel" and "fails" in "".join(found["fails"]["trace"])
    assert found["dies"]["failed"] == "its process ended with SIGKILL"
    assert "longer than the 1 s" in found["hangs"]["failed"]
    assert found["works"]["device"] == "cpu" and "failed" not in found["works"]


def test_chosen_parts_are_measured_anew_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "run_part", lambda name, asked, limit: {"limit": limit})
    monkeypatch.setattr(gpu, "code_commit", lambda: "abc")
    by = {"measured_by": {"commit": "abc", "device": "cpu", "quick": False}}
    asked = _gpu_parts.Asked(tmp_path, 8.0, "cpu", quick=False)
    found = gpu.measure(asked, ["step/small", "fits"], {"machine": {"cores": 3}, "fits/1024": {"failed": "no time"}})
    assert found["parts"].keys() == {"machine", *gpu.chosen(["step/small/", "fits/"])}
    assert (
        found["parts"]["machine"] == {"cores": 3} and found["parts"]["fits/1024"] == {"limit": gpu.DEFAULT_LIMIT} | by
    )
    assert found["parts"]["step/small/compiled"] == {"limit": gpu.COMPILING_LIMIT} | by
    assert json.loads((tmp_path / "gpu.json").read_text()) == found and gpu.chosen([]) == list(_gpu_parts.parts())


def test_tables_say_what_is_missing():
    said = gpu.tables(
        {
            "device": "cuda",
            "commit": None,
            "parts": {
                "machine": {
                    "name": "A chip",
                    "cores": 16,
                    "torch": "2",
                    "matrix_tflops": {"bf16": 400.0, "float32": 50.0},
                },
                "step/base/ours": {"batch": 64, "images_per_second": 1000.0, "tflops": 100.0},
                "step/base/published": {"images_per_second": 250.0},
                "loading/base": {"images_per_second": 900.0, "data_wait": 0.1, "first_batch_seconds": 2.0},
                "fits/4096": {"failed": "out of memory"},
            },
        }
    )
    assert "| `base` | 64 | 1,000.0 | - | 250.0 | 4.00 | 25.0 % | 900.0 | 0.1 | 2.0 | - |" in said
    assert "- fits/4096: out of memory" in said and "| `small` | - | - |" in said


def test_the_published_way_answers_as_a_field_does():
    config, batch = tiny_config().network, make_batch(2, 10)
    network = build_network(config, statistics(batch, config.crop_px))
    stack = network.head.stacks[0]
    pyramid = [
        torch.randn(2, layer.in_features, side, side) for layer, side in zip(stack.maps, (16, 8, 4), strict=True)
    ]
    person, anchors = torch.randn(2, stack.given.in_features), torch.zeros(2, stack.joints, 3)
    q = torch.rand(2, 30, 3) * 2 - 1
    ours = stack(stack.prepare(pyramid, person, anchors), q)
    slow = written_as_published(network).head.stacks[0]
    theirs = slow(slow.prepare(pyramid, person, anchors), q)
    assert [part.shape for part in theirs] == [part.shape for part in ours]
    theirs.votes.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in slow.layers.parameters())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_part_runs_on_a_processor(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", str(tmp_path), "--quick", "--device", "cpu"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert {name: part["failed"] for name, part in found.items() if "failed" in part} == {}
    assert result.returncode == 0 and list(found) == list(_gpu_parts.parts())
    assert "What failed" not in (tmp_path / "gpu.md").read_text()
    assert found["weights"]["base"].startswith("random weights") and found["training"]["mpjpe_mm"] > 0
    assert all(found[f"step/{name}/ours"]["tflops"] > 0 for name in _gpu_parts.CONFIGS)
