"""Predictions for the views of a split, and the evaluation of a run.

Only the person's box enters: crops are the stored boxes, the scale of a prediction is the network's own unless a
column says otherwise. Files hold source-camera axes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from model.body_fit import Hypotheses
from model.data.batch import Batch
from model.data.loading import ViewDataset, evaluation_batches
from model.data.views import Views, need_views, read_views
from model.data.workers import loader
from model.decoding import AUTO, BODY, VOTES, decode_of, fitted, run_decoder, save_bodies
from model.device import choose_device, fast_bf16
from model.hypotheses_picture import draw_hypotheses
from model.networks.frame import reference_depth
from model.networks.network import Network
from model.networks.test_time import predict_augmented
from model.scoring import figures, protocols
from model.scoring.bodies import body_report, hypotheses_report
from model.scoring.by_direction import by_direction, hidden_joints
from model.scoring.evaluation import Predictions, ground_truth, report_of, view_errors
from model.scoring.protocols import DEFAULT
from model.scoring.published import published
from model.scoring.reliability import reliability
from model.scoring.shown import shown_views, slice_distance
from model.training.config import Config
from model.training.logbook import read_history
from model.training.runs import load_run, mean_pose_of, trained_on
from pipeline.errors import InputError
from pipeline.outputs import encode_picture, write_file, write_json
from pipeline.shards.run_json import joined_hash

BODIES = "bodies.npz"
# What a report says of each decode.
DECODE_COLUMNS = ("mpjpe_mm", "pa_mpjpe_mm", "mrpe_mm", "by_direction", "images_per_second")


def predict_views(
    network: Network,
    views: Views,
    index: Sequence[int] | np.ndarray,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
    workers: int = 0,
    bf16: bool = False,
    advance: Callable[[int], None] = lambda count: None,
    augmented: bool = False,
) -> Predictions:
    """Ask the network about some views. advance(n) is called after every n views. augmented: about several looks at each
    (`predict_augmented`).
    """
    device = torch.device(device)
    dataset = ViewDataset(views, network.config.crop_px, draw=None, augment=None)
    rows: dict[str, list] = {}
    seconds = 0.0
    network.eval()
    for batch in loader(dataset, evaluation_batches(index, batch_size), workers, pin=device.type == "cuda"):
        batch = batch.to(device)
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16 and fast_bf16(device)):
            row = answer_of(network, batch, augmented)
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


@torch.no_grad()
def answer_of(network: Network, batch: Batch, augmented: bool) -> dict[str, np.ndarray]:
    """The rows of a `Predictions` for a batch, but what a network does not say."""
    found = predict_augmented(network, batch.image, batch.K) if augmented else network.predict(batch.image, batch.K)
    known = batch.is_3d | batch.mesh_valid
    depth = reference_depth(batch.K, network.config.crop_px)
    said = {
        "view": batch.view,
        "joints": found.joints,
        "root": found.root,
        "scale": found.scale,
        "scale_true": torch.where(known, depth / batch.root[:, 2].clamp(min=1e-3), torch.nan),
        "scale_bones": found.diagnostics.get("scale_bones", found.scale),
        "confidence": found.confidence,
    }
    said |= {
        name: found.diagnostics[name]
        for name in ("fallback", "effective_votes", "queries")
        if name in found.diagnostics
    }
    return {name: value.float().cpu().numpy() for name, value in said.items()}


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


def evaluate_run(
    run: Path,
    shards: Path,
    split: str = "test",
    protocol_name: str = DEFAULT,
    root: str = "predicted",
    truth_kind: str = "dataset",
    allow_partial: bool = False,
    device: str | None = None,
    decode: str = AUTO,
    both: bool = False,
    hypotheses: int = 0,
    augmented: bool = False,
) -> dict:
    """Evaluate a run's best weights; leaves evaluation.json, predictions.npz, figures/ and, of bodies, bodies.npz in it, none of an
    earlier evaluation, and returns the report.

    decode: "votes", "body", or "auto" for what the run chose on validation. both: fit bodies also where votes are asked for, so that
    the report's `decodes` has both. hypotheses: of so many bodies a view the best is scored as well, 0 for none. augmented: whether
    the network is asked about several looks at a view. Raises InputError for a missing run, an empty split, another joint set, or a
    protocol that does not fit the shards.
    """
    protocol = protocols.protocol(protocol_name)
    where = choose_device(device)
    network, config, record = load_run(run, where)
    splits = read_views([shards])
    views = views_to_score(run, network, shards, splits, split, truth_kind)
    index, left_out = views_of(protocol, views, allow_partial)
    decode, bf16 = decode_of(decode, record), config.train.bf16
    with counting(len(index)) as advance:
        votes = predict_views(network, views, index, where, bf16=bf16, advance=advance, augmented=augmented)
    said = {VOTES: votes}
    fits, training = both or hypotheses or decode == BODY, its_training(splits, record)
    about_bodies, others = fit_bodies(said, run, record, views, training, hypotheses) if fits else no_bodies(run)
    predicted, reports = said[decode], reports_of(said, views, network, record, root, protocol, allow_partial)
    report = {
        **origin(run, shards, views, config, record),
        "decode": decode,
        "test_time_augmentation": augmented,
        "left_out": left_out,
        **reports[decode],
        "decodes": {name: {key: row[key] for key in DECODE_COLUMNS} for name, row in reports.items()},
        **about_bodies,
        "quoted": published(protocol.name),
    }
    report["confidence"] = own_reliability(votes, root, views, index)
    shown = predicted.at_scale(predicted.scale_true) if root == "gt" else predicted
    leave_files(run, report, shown, views, network, others, record)
    return report


def leave_files(
    run: Path,
    report: dict,
    shown: Predictions,
    views: Views,
    network: Network,
    others: Hypotheses | None,
    record: dict,
) -> None:
    """evaluation.json, predictions.npz and figures/ of an evaluation in its run's folder. shown: what was scored."""
    errors = view_errors(shown, *ground_truth(views, shown.view), views.joint_set)
    save_predictions(run / "predictions.npz", shown, views, errors)
    write_json(run / "evaluation.json", report)
    draw_figures(run, report, shown, errors["mpjpe"], views, network, others)
    mean_pose = (record["best"] or {}).get("mean_pose_mpjpe_mm")
    figures.curves(run / "figures" / "curves.png", read_history(run), mean_pose)


def own_reliability(votes: Predictions, root: str, views: Views, index: np.ndarray) -> dict:
    """Whether the network's confidences are those of its own joints, whatever joints are scored: bodies that are fitted to them state
    none."""
    own = votes.at_scale(votes.scale_true) if root == "gt" else votes
    errors = view_errors(own, *ground_truth(views, index), views.joint_set)
    return {"of": VOTES} | reliability(own.confidence, errors["joints"], views.joint_set.root_index)


def views_of(protocol: protocols.Protocol, views: Views, allow_partial: bool) -> tuple[np.ndarray, dict]:
    """(n,) indices of the views that a protocol takes, and how many it leaves out by reason. Raises InputError now, and not after
    an hour, where what is left cannot be scored.
    """
    index, left_out = protocols.select(protocol, views.table, views.folders[0].run.source)
    _, valid = ground_truth(views, index)
    real = all(folder.run.recorded for folder in views.folders)
    protocols.check_usable(protocol, *protocols.usable_views(protocol, valid), real, allow_partial)
    return index, left_out


def reports_of(
    said: dict[str, Predictions],
    views: Views,
    network: Network,
    record: dict,
    root: str,
    protocol: protocols.Protocol,
    partial: bool,
) -> dict[str, dict]:
    """The report of each decode. partial: whether a recorded dataset may lack views."""
    mean_pose, hidden = mean_pose_of(record, network), hidden_joints(views, said[VOTES].view)
    return {
        name: report_of(one, views, mean_pose, root, protocol, partial)
        | {"by_direction": by_direction(one, views, network.config.crop_px, hidden)}
        for name, one in said.items()
    }


def fit_bodies(
    said: dict[str, Predictions], run: Path, record: dict, views: Views, training: Views | None, hypotheses: int
) -> tuple[dict[str, dict], Hypotheses | None]:
    """Adds the bodies fitted to the votes to `said`, leaves RUN/bodies.npz, and returns what a report says of them, and the
    hypotheses that were asked for. training: the views that an older run learnt from, where they are at hand.
    """
    decoder = run_decoder(run, record, views.joint_set, training)
    said[BODY], bodies = fitted(said[VOTES], decoder.decoder)
    votes, others, about = said[VOTES], None, {}
    if hypotheses:
        others = decoder.decoder.hypotheses(votes.joints, votes.root, hypotheses, confidence=votes.confidence)
        about = {"hypotheses": hypotheses_report(others, views, votes.view)}
    save_bodies(run / BODIES, bodies, decoder.decoder.body, views, votes.view, others)
    return {"body": decoder.facts() | body_report(bodies, views, votes.view)} | about, others


def no_bodies(run: Path) -> tuple[dict[str, dict], None]:
    """Where none are fitted; those of an earlier evaluation are of other views, and go away."""
    (run / BODIES).unlink(missing_ok=True)
    return {}, None


def its_training(splits: dict[str, Views], record: dict) -> Views | None:
    """The training views among the splits of a shard folder, where the run was trained on that folder's shards."""
    views = splits.get("train")
    known = {row["content_hash"] for row in record["data"]}
    return views if views is not None and joined_hash(views.folders[0].run.shards) in known else None


def views_to_score(
    run: Path, network: Network, shards: Path, splits: dict[str, Views], split: str, truth_kind: str
) -> Views:
    """The views of one of the splits of `shards`, labelled. Says where crops are enlarged, and shards missing.

    Raises InputError for an empty split or another joint set.
    """
    views = need_views(splits, split, [shards]).labelled(truth_kind)
    if views.joint_set.name != network.config.joint_set:
        raise InputError(
            f"{run} predicts the joints {network.config.joint_set}, {shards} holds {views.joint_set.name}. Evaluate on shards of "
            "the same joint set."
        )
    for line in views.remarks(network.config.crop_px):
        Console(stderr=True, highlight=False, soft_wrap=True).print(line, markup=False)
    return views


def origin(run: Path, shards: Path, views: Views, config: Config, record: dict) -> dict:
    """What a report says of the run and of the shards that it is about."""
    return {
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
        "chosen_by": (record.get("body") or {}).get("validation"),
        "commit": record["commit"],
    }


def draw_figures(
    run: Path,
    report: dict,
    predicted: Predictions,
    errors: np.ndarray,
    views: Views,
    network: Network,
    others: Hypotheses | None,
) -> None:
    """RUN/figures of an evaluation: views from good to bad, the joints' errors, hypotheses, and the distance through a middling view
    of a network that predicts one. errors: (N,) m, NaN where a view was not scored.
    """
    folder = run / "figures"
    order = np.argsort(np.where(np.isfinite(errors), errors, np.inf))[: int(np.isfinite(errors).sum())]
    rows = np.unique(order[np.unique(np.linspace(0.03, 0.97, 12) * (len(order) - 1)).round().astype(int)])
    size, index = network.config.crop_px, predicted.view[rows]
    shown = shown_views(predicted.joints[rows], predicted.root[rows], index, views, size, errors[rows])
    write_file(folder / "predictions.png", encode_picture(figures.prediction_grid(shown, views.joint_set)))
    figures.joint_bars(folder / "joints.png", report)
    draw_hypotheses(folder / "hypotheses.png", others, views, predicted.view, size)
    middle = int(predicted.view[order[len(order) // 2]])
    slices = slice_distance(network, views, middle) if views["fit_valid"][middle] else None
    if slices is None:  # not that of an earlier evaluation
        (folder / "field.png").unlink(missing_ok=True)
    else:
        figures.field_slice(folder / "field.png", slices)


@contextmanager
def counting(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("predicting", total=total)
        yield lambda count: progress.advance(task, count)
