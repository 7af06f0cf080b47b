"""Views -> batches: in which order, which points of each, and how they are changed.

Everything random is drawn from a generator seeded by (run seed, epoch, view), and the order of views is a function of
the step alone, so batches are the same whatever the number of loader workers, and a run that resumes at step n sees
what it would have seen.
"""

import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from model.data.augment import (
    AugmentConfig,
    Reframe,
    draw_reframe,
    jitter_colour,
    occlude,
    plain_reframe,
    transform_pixels,
    warp_image,
)
from model.data.batch import Batch
from model.data.views import Views
from pipeline.camera import in_image
from pipeline.errors import InputError
from pipeline.lattice import LATTICE_M
from pipeline.shards.store import ShardReader
from pipeline.skeletons import JointSet

# Shards that one process keeps open: far below the usual limit of 1,024 file handles. Each takes up to 2 MB of memory.
OPEN_SHARDS = 128
# An epoch mixes views of this many shards at a time, so that a run over thousands of shards keeps reopening few of
# them.
SHUFFLE_SHARDS = 64


@dataclass(frozen=True)
class DrawConfig:
    """Which points of a view's pool a step sees.

    points: how many. voter_share: the part drawn from the joints' voter lists, every joint its share; the rest comes from
    the whole pool. distal: how many times the root's share the joint farthest down the tree gets.
    """

    points: int = 1024
    voter_share: float = 1 / 3
    distal: float = 2.0

    def __post_init__(self) -> None:
        if not self.points > 0:
            raise ValueError(f"draw.points is {self.points}; it must be above 0")
        if not 0 <= self.voter_share <= 1:
            raise ValueError(f"draw.voter_share is {self.voter_share}; it is a part of the points, between 0 and 1")
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
    n_voters = int(round(config.voter_share * config.points))
    counts = apportion(n_voters, shares, rng)
    order = rng.random(voters.shape).argsort(1)  # each joint's voters in an order of its own
    chosen = [
        voters[j, order[j, np.arange(count) % voters.shape[1]]]  # more than K asked for: go round again
        for j, count in enumerate(counts)
    ]
    rest = rng.choice(n_pool, config.points - n_voters, replace=False, shuffle=False)
    return np.concatenate([*chosen, rest]).astype(np.int64)


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
            self._readers[key] = ShardReader(Path(path), keep_chunks=False, checked=True)  # when its table was read
        self._readers.move_to_end(key)
        return self._readers[key]

    def batch_bytes(self, views: int) -> int:
        """About the size of a batch: its pixels, its points with their distances, and the little that is left."""
        return views * (3 * self.size**2 + (17 * self.draw.points if self.draw else 0) + 2048)

    def __getitems__(self, keys: list[tuple[int, int]]) -> Batch:
        rows = [self.view(epoch, index) for epoch, index in keys]
        return Batch(**{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]})

    def view(self, epoch: int, index: int) -> dict[str, Any]:
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
        if rng is not None and self.augment is not None:
            image = occlude(rng, self.augment, jitter_colour(rng, self.augment, image))
        return {
            "image": np.ascontiguousarray(image.transpose(2, 0, 1)),
            "K": reframe.K.astype(np.float32),
            **self._geometry(index, reader, row, reframe, rng),
            "view": np.int64(index),
        }

    def _geometry(
        self, index: int, reader: ShardReader, row: int, reframe: Reframe, rng: np.random.Generator | None
    ) -> dict[str, np.ndarray]:
        table, A = self.views.table, reframe.matrix
        flip = self.views.joint_set.flip if reframe.mirrored else np.arange(len(self.views.joint_set))
        root = np.asarray(table["root"][index], dtype=np.float64) @ A.T
        joints_2d = transform_pixels(
            reframe.homography(table["K"][index]), np.asarray(table["joints_2d"][index], np.float64)
        )
        points, sdf = self._draw(index, reader, row, rng)
        points = (points - table["origin"][index]) @ A.T
        in_camera = points + root
        pixels = in_camera[:, :2] / np.maximum(in_camera[:, 2:], 1e-3) @ reframe.K[:2, :2].T + reframe.K[:2, 2]
        return {
            "points": points.astype(np.float32),
            "sdf": sdf.astype(np.float32),
            "point_valid": in_image(pixels, self.size, self.size) & (in_camera[:, 2] > 1e-3),
            "joints": (np.asarray(table["joints"][index], np.float64) @ A.T)[flip].astype(np.float32),
            "joints_valid": np.asarray(table["joints_valid"][index], bool)[flip],
            "root": root.astype(np.float32),
            "joints_2d": joints_2d[flip].astype(np.float32),
            "joints_2d_valid": np.asarray(table["joints_2d_valid"][index], bool)[flip],
            "is_3d": np.bool_(table["is_3d"][index]),
            "mesh_valid": np.bool_(table["fit_valid"][index]),
        }

    def _draw(
        self, index: int, reader: ShardReader, row: int, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """((N, 3), (N,)) metres in stored crop axes: this epoch's points and their distances; none in evaluation."""
        if self.draw is None:
            return np.zeros((0, 3)), np.zeros(0)
        assert self.shares is not None and rng is not None, "points are drawn where views are augmented"
        samples = reader.read_samples(row)
        chosen = draw_points(rng, self.draw, samples.voters, self.shares, len(samples.points))
        return samples.points[chosen] * LATTICE_M, samples.sdf[chosen] * LATTICE_M


def refuse_small_pools(views: Views, draw: DrawConfig) -> None:
    """Raises InputError when a view of some folder has fewer points than a step draws of it."""
    for folder in views.folders:
        pool = int(folder.readers[0].attributes["pool"])
        folder.readers[0].close()
        if pool < draw.points:
            raise InputError(
                f"{folder.path}: its views have a pool of {pool} points, fewer than draw.points = {draw.points}. Draw fewer, or "
                "preprocess with a larger pool."
            )


class StepSampler(Sampler):
    """The (epoch, view) keys of each step's batch, a function of the step alone.

    sizes: views of each folder, in `Views` order. weights: how often a folder's views fill a batch, relative to the
    others. rank, world: this process's part of each batch (`batch_size` is that of all processes together).
    """

    def __init__(
        self,
        views: Views,
        weights: Sequence[float],
        batch_size: int,
        steps: range,
        seed: int,
        rank: int = 0,
        world: int = 1,
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


def evaluation_batches(views: Sequence[int] | np.ndarray, batch_size: int) -> list[list[tuple[int, int]]]:
    """Keys of the given views in order."""
    return [[(0, int(i)) for i in views[k : k + batch_size]] for k in range(0, len(views), batch_size)]
