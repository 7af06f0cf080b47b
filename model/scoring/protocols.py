"""Evaluation protocols by name: which views, which joints, which alignment. The names that papers use collide; these
do not.

A protocol selects rows of a view table (`select`), and scores predictions of those views (`score`). On a recorded
dataset the number of views is known, and a different one is refused: an average over other views is another number.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from model.scoring import metrics
from pipeline.errors import InputError
from pipeline.skeletons import FIELD_JOINTS, HUMAN36M_14


@dataclass(frozen=True)
class Protocol:
    """What is scored, and how.

    source: dataset the protocol is of, None for any. subjects, cameras: names, None for all. step: frames whose
    number is a multiple. joints: scored, by name, relative to `root`. scale: whether the Procrustes alignment may
    scale (a similarity) or not (a rigid motion). with_thorax: the alignment, not the score, also sees the mean of the
    shoulders. average: "views", or "actions" (mean over actions of the mean over their views). headline: the number
    that papers quote. known_views: least and most views of the real dataset, None for any dataset. truth:
    what the dataset's joints must be. training: what papers train on.
    """

    name: str
    source: str | None
    describes: str
    subjects: tuple[str, ...] | None = None
    cameras: tuple[str, ...] | None = None
    step: int = 1
    joints: tuple[str, ...] = FIELD_JOINTS.names
    root: str = "pelvis"
    scale: bool = True
    with_thorax: bool = False
    average: str = "views"
    headline: tuple[str, ...] = ("mpjpe_mm", "pa_mpjpe_mm")
    known_views: tuple[int, int] | None = None
    truth: str = "the dataset's joints"
    training: str = ""

    @property
    def alignment(self) -> str:
        return "similarity" if self.scale else "rigid"

    def as_json(self) -> dict:
        """What a report prints of it."""
        return {
            "name": self.name,
            "describes": self.describes,
            "source": self.source,
            "subjects": list(self.subjects) if self.subjects else "all",
            "cameras": list(self.cameras) if self.cameras else "all",
            "every": self.step,
            "joints": list(self.joints),
            "root": self.root,
            "alignment": self.alignment,
            "aligned_with_thorax": self.with_thorax,
            "average": f"over {self.average}",
            "headline": list(self.headline),
            "known_views": list(self.known_views) if self.known_views else None,
            "truth": self.truth,
            "training": self.training,
        }


def _human36m(name: str, describes: str, **fields: Any) -> Protocol:
    given: dict[str, Any] = {"subjects": ("S9", "S11"), "step": 64, "training": "S1, S5, S6, S7, S8"} | fields
    return Protocol(name, "human36m", describes, **given)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "all-17j",
            None,
            "All views of the split, 17 joints, similarity. The default for captures and own data.",
        ),
        _human36m(
            "h36m-p1-17j",
            "3DMPPE's protocol 1: error after a rigid alignment (no scale) that also sees the thorax.",
            subjects=("S11",),
            scale=False,
            with_thorax=True,
            headline=("pa_mpjpe_mm",),
            training="S1, S5, S6, S7, S8, S9",
            known_views=(3595, 3747),  # what other known counts leave: docs/protocols.md
        ),
        _human36m(
            "h36m-p2-17j",
            "3DMPPE's protocol 2: MPJPE of 17 joints, the pelvis counting as 0.",
            headline=("mpjpe_mm",),
            known_views=(8695, 8695),
        ),
        _human36m(
            "h36m-martinez-17j",
            "Martinez et al.: every frame of four cameras, mean over the 15 actions.",
            step=1,
            average="actions",
            known_views=(548819, 548819),
        ),
        _human36m(
            "h36m-i2l-14j",
            "I2L-MeshNet, Hand4Whole: camera 4 only, every 64th frame, 14 joints.",
            cameras=("4",),
            joints=HUMAN36M_14,
            known_views=(2181, 2181),
        ),
        _human36m(
            "h36m-spin-14j",
            "SPIN's protocol 2 (METRO, Graphormer): camera 4 (60457274) only, every 5th frame, 14 joints.",
            cameras=("4",),
            step=5,
            joints=HUMAN36M_14,
            known_views=(27558, 27558),
        ),
        Protocol(
            "3dpw-14j",
            "threedpw",
            "3DPW's test split, 14 joints regressed from the gendered SMPL ground truth.",
            joints=HUMAN36M_14,
            known_views=(35457, 35520),
            truth="Human3.6M's joints regressed from the gendered ground-truth mesh (preprocess with smpl and regressor)",
            training="differs: say whether 3DPW's training split was used",
        ),
    )
}
DEFAULT = "all-17j"


def protocol(name: str) -> Protocol:
    """The protocol of that name; InputError listing the names."""
    if name not in PROTOCOLS:
        raise InputError(f"There is no protocol {name!r}; choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def select(
    chosen: Protocol, table: dict[str, np.ndarray], source: str | None = None
) -> tuple[np.ndarray, dict[str, int]]:
    """Which views a protocol scores: (n,) row indices, and how many it leaves out, by reason.

    table: columns subject, camera, frame of the split's views. source: the dataset they are of, checked where given.
    Raises InputError when the protocol is of another dataset or takes none of the views.
    """
    if source is not None and chosen.source not in (None, source):
        raise InputError(
            f"The protocol {chosen.name} is of {chosen.source}, the shards are of {source}. Choose "
            f"{', '.join(name for name, p in PROTOCOLS.items() if p.source in (None, source))}."
        )
    n = len(table["frame"])
    tests = {
        "another subject": np.isin(table["subject"], chosen.subjects) if chosen.subjects else np.ones(n, bool),
        "another camera": np.isin(table["camera"], chosen.cameras) if chosen.cameras else np.ones(n, bool),
        f"frame not a multiple of {chosen.step}": table["frame"] % chosen.step == 0,
    }
    keep, left_out = np.ones(n, bool), {}
    for reason, test in tests.items():
        if (keep & ~test).any():
            left_out[reason] = int((keep & ~test).sum())
        keep &= test
    if not keep.any():
        raise InputError(
            f"The protocol {chosen.name} takes none of the {n} views "
            f"({', '.join(f'{k}: {v}' for k, v in left_out.items())}). It scores {chosen.describes}"
        )
    return np.flatnonzero(keep), left_out


def check_count(chosen: Protocol, n_views: int, real: bool, allow_partial: bool) -> str | None:
    """None when n_views is the known number (or none is known, or the set is not `real`), else the note for the
    report; InputError unless `allow_partial`."""
    if not real or chosen.known_views is None:
        return None
    least, most = chosen.known_views
    if least <= n_views <= most:
        return None
    known = str(least) if least == most else f"{least} to {most}"
    if not allow_partial:
        hint = "" if chosen.step in (1, 64) else f" It needs shards made with --every-test {chosen.step}."
        hint = " It needs shards made with --every-test 1." if chosen.name == "h36m-martinez-17j" else hint
        raise InputError(
            f"The protocol {chosen.name} scores {known} views of {chosen.source}, here are {n_views}: the result "
            f"would not be comparable.{hint} Complete the dataset, or pass --allow-partial, which the report will say."
        )
    return f"PARTIAL: {n_views} of {known} views; not comparable with published numbers."


def score(
    chosen: Protocol,
    prediction: np.ndarray,
    truth: np.ndarray,
    table: dict[str, np.ndarray],
    valid: np.ndarray | None = None,
    real: bool = False,
    allow_partial: bool = False,
) -> dict:
    """The protocol's report on the views it selected, JSON-able.

    prediction, truth: (N, 17, 3) metres in the same axes, FIELD_JOINTS; the root is aligned here. table: the columns
    subject, action of these N views. valid: (N, 17) bool, joints that the truth has; a view that lacks the root or a
    scored joint is skipped and counted. real: a recorded dataset, whose number of views is checked. Raises InputError
    when no view is left or the number is not the known one.
    """
    joints = FIELD_JOINTS.indices(chosen.joints)
    root = FIELD_JOINTS.index(chosen.root)
    valid = np.ones(truth.shape[:2], bool) if valid is None else np.asarray(valid, bool)
    used, skipped = usable_views(chosen, valid)
    finite = np.isfinite(np.asarray(prediction)).all((1, 2))
    if (used & ~finite).any():
        skipped["the prediction is not finite"] = int((used & ~finite).sum())
    used &= finite
    partial = check_usable(chosen, used, skipped, real, allow_partial)
    prediction, truth = (metrics.root_align(np.asarray(points)[used], root) for points in (prediction, truth))
    aligned = _aligned(chosen, prediction, truth, joints)
    errors = metrics.joint_errors(prediction, truth)[:, joints]
    pa_errors = metrics.joint_errors(aligned, truth[:, joints])
    told = errors[:, [name != chosen.root for name in chosen.joints]]  # the root is right by definition
    actions, subjects = (np.asarray(table[column])[used] for column in ("action", "subject"))
    groups = np.unique(actions, return_inverse=True)[1] if chosen.average == "actions" else None
    return {
        "protocol": chosen.as_json(),
        "n_views": int(used.sum()),
        "skipped": skipped,
        "partial": partial,
        "mpjpe_mm": _average_mm(errors.mean(1), groups),
        "pa_mpjpe_mm": _average_mm(pa_errors.mean(1), groups),
        "pck_150mm": round(metrics.pck(told), 5),
        "auc": round(metrics.auc(told), 5),
        "per_action": _by_group(errors, pa_errors, actions),
        "per_subject": _by_group(errors, pa_errors, subjects),
        "per_joint": {
            name: {"mpjpe_mm": _mm(errors[:, j].mean()), "pa_mpjpe_mm": _mm(pa_errors[:, j].mean())}
            for j, name in enumerate(chosen.joints)
        },
    }


def usable_views(chosen: Protocol, valid: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """(N,) bool which views have the truth that a protocol needs, and how many have not by reason. valid: (N, 17) bool."""
    used, skipped = np.ones(len(valid), bool), {}
    for name in dict.fromkeys((chosen.root, *chosen.joints)):
        lacking = used & ~valid[:, FIELD_JOINTS.index(name)]
        if lacking.any():
            skipped[f"the truth has no {name}"] = int(lacking.sum())
        used &= ~lacking
    return used, skipped


def check_usable(
    chosen: Protocol, used: np.ndarray, skipped: dict[str, int], real: bool, allow_partial: bool
) -> str | None:
    """The note of `check_count` for the views (N,) bool that can be scored. Raises InputError when there are none, or not as many
    as the protocol knows.
    """
    if not used.any():
        hint = "" if chosen.source else " Where a dataset lacks joints, --ground-truth fit compares with its fits."
        raise InputError(
            f"No view can be scored by {chosen.name}: "
            f"{'; '.join(f'{reason} ({count} views)' for reason, count in skipped.items())}. It needs {chosen.truth}.{hint}"
        )
    return check_count(chosen, int(used.sum()), real, allow_partial)


def _aligned(chosen: Protocol, prediction: np.ndarray, truth: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(N, S, 3) the scored joints after the protocol's alignment."""
    source, target = prediction[:, joints], truth[:, joints]
    if chosen.with_thorax:
        shoulders = FIELD_JOINTS.indices(("left_shoulder", "right_shoulder"))
        source, target = (
            np.concatenate([scored, points[:, shoulders].mean(1, keepdims=True)], 1)
            for scored, points in ((source, prediction), (target, truth))
        )
    return metrics.align(source, target, scale=chosen.scale)[:, : len(joints)]


def _mm(metres: float) -> float:
    return round(float(metres) * 1000, 3)


def _average_mm(errors: np.ndarray, groups: np.ndarray | None) -> float:
    """Mean over views, or the mean of the groups' means."""
    if groups is None:
        return _mm(errors.mean())
    return _mm((np.bincount(groups, errors) / np.bincount(groups)).mean())


def _by_group(errors: np.ndarray, pa_errors: np.ndarray, names: np.ndarray) -> dict[str, dict]:
    """name -> number of views and their mean errors."""
    return {
        str(name): {
            "n": int((names == name).sum()),
            "mpjpe_mm": _mm(errors[names == name].mean()),
            "pa_mpjpe_mm": _mm(pa_errors[names == name].mean()),
        }
        for name in np.unique(names)
    }
