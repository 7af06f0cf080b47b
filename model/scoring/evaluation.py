"""What predictions are worth: errors against the truth, and the report of an evaluation.

Errors are taken after root alignment, in crop axes (a rotation changes no length).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.data.views import Views
from model.scoring import metrics, protocols
from model.scoring.protocols import DEFAULT, PROTOCOLS, Protocol
from pipeline.records import DATASET_JOINT, FIT_JOINT
from pipeline.skeletons import JointSet

DISTAL = ("left_wrist", "right_wrist", "left_ankle", "right_ankle")
PROXIMAL = ("hip", "knee", "shoulder", "elbow")


@dataclass(frozen=True)
class Predictions:
    """What a network said of N views, or the bodies that were fitted to it. Metres.

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
    table = {name: views[name][index] for name in ("subject", "action")}
    real = all(folder.run.recorded for folder in views.folders)

    def judge(joints: np.ndarray) -> dict:
        return protocols.score(protocol, joints, truth, table, valid, real, allow_partial)

    columns = at_scales(predicted)
    reports = {name: judge(column.joints) for name, column in columns.items()}
    headline = "gt" if root == "gt" else "head"
    main, baseline = reports[headline], judge(np.broadcast_to(mean_pose, truth.shape))
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
        "mrpe_mm": root_error_mm(columns[headline], views, rooted),
        "mean_pose": {name: baseline[name] for name in ("mpjpe_mm", "pa_mpjpe_mm")},
        "scale": {name: scale_row(reports[name], columns[name], predicted, views, rooted) for name in reports},
        "distal_ratio": distal_ratio(per_joint),
        "facing_flips": share(facing_flips(predicted.joints, truth, views.joint_set)[known]),
        **voting_report(predicted, views.joint_set.names),
        "seconds": round(predicted.seconds, 3),
        "images_per_second": round(len(index) / max(predicted.seconds, 1e-9), 2),
    }


def at_scales(predicted: Predictions) -> dict[str, Predictions]:
    """The same joints at the network's own scale ("head"), at that of mean bone lengths ("bones"), and at the true one ("gt")."""
    true = np.where(np.isfinite(predicted.scale_true), predicted.scale_true, predicted.scale)
    return {"head": predicted, "bones": predicted.at_scale(predicted.scale_bones), "gt": predicted.at_scale(true)}


def scale_row(report: dict, column: Predictions, predicted: Predictions, views: Views, rooted: np.ndarray) -> dict:
    """What an evaluation says of one scale. column: the predictions at it. rooted: (N,) bool, views whose root is known."""
    return {name: report[name] for name in ("mpjpe_mm", "pa_mpjpe_mm", "pck_150mm", "auc")} | {
        "mrpe_mm": root_error_mm(column, views, rooted),
        "median_error": scale_error(column.scale, predicted),
    }


def share(flags: np.ndarray) -> float | None:
    """The share of flags that are set, None of no flags."""
    return round(float(flags.mean()), 5) if len(flags) else None


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
