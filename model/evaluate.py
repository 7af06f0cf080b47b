"""Predictions for the views of a split, and what they are worth.

Only the person's box enters: crops are the stored boxes, the scale of a prediction is the network's own unless a
column says otherwise. Errors are taken after root alignment, in crop axes (a rotation changes no length); files hold
source-camera axes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from model.data.loading import ViewDataset, evaluation_batches
from model.data.views import Views, need_views, read_views
from model.data.workers import loader
from model.device import choose_device, fast_bf16
from model.networks.frame import reference_depth
from model.networks.network import Network
from model.scoring import figures, metrics, protocols
from model.scoring.protocols import DEFAULT, PROTOCOLS, Protocol
from model.scoring.published import published
from model.scoring.reliability import reliability
from model.scoring.shown import shown_views, slice_distance
from model.training.logbook import read_history
from model.training.runs import load_run, trained_on
from pipeline.errors import InputError
from pipeline.outputs import encode_picture, write_file, write_json
from pipeline.records import DATASET_JOINT, FIT_JOINT
from pipeline.skeletons import JointSet

DISTAL = ("left_wrist", "right_wrist", "left_ankle", "right_ankle")
PROXIMAL = ("hip", "knee", "shoulder", "elbow")


@dataclass(frozen=True)
class Predictions:
    """What a network said of N views. Metres.

    view: (N,) index into the `Views`. joints: (N, J, 3) root-relative crop axes, at the network's own scale. root: (N,
    3) crop axes. scale: (N,) s_hat. scale_bones: (N,) of the mean bone lengths (s_hat where the network has no such
    estimate). scale_true: (N,), NaN where nothing is known in 3D. confidence: (N, J). fallback: (N, J) bool,
    effective_votes: (N, J), queries: (N,) or None for networks without votes. seconds: of the network alone.
    """

    view: np.ndarray
    joints: np.ndarray
    root: np.ndarray
    scale: np.ndarray
    scale_bones: np.ndarray
    scale_true: np.ndarray
    confidence: np.ndarray
    fallback: np.ndarray | None
    effective_votes: np.ndarray | None
    queries: np.ndarray | None
    seconds: float

    def at_scale(self, scale: np.ndarray) -> "Predictions":
        """The same votes, divided by another scale (N,)."""
        ratio = self.scale / scale
        changed = {"joints": self.joints * ratio[:, None, None], "root": self.root * ratio[:, None], "scale": scale}
        return Predictions(**{**vars(self), **changed})


def predict_views(
    network: Network,
    views: Views,
    index: Sequence[int] | np.ndarray,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
    workers: int = 0,
    bf16: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> Predictions:
    """Ask the network about some views. advance(n) is called after every n views."""
    device = torch.device(device)
    side = network.config.crop_px
    dataset = ViewDataset(views, side, draw=None, augment=None)
    rows: dict[str, list] = {}
    seconds = 0.0
    network.eval()
    for batch in loader(dataset, evaluation_batches(index, batch_size), workers, pin=device.type == "cuda"):
        batch = batch.to(device)
        started = time.perf_counter()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16 and fast_bf16(device)):
            found = network.predict(batch.image, batch.K)
        known = batch.is_3d | batch.mesh_valid
        true = torch.where(known, reference_depth(batch.K, side) / batch.root[:, 2].clamp(min=1e-3), torch.nan)
        said = {
            "view": batch.view,
            "joints": found.joints,
            "root": found.root,
            "scale": found.scale,
            "scale_true": true,
            "scale_bones": found.diagnostics.get("scale_bones", found.scale),
            "confidence": found.confidence,
        }
        said |= {
            name: found.diagnostics[name]
            for name in ("fallback", "effective_votes", "queries")
            if name in found.diagnostics
        }
        row = {name: value.float().cpu().numpy() for name, value in said.items()}
        seconds += time.perf_counter() - started
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
        advance(len(batch))
    columns = {name: np.concatenate(parts) for name, parts in rows.items()}
    columns["view"] = columns["view"].astype(int)
    if "fallback" in columns:
        columns["fallback"] = columns["fallback"] > 0
    absent: dict[str, Any] = {"fallback": None, "effective_votes": None, "queries": None}
    return Predictions(**(absent | columns), seconds=seconds)


def ground_truth(views: Views, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, J, 3) m root-relative crop axes, and which joints are known (N, J) bool: measured ones, or those of valid fits,
    as the views are labelled. A joint that the dataset lacks is filled in from the fit for training; it is no measurement.
    """
    wanted = {"dataset": DATASET_JOINT, "fit": FIT_JOINT}[views.truth]
    known = (views["joints_source"][index] == wanted) & views["is_3d"][index].astype(bool)[:, None]
    return views["joints"][index], known


def view_errors(
    predicted: Predictions, truth: np.ndarray, valid: np.ndarray, joint_set: JointSet
) -> dict[str, np.ndarray]:
    """Per view, metres, over all joints: mpjpe, pa_mpjpe (N,), joints (N, J); NaN where the truth is not known."""
    aligned, true = (metrics.root_align(points, joint_set.root_index) for points in (predicted.joints, truth))
    valid = valid & valid[:, joint_set.root_index, None]
    return {
        "mpjpe": metrics.mpjpe(aligned, true, valid),
        "pa_mpjpe": metrics.pa_mpjpe(aligned, true, valid),
        "joints": np.where(valid, metrics.joint_errors(aligned, true), np.nan),
    }


def facing_flips(prediction: np.ndarray, truth: np.ndarray, joint_set: JointSet) -> np.ndarray:
    """(N,) bool: the predicted body faces away from where it should: its right-to-left axis, over hips and shoulders,
    points more than 90 degrees off.
    """
    left, right = (joint_set.indices((f"{side}_hip", f"{side}_shoulder")) for side in ("left", "right"))
    axes = [(joints[:, left] - joints[:, right]).sum(1) for joints in (prediction, truth)]
    return np.einsum("nk,nk->n", *axes) < 0


def distal_ratio(per_joint: dict[str, float]) -> float | None:
    """Mean error of wrists and ankles over that of hips, knees, shoulders and elbows."""
    near = [v for name, v in per_joint.items() if name.split("_")[-1] in PROXIMAL]
    far = [v for name, v in per_joint.items() if name in DISTAL]
    return round(float(np.mean(far) / np.mean(near)), 4) if far and any(near) else None


def report_of(
    predicted: Predictions,
    views: Views,
    mean_pose: np.ndarray,
    root: str = "predicted",
    protocol: Protocol = PROTOCOLS[DEFAULT],
    allow_partial: bool = False,
) -> dict:
    """The evaluation of some predictions, JSON-able, against what the views are labelled with.

    mean_pose: (J, 3) m of the training split. root: whose scale the headline takes, "predicted" or "gt"; all are
    reported. Raises InputError when no view can be used, or a recorded dataset has another number of views than the
    protocol.
    """
    index = predicted.view
    truth, valid = ground_truth(views, index)
    # what a scale of its own asks for: nothing, mean bone lengths, or the truth
    columns = {
        "head": predicted,
        "bones": predicted.at_scale(predicted.scale_bones),
        "gt": predicted.at_scale(np.where(np.isfinite(predicted.scale_true), predicted.scale_true, predicted.scale)),
    }
    table = {name: views[name][index] for name in ("subject", "action")}
    real = all(folder.run.recorded for folder in views.folders)

    def judge(joints: np.ndarray) -> dict:
        return protocols.score(protocol, joints, truth, table, valid, real, allow_partial)

    reports = {name: judge(column.joints) for name, column in columns.items()}
    main = reports["gt" if root == "gt" else "head"]
    baseline = judge(np.broadcast_to(mean_pose, truth.shape))
    per_joint = {name: row["mpjpe_mm"] for name, row in main["per_joint"].items()}
    known, rooted = valid.all(1), valid[:, views.joint_set.root_index]
    return {
        **main,
        "split": views.split,
        "recorded": real,
        "root": "ground truth" if root == "gt" else "predicted",
        "box": "the dataset's",
        "ground_truth": views.truth,
        "n_skipped": len(index) - main["n_views"],
        "mrpe_mm": root_error_mm(columns["gt" if root == "gt" else "head"], views, rooted),
        "mean_pose": {name: baseline[name] for name in ("mpjpe_mm", "pa_mpjpe_mm")},
        "scale": {
            name: {key: report[key] for key in ("mpjpe_mm", "pa_mpjpe_mm", "pck_150mm", "auc")}
            | {
                "mrpe_mm": root_error_mm(columns[name], views, rooted),
                "median_error": scale_error(columns[name].scale, predicted),
            }
            for name, report in reports.items()
        },
        "distal_ratio": distal_ratio(per_joint),
        "facing_flips": round(float(facing_flips(predicted.joints, truth, views.joint_set)[known].mean()), 5)
        if known.any()
        else None,
        **voting_report(predicted, views.joint_set.names),
        "seconds": round(predicted.seconds, 3),
        "images_per_second": round(len(index) / max(predicted.seconds, 1e-9), 2),
    }


def root_error_mm(predicted: Predictions, views: Views, known: np.ndarray) -> float | None:
    """MRPE: mean distance of the absolute root, over views (N,) whose true root is known."""
    if not known.any():
        return None
    error = np.linalg.norm(predicted.root - views["root"][predicted.view], axis=1)[known]
    return round(float(error.mean()) * 1000, 3)


def scale_error(scale: np.ndarray, predicted: Predictions) -> float | None:
    """Median |s / s_true - 1| over views whose scale is known."""
    known = np.isfinite(predicted.scale_true)
    return round(float(np.median(np.abs(scale / predicted.scale_true - 1)[known])), 5) if known.any() else None


def voting_report(predicted: Predictions, names: Sequence[str]) -> dict:
    """How the votes went: points asked a view, effective votes of each joint, joints that no point within the gate votes for. {} for
    a network without votes.
    """
    if predicted.effective_votes is None or predicted.queries is None or predicted.fallback is None:
        return {}
    return {
        "queries": round(float(predicted.queries.mean()), 1),
        "effective_votes": {
            n: round(float(v), 2) for n, v in zip(names, predicted.effective_votes.mean(0), strict=True)
        },
        "fallback": {
            "joints": int(predicted.fallback.sum()),
            "views": int(predicted.fallback.any(1).sum()),
            "share": round(float(predicted.fallback.mean()), 6),
        },
    }


def to_source_axes(views: Views, index: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, ..., 3) crop axes -> axes of the source camera: R_crop^T of each view."""
    return np.einsum("n...k,nkl->n...l", points, np.asarray(views["R_crop"][index], np.float64))


def save_predictions(path: Path, predicted: Predictions, views: Views, errors: dict[str, np.ndarray]) -> None:
    """An .npz of plain arrays: what each view's prediction was, in metres and source-camera axes, and how far off."""
    index = predicted.view
    data = BytesIO()
    np.savez_compressed(
        data,
        id=views["id"][index],
        subject=views["subject"][index],
        action=views["action"][index],
        joint_names=np.array(views.joint_set.names),
        joints=to_source_axes(views, index, predicted.joints).astype(np.float32),
        root=to_source_axes(views, index, predicted.root).astype(np.float32),
        scale=predicted.scale,
        confidence=predicted.confidence,
        mpjpe=errors["mpjpe"],
        pa_mpjpe=errors["pa_mpjpe"],
        joint_errors=errors["joints"],
    )
    write_file(path, data.getvalue())


def evenly_spaced(n: int, count: int) -> np.ndarray:
    """At most `count` of n indices, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int))


def evaluate_run(
    run: Path,
    shards: Path,
    split: str = "test",
    protocol_name: str = DEFAULT,
    root: str = "predicted",
    truth_kind: str = "dataset",
    allow_partial: bool = False,
    device: str | None = None,
) -> dict:
    """Evaluate a run's best weights; leaves evaluation.json, predictions.npz and figures/ in it, and returns the
    report.

    Raises InputError for a missing run, an empty split, another joint set, or a protocol that does not fit the shards.
    """
    protocol = protocols.protocol(protocol_name)
    where = choose_device(device)
    network, config, record = load_run(run, where)
    views = need_views(read_views([shards]), split, [shards]).labelled(truth_kind)
    if views.joint_set.name != config.network.joint_set:
        raise InputError(
            f"{run} predicts the joints {config.network.joint_set}, {shards} holds {views.joint_set.name}. Evaluate on shards of "
            "the same joint set."
        )
    index, left_out = protocols.select(protocol, views.table, views.folders[0].run.source)
    _, valid = ground_truth(views, index)
    real = all(folder.run.recorded for folder in views.folders)
    protocols.check_usable(protocol, *protocols.usable_views(protocol, valid), real, allow_partial)  # not after an hour
    for line in views.enlarged(config.network.crop_px):
        Console(stderr=True, highlight=False, soft_wrap=True).print(line)
    with counting(len(index)) as advance:
        predicted = predict_views(network, views, index, where, bf16=config.train.bf16, advance=advance)
    mean_pose = network.mean_pose.cpu().numpy()
    report = {
        "model": config.network.head.kind,
        "run": str(run),
        "shards": str(shards),
        "shards_run_id": views.folders[0].run.run_id,
        "source": views.folders[0].run.source,
        "trained_on": trained_on(record),
        "seed": config.train.seed,
        "step": record["step"],
        "parameters": record["parameters"],
        "training_seconds": record["seconds"],
        "commit": record["commit"],
        "left_out": left_out,
        **report_of(predicted, views, mean_pose, root, protocol, allow_partial),
        "quoted": published(protocol.name),
    }
    truth, valid = ground_truth(views, predicted.view)
    shown = predicted.at_scale(predicted.scale_true) if root == "gt" else predicted
    errors = view_errors(shown, truth, valid, views.joint_set)
    report["confidence"] = reliability(shown.confidence, errors["joints"])
    save_predictions(run / "predictions.npz", shown, views, errors)
    write_json(run / "evaluation.json", report)
    draw_figures(run, report, shown, errors["mpjpe"], views, network)
    figures.curves(run / "figures" / "curves.png", read_history(run), (record["best"] or {}).get("mean_pose_mpjpe_mm"))
    return report


def draw_figures(
    run: Path, report: dict, predicted: Predictions, errors: np.ndarray, views: Views, network: Network
) -> None:
    """RUN/figures of an evaluation: views from good to bad, the joints' errors, and the distance through a middling view of a network
    that predicts one. errors: (N,) m, NaN where a view was not scored.
    """
    folder = run / "figures"
    order = np.argsort(np.where(np.isfinite(errors), errors, np.inf))[: int(np.isfinite(errors).sum())]
    rows = np.unique(order[np.unique(np.linspace(0.03, 0.97, 12) * (len(order) - 1)).round().astype(int)])
    size, index = network.config.crop_px, predicted.view[rows]
    shown = shown_views(predicted.joints[rows], predicted.root[rows], index, views, size, errors[rows])
    write_file(folder / "predictions.png", encode_picture(figures.prediction_grid(shown, views.joint_set)))
    figures.joint_bars(folder / "joints.png", report)
    middle = int(predicted.view[order[len(order) // 2]])
    slices = slice_distance(network, views, middle) if views["fit_valid"][middle] else None
    if slices is not None:
        figures.field_slice(folder / "field.png", slices)


@contextmanager
def counting(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("predicting", total=total)
        yield lambda count: progress.advance(task, count)
