"""A run folder: what a run is made of, how it is saved, and how it is found again.

RUN/last.safetensors goes on; RUN/best.safetensors holds the weights that did best on validation, for predictions.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.data.views import Views
from model.networks.build import published_weights, rebuild_network
from model.networks.frame import CANONICAL_SIDE
from model.networks.network import Network
from model.networks.records import Statistics
from model.training.checkpoint import (
    Checkpoint,
    content_sum,
    load_checkpoint,
    load_weights,
    optimizer_tensors,
    restore_optimizers,
    save_checkpoint,
)
from model.training.config import Config, config_from_dict, with_length
from model.training.optimise import MovingAverage, learning, make_optimizers
from model.training.towards_start import restored_start
from pipeline.errors import InputError, naming_damage
from pipeline.shards.run_json import joined_hash

LAST, BEST = "last.safetensors", "best.safetensors"
# The first files of a run, and those that a chain of commands leaves in its folder.
RUN_FILES = (LAST, "last.json", "seconds.json")
MEND = "Copy it again, or train again."
# Of a run's record, what every reader relies on.
RECORDED = {
    "config": dict,
    "encoder": dict,
    "data": list,
    "commit": str,
    "parameters": int,
    "best": dict | None,
    "step": int,
    "seconds": int | float,
}


@dataclass
class Run:
    """A run as it stands: what changes with every step, and what the record says. start: the trained parameters as they were taken
    from another run, nothing where they were not."""

    network: Network
    average: MovingAverage
    optimizers: list[torch.optim.Optimizer]
    record: dict
    step: int = 0
    seconds: float = 0.0
    start: dict[str, torch.Tensor] = field(default_factory=dict)


def trainable(network: Network) -> bool:
    """The mean pose has nothing to learn."""
    return bool(learning(network))


def start_run(network: Network, config: Config) -> Run:
    learns = trainable(network)
    average = MovingAverage(
        network, copy.deepcopy(network).requires_grad_(False), config.train.average if learns else 0
    )
    return Run(network, average, make_optimizers(network, config.train) if learns else [], {})


def save(run: Run, path: Path) -> None:
    """A checkpoint of the run, to go on from."""
    tensors = {"rng.torch": torch.get_rng_state()}
    if run.average.decay:
        tensors |= {f"average.{name}": value for name, value in run.average.network.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(run.network, run.optimizers).items()}
    tensors |= {f"start.{name}": value for name, value in run.start.items()}
    _save(run, run.network, path, tensors)


def save_weights(run: Run, network: Network, path: Path) -> None:
    """A network of the run to predict with, and the record."""
    _save(run, network, path, {})


def _save(run: Run, network: Network, path: Path, more: dict[str, torch.Tensor]) -> None:
    run.record |= {"step": run.step, "seconds": round(run.seconds, 3)}
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    save_checkpoint(path, Checkpoint(tensors | more, run.record))


def restore(run: Run, checkpoint: Checkpoint, path: Path) -> None:
    """Put a run where its checkpoint was."""
    load_weights(run.network, checkpoint.part("network"), path)
    if run.average.decay:
        load_weights(run.average.network, checkpoint.part("average"), path)
    restore_optimizers(run.network, run.optimizers, checkpoint.part("optimizer"))
    run.start = restored_start(run.network, checkpoint.part("start"), path)
    torch.set_rng_state(checkpoint.tensors["rng.torch"])
    run.step, run.seconds = checkpoint.record["step"], checkpoint.record["seconds"]
    for name in ("best", "started_from", "finished", "mean_pose"):
        run.record[name] = checkpoint.record.get(name)
    run.record["parameters"] = checkpoint.record["parameters"]


def find_weights(folder: Path) -> Path:
    """The checkpoint of a run to predict with: the best, or the last of a run that has not looked at validation yet."""
    best, last = folder / BEST, folder / LAST
    return last if last.exists() and not best.exists() else best


def read_weights(path: Path) -> Checkpoint:
    """A checkpoint of a run. Raises InputError for one whose record is not whole, beside what `load_checkpoint` refuses."""
    checkpoint = load_checkpoint(path)
    for name, kind in RECORDED.items():
        if not isinstance(checkpoint.record.get(name, ...), kind):
            raise InputError(f"{path}: its record lacks {name!r}, or has something else there. {MEND}")
    return checkpoint


def evaluated_weights(checkpoint: Checkpoint, path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint that predict: their moving average where there is one, and what a packed run left out because it
    comes with this program. Raises InputError where that is not what was left out.
    """
    weights = checkpoint.part("average") or checkpoint.part("network")
    with naming_damage(path, MEND):
        left_out = checkpoint.record.get("packed", {}).get("left_out_sha256")
        if left_out is None:
            return weights
        published = published_weights(recorded_config(checkpoint, path).network, checkpoint.record["encoder"])
        filled = {name: value for name, value in published.items() if name not in weights}
        if content_sum(filled) != left_out:
            raise InputError(
                f"{path} was packed beside other weights of its encoder than those that come with this program. Use the version that "
                "it was packed with, or pack the run again."
            )
    return weights | filled


def load_run(folder: Path, device: torch.device | str = "cpu") -> tuple[Network, Config, dict]:
    """The network of a run, ready to predict, with its configuration and record. Raises InputError for a run without a step."""
    path = find_weights(Path(folder))
    checkpoint = read_weights(path)
    with naming_damage(path, MEND):
        if path.name == LAST and checkpoint.record["step"] == 0:
            raise InputError(
                f"{folder}: the run has not taken a step yet. Train it: `nvf-cli train SHARDS {folder} --resume`."
            )
        config = recorded_config(checkpoint, path)
        check_choice(checkpoint.record.get("body"))
        joints = len(checkpoint.tensors["network.mean_pose"])
        check_mean_pose(checkpoint.record.get("mean_pose"), joints)
        unknown = Statistics(torch.zeros(joints, 3), torch.zeros(joints - 1), 0.0, 1.0)
        network = rebuild_network(config.network, unknown, checkpoint.record["encoder"])
        load_weights(network, evaluated_weights(checkpoint, path), path)
    return network.to(device).eval(), config, checkpoint.record


def mean_pose_of(record: dict, network: Network) -> np.ndarray:
    """(J, 3) m, root-relative in crop axes: the mean of the run's own training split, which reports compare with. A network that
    started from other weights keeps theirs, since its layers have learnt to predict from it; so do runs from before it was recorded.
    """
    said = record.get("mean_pose")
    return network.mean_pose.cpu().numpy() if said is None else np.array(said, np.float32)


def known_mean_pose(statistics: Statistics, network: Network) -> torch.Tensor:
    """(J, 3) m: the mean pose of a training split; joints that it does not measure are those that the network knows."""
    measured = statistics.mean_pose.any(-1, keepdim=True)
    return torch.where(measured, statistics.mean_pose, network.mean_pose.cpu())


def check_mean_pose(said: list | None, joints: int) -> None:
    """Raises an error of Python's where a record's mean pose is not one of so many joints."""
    if said is not None and (np.shape(said) != (joints, 3) or not np.isfinite(np.array(said, float)).all()):
        raise ValueError(f"its record says of the mean pose {str(said)[:200]}")


# No run's factor on spreads, and no number of poses, is more.
MOST_CHOSEN = 1e9


def check_choice(said: dict | None) -> None:
    """What a run says of its decode, None where it chose nothing. Raises an error of Python's where a part is missing or another."""
    if said is None:
        return
    prior = said.get("pose_prior")
    numbers = [said["spread_factor"], *([] if prior is None else [prior["poses"]])]
    texts = [said["decode"], said["prior"], *([] if prior is None else [prior["sha256"]])]
    if not all(isinstance(n, int | float) and 0 <= n <= MOST_CHOSEN for n in numbers) or not all(
        isinstance(t, str) for t in texts
    ):
        raise ValueError(f"its record says of the decode {str(said)[:200]}")


def recorded_config(checkpoint: Checkpoint, path: Path) -> Config:
    """The configuration that a checkpoint was trained with."""
    return config_from_dict(checkpoint.record["config"], str(path))


def open_run(folder: Path, resume: bool) -> Checkpoint | None:
    """The checkpoint to go on from, or None for a new run. Raises InputError when the folder holds no run to
    resume, or holds one and `resume` is not given."""
    if resume:
        return read_weights(folder / LAST)
    if (folder / LAST).exists() and has_begun(folder):
        raise InputError(f"{folder} holds a run already. Add --resume to go on with it, or name another folder.")
    return None


def has_begun(folder: Path) -> bool:
    """Whether a run has taken a step, or is whole without one. A start that was refused leaves nothing to keep."""
    return (folder / BEST).exists() or read_weights(folder / LAST).record["step"] > 0


def settled_config(
    config: Config | None, checkpoint: Checkpoint | None, folder: Path, steps: int | None, minutes: float | None
) -> Config:
    """The run's configuration, of the length that is asked for. A resumed run keeps its own otherwise; asking for another network,
    or for less than it has trained, is refused.
    """
    if checkpoint is None:
        assert config is not None
        return with_length(config, steps, minutes)
    done, trained = checkpoint.record["step"], checkpoint.record["seconds"] / 60
    own = recorded_config(checkpoint, folder / LAST)
    if config is not None and config.network != own.network:
        different = [name for name, value in vars(own.network).items() if value != getattr(config.network, name)]
        raise InputError(
            f"{folder / LAST} was trained with another configuration: network.{', network.'.join(different)} differ. Resume "
            "without --config, or start another run."
        )
    longer = with_length(own, steps, minutes)
    if steps is not None and steps < done or minutes is not None and longer != own and minutes <= trained:
        raise InputError(
            f"{folder} has trained {done} steps in {trained:.2f} minutes. --steps and --minutes say how long the whole run is: ask "
            "for more, or leave them out."
        )
    return longer


def not_taken(asked: Config | None, own: Config) -> list[str]:
    """A line where a run that goes on was given a configuration with other settings than its own, which it keeps. Its length is told
    by other options, and a seed that no option gave means nothing."""
    told = ("train.steps", "train.minutes", "train.warmup", "train.seed")
    other = [] if asked is None else list(differences(asked.to_dict(), own.to_dict()))
    said = [f"{name} {value} ({kept} stays)" for name, value, kept in other if name not in told]
    return [f"A run that goes on keeps its own settings; not taken: {', '.join(said)}."] if said else []


def differences(asked: dict, own: dict, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, value here and value there of every setting in which two configurations of the same network differ."""
    for name, value in asked.items():
        if isinstance(value, dict):
            yield from differences(value, own[name], f"{path}{name}.")
        elif value != own[name]:
            yield f"{path}{name}", value, own[name]


def data_record(views: Views, weights: Sequence[float]) -> list[dict]:
    """What a run was trained on: each folder's path, run, dataset, subjects, weight, views, and one hash over its shards'
    content."""
    rows = []
    for number, (folder, weight, size) in enumerate(zip(views.folders, weights, views.sizes, strict=True)):
        rows.append(
            {
                "path": str(folder.path),
                "run_id": folder.run.run_id,
                "source": folder.run.source,
                "subjects": np.unique(views["subject"][views["folder"] == number]).tolist(),
                "weight": weight,
                "train_views": size,
                "content_hash": joined_hash(folder.run.shards),
            }
        )
    return rows


def learnt_before(record: dict) -> list[dict]:
    """Rows like those of `data_record`, of what the weights that a run started from had learnt from."""
    return [dict(row) for row in (record.get("started_from") or {}).get("data", [])]


def trained_on(record: dict) -> dict:
    """What a run's record says of its training data, for reports; `before`: of what the weights that it started from had learnt from.
    source and subjects of a row are None where the run is of a version that did not record them."""
    keys = ("source", "subjects", "train_views", "weight", "content_hash")
    of_reports = [
        [{key: row.get(key) for key in keys} for row in rows] for rows in (record["data"], learnt_before(record))
    ]
    return {
        "ground_truth": record["config"]["train"].get("ground_truth", "dataset"),
        "data": of_reports[0],
        "before": of_reports[1],
    }


def refuse_other_data(folder: Path, before: list[dict], now: list[dict]) -> None:
    """InputError when a run is resumed on shards of other content or weight. Where they lie does not matter."""

    def said(data: list[dict]) -> str:
        return " and ".join(f"{row['path']} ({row['content_hash'][:12]}, weight {row['weight']:g})" for row in data)

    if [(row["content_hash"], row["weight"]) for row in before] != [
        (row["content_hash"], row["weight"]) for row in now
    ]:
        raise InputError(
            f"{folder} was trained on other data: {said(before)}; now {said(now)}. Resume with the same shards, or start "
            "another run."
        )


def training_statistics(views: Views, config: Config) -> Statistics:
    """Means over the training split. Raises InputError when no view of it has a joint to learn from."""
    labelled = views["is_3d"].astype(bool) | views["fit_valid"].astype(bool)
    valid = views["joints_valid"].astype(bool) & labelled[:, None]
    if not valid.any() and not views["joints_2d_valid"].any():
        raise InputError(
            f"{', '.join(str(folder.path) for folder in views.folders)}: none of the {len(views)} training views has a "
            "valid label: no measured joints, no valid fit, no 2D joints. Look at the rejects and fit errors with `nvf-cli inspect`."
        )
    joints, count = views["joints"].astype(np.float64), valid.sum(0)[:, None]
    mean_pose = np.where(valid[..., None], joints, 0).sum(0) / np.maximum(count, 1)
    parents, children = (list(side) for side in zip(*views.joint_set.bones, strict=True))
    both = valid[:, parents] & valid[:, children]
    lengths = np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1)
    bones = np.where(both, lengths, 0).sum(0) / np.maximum(both.sum(0), 1)
    crop_px = np.array(views.crop_px)[views["folder"]]
    scale = views["K"][:, 0, 0] * CANONICAL_SIDE / crop_px / views["root"][:, 2]
    log_scale = np.log(scale[labelled]) if labelled.any() else np.zeros(1)
    return Statistics(
        torch.from_numpy(mean_pose).float(),
        torch.from_numpy(bones).float(),
        float(log_scale.mean()),
        max(float(log_scale.std()), 1e-3),
    )
