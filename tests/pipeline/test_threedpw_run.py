"""3DPW from its own files to shards and back: SMPL ground truth becomes the mesh, and everything that reads shards reads them."""

import json
import pickle
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.inspect import command as inspect
from cli.preprocess import command as preprocess
from model.data.augment import NO_AUGMENTATION
from model.data.loading import DrawConfig, ViewDataset
from model.data.views import read_views
from pipeline.lattice import LATTICE_M
from pipeline.look.viewer import Shown, draw_view
from pipeline.records import SmplParameters
from pipeline.shards.store import ShardFolder
from pipeline.shards.verify import exact_distance

# Whole runs are made here, which takes seconds.
pytestmark = pytest.mark.slow

FRAMES, WIDTH, HEIGHT = 3, 160, 120


def write_dataset(root, smpl):
    """Two sequences with two people each, 4 m before a camera that moves; images of noise."""
    rng = np.random.default_rng(0)
    extrinsics = np.tile(np.eye(4), (FRAMES, 1, 1))
    extrinsics[:, :3, :3] = np.diag([1.0, -1, -1])  # SMPL stands upright, the image's y points down
    extrinsics[:, :3, 3] = [[0.05 * k, 0.3, 4.0] for k in range(FRAMES)]
    for split, name in (("train", "outdoors_walk_00"), ("test", "downtown_bus_00")):
        poses = [np.c_[rng.normal(0, 0.2, (FRAMES, 3)), np.zeros((FRAMES, 69))] for _ in "mf"]
        trans = [np.tile([x, 0.2, 0.0], (FRAMES, 1)) for x in (-0.5, 0.5)]
        bodies = [
            [SmplParameters(gender, *row) for row in zip(p, np.zeros((FRAMES, 10)), t, strict=True)]
            for gender, p, t in zip(("male", "female"), poses, trans, strict=True)
        ]
        track = {
            "sequence": name,
            "cam_poses": extrinsics,
            "cam_intrinsics": np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]]),
            "poses": poses,
            "trans": trans,
            "betas": [np.zeros(10), np.zeros(300)],
            "genders": ["m", "f"],
            "jointPositions": [np.stack([smpl.mesh("", body).joints.ravel() for body in track]) for track in bodies],
            "campose_valid": [np.ones(FRAMES), np.array([1, 0, 1])],
            "poses2d": [np.zeros((FRAMES, 3, 18))] * 2,
            "img_frame_ids": 2 * np.arange(FRAMES),
            "poses_60Hz": [np.zeros((2 * FRAMES, 72))] * 2,
            "trans_60Hz": [np.zeros((2 * FRAMES, 3))] * 2,
        }
        folder, images = root / "sequenceFiles" / split, root / "imageFiles" / name
        folder.mkdir(parents=True)
        images.mkdir(parents=True)
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(track, 2))
        for k in range(FRAMES):
            cv2.imwrite(str(images / f"image_{k:05d}.jpg"), rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))


@pytest.fixture(scope="module")
def run(egg_smpl, tmp_path_factory):
    """The command's output folder, the dataset's folder, and what it printed."""
    root, out = tmp_path_factory.mktemp("3dpw"), tmp_path_factory.mktemp("out") / "shards"
    write_dataset(root, egg_smpl)
    result = CliRunner().invoke(
        preprocess,
        [
            "threedpw",
            str(root),
            str(out),
            "--workers",
            "0",
            "--crop-px",
            "64",
            "--pool",
            "600",
            "-o",
            f"smpl={egg_smpl.folder}",
            "-o",
            f"regressor={egg_smpl.files[0]}",
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    return out, root, result.output


def test_every_person_with_a_valid_camera_is_a_view_of_its_split(run):
    out, _, printed = run
    table = ShardFolder(out).view_table()
    assert len(table["id"]) == 10 and (table["split"] == "train").sum() == (table["split"] == "test").sum() == 5
    assert table["fit_valid"].all() and "10 views took the dataset's own fit" in printed


def test_labels_are_those_of_the_smpl_mesh(run, egg_smpl):
    out, root, _ = run
    name, checked = "outdoors_walk_00", 0
    track = pickle.loads((root / "sequenceFiles" / "train" / f"{name}.pkl").read_bytes(), encoding="latin1")
    for reader, row in ShardFolder(out).rows():
        view, samples = reader.read_view(row), reader.read_samples(row)
        if view["split"] != "train":
            continue
        person, frame = int(view["subject"][-1]), int(view["frame"])
        body = SmplParameters(
            ("male", "female")[person], track["poses"][person][frame], np.zeros(10), track["trans"][person][frame]
        )
        mesh, extrinsic = egg_smpl.mesh(view["id"], body), track["cam_poses"][frame]
        vertices = (mesh.vertices @ extrinsic[:3, :3].T + extrinsic[:3, 3]) @ view["R_crop"].T - view["root"]
        exact = exact_distance(samples.points * LATTICE_M, vertices, mesh.faces)
        near = np.abs(exact) < 0.15
        assert near.sum() > 50 and np.abs(samples.sdf * LATTICE_M - exact)[near].max() < 2e-4
        checked += 1
    assert checked == 5


def test_inspect_verifies_and_shows_them(run, tmp_path):
    """Rows whose mesh has no parameters in the shard: their pictures lack the mesh, nothing else does."""
    out, _, _ = run
    checked = CliRunner().invoke(inspect, [str(out), "--verify", "--body", "free", "--json"], catch_exceptions=False)
    assert checked.exit_code == 0 and json.loads(checked.output)["verify"]["problems"] == []
    page, picture = tmp_path / "page.html", tmp_path / "views.png"
    shown = CliRunner().invoke(
        inspect, [str(out), "--html", str(page), "--picture", str(picture)], catch_exceptions=False
    )
    assert shown.exit_code == 0 and "downtown_bus_00" in page.read_text() and cv2.imread(str(picture)).std() > 10


def test_the_viewer_hides_the_mesh_that_it_does_not_have(run, free_body):
    out, _, _ = run
    reader, row = next(ShardFolder(out).rows())
    scene = Mock()
    shown = Shown(dict.fromkeys(("mesh", "points", "joints", "fitted joints"), True), 0.05, "all")
    text = draw_view(scene, free_body, reader, row, shown, {})
    assert not scene.add_mesh_simple.call_args.kwargs["visible"] and "fit valid" in text
    assert len(scene.add_point_cloud.call_args.args[1]) > 0


def test_the_trainer_reads_them(run):
    out, _, _ = run
    views = read_views([out])
    batch = ViewDataset(views["train"], 64, DrawConfig(points=64), NO_AUGMENTATION).__getitems__([(0, 0), (1, 0)])
    assert len(views["train"]) == len(views["test"]) == 5 and batch.mesh_valid.all() and batch.is_3d.all()
