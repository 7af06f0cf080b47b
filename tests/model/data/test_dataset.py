import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from model.data.augment import NO_AUGMENTATION, AugmentConfig
from model.data.loading import DrawConfig, StepSampler, ViewDataset, evaluation_batches, refuse_small_pools
from model.data.views import need_views, read_views
from model.data.workers import loader
from model.networks.targets import make_targets
from pipeline.errors import InputError
from pipeline.lattice import to_lattice
from pipeline.records import DATASET_JOINT, FIT_JOINT
from pipeline.shards.format import J
from pipeline.shards.run_json import read_run, write_run
from pipeline.skeletons import COCO
from tests.model.capsules import CROP, make_folder, make_view, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("dataset") / "a", 20, 2, 3)


def batches(folder, workers, steps, **options):
    views = read_views([folder])["train"]
    dataset = ViewDataset(views, CROP, DrawConfig(points=64), AugmentConfig(), seed=4)
    return list(loader(dataset, StepSampler(views, [1], 8, steps, seed=4, **options), workers))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


@pytest.mark.slow
def test_batches_do_not_depend_on_workers_or_on_where_the_run_starts(folder):
    here = batches(folder, 0, range(6))
    assert all(same(a, b) for a, b in zip(here, batches(folder, 2, range(6)), strict=True))
    assert all(same(a, b) for a, b in zip(here[4:], batches(folder, 1, range(4, 6)), strict=True))
    assert not same(here[0], here[1])


@pytest.mark.slow
def test_batches_do_not_depend_on_the_size_of_shards(tmp_path, folder):
    views = [make_view(n, "train", "S1") for n in range(20)]
    other = write_folder(tmp_path / "b", views, per_shard=3)
    for a, b in zip(batches(folder, 0, range(2)), batches(other, 0, range(2)), strict=True):
        order_a, order_b = (np.lexsort(x.joints[:, 4].numpy().T) for x in (a, b))
        assert set(a.view.tolist()) != set() and len(order_a) == len(order_b)
    one = ViewDataset(read_views([folder])["train"], CROP, DrawConfig(points=64), AugmentConfig(), seed=4)
    two = ViewDataset(read_views([other])["train"], CROP, DrawConfig(points=64), AugmentConfig(), seed=4)
    assert same(one.__getitems__([(0, 7), (3, 15)]), two.__getitems__([(0, 7), (3, 15)]))


def test_an_epoch_shows_every_view_once_and_new_points(folder):
    seen = [batch for batch in batches(folder, 0, range(5))]
    indices = torch.cat([batch.view for batch in seen]).tolist()
    assert sorted(indices[:20]) == list(range(20)) and sorted(indices[20:]) == list(range(20))
    first, second = indices.index(indices[0]), 20 + indices[20:].index(indices[0])
    points = torch.cat([batch.points.norm(dim=-1) for batch in seen])  # lengths do not change with the camera
    common = set(np.round(points[first].numpy(), 5)) & set(np.round(points[second].numpy(), 5))
    assert len(common) < 32


@pytest.mark.slow
def test_processes_share_a_batch(folder):
    whole = batches(folder, 0, range(2))
    parts = [batches(folder, 0, range(2), rank=rank, world=2) for rank in range(2)]
    assert parts[0][1].view.tolist() == whole[1].view.tolist()[0::2]
    assert parts[1][1].view.tolist() == whole[1].view.tolist()[1::2]


def test_mixing_takes_views_by_weight(tmp_path, folder):
    other = write_folder(tmp_path / "also", [make_view(n, "train", "S5") for n in range(50, 57)])
    views = read_views([folder, other])["train"]
    sampler = StepSampler(views, [1, 0.25], 6, range(100), seed=0)
    drawn = np.array([index for batch in sampler for _, index in batch])
    assert all(len(batch) == 6 for batch in sampler)
    assert abs((drawn >= 20).mean() - 0.2) < 0.005
    assert len(set(drawn)) == 27


def test_evaluation_sees_the_nominal_crop_and_no_points(folder):
    views = read_views([folder])["test"]
    dataset = ViewDataset(views, CROP, None, None)
    (batch, rest) = loader(dataset, evaluation_batches(range(3), 2), 0)
    assert batch.points.shape == (2, 0, 3) and len(rest) == 1
    assert torch.allclose(batch.joints, torch.from_numpy(views["joints"][:2]))
    moved = batch.to("cpu")
    assert moved.image.dtype == torch.float32 and -1 <= moved.image.min() < moved.image.max() <= 1


def test_a_view_far_from_its_camera_marks_points_outside_the_crop(folder):
    views = read_views([folder])["train"]
    batch = ViewDataset(views, CROP, DrawConfig(points=512), AugmentConfig()).__getitems__([(0, 0)])
    seen = batch.points[0] + batch.root[0]
    pixels = seen[:, :2] / seen[:, 2:] * batch.K[0, 0, 0] + (CROP - 1) / 2
    inside = ((pixels >= -0.5) & (pixels <= CROP - 0.5)).all(1)
    assert torch.equal(inside, batch.point_valid[0]) and 0 < inside.sum() < 512


# Metres from a fake dataset's pelvis to its fit's, on the shards' lattice.
OFF = np.array([0.03, -0.021, 0.05])


def fitted_view(number: int, split: str = "train", subject: str = "S1", **changes):
    """A view whose fit has a pelvis and joints of its own."""
    rng = np.random.default_rng(number)
    view = make_view(number, split, subject)
    fit_joints = view.joints + to_lattice(rng.normal(0, 0.02, view.joints.shape)) * 1e-4
    fit_joints[0] = OFF
    return replace(view, fit_joints=fit_joints.astype(np.float32), **changes)


def measured_as_fitted(view):
    """The same scene of a dataset that measured those joints: the oracle of labels from a fit."""
    joints = (view.fit_joints - OFF).astype(np.float32)
    samples = replace(view.samples, points=view.samples.points - to_lattice(OFF))
    return replace(view, joints=joints, root=view.root + OFF, samples=samples)


def test_labels_of_the_fit_are_those_of_a_dataset_that_measured_it(tmp_path):
    """Image, camera, points, distances and joints stay one scene, through every augmentation."""
    views = [fitted_view(n) for n in range(6)]
    fitted = read_views([write_folder(tmp_path / "a", views)])["train"].labelled("fit")
    oracle = read_views([write_folder(tmp_path / "b", [measured_as_fitted(view) for view in views])])["train"]
    keys = [(epoch, n) for epoch in range(4) for n in range(6)]
    found, expected = (
        ViewDataset(v, CROP, DrawConfig(points=64), AugmentConfig(), seed=1).__getitems__(keys)
        for v in (fitted, oracle)
    )
    for name, value in vars(found).items():
        assert torch.allclose(value.double(), getattr(expected, name).double(), atol=2e-6), name
    assert found.joints[:, 0].abs().max() == 0 and found.is_3d.all() and found.mesh_valid.all()
    # and against the same views by the dataset: what lies in the camera's axes has not moved
    by_dataset = read_views([tmp_path / "a"])["train"]
    before = ViewDataset(by_dataset, CROP, DrawConfig(points=64), AugmentConfig(), seed=1).__getitems__(keys)
    for name in ("image", "K", "sdf", "joints_2d", "joints_2d_valid", "point_valid"):
        assert torch.equal(getattr(before, name), getattr(found, name)), name
    moved = [batch.points + batch.root[:, None] for batch in (before, found)]
    assert torch.allclose(*moved, atol=2e-6) and (before.root - found.root).norm(dim=1).min() > 0.06


def test_a_view_without_a_valid_fit_keeps_its_2d_joints_alone(tmp_path):
    views = [fitted_view(0), fitted_view(1, fit_valid=False)]
    fitted = read_views([write_folder(tmp_path / "a", views)])["train"].labelled("fit")
    batch = ViewDataset(fitted, CROP, DrawConfig(points=64), AugmentConfig()).__getitems__([(0, 0), (0, 1)])
    assert (
        batch.is_3d.tolist()
        == batch.joints_valid.all(1).tolist()
        == batch.joints_valid.any(1).tolist()
        == [True, False]
    )
    targets = make_targets(batch, CROP)
    assert targets.scale_valid.tolist() == targets.point_valid.any(1).tolist() == [True, False]
    assert not targets.joints_valid[1].any() and targets.joints_2d_valid.all()
    rejected = read_views([write_folder(tmp_path / "b", views[1:])])["train"]
    with pytest.raises(
        InputError, match="none of the 1 views of the split 'train' has a valid fit.*--ground-truth dataset"
    ):
        rejected.labelled("fit")


def test_a_folder_of_the_demo_is_taken_for_its_shards(tmp_path, folder):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "shards").symlink_to(folder)
    assert len(read_views([tmp_path / "demo"])["train"]) == 20


@pytest.mark.parametrize("truth", ["dataset", "fit"])
def test_joints_that_no_evidence_constrained_do_not_supervise(tmp_path, truth):
    """The shard keeps its joints_valid; training and scoring see it without them."""
    unseen = np.isin(np.arange(J), (12, 13))
    source = np.where(unseen, FIT_JOINT, DATASET_JOINT).astype(np.uint8)
    marked = make_view(0, "train", "S1", joints_source=source, joints_unseen=unseen)
    folder = write_folder(tmp_path / "a", [marked, make_view(1, "train", "S1")])
    views = read_views([folder])["train"].labelled(truth)
    assert views["joints_valid"].tolist() == [(~unseen).tolist(), [True] * J]
    dataset = ViewDataset(views, CROP, DrawConfig(points=64), NO_AUGMENTATION)
    assert dataset.__getitems__([(0, 0), (0, 1)]).joints_valid.tolist() == views["joints_valid"].tolist()


@pytest.mark.slow
def test_refusals(tmp_path, folder):
    only_train = write_folder(tmp_path / "only", [make_view(0, "train", "S1")])
    with pytest.raises(InputError, match="no view of the split 'test'.*1 train"):
        need_views(read_views([only_train]), "test", [only_train])
    with pytest.raises(InputError, match="only.*validation"):
        need_views(read_views([folder, only_train]), "validation", [folder, only_train])

    other = write_folder(tmp_path / "other", [make_view(0, "train", "S1")])
    write_run(other, replace(read_run(other), joint_set=COCO.name))
    for shard in other.glob("*.h5"):
        with h5py.File(shard, "a") as file:
            file.attrs.update({"joint_set": COCO.name, "joint_names": json.dumps(COCO.names)})
    with pytest.raises(InputError, match="different joint sets"):
        read_views([folder, other])

    views = read_views([folder])["train"]
    with pytest.raises(InputError, match="pool of 1024 points"):
        refuse_small_pools(views, DrawConfig(points=4000))
    refuse_small_pools(views, DrawConfig(points=1024))
