"""The benchmark on photographs of a real person: its truth, its cameras, and its quick form."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import _pose2sim as pose2sim
from benchmarks import real_views
from benchmarks._triangulate import Seen, triangulate
from pipeline.camera import project, world_to_camera
from pipeline.errors import InputError
from pipeline.records import Camera
from pipeline.skeletons import COCO, HUMAN36M

ROOT = Path(__file__).parent.parent
CALIBRATION = """<calibration><cameras><camera serial="cam01">
<fov_video bottom="1919" left="0" right="1079" top="0"/>
<transform r11="{0}" r12="{1}" r13="{2}" r21="{3}" r22="{4}" r23="{5}" r31="{6}" r32="{7}" r33="{8}" x="{9}" y="{10}" z="{11}"/>
<intrinsic focalLengthU="96000" focalLengthV="97280" centerPointU="34560" centerPointV="61440" radialDistortion1="-0.05"
 radialDistortion2="0.1" tangentalDistortion1="0.0" tangentalDistortion2="0.0"/></camera></cameras></calibration>"""


def ring(count: int = 4) -> list[Camera]:
    """Cameras about the origin, 4 m away, that look at it; with some distortion."""
    found = []
    for k in range(count):
        turn = cv2.Rodrigues(np.array([0.1, 2 * np.pi * k / count, 0.05]))[0]
        K = np.array([[1500.0, 0, 540], [0, 1500, 960], [0, 0, 1]])
        found.append(Camera(K, turn, np.array([0, 0, 4.0]), 1080, 1920, np.array([-0.05, 0.1, 0, 0.001, -0.001])))
    return found


def test_points_are_found_again_although_one_view_is_wrong():
    rng, cameras = np.random.default_rng(0), ring()
    points = rng.uniform(-0.8, 0.8, (3, 17, 3))
    pixels = np.stack([[project(camera, world_to_camera(camera, p)) for camera in cameras] for p in points])
    pixels[:, 1, :6] += 150  # a view that mistakes six joints
    found = triangulate([cameras] * 3, Seen(pixels, np.full((3, 4, 17), 0.8), np.zeros((3, 4, 4))))
    np.testing.assert_allclose(found.points, points, atol=0.003)
    assert found.errors[:, 1, :6].min() > 100 and np.median(found.errors) < 1


def test_a_calibration_is_read_into_our_axes(tmp_path):
    """Qualisys' cameras look along -z with y up; a point that one sees above its middle is above it in the image."""
    R = cv2.Rodrigues(np.array([0.3, -0.2, 0.5]))[0]
    place = np.array([1.0, -2.0, 1.5])
    path = tmp_path / "Calib.qca.txt"
    path.write_text(CALIBRATION.format(*R.ravel(), *(1000 * place)))
    (camera,) = pose2sim.cameras(path)
    ahead = place + R.T @ np.array([0.0, 0.0, -3.0])
    np.testing.assert_allclose(world_to_camera(camera, ahead), [0, 0, 3], atol=1e-9)
    np.testing.assert_allclose(project(camera, world_to_camera(camera, ahead)), [540, 960])
    above = project(camera, world_to_camera(camera, ahead + R.T @ np.array([0.1, 0.2, 0.0])))
    assert above[0] > 540 and above[1] < 960 and (camera.width, camera.height) == (1080, 1920)
    assert camera.distortion.tolist() == [-0.05, 0.1, 0, 0, 0]


@pytest.mark.parametrize("data", [None, b"", b"PK not that one"])
def test_another_file_than_the_wheel_is_refused(tmp_path, data):
    wheel = tmp_path / "pose2sim.whl"
    if data is not None:
        wheel.write_bytes(data)
    with pytest.raises(InputError, match=r"pose2sim.whl (cannot be read|is not the wheel of pose2sim).*pip download"):
        pose2sim.unpack(wheel, tmp_path / "film")
    assert not (tmp_path / "film").exists()


def test_both_sides_of_the_comparison_are_the_same_joints():
    rng = np.random.default_rng(1)
    coco = rng.normal(size=(2, 17, 3))
    ours = np.zeros((2, 17, 3))
    for name in real_views.LIMBS.names[real_views.SCORED]:
        ours[:, HUMAN36M.index(name)] = coco[:, COCO.index(name)]
    one, other = real_views.limbs(coco, COCO), real_views.limbs(ours, HUMAN36M)
    np.testing.assert_array_equal(one, other)
    hips = [real_views.LIMBS.index(name) for name in ("left_hip", "right_hip")]
    np.testing.assert_allclose(one[:, 0], one[:, hips].mean(1))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_quick_form_triangulates_rendered_people(tmp_path):
    """Their joints are known: what four views of the 2D network agree on lies near them."""
    command = [sys.executable, "-m", "benchmarks.real_views", "--quick", "--out", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "real_views.json").read_text())
    assert found["views"] == 12 and found["truth"]["error_mm"] < 80
    assert cv2.imread(str(tmp_path / "real_views.jpg")).shape[0] > 500
