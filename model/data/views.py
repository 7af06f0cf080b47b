"""Which views a split has, over one or more shard folders, and what is taken for their truth."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.records import FIT_JOINT, NO_JOINT
from pipeline.shards.store import ShardFolder
from pipeline.skeletons import JOINT_SETS

# What is taken for the truth: what the dataset measured, or the fitted bodies.
GROUND_TRUTHS = ("dataset", "fit")


class Views:
    """The views of one split over one or more shard folders, as columns.

    table: column -> array over views, sorted by view id within a folder; "folder", "shard" and "row" say where a view
    is; "origin" (3,) m where the root is in the axes that the shard stores points in; "joints_valid" is False for joints that
    no evidence constrained: what is the prior's word alone neither supervises nor is scored. sizes: views of each folder.
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
        self.table["joints_valid"] = self.table["joints_valid"] & ~self.table["joints_unseen"]
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

    def remarks(self, side: int) -> list[str]:
        """A line for every folder that lacks shards, and for every one whose crops are smaller than a network takes, `side` px."""
        unfinished = [f"{folder.path}: {text}." for folder in self.folders if (text := folder.run.unfinished)]
        return unfinished + [
            f"{folder.path}: its crops are {crop_px} px and the network takes {side} px. They are enlarged, which adds no detail: set "
            f"network.crop_px to {crop_px}, or preprocess with --crop-px {side}."
            for folder, crop_px in zip(self.folders, self.crop_px, strict=True)
            if crop_px < side
        ]

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
    origin, known = joints[:, pelvis], valid[:, None] & ~table["joints_unseen"]
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
    assert found is not None, "no folder was given"
    return found
