"""One thing changed in how the field is trained, everything else as it is; judged on validation.

    python -m benchmarks.variants OUT SHARDS [--steps 800] [--only NAME ...] [--list]
    python -m benchmarks.variants --quick

Every variant is trained for the same number of steps, from the same seed. Finished ones are kept: the same command goes on;
`--only` picks some. Writes OUT/variants.json and prints the table. Single runs scatter by some per cent.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.compare import make_shards, trained
from model.networks.field.head import FieldLosses
from model.networks.heads.nvf import NvfSettings
from model.training.config import Config, config_from_dict, load_config, merge, with_steps, with_train
from pipeline.memory import keep_freed_memory
from pipeline.outputs import write_json

# The votes of the hand recipe in a field that is otherwise ours.
PUBLISHED_VOTES = {
    "mlp": asdict(NvfSettings().mlp),
    "losses": asdict(FieldLosses(joint=0.0)),
}
JOINT_LOSS = {"losses": {"joint": FieldLosses().joint}}
# Name -> tables on top of the configuration. A head of another `kind` starts from its own preset.
VARIANTS: dict[str, dict] = {
    "as configured": {},
    # what a vote is, and what trains it
    "no loss on decoded joints": {"head": {"losses": {"joint": 0.0}}},
    "votes trained at labelled points": {"head": {"asked": {"candidates": 0}}},
    **{
        name: {"head": {"kind": "nvf-published"} | merge(PUBLISHED_VOTES, changes)}
        for name, changes in {
            "published votes": {},
            "published votes, R 0.2 m": {"radius": [0.2]},
            "published votes, K 16": {"nearest": 16},
            "published votes, band 0.05 m": {"band": 0.05},
            "published votes, loss on decoded joints": JOINT_LOSS,
            "published votes, loss on decoded joints, R 0.2 m": JOINT_LOSS | {"radius": [0.2]},
            "published votes, loss on decoded joints, K 16": JOINT_LOSS | {"nearest": 16},
        }.items()
    },
    # who votes for a joint
    "every point votes for every joint": {"head": {"asked": {"neighbours": 0}, "neighbours": 0}},
    "4 neighbours in training, 32 in prediction": {"head": {"asked": {"neighbours": 4}, "neighbours": 32}},
    "8 neighbours in training, 128 in prediction": {"head": {"asked": {"neighbours": 8}, "neighbours": 128}},
    "32 neighbours in training, 256 in prediction": {"head": {"asked": {"neighbours": 32}, "neighbours": 256}},
    "asked about joints at half the distance": {"head": {"asked": {"across": 0.08, "along": 0.2}}},
    "asked about joints at twice the distance": {"head": {"asked": {"across": 0.33, "along": 0.8}}},
    # other heads
    **{name: {"head": {"kind": name}} for name in ("heatmap25d", "volumetric", "holistic")},
    # what the mesh tells
    "no limbs": {"head": {"losses": {"limb": 0.0}}},
    "no distance": {"head": {"use_distance": False}},
    "no mesh": {"head": {"kind": "nosdf"}},
    "every distance label alike": {"head": {"losses": {"surface": 1.0}}},
    "distance labels on the surface 0.02": {"head": {"losses": {"surface": 0.02}}},
    "truncation 0.2 m": {"head": {"truncation": 0.2}},
    # how many points
    "64 points, 128 asked, 32 vote": {"draw": {"points": 64}, "head": {"asked": {"candidates": 128, "points": 32}}},
    "1,024 points, 1,024 asked, 256 vote": {
        "draw": {"points": 1024},
        "head": {"asked": {"candidates": 1024, "points": 256}},
    },
    "no moving average": {"train": {"average": 0.0}},
    # what else trains the encoder, and which encoder
    "no heatmaps": {"losses": {"heatmap": 0.0}},
    "hourglass, 1 stack": {"encoder": {"kind": "hourglass", "channels": 64, "stacks": 1}},
    "hourglass, 2 stacks": {"encoder": {"kind": "hourglass", "channels": 64, "stacks": 2}},
}


def variant(config_name: str, changes: dict, steps: int) -> Config:
    """The configuration with one change, looked at once, at its end."""
    parts = {name: table for name, table in changes.items() if name in ("head", "encoder", "losses")}
    rest = {name: table for name, table in changes.items() if name not in parts}
    kind = changes.get("head", {}).get("kind", "nvf")
    own = load_config(config_name).to_dict()
    own["network"]["head"] = load_config(config_name, kind).to_dict()["network"]["head"]
    config = config_from_dict(merge(own, {"network": parts} | rest), "variant")
    return with_steps(with_train(config, evaluations=1, evaluate_views=480), steps)


def run_variant(folder: Path, shards: Path, config_name: str, changes: dict, steps: int) -> dict:
    """One variant, trained, gone on with, or found finished: its row of the table."""
    record = trained(folder, shards, variant(config_name, changes, steps))
    best = record["best"]
    return {
        "mpjpe_mm": best["mpjpe_mm"],
        "pa_mpjpe_mm": best["pa_mpjpe_mm"],
        "mpjpe_gt_scale_mm": best["mpjpe_gt_scale_mm"],
        "wrists_mm": (best["joints_mm"]["left_wrist"] + best["joints_mm"]["right_wrist"]) / 2,
        "ankles_mm": (best["joints_mm"]["left_ankle"] + best["joints_mm"]["right_ankle"]) / 2,
        "distal_ratio": best.get("distal_ratio"),
        "facing_flips": best.get("facing_flips"),
        "mean_pose_mpjpe_mm": best["mean_pose_mpjpe_mm"],
        "steps": record["step"],
        "seconds": record["seconds"],
        "parameters": record["parameters"],
        "commit": record["commit"],
    }


def print_table(rows: dict[str, dict]) -> None:
    names = ("MPJPE mm", "PA mm", "true scale", "wrists", "ankles", "distal ratio", "flips %", "steps", "ms a step")
    table = Table("", *names)
    for name, row in rows.items():
        table.add_row(
            name,
            f"{row['mpjpe_mm']:.1f}",
            f"{row['pa_mpjpe_mm']:.1f}",
            f"{row['mpjpe_gt_scale_mm']:.1f}",
            f"{row['wrists_mm']:.0f}",
            f"{row['ankles_mm']:.0f}",
            f"{row['distal_ratio']:.2f}",
            f"{100 * row['facing_flips']:.1f}",
            str(row["steps"]),
            f"{1000 * row['seconds'] / row['steps']:.0f}",
        )
    Console(width=max(120, Console().width)).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/variants"))
    parser.add_argument("shards", type=Path, nargs="?")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--config", default="small")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="NAME", help="names as --list prints them")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument(
        "--quick", action="store_true", help="two variants and a few steps on a small capture, to see that it runs"
    )
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(VARIANTS))
        return
    keep_freed_memory()
    names = asked.only or list(VARIANTS)
    if asked.quick:
        asked.out, asked.steps, names = Path("runs/variants-quick"), 10, ["as configured", "published votes"]
    shards = asked.shards or make_shards(asked.out, 60 if asked.quick else 1500)
    path = asked.out / "variants.json"
    settings = {"config": asked.config, "steps": asked.steps}
    found = json.loads(path.read_text()) if path.exists() else {"settings": settings, "rows": {}}
    if found["settings"] != settings:
        parser.error(f"{path} is of {found['settings']}; ask for the same, or name another folder")
    rows = found["rows"]
    for name in names:
        if name not in rows:
            folder = asked.out / name.replace(" ", "-").replace(",", "")
            rows[name] = run_variant(folder, shards, asked.config, VARIANTS[name], asked.steps)
            write_json(path, found)
    print_table({name: rows[name] for name in VARIANTS if name in rows})


if __name__ == "__main__":
    main()
