"""What a trained field's error is made of, and what its decode depends on.

    python -m benchmarks.ablate RUN SHARDS [--split validation] [--views 96] [--controls] [--json FILE]
    python -m benchmarks.ablate --quick

First the oracles: one part of the prediction is replaced by the truth, and what is left of the error is the rest's. Then the settings
of the decode, the same weights each time. Then controls: other pictures, other colours, outlines alone. Choose settings on validation,
never on test. What a change in training does, `benchmarks.variants` tells.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.compare import make_shards, trained
from model.data.augment import NO_AUGMENTATION
from model.data.batch import Batch
from model.data.loading import DrawConfig, ViewDataset, evaluation_batches
from model.data.views import Views, need_views, read_views
from model.networks.field import votes as voting
from model.networks.field.search import Near, SearchSettings
from model.networks.frame import HALF, bone_scale, reference_depth, to_canonical
from model.networks.heads.nvf import DirectVotes, NvfSettings
from model.networks.network import PoseNetwork
from model.networks.targets import Targets, make_targets
from model.scoring.evaluation import facing_flips
from model.scoring.metrics import mpjpe, pa_mpjpe
from model.train import known_truth, scorable
from model.training.config import load_config, with_steps
from model.training.runs import load_run
from pipeline.body.model import BodyModel, load_body
from pipeline.camera import project_pinhole
from pipeline.shards.store import ShardReader
from pipeline.spread import spread_evenly

# Points of each view's pool that stand in for the true surface.
POOL = 1024


def decode_settings(base: NvfSettings) -> dict[str, NvfSettings]:
    """Name -> settings of the decode; one thing changes at a time."""
    search = base.search

    def searched(**changes) -> NvfSettings:
        return replace(base, search=replace(search, **changes))

    fine = search.cells * 2 ** (search.levels - 1)
    grids = {(cells, 1): f"one grid of {cells}" for cells in (16, 24, 32)} | {
        (32, 2): "32, then 64",
        (34, 3): "34, 68, 136 (16 mm)",
    }
    gates, counts = (0.01, 0.02, 0.04, 0.06, 0.1), [n for n in (64, 256, 1024) if n <= search.most]
    return {
        "as configured": base,
        **{name: searched(cells=cells, levels=levels) for (cells, levels), name in grids.items()},
        # a wider gate is wider than coarse cells can be told apart: the finest grid is asked whole
        **{f"gate {1000 * gate:.0f} mm": searched(cells=fine, levels=1, gate=gate, most=4096) for gate in gates},
        **{f"the {n} nearest, no gate": searched(gate=1e-6, nearest=n) for n in counts},
        **{f"temperature {t}": replace(base, temperature=t) for t in (0.25, 0.5, 2.0)},
        **{f"{n or 'all'} neighbours": replace(base, neighbours=n) for n in (8, 32, 128, 0)},
        "best tenth by score": replace(base, best=0.1),
        "best 32 by score": replace(base, best=32),
        "every point of one grid of 20": replace(searched(cells=20), use_distance=False),
    }


class Trial:
    """A network on some views, with everything the swaps need."""

    def __init__(self, network: PoseNetwork, batches: list[Batch]):
        self.network, self.batches = network.eval(), batches
        self.side = network.config.crop_px

    def looks(self, change=lambda batch: batch.image) -> Iterator[tuple[Targets, "Seen"]]:
        """Labels and what the network sees, of every batch; `change` gives the image that it is shown."""
        for batch in self.batches:
            targets = make_targets(batch, self.side, torch.Generator().manual_seed(0))
            yield targets, Seen(self.network, change(batch), batch.K, self.side)

    def report(self, joints: list[Tensor]) -> dict:
        """Joints (B, J, 3) m per batch, root-relative -> MPJPE, PA-MPJPE and the error of each joint, millimetres."""
        found, true = (
            np.concatenate([j.numpy() for j in joints]),
            np.concatenate([b.joints.numpy() for b in self.batches]),
        )
        each = 1000 * np.linalg.norm(found - true, axis=-1).mean(0)
        names = self.network.joint_set.names
        return {
            "mpjpe_mm": float(1000 * np.mean(mpjpe(found, true))),
            "pa_mpjpe_mm": float(1000 * np.mean(pa_mpjpe(found, true))),
            "facing_flips": float(facing_flips(found, true, self.network.joint_set).mean()),
            "per_joint_mm": dict(zip(names, each.round(1).tolist(), strict=True)),
        }


class Seen:
    """One batch seen by the network: its field, ready to be asked."""

    def __init__(self, network: PoseNetwork, image: Tensor, K: Tensor, side: int):
        self.network, self.head = network, network.head
        self.depth = reference_depth(K, side)
        encoded = network.encode(image, self.depth)
        self.anchors, self.prepared = encoded.anchors, self.head.prepare(encoded)
        self.scale = network.predict_log_scale(encoded.person).exp()

    def vote(self, settings: NvfSettings | None = None) -> voting.Votes:
        """The decode with the head's own settings, or with others."""
        own, rule = self.head.settings, self.head.rule
        if settings is not None:
            self.head.settings, self.head.rule = settings, DirectVotes(settings.temperature)
        try:
            return self.head.vote(self.prepared, self.anchors, self.depth)
        finally:
            self.head.settings, self.head.rule = own, rule

    def bone_scale(self, q: Tensor) -> Tensor:
        """(B,) the scale at which joints in crop coordinates have bones of the training set's mean lengths."""
        return bone_scale(to_canonical(q, self.depth), self.network.joint_set.bones, self.network.bone_lengths)

    def relative(self, q: Tensor, scale: Tensor) -> Tensor:
        """Joints in crop coordinates -> root-relative metres."""
        X = to_canonical(q, self.depth)
        root = self.network.joint_set.root_index
        return (X - X[:, root : root + 1]) / scale[:, None, None]

    def predicted_points(self) -> Near:
        """The points that vote in prediction."""
        return self.head.points_that_vote(self.prepared, self.depth)

    def at_points(self, q: Tensor, selected: Tensor, true: Tensor | None = None, swap: str = "") -> Tensor:
        """Joints voted by given points. With the true joints one part of each vote is true: its "direction" or "length" (both from
        the point, crop coordinates), or its "weight": the tenth of the votes nearest to each joint counts and no other.
        """
        rule, here = self.head.rule, q[:, :, None]
        _, _, positions, score = rule.say(q, self.head.stacks[-1](self.prepared, q).votes, self.depth)
        selected = voting.of_each_joint(q, self.anchors, selected, self.head.settings.neighbours)
        if swap == "weight":
            kept = voting.best_of(-(positions - true[:, None]).norm(dim=-1), selected, 0.1)
            return (positions * kept[..., None]).sum(1) / kept.sum(1)[..., None]
        if swap:
            said, right = positions - here, true[:, None] - here
            along, far = (right, said) if swap == "direction" else (said, right)
            positions = here + F.normalize(along, dim=-1) * far.norm(dim=-1, keepdim=True)
        return voting.combine(rule, positions, score, selected)[0]


def oracles(trial: Trial) -> dict[str, dict]:
    """The prediction, and the prediction with one part of it true."""
    swapped: dict[str, list[Tensor]] = {}
    for targets, look in trial.looks():
        q = look.vote().joints
        deep, flat = q.clone(), q.clone()
        deep[..., 2], flat[..., :2] = targets.joints[..., 2], targets.joints[..., :2]
        near = targets.point_valid & (targets.distance.abs() < 0.02)
        near = near | ~near.any(1, keepdim=True)
        found, true = look.predicted_points(), targets.joints
        for name, joints, scale in (
            ("predicted", q, look.scale),
            ("before any vote", look.anchors, look.scale),
            ("scale of mean bone lengths", q, look.bone_scale(q)),
            ("true scale", q, targets.scale),
            ("true depth", deep, look.scale),
            ("true image position", flat, look.scale),
            *(
                (f"true {swap} of each vote", look.at_points(found.q, found.real, true, swap), look.scale)
                for swap in ("weight", "direction", "length")
            ),
            ("votes of the true surface", look.at_points(targets.points, near), look.scale),
            ("best tenth of those votes", look.at_points(targets.points, near, true, "weight"), look.scale),
        ):
            swapped.setdefault(name, []).append(look.relative(joints, scale))
    return {name: trial.report(joints) for name, joints in swapped.items()}


def settings_table(trial: Trial) -> dict[str, dict]:
    """Every setting of the decode: its error, the points it asked, and how far its joints are from those of the finest grid."""
    own = trial.network.config.head
    finest = replace(own, search=replace(own.search, cells=34, levels=3, most=40_000))
    fine = [look.vote(finest).joints for _, look in trial.looks()]
    table = {}
    for name, settings in decode_settings(own).items():
        rows = [(look, look.vote(settings)) for _, look in trial.looks()]
        moved = torch.cat([(votes.joints - q).norm(dim=-1) * HALF for (_, votes), q in zip(rows, fine, strict=True)])
        table[name] = trial.report([look.relative(votes.joints, look.scale) for look, votes in rows]) | {
            "queries": float(torch.cat([votes.queries for _, votes in rows]).float().mean()),
            "from_finest_mm": float(1000 * moved.mean()),
        }
    return table


def surface(trial: Trial) -> dict:
    """The predicted distance at the points of the pools: how much of the true surface it finds, and how much it makes up.

    found: of the points within 20 mm of the body, those predicted within 50 mm. made_up: of those more than 0.1 m outside it, those
    predicted within the gate. error_mm: L1 of the truncated distance, over all points and near the surface.
    """
    truncation, gate = trial.network.config.head.truncation, trial.network.config.head.search.gate
    true, said = [], []
    for targets, look in trial.looks():
        distance = look.head.stacks[-1].distance(look.prepared, targets.points) * truncation
        true.append(targets.distance[targets.point_valid])
        said.append(distance[targets.point_valid])
    true, said = torch.cat(true), torch.cat(said)
    error = 1000 * (said - true.clamp(-truncation, truncation)).abs()
    on, off = true.abs() < 0.02, true > 0.1
    return {
        "found": float((said[on].abs() < 0.05).float().mean()),
        "made_up": float((said[off].abs() < gate).float().mean()),
        "error_mm": float(error.mean()),
        "error_on_surface_mm": float(error[on].mean()),
    }


def coarse_to_fine(trial: Trial, views: int) -> dict:
    """The 16 mm grid asked whole and asked coarse to fine, by the same gate: points asked and how far the joints differ."""
    singles = [batch.rows(slice(k, k + 1)) for batch in trial.batches for k in range(len(batch))]
    some = Trial(trial.network, [singles[k] for k in spread_evenly(len(singles), views)])
    own = trial.network.config.head
    whole, fine = (
        replace(own, search=SearchSettings(cells=cells, levels=levels, most=10_000))
        for cells, levels in ((136, 1), (34, 3))
    )
    asked, apart = [], []
    for _, look in some.looks():
        a, b = look.vote(whole), look.vote(fine)
        asked.append(float(b.queries) / float(a.queries))
        apart.append(float((a.joints - b.joints).norm(dim=-1).mean()) * HALF * 1000)
    return {
        "views": len(some.batches),
        "share_of_points_asked": float(np.mean(asked)),
        "apart_mm": float(np.mean(apart)),
    }


def controls(trial: Trial, views: Views, body: BodyModel) -> dict[str, dict]:
    """The prediction from changed images. Another view's picture should leave no more than the mean pose."""
    changes = {
        "pictures of other views": lambda batch: batch.image.roll(1, 0),
        "red, green and blue exchanged": lambda batch: batch.image.roll(1, 1),
        "outlines alone": lambda batch: silhouettes(batch, views, body, trial.side),
    }
    table = {
        name: trial.report([look.relative(look.vote().joints, look.scale) for _, look in trial.looks(change)])
        for name, change in changes.items()
    }
    return table | {
        "mean pose": trial.report([trial.network.mean_pose.expand(len(batch), -1, -1) for batch in trial.batches])
    }


def silhouettes(batch: Batch, views: Views, body: BodyModel, side: int) -> Tensor:
    """(B, 3, side, side): the fitted body in white on black, as the nominal crop shows it."""
    images = torch.full((len(batch), 3, side, side), -1.0)
    for k, index in enumerate(batch.view.tolist()):
        parameters = ShardReader(views.shard_path(index)).read_body(int(views["row"][index]))
        pelvis = views["root"][index] - views["origin"][index]  # what the stored mesh is relative to
        pixels = project_pinhole(batch.K[k].numpy(), body.mesh(parameters)[0] + pelvis)
        mask = np.zeros((side, side), np.uint8)
        for corners in np.round(pixels[body.faces] * 16).astype(np.int32):
            cv2.fillConvexPoly(mask, corners, 1, shift=4)
        images[k, :, torch.from_numpy(mask > 0)] = 1.0
    return images


def show(title: str, table: dict[str, dict]) -> None:
    columns = ("MPJPE", "PA", "wrists", "ankles", "flips %", "queries", "from finest mm")
    print(f"\n{title}\n{'':32} " + " ".join(f"{name:>7}" for name in columns))
    for name, row in table.items():
        joints = row["per_joint_mm"]
        limbs = [(joints[f"left_{j}"] + joints[f"right_{j}"]) / 2 for j in ("wrist", "ankle")]
        values = [row["mpjpe_mm"], row["pa_mpjpe_mm"], *limbs, 100 * row["facing_flips"]]
        extra = f" {row['queries']:7.0f} {row['from_finest_mm']:7.1f}" if "queries" in row else ""
        print(f"{name:32} " + " ".join(f"{value:7.1f}" for value in values) + extra)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("shards", type=Path, nargs="?")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--views", type=int, default=96)
    parser.add_argument(
        "--full", type=int, default=4, help="views on which the whole 16 mm grid is asked (seconds each)"
    )
    parser.add_argument("--body", type=Path, help="the body the shards were made with (default: the free one)")
    parser.add_argument("--controls", action="store_true", help="the controls alone, in a minute")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds of training on a small capture, to see that it runs"
    )
    asked = parser.parse_args()
    if asked.quick:
        out = Path("runs/ablate-quick")
        asked.shards, asked.run, asked.views, asked.full = make_shards(out, 60), out / "run", 8, 1
        trained(asked.run, asked.shards, with_steps(load_config("small"), 40))
    if not asked.run or not asked.shards:
        parser.error("name a run and the shards to look at, or --quick")
    network, config, _ = load_run(asked.run)
    own = config.network.head
    if not isinstance(own, NvfSettings) or not own.use_distance:
        parser.error(f"{asked.run} holds {config.network.head.kind}, which has no votes at a surface to look into")
    views = known_truth(need_views(read_views([asked.shards]), asked.split, [asked.shards]), config.train.ground_truth)
    dataset = ViewDataset(views, config.network.crop_px, DrawConfig(points=POOL, voter_share=0.0), NO_AUGMENTATION)
    body = load_body(asked.body)
    if body.sha256 != ShardReader(views.shard_path(0)).attributes["body_sha256"]:
        parser.error(f"{asked.shards} was made with another body than {body.name}; give it with --body")
    index = scorable(views)
    index = index[spread_evenly(len(index), asked.views)]
    trial = Trial(network, [dataset.__getitems__(keys).to("cpu") for keys in evaluation_batches(index, 16)])
    torch.set_grad_enabled(False)
    tables = {} if asked.controls else {"oracles": oracles(trial), "decode": settings_table(trial)}
    tables["controls"] = controls(trial, views, body)
    for title, table in tables.items():
        show(title, table)
    if not asked.controls:
        look_into(trial, tables, asked.full)
    if asked.json:
        asked.json.write_text(json.dumps({"split": asked.split, "views": len(index), **tables}, indent=1))


def look_into(trial: Trial, tables: dict[str, dict], full: int) -> None:
    """What is seen of the surface, and of the whole 16 mm grid on `full` views, shown and put into the tables."""
    tables["surface"] = surface(trial)
    print("\nsurface:", ", ".join(f"{name} {value:.3f}" for name, value in tables["surface"].items()))
    if full:
        tables["coarse_to_fine"] = coarse_to_fine(trial, full)
        print("\n16 mm grid, coarse to fine against whole:", tables["coarse_to_fine"])


if __name__ == "__main__":
    main()
