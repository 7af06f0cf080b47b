"""The quick forms of benchmarks run, and print what their docs are written from."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import mediapipe, predict_speed, self_intersection, variants, video_memory, wild
from benchmarks.fit_collisions import penetrating_volume
from model.networks.build import build_network
from model.networks.records import Statistics
from pipeline.skeletons import JOINT_SETS

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(320)  # longer than the command is given
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("metrics", ["mpjpe", "pa_mpjpe"]),
        ("posing", ["ms_a_body", "ratios", "targets", "largest_difference_m"]),
        ("video", ["rows", "kib_a_frame"]),
        ("annotations", ["rows", "targets"]),
        ("fuzz", ["rows", "causes", "faults"]),
        ("wild", wild.KEYS),
        ("teaches", ["all", "old", "both", "then"]),
        (
            "multiview",
            [
                "instants",
                "views",
                "rejects",
                "valid_fits",
                "rays_apart_percent",
                "fit_off_percent",
                "held_out_camera_off_percent",
            ],
        ),
        ("fit_oracles", ["views", "rows"]),
        ("self_intersection", list(self_intersection.ROWS)),
        ("smoothing", ["filters", "tracks", "bodies"]),
        ("predict_speed", predict_speed.KEYS),
        ("video_memory", video_memory.KEYS),
    ],
)
def test_the_quick_form_runs(tmp_path, name, keys):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(tmp_path / "found.json")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert list(json.loads((tmp_path / "found.json").read_text())) == keys


def test_the_volume_that_two_boxes_share_is_known():
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    faces = np.array(
        [
            [0, 1, 3],
            [0, 3, 2],
            [4, 6, 7],
            [4, 7, 5],
            [0, 4, 5],
            [0, 5, 1],
            [2, 3, 7],
            [2, 7, 6],
            [0, 2, 6],
            [0, 6, 4],
            [1, 5, 7],
            [1, 7, 3],
        ]
    )
    boxes = np.concatenate([0.2 * corners, 0.2 * corners + (0.15, 0.1, 0.12)])
    assert penetrating_volume(boxes[:8], faces) == 0
    assert penetrating_volume(boxes, np.concatenate([faces, faces + 8]), 0.002) == pytest.approx(
        0.05 * 0.1 * 0.08 * 1000, rel=0.05
    )


def test_mediapipe_says_what_it_lacks(capsys):
    mediapipe.main(["--quick"])
    assert "not shipped" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        mediapipe.main(["none.tflite"])
    assert "none.tflite is no model that OpenCV reads" in capsys.readouterr().err


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_variant_is_a_network_that_can_be_built(name):
    config = variants.variant("scratch", variants.VARIANTS[name], 10)
    joints = len(JOINT_SETS[config.network.joint_set])
    network = build_network(config.network, Statistics(torch.zeros(joints, 3), torch.ones(joints - 1), 0.0, 1.0))
    assert name == "as configured" or config.to_dict() != variants.variant("scratch", {}, 10).to_dict()
    assert sum(p.numel() for p in network.parameters()) > 0
