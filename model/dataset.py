"""Shards -> batches: which views, in which order, which points of each, and how they are changed.

Everything random is drawn from a generator seeded by (run seed, epoch, view), and the order of views is a function of
the step alone, so batches are the same whatever the number of loader workers, and a run that resumes at step n sees
what it would have seen.
"""

import copy
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from model.augment import (
    AugmentConfig,
    draw_reframe,
    jitter_colour,
    occlude,
    plain_reframe,
    transform_pixels,
    warp_image,
)
from pipeline.camera import in_image
from pipeline.errors import InputError
from pipeline.records import FIT_JOINT, NO_JOINT
from pipeline.shards import LATTICE_M, ShardFolder, ShardReader
from pipeline.skeletons import JOINT_SETS, JointSet

# Shards that one process keeps open: far below the usual limit of 1,024 file handles.
OPEN_SHARDS = 128
# An epoch mixes views of this many shards at a time, so that a run over thousands of shards keeps reopening few of
# them.
SHUFFLE_SHARDS = 64
# What is taken for the truth: what the dataset measured, or the fitted bodies.
GROUND_TRUTHS = ("dataset", "fit")


@dataclass(frozen=True)
class Batch:
    """B views, cropped and drawn. Metres are root-relative in (augmented) crop axes; pixels are the crop's, whose
    principal point is its centre (S-1)/2.

    image: (B, 3, S, S) float32 in [-1, 1] (uint8 until `to` moves it to a device). K: (B, 3, 3) px. points: (B, N, 3)
    m. sdf: (B, N) m, negative inside. point_valid: (B, N) bool, inside the crop. joints: (B, J, 3) m. joints_valid:
    (B, J) bool. root: (B, 3) m in crop axes, for targets only. joints_2d: (B, J, 2) px. joints_2d_valid: (B, J) bool.
    is_3d: (B,) bool, the joints were measured, or are a valid fit's where the fit is the truth. mesh_valid: (B,) bool,
    the fit is good enough for points and distances to supervise. view: (B,) int64 index into the `Views`.
    """

    image: torch.Tensor
    K: torch.Tensor
    points: torch.Tensor
    sdf: torch.Tensor
    point_valid: torch.Tensor
    joints: torch.Tensor
    joints_valid: torch.Tensor
    root: torch.Tensor
    joints_2d: torch.Tensor
    joints_2d_valid: torch.Tensor
    is_3d: torch.Tensor
    mesh_valid: torch.Tensor
    view: torch.Tensor

    def __len__(self) -> int:
        return len(self.view)

    def _map(self, change) -> "Batch":
        return Batch(**{field.name: change(getattr(self, field.name)) for field in fields(self)})

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader when it feeds a GPU."""
        return self._map(torch.Tensor.pin_memory)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device, the image as float32 in [-1, 1]."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=True))
        if moved.image.dtype == torch.uint8:
            moved = Batch(**{**vars(moved), "image": moved.image.float().mul_(2 / 255).sub_(1)})
        return moved

    def rows(self, index: slice) -> "Batch":
        """Some of the views."""
        return self._map(lambda tensor: tensor[index])


@dataclass(frozen=True)
class DrawConfig:
    """Which points of a view's pool a step sees.

    points: how many. voters: the part drawn from the joints' voter lists, every joint its share; the rest comes from
    the whole pool. distal: how many times the root's share the joint farthest down the tree gets.
    """

    points: int = 1024
    voters: float = 1 / 3
    distal: float = 2.0

    def __post_init__(self):
        if not self.points > 0:
            raise ValueError(f"draw.points is {self.points}; it must be above 0")
        if not 0 <= self.voters <= 1:
            raise ValueError(f"draw.voters is {self.voters}; it is a part of the points, between 0 and 1")
        if not self.distal >= 1:
            raise ValueError(f"draw.distal is {self.distal}; it must be at least 1")


def joint_shares(joint_set: JointSet, distal: float) -> np.ndarray:
    """(J,) parts of the voters that each joint gets; they sum to 1. Grows linearly with the joint's depth in the tree."""
    depth = np.zeros(len(joint_set))
    for parent, child in joint_set.bones:
        depth[child] = depth[parent] + 1
    weight = 1 + (distal - 1) * depth / depth.max()
    return weight / weight.sum()


def apportion(total: int, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(J,) whole numbers that sum to `total`: each share rounded down, the rest given to joints drawn by their
    remainders.
    """
    counts = np.floor(total * shares).astype(int)
    remainder = total * shares - counts
    left = total - counts.sum()
    if left:
        counts[rng.choice(len(shares), left, replace=False, p=remainder / remainder.sum())] += 1
    return counts


def draw_points(
    rng: np.random.Generator, config: DrawConfig, voters: np.ndarray, shares: np.ndarray, n_pool: int
) -> np.ndarray:
    """(points,) indices into a view's pool of n_pool points. voters: (J, K) indices of each joint's nearest surface
    points.
    """
    assert config.points <= n_pool, (config.points, n_pool)
    n_voters = int(round(config.voters * config.points))
    counts = apportion(n_voters, shares, rng)
    order = rng.random(voters.shape).argsort(1)  # each joint's voters in an order of its own
    chosen = [
        voters[j, order[j, np.arange(count) % voters.shape[1]]]  # more than K asked for: go round again
        for j, count in enumerate(counts)
    ]
    rest = rng.choice(n_pool, config.points - n_voters, replace=False, shuffle=False)
    return np.concatenate([*chosen, rest]).astype(np.int64)


class Views:
    """The views of one split over one or more shard folders, as columns.

    table: column -> array over views, sorted by view id within a folder; "folder", "shard" and "row" say where a view
    is; "origin" (3,) m where the root is in the axes that the shard stores points in. sizes: views of each folder.
    crop_px: side of the nominal crop in each folder's images, pixels. truth: one of GROUND_TRUTHS, what joints and root
    are of.
    """

    def __init__(self, folders: Sequence[ShardFolder], tables: Sequence[dict[str, np.ndarray]], split: str):
        self.folders, self.split = list(folders), split
        self.joint_set = JOINT_SETS[folders[0].joint_set]
        self.crop_px = [folder.crop_px for folder in folders]
        parts = []
        for number, table in enumerate(tables):
            rows = np.flatnonzero(table["split"] == split)
            rows = rows[np.argsort(table["id"][rows], kind="stable")]
            parts.append(
                {name: column[rows] for name, column in table.items()} | {"folder": np.full(len(rows), number)}
            )
        self.table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        self.table["origin"] = np.zeros((len(self), 3))
        self.sizes = [len(part["id"]) for part in parts]
        self.truth = "dataset"

    def labelled(self, truth: str) -> "Views":
        """These views with the labels of a ground truth.

        "dataset": as shards have them, measured joints, and the fit's for those that the dataset lacks. "fit": see
        `fit_labels`. Raises InputError when no view has a valid fit then.
        """
        if truth == self.truth:
            return self
        assert (self.truth, truth) == ("dataset", "fit"), (self.truth, truth)
        if not self["fit_valid"].any():
            raise InputError(
                f"{', '.join(str(folder.path) for folder in self.folders)}: none of the {len(self)} views of the split "
                f"'{self.split}' has a valid fit to be the ground truth. Look at fit errors and rejects with `nvf-cli "
                "inspect`; joints that the dataset measured are --ground-truth dataset."
            )
        labelled = copy.copy(self)
        labelled.table, labelled.truth = self.table | fit_labels(self.table, self.joint_set.root_index), truth
        return labelled

    def __len__(self) -> int:
        return len(self.table["id"])

    def __getitem__(self, column: str) -> np.ndarray:
        return self.table[column]

    def shard_path(self, index: int) -> Path:
        return self.folders[self.table["folder"][index]].shards[self.table["shard"][index]]

    def name(self, index: int) -> str:
        """Where a view is: for messages."""
        return f"view {self.table['id'][index]} of {self.shard_path(index)}"


def fit_labels(table: dict[str, np.ndarray], pelvis: int) -> dict[str, np.ndarray]:
    """Columns of a view table with the fitted bodies as the truth.

    The root moves to the fit's own pelvis, and joints are relative to that; the scene in the camera's axes is the same.
    A view whose fit is not valid knows nothing in 3D; its 2D joints stay.
    """
    valid = np.asarray(table["fit_valid"], bool)
    joints = np.where(valid[:, None, None], table["fit_joints"], 0).astype(np.float64)
    origin, known = joints[:, pelvis], np.repeat(valid[:, None], joints.shape[1], 1)
    return {
        "joints": (joints - origin[:, None]).astype(np.float32),
        "joints_valid": known,
        "joints_source": np.where(known, FIT_JOINT, NO_JOINT),
        "root": table["root"] + origin,
        "origin": origin,
        "is_3d": valid,
    }


def read_views(paths: Sequence[Path]) -> dict[str, Views]:
    """Split -> its views, for every split that the folders hold. Raises InputError when their joint sets differ."""
    folders = [ShardFolder(path) for path in paths]
    sets = {folder.joint_set: folder.path for folder in folders}
    if len(sets) > 1:
        listed = " and ".join(f"{path} has {name}" for name, path in sets.items())
        raise InputError(f"These shards name different joint sets: {listed}. Preprocess them into the same one.")
    tables = [folder.view_table() for folder in folders]
    return {
        split: Views(folders, tables, split)
        for split in np.unique(np.concatenate([t["split"] for t in tables])).tolist()
    }


def need_views(views: dict[str, Views], split: str, paths: Sequence[Path]) -> Views:
    """The views of a split. Raises InputError naming the first folder that has none, and what it has."""
    found = views.get(split)
    for number, path in enumerate(paths):
        if found is None or found.sizes[number] == 0:
            counts = ", ".join(f"{v.sizes[number]} {name}" for name, v in views.items() if v.sizes[number])
            raise InputError(
                f"{path} has no view of the split '{split}' ({counts or 'no view at all'}). Preprocess subjects of that split "
                "into it, or leave it out."
            )
    return found


class ViewDataset(Dataset):
    """Makes batches. `augment` None gives the nominal crops and no points: what evaluation reads.

    An item is asked for by (epoch, view index); `__getitems__` makes a whole `Batch`, in the loader worker.
    """

    def __init__(self, views: Views, size: int, draw: DrawConfig | None, augment: AugmentConfig | None, seed: int = 0):
        self.views, self.size, self.draw, self.augment, self.seed = views, size, draw, augment, seed
        self.shares = joint_shares(views.joint_set, draw.distal) if draw else None
        self._readers: OrderedDict[tuple[int, str], ShardReader] = OrderedDict()

    def __len__(self) -> int:
        return len(self.views)

    def reader(self, index: int) -> ShardReader:
        """The open shard of a view; each process has its own, the least recently used is closed."""
        path = str(self.views.shard_path(index))
        key = (os.getpid(), path)
        if key not in self._readers:
            while len(self._readers) >= OPEN_SHARDS:
                self._readers.popitem(last=False)[1].close()
            self._readers[key] = ShardReader(path)
        self._readers.move_to_end(key)
        return self._readers[key]

    def __getitems__(self, keys: list[tuple[int, int]]) -> Batch:
        rows = [self.view(epoch, index) for epoch, index in keys]
        return Batch(**{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]})

    def view(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """One row of a Batch."""
        table, row = self.views.table, int(self.views["row"][index])
        reader = self.reader(index)
        K_stored = np.asarray(table["K"][index], dtype=np.float64)
        crop_px = self.views.crop_px[table["folder"][index]]
        image = reader.read_image(row)
        if self.augment is None:
            rng, reframe = None, plain_reframe(K_stored, crop_px, self.size)
        else:
            # the view's name, not its position, so that other shard sizes give the same batches
            rng = np.random.default_rng([self.seed, epoch, zlib.crc32(str(table["id"][index]).encode())])
            reframe = draw_reframe(rng, self.augment, K_stored, crop_px, self.size)
        image = warp_image(image, K_stored, reframe)
        if rng is not None:
            image = occlude(rng, self.augment, jitter_colour(rng, self.augment, image))
        return {
            "image": np.ascontiguousarray(image.transpose(2, 0, 1)),
            "K": reframe.K.astype(np.float32),
            **self._geometry(index, reader, row, reframe, rng),
            "view": np.int64(index),
        }

    def _geometry(self, index, reader, row, reframe, rng) -> dict[str, np.ndarray]:
        table, A = self.views.table, reframe.matrix
        flip = self.views.joint_set.flip if reframe.mirrored else np.arange(len(self.views.joint_set))
        root = np.asarray(table["root"][index], dtype=np.float64) @ A.T
        joints_2d = transform_pixels(
            reframe.homography(table["K"][index]), np.asarray(table["joints_2d"][index], np.float64)
        )
        points, sdf = self._draw(index, reader, row, rng)
        points = (points - table["origin"][index]) @ A.T
        seen = points + root
        pixels = seen[:, :2] / np.maximum(seen[:, 2:], 1e-3) @ reframe.K[:2, :2].T + reframe.K[:2, 2]
        return {
            "points": points.astype(np.float32),
            "sdf": sdf.astype(np.float32),
            "point_valid": in_image(pixels, self.size, self.size) & (seen[:, 2] > 1e-3),
            "joints": (np.asarray(table["joints"][index], np.float64) @ A.T)[flip].astype(np.float32),
            "joints_valid": np.asarray(table["joints_valid"][index], bool)[flip],
            "root": root.astype(np.float32),
            "joints_2d": joints_2d[flip].astype(np.float32),
            "joints_2d_valid": np.asarray(table["joints_2d_valid"][index], bool)[flip],
            "is_3d": np.bool_(table["is_3d"][index]),
            "mesh_valid": np.bool_(table["fit_valid"][index]),
        }

    def _draw(self, index, reader, row, rng) -> tuple[np.ndarray, np.ndarray]:
        """((N, 3), (N,)) metres in stored crop axes: this epoch's points and their distances; none in evaluation."""
        if self.draw is None:
            return np.zeros((0, 3)), np.zeros(0)
        samples = reader.read_samples(row)
        if len(samples.points) < self.draw.points:
            raise InputError(
                f"{self.views.name(index)} has a pool of {len(samples.points)} points, fewer than draw.points = "
                f"{self.draw.points}. Draw fewer, or preprocess with a larger pool."
            )
        chosen = draw_points(rng, self.draw, samples.voters, self.shares, len(samples.points))
        return samples.points[chosen] * LATTICE_M, samples.sdf[chosen] * LATTICE_M


class StepSampler(Sampler):
    """The (epoch, view) keys of each step's batch, a function of the step alone.

    sizes: views of each folder, in `Views` order. weights: how often a folder's views fill a batch, relative to the
    others. rank, world: this process's part of each batch (`batch_size` is that of all processes together).
    """

    def __init__(
        self, views: Views, weights: Sequence[float], batch_size: int, steps: range, seed: int, rank=0, world=1
    ):
        assert batch_size % world == 0, (batch_size, world)
        self.parts = np.asarray(weights, float) / np.sum(weights)
        self.views, self.batch_size, self.steps, self.seed = views, batch_size, steps, seed
        self.rank, self.world = rank, world
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            yield self.batch(step)[self.rank :: self.world]

    def batch(self, step: int) -> list[tuple[int, int]]:
        """The keys of one step, over all processes. Folders after the first get their part, the first what is left."""
        bounds = np.floor(np.outer([step, step + 1], self.batch_size * self.parts[1:]) + 1e-9).astype(int)
        bounds = np.column_stack([self.batch_size * np.array([step, step + 1]) - bounds.sum(1), bounds])
        return [self._key(folder, k) for folder in range(len(self.parts)) for k in range(*bounds[:, folder])]

    def _key(self, folder: int, k: int) -> tuple[int, int]:
        """The k-th view ever drawn from a folder."""
        epoch, position = divmod(k, self.views.sizes[folder])
        if self._orders.get(folder, (-1, None))[0] != epoch:
            self._orders[folder] = (epoch, self._epoch_order(folder, epoch))
        return epoch, int(self._orders[folder][1][position])

    def _epoch_order(self, folder: int, epoch: int) -> np.ndarray:
        """A permutation of a folder's views that stays within SHUFFLE_SHARDS shards at a time."""
        rng = np.random.default_rng([self.seed, 7, folder, epoch])
        first = sum(self.views.sizes[:folder])
        index = first + np.arange(self.views.sizes[folder])
        shards, shard_of = np.unique(self.views["shard"][index], return_inverse=True)
        window = rng.permutation(len(shards))[shard_of] // SHUFFLE_SHARDS
        return index[np.lexsort((rng.random(len(index)), window))]


def loader(dataset: ViewDataset, batches: Sampler | list, workers: int, pin: bool = False) -> DataLoader:
    """A DataLoader of `Batch`es; 0 workers makes them in this process, by the same code."""
    return DataLoader(
        dataset, batch_sampler=batches, num_workers=workers, collate_fn=_as_is, worker_init_fn=_one_thread, pin_memory=pin,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # a loader takes a seed for its workers: not from the run's own generator
    )


def evaluation_batches(views: Sequence[int], batch_size: int) -> list[list[tuple[int, int]]]:
    """Keys of the given views in order."""
    return [[(0, int(i)) for i in views[k : k + batch_size]] for k in range(0, len(views), batch_size)]


def _as_is(batch: Batch) -> Batch:
    return batch


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
